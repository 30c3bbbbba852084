package simulations_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// honest records a short run:
//
//	1  order-1  toka.command.order.place
//	2  order-1  order.placed             state digest
//	3  desk     invoice.sent             caused by 2
//	4  order-1  toka.command.order.pay
//	5  order-1  order.paid               state digest
//	6  order-1  toka.command.order.pay
//	7  order-1  order.paid
//	8  order-1  order.closed             state digest
func honest(t *testing.T, c *cast) *journal.Journal {
	t.Helper()
	j := memory(t)
	s := begin(t, j, c)
	if err := c.biller.Spawn(s.sys, "desk"); err != nil {
		t.Fatal(err)
	}
	s.mustAsk("order-1", items(64), "place")
	s.settle()
	s.mustAsk("order-1", pay{10}, "pay-1")
	s.mustAsk("order-1", pay{90}, "pay-2")
	s.end()
	if n := j.Position(); n != 8 {
		t.Fatalf("the run has %d events, not 8", n)
	}
	return j
}

func TestPlantedFaults(t *testing.T) {
	for _, test := range []struct {
		fault    string
		recorded bool // the fault was there when the run was recorded
		position uint64
		agent    string
		field    string
	}{
		// What is random is another at each try, so the fault itself diverges.
		{mapOrder, true, 2, "order-1", "payload"},
		{wallClock, true, 5, "order-1", "payload"},
		{globalRandom, true, 5, "order-1", "payload"},
		// What is changed diverges from what it was.
		{evolveChanged, false, 5, "order-1", "state"},
		{evolvePanics, false, 2, "order-1", "kind"},
		{decidePayload, false, 5, "order-1", "payload"},
		{decideKind, false, 5, "order-1", "kind"},
		{decideMore, false, 5, "order-1", "events"},
		{decideLess, false, 8, "order-1", "events"},
		{decideRejects, false, 5, "order-1", "kind"},
		{decidePanics, false, 2, "order-1", "kind"},
		{reactPayload, false, 3, "desk", "payload"},
		{reactMore, false, 3, "desk", "events"},
		{reactPanics, false, 3, "desk", "kind"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			c := newCast()
			if test.recorded {
				c.plant(test.fault)
			}
			j := honest(t, c)
			if !test.recorded {
				clean(t, j, c)
				c.plant(test.fault)
			}
			r := replay(t, j, c)
			d, found := r.First()
			if !found || r.OK || d.Position != test.position || d.Agent != test.agent || d.Field != test.field {
				t.Fatalf("first divergence %v, want position %d, agent %q, field %s", d, test.position, test.agent, test.field)
			}
			for i := 1; i < len(r.Divergences); i++ {
				if r.Divergences[i].Position < r.Divergences[i-1].Position {
					t.Fatalf("out of order: %v", r.Divergences)
				}
			}
			if strings.HasSuffix(test.fault, "panics") && !strings.Contains(d.Produced, "planted") {
				t.Errorf("produced %q, want the panic", d.Produced)
			}
		})
	}
}

func TestEvolveThatPanics(t *testing.T) {
	c := newCast()
	j := memory(t)
	s := begin(t, j, c)
	// Nothing is decided about an event from outside, so only folding can fail.
	if _, err := s.sys.Publish(s.ctx, "order-1", events.Draft{Kind: "order.paid", Payload: []byte(`{"Cents":1}`)}); err != nil {
		t.Fatal(err)
	}
	s.mustAsk("order-1", pay{10}, "pay")
	s.end()
	clean(t, j, c)
	c.plant(evolvePanics)
	if d := first(t, j, c); d.Position != 1 || d.Field != "state" || d.Produced != "error: panic: planted" {
		t.Errorf("got %v", d)
	}
}

