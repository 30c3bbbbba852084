package simulations_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

func TestReportCounts(t *testing.T) {
	c := newCast()
	j := honest(t, c)
	s := begin(t, j, c)
	if _, err := s.sys.Publish(s.ctx, "weather", events.Draft{Kind: "weather.changed"}); err != nil {
		t.Fatal(err)
	}
	s.end()
	r := clean(t, j, c)
	want := simulations.Report{
		Events: 9, Streams: 3, Agents: 2, Commands: 3, Reactions: 1, StateDigests: 4, OK: true, State: r.State,
	}
	if asJSON(t, r) != asJSON(t, want) {
		t.Errorf("got\n%s, want\n%s", asJSON(t, r), asJSON(t, want))
	}
	if len(r.State) != 64 {
		t.Errorf("state digest %q", r.State)
	}
	// The names of the fields are an interface.
	const names = `{"events":9,"streams":3,"agents":2,"not_replayed":0,"commands":3,"reactions":1,"state_digests":4,"ok":true,"state":"`
	if got := asJSON(t, r); !strings.HasPrefix(got, names) {
		t.Errorf("got %s", got)
	}
}

func TestStateDigestTellsStatesApart(t *testing.T) {
	run := func(c *cast, cents int) string {
		j := memory(t)
		s := begin(t, j, c)
		s.mustAsk("order-1", pay{cents}, "pay")
		s.end()
		return clean(t, j, c).State
	}
	if one, two := run(newCast(), 1), run(newCast(), 2); one == two {
		t.Error("other states, the same digest")
	}
	if one, two := run(newCast(), 1), run(newCast(), 1); one != two {
		t.Error("the same states, other digests")
	}
}

func TestEmptyJournal(t *testing.T) {
	r := clean(t, memory(t), newCast())
	if _, found := r.First(); found || r.Events != 0 || !r.OK {
		t.Errorf("got %+v", r)
	}
}

func TestUnknownBehaviour(t *testing.T) {
	j := honest(t, newCast())
	onlyOrders := actors.NewRegistry(newCast().order)
	_, err := simulations.Replay(t.Context(), j, onlyOrders, simulations.ReplayOptions{})
	if !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{`"desk"`, "position 3", "biller/1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	r, err := simulations.Replay(t.Context(), j, onlyOrders, simulations.ReplayOptions{SkipUnknown: true})
	if err != nil || !r.OK || r.NotReplayed != 1 || r.Agents != 1 || r.Events != 8 || r.Reactions != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestDivergencesAreBounded(t *testing.T) {
	c := newCast()
	j := memory(t)
	s := begin(t, j, c)
	for i := range 40 {
		s.mustAsk(named(string(rune('a'+i%3))).String(), pay{0}, named(string(rune('A'+i))).String())
	}
	s.end()
	c.plant(decidePayload)
	whole := replay(t, j, c)
	if len(whole.Divergences) != 40 || whole.More != 0 {
		t.Fatalf("%d divergences and %d more, want 40", len(whole.Divergences), whole.More)
	}
	r, err := simulations.Replay(t.Context(), j, c.registry(), simulations.ReplayOptions{MaxDivergences: 5})
	if err != nil || r.More != 35 || asJSON(t, r.Divergences) != asJSON(t, whole.Divergences[:5]) {
		t.Errorf("%v, %d more: %v", r.Divergences, r.More, err)
	}
}

// A state that was recorded before the actor had journaled anything itself is
// compared when it turns out whose stream it is.
func TestStateBeforeTheFirstOwnEvent(t *testing.T) {
	c := newCast()
	j := memory(t)
	s := begin(t, j, c)
	for range 2 {
		if _, err := s.sys.Publish(s.ctx, "order-1", events.Draft{Kind: "order.paid", Payload: []byte(`{"Cents":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.ask("order-1", items(0), "nothing"); err != nil {
		t.Fatal(err)
	}
	s.end() // stores the digest at 2
	s = begin(t, j, c)
	s.mustAsk("order-1", pay{10}, "pay")
	s.end()
	if r := clean(t, j, c); r.StateDigests != 2 {
		t.Errorf("%d state digests compared, want 2", r.StateDigests)
	}
	c.plant(evolveChanged)
	if d := first(t, j, c); d.Position != 2 || d.Field != "state" {
		t.Errorf("got %v", d)
	}
	// A replica that is fed alone finds out by itself whose stream it is.
	x := actors.NewReplica(j, newCast().registry(), "order-1")
	for _, e := range all(t, j) {
		if ds, err := x.Next(t.Context(), e); err != nil || len(ds) > 0 {
			t.Errorf("position %d: %v, %v", e.Position, ds, err)
		}
	}
	if got := asJSON(t, x.State()); got != `{"Items":null,"Cents":12,"Closed":false}` {
		t.Errorf("state %s", got)
	}
}

func TestReplayIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCast()
	if _, err := simulations.Replay(ctx, honest(t, c), c.registry(), simulations.ReplayOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	j := honest(t, c)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := simulations.Replay(t.Context(), j, c.registry(), simulations.ReplayOptions{}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
