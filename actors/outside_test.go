package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// outside appends an event to a stock's stream past the actor.
func outside(t testing.TB, sys *actors.System, stream string, v stockEvent) {
	t.Helper()
	d, err := stockEvents.Encode(v)
	must(t, err)
	_, err = sys.Publish(within(t), stream, d)
	must(t, err)
}

// Somebody who writes whenever the resource has decided makes every decision
// come too late. The resource gives up after a bounded number of them, and
// goes on when the other one stops.
func TestOutsideAppend(t *testing.T) {
	for _, rounds := range []int{0, 1, 8, 9, 100} {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) {
			j := memory(t)
			var sys *actors.System
			var tries []int
			stock := newStock(func(_ *actors.Turn, s Stock, c stockCommand) {
				if r, ok := c.(Reserve); ok && r.Order == "late" {
					if tries = append(tries, s.Free); len(tries) <= rounds {
						outside(t, sys, "apples", Added{1})
					}
				}
			})
			sys = start(t, j, actors.Options{}, stock)
			ref := spawnStock(t, sys, stock, "apples")
			ask(t, ref, Add{1})
			outside(t, sys, "apples", Added{1})
			out, err := ref.Ask(within(t), Reserve{"late", 1})
			if rounds < 9 {
				if err != nil || len(out.Events) != 1 {
					t.Errorf("after %d outside appends: %v, %v", rounds, kinds(out.Events), err)
				}
			} else if !errors.Is(err, actors.ErrContended) {
				t.Errorf("%v, want %v", err, actors.ErrContended)
			}
			var want []int
			for n := range min(rounds+1, 9) {
				want = append(want, 2+n)
			}
			if !slices.Equal(tries, want) {
				t.Errorf("decided with %v free, want %v", tries, want)
			}
			ask(t, ref, Add{1})
			if got := state(t, ref); !sameStock(got, foldStock(t, j, "apples")) || got.Free != 3+min(rounds, 9)-len(got.Held) {
				t.Errorf("state %+v, the stream folds to %+v", got, foldStock(t, j, "apples"))
			}
		})
	}
}

// What journals nothing is refused by nobody, so the resource looks before it
// answers.
func TestAnswersKnowOfOutsideAppends(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	outside(t, sys, "apples", Added{1})
	if s := state(t, ref); s.Free != 1 {
		t.Errorf("state %+v, want what was written before it began", s)
	}
	outside(t, sys, "apples", Reserved{"thief", 1})
	if s := state(t, ref); s.Free != 0 || s.Held["thief"] != 1 {
		t.Errorf("state %+v, want what was written since", s)
	}
	outside(t, sys, "apples", Added{7})
	var short *shortage
	if _, err := ref.Ask(within(t), Reserve{"o1", 8}); !errors.As(err, &short) || short.Free != 7 {
		t.Errorf("%v, want a shortage with 7 free", err)
	}
	// An event of a kind that is not the resource's own is nothing to it.
	_, err := sys.Publish(within(t), "apples", events.Draft{Kind: "weather.changed"})
	must(t, err)
	if s := state(t, ref); s.Free != 7 {
		t.Errorf("state %+v", s)
	}
}

