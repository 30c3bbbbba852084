package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
)

type placed struct {
	Order string   `json:"order"`
	Total int      `json:"total"`
	Items []string `json:"items,omitempty"`
}

type paid struct {
	Order string `json:"order"`
}

type orderEvent interface{ orderEvent() }

func (placed) orderEvent() {}
func (*paid) orderEvent()  {}

var (
	_ events.Codec[placed]     = (*events.Type[placed])(nil)
	_ events.Codec[orderEvent] = (*events.Union[orderEvent])(nil)
)

// journaled returns d as the event that a reader sees.
func journaled(t *testing.T, d events.Draft) events.Event {
	t.Helper()
	d.Stream = "order/7"
	e, err := d.Seal(nthID(200), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := events.CheckRecord(1, events.AppendRecord(nil, &e, 0))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestType(t *testing.T) {
	typ := events.NewType[placed]("order.placed", 2)
	if typ.Kind() != "order.placed" || !slices.Equal(typ.Kinds(), []string{"order.placed"}) {
		t.Errorf("kind %q, kinds %q", typ.Kind(), typ.Kinds())
	}
	for _, want := range []placed{{}, {Order: "7", Total: -1, Items: []string{"tea", "<&>"}}} {
		d, err := typ.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		if bare := (events.Draft{Kind: "order.placed", SchemaVersion: 2, ContentType: events.ContentTypeJSON, Payload: d.Payload}); !reflect.DeepEqual(d, bare) {
			t.Errorf("draft %+v, want only kind, schema version, content type and payload", d)
		}
		if got, err := typ.Decode(journaled(t, d)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, error %v; want %+v", got, err, want)
		}
	}

	e := events.Event{ID: nthID(1), Kind: "order.paid", Payload: []byte(`{"order":"7"}`)}
	if got, err := typ.Decode(e); !errors.Is(err, events.ErrOtherKind) || !strings.Contains(err.Error(), "order.paid") || got.Order != "" {
		t.Errorf("another kind: %+v, error %v", got, err)
	}
	for _, payload := range []string{"", "{", `{"total":"many"}`, "[]", `{} {}`} {
		e := events.Event{ID: nthID(1), Kind: "order.placed", Payload: []byte(payload)}
		_, err := typ.Decode(e)
		if err == nil || errors.Is(err, events.ErrOtherKind) || !strings.Contains(err.Error(), e.ID.String()) {
			t.Errorf("payload %q: error %v, want one that names the event", payload, err)
		}
	}
	_, err := events.NewType[func()]("f", 1).Encode(func() {})
	if _, ok := errors.AsType[*json.UnsupportedTypeError](err); !ok || !strings.HasPrefix(err.Error(), "encode f: ") {
		t.Errorf("a function as a payload: error %v", err)
	}
}

func TestUnion(t *testing.T) {
	u := events.NewUnion(
		events.Case[orderEvent, placed]("order.placed", 1),
		events.Case[orderEvent, *paid]("order.paid", 3),
	)
	if got := u.Kinds(); !slices.Equal(got, []string{"order.placed", "order.paid"}) {
		t.Errorf("kinds %q", got)
	}
	for kind, want := range map[string]orderEvent{
		"order.placed": placed{Order: "7", Total: 42},
		"order.paid":   &paid{Order: "7"},
	} {
		d, err := u.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		if d.Kind != kind || d.ContentType != events.ContentTypeJSON || d.SchemaVersion == 0 {
			t.Errorf("draft %+v of %T", d, want)
		}
		if got, err := u.Decode(journaled(t, d)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, error %v; want %#v", got, err, want)
		}
	}

	got, err := u.Decode(events.Event{ID: nthID(1), Kind: "order.lost"})
	if got != nil || !errors.Is(err, events.ErrOtherKind) || !strings.Contains(err.Error(), "order.lost") {
		t.Errorf("another kind: %v, error %v", got, err)
	}
	got, err = u.Decode(events.Event{ID: nthID(1), Kind: "order.placed", Payload: []byte("{")})
	if got != nil || err == nil || errors.Is(err, events.ErrOtherKind) {
		t.Errorf("a payload that is no JSON: %v, error %v", got, err)
	}
	for _, v := range []orderEvent{nil, &placed{}} {
		if _, err := u.Encode(v); err == nil || !strings.Contains(err.Error(), "not a case") {
			t.Errorf("%T is no case, but the error is %v", v, err)
		}
	}
}

// An old kind of the same type can still be read: the first case is the one
// that is written.
func TestUnionWithTwoKindsOfOneType(t *testing.T) {
	u := events.NewUnion(
		events.Case[orderEvent, placed]("order.placed", 2),
		events.Case[orderEvent, placed]("order.created", 1),
	)
	d, err := u.Encode(placed{Order: "7"})
	if err != nil || d.Kind != "order.placed" {
		t.Errorf("written as %s, error %v", d.Kind, err)
	}
	d.Kind = "order.created"
	if got, err := u.Decode(journaled(t, d)); err != nil || !reflect.DeepEqual(got, placed{Order: "7"}) {
		t.Errorf("the old kind is read as %+v, error %v", got, err)
	}
}

func TestCodecMisusePanics(t *testing.T) {
	mustPanic(t, "NewType", func() { events.NewType[placed]("", 1) })
	mustPanic(t, "invalid kind", func() { events.NewType[placed]("order.*", 1) })
	mustPanic(t, "placed", func() { events.Case[interface{ unpaid() }, placed]("order.placed", 1) })
	mustPanic(t, "paid", func() { events.Case[orderEvent, paid]("order.paid", 1) }) // only *paid is one
	mustPanic(t, "invalid kind", func() { events.Case[orderEvent, placed]("order..placed", 1) })
	mustPanic(t, "no cases", func() { events.NewUnion[orderEvent]() })
	mustPanic(t, "order.placed", func() {
		events.NewUnion(events.Case[orderEvent, placed]("order.placed", 1), events.Case[orderEvent, *paid]("order.placed", 1))
	})
	mustPanic(t, "Case", func() { events.NewUnion(events.Variant[orderEvent]{}) })
}

// A payload that is gone is said to be, not to be malformed.
func TestDecodeWhatIsGone(t *testing.T) {
	type noted struct{ Text string }
	notes := events.NewType[noted]("note.taken", 1)
	for _, state := range []events.PayloadState{events.PayloadPruned, events.PayloadErased, events.PayloadSealed} {
		_, err := notes.Decode(events.Event{Kind: "note.taken", PayloadState: state})
		if !errors.Is(err, events.ErrPayloadGone) || !strings.Contains(err.Error(), "it is "+state.String()) {
			t.Errorf("%v: %v", state, err)
		}
		_, err = events.DecodeDomain(events.Event{ContentType: events.ContentTypeDomain, PayloadState: state})
		if !errors.Is(err, events.ErrPayloadGone) {
			t.Errorf("%v: %v", state, err)
		}
	}
}
