package actors_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// reactedOnce checks that a stream holds one reaction to each of the causes,
// in their order, and nothing else.
func reactedOnce(t *testing.T, j *journal.Journal, agent string, causes []events.Event) {
	t.Helper()
	var got, want []events.ID
	for _, e := range stream(t, j, agent) {
		got = append(got, e.Trigger)
	}
	for _, e := range causes {
		want = append(want, e.ID)
	}
	if slices.Equal(got, want) {
		return
	}
	times := map[events.ID]int{}
	for _, id := range got {
		times[id]++
	}
	missing, twice := 0, 0
	for _, id := range want {
		switch {
		case times[id] == 0:
			missing++
		case times[id] > 1:
			twice++
		}
	}
	t.Fatalf("agent %q: %d reactions to %d events: %d are missing, %d there more than once, or the order is another", agent, len(got), len(want), missing, twice)
}

func TestReactionSurvivesReopen(t *testing.T) {
	d := disktest.New()
	var reacted atomic.Int32
	a := clerk(func(*actors.Turn, events.Event) error { reacted.Add(1); return nil })
	var causes []events.Event

	j := onDisk(t, d)
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "clerk"))
	causes = append(causes, orders(t, sys, 3)...)
	settle(t, sys)
	stopOK(t, sys)
	closeOK(t, j)

	// While the agent is down, the world goes on.
	j = onDisk(t, d)
	sys = start(t, j, actors.Options{}, a)
	causes = append(causes, orders(t, sys, 4)...)
	settle(t, sys)
	stopOK(t, sys)
	closeOK(t, j)
	if n := reacted.Swap(0); n != 3 {
		t.Fatalf("%d reactions before the reopen, want 3", n)
	}

	j = onDisk(t, d)
	sys = start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "clerk"))
	settle(t, sys)
	if n := reacted.Load(); n != 4 {
		t.Errorf("%d reactions after the reopen, want the 4 to what came meanwhile", n)
	}
	causes = append(causes, orders(t, sys, 2)...)
	settle(t, sys)
	reactedOnce(t, j, "clerk", causes)
}

// Quiet agents have no checkpoint that moves: one of the bus stands for them.
func TestQuietAgentIsNotHandedTheOldAgain(t *testing.T) {
	j := memory(t)
	var mu sync.Mutex
	seen := map[string]int{}
	quiet := actors.NewAgent("quiet", 1, "order.placed", func(_ *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		mu.Lock()
		defer mu.Unlock()
		seen[o.ID]++
		return err
	})
	// The runs that spawn it, and those that do not.
	for run, spawned := range []bool{true, false, true, false, false, true} {
		sys := start(t, j, actors.Options{}, quiet)
		if spawned {
			must(t, quiet.Spawn(sys, "quiet"))
			settle(t, sys)
		}
		for n := range 5 {
			place(t, sys, fmt.Sprint(run, "/", n))
		}
		settle(t, sys)
		stopOK(t, sys)
	}
	if len(seen) != 30 {
		t.Errorf("%d events were seen, want 30", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("order %s was seen %d times", id, n)
		}
	}
}

// gate holds handlers up until it is opened, a given number at a time.
type gate struct{ c chan struct{} }

func newGate() *gate { return &gate{c: make(chan struct{})} }

func (g *gate) pass() { <-g.c }
func (g *gate) open() { close(g.c) }
func (g *gate) let(n int) {
	for range n {
		g.c <- struct{}{}
	}
}