// What was decided on top of a decision that is refused is decided again too,
// and whoever asked for the state meanwhile hears the true one.
func TestWhatRestsOnARefusalIsDecidedAgain(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	hold, reached, last := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var first, end sync.Once
	var seen []string
	stock := newStock(func(_ *actors.Turn, s Stock, c stockCommand) {
		r, ok := c.(Reserve)
		if !ok {
			return
		}
		seen = append(seen, fmt.Sprint(r.Order, " ", s.Free))
		switch r.Order {
		case "o1":
			first.Do(func() { close(reached); <-hold })
		case "o4":
			end.Do(func() { close(last) })
		}
	})
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{10})

	answers := make(chan string, 16)
	tell := func(what string, f func() (any, error)) {
		v, err := f()
		answers <- fmt.Sprintf("%s: %v %v", what, v, err)
	}
	reserve := func(order string, n int) {
		tell(order, func() (any, error) {
			out, err := ref.Ask(within(t), Reserve{order, n})
			return len(out.Events), err
		})
	}
	go reserve("o1", 4)
	soon(t, "the first decision", reached)
	for i, f := range []func(){
		func() { reserve("o2", 6) }, // all that is left, as it seems
		func() { tell("state", func() (any, error) { s, err := ref.State(within(t)); return s.Free, err }) },
		func() { reserve("o3", 1) }, // rejected, as it seems
		func() { reserve("o4", 0) },
	} {
		go f()
		waiting(t, sys, "apples", i+1)
	}
	// The stranger's write stands in the journal's queue before all of that.
	b.pull()
	stolen := make(chan error, 1)
	d1, err := stockEvents.Encode(Reserved{"thief", 5})
	must(t, err)
	go func() {
		_, err := sys.Publish(t.Context(), "apples", d1)
		stolen <- err
	}()
	soon(t, "the sync", b.reached)
	close(hold)
	soon(t, "the last decision", last)
	b.letGo()
	must(t, soon(t, "the stranger's answer", stolen))
	var got []string
	for range 5 {
		got = append(got, soon(t, "an answer", answers))
	}
	slices.Sort(got)
	want := []string{
		"o1: 1 <nil>", "o2: 0 6 wanted, 1 free", "o3: 2 <nil>", "o4: 2 <nil>",
		"state: 1 <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("answers\n%v, want\n%v", got, want)
	}
	if want := []string{"o1 10", "o2 6", "o3 0", "o4 0", "o1 5", "o2 1", "o3 1", "o4 0"}; !slices.Equal(seen, want) {
		t.Errorf("decisions on %v free, want %v", seen, want)
	}
	var held []string
	for _, e := range stream(t, j, "apples") {
		if e.Kind == "stock.reserved" {
			v, err := stockEvents.Decode(e)
			must(t, err)
			held = append(held, v.(Reserved).Order)
		}
	}
	if want := []string{"thief", "o1", "o3", "o4"}; !slices.Equal(held, want) {
		t.Errorf("goods went to %v, want %v", held, want)
	}
}

// What is decided while refusals are still coming in keeps its place: it is
// decided again behind what was decided before it.
func TestOrderSurvivesARefusal(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	decided := make(chan string, 100)
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		switch c := c.(type) {
		case Reserve:
			if c.Order == "third" {
				once.Do(func() { close(held); <-hold })
			}
		case Release:
			decided <- c.Order
		}
	})
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	line := journal.Write{Events: []events.Draft{{Stream: "log", Kind: "line"}}}
	ask(t, ref, Add{10})
	settle(t, sys)
	var wg sync.WaitGroup
	send := func(c stockCommand) { must(t, ref.Tell(within(t), c)) }
	// through returns when everything before it was decided and handed to the
	// journal.
	through := func(what string) {
		t.Helper()
		send(Release{what})
		if got := soon(t, what, decided); got != what {
			t.Fatalf("%s was decided, want %s", got, what)
		}
	}
	b.pull()
	wg.Go(func() { outside(t, sys, "apples", Added{1}) })
	soon(t, "the sync", b.reached)
	send(Reserve{"first", 1})
	through("behind the first")
	// A writer's callback that takes its time holds up the refusal of the second one,
	// and not that of the first.
	slow, reached := make(chan struct{}), make(chan struct{})
	must(t, j.Submit(within(t), line, func(journal.Receipt, error) { close(reached); <-slow }))
	send(Reserve{"second", 1})
	through("behind the second")
	send(Reserve{"third", 1})
	soon(t, "the third decision", held)
	b.letGo()
	soon(t, "the slow callback", reached)
	close(hold)
	through("behind the third")
	close(slow)
	wg.Wait()
	settle(t, sys)
	var got []string
	for _, e := range stream(t, j, "apples") {
		if e.Kind == "stock.reserved" {
			v, err := stockEvents.Decode(e)
			must(t, err)
			got = append(got, v.(Reserved).Order)
		}
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(got, want) {
		t.Errorf("goods went to %v, want %v", got, want)
	}
}

