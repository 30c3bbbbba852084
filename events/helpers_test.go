package events_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
)

// recorded is when the events of these tests were journaled.
var recorded = time.Date(2025, 6, 23, 0, 11, 0, 42, time.UTC)

func mustID(s string) events.ID {
	id, err := events.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// nthID and nthDigest return distinct, recognisable values; the digests ascend
// with n.
func nthID(n byte) events.ID {
	return events.ID{0x01, 0x97, 6: 0x70, 8: 0x80, 15: n}
}

func nthDigest(n byte) events.Digest { return events.Digest{0: n, 31: 1} }

func nthRef(n byte) events.Ref {
	return events.Ref{ID: nthID(n), Digest: nthDigest(n), Position: uint64(n)}
}

// fullDraft returns a draft with every field set that Seal keeps, new for each
// caller.
func fullDraft() events.Draft {
	return events.Draft{
		ID:            nthID(200),
		Stream:        "order/7",
		Kind:          "order.placed",
		SchemaVersion: 3,
		Time:          time.Date(2025, 6, 23, 0, 10, 59, 999_999_999, time.UTC),
		ContentType:   events.ContentTypeJSON,
		Payload:       []byte(`{"total":42}`),
		Parents:       []events.Ref{nthRef(2), nthRef(1)},
		Trigger:       nthID(1),
		Correlation:   "basket 9",
		Extensions:    map[string]string{events.ExtOutsideID: "A-1", "partition": "eu"},
		Trace:         "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
}

// seal is Draft.Seal with the parents that the draft itself names.
func seal(d events.Draft) (events.Event, error) { return d.Seal(events.ID{}, d.Parents) }

func mustSeal(t testing.TB, d events.Draft) events.Event {
	t.Helper()
	e, err := seal(d)
	if err != nil {
		t.Fatalf("seal: %v", err)
	}
	return e
}

// fullEvent returns fullDraft journaled, with the fields that only a journal
// sets.
func fullEvent(t testing.TB) events.Event {
	t.Helper()
	e := mustSeal(t, fullDraft())
	e.SubjectKey = "customer-9"
	if err := e.SetParents(e.Parents); err != nil {
		t.Fatal(err)
	}
	e.EmbeddingDigest = events.EmbeddingDigest([]byte{1, 2, 3})
	e.Position, e.StreamPosition, e.Epoch, e.RecordTime = 1000, 20, 2, recorded
	return e
}

// written returns e as a reader of its record has to see it: empty is nil, and
// a payload that lies elsewhere is not there.
func written(e events.Event, payloadAt uint64) events.Event {
	if len(e.Payload) == 0 || payloadAt != 0 {
		e.Payload = nil
	}
	if len(e.Parents) == 0 {
		e.Parents = nil
	}
	if len(e.Extensions) == 0 {
		e.Extensions = nil
	}
	if !e.Time.IsZero() {
		e.Time = e.Time.UTC()
	}
	e.RecordTime = e.RecordTime.UTC()
	e.Intent = events.Intent{}
	return e
}

func sameEvent(t interface {
	Helper()
	Errorf(string, ...any)
}, got, want events.Event,
) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s is %+v, want %+v", g.Type().Field(i).Name, g.Field(i), w.Field(i))
		}
	}
}

// wantInvalid checks that err is an InvalidError that names field and gives a
// reason.
func wantInvalid(t testing.TB, err error, field string) {
	t.Helper()
	inv, ok := errors.AsType[*events.InvalidError](err)
	switch {
	case !ok:
		t.Errorf("error %v, want an *InvalidError about %s", err, field)
	case inv.Field != field:
		t.Errorf("error %q is about %q, want %q", err, inv.Field, field)
	case !errors.Is(err, events.ErrInvalid):
		t.Errorf("error %q does not wrap ErrInvalid", err)
	case inv.Reason == "" || !strings.Contains(err.Error(), field) || len(err.Error()) > 600:
		t.Errorf("error %q should name the field and give a short reason", err)
	}
}

// mustPanic checks that f panics with a text of this package that holds want.
func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		got, _ := recover().(string)
		if !strings.HasPrefix(got, "events: ") || !strings.Contains(got, want) {
			t.Errorf("panic %q, want events: …%s…", got, want)
		}
	}()
	f()
}

// tagSum hashes b under a domain tag, from the words of doc.go alone.
func tagSum(tag string, b ...byte) events.Digest {
	padded := make([]byte, 16)
	copy(padded, tag)
	return blake3.Sum256(append(padded, b...))
}
