package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// runner is a behaviour at work: it holds the state of one actor. Only the
// actor's own turns touch it.
type runner interface {
	reset()                                       // to the state before the first event
	apply(e events.Event) error                   // fold one stored event
	decide(t *Turn, m *message) (decision, error) // pure
	snapshot() any                                // the state
	encoded() ([]byte, error)                     // the state, for its digest
}

// decision is what a handler decided besides what it put on the turn.
type decision struct {
	commit func()                 // makes the new state the state
	digest func() ([]byte, error) // the new state, encoded
}

type messageKind uint8

const (
	kindCommand messageKind = iota
	kindEvent
	kindQuery
	kindRecord
	kindControl // run is called on the actor's turn, gate or no gate
)

// message is what a mailbox holds.
type message struct {
	kind messageKind

	command     any
	encoded     events.Draft // the command as its codec wrote it, or a draft to record
	id          events.ID    // of the command
	given       bool         // the id is the caller's, so it may have been seen before
	causes      []events.Ref
	correlation string

	event events.Event

	reply     func(Outcome, error) // may be nil
	query     func(state any, err error)
	submitted func(error) // kindRecord: called when the journal has the draft in its queue
	run       func()      // kindControl

	attempts int        // decisions that came too late
	at       time.Time  // when the command was decided
	recorded events.Ref // the command's event, once a failure has journaled it
	fault    error      // why it has to go through failure handling when it comes again
}

// name tells the message for supervision: equal for another try of the same.
func (m *message) name() string {
	if m.kind == kindEvent {
		return "event " + m.event.ID.String()
	}
	return "command " + m.id.String()
}

func (m *message) answer(out Outcome, err error) {
	switch {
	case m.query != nil:
		m.query(nil, err)
	case m.reply != nil:
		m.reply(out, err)
	}
}

// cell is one live actor. Its turns run one at a time, by the mailbox. A turn
// decides on the state in memory, which may be ahead of the disk, hands its
// write to the journal and ends; what must not be seen before the write is
// durable waits in pending.
type cell struct {
	sys  *System
	name string
	b    behaviour
	box  *mailbox

	// Owned by the actor's turns.
	runner    runner
	recovered bool
	failure   error // recovery failed or the actor was given up: every message gets this
	version   uint64
	head      events.ID
	begun     bool // the stream holds an event of the actor's own
	digested  uint64
	history   supervisor.History
	backlog   []*message // to be handled before the mailbox goes on

	mu      sync.Mutex
	pending []*pending // in the order of the journal
	refused []*message // what has to be decided again, once pending is empty
	dirty   bool       // a write was refused: the state in memory is of a world that is not
	lost    error      // the journal has failed: nothing more will be answered by it
	quiet   []func()   // called once pending is empty

	// For events: how far the actor has come.
	delivered atomic.Uint64 // position of the last event put into the mailbox
	handled   atomic.Uint64 // position of the last event dealt with, durably
	live      atomic.Bool   // the bus hands events over; otherwise the actor catches up

	restarts    atomic.Uint64
	lastFailure atomic.Pointer[string]
	stop        func()
}

// pending is a write that is on its way to the disk, and what waits for it.
type pending struct {
	messages []*message
	release  []func() // replies and sends, in order
}

// post puts a message into the mailbox, waiting for room until ctx ends. From
// here until done the message counts as unfinished.
func (c *cell) post(ctx context.Context, m *message) error {
	c.sys.busy(1)
	if err := c.box.put(ctx, m); err != nil {
		c.sys.busy(-1)
		if errors.Is(err, errBoxClosed) {
			return c.stopped()
		}
		return fmt.Errorf("agent %q: its mailbox is full (%d messages): %w; the message was not taken", c.name, c.box.capacity, err)
	}
	return nil
}

// force puts a message into the mailbox above its bound: for senders that must
// not wait, such as a journal's answer.
func (c *cell) force(m *message) {
	c.sys.busy(1)
	c.requeue(m)
}

func (c *cell) requeue(m *message) {
	if !c.box.force(m) {
		m.answer(Outcome{}, c.stopped())
		c.done(m)
	}
}

// control runs f on the actor's turn, gate or no gate.
func (c *cell) control(f func()) {
	c.sys.busy(1)
	if !c.box.urgent(&message{kind: kindControl, run: f}) {
		c.sys.busy(-1)
	}
}

func (c *cell) stopped() error { return fmt.Errorf("agent %q: %w", c.name, ErrStopped) }

func (c *cell) query(ctx context.Context) (any, error) {
	type answer struct {
		v   any
		err error
	}
	answers := make(chan answer, 1)
	m := &message{kind: kindQuery, query: func(v any, err error) { answers <- answer{v, err} }}
	if err := c.post(ctx, m); err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.v, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("agent %q: no answer yet: %w", c.name, context.Cause(ctx))
	}
}

// turn handles one message from the mailbox and then whatever has to be
// handled again. It never panics.
func (c *cell) turn(m *message) {
	if m.kind == kindControl {
		m.run()
		c.sys.busy(-1)
	} else {
		c.backlog = append(c.backlog, m)
	}
	for len(c.backlog) > 0 && !c.box.isGated() {
		next := c.backlog[0]
		c.backlog = c.backlog[1:]
		c.handle(next)
	}
}