// An agent's stream may be written from outside too. Here somebody does so
// whenever the agent is about to react for the first time to every other event,
// so that what it decides comes too late, and so does what it decides on top.
func TestOutsideAppendToAnAgent(t *testing.T) {
	j := memory(t)
	a := counter()
	var sys *actors.System
	tries := map[events.ID]int{}
	honest := a.React
	a.React = func(turn *actors.Turn, n int, e events.Event) error {
		if tries[e.ID]++; tries[e.ID] == 1 && e.StreamPosition%2 == 0 {
			if _, err := sys.Publish(t.Context(), "counter", events.Draft{Kind: "remark"}); err != nil {
				return err
			}
		}
		return honest(turn, n, e)
	}
	sys = start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "counter"))
	causes := orders(t, sys, 60)
	settle(t, sys)
	var got []events.ID
	for _, e := range stream(t, j, "counter") {
		if e.Kind != "remark" {
			got = append(got, e.Trigger)
		}
	}
	if !slices.Equal(got, ids(causes)) {
		t.Errorf("%d reactions to %d events, or in another order", len(got), len(causes))
	}
	for i, n := range notes(t, j, "counter") {
		if want := fmt.Sprintf("%d before %s", i, causes[i].ID); n != want {
			t.Fatalf("note %d is %q, want %q", i, n, want)
		}
	}
	if n := tries[causes[1].ID]; n < 2 {
		t.Errorf("an event whose reaction came too late was reacted to %d times", n)
	}
}

// An answer that waits for an intent comes later than those behind it, and
// nobody waits for the wrong one.
func TestEmbeddingsAnswerOutOfOrder(t *testing.T) {
	slow := newSlowIntents()
	j := open(t, "", journal.Options{Level: journal.LevelMemory, Intents: slow, IntentBudget: bound})
	handled := make(chan string, 10)
	a := actors.NewAgent("a", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		defer func() { handled <- o.ID }()
		d, err := noted.Encode(Note{o.ID})
		if err != nil || o.ID == "quiet" {
			return err
		}
		if o.ID == "meant" {
			d.Embedding = []float32{1, 0}
		}
		return t.Emit(d)
	})
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "a"))
	rec, err := actors.SpawnRecorder(sys, "log")
	must(t, err)
	settle(t, sys)
	for _, id := range []string{"meant", "plain"} {
		place(t, sys, id)
		soon(t, id, handled)
		for len(notes(t, j, "a")) == 0 {
			must(t, within(t).Err())
		}
	}
	// The journal answers in its order, so when this is answered the plain one
	// was too. The meant one still waits.
	answered := make(chan struct{})
	for len(notes(t, j, "a")) < 2 {
		must(t, within(t).Err())
	}
	must(t, rec.Record(within(t), events.Draft{Kind: "line"}, func(actors.Outcome, error) { close(answered) }))
	soon(t, "the answer", answered)
	place(t, sys, "quiet")
	soon(t, "quiet", handled)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sys.Settle(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("settled while an intent was missing: %v", err)
	}
	close(slow.hold)
	settle(t, sys)
	if got := notes(t, j, "a"); !slices.Equal(got, []string{"meant", "plain"}) {
		t.Errorf("notes %v", got)
	}
}

// That others keep writing to its stream is not a failure of an agent.
func TestContentionIsNotAFailure(t *testing.T) {
	j := memory(t)
	tries := 0
	a := clerk(func(tu *actors.Turn, _ events.Event) error {
		if tries++; tries <= 20 {
			_, err := j.Append(context.Background(), journal.Write{Events: []events.Draft{{Stream: "clerk", Kind: "scribble"}}})
			return err
		}
		return nil
	})
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "clerk"))
	place(t, sys, "o1")
	settle(t, sys)
	if got := notes(t, j, "clerk"); !slices.Equal(got, []string{"order o1"}) || tries != 21 {
		t.Errorf("notes are %v after %d tries: %v", got, tries, kinds(stream(t, j, "clerk")))
	}
}