func TestForgedEvents(t *testing.T) {
	for _, test := range []struct {
		name     string
		draft    func(es []events.Event) events.Draft
		position uint64 // of the forgery if it is to be found, 0 if it is no forgery
	}{
		{"after a command's own", func(es []events.Event) events.Draft {
			return events.Draft{Stream: "order-1", Kind: "order.paid", Trigger: es[5].ID, Parents: []events.Ref{es[5].Ref()}}
		}, 9},
		{"of an older command", func(es []events.Event) events.Draft {
			return events.Draft{Stream: "order-1", Kind: "order.paid", Trigger: es[0].ID, Parents: []events.Ref{es[0].Ref()}}
		}, 9},
		{"one more of a reaction", func(es []events.Event) events.Draft {
			return events.Draft{
				ID: events.EmittedID(es[1].Digest, "desk", 1), Stream: "desk", Kind: "invoice.sent",
				Trigger: es[1].ID, Parents: []events.Ref{es[1].Ref()},
			}
		}, 9},
		{"a reaction to what the agent ignores", func(es []events.Event) events.Draft {
			return events.Draft{
				ID: events.EmittedID(es[4].Digest, "desk", 0), Stream: "desk", Kind: "invoice.sent",
				Trigger: es[4].ID, Parents: []events.Ref{es[4].Ref()},
			}
		}, 9},
		{"an outsider's own reaction", func(es []events.Event) events.Draft {
			return events.Draft{Stream: "desk", Kind: "invoice.sent", Trigger: es[1].ID, Parents: []events.Ref{es[1].Ref()}}
		}, 0},
		{"an outsider's own event", func([]events.Event) events.Draft {
			return events.Draft{Stream: "order-1", Kind: "order.paid"}
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCast()
			j := honest(t, c)
			var es []events.Event
			for e, err := range j.Read(t.Context(), journal.Query{}) {
				if err != nil {
					t.Fatal(err)
				}
				es = append(es, e)
			}
			d := test.draft(es)
			d.Payload = []byte(`{"Cents":1}`)
			if _, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{d}}); err != nil {
				t.Fatal(err)
			}
			if test.position == 0 {
				clean(t, j, c)
				return
			}
			r := replay(t, j, c)
			if got, _ := r.First(); got.Position != test.position || got.Agent != d.Stream || got.Field != "events" || len(r.Divergences) != 1 {
				t.Fatalf("got %v, want one at position %d", r.Divergences, test.position)
			}
		})
	}
}

// Nothing can come any more of a command that was set aside, even if it is what
// would have come of it.
func TestForgedAfterParked(t *testing.T) {
	c := newCast()
	j := memory(t)
	s := begin(t, j, c)
	c.breaksAt("item-000", 3)
	if _, err := s.ask("order-1", items(1), "place"); !errors.Is(err, actors.ErrFailed) {
		t.Fatalf("got %v", err)
	}
	s.end()
	command := all(t, j)[0]
	d := events.Draft{
		ID: events.EmittedID(command.Digest, "order-1", 0), Stream: "order-1", Kind: "order.placed", SchemaVersion: 1,
		Time: command.Time, ContentType: events.ContentTypeJSON, Payload: []byte(`{"Items":["item-000"]}`),
		Trigger: command.ID, Parents: []events.Ref{command.Ref()},
	}
	if _, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{d}}); err != nil {
		t.Fatal(err)
	}
	if got := first(t, j, c); got.Position != j.Position() || got.Field != "events" {
		t.Errorf("got %v", got)
	}
}

func TestCorruptedStateDigest(t *testing.T) {
	c := newCast()
	j := honest(t, c)
	if r := clean(t, j, c); r.StateDigests != 4 {
		t.Errorf("%d state digests compared, want 4: %+v", r.StateDigests, r)
	}
	bad := journal.StateDigest{Stream: "order-1", StreamPosition: 4, Digest: events.Digest{1, 2, 3}}
	if _, err := j.Append(t.Context(), journal.Write{StateDigests: []journal.StateDigest{bad}}); err != nil {
		t.Fatal(err)
	}
	r := replay(t, j, c)
	d, _ := r.First()
	if d.Position != 5 || d.Agent != "order-1" || d.Field != "state" || d.Recorded != bad.Digest.Short() || len(r.Divergences) != 1 {
		t.Fatalf("got %v", r.Divergences)
	}
}
