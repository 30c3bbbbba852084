package actors

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// bus is the actor that hands durable events to agents, in the order of the
// journal. It never waits for one: an agent whose mailbox is full is set aside
// and catches up from the journal by itself until it has come to where the bus
// is. An agent's checkpoint is stored with what it emits; for all that happened
// without it, one checkpoint of the bus stands for every agent that keeps up.
type bus struct {
	sys        *System
	box        mailbox
	checkpoint string // name of this run's checkpoint

	// Owned by the bus's turns.
	literal map[string][]*cell // by kind
	pattern []*cell            // with at least one wildcard
	members map[*cell]bool
	// detached are the members that the bus's checkpoint does not speak for:
	// their own says where they are.
	detached map[*cell]bool
	saved    atomic.Uint64
	frozen   bool // the system is stopping: agents take nothing more

	position atomic.Uint64 // everything up to here was handed over
}

// batchEvents is how many events the bus takes in one turn.
const batchEvents = 256

// saveEvery is how often the bus stores its checkpoint.
const saveEvery = time.Second

func newBus(sys *System) *bus {
	b := &bus{
		sys: sys, checkpoint: "toka.bus/" + journal.NewID().String(),
		literal: map[string][]*cell{}, members: map[*cell]bool{}, detached: map[*cell]bool{},
	}
	b.box = mailbox{owner: b, workers: sys.workers, clock: &sys.second, capacity: 16}
	start := sys.j.Position()
	b.position.Store(start)
	b.saved.Store(start)
	return b
}

// turn implements receiver: the bus takes control messages only.
func (b *bus) turn(s *slot, _ *scratch) { s.m.run() }

func (b *bus) id() string { return "$bus" }

func (b *bus) do(ctx context.Context, f func()) error {
	_, err := b.box.put(ctx, slot{m: &message{kind: kindControl, run: f}}, Wait)
	return err
}

// pump follows the journal and feeds the bus until ctx ends.
func (b *bus) pump(ctx context.Context) {
	defer b.sys.wg.Done()
	var batch []events.Event
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		es := batch
		batch = nil
		return b.do(ctx, func() { b.dispatch(es) })
	}
	for e, err := range b.sys.j.Subscribe(ctx, journal.Query{After: b.position.Load()}) {
		if err != nil {
			_ = flush()
			if ctx.Err() == nil {
				b.sys.fail(err)
			}
			return
		}
		batch = append(batch, e)
		// The last event that is durable now must not wait for company.
		if len(batch) == batchEvents || e.Position >= b.sys.j.Position() {
			if flush() != nil {
				return
			}
		}
	}
}

// dispatch hands a run of events to the agents that want them.
func (b *bus) dispatch(es []events.Event) {
	if b.frozen {
		return
	}
	for i := range es {
		e := &es[i]
		for _, c := range b.literal[e.Kind] {
			b.offer(c, e)
		}
		for _, c := range b.pattern {
			if c.wants(e) {
				b.offer(c, e)
			}
		}
		if e.Kind == kindRetry {
			b.sys.takeUp(e)
		}
		if b.frozen {
			return // somebody's mailbox was closed, so not everybody has it
		}
		b.position.Store(e.Position)
	}
	b.sys.stir()
}

func (b *bus) offer(c *cell, e *events.Event) {
	if !c.live.Load() || e.Stream == c.name || c.others(e) || e.Position <= c.delivered.Load() {
		return
	}
	full, ok := c.box.try(&message{kind: kindEvent, event: *e})
	if ok {
		c.delivered.Store(e.Position)
		return
	}
	if full {
		b.lag(c)
	} else {
		b.frozen = true
	}
}

// lag sets an agent aside. The bus's checkpoint may speak for it until it has
// stored one of its own that says otherwise, so until then the bus waits for
// it where it stands; then it catches up by itself.
func (b *bus) lag(c *cell) {
	c.live.Store(false)
	from := c.delivered.Load()
	c.control(func() {
		c.spokenFor = false
		err := b.sys.j.Submit(b.sys.ctx, journal.Write{Checkpoints: []journal.Checkpoint{c.checkpoint(c.handled.Load())}}, func(journal.Receipt, error) {})
		if err != nil {
			return // the journal is going down; the bus stays where the agent is
		}
		// The journal takes writes in order: what the bus stores from now on
		// stands behind the agent's own checkpoint.
		if b.do(b.sys.ctx, func() { b.detached[c] = true }) == nil {
			b.sys.catchUp(c, from)
		}
	})
}

// retire lets go of an agent that was given up: what it has not dealt with is
// there for it when it lives again. If gone is not nil, the agent is forgotten,
// and gone is called when nothing is handed to it any more. It is called on
// the agent's turn.
func (b *bus) retire(c *cell, gone func()) {
	c.retired.Store(true)
	c.spokenFor = false
	err := b.sys.j.Submit(b.sys.ctx, journal.Write{Checkpoints: []journal.Checkpoint{c.checkpoint(c.handled.Load())}}, func(journal.Receipt, error) {})
	if err != nil {
		return // as in lag
	}
	_ = b.do(b.sys.ctx, func() {
		c.live.Store(false)
		b.detached[c] = true
		if gone != nil {
			b.forget(c)
			gone()
		}
	})
}

func (b *bus) forget(c *cell) {
	delete(b.members, c)
	delete(b.detached, c)
	same := func(o *cell) bool { return o == c }
	b.pattern = slices.DeleteFunc(b.pattern, same)
	for _, p := range c.b.patterns {
		if k, ok := p.Literal(); ok {
			if b.literal[k] = slices.DeleteFunc(b.literal[k], same); len(b.literal[k]) == 0 {
				delete(b.literal, k)
			}
		}
	}
}

