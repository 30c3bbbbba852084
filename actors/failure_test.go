package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// failure is the payload of the events that failures become.
type failure struct {
	Reason, Action, Behaviour, Why, Stack string
	Attempt                               int
}

func failureOf(t testing.TB, e events.Event) (f failure) {
	t.Helper()
	if e.ContentType != events.ContentTypeJSON || e.SchemaVersion != 1 {
		t.Errorf("%s is %q, schema version %d", e.Kind, e.ContentType, e.SchemaVersion)
	}
	must(t, json.Unmarshal(e.Payload, &f))
	return f
}

// failing is a stock that panics while a command on an order has tries left.
type failing struct {
	mu    sync.Mutex
	tries map[string]int // how often each order has still to fail
	at    []time.Time    // when something was decided
	how   func(order string)
}

func (f *failing) stock() *stockResource {
	return newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		r, ok := c.(Reserve)
		if !ok {
			return
		}
		f.mu.Lock()
		f.at = append(f.at, time.Now())
		fail := f.tries[r.Order] > 0
		f.tries[r.Order]--
		f.mu.Unlock()
		if fail {
			f.how(r.Order)
		}
	})
}

// without backoff, in words that mean no jitter either
func patient(attempts int) actors.Options {
	return actors.Options{Supervision: supervisor.Policy{
		MaxAttempts: attempts, Backoff: supervisor.Backoff{Initial: time.Second, Factor: 2, Max: time.Minute, Jitter: -1},
	}}
}

func TestPanicIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		f := &failing{tries: map[string]int{"o1": 1}, how: func(string) { panic("the shelf broke") }}
		stock := f.stock()
		sys := start(t, j, patient(3), stock)
		ref := spawnStock(t, sys, stock, "apples")
		cause := place(t, sys, "o1")
		begin := time.Now()
		id := journal.NewID()
		var others []string
		var wg sync.WaitGroup
		first := make(chan actors.Outcome, 1)
		wg.Go(func() {
			out, err := ref.Ask(within(t), Reserve{"o1", 0}, actors.WithCommandID(id), actors.WithCause(cause.Ref()), actors.WithCorrelation("story"))
			if err != nil {
				t.Error(err)
			}
			first <- out
		})
		synctest.Wait() // it has failed and pauses
		wg.Go(func() {
			out, err := ref.Ask(within(t), Add{1})
			if err != nil {
				t.Error(err)
			}
			others = kinds(out.Events)
		})
		wg.Wait()
		if want := []time.Time{begin, begin.Add(time.Second)}; !slices.EqualFunc(f.at, want, time.Time.Equal) {
			t.Errorf("decided at %v, want %v", f.at, want)
		}
		es := stream(t, j, "apples")
		want := []string{
			"toka.command.stock.reserve", "toka.agent.failed", "stock.reserved", "stock.emptied",
			"toka.command.stock.add", "stock.added",
		}
		if !slices.Equal(kinds(es), want) {
			t.Fatalf("the stream holds %v, want %v", kinds(es), want)
		}
		command, failed := es[0], es[1]
		if command.ID != id || command.Extensions[events.ExtBehaviour] != "stock/1" || !refs(command.Parents)[cause.Ref()] || command.Correlation != "story" {
			t.Errorf("the command was journaled as %+v", command)
		}
		for i, e := range es[1:4] {
			if e.Trigger != id || len(e.Parents) != 1 || e.Parents[0].ID != id || e.Correlation != "story" {
				t.Errorf("event %d: trigger %s, parents %v, correlation %q; want those of the command", i+1, e.Trigger, e.Parents, e.Correlation)
			}
		}
		if p := failureOf(t, failed); p.Reason != "panic: the shelf broke" || p.Attempt != 1 || p.Action != "restart" || p.Behaviour != "stock/1" || !strings.Contains(p.Stack, "failure_test.go") {
			t.Errorf("the failure says %+v", p)
		}
		if out := <-first; !slices.Equal(ids(out.Events), ids(es[2:4])) || out.Duplicate {
			t.Errorf("the outcome is %v", kinds(out.Events))
		}
		if e := es[3]; !e.Time.Equal(begin) {
			t.Errorf("decided again at %v by its own clock, want %v as it is recorded", e.Time, begin)
		}
		if !slices.Equal(others, []string{"stock.added"}) {
			t.Errorf("the command behind it caused %v", others)
		}
		stopOK(t, sys)
		closeOK(t, j)
	})
}

