package bustest

import (
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

func (s *suite) domainEvents() {
	id := events.IngestedID("bustest", "one")
	payload, err := events.JSON(map[string]any{"n": 1, "text": "ä"})
	s.must(err)
	all := []events.DomainEvent{
		events.Agent{AgentID: id, Payload: payload},
		events.Ledger{TransactionID: id, Payload: payload},
		events.Resource{ResourceID: id, Action: "created", Payload: payload},
		events.Security{PrincipalID: id, EventType: "login", Payload: payload},
		events.System{Component: "disk", Payload: payload},
		events.Custom{EventType: "any", Payload: payload},
	}
	one, other := s.receive(bus.Filter{}), s.receive(bus.Filter{})
	for _, v := range all {
		s.must(s.b.Emit(s.ctx, "domain", "test.domain", v))
	}
	ids := map[events.ID]bool{}
	for i, v := range all {
		m := s.next(one)
		got, err := m.Domain()
		s.must(err)
		if !reflect.DeepEqual(got, v) {
			s.Errorf("%d: got %#v, want %#v", i, got, v)
		}
		e, err := m.Event()
		s.must(err)
		s.sound(e, m)
		if back, err := events.DecodeDomain(e); err != nil || !reflect.DeepEqual(back, v) {
			s.Errorf("%d: the event holds %#v, %v", i, back, err)
		}
		twin, err := s.next(other).Event()
		s.must(err)
		if twin.ID != e.ID || twin.Digest != e.Digest || !twin.RecordTime.Equal(e.RecordTime) {
			s.Errorf("%d: receivers disagree: %v and %v", i, e, twin)
		}
		ids[e.ID] = true
	}
	if len(ids) != len(all) {
		s.Errorf("%d ids for %d events", len(ids), len(all))
	}
}

// sound checks an event against its message and against itself.
func (s *suite) sound(e events.Event, m bus.Message) {
	s.Helper()
	if e.Stream != m.Source || e.Kind != m.Kind || e.Position != m.Sequence || !e.RecordTime.Equal(m.Time()) {
		s.Errorf("message %+v holds event %+v", m, e)
	}
	if e.ID.IsZero() || e.PayloadDigest != events.PayloadDigest(e.Payload) {
		s.Errorf("event %s: payload digest %s of %q", e.ID, e.PayloadDigest, e.Payload)
	}
	again := e.Clone()
	s.must(again.SetParents(e.Parents))
	if again.Digest != e.Digest {
		s.Errorf("event %s has digest %s, computed anew %s", e.ID, e.Digest, again.Digest)
	}
}

func (s *suite) drafts() {
	r := s.receive(bus.Filter{})
	d := events.Draft{
		ID: events.IngestedID("bustest", "draft"), Stream: "drafts", Kind: "test.draft", SchemaVersion: 7,
		Time: time.Unix(1_700_000_000, 5).UTC(), ContentType: "text/plain", Payload: []byte("text"),
		Correlation: "story", Extensions: map[string]string{"key": "value"}, Trace: "trace",
	}
	e, err := s.b.Publish(s.ctx, d)
	s.must(err)
	if e.ID != d.ID || e.Stream != d.Stream || e.Kind != d.Kind || e.SchemaVersion != d.SchemaVersion || !e.Time.Equal(d.Time) ||
		e.ContentType != d.ContentType || string(e.Payload) != string(d.Payload) || e.Correlation != d.Correlation ||
		!reflect.DeepEqual(e.Extensions, d.Extensions) || e.Trace != d.Trace {
		s.Errorf("published %+v, got %+v", d, e)
	}
	m := s.next(r)
	got, err := m.Event()
	s.must(err)
	s.sound(got, m)
	if got.ID != e.ID || got.Digest != e.Digest || got.Position != e.Position || string(got.Payload) != "text" {
		s.Errorf("published %+v, received %+v", e, got)
	}
	if v, err := m.Domain(); !errors.Is(err, events.ErrOtherKind) {
		s.Errorf("a draft that holds no domain event gave %v, %v", v, err)
	}
	// The caller's bytes are the caller's again.
	d.Payload[0], e.Payload[1] = 'X', 'X'
	if got, err = m.Event(); err != nil || string(got.Payload) != "text" {
		s.Errorf("the message changed with the draft: %q, %v", got.Payload, err)
	}
	minted, err := s.b.Publish(s.ctx, events.Draft{Stream: "drafts", Kind: "test.draft"})
	s.must(err)
	other, err := s.b.Publish(s.ctx, events.Draft{Stream: "drafts", Kind: "test.draft"})
	s.must(err)
	if minted.ID.IsZero() || minted.ID == other.ID || minted.Digest == other.Digest {
		s.Errorf("ids %s and %s", minted.ID, other.ID)
	}
}

func (s *suite) parents() {
	commit := func(text string, parents ...events.Event) events.Event {
		s.Helper()
		payload, err := events.JSON(text)
		s.must(err)
		e, err := bus.Commit(s.ctx, s.b, "family", "test.born", events.Custom{EventType: "born", Payload: payload}, parents, nil)
		s.must(err)
		return e
	}
	r := s.receive(bus.Filter{})
	mother, father := commit("mother"), commit("father")
	child, twin := commit("child", mother, father), commit("child", father, mother)
	if len(mother.Parents) != 0 || len(child.Parents) != 2 {
		s.Fatalf("parents %v and %v", mother.Parents, child.Parents)
	}
	for _, p := range child.Parents {
		if p.ID == mother.ID && p.Digest != mother.Digest || p.ID == father.ID && p.Digest != father.Digest || p.ID != mother.ID && p.ID != father.ID {
			s.Errorf("parent %v is neither %v nor %v", p, mother.Ref(), father.Ref())
		}
	}
	if child.Digest == twin.Digest {
		s.Error("two events share a digest")
	}
	for range 4 {
		m := s.next(r)
		e, err := m.Event()
		s.must(err)
		s.sound(e, m)
	}
}

func (s *suite) refusals() {
	r := s.receive(bus.Filter{})
	good := numbered(0)
	for _, c := range []struct {
		what, source, kind string
		v                  events.DomainEvent
	}{
		{"no domain event", "a", "test.kind", nil},
		{"no source", "", "test.kind", good},
		{"source of the system", "$a", "test.kind", good},
		{"control character", "a\n", "test.kind", good},
		{"no kind", "a", "", good},
		{"empty token", "a", "test..kind", good},
		{"pattern", "a", "test.*", good},
		{"kind of the system", "a", "toka.kind", good},
		{"long kind", "a", strings.Repeat("k", events.MaxName+1), good},
	} {
		if err := s.b.Emit(s.ctx, c.source, c.kind, c.v); !errors.Is(err, events.ErrInvalid) {
			s.Errorf("%s: Emit: %v", c.what, err)
		}
		if c.v == nil {
			continue
		}
		if _, err := s.b.Publish(s.ctx, events.Draft{Stream: c.source, Kind: c.kind}); !errors.Is(err, events.ErrInvalid) {
			s.Errorf("%s: Publish: %v", c.what, err)
		}
	}
	if _, err := s.b.Publish(s.ctx, events.Draft{Stream: "a", Kind: "test.kind", Parents: []events.Ref{{}}}); !errors.Is(err, events.ErrInvalid) {
		s.Errorf("a parent without an id: %v", err)
	}
	s.nothing(r, "a")
}

func (s *suite) store() {
	st, ok := s.b.(bus.Store)
	if !ok {
		return
	}
	payload, err := events.JSON("same")
	s.must(err)
	var es []events.Event
	for range 3 {
		e, err := bus.Commit(s.ctx, st, "kept", "test.kept", events.System{Component: "c", Payload: payload}, es, nil)
		s.must(err)
		es = append(es, e)
	}
	for _, e := range es {
		got, err := st.Event(s.ctx, e.ID)
		s.must(err)
		if got.Digest != e.Digest || got.Position != e.Position || len(got.Parents) != len(e.Parents) || string(got.Payload) != string(e.Payload) {
			s.Errorf("kept %+v, want %+v", got, e)
		}
		b, err := st.Payload(s.ctx, e.PayloadDigest)
		s.must(err)
		if string(b) != string(e.Payload) {
			s.Errorf("kept payload %q, want %q", b, e.Payload)
		}
	}
	if c := st.Counts(); c.Events != 3 || c.Payloads != 1 {
		s.Errorf("counts %+v, want 3 events and 1 payload", c)
	}
	if e, err := st.Event(s.ctx, events.IngestedID("bustest", "nobody")); err == nil {
		s.Errorf("an event that was never there: %v", e)
	}
	if b, err := st.Payload(s.ctx, events.PayloadDigest([]byte("nobody"))); err == nil {
		s.Errorf("a payload that was never there: %q", b)
	}
}
