package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
)

func TestStopDrains(t *testing.T) {
	const n = 100
	j := memory(t)
	g := newGate()
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		if a, ok := c.(Add); ok && a.N == 1 {
			g.pass()
		}
	})
	reacting := make(chan struct{})
	keeper := actors.NewAgent("keeper", 1, "order.placed", func(t *actors.Turn, _ events.Event) error {
		close(reacting)
		g.pass()
		if err := stock.Send(t, "apples", Add{2}); err != nil {
			return err
		}
		return stock.Send(t, "not live before", Add{2})
	})
	sys := start(t, j, actors.Options{Mailbox: n}, stock, keeper)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, keeper.Spawn(sys, "keeper"))
	settle(t, sys)
	place(t, sys, "o1")
	for range n / 2 {
		must(t, ref.Tell(within(t), Add{1}))
	}
	answers := make(chan error, n)
	for range n / 2 {
		go func() {
			_, err := ref.Ask(t.Context(), Add{1})
			answers <- err
		}()
	}
	waiting(t, sys, "apples", n-1) // one is in hand
	soon(t, "the reaction", reacting)

	stopped, again := make(chan error, 1), make(chan error, 1)
	go func() { stopped <- sys.Stop(within(t)) }()
	for n := 0; ; n++ { // until it takes no more
		if _, err := stock.Spawn(sys, fmt.Sprint("late ", n)); errors.Is(err, actors.ErrStopped) {
			break
		}
		runtime.Gosched()
	}
	go func() { again <- sys.Stop(within(t)) }()
	select {
	case err := <-stopped:
		t.Errorf("stopped with %d messages unfinished: %v", n, err)
	case err := <-again:
		t.Errorf("the second stop returned before the first: %v", err)
	default:
	}
	g.open()
	must(t, soon(t, "stop", stopped))
	must(t, soon(t, "the second stop", again))
	for range n / 2 {
		if err := soon(t, "an answer", answers); err != nil {
			t.Errorf("a command that was accepted: %v", err)
		}
	}
	if s := foldStock(t, j, "apples"); s.Free != n+2 {
		t.Errorf("state %+v, want all that was accepted, and the command that it led to", s)
	}
	if s := foldStock(t, j, "not live before"); s.Free != 2 {
		t.Errorf("state %+v, want the command that was sent to it", s)
	}

	for name, f := range map[string]func() error{
		"ask":   func() error { _, err := ref.Ask(within(t), Add{1}); return err },
		"tell":  func() error { return ref.Tell(within(t), Add{1}) },
		"state": func() error { _, err := ref.State(within(t)); return err },
		"spawn": func() error { return keeper.Spawn(sys, "another") },
	} {
		if err := f(); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("%s after stop: %v, want %v", name, err, actors.ErrStopped)
		}
	}
	must(t, sys.Stop(within(t)))
	if _, err := sys.Publish(within(t), "shop", events.Draft{Kind: "order.placed"}); err != nil {
		t.Errorf("the journal is the caller's, and does not take an event: %v", err)
	}
	if err := sys.Settle(within(t)); !errors.Is(err, actors.ErrStopped) {
		t.Errorf("settled after stop: %v, want %v", err, actors.ErrStopped)
	}
}

func TestStopIsBounded(t *testing.T) {
	j := memory(t)
	hang, reached := make(chan struct{}), make(chan struct{}, 10)
	stock := newStock(func(*actors.Turn, Stock, stockCommand) { reached <- struct{}{}; <-hang })
	a := clerk(func(*actors.Turn, events.Event) error { reached <- struct{}{}; <-hang; return nil })
	sys := start(t, j, actors.Options{}, stock, a)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, a.Spawn(sys, "clerk"))
	settle(t, sys)
	place(t, sys, "o1")
	inHand, answers := make(chan error, 1), make(chan error, 10)
	go func() {
		_, err := ref.Ask(t.Context(), Add{1})
		inHand <- err
	}()
	soon(t, "a handler", reached)
	soon(t, "another handler", reached)
	for range 5 {
		go func() {
			_, err := ref.Ask(t.Context(), Add{1})
			answers <- err
		}()
		go func() {
			_, err := ref.State(t.Context())
			answers <- err
		}()
	}
	waiting(t, sys, "apples", 10)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("that was long enough")
	cancel(enough)
	if err := sys.Stop(ctx); !errors.Is(err, enough) || !strings.Contains(err.Error(), "12 messages") {
		t.Errorf("stop: %v, want the reason and that 12 messages were left", err)
	}
	for range 10 {
		if err := soon(t, "an answer", answers); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("what waited was answered %v, want %v", err, actors.ErrStopped)
		}
	}
	select {
	case err := <-inHand:
		t.Errorf("the command in hand was answered before its handler returned: %v", err)
	default:
	}
	close(hang)
	// It was handled after all: whatever it is told is true.
	err := soon(t, "the answer to the command in hand", inHand)
	if got := foldStock(t, j, "apples").Free; (err == nil) != (got == 1) || err != nil && !errors.Is(err, actors.ErrStopped) {
		t.Errorf("the command in hand was answered %v, and the stream folds to %d", err, got)
	}
}

