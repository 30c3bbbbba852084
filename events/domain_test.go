package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
)

func TestDomainEvents(t *testing.T) {
	payload := json.RawMessage(`{"n":[1,2.5,null,"tea"]}`)
	id := "01970000-0000-7000-8000-000000000001"
	for want, v := range map[string]events.DomainEvent{
		`{"type":"agent","event":{"agent_id":"` + id + `","payload":P}}`:                         events.Agent{AgentID: nthID(1), Payload: payload},
		`{"type":"ledger","event":{"transaction_id":"` + id + `","payload":P}}`:                  events.Ledger{TransactionID: nthID(1), Payload: payload},
		`{"type":"resource","event":{"resource_id":"` + id + `","action":"open","payload":P}}`:   events.Resource{ResourceID: nthID(1), Action: "open", Payload: payload},
		`{"type":"security","event":{"principal_id":"` + id + `","event_type":"x","payload":P}}`: events.Security{PrincipalID: nthID(1), EventType: "x", Payload: payload},
		`{"type":"system","event":{"component":"disk","payload":P}}`:                             events.System{Component: "disk", Payload: payload},
		`{"type":"custom","event":{"event_type":"x","payload":P}}`:                               events.Custom{EventType: "x", Payload: payload},
	} {
		d, err := events.NewDomain("shop.note", v)
		if err != nil {
			t.Fatal(err)
		}
		want = strings.Replace(want, "P", string(payload), 1)
		if string(d.Payload) != want {
			t.Errorf("%T is written as\n%s, want\n%s", v, d.Payload, want)
		}
		if bare := (events.Draft{Kind: "shop.note", SchemaVersion: 1, ContentType: events.ContentTypeDomain, Payload: d.Payload}); !reflect.DeepEqual(d, bare) {
			t.Errorf("draft %+v, want only kind, schema version, content type and payload", d)
		}
		if got, err := events.DecodeDomain(journaled(t, d)); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("got %+v, error %v; want %+v", got, err, v)
		}
	}
}

// A payload comes back as the same JSON value. Its bytes may differ: white
// space goes, and <, > and & are written as escapes.
func TestDomainPayloadIsAValue(t *testing.T) {
	for _, tc := range []struct {
		given json.RawMessage
		want  string
	}{
		{json.RawMessage("{ \"a\" :\t1 }"), `{"a":1}`},
		{json.RawMessage(`"<&>"`), `"\u003c\u0026\u003e"`},
		{json.RawMessage(`12345678901234567890.5`), `12345678901234567890.5`},
		{nil, `null`},
	} {
		d, err := events.NewDomain("k", events.Custom{EventType: "x", Payload: tc.given})
		if err != nil {
			t.Errorf("%s: %v", tc.given, err)
			continue
		}
		got, err := events.DecodeDomain(journaled(t, d))
		if c, ok := got.(events.Custom); !ok || err != nil || string(c.Payload) != tc.want {
			t.Errorf("%s came back as %+v, error %v; want %s", tc.given, got, err, tc.want)
		}
	}
}

func TestDomainRefuses(t *testing.T) {
	_, err := events.NewDomain("k", nil)
	wantInvalid(t, err, "payload")
	for _, v := range []events.DomainEvent{events.Agent{Payload: []byte("{")}, events.System{Payload: []byte("{} {}")}} {
		if d, err := events.NewDomain("k", v); err == nil || d.Payload != nil {
			t.Errorf("%T with a payload that is no JSON: %+v", v, d)
		}
	}
	if _, err := events.JSON(make(chan int)); err == nil || !strings.HasPrefix(err.Error(), "events: ") {
		t.Errorf("a channel as JSON: error %v", err)
	}
	if b, err := events.JSON(map[string]int{"b": 2, "a": 1}); err != nil || string(b) != `{"a":1,"b":2}` {
		t.Errorf("JSON gives %s, error %v", b, err)
	}

	tests := []struct {
		name, contentType, payload string
		other                      bool // the error wraps ErrOtherKind
	}{
		{"other content", events.ContentTypeJSON, `{"type":"custom","event":{}}`, true},
		{"another type", events.ContentTypeDomain, `{"type":"memory","event":{}}`, true},
		{"no type", events.ContentTypeDomain, `{}`, true},
		{"no JSON", events.ContentTypeDomain, `{`, false},
		{"no payload", events.ContentTypeDomain, ``, false},
		{"no event", events.ContentTypeDomain, `{"type":"agent"}`, false},
		{"an id of another form", events.ContentTypeDomain, `{"type":"agent","event":{"agent_id":"7"}}`, false},
		{"a field of another type", events.ContentTypeDomain, `{"type":"system","event":{"component":7}}`, false},
	}
	for _, tc := range tests {
		e := events.Event{ID: nthID(1), Kind: "k", ContentType: tc.contentType, Payload: []byte(tc.payload)}
		v, err := events.DecodeDomain(e)
		if v != nil || err == nil || errors.Is(err, events.ErrOtherKind) != tc.other || !strings.Contains(err.Error(), e.ID.String()) {
			t.Errorf("%s: %+v, error %v", tc.name, v, err)
		}
	}
}