func TestPoisonIsParked(t *testing.T) {
	for name, how := range map[string]func(string){
		"panic":  func(order string) { panic("bad " + order) },
		"goexit": func(string) { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := memory(t)
				f := &failing{tries: map[string]int{"poison": 100}, how: how}
				stock := f.stock()
				sys := start(t, j, patient(3), stock)
				ref := spawnStock(t, sys, stock, "apples")
				ask(t, ref, Add{5})
				begin := time.Now()
				id := journal.NewID()
				_, err := ref.Ask(within(t), Reserve{"poison", 1}, actors.WithCommandID(id))
				var failed *actors.FailedError
				if !errors.As(err, &failed) || !errors.Is(err, actors.ErrFailed) || failed.Attempts != 3 || failed.Agent != "apples" {
					t.Fatalf("%#v, want a FailedError after 3 tries", err)
				}
				// The waits of restarts in a row: 1 s and 2 s, and 4 s with the parking.
				if want := []time.Time{begin, begin.Add(time.Second), begin.Add(3 * time.Second)}; !slices.EqualFunc(f.at, want, time.Time.Equal) {
					t.Errorf("tried at %v, want %v", f.at, want)
				}
				if out := ask(t, ref, Reserve{"o2", 1}); len(out.Events) != 1 {
					t.Errorf("the next command caused %v", kinds(out.Events))
				}
				es := stream(t, j, "apples")[2:]
				want := []string{
					"toka.command.stock.reserve", "toka.agent.failed", "toka.agent.failed", "toka.agent.parked",
					"toka.command.stock.reserve", "stock.reserved",
				}
				if !slices.Equal(kinds(es), want) {
					t.Fatalf("the stream holds %v, want %v", kinds(es), want)
				}
				for i, e := range es[1:4] {
					if p := failureOf(t, e); e.Trigger != id || p.Attempt != i+1 || p.Reason == "" {
						t.Errorf("failure %d: trigger %s, %+v", i, e.Trigger, p)
					}
				}
				if failed.Event != es[3].ID {
					t.Errorf("the error names event %s, want the parked one, %s", failed.Event, es[3].ID)
				}
				// Sent again, it is told the same and is not tried again.
				_, again := ref.Ask(within(t), Reserve{"poison", 1}, actors.WithCommandID(id))
				if again == nil || again.Error() != err.Error() || len(f.at) != 4 {
					t.Errorf("sent again: %v after %d decisions, want %v", again, len(f.at), err)
				}
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

func TestPoisonousEventIsParked(t *testing.T) {
	for name, how := range map[string]func() error{
		"error":  func() error { return errors.New("no") },
		"panic":  func() error { panic("no") },
		"goexit": func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := memory(t)
				var tries atomic.Int32
				a := clerk(func(_ *actors.Turn, e events.Event) error {
					if o, err := placed.Decode(e); err != nil || o.ID != "poison" {
						return err
					}
					tries.Add(1)
					return how()
				})
				sys := start(t, j, patient(2), a)
				must(t, a.Spawn(sys, "clerk"))
				d, err := placed.Encode(Order{ID: "poison"})
				must(t, err)
				d.Correlation = "story"
				es, err := sys.Publish(within(t), "shop", d)
				must(t, err)
				place(t, sys, "o2")
				settle(t, sys)
				got := stream(t, j, "clerk")
				if want := []string{"toka.agent.failed", "toka.agent.parked", "clerk.noted"}; !slices.Equal(kinds(got), want) {
					t.Fatalf("the stream holds %v, want %v", kinds(got), want)
				}
				for i, e := range got[:2] {
					if e.Trigger != es[0].ID || len(e.Parents) != 1 || e.Parents[0].ID != es[0].ID || e.Correlation != "story" {
						t.Errorf("failure %d: trigger %s, parents %v, correlation %q; want those of the event", i, e.Trigger, e.Parents, e.Correlation)
					}
				}
				if info := sys.Agents()[0]; info.Restarts != 2 || info.Failure == "" {
					t.Errorf("%+v, want 2 restarts and why", info)
				}
				stopOK(t, sys)
				// What was set aside stays there after a restart.
				rewind(t, j, "clerk")
				sys = start(t, j, patient(2), a)
				must(t, a.Spawn(sys, "clerk"))
				settle(t, sys)
				if n := tries.Load(); n != 2 || len(stream(t, j, "clerk")) != 3 {
					t.Errorf("%d tries in all, and the stream holds %v", n, kinds(stream(t, j, "clerk")))
				}
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

// A message that works at the second try has the outcome it would have had.
func TestRetrySucceeds(t *testing.T) {
	j := memory(t)
	f := &failing{tries: map[string]int{"o1": 2, "o2": 1}, how: func(string) { panic("as planned") }}
	stock := f.stock()
	sys := start(t, j, quick(3), stock)
	ref := spawnStock(t, sys, stock, "apples")
	// It is rejected in the end: the record of the try is all there is.
	id := journal.NewID()
	for range 2 {
		var short *shortage
		if _, err := ref.Ask(within(t), Reserve{"o1", 1}, actors.WithCommandID(id)); !errors.As(err, &short) {
			t.Errorf("%v, want the rejection", err)
		}
	}
	ask(t, ref, Add{1})
	// The id stands for the command that was recorded under it, and no other.
	if _, err := ref.Ask(within(t), Reserve{"wrong", 77}, actors.WithCommandID(id)); !errors.Is(err, journal.ErrIDConflict) {
		t.Errorf("another command under the id: %v, want %v", err, journal.ErrIDConflict)
	}
	// And what was rejected before is decided again, as it was recorded.
	out := ask(t, ref, Reserve{"o1", 1}, actors.WithCommandID(id))
	if len(out.Events) != 2 || out.Duplicate || out.Events[0].Trigger != id || string(out.Events[0].Payload) != `{"Order":"o1","N":1}` {
		t.Errorf("decided again: %v, duplicate %v", kinds(out.Events), out.Duplicate)
	}
	if again := ask(t, ref, Reserve{"o1", 1}, actors.WithCommandID(id)); !again.Duplicate || !slices.Equal(ids(again.Events), ids(out.Events)) {
		t.Errorf("and again: %v, duplicate %v", kinds(again.Events), again.Duplicate)
	}
	if s := state(t, ref); !sameStock(s, foldStock(t, j, "apples")) || s.Held["o1"] != 1 {
		t.Errorf("state %+v", s)
	}
}

// A command whose only trace is that it failed, because the process ended
// before the next try, is not taken for done.
func TestCommandThatWasCutOffIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		f := &failing{tries: map[string]int{"o1": 1}, how: func(string) { panic("as planned") }}
		stock := f.stock()
		sys := start(t, j, patient(3), stock)
		ref := spawnStock(t, sys, stock, "apples")
		ask(t, ref, Add{1})
		id := journal.NewID()
		answered := make(chan error, 1)
		go func() {
			_, err := ref.Ask(within(t), Reserve{"o1", 1}, actors.WithCommandID(id))
			answered <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := sys.Stop(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 messages") {
			t.Errorf("stop: %v, want that one message was left", err)
		}
		if err := <-answered; !errors.Is(err, actors.ErrStopped) {
			t.Errorf("the command that was about to be tried again: %v, want %v", err, actors.ErrStopped)
		}
		sys = start(t, j, patient(3), stock)
		ref = spawnStock(t, sys, stock, "apples")
		out := ask(t, ref, Reserve{"o1", 1}, actors.WithCommandID(id))
		if len(out.Events) != 2 || out.Duplicate {
			t.Errorf("asked again: %v, duplicate %v", kinds(out.Events), out.Duplicate)
		}
		stopOK(t, sys)
		closeOK(t, j)
	})
}

func TestEvolvePanics(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	honest := stock.Evolve
	var broken atomic.Bool
	stock.Evolve = func(s Stock, e stockEvent) Stock {
		if a, ok := e.(Added); ok && a.N == 13 && broken.Load() {
			panic("superstition")
		}
		return honest(s, e)
	}
	broken.Store(true)
	other := newStock(nil)
	other.Name = "other"
	sys := start(t, j, quick(2), stock, other)
	ref := spawnStock(t, sys, stock, "apples")
	if _, err := ref.Ask(within(t), Add{13}); !errors.Is(err, actors.ErrFailed) {
		t.Errorf("%v, want %v", err, actors.ErrFailed)
	}
	ask(t, ref, Add{1})
	if s := state(t, ref); s.Free != 1 {
		t.Errorf("state %+v", s)
	}
	// In recovery there is nothing to set aside: the actor is given up, and
	// only that one.
	outside(t, sys, "apples", Added{13})
	for range 2 {
		if _, err := ref.State(within(t)); err == nil || !strings.Contains(err.Error(), "superstition") {
			t.Errorf("%v, want why it could not recover", err)
		}
	}
	if _, err := ref.Ask(within(t), Add{1}); err == nil {
		t.Error("an actor that could not recover took a command")
	}
	pears, err := other.Spawn(sys, "pears")
	must(t, err)
	ask(t, pears, Add{1})
	stopOK(t, sys)
	broken.Store(false)
	sys = start(t, j, quick(2), stock)
	if s := state(t, spawnStock(t, sys, stock, "apples")); s.Free != 14 {
		t.Errorf("state %+v after a mended restart", s)
	}
}

func TestGoexitInRecovery(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	honest := stock.Evolve
	var broken atomic.Bool
	stock.Evolve = func(s Stock, e stockEvent) Stock {
		if broken.Load() {
			runtime.Goexit()
		}
		return honest(s, e)
	}
	sys := start(t, j, actors.Options{Recoveries: 1}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{1})
	broken.Store(true)
	outside(t, sys, "apples", Added{1})
	if _, err := ref.State(within(t)); err == nil || !strings.Contains(err.Error(), "Goexit") {
		t.Errorf("%v, want that the handler called Goexit", err)
	}
	broken.Store(false)
	// The only place for recoveries is free again.
	ask(t, spawnStock(t, sys, stock, "pears"), Add{1})
}

// An actor that keeps failing is given up in the end. Nobody waits for it for
// ever, and nobody else is touched.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		f := &failing{tries: map[string]int{"poison": 1000}, how: func(string) { panic("again") }}
		stock := f.stock()
		opts := patient(1000)
		opts.Supervision.MaxRestarts, opts.Supervision.Window = 4, time.Hour
		sys := start(t, j, opts, stock)
		ref, other := spawnStock(t, sys, stock, "apples"), spawnStock(t, sys, stock, "pears")
		answers := make(chan error, 4)
		go func() {
			_, err := ref.Ask(within(t), Reserve{"poison", 1})
			answers <- err
		}()
		synctest.Wait()
		go func() {
			_, err := ref.Ask(within(t), Add{1})
			answers <- err
		}()
		go func() {
			_, err := ref.State(within(t))
			answers <- err
		}()
		for range 3 {
			if err := <-answers; !errors.Is(err, actors.ErrStopped) || !strings.Contains(err.Error(), "again") {
				t.Errorf("%v, want %v and why", err, actors.ErrStopped)
			}
		}
		if _, err := ref.Ask(within(t), Add{1}); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("%v, want %v", err, actors.ErrStopped)
		}
		es := stream(t, j, "apples")
		if want := []string{
			"toka.command.stock.reserve", "toka.agent.failed", "toka.agent.failed", "toka.agent.failed",
			"toka.agent.failed", "toka.agent.stopped",
		}; !slices.Equal(kinds(es), want) {
			t.Errorf("the stream holds %v, want %v", kinds(es), want)
		}
		if p := failureOf(t, es[len(es)-1]); p.Action != "escalate" || p.Why == "" {
			t.Errorf("the last failure says %+v", p)
		}
		ask(t, other, Add{1})
		settle(t, sys)
		stopOK(t, sys)
		closeOK(t, j)
	})
}

