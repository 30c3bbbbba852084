package projection

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Place is up to where a model has taken events.
type Place struct {
	Position uint64        // 0: nothing
	Digest   events.Digest // causal digest of the event at Position
}

// Model is a read model with the place that it has come to. State is one; a
// model in a database of the caller's is another. Its methods are not called
// concurrently.
type Model interface {
	// Place returns what the last Apply that lasted was given.
	Place(ctx context.Context) (Place, error)
	// Apply takes events, in order, and the place after them, in one
	// transaction. es may be empty: then only the place moves.
	Apply(ctx context.Context, es []events.Event, to Place) error
	// Reset empties the model.
	Reset(ctx context.Context) error
	// Close lets go of the model. What was applied lasts after it.
	Close() error
}

// Version is one way to build a read model.
type Version[M Model] struct {
	Name  string
	Model M
	// Drop, if it is not nil, deletes the model after a newer one has taken
	// its place and it was closed.
	Drop func() error
}

// Config says what a projection takes.
type Config struct {
	// Query selects the events: by Stream, Agent, Kinds, Correlation or Since.
	Query journal.Query
	// Upcasts, if it is not nil, is applied to each event.
	Upcasts *journal.Upcasts
}

// Status says how far a projection is.
type Status struct {
	Version  string // the one that answers
	Position uint64
	Lag      uint64 // durable events after Position, selected or not
	Err      error  // why it takes no more events; nil while it does

	Building         string // the version that is to answer next; empty if there is none
	BuildingPosition uint64
	BuildingLag      uint64
	BuildingErr      error
}

// Projection keeps models up to date. It is safe for concurrent use.
type Projection[M Model] struct {
	j      *journal.Journal
	config Config
	ctx    context.Context // ends with the projection
	stop   context.CancelFunc

	mu       sync.Mutex
	serving  *run[M]
	building *run[M]
	changed  chan struct{} // closed and replaced when anything changes
	done     sync.WaitGroup
	closeErr error
	closing  sync.Once
}

// run is one model on its way.
type run[M Model] struct {
	version  Version[M]
	stop     context.CancelFunc
	done     chan struct{}
	position uint64 // guarded by Projection.mu, like the rest
	caughtUp bool
	err      error
}

