package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Restore makes every actor that has written to the journal live again with
// its state, from one reading of the journal. progress, if it is not nil, is
// told now and then, and at the end, how many events were read of how many.
//
// An actor of a behaviour that is not registered, or that cannot be recovered,
// is left out, and the error names it; one that was given up, or is live
// already, is left as it is.
func (s *System) Restore(ctx context.Context, progress func(done, total uint64)) error {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	r := restoring{sys: s, actors: map[string]*restored{}}
	total := s.j.Position()
	done := uint64(0)
	for e, err := range s.j.Read(ctx, journal.Query{Before: total + 1}) {
		if err != nil {
			return err
		}
		r.event(&e)
		if done++; done%restoreProgress == 0 {
			progress(done, total)
		}
	}
	err := r.spawn(ctx)
	progress(total, total)
	return err
}

// restoreProgress is after how many events progress is told.
const restoreProgress = 10_000

type restoring struct {
	sys    *System
	actors map[string]*restored // by stream
}

// restored is an actor that is being folded.
type restored struct {
	b       *behaviour
	folded  folded
	err     error
	late    bool // events stand before its own first one: it has to read for itself
	givenUp bool
}

func (r *restoring) event(e *events.Event) {
	x := r.actors[e.Stream]
	if x == nil {
		key, ok := e.Extensions[events.ExtBehaviour]
		if !ok {
			return
		}
		x = &restored{late: e.StreamPosition > 1}
		r.actors[e.Stream] = x
		if x.b, x.err = r.sys.registry.find(key); x.err != nil {
			return
		}
		x.folded = folded{runner: x.b.runner(), requests: map[events.ID]events.Event{}, open: map[events.ID]uint64{}}
		x.folded.runner.reset()
	}
	switch {
	case e.Kind == kindStopped:
		x.givenUp = true
	case x.givenUp && !events.SystemKind(e.Kind):
		x.givenUp = false
	}
	if x.err == nil && !x.late {
		x.err = x.folded.safely(r.sys, x.b, e)
	}
}

// spawn makes live what was folded.
func (r *restoring) spawn(ctx context.Context) error {
	var errs []error
	names := make([]string, 0, len(r.actors))
	for name := range r.actors {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	for _, name := range names {
		x := r.actors[name]
		err := x.err
		if err == nil && !x.givenUp {
			err = r.sys.spawnRestored(name, x)
		}
		if err == nil && !x.givenUp && x.late {
			to := &address{sys: r.sys, b: x.b, name: name}
			r.sys.mu.Lock()
			to.at.Store(r.sys.cells[name])
			r.sys.mu.Unlock()
			_, err = to.query(ctx)
		}
		if err != nil && len(errs) < maxRestoreErrors {
			errs = append(errs, fmt.Errorf("agent %q: not restored: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// maxRestoreErrors bounds how many actors an error names.
const maxRestoreErrors = 10

func (s *System) spawnRestored(name string, x *restored) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, live := s.cells[name]; live {
		return nil
	}
	s.handed = &x.folded
	if x.late {
		s.handed = nil
	}
	defer func() { s.handed = nil }()
	_, err := s.live(x.b, name, !s.stopping && !s.refusing)
	return err
}
