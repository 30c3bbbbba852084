package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// Dead letters are commands that were accepted and never decided, because
// their actor was stopped before it came to them, or had put them aside.
const (
	deadStream = "$deadletters"
	kindDead   = "toka.agent.deadletter"
)

// deadPayload is the payload of a dead letter.
type deadPayload struct {
	Agent         string `json:"agent"`
	Kind          string `json:"kind"`
	SchemaVersion uint32 `json:"schema_version"`
	ContentType   string `json:"content_type,omitempty"`
	Command       []byte `json:"command,omitempty"`
	ID            string `json:"id,omitempty"` // of the command, where it has one
	Reason        string `json:"reason"`
}

// Termination is the end of an actor.
type Termination struct {
	Agent  string
	Normal bool // it was stopped, rather than given up
	Reason string
}

// watching holds who wants to know of the end of actors.
type watching struct {
	mu     sync.Mutex
	by     map[string]map[*func(Termination)]bool
	parent map[string]*Supervisor
	calls  calls
}

// Watch has f called each time that the actor of that name ends, until cancel
// is called. The actor need not be live. Watchers are told one after the other,
// in the order of the ends, so f must not wait for long.
func (s *System) Watch(name string, f func(Termination)) (cancel func()) {
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by[name] == nil {
		if w.by == nil {
			w.by = map[string]map[*func(Termination)]bool{}
		}
		w.by[name] = map[*func(Termination)]bool{}
	}
	w.by[name][&f] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.by[name], &f)
		if len(w.by[name]) == 0 {
			delete(w.by, name)
		}
	}
}

// Link has each of two actors fail when the other does. That one is stopped
// does not touch the other.
func (s *System) Link(a, b string) (cancel func()) {
	one := s.Watch(a, func(t Termination) { s.failWith(b, t) })
	two := s.Watch(b, func(t Termination) { s.failWith(a, t) })
	return func() { one(); two() }
}

func (s *System) failWith(name string, t Termination) {
	s.mu.Lock()
	c := s.cells[name]
	s.mu.Unlock()
	if c == nil || t.Normal {
		return
	}
	c.control(func() {
		if c.failure == nil {
			c.giveUp(fmt.Errorf("agent %q: %w: it is linked to %q, which failed: %s", name, ErrStopped, t.Agent, t.Reason))
		}
	})
}

// terminated tells watchers, and the supervisor if there is one.
func (s *System) terminated(t Termination) {
	w := &s.watching
	w.mu.Lock()
	parent := w.parent[t.Agent]
	for f := range w.by[t.Agent] {
		w.calls.put(func() { (*f)(t) })
	}
	w.mu.Unlock()
	if parent != nil {
		parent.exited(t)
	}
}

// StopActor ends one live actor: it takes nothing more, deals with what it has
// accepted, and is gone when its last position and the digest of its state are
// durable. When ctx ends first, commands that were not decided become dead
// letters in the stream $deadletters and their senders get ErrStopped; events
// come again when the actor lives again. A handler that hangs keeps the actor
// from being gone, and the error says so. A name that is not live is no error.
func (s *System) StopActor(ctx context.Context, name string) error {
	s.mu.Lock()
	c := s.cells[name]
	if c == nil {
		s.mu.Unlock()
		return nil
	}
	gone, again := s.ending[name]
	if !again {
		gone = make(chan struct{})
		s.ending[name] = gone
	}
	s.mu.Unlock()
	if !again {
		s.windDown(ctx, c)
	}
	select {
	case <-gone:
		return nil
	default:
	}
	if err := ctx.Err(); err != nil {
		// What hangs was told; see whether it goes at once.
		select {
		case <-gone:
		default:
			return fmt.Errorf("agent %q: not stopped: %w", name, context.Cause(ctx))
		}
		return nil
	}
	if err := s.await(ctx, gone); err != nil {
		return fmt.Errorf("agent %q: not stopped: %w", name, err)
	}
	return nil
}

// windDown has an actor deal with what it has accepted, until ctx ends, and
// then go.
func (s *System) windDown(ctx context.Context, c *cell) {
	err := s.drainActor(ctx, c)
	for _, m := range c.box.drain() {
		s.dead(c, &m, "the actor was stopped")
		m.answer(Outcome{}, c.stopped())
	}
	c.control(func() {
		c.mu.Lock()
		left := append(c.refused, c.backlog...)
		c.mu.Unlock()
		for _, m := range left {
			s.dead(c, &slot{m: m}, "the actor was stopped")
		}
		failed := c.failure
		c.end()
		c.whenQuiet(func() {
			s.mu.Lock()
			if s.cells[c.name] == c {
				delete(s.cells, c.name)
			}
			gone := s.ending[c.name]
			delete(s.ending, c.name)
			c.gone.Store(true)
			s.mu.Unlock()
			if failed == nil { // otherwise its end was told when it came
				t := Termination{Agent: c.name, Normal: true, Reason: "it was stopped"}
				if err != nil {
					t.Reason = "it was stopped before it had dealt with everything"
				}
				s.terminated(t)
			}
			close(gone)
		})
	})
}

