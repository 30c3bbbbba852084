package simulations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

// crowd is an honest run that goes wrong in every way that is not a lie.
type crowd struct {
	*stage
	sent   []func() // commands, to be sent once more
	serial int
}

func (s *crowd) spawn() {
	for _, name := range []string{"desk", "annex"} {
		if err := s.c.biller.Spawn(s.sys, name); err != nil {
			s.t.Fatal(err)
		}
	}
}

// tell sends a command and does not wait.
func (s *crowd) tell(name string, c orderCommand) {
	s.serial++
	id := named(fmt.Sprint("command ", s.serial))
	again := func() {
		ref, err := s.c.order.Spawn(s.sys, name)
		if err == nil {
			err = ref.Tell(s.ctx, c, actors.WithCommandID(id), actors.WithCorrelation("story"))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	again()
	s.sent = append(s.sent, again)
}

func (s *crowd) publish(stream, kind, payload string, trigger events.ID) {
	d := events.Draft{Kind: kind, Payload: []byte(payload)}
	if !trigger.IsZero() {
		d.Trigger, d.Parents = trigger, []events.Ref{{ID: trigger}}
	}
	if _, err := s.sys.Publish(s.ctx, stream, d); err != nil {
		s.t.Fatal(err)
	}
}

// restart stops the system while it is at work, or lets go of it, and starts
// another.
func (s *crowd) restart(kill bool) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if kill {
		cancel()
	}
	if err := s.sys.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.t.Fatal(err)
	}
	s.stage = begin(s.t, s.j, s.c)
	s.spawn()
}

// step does the n-th kind of thing to an order.
func (s *crowd) step(kind, which, amount int) {
	name := fmt.Sprintf("order-%d", which)
	switch kind {
	case 0, 1:
		s.tell(name, items(amount%4)) // of which nothing comes if it is none
	case 2, 3:
		s.tell(name, pay{amount % 30}) // refused once the order is closed
	case 4: // a command that fails, up to being parked
		s.serial++
		key := fmt.Sprintf("item-%d", s.serial)
		s.c.breaksAt(key, amount%5)
		s.tell(name, place{map[string]int{key: 1}})
	case 5: // a reaction that fails
		s.c.breaksAt("react", amount%5)
	case 6: // an append from outside, which an order finds out too late
		s.publish(name, "order.paid", `{"Cents":1}`, events.ID{})
	case 7:
		s.publish(name, "weather.changed", `"rain"`, events.ID{})
	case 8: // one that names a trigger of its own
		e, err := s.j.At(s.ctx, uint64(amount)%max(s.j.Position(), 1)+1)
		if errors.Is(err, journal.ErrNotFound) {
			return
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.publish("elsewhere", "order.placed", `{"Items":["x"]}`, e.ID)
	case 9:
		if len(s.sent) > 0 {
			s.sent[amount%len(s.sent)]()
		}
	case 10:
		s.settle()
	case 11:
		s.restart(amount%2 == 0)
	}
}

func TestHonestRunsReplayClean(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := memory(t)
		defer func() { _ = j.Close() }()
		c := newCast()
		s := &crowd{stage: begin(t, j, c)}
		s.spawn()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			s.step(
				rapid.IntRange(0, 11).Draw(rt, "kind"),
				rapid.IntRange(0, 2).Draw(rt, "which"),
				rapid.IntRange(0, 1000).Draw(rt, "amount"),
			)
		}
		s.end()
		c.repair()
		first := replay(t, j, c)
		if !first.OK {
			rt.Fatalf("an honest run diverges: %v", first.Divergences)
		}
		if again := replay(t, j, c); asJSON(t, again) != asJSON(t, first) {
			rt.Fatalf("replayed twice:\n%s\n%s", asJSON(t, first), asJSON(t, again))
		}
	})
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A command that failed is decided again on the state as it is then, which is
// not the one that it was first decided on.
func TestRetryIsReplayedOnTheStateOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		c := newCast()
		s := &crowd{stage: begin(t, j, c)}
		c.breaksAt("pay", 1)
		s.tell("order-1", pay{10})
		synctest.Wait() // it has failed and waits for its next try
		s.publish("order-1", "order.paid", `{"Cents":95}`, events.ID{})
		s.end()
		var kinds []string
		for _, e := range all(t, j) {
			kinds = append(kinds, e.Kind)
		}
		want := []string{"toka.command.order.pay", "toka.agent.failed", "order.paid", "order.paid", "order.closed"}
		if !slices.Equal(kinds, want) {
			t.Fatalf("the run is %v", kinds)
		}
		if r := clean(t, j, c); r.Commands != 1 {
			t.Errorf("%d commands, want 1", r.Commands)
		}
		c.plant(decideLess)
		if d := first(t, j, c); d.Position != 5 || d.Field != "events" {
			t.Errorf("got %v", d)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestThousandsOfEvents(t *testing.T) {
	j := memory(t)
	c := newCast()
	s := &crowd{stage: begin(t, j, c)}
	s.spawn()
	for i := range 1500 {
		kind := i * 7 % 11 // everything but restarts
		if (kind == 10 || kind == 5) && i%20 > 0 {
			kind = 0 // settling and recovering long streams take their time
		}
		s.step(kind, i%50, i*31)
		if i%500 == 499 {
			s.restart(i%2 == 0)
		}
	}
	s.end()
	c.repair()
	r := clean(t, j, c)
	if r.Events < 2000 || r.Commands < 400 || r.Reactions < 400 || r.StateDigests < 400 {
		t.Errorf("too little happened: %+v", r)
	}
	var calls, last uint64
	_, err := simulations.Replay(t.Context(), j, c.registry(), simulations.ReplayOptions{Progress: func(done, total uint64) {
		if calls++; done < last || total != r.Events {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}})
	if err != nil || calls < 3 || last != r.Events {
		t.Errorf("progress was told %d times, up to %d of %d: %v", calls, last, r.Events, err)
	}
}