// While one actor pauses after a failure, the others go on.
func TestBackoffHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		f := &failing{tries: map[string]int{"poison": 1}, how: func(string) { panic("wait for me") }}
		stock := f.stock()
		a := clerk(nil)
		sys := start(t, j, patient(3), stock, a)
		ref, other := spawnStock(t, sys, stock, "apples"), spawnStock(t, sys, stock, "pears")
		must(t, a.Spawn(sys, "clerk"))
		ask(t, ref, Add{1})
		begin := time.Now()
		done := make(chan time.Time, 1)
		go func() {
			if _, err := ref.Ask(within(t), Reserve{"poison", 1}); err != nil {
				t.Error(err)
			}
			done <- time.Now()
		}()
		synctest.Wait()
		causes := orders(t, sys, 100)
		for range 100 {
			ask(t, other, Add{1})
		}
		for len(stream(t, j, "clerk")) < len(causes) {
			synctest.Wait()
		}
		if time.Now() != begin {
			t.Errorf("others waited until %v", time.Since(begin))
		}
		if got := (<-done).Sub(begin); got != time.Second {
			t.Errorf("answered after %v, want the backoff of 1s", got)
		}
		stopOK(t, sys)
		closeOK(t, j)
	})
}

// Goexit in one handler costs nobody anything but a try, whoever shares the
// system with it.
func TestGoexit(t *testing.T) {
	j := memory(t)
	f := &failing{tries: map[string]int{}, how: func(string) { runtime.Goexit() }}
	for n := range 50 {
		f.tries[fmt.Sprint("o", n)] = n % 3
	}
	stock := f.stock()
	sys := start(t, j, quick(3), stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{100})
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() { ask(t, ref, Reserve{fmt.Sprint("o", n), 1}) })
	}
	wg.Wait()
	if s := state(t, ref); s.Free != 50 || len(s.Held) != 50 {
		t.Errorf("state %+v", s)
	}
}