func (s *System) drainActor(ctx context.Context, c *cell) error {
	if len(c.b.patterns) > 0 {
		left := make(chan struct{})
		c.control(func() { s.bus.retire(c, func() { close(left) }) })
		if err := s.await(ctx, left); err != nil {
			return err
		}
	}
	c.box.close()
	drained := make(chan struct{})
	c.force(&message{kind: kindQuery, query: func(any, error) { close(drained) }})
	if err := s.await(ctx, drained); err != nil {
		return err
	}
	saved := make(chan struct{})
	c.control(func() { c.lastWrite(func() { close(saved) }) })
	return s.await(ctx, saved)
}

// lastWrite stores the digest of the state, and how far an agent has come.
func (c *cell) lastWrite(done func()) {
	if snap := c.restSnapshot(); snap != nil {
		last := done
		done = func() { c.sys.keepSnapshot(snap, last) }
	}
	var w journal.Write
	if c.failure == nil && c.recovered && c.version > 0 && c.b.name != RecorderName {
		if d, err := c.stateDigest(c.runner.encoded, c.version); err == nil {
			w.StateDigests = []journal.StateDigest{d}
		}
	}
	if len(c.b.patterns) > 0 {
		w.Checkpoints = []journal.Checkpoint{c.checkpoint(c.handled.Load())}
	}
	if w.StateDigests == nil && w.Checkpoints == nil {
		done()
		return
	}
	if c.sys.j.Submit(c.sys.ctx, w, func(journal.Receipt, error) { done() }) != nil {
		done()
	}
}

// dead journals a command that will not be decided.
func (s *System) dead(c *cell, left *slot, reason string) {
	m := left.m
	if m == nil {
		m = &message{kind: kindCommand, command: left.command}
	}
	if m.kind != kindCommand || m.always || m.begun { // it comes again by itself
		return
	}
	if err := c.encode(m); err != nil {
		s.log.Warn("a dead letter could not be encoded", "agent", c.name, "err", err)
		return
	}
	p := deadPayload{
		Agent: c.name, Kind: m.encoded.Kind, SchemaVersion: m.encoded.SchemaVersion, ContentType: m.encoded.ContentType,
		Command: m.encoded.Payload, Reason: reason,
	}
	if !m.id.IsZero() {
		p.ID = m.id.String()
	}
	b, err := json.Marshal(p)
	if err == nil {
		s.busy(1)
		err = s.j.Submit(s.ctx, journal.Write{Authority: authority.System(), Events: []events.Draft{{
			ID: s.opts.NewID(), Stream: deadStream, Kind: kindDead, SchemaVersion: 1, ContentType: events.ContentTypeJSON, Payload: b, Correlation: m.correlation,
		}}}, func(journal.Receipt, error) { s.busy(-1) })
		if err != nil {
			s.busy(-1)
		}
	}
	if err != nil && !errors.Is(err, journal.ErrClosed) {
		s.log.Warn("a dead letter could not be journaled", "agent", c.name, "err", err)
	}
}

// revive has an actor that was given up begin anew. What came to it meanwhile
// was refused; events come again.
func (s *System) revive(c *cell) {
	again := func() {
		if c.failure == nil {
			return
		}
		c.failure, c.history, c.recovered = nil, supervisor.History{}, false
		c.failed.Store(false)
		if len(c.b.patterns) > 0 {
			c.retired.Store(false)
			from := c.handled.Load()
			c.delivered.Store(from)
			s.catchUp(c, from)
		}
	}
	if len(c.b.patterns) == 0 {
		c.control(again)
		return
	}
	// Behind everything that the bus has handed over: that is still refused.
	s.busy(1)
	s.spin(func() {
		defer s.busy(-1)
		_ = s.bus.do(s.ctx, func() { c.box.force(&message{kind: kindControl, run: again}) })
	})
}

// passivateWithin bounds how long a resource may take to go.
const passivateWithin = 10 * time.Second

// passivate stops resources that have had nothing to do for long.
func (s *System) passivate() {
	after := s.opts.PassivateAfter
	if after <= 0 {
		return
	}
	var idle []string
	s.mu.Lock()
	for name, c := range s.cells {
		_, leaving := s.ending[name]
		if len(c.b.patterns) == 0 && !leaving && !s.stopping && c.box.idleFor() > after && c.clean.Load() && c.waiting.Load() == 0 && c.aside.Load() == 0 && s.above(name) == "" {
			idle = append(idle, name)
		}
	}
	s.mu.Unlock()
	if len(idle) == 0 {
		return
	}
	slices.Sort(idle)
	s.spin(func() {
		ctx, cancel := context.WithTimeout(s.ctx, passivateWithin)
		defer cancel()
		for _, name := range idle {
			if err := s.StopActor(ctx, name); err != nil {
				s.log.Warn("an idle resource did not stop", "agent", name, "err", err)
			}
		}
	})
}
