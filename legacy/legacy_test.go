package legacy_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal/eventbus"
	"github.com/tokaworks/toka/legacy"
)

// Generators.

var anyID = rapid.Custom(func(t *rapid.T) events.ID {
	return events.IngestedID("rapid", rapid.StringN(0, 20, 40).Draw(t, "id"))
})

var anyTime = rapid.Custom(func(t *rapid.T) time.Time {
	if rapid.IntRange(0, 9).Draw(t, "zero") == 0 {
		return time.Time{}
	}
	return time.Unix(rapid.Int64Range(-62_000_000_000, 250_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
})

func anyJSON(t *rapid.T, depth int) any {
	switch n := rapid.IntRange(0, 6).Draw(t, "json"); {
	case n == 0:
		return nil
	case n == 1:
		return rapid.Bool().Draw(t, "bool")
	case n == 2:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
	case n == 3 || depth == 0:
		return rapid.String().Draw(t, "string")
	case n == 4:
		return []any{anyJSON(t, depth-1), anyJSON(t, depth-1)}
	default:
		m := map[string]any{}
		for _, k := range rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"resource_id", "toka", "type", "payload", "event_type", "Custom"})), 0, 4).Draw(t, "keys") {
			m[k] = anyJSON(t, depth-1)
		}
		return m
	}
}

