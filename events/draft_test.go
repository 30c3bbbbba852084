package events_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
)

func TestDraftLimits(t *testing.T) {
	name := func(n int) string { return strings.Repeat("n", n) }
	refs := func(n int) (refs []events.Ref) {
		for i := range n {
			refs = append(refs, nthRef(byte(i+1)))
		}
		return refs
	}
	tests := []struct {
		name   string
		field  string // at fault; empty where the draft is fine
		change func(d *events.Draft)
	}{
		{"as it is", "", func(*events.Draft) {}},
		{"only what is needed", "", func(d *events.Draft) { *d = events.Draft{ID: nthID(200), Stream: "s", Kind: "k"} }},

		{"no stream", "stream", func(d *events.Draft) { d.Stream = "" }},
		{"the longest stream", "", func(d *events.Draft) { d.Stream = name(256) }},
		{"a longer one", "stream", func(d *events.Draft) { d.Stream = name(257) }},
		{"a limit in bytes", "stream", func(d *events.Draft) { d.Stream = strings.Repeat("ü", 129) }},
		{"slashes, dots and spaces in a stream", "", func(d *events.Draft) { d.Stream = "/a/../b c./" }},
		{"a stream that is not UTF-8", "stream", func(d *events.Draft) { d.Stream = "a\xff" }},
		{"a NUL in a stream", "stream", func(d *events.Draft) { d.Stream = "a\x00" }},
		{"a line break in a stream", "stream", func(d *events.Draft) { d.Stream = "a\n" }},
		{"a C1 control in a stream", "stream", func(d *events.Draft) { d.Stream = "\u0085" }},
		{"a very long stream", "stream", func(d *events.Draft) { d.Stream = name(1 << 20) }},

		{"no kind", "kind", func(d *events.Draft) { d.Kind = "" }},
		{"the longest kind", "", func(d *events.Draft) { d.Kind = name(256) }},
		{"a longer one", "kind", func(d *events.Draft) { d.Kind = name(257) }},
		{"a kind of one token", "", func(d *events.Draft) { d.Kind = "placed" }},
		{"a kind of many tokens", "", func(d *events.Draft) { d.Kind = "a.b.c.d/e.$.ü" }},
		{"a leading dot", "kind", func(d *events.Draft) { d.Kind = ".a" }},
		{"a trailing dot", "kind", func(d *events.Draft) { d.Kind = "a." }},
		{"two dots", "kind", func(d *events.Draft) { d.Kind = "a..b" }},
		{"a star", "kind", func(d *events.Draft) { d.Kind = "a.*" }},
		{"a star within a token", "kind", func(d *events.Draft) { d.Kind = "a.b*" }},
		{"a greater-than", "kind", func(d *events.Draft) { d.Kind = "a.>" }},
		{"a space in a kind", "kind", func(d *events.Draft) { d.Kind = "a b" }},
		{"a wide space in a kind", "kind", func(d *events.Draft) { d.Kind = "a\u2003b" }},
		{"a tab in a kind", "kind", func(d *events.Draft) { d.Kind = "a\tb" }},
		{"a kind that is not UTF-8", "kind", func(d *events.Draft) { d.Kind = "a.\xc3" }},

		{"the first time", "", func(d *events.Draft) { d.Time = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC) }},
		{"the last time", "", func(d *events.Draft) { d.Time = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC) }},
		{"year 10000", "time", func(d *events.Draft) { d.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"year 10000 in UTC only", "time", func(d *events.Draft) {
			d.Time = time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600))
		}},
		{"year 9999 in UTC only", "", func(d *events.Draft) {
			d.Time = time.Date(10000, 1, 1, 0, 30, 0, 0, time.FixedZone("", 3600))
		}},
		{"year 0", "time", func(d *events.Draft) { d.Time = time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC) }},
		{"a year beyond all", "time", func(d *events.Draft) { d.Time = time.Unix(1<<62, 0) }},

		{"the longest content type", "", func(d *events.Draft) { d.ContentType = name(256) }},
		{"a longer one", "content type", func(d *events.Draft) { d.ContentType = name(257) }},
		{"a content type with a control character", "content type", func(d *events.Draft) { d.ContentType = "\x7f" }},
		{"the longest correlation", "", func(d *events.Draft) { d.Correlation = name(256) }},
		{"a longer one", "correlation", func(d *events.Draft) { d.Correlation = name(257) }},
		{"a correlation that is not UTF-8", "correlation", func(d *events.Draft) { d.Correlation = "\xed\xa0\x80" }},
		{"the longest trace", "", func(d *events.Draft) { d.Trace = name(256) }},
		{"a longer one", "trace", func(d *events.Draft) { d.Trace = name(257) }},
		{"a trace with a line break", "trace", func(d *events.Draft) { d.Trace = "a\r" }},

		{"the largest payload", "", func(d *events.Draft) { d.Payload = make([]byte, events.MaxPayload) }},
		{"a larger one", "payload", func(d *events.Draft) { d.Payload = make([]byte, events.MaxPayload+1) }},

		{"most parents", "", func(d *events.Draft) { d.Parents = refs(events.MaxParents) }},
		{"one more", "parents", func(d *events.Draft) { d.Parents = refs(events.MaxParents + 1) }},
		{"a parent without an id", "parents", func(d *events.Draft) { d.Parents[1].ID = events.ID{} }},
		{"a parent without a digest", "parents", func(d *events.Draft) { d.Parents[1].Digest = events.Digest{} }},
		{"itself as a parent", "parents", func(d *events.Draft) { d.Parents[0].ID = d.ID }},
		{"two digests for one id", "parents", func(d *events.Draft) { d.Parents = append(d.Parents, events.Ref{ID: nthID(1), Digest: nthDigest(9)}) }},
		{"two ids for one digest", "parents", func(d *events.Draft) { d.Parents = append(d.Parents, events.Ref{ID: nthID(9), Digest: nthDigest(1)}) }},
		{"a parent twice", "", func(d *events.Draft) { d.Parents = append(d.Parents, nthRef(1)) }},
		{"no trigger", "", func(d *events.Draft) { d.Trigger = events.ID{} }},
		{"a trigger that is no parent", "trigger", func(d *events.Draft) { d.Trigger = nthID(3) }},
		{"a trigger without parents", "trigger", func(d *events.Draft) { d.Parents = nil }},
		{"itself as a trigger", "trigger", func(d *events.Draft) { d.Trigger = d.ID }},

		{"extensions at the limit", "", func(d *events.Draft) {
			d.Extensions = map[string]string{"a": strings.Repeat("x", 3000), "b": strings.Repeat("x", events.MaxExtensions-3002)}
		}},
		{"a byte more", "extensions", func(d *events.Draft) {
			d.Extensions = map[string]string{"a": strings.Repeat("x", 3000), "b": strings.Repeat("x", events.MaxExtensions-3001)}
		}},
		{"the longest key", "", func(d *events.Draft) { d.Extensions = map[string]string{name(64): ""} }},
		{"a longer one", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{name(65): ""} }},
		{"an empty key", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{"": "x"} }},
		{"a key in capitals", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{"outsideId": "x"} }},
		{"a key with a dash", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{"outside-id": "x"} }},
		{"a key that is not ASCII", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{"ü": "x"} }},
		{"a value with a line break", "", func(d *events.Draft) { d.Extensions = map[string]string{"k": "a\nb"} }},
		{"a value that is not UTF-8", "extensions", func(d *events.Draft) { d.Extensions = map[string]string{"k": "\xff"} }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			d := fullDraft()
			tc.change(&d)
			e, err := seal(d)
			if tc.field != "" {
				wantInvalid(t, err, tc.field)
				sameEvent(t, e, events.Event{})
				// Only what is wrong with the parents' digests comes to light
				// as late as in Seal.
				if strings.Contains(tc.name, "digest") {
					if err := d.Validate(); err != nil {
						t.Errorf("Validate knows no digests, but: %v", err)
					}
				} else {
					wantInvalid(t, d.Validate(), tc.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Validate(); err != nil {
				t.Errorf("sealed, but not valid: %v", err)
			}
			// What may go in has to come out of a record again.
			e.RecordTime = recorded
			if got, _, err := events.CheckRecord(1, events.AppendRecord(nil, &e, 0)); err != nil || got.Digest != e.Digest {
				t.Errorf("not read again: digest %s, error %v", got.Digest, err)
			}
		})
	}
}

