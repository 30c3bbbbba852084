package events_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
)

func drawName(t *rapid.T, label string, least int) string {
	letter := rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) && r != unicode.ReplacementChar })
	return rapid.StringOfN(letter, least, 60, events.MaxName).Draw(t, label)
}

func drawKind(t *rapid.T) string {
	return rapid.StringMatching(`[a-z$ü0-9_-]{1,12}(\.[a-zA-Z0-9/:]{1,8}){0,4}`).Draw(t, "kind")
}

func drawTime(t *rapid.T, label string) time.Time {
	// From the second of year 1 to the last of year 9999.
	sec := rapid.Int64Range(-62135596799, 253402300799).Draw(t, label+" seconds")
	zone := time.FixedZone("", rapid.IntRange(-14, 14).Draw(t, label+" zone")*1800)
	return time.Unix(sec, rapid.Int64Range(0, 999_999_999).Draw(t, label+" nanoseconds")).In(zone)
}

// drawEvent draws an event as a journal would store it.
func drawEvent(t *rapid.T) events.Event {
	d := events.Draft{
		Stream: drawName(t, "stream", 1), Kind: drawKind(t),
		SchemaVersion: rapid.Uint32().Draw(t, "schema version"),
		ContentType:   drawName(t, "content type", 0), Correlation: drawName(t, "correlation", 0),
		Trace:   drawName(t, "trace", 0),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
	}
	copy(d.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	d.ID[0] |= 0x80 // not zero, and not one of the parents
	if rapid.Bool().Draw(t, "has a time") {
		d.Time = drawTime(t, "time")
	}
	d.Extensions = rapid.MapOfN(rapid.StringMatching(`[a-z0-9]{1,64}`), rapid.StringN(0, 40, 200), 0, 6).Draw(t, "extensions")
	numbers := rapid.SliceOfNDistinct(rapid.ByteRange(1, 255), 0, events.MaxParents, rapid.ID).Draw(t, "parents")
	for _, n := range numbers {
		p := nthRef(n)
		p.Digest[1] = rapid.Byte().Draw(t, "digest")
		p.Position = rapid.Uint64().Draw(t, "parent position")
		d.Parents = append(d.Parents, p)
	}
	if len(d.Parents) > 0 && rapid.Bool().Draw(t, "has a trigger") {
		d.Trigger = rapid.SampledFrom(d.Parents).Draw(t, "trigger").ID
	}
	e, err := seal(d)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	if e.SubjectKey = drawName(t, "subject key", 0); e.SubjectKey != "" {
		if err := e.SetParents(e.Parents); err != nil {
			t.Fatal(err)
		}
	}
	if rapid.Bool().Draw(t, "has an embedding") {
		e.EmbeddingDigest = nthDigest(rapid.Byte().Draw(t, "embedding"))
	}
	e.Position, e.StreamPosition = rapid.Uint64().Draw(t, "position"), rapid.Uint64().Draw(t, "stream position")
	e.Epoch = rapid.Uint32().Draw(t, "epoch")
	e.RecordTime = time.Unix(0, rapid.Int64().Draw(t, "record time"))
	return e
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		var payloadAt uint64
		if rapid.Bool().Draw(t, "payload elsewhere") {
			payloadAt = rapid.Uint64Range(1, math.MaxUint64).Draw(t, "payload at")
		}
		prefix := []byte("kept")
		b := events.AppendRecord(slices.Clone(prefix), &e, payloadAt)
		b, ok := bytes.CutPrefix(b, prefix)
		if !ok {
			t.Fatal("what was in the buffer is gone")
		}
		got, at, err := events.CheckRecord(e.Position, b)
		if err != nil {
			t.Fatal(err)
		}
		if at != payloadAt {
			t.Errorf("the payload is at %d, want %d", at, payloadAt)
		}
		sameEvent(t, got, written(e, payloadAt))
		if got.RecordHash() != e.RecordHash() {
			t.Errorf("record hash %s, want %s", got.RecordHash(), e.RecordHash())
		}
		if again := events.AppendRecord(nil, &got, at); !bytes.Equal(again, b) {
			t.Errorf("written again, the record is\n%x, not\n%x", again, b)
		}
	})
}

func TestDecodedEventOwnsItsMemory(t *testing.T) {
	e := fullEvent(t)
	b := events.AppendRecord(nil, &e, 0)
	got, _, err := events.DecodeRecord(e.Position, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	sameEvent(t, got, written(e, 0))
	// The strings and the payload share one buffer; nothing that a caller
	// can do to the payload may reach a string.
	for i := range got.Payload[:cap(got.Payload)] {
		got.Payload[:cap(got.Payload)][i] = 'x'
	}
	_ = append(got.Payload, "more and more"...)
	want := written(e, 0)
	want.Payload = bytes.Repeat([]byte{'x'}, len(e.Payload))
	sameEvent(t, got, want)
}

func TestCheckRecordFindsChangedBytes(t *testing.T) {
	v := fullVector()
	other := v
	other.Payload = "00" + v.Payload[2:]
	digest := specDigest(v)
	digest[0] ^= 1
	for what, b := range map[string][]byte{
		"the stored digest": replace(v, "causal digest", digest[:]),
		"a causal field":    replace(v, "body/kind", text("order.xlaced")),
		"the payload":       replace(v, "payload", unhex(other.Payload)),
	} {
		if _, _, err := events.DecodeRecord(v.Position, b); err != nil {
			t.Errorf("%s changed: decoding alone fails with %v", what, err)
		}
		_, _, err := events.CheckRecord(v.Position, b)
		if !errors.Is(err, events.ErrMalformed) || !strings.Contains(err.Error(), "position 1000") {
			t.Errorf("%s changed: error %v, want one that wraps ErrMalformed and names the position", what, err)
		}
	}
	// A payload that lies elsewhere cannot be checked here.
	v.PayloadAt = 3
	if _, _, err := events.CheckRecord(v.Position, join(specRecord(v))); err != nil {
		t.Errorf("payload elsewhere: %v", err)
	}
}

// A record whose payload was taken away says so, and has the same digests.
func TestPrunedRecord(t *testing.T) {
	e := mustSeal(t, events.Draft{ID: nthID(9), Stream: "s", Kind: "a.b", Payload: []byte("to be forgotten")})
	e.Position, e.StreamPosition, e.Epoch = 3, 2, 1
	e.RecordTime = time.Unix(1, 2).UTC()
	whole := e.RecordHash()
	e.Payload, e.PayloadState = nil, events.PayloadPruned
	b := events.AppendRecord(nil, &e, 0)
	if bytes.Contains(b, []byte("forgotten")) {
		t.Error("the payload is still there")
	}
	got, payloadAt, err := events.CheckRecord(3, b)
	if err != nil || payloadAt != 0 || got.PayloadState != events.PayloadPruned || got.Payload != nil {
		t.Errorf("%+v, %d, %v", got, payloadAt, err)
	}
	if got.RecordHash() != whole || got.PayloadDigest != events.PayloadDigest([]byte("to be forgotten")) {
		t.Error("its digests are others")
	}
	if _, _, err := events.CheckRecord(3, append(b, 0)); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("a byte where the payload was: %v", err)
	}
	for s, want := range map[events.PayloadState]string{0: "here", 1: "pruned", 2: "erased", 3: "sealed"} {
		if s.String() != want {
			t.Errorf("%d reads %s", s, s)
		}
	}
}