func TestStartRefusesABadPolicy(t *testing.T) {
	j := memory(t)
	defer func() {
		if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "actors: Start: ") || !strings.Contains(p, "MaxRestarts") {
			t.Errorf("panic %q", p)
		}
	}()
	_, err := actors.Start(j, actors.NewRegistry(), actors.Options{Supervision: supervisor.Policy{MaxRestarts: -1}})
	t.Errorf("started, %v", err)
}

// However often a command fails, and however many senders give it the same id
// meanwhile, one of them causes its events and the others are told of them.
func TestFailingCommandTwice(t *testing.T) {
	for round := range 40 {
		j := memory(t)
		var left atomic.Int32
		left.Store(1)
		stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
			if _, ok := c.(Reserve); ok && left.Add(-1) >= 0 {
				panic("as planned")
			}
		})
		sys := start(t, j, quick(4), stock)
		ref := spawnStock(t, sys, stock, "apples")
		ask(t, ref, Add{10})
		id := journal.NewID()
		var wg sync.WaitGroup
		var first atomic.Int32
		for range 12 {
			wg.Go(func() {
				d, err := stockEvents.Encode(Added{1})
				if err == nil {
					_, err = sys.Publish(within(t), "apples", d)
				}
				if err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				out, err := ref.Ask(within(t), Reserve{"o1", 2}, actors.WithCommandID(id))
				if err != nil || len(out.Events) != 1 {
					t.Errorf("round %d: %+v, %v", round, out, err)
				}
				if !out.Duplicate {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if n := first.Load(); n != 1 {
			t.Errorf("round %d: %d first answers", round, n)
		}
		settle(t, sys)
		stopOK(t, sys)
	}
}