func (c *cell) handle(m *message) {
	if err := c.sys.j.Err(); err != nil && c.failure == nil {
		c.giveUp(fmt.Errorf("agent %q: %w", c.name, err))
	}
	if c.failure == nil && !c.recovered {
		c.recover()
	}
	if c.failure != nil {
		m.answer(Outcome{}, c.failure)
		c.done(m)
		return
	}
	if fault := m.fault; fault != nil {
		m.fault = nil
		c.fail(m, fault.Error(), "")
		return
	}
	switch m.kind {
	case kindQuery:
		state := c.runner.snapshot()
		c.settle(m, func() { m.query(state, nil) })
	case kindRecord:
		c.record(m)
	case kindCommand:
		c.command(m)
	case kindEvent:
		c.react(m)
	}
}

// finish ends a message that journals nothing.
func (c *cell) finish(m *message, out Outcome, err error) {
	c.settle(m, func() { m.answer(out, err) })
}

// settle runs release, and is done with m, once everything that was decided so
// far is durable.
func (c *cell) settle(m *message, release func()) {
	c.mu.Lock()
	switch n := len(c.pending); {
	case c.lost != nil:
		c.mu.Unlock()
		m.answer(Outcome{}, c.lost)
		c.done(m)
	case c.dirty:
		// What the answer rests on was refused after the turn began.
		c.refused = append(c.refused, m)
		c.mu.Unlock()
	case n > 0:
		p := c.pending[n-1]
		p.messages = append(p.messages, m)
		p.release = append(p.release, func() { release(); c.done(m) })
		c.mu.Unlock()
	default:
		c.mu.Unlock()
		release()
		c.done(m)
	}
}

// done is the end of a message, however it went.
func (c *cell) done(m *message) {
	if m.kind == kindEvent && m.event.Position > c.handled.Load() {
		c.handled.Store(m.event.Position)
	}
	c.sys.busy(-1)
}

// enqueue notes a write as pending before it goes to the journal. It fails if
// what the write rests on was refused meanwhile.
func (c *cell) enqueue(p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirty || c.lost != nil {
		c.refused = append(c.refused, p.messages...)
		return false
	}
	c.pending = append(c.pending, p)
	return true
}

// dequeue takes back a write that the journal refused at the door.
func (c *cell) dequeue() {
	c.mu.Lock()
	c.pending = c.pending[:len(c.pending)-1]
	c.mu.Unlock()
}

// whenQuiet calls f once no write is pending, on whatever goroutine it is.
func (c *cell) whenQuiet(f func()) {
	c.mu.Lock()
	if len(c.pending) > 0 {
		c.quiet = append(c.quiet, f)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// settled is the journal's answer to the oldest pending write. A refused write
// takes all that came after it along: they rest on it, and the journal refuses
// them too (see journal.VersionAt).
func (c *cell) settled(p *pending, err error, release func()) {
	c.mu.Lock()
	c.pending = c.pending[1:]
	if err != nil && !c.dirty {
		c.dirty = true
		m := p.messages[0]
		if !errors.Is(err, journal.ErrWrongVersion) {
			m.fault = err
		} else if m.attempts++; m.attempts > maxDecisions {
			m.fault = fmt.Errorf("%w: decided %d times, each time too late", ErrContended, m.attempts)
		}
	}
	if errors.Is(err, journal.ErrFatal) {
		c.lost = fmt.Errorf("agent %q: %w", c.name, err)
	}
	good := !c.dirty
	if !good {
		c.refused = append(c.refused, p.messages...)
	}
	waiting := p.release
	var orphans []*message
	if c.lost != nil {
		orphans, c.refused = c.refused, nil
	}
	var quiet []func()
	if len(c.pending) == 0 {
		quiet, c.quiet = c.quiet, nil
		if c.dirty && c.lost == nil {
			quiet = append(quiet, func() { c.control(c.reload) })
		}
	}
	c.mu.Unlock()
	if good {
		release()
		for _, f := range waiting {
			f()
		}
	}
	for _, m := range orphans {
		m.answer(Outcome{}, c.lost)
		c.done(m)
	}
	for _, f := range quiet {
		f()
	}
}

// maxDecisions bounds how often one command is decided again because somebody
// else wrote to the stream.
const maxDecisions = 8

// reload forgets the state in memory and puts what was decided on a world that
// is not in front of everything else, to be decided again on the stream as it
// is. A command that cannot be helped by that ends here.
func (c *cell) reload() {
	c.mu.Lock()
	ms := c.refused
	c.refused, c.dirty = nil, false
	c.mu.Unlock()
	c.recovered = false
	var again []*message
	for _, m := range ms {
		if m.fault != nil && m.kind == kindCommand {
			m.answer(Outcome{}, fmt.Errorf("agent %q: command %s: %w", c.name, m.id, m.fault))
			c.done(m)
			continue
		}
		again = append(again, m)
	}
	c.backlog = append(again, c.backlog...)
}
