package events_test

import (
	"bytes"
	"testing"

	"github.com/tokaworks/toka/events"
)

// benchDraft is a common event: 200 bytes of payload and two parents.
func benchDraft() events.Draft {
	return events.Draft{
		ID: nthID(200), Stream: "order/7", Kind: "order.placed", SchemaVersion: 1,
		ContentType: events.ContentTypeJSON, Payload: bytes.Repeat([]byte("x"), 200),
		Parents: []events.Ref{nthRef(2), nthRef(1)}, Trigger: nthID(1),
	}
}

func BenchmarkSeal(b *testing.B) {
	d := benchDraft()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Seal(events.ID{}, d.Parents); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	e := mustSeal(b, benchDraft())
	e.Position, e.StreamPosition, e.Epoch, e.RecordTime = 1_000_000, 1000, 1, recorded
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = events.AppendRecord(buf[:0], &e, 0)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeRecord(b *testing.B) {
	e := mustSeal(b, benchDraft())
	e.Position, e.StreamPosition, e.Epoch, e.RecordTime = 1_000_000, 1000, 1, recorded
	buf := events.AppendRecord(nil, &e, 0)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := events.DecodeRecord(e.Position, buf); err != nil {
			b.Fatal(err)
		}
	}
}
