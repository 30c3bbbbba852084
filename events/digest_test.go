package events_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
)

func TestDigestCommitsToEveryCausalField(t *testing.T) {
	// Each change is to a fresh draft with every field set; the journal's own
	// causal field, the subject key, is set on the event.
	changes := map[string]func(d *events.Draft){
		"id":             func(d *events.Draft) { d.ID[0] ^= 1 },
		"stream":         func(d *events.Draft) { d.Stream += "8" },
		"kind":           func(d *events.Draft) { d.Kind = "order.Placed" },
		"schema version": func(d *events.Draft) { d.SchemaVersion++ },
		"no schema":      func(d *events.Draft) { d.SchemaVersion = 0 },
		"a nanosecond":   func(d *events.Draft) { d.Time = d.Time.Add(-1) },
		"a second":       func(d *events.Draft) { d.Time = d.Time.Add(time.Second) },
		"no time":        func(d *events.Draft) { d.Time = time.Time{} },
		"content type":   func(d *events.Draft) { d.ContentType = "text/plain" },
		"no type":        func(d *events.Draft) { d.ContentType = "" },
		"payload":        func(d *events.Draft) { d.Payload = append(d.Payload, ' ') },
		"no payload":     func(d *events.Draft) { d.Payload = nil },
		"parent's digest": func(d *events.Draft) {
			d.Parents[0].Digest[31] ^= 1
		},
		"one more parent":   func(d *events.Draft) { d.Parents = append(d.Parents, nthRef(3)) },
		"one parent less":   func(d *events.Draft) { d.Parents = d.Parents[1:] },
		"trigger":           func(d *events.Draft) { d.Trigger = nthID(2) },
		"no trigger":        func(d *events.Draft) { d.Trigger = events.ID{} },
		"correlation":       func(d *events.Draft) { d.Correlation = "basket 8" },
		"no correlation":    func(d *events.Draft) { d.Correlation = "" },
		"extension's value": func(d *events.Draft) { d.Extensions["partition"] = "us" },
		"extension's key": func(d *events.Draft) {
			delete(d.Extensions, "partition")
			d.Extensions["partitiom"] = "eu"
		},
		"one more extension": func(d *events.Draft) { d.Extensions["empty"] = "" },
		"no extensions":      func(d *events.Draft) { d.Extensions = nil },
	}
	seen := map[events.Digest]string{mustSeal(t, fullDraft()).Digest: "no change"}
	note := func(what string, e events.Event) {
		t.Helper()
		if other, ok := seen[e.Digest]; ok {
			t.Errorf("%s and %s have the same digest %s", what, other, e.Digest)
		}
		seen[e.Digest] = what
	}
	for what, change := range changes {
		d := fullDraft()
		change(&d)
		note(what, mustSeal(t, d))
	}
	encrypted := mustSeal(t, fullDraft())
	encrypted.SubjectKey = "customer-9"
	if err := encrypted.SetParents(encrypted.Parents); err != nil {
		t.Fatal(err)
	}
	note("subject key", encrypted)

	// The payload counts by its digest alone, so that an event whose payload
	// is gone still proves what it held.
	e := mustSeal(t, fullDraft())
	before := e.Digest
	e.Payload = nil
	if err := e.SetParents(e.Parents); err != nil || e.Digest != before {
		t.Errorf("without its payload: digest %s, error %v; want %s", e.Digest, err, before)
	}
}

func TestCausalDigestIgnoresThePlace(t *testing.T) {
	base := fullEvent(t)
	changes := []struct {
		what     string
		inRecord bool
		change   func(e *events.Event)
	}{
		{"position", true, func(e *events.Event) { e.Position++ }},
		{"stream position", true, func(e *events.Event) { e.StreamPosition++ }},
		{"epoch", true, func(e *events.Event) { e.Epoch++ }},
		{"record time", true, func(e *events.Event) { e.RecordTime = e.RecordTime.Add(1) }},
		{"trace", true, func(e *events.Event) { e.Trace = "other" }},
		{"no trace", true, func(e *events.Event) { e.Trace = "" }},
		{"embedding digest", true, func(e *events.Event) { e.EmbeddingDigest[31] ^= 1 }},
		{"no embedding", true, func(e *events.Event) { e.EmbeddingDigest = events.Digest{} }},
		{"record time's zone", false, func(e *events.Event) { e.RecordTime = e.RecordTime.In(time.FixedZone("", 7200)) }},
		{"event time's zone", false, func(e *events.Event) { e.Time = e.Time.In(time.FixedZone("", -3600)) }},
		{"intent", false, func(e *events.Event) { e.Intent = events.Intent{ID: nthID(9), Similarity: 1, Pending: true} }},
		{"parent's position", false, func(e *events.Event) { e.Parents[0].Position = 0 }},
		{"payload elsewhere", false, func(e *events.Event) { e.Payload = nil }},
	}
	hashes := map[events.Digest]string{base.RecordHash(): "no change"}
	for _, c := range changes {
		e := base.Clone()
		c.change(&e)
		if err := e.SetParents(e.Parents); err != nil {
			t.Fatal(err)
		}
		if e.Digest != base.Digest {
			t.Errorf("%s changes the causal digest", c.what)
		}
		hash := e.RecordHash()
		switch other, known := hashes[hash]; {
		case c.inRecord && known:
			t.Errorf("%s and %s have the same record hash", c.what, other)
		case !c.inRecord && hash != base.RecordHash():
			t.Errorf("%s changes the record hash", c.what)
		}
		hashes[hash] = c.what
	}
	other := base
	other.Digest[0] ^= 1
	if other.RecordHash() == base.RecordHash() {
		t.Error("the record hash does not commit to the causal digest")
	}
}

func TestParentsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "parents")
		set := make([]events.Ref, n)
		for i := range set {
			set[i] = nthRef(byte(i + 1))
		}
		d := events.Draft{Stream: "s", Kind: "k", Parents: set, Trigger: set[0].ID}
		want, err := d.Seal(nthID(200), set)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(want.Parents, set) {
			t.Fatalf("ascending parents became %v", want.Parents)
		}
		given := slices.Concat(set, rapid.SliceOfN(rapid.SampledFrom(set), 0, 10).Draw(t, "again"))
		given = rapid.Permutation(given).Draw(t, "order")
		asGiven := slices.Clone(given)
		got, err := d.Seal(nthID(200), given)
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest != want.Digest || !slices.Equal(got.Parents, want.Parents) {
			t.Fatalf("parents %v give %v and digest %s, want %v and %s", given, got.Parents, got.Digest, want.Parents, want.Digest)
		}
		if got.Trigger != set[0].ID {
			t.Fatalf("the trigger became %s", got.Trigger)
		}
		if !slices.Equal(given, asGiven) {
			t.Fatalf("the caller's slice was %v and is now %v", asGiven, given)
		}
	})
}

func TestFieldsDoNotRunTogether(t *testing.T) {
	digest := func(change func(d *events.Draft)) events.Digest {
		d := events.Draft{Stream: "a", Kind: "bc"}
		change(&d)
		e, err := d.Seal(nthID(200), d.Parents)
		if err != nil {
			t.Fatal(err)
		}
		return e.Digest
	}
	p1, p2 := nthRef(1), nthRef(2)
	pairs := []struct {
		what string
		a, b func(d *events.Draft)
	}{
		{
			"a payload and the first parent",
			func(d *events.Draft) { d.Payload, d.Parents = []byte("x"), []events.Ref{p1, p2} },
			func(d *events.Draft) {
				d.Payload, d.Parents = append([]byte("x"), p1.Digest[:]...), []events.Ref{p2}
			},
		},
		{
			"stream and kind",
			func(d *events.Draft) { d.Stream, d.Kind = "a", "bc" },
			func(d *events.Draft) { d.Stream, d.Kind = "ab", "c" },
		},
		{
			"content type and correlation",
			func(d *events.Draft) { d.ContentType = "x" },
			func(d *events.Draft) { d.Correlation = "x" },
		},
		{
			"an extension's key and value",
			func(d *events.Draft) { d.Extensions = map[string]string{"ab": "c"} },
			func(d *events.Draft) { d.Extensions = map[string]string{"a": "bc"} },
		},
		{
			"two extensions",
			func(d *events.Draft) { d.Extensions = map[string]string{"a": "b", "c": "d"} },
			func(d *events.Draft) { d.Extensions = map[string]string{"a": "b\x01c\x01d"} },
		},
		{
			"a schema version and no time, and a time",
			func(d *events.Draft) { d.SchemaVersion = 1 },
			func(d *events.Draft) { d.Time = time.Unix(0, 0) },
		},
	}
	for _, p := range pairs {
		if digest(p.a) == digest(p.b) {
			t.Errorf("%s run together", p.what)
		}
	}

	e := mustSeal(t, fullDraft())
	if events.PayloadDigest([]byte("x")) == events.EmbeddingDigest([]byte("x")) {
		t.Error("a payload and an embedding of the same bytes have the same digest")
	}
	if e.Digest == e.RecordHash() {
		t.Error("a causal digest and a record hash are the same")
	}
}

// The kinds of digest are tagged as doc.go says, on both sides of the size
// from which a payload is hashed in another way.
func TestDomainTags(t *testing.T) {
	if got := blake3.Sum256(nil); events.Digest(got).String() != "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" {
		t.Fatalf("this is not BLAKE3: the digest of nothing is %x", got)
	}
	for _, n := range []int{0, 1, 48, 1007, 1008, 1009, 1024, 5000, events.MaxPayload} {
		b := bytes.Repeat([]byte{0xa5}, n)
		if got, want := events.PayloadDigest(b), tagSum("toka/payload/1", b...); got != want {
			t.Errorf("payload of %d bytes: %s, want %s", n, got, want)
		}
		if got, want := events.EmbeddingDigest(b), tagSum("toka/embed/1", b...); got != want {
			t.Errorf("embedding of %d bytes: %s, want %s", n, got, want)
		}
	}
}