func TestSlowAgentsLoseNothing(t *testing.T) {
	n := 10_000
	if underRace {
		n = 2000
	}
	for _, mailbox := range []int{1, 4} {
		t.Run(fmt.Sprint(mailbox), func(t *testing.T) {
			j := memory(t)
			g := newGate()
			slow := clerk(func(*actors.Turn, events.Event) error { g.pass(); return nil })
			wild := &actors.Agent[int]{
				Name: "wild", Version: 1, On: []string{"order.*"},
				React: func(t *actors.Turn, _ int, e events.Event) error { return actors.Emit(t, filed, Note{e.ID.String()}) },
			}
			sys := start(t, j, actors.Options{Mailbox: mailbox}, slow, wild)
			must(t, slow.Spawn(sys, "slow"))
			must(t, wild.Spawn(sys, "fast"))
			must(t, wild.Spawn(sys, "faster"))
			settle(t, sys)
			causes := orders(t, sys, n/2)
			g.let(100) // it is set aside, and catches up for a while
			causes = append(causes, orders(t, sys, n/4)...)
			g.open()
			causes = append(causes, orders(t, sys, n/4)...)
			settle(t, sys)
			for _, name := range []string{"slow", "fast", "faster"} {
				reactedOnce(t, j, name, causes)
			}
		})
	}
}

// What the bus's checkpoint says must not be taken for the word of an agent
// that fell behind, neither before it could say so itself nor after.
func TestAgentThatFellBehindGoesOnAfterReopen(t *testing.T) {
	for _, said := range []bool{false, true} {
		t.Run(fmt.Sprint(said), func(t *testing.T) {
			d := disktest.New()
			j := onDisk(t, d)
			g := newGate()
			inHand := make(chan struct{}, 1000)
			slow := clerk(func(*actors.Turn, events.Event) error { inHand <- struct{}{}; g.pass(); return nil })
			fast := counter()
			sys := start(t, j, actors.Options{Mailbox: 2}, slow, fast)
			must(t, slow.Spawn(sys, "slow"))
			must(t, fast.Spawn(sys, "fast"))
			settle(t, sys)
			var causes []events.Event
			for range 3 { // one by one, so that it keeps up: its checkpoint now points at the bus
				causes = append(causes, orders(t, sys, 1)...)
				soon(t, "its event", inHand)
				g.let(1)
				settle(t, sys)
			}
			causes = append(causes, orders(t, sys, 1)...)
			soon(t, "the event that it takes too long for", inHand)
			causes = append(causes, orders(t, sys, 200)...)
			for len(stream(t, j, "fast")) < len(causes) || actors.BusAt(sys) < j.Position() {
				must(t, within(t).Err())
			}
			if said {
				g.let(1)
				for len(stream(t, j, "slow")) < 4 {
					must(t, within(t).Err())
				}
			}
			actors.SaveBus(sys)
			cut := d.PowerCut(0, 1)
			g.open()
			stopOK(t, sys)

			j = onDisk(t, cut)
			sys = start(t, j, actors.Options{}, slow, fast)
			must(t, slow.Spawn(sys, "slow"))
			must(t, fast.Spawn(sys, "fast"))
			settle(t, sys)
			reactedOnce(t, j, "slow", causes)
			reactedOnce(t, j, "fast", causes)
		})
	}
}

// An agent that is spawned while events flow joins the bus without a seam.
func TestSpawnWhileEventsFlow(t *testing.T) {
	j := memory(t)
	a := clerk(nil)
	sys := start(t, j, actors.Options{Mailbox: 8}, a)
	done := make(chan struct{})
	var causes []events.Event
	go func() {
		defer close(done)
		for n := range 500 {
			d, err := placed.Encode(Order{ID: fmt.Sprint(n)})
			if err != nil {
				t.Error(err)
				return
			}
			es, err := sys.Publish(t.Context(), "shop", d)
			if err != nil {
				t.Error(err)
				return
			}
			causes = append(causes, es...)
		}
	}()
	names := map[string]bool{}
	for n := range 10 {
		name := fmt.Sprint("clerk ", n)
		names[name] = true
		must(t, a.Spawn(sys, name))
	}
	soon(t, "the last event", done)
	settle(t, sys)
	for name := range maps.Keys(names) {
		reactedOnce(t, j, name, causes)
	}
}

