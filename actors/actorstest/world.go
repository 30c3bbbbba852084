package actorstest

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/turns"
	"github.com/tokaworks/toka/journal"
)

// World is a system over a journal in memory whose turns it runs itself, one
// message at a time: which actor is next is drawn from a seed, and so is when
// somebody is told that the time has come that he waits for. Between turns it
// waits until everything that a turn set off has come to rest, so nothing else
// decides the order. It must be made and used within one testing/synctest
// bubble, by one goroutine.
type World struct {
	System  *actors.System
	Journal *journal.Journal

	t     testing.TB
	turns *turns.Queue
	trace []string
}

// NewWorld returns a World that has to be closed. Of opts it sets Dispatch
// itself, and AfterFunc where that is not given.
func NewWorld(t testing.TB, seed uint64, opts actors.Options, bs ...actors.Behaviour) *World {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Journal: j, t: t, turns: turns.New(seed, synctest.Wait)}
	opts.Dispatch = w.turns.Dispatch
	if opts.AfterFunc == nil {
		opts.AfterFunc = w.turns.AfterFunc
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

// Step runs one turn and returns whose, or false if there is none to run. Where
// somebody was told that his time has come, the actor is $clock.
func (w *World) Step() (actor string, ok bool) {
	if actor, ok = w.turns.Step(); ok {
		w.trace = append(w.trace, actor)
	}
	return actor, ok
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
			w.turns.Idle(done, time.Now().Add(time.Hour))
		}
	}
}

// Advance lets time pass, and runs the turns that become ready meanwhile, each at
// its time.
func (w *World) Advance(d time.Duration) {
	for end := time.Now().Add(d); ; {
		w.Run()
		if !time.Now().Before(end) {
			return
		}
		w.turns.Idle(nil, end)
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