// A draft is checked without its parents' digests, which only a journal may
// know; Seal and SetParents then check the parents that they are given.
func TestParentsGivenToSeal(t *testing.T) {
	d := fullDraft()
	for i := range d.Parents {
		d.Parents[i].Digest = events.Digest{}
	}
	if err := d.Validate(); err != nil {
		t.Fatalf("without the parents' digests: %v", err)
	}
	if e, err := d.Seal(nthID(201), fullDraft().Parents); err != nil || e.ID != d.ID {
		t.Errorf("a draft with an id of its own became %s, error %v", e.ID, err)
	}
	d.ID = events.ID{}
	resolved := fullDraft().Parents
	var many []events.Ref
	for n := range byte(events.MaxParents + 1) {
		many = append(many, nthRef(n+1))
	}
	tests := []struct {
		name, field string
		id          events.ID
		parents     []events.Ref
	}{
		{"fine", "", nthID(200), resolved},
		{"no id at all", "id", events.ID{}, resolved},
		{"not the trigger", "trigger", nthID(200), []events.Ref{nthRef(2)}},
		{"none", "trigger", nthID(200), nil},
		{"without digests", "parents", nthID(200), d.Parents},
		{"without an id", "parents", nthID(200), append(slices.Clone(resolved), events.Ref{Digest: nthDigest(9)})},
		{"itself", "parents", nthID(2), resolved},
		{"too many", "parents", nthID(200), many},
		{"most, two of them twice", "", nthID(200), slices.Concat(many[:events.MaxParents], many[:2])},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			e, err := d.Seal(tc.id, tc.parents)
			if tc.field != "" {
				wantInvalid(t, err, tc.field)
				if tc.field == "id" {
					return
				}
				// An event keeps the parents it had.
				before := mustSeal(t, fullDraft())
				after := before.Clone()
				if after.ID = tc.id; after.SetParents(tc.parents) == nil {
					t.Error("SetParents accepts them")
				}
				after.ID = before.ID
				sameEvent(t, after, before)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.ID != tc.id {
				t.Errorf("id %s, want %s", e.ID, tc.id)
			}
			unlinked, err := d.Unlinked(tc.id)
			if err != nil || !unlinked.Digest.IsZero() || unlinked.Parents != nil {
				t.Errorf("unlinked: digest %s, parents %v, error %v", unlinked.Digest, unlinked.Parents, err)
			}
			if err := unlinked.SetParents(tc.parents); err != nil {
				t.Fatal(err)
			}
			sameEvent(t, unlinked, e)
		})
	}
}

