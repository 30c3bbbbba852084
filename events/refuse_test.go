package events_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
)

// Each row is a record that is right but for the bytes of one field; each of
// them has to be refused, or two encodings would stand for one event.
func TestDecodeRefuses(t *testing.T) {
	v := fullVector()
	ids, digests := [][]byte{}, [][]byte{}
	for _, p := range specParents(v) {
		ids, digests = append(ids, unhex(p.ID)), append(digests, unhex(p.Digest))
	}
	zero := make([]byte, 32)
	long := strings.Repeat("a", events.MaxName+1)
	cat := slices.Concat[[]byte]
	over := slices.Repeat([]byte{0xff}, 10)

	tests := []struct {
		name, field string
		bytes       []byte
		want        string // part of the error
	}{
		{"another record version", "record version", []byte{2}, "record version 2"},
		{"an unknown flag", "flags", []byte{15}, "flags"},
		{"no inline flag, so bytes are left", "flags", []byte{6}, "after the end"},
		{"an epoch over 32 bits", "epoch", uv(1 << 32), "epoch"},
		{"an epoch longer than needed", "epoch", []byte{0x82, 0}, "epoch: not a shortest-form varint"},
		{"a zero longer than needed", "stream position", []byte{0x80, 0}, "stream position: not a shortest-form varint"},
		{"a position over 64 bits", "stream position", append(over, 1), "stream position"},
		{"an embedding without a digest", "embedding digest", zero, "embedding"},
		{"an empty trace", "trace context", text(""), "trace"},
		{"a trace too long", "trace context", text(long), "trace"},
		{"a trace with a control character", "trace context", text("a\nb"), "trace"},
		{"a body shorter than its length", "body length", uv(1 << 20), "body"},
		{"a body longer than its length", "body length", uv(80), "bytes wanted"},
		{"a parent's position longer than needed", "parents", cat([]byte{0x81, 0}, ids[0], uv(2), ids[1]), "parent position"},
		{"a parent without an id", "parents", cat(uv(1), zero[:16], uv(2), ids[1]), "parent without an id"},
		{"two parents of one id", "parents", cat(uv(1), ids[0], uv(2), ids[0]), "twice"},
		{"itself as a parent", "parents", cat(uv(1), unhex(v.ID), uv(2), ids[1]), "itself"},
		{"a payload shorter than its length", "payload length", uv(13), "payload"},
		{"a payload longer than its length", "payload length", uv(11), "after the end"},
		{"a payload over the limit", "payload length", uv(events.MaxPayload + 1), "payload length"},
		{"a payload length longer than needed", "payload length", []byte{0x8c, 0}, "payload length"},
		{"a byte after the end", "payload", append(unhex(v.Payload), 0), "after the end"},

		{"another causal version", "body/format version", []byte{2}, "causal version 2"},
		{"no id", "body/id", zero[:16], "without an id"},
		{"no stream", "body/stream", text(""), "stream"},
		{"a stream too long", "body/stream", text(long), "stream"},
		{"a stream that is not UTF-8", "body/stream", text("a\xff"), "UTF-8"},
		{"no kind", "body/kind", text(""), "kind"},
		{"a kind that is a pattern", "body/kind", text("order.*"), "kind"},
		{"a kind's length longer than needed", "body/kind", cat([]byte{0x8c, 0}, []byte(v.Kind)), "kind: not a shortest-form varint"},
		{"a schema version over 32 bits", "body/schema version", uv(1 << 32), "schema version"},
		{"an unknown time flag", "body/event time", cat([]byte{2}, fixed(8, 0), fixed(4, 0)), "time: flag 2"},
		{"a second of nanoseconds", "body/event time", cat([]byte{1}, fixed(8, 0), fixed(4, 1e9)), "time"},
		{"a time that is written as absent", "body/event time", cat([]byte{1}, fixed(8, 1<<64-62135596800), fixed(4, 0)), "time"},
		{"a time before year 1", "body/event time", cat([]byte{1}, fixed(8, 1<<64-62135596801), fixed(4, 0)), "time"},
		{"year 10000", "body/event time", cat([]byte{1}, fixed(8, 253402300800), fixed(4, 0)), "time"},
		{"a time beyond all years", "body/event time", cat([]byte{1}, fixed(8, 1<<63-1), fixed(4, 0)), "time"},
		{"a content type too long", "body/content type", text(long), "content type"},
		{"a content type with a control character", "body/content type", text("\x7f"), "content type"},
		{"a subject key too long", "body/subject key id", text(long), "subject key"},
		{"a subject key that is not UTF-8", "body/subject key id", text("\xc3"), "subject key"},
		{"a correlation with a control character", "body/correlation", text("\u0085"), "correlation"},
		{"a trigger beyond the parents", "body/trigger", uv(3), "trigger 3 of 2"},
		{"a trigger over the limit", "body/trigger", uv(events.MaxParents + 1), "trigger"},
		{"extensions in another order", "body/extensions", cat(uv(2), text("b"), text(""), text("a"), text("")), "ascending"},
		{"an extension twice", "body/extensions", cat(uv(2), text("a"), text("1"), text("a"), text("2")), "ascending"},
		{"an extension without a key", "body/extensions", cat(uv(1), text(""), text("1")), "key"},
		{"an extension's key in capitals", "body/extensions", cat(uv(1), text("A"), text("1")), "key"},
		{"an extension's key too long", "body/extensions", cat(uv(1), text(long[:65]), text("1")), "key"},
		{"an extension that is not UTF-8", "body/extensions", cat(uv(1), text("a"), text("\xff")), "UTF-8"},
		{"extensions over the limit", "body/extensions", cat(uv(2), text("a"), text(strings.Repeat("x", 4000)), text("b"), text(strings.Repeat("x", 95))), "4096"},
		{"more extensions than bytes allowed", "body/extensions", uv(events.MaxExtensions + 1), "extensions"},
		{"fewer extensions than counted", "body/extensions", cat(uv(9), text("a"), text("1")), "extension"},
		{"parents in another order", "body/parents", cat(uv(2), digests[1], digests[0]), "ascending"},
		{"a parent twice", "body/parents", cat(uv(2), digests[0], digests[0]), "ascending"},
		{"a parent without a digest", "body/parents", cat(uv(2), zero, digests[1]), "digest"},
		{"fewer parents than counted", "body/parents", cat(uv(3), digests[0], digests[1]), "parents"},
		{"more parents than counted", "body/parents", cat(uv(1), digests[0], digests[1]), "after the causal body"},
		{"too many parents", "body/parents", uv(events.MaxParents + 1), "parents"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			e, at, err := events.DecodeRecord(v.Position, replace(v, tc.field, tc.bytes))
			if err == nil {
				t.Fatalf("accepted as %+v", e)
			}
			if !errors.Is(err, events.ErrMalformed) {
				t.Errorf("error %v does not wrap ErrMalformed", err)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "position 1000: ") {
				t.Errorf("error %q should say position 1000 and %q", err, tc.want)
			}
			if at != 0 {
				t.Errorf("payload position %d beside an error", at)
			}
			sameEvent(t, e, events.Event{})
		})
	}
	elsewhere := v
	elsewhere.PayloadAt = 7
	for name, b := range map[string][]byte{
		"a payload at position 0":            replace(elsewhere, "payload position", []byte{0}),
		"a payload position over 64 bits":    replace(elsewhere, "payload position", append(over, 1)),
		"a byte after the payload position":  replace(elsewhere, "payload position", []byte{7, 0}),
		"a payload position of two bytes":    replace(elsewhere, "payload position", []byte{0x87, 0}),
		"an embedding flag and no embedding": replace(elsewhere, "embedding digest", nil),
		"nothing":                            {},
	} {
		if _, _, err := events.DecodeRecord(1, b); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

// No record is the beginning of another: cut anywhere, it is refused.
func TestDecodeRefusesATruncatedRecord(t *testing.T) {
	for _, v := range readGolden(t).Events {
		b := unhex(v.Record)
		for n := range b {
			if _, _, err := events.DecodeRecord(v.Position, b[:n]); !errors.Is(err, events.ErrMalformed) {
				t.Fatalf("%s cut to %d of %d bytes: error %v", v.Name, n, len(b), err)
			}
		}
		if _, _, err := events.DecodeRecord(v.Position, append(b, 0)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s with a byte more: error %v", v.Name, err)
		}
	}
}