// Start begins to keep models up to date. current is what is to answer; until
// it has caught up, the first of previous that has taken any event answers, if
// there is one. Start takes the models over, and closes those that are not
// needed.
func Start[M Model](ctx context.Context, j *journal.Journal, config Config, current Version[M], previous ...Version[M]) (*Projection[M], error) {
	if q := config.Query; q.Backwards || q.Limit != 0 || q.Before != 0 || !q.Until.IsZero() {
		panic("projection: Start: a query with an end or backwards")
	}
	p := &Projection[M]{j: j, config: config, changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	from, err := p.fit(ctx, current.Model)
	var old *Version[M]
	var oldFrom uint64
	for i := range previous {
		v := &previous[i]
		at := uint64(0)
		if err == nil && old == nil && from < j.Position() {
			at, err = p.fit(ctx, v.Model)
		}
		if err == nil && at > 0 {
			old, oldFrom = v, at
			continue
		}
		err = errors.Join(err, v.Model.Close())
	}
	if err != nil {
		p.stop()
		return nil, errors.Join(fmt.Errorf("projection: %w", err), current.Model.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old == nil {
		p.serving = p.start(current, from)
		return p, nil
	}
	p.serving = p.start(*old, oldFrom)
	p.building = p.start(current, from)
	r := p.building
	p.done.Go(func() { _ = p.switchOver(r) }) // Status tells what became of it
	return p, nil
}

// fit returns where a model goes on: its place, or the beginning if its place
// is none of this journal.
func (p *Projection[M]) fit(ctx context.Context, m M) (uint64, error) {
	place, err := m.Place(ctx)
	if err != nil || place.Position == 0 {
		return 0, err
	}
	e, err := p.j.At(ctx, place.Position)
	switch {
	case err == nil && e.Digest == place.Digest:
		return place.Position, nil
	case err != nil && !errors.Is(err, journal.ErrNotFound):
		return 0, err
	}
	return 0, m.Reset(ctx)
}

// start begins to feed a model. The caller holds mu.
func (p *Projection[M]) start(v Version[M], from uint64) *run[M] {
	r := &run[M]{version: v, position: from, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(p.ctx)
	go p.feed(ctx, r, from)
	return r
}

const (
	batchEvents = 512     // that are applied at a time
	placeEvery  = 1 << 14 // positions after which a place without events is applied
)

// feed applies what comes to a model until ctx ends or that fails.
func (p *Projection[M]) feed(ctx context.Context, r *run[M], from uint64) {
	defer close(r.done)
	q := p.config.Query
	q.After = max(q.After, from)
	var batch []events.Event
	applied := from
	var err error
	for step, failed := range p.j.Follow(ctx, q) {
		if err = failed; err != nil {
			break
		}
		if e := step.Event; e.Position != 0 {
			if p.config.Upcasts != nil {
				if e, err = p.config.Upcasts.Apply(e); err != nil {
					break
				}
			}
			batch = append(batch, e)
		}
		if len(batch) >= batchEvents || len(batch) > 0 && step.Event.Position == 0 || step.Position-min(step.Position, applied) >= placeEvery {
			if err = p.apply(ctx, r.version.Model, batch, step.Position); err != nil {
				break
			}
			applied = step.Position
			batch = nil
		}
		if len(batch) == 0 {
			p.reach(r, step.Position, step.CaughtUp)
		}
	}
	if ctx.Err() != nil {
		return
	}
	if place, failed := r.version.Model.Place(ctx); failed == nil {
		p.reach(r, place.Position, false) // a part of a batch may have been taken
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.err = err
	p.broadcast()
}

func (p *Projection[M]) apply(ctx context.Context, m M, es []events.Event, position uint64) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("projection: up to position %d: panic: %v", position, v)
		}
	}()
	to := Place{Position: position}
	if n := len(es); n > 0 && es[n-1].Position == position {
		to.Digest = es[n-1].Digest
	} else {
		e, err := p.j.At(ctx, position)
		if err != nil {
			return fmt.Errorf("projection: %w", err)
		}
		to.Digest = e.Digest
	}
	return m.Apply(ctx, es, to)
}

func (p *Projection[M]) reach(r *run[M], position uint64, caughtUp bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.position = max(r.position, position)
	r.caughtUp = r.caughtUp || caughtUp
	p.broadcast()
}

// broadcast wakes all who wait. The caller holds mu.
func (p *Projection[M]) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// until waits until f, which holds mu, says that it is done.
func (p *Projection[M]) until(ctx context.Context, f func() (bool, error)) error {
	for {
		p.mu.Lock()
		done, err := f()
		changed := p.changed
		p.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ctx.Done():
			return journal.ErrClosed
		}
	}
}

// switchOver lets r answer when it has caught up.
func (p *Projection[M]) switchOver(r *run[M]) error {
	var old *run[M]
	err := p.until(p.ctx, func() (bool, error) {
		if p.building != r {
			return true, context.Canceled
		}
		if !r.caughtUp {
			return false, r.err
		}
		old, p.serving, p.building = p.serving, r, nil
		p.broadcast()
		return true, nil
	})
	if err != nil {
		return err
	}
	old.stop()
	<-old.done
	err = old.version.Model.Close()
	if err == nil && old.version.Drop != nil {
		err = old.version.Drop()
	}
	return err
}

// Rebuild builds v from the beginning, while the version that answers goes on,
// lets v answer when it has caught up, and returns then. If ctx ends before, v
// is closed and all is as it was; it is an error if another version is being
// built.
func (p *Projection[M]) Rebuild(ctx context.Context, v Version[M]) error {
	if err := v.Model.Reset(ctx); err != nil {
		return errors.Join(err, v.Model.Close())
	}
	p.mu.Lock()
	if p.building != nil || p.ctx.Err() != nil {
		p.mu.Unlock()
		return errors.Join(errors.New("projection: Rebuild: another version is being built, or the projection is closed"), v.Model.Close())
	}
	r := p.start(v, 0)
	p.building = r
	p.mu.Unlock()
	switched := make(chan error, 1)
	go func() { switched <- p.switchOver(r) }()
	var err error
	select {
	case err = <-switched:
		switched <- err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	given := p.building != r // it has come to answer, or Close has it
	if !given {
		p.building = nil
		p.broadcast()
	}
	p.mu.Unlock()
	if given {
		return <-switched
	}
	r.stop()
	<-r.done
	return errors.Join(err, v.Model.Close())
}

// Serving returns the model that answers.
func (p *Projection[M]) Serving() M {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.serving.version.Model
}

// Status returns how far the projection is.
func (p *Projection[M]) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.j.Position()
	lag := func(r *run[M]) uint64 { return end - min(end, r.position) }
	s := Status{Version: p.serving.version.Name, Position: p.serving.position, Lag: lag(p.serving), Err: p.serving.err}
	if b := p.building; b != nil {
		s.Building, s.BuildingPosition, s.BuildingLag, s.BuildingErr = b.version.Name, b.position, lag(b), b.err
	}
	return s
}

// Wait returns when the model that answers has come to a position.
func (p *Projection[M]) Wait(ctx context.Context, position uint64) error {
	return p.until(ctx, func() (bool, error) {
		if p.serving.position >= position {
			return true, nil
		}
		return false, p.serving.err
	})
}

// Close ends the projection and closes its models. Close it before the
// journal.
func (p *Projection[M]) Close() error {
	p.closing.Do(func() {
		p.stop()
		p.mu.Lock()
		runs := []*run[M]{p.serving, p.building}
		p.building = nil
		p.broadcast()
		p.mu.Unlock()
		for _, r := range runs {
			if r != nil {
				r.stop()
				<-r.done
				p.closeErr = errors.Join(p.closeErr, r.version.Model.Close())
			}
		}
		p.done.Wait()
	})
	return p.closeErr
}
