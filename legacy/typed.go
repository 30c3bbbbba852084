package legacy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// TypedEvent is an event of the memory bus's time: one of a closed set of
// types, with a source and a time in whole seconds.
//
// Deprecated: emit domain events over a bus.Bus.
type TypedEvent struct {
	ID        string // a UUID, as a rule
	Type      EventType
	Source    string
	Timestamp uint64 // seconds since 1970
}

// EventType is one of the structs of the groups Auth, Agent, Tool and Vault,
// or Generic, or Unknown.
//
// Deprecated: use events.DomainEvent.
type EventType interface{ variant() (group, name string) }

// Generic is what had no type of its own.
//
// Deprecated: use events.Custom.
type Generic struct {
	EventType string          `json:"event_type"`
	Data      json.RawMessage `json:"data"`
}

// Unknown is the JSON of a type that this package does not know, as it came.
//
// Deprecated: it only keeps what another version wrote.
type Unknown struct{ JSON json.RawMessage }

func (Generic) variant() (group, name string) { return "Generic", "" }
func (Unknown) variant() (group, name string) { return "", "" }

// marshalType writes the form of the old system, such as
// {"Auth":{"UserLogin":{"user_id":"ada","timestamp":1}}}.
func marshalType(t EventType) (json.RawMessage, error) {
	switch u := t.(type) {
	case nil:
		return nil, errors.New("it has no type")
	case Unknown:
		if known, err := unmarshalType(u.JSON); err != nil {
			return nil, err
		} else if _, ok := known.(Unknown); !ok {
			return nil, fmt.Errorf("its type is known: use %T", known)
		}
		return json.Marshal(u.JSON)
	}
	group, name := t.variant()
	if name == "" {
		return json.Marshal(map[string]any{group: t})
	}
	return json.Marshal(map[string]any{group: map[string]any{name: t}})
}

func unmarshalType(b json.RawMessage) (EventType, error) {
	if !json.Valid(b) {
		return nil, errors.New("its type is not JSON")
	}
	unknown := func() (EventType, error) {
		var compact bytes.Buffer
		err := json.Compact(&compact, b)
		return Unknown{compact.Bytes()}, err
	}
	group, content, ok := only(b)
	if !ok {
		return unknown()
	}
	var t EventType
	var err error
	if group == "Generic" {
		t, err = decode[Generic](content)
	} else {
		name, fields, ok := only(content)
		f := variants[[2]string{group, name}]
		if !ok || f == nil {
			return unknown()
		}
		t, err = f(fields)
	}
	if err != nil {
		return unknown()
	}
	// A field more or less is a variant of another version: it would be lost.
	if again, err := marshalType(t); err != nil || !same(again, b) {
		return unknown()
	}
	return t, nil
}

// only returns the only member of a JSON object.
func only(b json.RawMessage) (key string, value json.RawMessage, ok bool) {
	var m map[string]json.RawMessage
	if json.Unmarshal(b, &m) != nil || len(m) != 1 {
		return "", nil, false
	}
	for k, v := range m {
		key, value = k, v
	}
	return key, value, true
}

func decode[T EventType](b json.RawMessage) (EventType, error) {
	var t T
	err := json.Unmarshal(b, &t)
	return t, err
}

// MarshalJSON writes the form of the old system.
func (t TypedEvent) MarshalJSON() ([]byte, error) {
	b, err := marshalType(t.Type)
	if err != nil {
		return nil, err
	}
	return json.Marshal(typedJSON{t.ID, b, t.Source, t.Timestamp})
}

// UnmarshalJSON reads the form of the old system.
func (t *TypedEvent) UnmarshalJSON(b []byte) error {
	var j typedJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	v, err := unmarshalType(j.Type)
	if err != nil {
		return err
	}
	*t = TypedEvent{j.ID, v, j.Source, j.Timestamp}
	return nil
}

type typedJSON struct {
	ID        string          `json:"id"`
	Type      json.RawMessage `json:"event_type"`
	Source    string          `json:"source"`
	Timestamp uint64          `json:"timestamp"`
}

// typedKind is the kind of the domain form, and its event type.
const typedKind = "legacy.typed"

// wrappedType is the Generic type under which an event that was a domain event
// first goes over the older bus.
const wrappedType = "toka.domain"

