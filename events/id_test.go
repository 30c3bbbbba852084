package events_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
)

func TestDerivedIDs(t *testing.T) {
	cause := nthDigest(7)
	ids := map[string]events.ID{
		"ingested shop A-1":    events.IngestedID("shop", "A-1"),
		"ingested shop A-2":    events.IngestedID("shop", "A-2"),
		"ingested store A-1":   events.IngestedID("store", "A-1"),
		"ingested a bc":        events.IngestedID("a", "bc"),
		"ingested ab c":        events.IngestedID("ab", "c"),
		"ingested abc":         events.IngestedID("abc", ""),
		"emitted first":        events.EmittedID(cause, "shipping", 0),
		"emitted second":       events.EmittedID(cause, "shipping", 1),
		"emitted 256th":        events.EmittedID(cause, "shipping", 256),
		"emitted by another":   events.EmittedID(cause, "billing", 0),
		"emitted for another":  events.EmittedID(nthDigest(8), "shipping", 0),
		"emitted by a longer":  events.EmittedID(cause, "shipping\x00", 0),
		"intent":               events.IntentID("cluster/1", cause),
		"intent, other rules":  events.IntentID("cluster/2", cause),
		"intent, other events": events.IntentID("cluster/1", nthDigest(8)),
	}
	seen := map[events.ID]string{}
	for name, id := range ids {
		if other, twice := seen[id]; twice {
			t.Errorf("%s and %s are both %s", name, other, id)
		}
		seen[id] = name
		if s := id.String(); s[14] != '8' || !strings.ContainsRune("89ab", rune(s[19])) {
			t.Errorf("%s: %s is not a UUID of version 8", name, s)
		}
	}
	// Other implementations and older journals have these, so they stay.
	for name, want := range map[string]string{
		"ingested shop A-1": "35b2e518-9fa1-8e92-a3d7-da03827b0e27",
		"emitted first":     "4d81e56d-4741-8709-a924-680ec6b2326e",
		"intent":            "be05b88b-2010-860a-bcb6-bb3197981405",
	} {
		if got := ids[name].String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestEffectKey(t *testing.T) {
	cause := nthDigest(7)
	keys := map[events.Digest]bool{}
	for _, agent := range []string{"a", "ab"} {
		for _, name := range []string{"c", "bc"} {
			for n := range uint32(2) {
				for _, cause := range []events.Digest{cause, nthDigest(8)} {
					keys[events.EffectKey(cause, agent, name, n)] = true
				}
			}
		}
	}
	if len(keys) != 16 {
		t.Errorf("%d keys of 16 effects", len(keys))
	}
	want := tagSum("toka/effect/1", slices.Concat(cause[:], text("payer"), text("charge"), fixed(4, 2))...)
	if got := events.EffectKey(cause, "payer", "charge", 2); got != want {
		t.Errorf("the key is %s, want %s", got, want)
	}
}

func TestParseRefusesOtherSpellings(t *testing.T) {
	id := "01976f4e-8a00-7abc-8def-0123456789ab"
	if got, err := events.ParseID(id); err != nil || got.String() != id {
		t.Fatalf("ParseID(%q) = %s, %v", id, got, err)
	}
	for _, s := range []string{
		"", strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""),
		id[:35], id + "0", " " + id[1:], id[:35] + "g", strings.Replace(id, "-", "_", 1),
		"0197-6f4e8a00-7abc-8def-0123456789ab", strings.Repeat("x", 1000),
	} {
		_, err := events.ParseID(s)
		wantInvalid(t, err, "id")
	}
	digest := strings.Repeat("0123456789abcdef", 4)
	if got, err := events.ParseDigest(digest); err != nil || got.String() != digest {
		t.Fatalf("ParseDigest(%q) = %s, %v", digest, got, err)
	}
	for _, s := range []string{
		"", strings.ToUpper(digest), digest[:62], digest[:63], digest + "00", "0x" + digest[:62],
		" " + digest[1:], digest[:63] + "g", strings.Repeat("ab", 1000),
	} {
		_, err := events.ParseDigest(s)
		wantInvalid(t, err, "digest")
	}
}

func TestTextRoundTrip(t *testing.T) {
	type both struct {
		ID     events.ID
		Digest events.Digest
	}
	rapid.Check(t, func(t *rapid.T) {
		var want, got both
		copy(want.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		copy(want.Digest[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%s became %+v, error %v", b, got, err)
		}
		if id, err := events.ParseID(want.ID.String()); err != nil || id != want.ID {
			t.Fatalf("ParseID(%s) = %s, %v", want.ID, id, err)
		}
		if d, err := events.ParseDigest(want.Digest.String()); err != nil || d != want.Digest {
			t.Fatalf("ParseDigest(%s) = %s, %v", want.Digest, d, err)
		}
		if short := want.Digest.Short(); len(short) != 12 || !strings.HasPrefix(want.Digest.String(), short) {
			t.Fatalf("%s shortened is %s", want.Digest, short)
		}
	})

	b, err := json.Marshal(both{})
	if err != nil || string(b) != `{"ID":"","Digest":""}` {
		t.Errorf("none is written as %s, error %v", b, err)
	}
	got := both{nthID(1), nthDigest(1)}
	if err := json.Unmarshal(b, &got); err != nil || got != (both{}) || !got.ID.IsZero() || !got.Digest.IsZero() {
		t.Errorf("none is read as %+v, error %v", got, err)
	}
	// What cannot be read leaves the value alone.
	kept := both{nthID(1), nthDigest(1)}
	wantInvalid(t, kept.ID.UnmarshalText([]byte("x")), "id")
	wantInvalid(t, kept.Digest.UnmarshalText([]byte("x")), "digest")
	if kept != (both{nthID(1), nthDigest(1)}) {
		t.Errorf("after an error: %+v", kept)
	}
}