var anyPayload = rapid.Custom(func(t *rapid.T) json.RawMessage {
	b, err := json.Marshal(anyJSON(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	return b
})

var anyKind = rapid.Custom(func(t *rapid.T) legacy.EventKind {
	name := rapid.OneOf(rapid.StringN(0, 10, 40), rapid.SampledFrom([]string{
		"agent", "ledger", "security", "system", "custom", "resource-moved", "Log", "legacy.log", "Custom:x", "toka.domain", "json:1",
	})).Draw(t, "name")
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return legacy.Log
	case 1:
		return legacy.ResourceCreated
	case 2:
		return legacy.ResourceUpdated
	case 3:
		return legacy.ResourceDeleted
	case 4:
		return legacy.EventKind("Unheard" + name) // of another version
	default:
		return legacy.Custom(name)
	}
})

var anyEvent = rapid.Custom(func(t *rapid.T) legacy.Event {
	return legacy.Event{ID: anyID.Draw(t, "event"), Kind: anyKind.Draw(t, "kind"), Payload: anyPayload.Draw(t, "payload"), Timestamp: anyTime.Draw(t, "time")}
})

var anyDomain = rapid.Custom(func(t *rapid.T) events.DomainEvent {
	id, p := anyID.Draw(t, "subject"), anyPayload.Draw(t, "payload")
	if rapid.IntRange(0, 9).Draw(t, "nobody") == 0 {
		id = events.ID{}
	}
	text := rapid.OneOf(rapid.StringN(0, 10, 40), rapid.SampledFrom([]string{"created", "updated", "deleted", "moved", "legacy-log", "agent", "toka.domain"})).Draw(t, "text")
	return rapid.SampledFrom([]events.DomainEvent{
		events.Agent{AgentID: id, Payload: p},
		events.Ledger{TransactionID: id, Payload: p},
		events.Resource{ResourceID: id, Action: text, Payload: p},
		events.Security{PrincipalID: id, EventType: text, Payload: p},
		events.System{Component: text, Payload: p},
		events.Custom{EventType: text, Payload: p},
	}).Draw(t, "domain")
})

var anyDraft = rapid.Custom(func(t *rapid.T) events.Draft {
	d, err := events.NewDomain(rapid.SampledFrom([]string{"some.kind", "legacy.log", "legacy.custom", "legacy.typed"}).Draw(t, "kind"), anyDomain.Draw(t, "domain"))
	if err != nil {
		t.Fatal(err)
	}
	d.ID, d.Time = anyID.Draw(t, "id"), anyTime.Draw(t, "time")
	d.Stream = rapid.SampledFrom([]string{"stream", "a/b", "ä"}).Draw(t, "stream")
	d.SchemaVersion = rapid.Uint32().Draw(t, "version")
	for i := range rapid.IntRange(0, 3).Draw(t, "parents") {
		p := events.Draft{Stream: "p", Kind: "p"}
		e, err := p.Seal(events.IngestedID("parent", string(rune('a'+i))), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.Parents = append(d.Parents, e.Ref())
		d.Trigger = e.ID
	}
	if rapid.Bool().Draw(t, "more") {
		d.Correlation, d.Trace, d.Extensions = "story", "trace", map[string]string{"key": rapid.String().Draw(t, "value")}
	}
	return d
})

func seal(t *rapid.T, d events.Draft) events.Event {
	e, err := d.Seal(d.ID, d.Parents)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func wantLegacy(t *rapid.T, got, want legacy.Event) {
	if got.ID != want.ID || got.Kind != want.Kind || !got.Timestamp.Equal(want.Timestamp) || !reflect.DeepEqual(parsed(t, got.Payload), parsed(t, want.Payload)) {
		t.Fatalf("got  %s %s %v %s\nwant %s %s %v %s", got.ID, got.Kind, got.Timestamp, got.Payload, want.ID, want.Kind, want.Timestamp, want.Payload)
	}
}

func parsed(t *rapid.T, b []byte) (v any) {
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return v
}

// Properties.

func TestLegacyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent.Draw(t, "event")
		d, err := legacy.ToDomain("stream", want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := legacy.FromDomain(seal(t, d))
		if err != nil {
			t.Fatal(err)
		}
		wantLegacy(t, got, want)
	})
}

func TestDomainRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := seal(t, anyDraft.Draw(t, "draft"))
		l, err := legacy.FromDomain(want)
		if err != nil {
			t.Fatal(err)
		}
		// The legacy form is itself one that survives.
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var read legacy.Event
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		wantLegacy(t, read, l)
		d, err := legacy.ToDomain("", read)
		if err != nil {
			t.Fatal(err)
		}
		// The causal digest commits to everything but the trace.
		if got := seal(t, d); got.Digest != want.Digest || got.Trace != want.Trace {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

var anyTyped = rapid.Custom(func(t *rapid.T) legacy.TypedEvent {
	s := rapid.StringN(0, 8, 30)
	types := []legacy.EventType{
		legacy.AuthUserLogin{UserID: s.Draw(t, "user"), Timestamp: rapid.Uint64().Draw(t, "at")},
		legacy.AuthFailure{AttemptInfo: s.Draw(t, "info"), Timestamp: 7},
		legacy.AgentBeliefUpdated{AgentID: s.Draw(t, "agent"), BeliefKey: "k", Probability: rapid.Float64Range(0, 1).Draw(t, "p")},
		legacy.ToolCompleted{ToolName: "t", DurationMS: rapid.Uint64().Draw(t, "ms"), Success: rapid.Bool().Draw(t, "ok")},
		legacy.ToolError{ToolName: "t", Error: s.Draw(t, "error")},
		legacy.VaultUnlocked{VaultID: "v", UserID: "u", Timestamp: 1},
		legacy.Generic{EventType: rapid.SampledFrom([]string{"any", "toka.domain"}).Draw(t, "generic"), Data: anyPayload.Draw(t, "data")},
		legacy.Unknown{JSON: json.RawMessage(`{"Memory":{"Stored":{"n":1}}}`)},
		legacy.Unknown{JSON: json.RawMessage(`{"Auth":{"UserLogin":{"user_id":"u","timestamp":1,"device":"new"}}}`)},
	}
	id := anyID.Draw(t, "id").String()
	if rapid.Bool().Draw(t, "odd") {
		id = s.Draw(t, "odd id")
	}
	return legacy.TypedEvent{
		ID: id, Type: rapid.SampledFrom(types).Draw(t, "type"),
		Source: rapid.SampledFrom([]string{"source", "auth/service"}).Draw(t, "source"), Timestamp: rapid.Uint64Range(0, 250_000_000_000).Draw(t, "seconds"),
	}
})

func TestTypedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyTyped.Draw(t, "event")
		d, err := legacy.TypedToDomain(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := legacy.TypedFromDomain(seal(t, d))
		if err != nil {
			t.Fatal(err)
		}
		a, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) || reflect.TypeOf(got.Type) != reflect.TypeOf(want.Type) {
			t.Fatalf("got  %s\nwant %s", b, a)
		}
	})
}

