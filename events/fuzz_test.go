package events_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/tokaworks/toka/events"
)

// Whatever is decoded is written back as the same bytes, and whatever is not
// is refused as malformed.
func FuzzDecodeRecord(f *testing.F) {
	for _, v := range readGolden(f).Events {
		b := unhex(v.Record)
		f.Add(v.Position, b)
		f.Add(v.Position, b[:len(b)/2])
		f.Add(v.Position, append(slices.Clone(b), 0))
		for _, at := range []int{0, 1, 2, 12, 44, 45, 46, 62, len(b) - 1} {
			mutated := slices.Clone(b)
			mutated[at] ^= 0x81
			f.Add(v.Position, mutated)
		}
	}
	f.Fuzz(func(t *testing.T, position uint64, b []byte) {
		given := slices.Clone(b)
		e, at, err := events.DecodeRecord(position, b)
		checked, _, checkErr := events.CheckRecord(position, b)
		if !bytes.Equal(b, given) {
			t.Fatal("decoding changed the bytes")
		}
		if checkErr != nil && !errors.Is(checkErr, events.ErrMalformed) {
			t.Fatalf("check: %v", checkErr)
		}
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) || checkErr == nil {
				t.Fatalf("decode: %v; check: %v", err, checkErr)
			}
			return
		}
		if again := events.AppendRecord(nil, &e, at); !bytes.Equal(again, b) {
			t.Fatalf("decoded\n%x\nand written as\n%x", b, again)
		}
		if checkErr != nil {
			return
		}
		// What is sound is what could have been sealed from its own parts.
		d := events.Draft{
			ID: e.ID, Stream: e.Stream, Kind: e.Kind, SchemaVersion: e.SchemaVersion, Time: e.Time,
			ContentType: e.ContentType, Payload: e.Payload, Parents: e.Parents, Trigger: e.Trigger,
			Correlation: e.Correlation, Extensions: e.Extensions, Trace: e.Trace,
		}
		sealed, err := seal(d)
		if err != nil {
			t.Fatalf("decoded, but cannot be sealed: %v", err)
		}
		sealed.SubjectKey, sealed.PayloadDigest = checked.SubjectKey, checked.PayloadDigest
		if err := sealed.SetParents(sealed.Parents); err != nil || sealed.Digest != e.Digest {
			t.Fatalf("sealed again: digest %s, error %v; want %s", sealed.Digest, err, e.Digest)
		}
	})
}