func TestCheckOutside(t *testing.T) {
	tests := []struct {
		name, field string
		change      func(d *events.Draft)
	}{
		{"as it is", "", func(*events.Draft) {}},
		{"a kind of the system", "kind", func(d *events.Draft) { d.Kind = "toka.parked" }},
		{"a kind that only looks like it", "", func(d *events.Draft) { d.Kind = "tokamak.lit" }},
		{"the bare word as a kind", "", func(d *events.Draft) { d.Kind = "toka" }},
		{"a stream of the system", "stream", func(d *events.Draft) { d.Stream = "$system" }},
		{"a dollar later in a stream", "", func(d *events.Draft) { d.Stream = "a$" }},
		{"an extension of the system", "extensions", func(d *events.Draft) { d.Extensions[events.ExtBehaviour] = "shop/1" }},
		{"a well-known extension", "", func(d *events.Draft) { d.Extensions[events.ExtOutsideID] = "7" }},
	}
	for _, tc := range tests {
		d := fullDraft()
		tc.change(&d)
		if err := d.Validate(); err != nil {
			t.Errorf("%s: the system itself may write it, but: %v", tc.name, err)
		}
		err := d.CheckOutside()
		if tc.field != "" {
			wantInvalid(t, err, tc.field)
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "/", "..", " ", "$x", "заказ", strings.Repeat("a", 256)} {
		if err := events.CheckName("agent", name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "\x00", "\x1b[31m", "a\x7f", "\u009f", "\xff", "\xc0\x80", strings.Repeat("a", 257)} {
		wantInvalid(t, events.CheckName("agent", name), "agent")
		wantInvalid(t, events.CheckStream(name), "stream")
		wantInvalid(t, events.CheckKind(name), "kind")
	}
}

func TestClone(t *testing.T) {
	e := fullEvent(t)
	e.Intent = events.Intent{ID: nthID(9), Similarity: 0.5}
	want := fullEvent(t)
	want.Intent = e.Intent
	c := e.Clone()
	sameEvent(t, c, e)
	c.Payload[0] = 'x'
	_ = append(c.Payload[:1], "yz"...)
	c.Parents[0] = nthRef(9)
	c.Extensions["new"] = "x"
	delete(c.Extensions, "partition")
	sameEvent(t, e, want)

	none := (events.Event{}).Clone()
	sameEvent(t, none, events.Event{})
}

func TestEventAccessors(t *testing.T) {
	e := fullEvent(t)
	if got, want := e.Ref(), (events.Ref{ID: e.ID, Digest: e.Digest, Position: 1000}); got != want {
		t.Errorf("Ref() = %+v, want %+v", got, want)
	}
	if got := e.OutsideID(); got != "A-1" {
		t.Errorf("OutsideID() = %q", got)
	}
	if got := (events.Event{}).OutsideID(); got != "" {
		t.Errorf("OutsideID() of an event without extensions = %q", got)
	}
	d := fullDraft()
	if got, err := seal(d); err != nil || !bytes.Equal(got.Payload, d.Payload) || got.PayloadDigest != events.PayloadDigest(d.Payload) {
		t.Errorf("payload %q with digest %s, error %v", got.Payload, got.PayloadDigest, err)
	}
}