func TestDomainThroughTyped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := seal(t, anyDraft.Draw(t, "draft"))
		old, err := legacy.TypedFromDomain(want)
		if err != nil {
			t.Fatal(err)
		}
		d, err := legacy.TypedToDomain(old)
		if err != nil {
			t.Fatal(err)
		}
		if got := seal(t, d); got.Digest != want.Digest || got.Trace != want.Trace {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestKindJSON(t *testing.T) {
	for text, want := range map[string]legacy.EventKind{
		`"Log"`: legacy.Log, `"ResourceDeleted"`: legacy.ResourceDeleted, `{"Custom":"order.placed"}`: legacy.Custom("order.placed"),
	} {
		var k legacy.EventKind
		if err := json.Unmarshal([]byte(text), &k); err != nil || k != want {
			t.Errorf("%s: %q, %v", text, k, err)
		}
	}
	for _, text := range []string{`"Log"`, `"Moved"`, `"Custom:x"`, `"json:1"`, `{"Custom":"x"}`, `{"Custom":7}`, `{"Moved":{"to":[1,2]}}`, `null`, `7`, `""`} {
		var k legacy.EventKind
		if err := json.Unmarshal([]byte(text), &k); err != nil && text != "null" {
			t.Fatalf("%s: %v", text, err)
		}
		if b, err := json.Marshal(k); text != "null" && (err != nil || string(b) != text) {
			t.Errorf("%s came back as %s, %v", text, b, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	var failed *legacy.EventError
	for what, payload := range map[string]any{"channel": make(chan int), "function": func() {}, "not a number": math.NaN()} {
		if e, err := legacy.NewEvent(legacy.Log, payload); !errors.As(err, &failed) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
	good, err := legacy.NewEvent(legacy.Log, "fine")
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*legacy.Event){
		"no id":              func(e *legacy.Event) { e.ID = events.ID{} },
		"payload not JSON":   func(e *legacy.Event) { e.Payload = []byte("{") },
		"time of no year":    func(e *legacy.Event) { e.Timestamp = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"kind not UTF-8":     func(e *legacy.Event) { e.Kind = legacy.Custom("\xff") },
		"payload over limit": func(e *legacy.Event) { e.Payload = make([]byte, events.MaxPayload+1) },
	} {
		e := good
		change(&e)
		if d, err := legacy.ToDomain("s", e); !errors.As(err, &failed) {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
	for what, e := range map[string]legacy.TypedEvent{
		"no type":           {ID: "1", Source: "s"},
		"no source":         {ID: "1", Type: legacy.Generic{EventType: "x"}},
		"too many seconds":  {ID: "1", Source: "s", Type: legacy.Generic{EventType: "x"}, Timestamp: math.MaxUint64},
		"year 33658":        {ID: "1", Source: "s", Type: legacy.Generic{EventType: "x"}, Timestamp: 1_000_000_000_000},
		"unknown not JSON":  {ID: "1", Source: "s", Type: legacy.Unknown{JSON: []byte("{")}},
		"unknown but known": {ID: "1", Source: "s", Type: legacy.Unknown{JSON: []byte(`{"Generic":{"event_type":"x","data":1}}`)}},
	} {
		if d, err := legacy.TypedToDomain(e); !errors.As(err, &failed) {
			t.Errorf("%s: %+v, %v", what, d, err)
		}
	}
	for what, e := range map[string]events.Event{
		"no domain event": {Kind: "some.kind", Payload: []byte("x")},
		"forged":          {Kind: "some.kind", ContentType: events.ContentTypeDomain, Extensions: map[string]string{"legacyform": "event"}, Payload: []byte(`{"type":"agent","event":{"agent_id":"","payload":1}}`)},
		"more than a domain event": {
			Kind: "some.kind", ContentType: events.ContentTypeDomain,
			Payload: []byte(`{"type":"system","event":{"component":"c","payload":1,"more":2}}`),
		},
	} {
		if l, err := legacy.FromDomain(e); !errors.As(err, &failed) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
		if l, err := legacy.TypedFromDomain(e); !errors.As(err, &failed) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}

func TestSeconds(t *testing.T) {
	var old legacy.TypedEvent
	text := `{"id":"0b9f2c1e-4a5d-4e6f-8a7b-9c0d1e2f3a4b","event_type":{"Auth":{"UserLogin":{"user_id":"ada","timestamp":1750637000}}},"source":"auth","timestamp":1750637001}`
	if err := json.Unmarshal([]byte(text), &old); err != nil {
		t.Fatal(err)
	}
	if login, ok := old.Type.(legacy.AuthUserLogin); !ok || login.UserID != "ada" || login.Timestamp != 1750637000 {
		t.Errorf("read %+v", old)
	}
	d, err := legacy.TypedToDomain(old)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2025, 6, 23, 0, 3, 21, 0, time.UTC); !d.Time.Equal(want) || d.ID.String() != old.ID || d.Stream != "auth" {
		t.Errorf("%v, want %v: %+v", d.Time, want, d)
	}
	if b, err := json.Marshal(old); err != nil || string(b) != text {
		t.Errorf("%s, %v", b, err)
	}
}

func TestCausalHashVectors(t *testing.T) {
	one, two := events.Digest{}, events.Digest{}
	for i := range one {
		one[i], two[i] = 1, 2
	}
	for _, c := range []struct {
		payload string
		parents []events.Digest
		want    string
	}{
		{"", nil, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"test_payload", []events.Digest{one, two}, "e1a211d8e89c0a3eb1a6b4b1f915ec19fffa57aa7f14c6032ca0fa3d566a445d"},
		{"test_payload", []events.Digest{two, one}, "e1a211d8e89c0a3eb1a6b4b1f915ec19fffa57aa7f14c6032ca0fa3d566a445d"},
		{"test_payload", nil, "733f1e8cc8423f6156d864656e8c18d3613aa0dc3b74cd5eda667582bde47df2"},
	} {
		if got := legacy.CausalHash([]byte(c.payload), c.parents...); got.String() != c.want {
			t.Errorf("%q with %d parents: %s, want %s", c.payload, len(c.parents), got, c.want)
		}
	}
}

// Dispatchers.

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newEvent(t *testing.T, kind legacy.EventKind, payload any) legacy.Event {
	t.Helper()
	e, err := legacy.NewEvent(kind, payload)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestInMemoryDispatcher(t *testing.T) {
	ctx := within(t)
	var d legacy.EventDispatcher = legacy.NewInMemoryDispatcher()
	want := newEvent(t, legacy.Custom("order.placed"), map[string]int{"total": 42})
	if err := d.Publish(ctx, want); !errors.Is(err, legacy.ErrNoSubscribers) {
		t.Errorf("published to nobody: %v", err)
	}
	one, err := d.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	two, err := d.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Publish(ctx, want); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*legacy.Subscription{one, two} {
		if got, err := s.Recv(ctx); err != nil || got.ID != want.ID || got.Kind != want.Kind || string(got.Payload) != `{"total":42}` || !got.Timestamp.Equal(want.Timestamp) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		s.Close()
	}
	if err := d.Publish(ctx, want); !errors.Is(err, legacy.ErrNoSubscribers) {
		t.Errorf("published to nobody: %v", err)
	}
}

// A subscription that does not receive is told, and holds up nobody.
func TestInMemoryDispatcherLag(t *testing.T) {
	ctx := within(t)
	d := legacy.NewInMemoryDispatcher()
	s, err := d.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	for i := range n {
		if err := d.Publish(ctx, newEvent(t, legacy.Log, i)); err != nil {
			t.Fatal(err)
		}
	}
	var lag *bus.LagError
	if _, err := s.Recv(ctx); !errors.As(err, &lag) || lag.Missed == 0 || lag.Missed >= n {
		t.Fatalf("got %v", err)
	}
	for i := lag.Missed; i < n; i++ {
		var got uint64
		if e, err := s.Recv(ctx); err != nil || json.Unmarshal(e.Payload, &got) != nil || got != i {
			t.Fatalf("got %+v, %v; want number %d", e, err, i)
		}
	}
}

func TestLegacyThroughAJournal(t *testing.T) {
	ctx := within(t)
	dir := t.TempDir()
	b, err := eventbus.Open(dir, eventbus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := legacy.NewDispatcher(b, "old-service")
	var want []legacy.Event
	for _, kind := range []legacy.EventKind{legacy.Log, legacy.ResourceCreated, legacy.Custom("order.placed"), "Unheard"} {
		e := newEvent(t, kind, map[string]string{"kind": string(kind)})
		if err := d.Publish(ctx, e); err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
	}
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if b, err = eventbus.Open(dir, eventbus.Options{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	for _, w := range want {
		e, err := b.Event(ctx, w.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := legacy.FromDomain(e)
		if err != nil || got.ID != w.ID || got.Kind != w.Kind || string(got.Payload) != string(w.Payload) || !got.Timestamp.Equal(w.Timestamp) || e.Stream != "old-service" {
			t.Errorf("got %+v, %v; want %+v", got, err, w)
		}
	}
	// The same event again is the same event.
	if err := legacy.NewDispatcher(b, "old-service").Publish(ctx, want[0]); err != nil || b.Counts().Events != 4 {
		t.Errorf("%v, %+v", err, b.Counts())
	}
}

func TestSideBySide(t *testing.T) {
	ctx := within(t)
	b, err := eventbus.Open("", eventbus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	old := legacy.NewDispatcher(b, "old")
	follows, err := old.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	modern, err := b.Receive(bus.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	// An old publisher, a new one, one of the older typed events, and one whose
	// payload no old subscriber could read.
	if err := old.Publish(ctx, newEvent(t, legacy.Log, "old")); err != nil {
		t.Fatal(err)
	}
	if err := b.Emit(ctx, "new", "resource.created", events.Resource{Action: "created", Payload: []byte(`"new"`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(ctx, events.Draft{Stream: "new", Kind: "text.written", Payload: []byte("text")}); err != nil {
		t.Fatal(err)
	}
	if err := legacy.Emit(ctx, b, legacy.AuthUserLogin{UserID: "ada"}, "auth"); err != nil {
		t.Fatal(err)
	}
	for i, kind := range []legacy.EventKind{legacy.Log, legacy.ResourceCreated, legacy.Custom("legacy.typed")} {
		if e, err := follows.Recv(ctx); err != nil || e.Kind != kind {
			t.Errorf("old subscriber, %d: %+v, %v; want %s", i, e, err, kind)
		}
	}
	for i, kind := range []string{"legacy.log", "resource.created", "text.written", "legacy.typed"} {
		m, err := modern.Next(ctx)
		if err != nil || m.Kind != kind {
			t.Fatalf("new subscriber, %d: %+v, %v; want %s", i, m, err, kind)
		}
		if kind != "legacy.typed" {
			continue
		}
		e, err := m.Event()
		if err != nil {
			t.Fatal(err)
		}
		if old, err := legacy.TypedFromDomain(e); err != nil || old.Source != "auth" || old.Type.(legacy.AuthUserLogin).UserID != "ada" {
			t.Errorf("%+v, %v", old, err)
		}
	}
}
