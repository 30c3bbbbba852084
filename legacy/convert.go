package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokaworks/toka/events"
)

// extForm is the extension key on the domain form of an event that was legacy
// first; its value says which form that was. What was a domain event first has
// none, and its legacy form carries the header under headerKey.
const (
	extForm   = "legacyform"
	headerKey = "toka"

	formEvent = "event" // an Event
	formTyped = "typed" // a TypedEvent
)

// logComponent is the component under which the old system kept its log.
const logComponent = "legacy-log"

// ToDomain returns the domain form of a legacy event, ready to be published in
// a stream. Its id and time are the event's. It fails if the event has no id,
// or a payload that is not JSON, or a time that no event can have.
//
// Deprecated: emit domain events.
func ToDomain(stream string, l Event) (events.Draft, error) {
	fail := func(err error) (events.Draft, error) {
		return events.Draft{}, &EventError{fmt.Sprintf("convert event %s", l.ID), err}
	}
	if l.ID.IsZero() {
		return fail(errNoID)
	}
	if d, ok := unwrap(l); ok {
		if stream != "" {
			d.Stream = stream
		}
		return d, nil
	}
	d, err := mark(l)
	if err != nil {
		return fail(err)
	}
	d.Stream = stream
	check := d
	check.Stream = "any" // an empty one is for the caller to set
	if stream != "" {
		check.Stream = stream
	}
	if err := check.Validate(); err != nil {
		return fail(err)
	}
	return d, nil
}

// FromDomain returns the legacy form of an event: of one that was legacy, what
// it was; of any other that holds a domain event, the form that the old system
// gave it, with the header beside. It fails for an event that holds no domain
// event.
//
// Deprecated: receive bus.Message.
func FromDomain(e events.Event) (Event, error) {
	l, err := fromDomain(e)
	if err != nil {
		return Event{}, &EventError{fmt.Sprintf("convert event %s", e.ID), err}
	}
	return l, nil
}

func fromDomain(e events.Event) (Event, error) {
	v, err := events.DecodeDomain(e)
	if err != nil {
		return Event{}, err
	}
	if e.Extensions[extForm] != formEvent {
		return wrap(e, v)
	}
	l := Event{ID: e.ID, Timestamp: e.Time}
	switch v := v.(type) {
	case events.System:
		l.Kind, l.Payload = Log, v.Payload
	case events.Resource:
		l.Kind, l.Payload = EventKind(v.Action), v.Payload
	case events.Custom:
		l.Kind, l.Payload = EventKind(v.EventType), v.Payload
	}
	if again, err := mark(l); err != nil || again.Kind != e.Kind || !same(again.Payload, e.Payload) {
		return Event{}, errors.New("it is marked as a legacy event and is none")
	}
	return l, nil
}