// join takes an agent in that has been handed everything up to position. It
// answers false if the bus is further already.
func (b *bus) join(c *cell, position uint64) bool {
	if c.retired.Load() {
		return true
	}
	if b.position.Load() > position {
		return false
	}
	if !b.members[c] {
		b.members[c] = true
		wild := false
		for _, p := range c.b.patterns {
			if _, ok := p.Literal(); !ok {
				wild = true
			}
		}
		if wild {
			b.pattern = append(b.pattern, c)
		} else {
			for _, p := range c.b.patterns {
				k, _ := p.Literal()
				b.literal[k] = append(b.literal[k], c)
			}
		}
	}
	delete(b.detached, c)
	c.live.Store(true)
	c.control(func() { c.spokenFor = true })
	return true
}

// save stores how far everybody who keeps up has come, and calls done when
// that is durable or there is no more to be had.
func (b *bus) save(done func()) {
	low := b.position.Load()
	for c := range b.members {
		handled := c.handled.Load()
		if !b.detached[c] && (!c.live.Load() || handled < c.delivered.Load()) {
			low = min(low, handled)
		}
	}
	if low <= b.saved.Load() {
		done()
		return
	}
	b.saved.Store(low)
	err := b.sys.j.Submit(b.sys.ctx, journal.Write{
		Checkpoints: []journal.Checkpoint{{Name: b.checkpoint, Position: low}},
	}, func(journal.Receipt, error) { done() })
	if err != nil {
		done()
	}
	if err != nil && b.sys.ctx.Err() == nil {
		b.sys.log.Warn("the bus could not store its checkpoint", "err", err)
	}
}

// keep saves now and then until ctx ends.
func (b *bus) keep(ctx context.Context) {
	defer b.sys.wg.Done()
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	wait := func() bool {
		select {
		case <-tick.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if b.sys.opts.Dispatch != nil { // who decides the order decides when, too
		tick.Stop()
		wait = func() bool { return b.sys.pause(saveEvery) }
	}
	for wait() {
		b.sys.second.Store(time.Now().UnixNano())
		b.sys.passivate()
		if b.saved.Load() < b.position.Load() && b.do(ctx, func() { b.save(func() {}) }) != nil {
			return
		}
	}
}

// wants reports whether one of the agent's patterns matches.
func (c *cell) wants(e *events.Event) bool {
	if e.Stream == c.name || c.others(e) {
		return false
	}
	for _, p := range c.b.patterns {
		if p.Match(e.Kind) && (!events.SystemKind(e.Kind) || events.SystemKind(p.String())) {
			return true
		}
	}
	return false
}

// others reports whether an event is a timer of another agent's.
func (c *cell) others(e *events.Event) bool {
	return e.Stream == timersStream && e.Extensions[extAgent] != c.name
}

// catchUp reads the journal for an agent from a position until it has come to
// where the bus is. It runs on a goroutine of its own and waits for the
// agent's mailbox, which the bus must not.
func (s *System) catchUp(c *cell, from uint64) {
	s.busy(1)
	run := s.spin
	if s.opts.Dispatch != nil {
		run = s.catching.put // in the order in which they were asked for
	}
	run(func() {
		defer s.busy(-1)
		for {
			reached, err := s.feed(c, from)
			if err != nil {
				if s.ctx.Err() == nil && !errors.Is(err, ErrStopped) {
					s.log.Error("agent cannot catch up", "agent", c.name, "err", err)
				}
				return
			}
			from = reached
			joined := make(chan bool, 1)
			if s.bus.do(s.ctx, func() { joined <- s.bus.join(c, reached) }) != nil {
				return
			}
			select {
			case ok := <-joined:
				if ok && !c.retired.Load() {
					s.caughtUp(c, reached)
				}
				if ok {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// feed hands an agent everything after from that it wants, and returns how far
// it has come.
func (s *System) feed(c *cell, from uint64) (uint64, error) {
	end := s.j.Position()
	for e, err := range s.j.Read(s.ctx, journal.Query{After: from, Kinds: c.b.patterns}) {
		if err != nil {
			return from, err
		}
		if c.retired.Load() {
			return from, c.stopped()
		}
		if e.Position > end {
			break
		}
		if !c.wants(&e) {
			continue
		}
		if err := c.post(s.ctx, slot{m: &message{kind: kindEvent, event: e}}, Wait); err != nil {
			return from, err
		}
		c.delivered.Store(e.Position)
	}
	return end, nil
}

// caughtUp stores the agent's checkpoint when it has dealt with what it was
// fed, so that a restart need not read it all again.
func (s *System) caughtUp(c *cell, position uint64) {
	c.force(&message{kind: kindQuery, query: func(_ any, err error) {
		if err != nil {
			return
		}
		c.control(func() {
			_ = s.j.Submit(s.ctx, journal.Write{Checkpoints: []journal.Checkpoint{c.checkpoint(max(position, c.handled.Load()))}}, func(journal.Receipt, error) {})
		})
	}})
}

// takeUp has a live actor take up what was parked; another one finds the
// request in its stream when it is live again.
func (s *System) takeUp(request *events.Event) {
	s.mu.Lock()
	c := s.cells[request.Stream]
	s.mu.Unlock()
	if c == nil {
		return
	}
	e := *request
	c.control(func() {
		switch {
		case c.failure != nil: // it is in the stream when the actor is revived
		case c.recovered:
			c.takeUp(&e)
		default: // recovery finds it
			c.force(&message{kind: kindQuery, query: func(any, error) {}})
		}
	})
}