// TypedToDomain returns the domain form of an older typed event, ready to be
// published: its stream is the source, its time the timestamp, its id the
// event's where that is a UUID and derived from it elsewhere. It fails where
// something would be lost.
//
// Deprecated: emit domain events.
func TypedToDomain(t TypedEvent) (events.Draft, error) {
	d, err := typedToDomain(t)
	if err != nil {
		return events.Draft{}, &EventError{fmt.Sprintf("convert event %q", t.ID), err}
	}
	return d, nil
}

func typedToDomain(t TypedEvent) (events.Draft, error) {
	if g, ok := t.Type.(Generic); ok && g.EventType == wrappedType {
		if d, ok := unwrapTyped(t, g); ok {
			return d, nil
		}
	}
	if t.Timestamp > math.MaxInt64 {
		return events.Draft{}, fmt.Errorf("timestamp %d: seconds are expected", t.Timestamp)
	}
	// The whole event is the payload, so that nothing depends on what a
	// stream's name or an id may be.
	b, err := json.Marshal(t)
	if err != nil {
		return events.Draft{}, err
	}
	d, err := events.NewDomain(typedKind, events.Custom{EventType: typedKind, Payload: b})
	if err != nil {
		return events.Draft{}, err
	}
	if d.ID, err = events.ParseID(t.ID); err != nil || d.ID.IsZero() {
		d.ID = events.IngestedID("legacy", t.ID)
	}
	d.Stream, d.Time, d.Extensions = t.Source, time.Unix(int64(t.Timestamp), 0).UTC(), map[string]string{extForm: formTyped}
	return d, d.Validate()
}

// TypedFromDomain returns the older typed form of an event: of one that had
// that form, what it was; of any other that holds a domain event, a Generic with
// the whole of it. A time of no whole seconds is kept beside Timestamp.
//
// Deprecated: receive bus.Message.
func TypedFromDomain(e events.Event) (TypedEvent, error) {
	t, err := typedFromDomain(e)
	if err != nil {
		return TypedEvent{}, &EventError{fmt.Sprintf("convert event %s", e.ID), err}
	}
	return t, nil
}

func typedFromDomain(e events.Event) (TypedEvent, error) {
	if e.Extensions[extForm] != formTyped {
		return wrapTyped(e)
	}
	v, err := events.DecodeDomain(e)
	if err != nil {
		return TypedEvent{}, err
	}
	var t TypedEvent
	c, ok := v.(events.Custom)
	if !ok || json.Unmarshal(c.Payload, &t) != nil {
		return TypedEvent{}, errors.New("it is marked as a typed event and is none")
	}
	if again, err := typedToDomain(t); err != nil || again.ID != e.ID || again.Stream != e.Stream || !again.Time.Equal(e.Time) || !same(again.Payload, e.Payload) {
		return TypedEvent{}, errors.New("it is marked as a typed event and is none")
	}
	return t, nil
}

func wrapTyped(e events.Event) (TypedEvent, error) {
	l, err := FromDomain(e)
	if err != nil {
		return TypedEvent{}, err
	}
	b, err := json.Marshal(l)
	if err != nil {
		return TypedEvent{}, err
	}
	return TypedEvent{ID: e.ID.String(), Type: Generic{wrappedType, b}, Source: e.Stream, Timestamp: uint64(max(l.Timestamp.Unix(), 0))}, nil
}

// unwrapTyped is the inverse of wrapTyped, and answers false for what that
// would not have made.
func unwrapTyped(t TypedEvent, g Generic) (events.Draft, bool) {
	var l Event
	if json.Unmarshal(g.Data, &l) != nil {
		return events.Draft{}, false
	}
	d, err := ToDomain(t.Source, l)
	if err != nil || d.Extensions[extForm] == formTyped {
		return events.Draft{}, false
	}
	again, err := wrapTyped(asEvent(d))
	if err != nil || again.ID != t.ID || again.Source != t.Source || again.Timestamp != t.Timestamp || !same(again.Type.(Generic).Data, g.Data) {
		return events.Draft{}, false
	}
	return d, true
}

// Emit publishes an older typed event of now over any bus.
//
// Deprecated: use bus.Bus.Emit with a domain event.
func Emit(ctx context.Context, b bus.Bus, t EventType, source string) error {
	id := events.IngestedID("legacy", fmt.Sprint(source, time.Now().UnixNano()))
	d, err := TypedToDomain(TypedEvent{ID: id.String(), Type: t, Source: source, Timestamp: uint64(time.Now().Unix())})
	if err == nil {
		_, err = b.Publish(ctx, d)
	}
	return err
}