// A system that is stopped while its disk is busy does not say so to those
// whose commands are on their way: they are told how it went.
func TestStopWhileTheDiskIsBusy(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{1})
	b.pull()
	answers := make(chan error, 1)
	go func() {
		_, err := ref.Ask(t.Context(), Add{1})
		answers <- err
	}()
	soon(t, "the sync", b.reached)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sys.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if len(answers) != 0 {
		t.Errorf("answered while the disk was busy: %v", <-answers)
	}
	b.letGo()
	must(t, soon(t, "the answer", answers))
	if s := foldStock(t, j, "apples"); s.Free != 2 {
		t.Errorf("state %+v", s)
	}
}

// goroutines returns the stacks of all goroutines that run this module's code
// or the actor library's.
func goroutines() (n int, stacks string) {
	for size := 1 << 20; ; size *= 2 {
		b := make([]byte, size)
		if k := runtime.Stack(b, true); k < size {
			all := strings.Split(string(b[:k]), "\n\n")
			ours := slices.DeleteFunc(all, func(s string) bool {
				return !strings.Contains(s, "tokaworks/toka/actors.") && !strings.Contains(s, "asynkron/protoactor")
			})
			return len(ours), strings.Join(ours, "\n\n")
		}
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	before, _ := goroutines() // of tests that leave a failed disk behind
	j := memory(t)
	for range 5 {
		stock, a := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
			if a, ok := c.(Add); ok && a.N == 13 {
				panic("superstition")
			}
			if a, ok := c.(Add); ok && a.N == 14 {
				runtime.Goexit()
			}
		}), clerk(nil)
		opts := quick(3)
		opts.Mailbox = 1
		sys := start(t, j, opts, stock, a)
		must(t, a.Spawn(sys, "clerk"))
		var wg sync.WaitGroup
		for n := range 20 {
			ref := spawnStock(t, sys, stock, string(rune('a'+n)))
			wg.Go(func() { _, _ = ref.Ask(within(t), Add{n}) })
		}
		orders(t, sys, 50)
		wg.Wait()
		stopOK(t, sys)
	}
	// What is left has only to return.
	for ctx := within(t); ; runtime.Gosched() {
		after, stacks := goroutines()
		if after <= before {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d goroutines are left, %d were there before:\n%s", after, before, stacks)
		}
	}
}

// Settle returns when all is done and not before, however long the chain.
func TestSettle(t *testing.T) {
	j := memory(t)
	type ball struct{ N int }
	kick := events.NewType[ball]("ball.kicked", 1)
	stock := newStock(nil)
	var reacted atomic.Int64
	player := func(name string) *actors.Agent[struct{}] {
		return actors.NewAgent(name, 1, "ball.>", func(t *actors.Turn, e events.Event) error {
			reacted.Add(1)
			b, err := kick.Decode(e)
			if err != nil || b.N == 0 {
				return err
			}
			if err := stock.Send(t, t.Agent()+"'s stock", Add{1}); err != nil {
				return err
			}
			return actors.Emit(t, kick, ball{b.N - 1})
		})
	}
	ada, bob := player("ada"), player("bob")
	sys := start(t, j, actors.Options{Mailbox: 2}, stock, ada, bob)
	must(t, ada.Spawn(sys, "ada"))
	must(t, bob.Spawn(sys, "bob"))
	kicks, reactions := 0, int64(0)
	for round := range 200 {
		depth := round % 5
		_, err := actors.Publish(within(t), sys, "field", kick, ball{depth})
		must(t, err)
		settle(t, sys)
		// Both react to the first kick, and then each to the other's.
		kicks += 2 * depth
		reactions += int64(2 + 2*depth)
		if got := reacted.Load(); got != reactions {
			t.Fatalf("round %d: settled after %d reactions of %d", round, got, reactions)
		}
		if got := foldStock(t, j, "ada's stock").Free + foldStock(t, j, "bob's stock").Free; got != kicks {
			t.Fatalf("round %d: settled after %d commands of %d", round, got, kicks)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, sys.Settle(ctx)) // there is nothing to wait for
}

// Whoever settles hears of everything that was published before, whoever else
// publishes and settles at the same time.
func TestSettleUnderLoad(t *testing.T) {
	j := memory(t)
	var published, reacted atomic.Int64
	a := actors.NewAgent("a", 1, "order.placed", func(*actors.Turn, events.Event) error { reacted.Add(1); return nil })
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "a"))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before := published.Load()
				if err := sys.Settle(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if got := reacted.Load(); got < before {
					t.Errorf("settled after %d reactions; %d events were durable before", got, before)
					return
				}
			}
		})
	}
	for range 2000 {
		place(t, sys, "o")
		published.Add(1)
	}
	close(done)
	wg.Wait()
}