// Stopping leaves what was not handed over for the next run, even where one
// agent's last words are another one's first.
func TestStopWhileEventsFlow(t *testing.T) {
	j := memory(t)
	first := clerk(nil)
	second := actors.NewAgent("second", 1, "clerk.noted", func(t *actors.Turn, e events.Event) error {
		return actors.Emit(t, filed, Note{e.ID.String()})
	})
	run := func() *actors.System {
		sys := start(t, j, actors.Options{Mailbox: 4}, first, second)
		must(t, first.Spawn(sys, "first"))
		must(t, second.Spawn(sys, "second"))
		return sys
	}
	var causes []events.Event
	for range 10 {
		sys := run()
		settle(t, sys)
		causes = append(causes, orders(t, sys, 50)...)
		stopOK(t, sys)
	}
	settle(t, run())
	reactedOnce(t, j, "first", causes)
	reactedOnce(t, j, "second", stream(t, j, "first"))
}

// An agent that was given up has not dealt with what it could not take.
func TestGivenUpAgentMissesNothing(t *testing.T) {
	j := memory(t)
	var ill atomic.Bool
	a := clerk(func(*actors.Turn, events.Event) error {
		if ill.Load() {
			return errors.New("ill")
		}
		return nil
	})
	other := counter()
	var seen atomic.Int32
	quiet := actors.NewAgent("quiet", 1, "order.placed", func(*actors.Turn, events.Event) error { seen.Add(1); return nil })
	opts := quick(100)
	opts.Supervision.MaxRestarts = 3
	sys := start(t, j, opts, a, other, quiet)
	must(t, a.Spawn(sys, "clerk"))
	must(t, other.Spawn(sys, "other"))
	must(t, quiet.Spawn(sys, "quiet"))
	settle(t, sys)
	causes := orders(t, sys, 3)
	settle(t, sys)
	ill.Store(true)
	causes = append(causes, orders(t, sys, 5)...)
	settle(t, sys)
	if info := sys.Agents()[0]; info.Name != "clerk" || info.Restarts != 4 || info.Failure == "" {
		t.Errorf("the agent that was given up: %+v", info)
	}
	causes = append(causes, orders(t, sys, 5)...)
	settle(t, sys)
	reactedOnce(t, j, "other", causes)
	stopOK(t, sys)

	ill.Store(false)
	sys = start(t, j, opts, a, other, quiet)
	must(t, a.Spawn(sys, "clerk"))
	must(t, quiet.Spawn(sys, "quiet"))
	settle(t, sys)
	if n := int(seen.Load()); n != len(causes) {
		t.Errorf("a quiet agent beside it was handed %d events, want each of %d once", n, len(causes))
	}
	var got []events.ID
	for _, e := range stream(t, j, "clerk") {
		if e.Kind == noted.Kind() {
			got = append(got, e.Trigger)
		}
	}
	if !slices.Equal(got, ids(causes)) {
		t.Errorf("%d reactions in all, want one to each of %d events", len(got), len(causes))
	}
}

// A lost checkpoint costs reading, never a second reaction.
func TestLostCheckpoint(t *testing.T) {
	j := memory(t)
	a := counter()
	run := func() *actors.System {
		sys := start(t, j, actors.Options{}, a)
		must(t, a.Spawn(sys, "counter"))
		settle(t, sys)
		return sys
	}
	sys := run()
	causes := orders(t, sys, 20)
	settle(t, sys)
	stopOK(t, sys)
	rewind(t, j, "counter")
	sys = run()
	causes = append(causes, orders(t, sys, 20)...)
	settle(t, sys)
	reactedOnce(t, j, "counter", causes)
	for i, text := range notes(t, j, "counter") {
		if want := fmt.Sprintf("%d before %s", i, causes[i].ID); text != want {
			t.Fatalf("note %d is %q, want %q", i, text, want)
		}
	}
}