// mark is the domain form of what was legacy first.
func mark(l Event) (events.Draft, error) {
	if !utf8.ValidString(string(l.Kind)) {
		return events.Draft{}, errors.New("its kind is not UTF-8")
	}
	var v events.DomainEvent
	kind := "legacy.custom"
	switch l.Kind {
	case Log:
		v, kind = events.System{Component: logComponent, Payload: orNull(l.Payload)}, "legacy.log"
	case ResourceCreated, ResourceUpdated, ResourceDeleted:
		v = events.Resource{ResourceID: l.ID, Action: string(l.Kind), Payload: orNull(l.Payload)}
		kind = "legacy.resource." + strings.ToLower(strings.TrimPrefix(string(l.Kind), "Resource"))
	default:
		v = events.Custom{EventType: string(l.Kind), Payload: orNull(l.Payload)}
	}
	d, err := events.NewDomain(kind, v)
	d.ID, d.Time, d.Extensions = l.ID, utc(l.Timestamp), map[string]string{extForm: formEvent}
	return d, err
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// header is what a draft holds beside its domain event, id and time.
type header struct {
	Stream        string            `json:"stream,omitempty"`
	Kind          string            `json:"kind"`
	SchemaVersion uint32            `json:"schema_version"`
	Parents       []ref             `json:"parents,omitempty"`
	Trigger       events.ID         `json:"trigger,omitzero"`
	Correlation   string            `json:"correlation,omitempty"`
	Extensions    map[string]string `json:"extensions,omitempty"`
	Trace         string            `json:"trace,omitempty"`
}

type ref struct {
	ID     events.ID     `json:"id"`
	Digest events.Digest `json:"digest,omitzero"`
}

func headerOf(e events.Event) header {
	h := header{
		Stream: e.Stream, Kind: e.Kind, SchemaVersion: e.SchemaVersion, Trigger: e.Trigger,
		Correlation: e.Correlation, Extensions: e.Extensions, Trace: e.Trace,
	}
	for _, p := range e.Parents {
		h.Parents = append(h.Parents, ref{p.ID, p.Digest})
	}
	return h
}

func (h *header) draft(v events.DomainEvent) (events.Draft, error) {
	d, err := events.NewDomain(h.Kind, v)
	d.Stream, d.SchemaVersion, d.Trigger, d.Correlation, d.Trace = h.Stream, h.SchemaVersion, h.Trigger, h.Correlation, h.Trace
	d.Extensions = maps.Clone(h.Extensions)
	for _, p := range h.Parents {
		d.Parents = append(d.Parents, events.Ref{ID: p.ID, Digest: p.Digest})
	}
	return d, err
}

// wrapped is the payload of the legacy form of a domain event: the fields that
// the old system gave it, and the header.
type wrapped struct {
	AgentID       events.ID       `json:"agent_id,omitzero"`
	TransactionID events.ID       `json:"transaction_id,omitzero"`
	ResourceID    events.ID       `json:"resource_id,omitzero"`
	Action        string          `json:"action,omitempty"`
	PrincipalID   events.ID       `json:"principal_id,omitzero"`
	EventType     string          `json:"event_type,omitempty"`
	Component     string          `json:"component,omitempty"`
	Payload       json.RawMessage `json:"payload"`
	Type          string          `json:"type"`
	Header        header          `json:"toka"`
}

// wrap is the legacy form of what was a domain event first. The kinds are those
// that the old system's conversion gave.
func wrap(e events.Event, v events.DomainEvent) (Event, error) {
	if again, err := events.NewDomain(e.Kind, v); err != nil || !same(again.Payload, e.Payload) {
		return Event{}, errors.New("its payload holds more than a domain event, which would be lost")
	}
	w := wrapped{Header: headerOf(e)}
	l := Event{ID: e.ID, Timestamp: utc(e.Time)}
	switch v := v.(type) {
	case events.Agent:
		l.Kind, w.Type, w.AgentID, w.Payload = Custom("agent"), "agent", v.AgentID, v.Payload
	case events.Ledger:
		l.Kind, w.Type, w.TransactionID, w.Payload = Custom("ledger"), "ledger", v.TransactionID, v.Payload
	case events.Resource:
		w.Type, w.ResourceID, w.Action, w.Payload = "resource", v.ResourceID, v.Action, v.Payload
		switch v.Action {
		case "created":
			l.Kind = ResourceCreated
		case "updated":
			l.Kind = ResourceUpdated
		case "deleted":
			l.Kind = ResourceDeleted
		default:
			l.Kind = Custom("resource-" + v.Action)
		}
	case events.Security:
		l.Kind, w.Type, w.PrincipalID, w.EventType, w.Payload = Custom("security"), "security", v.PrincipalID, v.EventType, v.Payload
	case events.System:
		l.Kind, w.Type, w.Component, w.Payload = Custom("system"), "system", v.Component, v.Payload
		if v.Component == logComponent {
			l.Kind = Log
		}
	case events.Custom:
		l.Kind, w.Type, w.EventType, w.Payload = Custom(v.EventType), "custom", v.EventType, v.Payload
	}
	b, err := json.Marshal(w)
	l.Payload = b
	return l, err
}

// unwrap is the inverse of wrap. It answers false for an event that wrap would
// not have made, down to the bytes.
func unwrap(l Event) (events.Draft, bool) {
	var w wrapped
	if json.Unmarshal(l.Payload, &w) != nil || w.Header.Kind == "" || w.Header.Extensions[extForm] == formEvent {
		return events.Draft{}, false
	}
	var v events.DomainEvent
	switch w.Type {
	case "agent":
		v = events.Agent{AgentID: w.AgentID, Payload: w.Payload}
	case "ledger":
		v = events.Ledger{TransactionID: w.TransactionID, Payload: w.Payload}
	case "resource":
		v = events.Resource{ResourceID: w.ResourceID, Action: w.Action, Payload: w.Payload}
	case "security":
		v = events.Security{PrincipalID: w.PrincipalID, EventType: w.EventType, Payload: w.Payload}
	case "system":
		v = events.System{Component: w.Component, Payload: w.Payload}
	case "custom":
		v = events.Custom{EventType: w.EventType, Payload: w.Payload}
	default:
		return events.Draft{}, false
	}
	d, err := w.Header.draft(v)
	d.ID, d.Time = l.ID, utc(l.Timestamp)
	if err != nil {
		return events.Draft{}, false
	}
	if check := d; check.Stream == "" {
		check.Stream = "any"
		err = check.Validate()
	} else {
		err = check.Validate()
	}
	if err != nil {
		return events.Draft{}, false
	}
	again, err := wrap(asEvent(d), v)
	if err != nil || again.Kind != l.Kind || !same(again.Payload, l.Payload) {
		return events.Draft{}, false
	}
	return d, true
}

// asEvent returns what wrap looks at.
func asEvent(d events.Draft) events.Event {
	return events.Event{
		ID: d.ID, Stream: d.Stream, Kind: d.Kind, SchemaVersion: d.SchemaVersion, Time: d.Time, Payload: d.Payload,
		ContentType: d.ContentType, Parents: d.Parents, Trigger: d.Trigger, Correlation: d.Correlation, Extensions: d.Extensions, Trace: d.Trace,
	}
}
