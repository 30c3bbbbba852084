package actorstest

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// World is a system over a journal in memory whose turns it runs itself, one
// message at a time: which actor is next is drawn from a seed. Between turns it
// waits until everything that a turn set off has come to rest, so nothing else
// decides the order. It must be made and used within one testing/synctest
// bubble, by one goroutine.
type World struct {
	System  *actors.System
	Journal *journal.Journal

	t     testing.TB
	rng   *rand.Rand
	trace []string

	mu   sync.Mutex
	runs []ready
}

// ready is a turn that can be run.
type ready struct {
	actor string
	turn  func()
}

// NewWorld returns a World that is closed when the test ends. Of opts it sets
// Dispatch itself.
func NewWorld(t testing.TB, seed uint64, opts actors.Options, bs ...actors.Behaviour) *World {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Journal: j, t: t, rng: rand.New(rand.NewPCG(seed, 0))}
	opts.Dispatch = func(actor string, turn func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.runs = append(w.runs, ready{actor, turn})
	}
	if w.System, err = actors.Start(j, actors.NewRegistry(bs...), opts); err != nil {
		t.Fatal(errors.Join(err, j.Close()))
	}
	return w
}

// Close stops the system and closes the journal.
func (w *World) Close() {
	w.t.Helper()
	w.Do(func() {
		if err := w.System.Stop(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	})
	if err := w.Journal.Close(); err != nil {
		w.t.Error(err)
	}
}

// Step runs one turn and returns whose, or false if there is none to run.
func (w *World) Step() (actor string, ok bool) {
	synctest.Wait()
	w.mu.Lock()
	if len(w.runs) == 0 {
		w.mu.Unlock()
		return "", false
	}
	// In what order they became ready is not the World's decision; that each
	// actor has one turn at a time is the system's promise.
	slices.SortFunc(w.runs, func(a, b ready) int { return cmp.Compare(a.actor, b.actor) })
	i := w.rng.IntN(len(w.runs))
	next := w.runs[i]
	w.runs = slices.Delete(w.runs, i, i+1)
	w.mu.Unlock()
	w.trace = append(w.trace, next.actor)
	done := make(chan struct{})
	go func() { // a handler may end its goroutine
		defer close(done)
		next.turn()
	}()
	<-done
	return next.actor, true
}

// Run runs turns until there is none to run. No time passes.
func (w *World) Run() {
	for {
		if _, ok := w.Step(); !ok {
			return
		}
	}
}

// Do runs f, which may wait for actors, on a goroutine of its own while it runs
// turns, until f has returned and there is no turn to run. Where everybody
// waits for time to pass, time passes.
func (w *World) Do(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		w.Run()
		select {
		case <-done:
			w.Run()
			return
		default:
		}
		select {
		case <-done:
		case <-time.After(time.Millisecond):
		}
	}
}

// Advance lets time pass, and runs the turns that become ready meanwhile, a
// millisecond late at most where they set something off for later.
func (w *World) Advance(d time.Duration) {
	w.Run()
	for end := time.Now().Add(d); ; {
		step := min(time.Until(end), max(d/1000, time.Millisecond))
		if step <= 0 {
			return
		}
		time.Sleep(step)
		w.Run()
	}
}

// Trace returns whose turns were run so far, in order.
func (w *World) Trace() []string { return slices.Clone(w.trace) }

// Publish journals an event of the outside world and runs what comes of it.
func (w *World) Publish(stream string, ds ...events.Draft) (out []events.Event) {
	w.t.Helper()
	w.Do(func() {
		es, err := w.System.Publish(w.t.Context(), stream, ds...)
		if err != nil {
			w.t.Error(err)
		}
		out = es
	})
	return out
}
