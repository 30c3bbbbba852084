package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	reset()                                   // to the state before the first event
	apply(e events.Event) error               // fold one stored event
	decide(t *Turn, m *message) error         // pure; the new state is kept aside
	stay()                                    // the new state is the old one
	commit()                                  // makes the new state the state
	next() ([]byte, error)                    // the new state, for its digest
	snapshot() any                            // the state
	encoded() ([]byte, error)                 // the state, for its digest
	encode(command any) (events.Draft, error) // a command, as it is journaled
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
	always      bool         // it is journaled even if it causes nothing
	causes      []events.Ref
	correlation string

	event events.Event

	reply     func(Outcome, error) // may be nil
	wait      *waiter              // who asked; may be nil
	query     func(state any, err error)
	submitted func(error) // kindRecord: called when the journal has the draft in its queue
	run       func()      // kindControl

	effects  []effectRecord // what is on record of the reaction's effects
	doubt    *effectDoubt   // the effect that it is parked for
	retry    events.Ref     // the request to take it up again after it was parked
	attempts int            // decisions that came too late
	at       time.Time      // when the command was decided
	recorded events.Ref     // the command's event, once a failure has journaled it
	full     WhenFull       // what to do if the mailbox is
	kept     bool           // it outlives its turn
	fault    error          // why it has to go through failure handling when it comes again
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
	case m.wait != nil:
		w := m.wait
		m.wait = nil
		w.answers <- answer{out, err}
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
	b    *behaviour
	box  mailbox

	// Owned by the actor's turns.
	sc        *scratch // of who runs the turn
	stuck     bool     // the backlog counts as unfinished
	runner    runner
	recovered bool
	failure   error // recovery failed or the actor was given up: every message gets this
	version   uint64
	head      events.ID
	begun     bool // the stream holds an event of the actor's own
	history   supervisor.History
	backlog   []*message         // to be handled before the mailbox goes on
	current   *message           // the one in hand
	looked    uint64             // position of the journal when nobody else had written to the stream
	reacted   uint64             // position of the last event that the stream holds the end of
	spokenFor bool               // the bus's checkpoint stands for this agent too
	retrying  map[events.ID]bool // requests to take up what was parked that are in the backlog

	mu      sync.Mutex
	pending []*pending // in the order of the journal
	refused []*message // what has to be decided again, once pending is empty
	dirty   bool       // a write was refused: the state in memory is of a world that is not
	lost    error      // the journal has failed: nothing more will be answered by it
	quiet   []func()   // called once pending is empty

	// clean says that nothing is pending, refused or lost. It is changed with
	// mu held, and turns false on the actor's turns only.
	clean atomic.Bool

	// For events: how far the actor has come.
	delivered atomic.Uint64 // position of the last event put into the mailbox
	handled   atomic.Uint64 // position of the last event dealt with, durably
	live      atomic.Bool   // the bus hands events over; otherwise the actor catches up
	retired   atomic.Bool   // it takes no more events: it was given up
	well      atomic.Bool   // a message was dealt with since the last failure

	waiting atomic.Int32 // in the backlog, and in hand
	failed  atomic.Bool  // it was given up, and not revived
	gone    atomic.Bool  // it was stopped, and another may be live by its name

	restarts    atomic.Uint64
	drops       atomic.Uint64 // messages that were dropped because the mailbox was full
	lastFailure atomic.Pointer[string]
}

// pending is a write that is on its way to the disk, and what waits for it.
type pending struct {
	messages []*message
	release  []func() // replies and sends, in order
}

// errGoexit is what becomes of a handler that ends its goroutine.
var errGoexit = errors.New("the handler called runtime.Goexit")

// post puts a message into the mailbox; if it is full, it does what the sender
// wants.
func (c *cell) post(ctx context.Context, s slot, policy WhenFull) error {
	dropped, err := c.box.put(ctx, s, policy)
	switch {
	case err == nil:
		if dropped.m != nil || dropped.command != nil {
			c.drops.Add(1)
			dropped.answer(Outcome{}, fmt.Errorf("agent %q: %w: its mailbox was full (%d messages)", c.name, ErrDropped, c.box.capacity))
		}
		return nil
	case errors.Is(err, errBoxClosed):
		return c.stopped()
	case errors.Is(err, errBoxFull):
		return fmt.Errorf("agent %q: %w (%d messages); the message was not taken", c.name, ErrMailboxFull, c.box.capacity)
	}
	return fmt.Errorf("agent %q: its mailbox is full (%d messages): %w; the message was not taken", c.name, c.box.capacity, err)
}

func (s *slot) answer(out Outcome, err error) {
	switch {
	case s.m != nil:
		s.m.answer(out, err)
	case s.wait != nil:
		s.wait.answers <- answer{out, err}
	}
}

// force puts a message into the mailbox above its bound: for senders that must
// not wait, such as a journal's answer.
func (c *cell) force(m *message) {
	if !c.box.force(m) {
		m.answer(Outcome{}, c.stopped())
	}
}

// control runs f on the actor's turn, gate or no gate.
func (c *cell) control(f func()) { c.box.urgent(&message{kind: kindControl, run: f}) }

func (c *cell) id() string { return c.name }

func (c *cell) stopped() error { return fmt.Errorf("agent %q: %w", c.name, ErrStopped) }

// turn handles one message from the mailbox and then whatever has to be
// handled again. It never panics; if a handler ends the goroutine, the mailbox
// goes on with another one.
func (c *cell) turn(s *slot, sc *scratch) {
	c.sc = sc
	defer c.turnEnds()
	m := s.m
	if m == nil {
		m = sc.message(s)
	} else {
		m.kept = true
	}
	switch {
	case m.kind == kindControl:
		m.run()
	case len(c.backlog) > 0:
		c.backlog = append(c.backlog, m)
	default:
		c.current = m
		c.handle(m)
		c.current = nil
	}
	if m.kept && m == sc.m {
		sc.m = nil
	}
	for len(c.backlog) > 0 && !c.box.isGated() {
		next := c.backlog[0]
		c.backlog = c.backlog[1:]
		c.current = next
		c.handle(next)
		c.current = nil
	}
}

// turnEnds notes what a turn leaves behind, also where the handler ended its
// goroutine.
func (c *cell) turnEnds() {
	if m := c.current; m != nil {
		c.current, m.fault = nil, errGoexit
		c.backlog = append([]*message{m}, c.backlog...)
		c.control(func() {})
	}
	if n := int32(len(c.backlog)); n != c.waiting.Load() {
		c.waiting.Store(n)
	}
	if stuck := len(c.backlog) > 0; stuck != c.stuck {
		if c.stuck = stuck; stuck {
			c.sys.busy(1)
		} else {
			c.backlog = nil
			c.sys.busy(-1)
		}
	}
	c.sc = nil
}

func (c *cell) handle(m *message) {
	if err := c.sys.j.Err(); err != nil && c.failure == nil {
		c.giveUp(fmt.Errorf("agent %q: %w", c.name, err))
	}
	if c.failure == nil && (!c.recovered || c.behind(m)) {
		c.recover()
	}
	if c.failure != nil {
		c.leave(m, c.failure)
		return
	}
	if fault := m.fault; fault != nil {
		m.fault, m.attempts = nil, 0
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

// behind reports whether somebody else has written to the stream. A write
// would be refused for that; what journals nothing has to look. While writes
// are pending there is no need: the answer waits for them, and they tell.
func (c *cell) behind(m *message) bool {
	if m.kind == kindRecord {
		return false
	}
	if !c.clean.Load() {
		return false
	}
	end := c.sys.j.Position()
	if end == c.looked {
		return false
	}
	n, _, err := c.sys.j.StreamVersion(c.name)
	if err == nil && n != c.version {
		return true
	}
	c.looked = end
	return false
}

// finish ends a message that journals nothing.
func (c *cell) finish(m *message, out Outcome, err error) {
	if c.clean.Load() {
		m.kept = false
		m.answer(out, err)
		c.done(m)
		return
	}
	c.settle(m, func() { m.answer(out, err) })
}

// settle runs release, and is done with m, once everything that was decided so
// far is durable.
func (c *cell) settle(m *message, release func()) {
	c.mu.Lock()
	switch n := len(c.pending); {
	case c.lost != nil:
		lost := c.lost
		c.mu.Unlock()
		c.leave(m, lost)
	case c.dirty:
		// What the answer rests on was refused after the turn began.
		c.postpone(m)
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

// leave ends a message that was not dealt with. An event is still to be dealt
// with when the agent lives again: neither its own checkpoint nor the bus's
// may pass it.
func (c *cell) leave(m *message, err error) { m.answer(Outcome{}, err) }

// done is the end of a message that was dealt with.
func (c *cell) done(m *message) {
	if m.kind != kindQuery && !c.well.Load() {
		c.well.Store(true)
	}
	if m.kind == kindEvent && m.event.Position > c.handled.Load() {
		c.handled.Store(m.event.Position)
	}
}

// enqueue notes a write as pending before it goes to the journal. It fails,
// and sees to the messages, if what the write rests on was refused meanwhile.
func (c *cell) enqueue(p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		for _, m := range p.messages {
			c.leave(m, c.lost)
		}
		return false
	}
	if c.dirty {
		c.postpone(p.messages...)
		return false
	}
	c.pending = append(c.pending, p)
	c.clean.Store(false)
	c.sys.busy(1)
	return true
}

// noteClean sets clean; c.mu is held.
func (c *cell) noteClean() { c.clean.Store(len(c.pending) == 0 && !c.dirty && c.lost == nil) }

// postpone keeps messages to be decided again, behind those of the writes that
// are still to be refused; c.mu is held.
func (c *cell) postpone(ms ...*message) {
	if n := len(c.pending); n > 0 {
		c.pending[n-1].messages = append(c.pending[n-1].messages, ms...)
		return
	}
	c.refused = append(c.refused, ms...)
}

// dequeue takes back a write that the journal refused at the door.
func (c *cell) dequeue() {
	c.mu.Lock()
	c.pending = c.pending[:len(c.pending)-1]
	c.noteClean()
	c.mu.Unlock()
	c.sys.busy(-1)
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

// settled is the journal's answer to a pending write. A refused write takes
// all that came after it along: they rest on it, and the journal refuses them
// too (see journal.VersionAt).
func (c *cell) settled(p *pending, err error, release func()) {
	c.mu.Lock()
	if c.pending[0] == p {
		c.pending = c.pending[1:]
	} else {
		// The answer to an older one waits for its intent, or a failing journal
		// answers from several goroutines.
		i := slices.Index(c.pending, p)
		c.pending = slices.Delete(slices.Clone(c.pending), i, i+1)
	}
	if err != nil && !c.dirty {
		c.dirty = true
		m := p.messages[0]
		if !errors.Is(err, journal.ErrWrongVersion) {
			m.fault = err
		} else if m.attempts++; m.attempts > maxDecisions {
			m.fault = fmt.Errorf("%w: decided %d times, each time too late", ErrContended, m.attempts)
		}
	}
	if errors.Is(err, journal.ErrFatal) && c.lost == nil {
		c.lost = fmt.Errorf("agent %q: %w", c.name, err)
	}
	good := !c.dirty
	if !good {
		c.refused = append(c.refused, p.messages...)
	}
	waiting := p.release
	var orphans []*message
	lost := c.lost
	if lost != nil {
		orphans, c.refused = c.refused, nil
	}
	var quiet []func()
	c.noteClean()
	if len(c.pending) == 0 {
		c.pending = nil
		quiet, c.quiet = c.quiet, nil
		if c.dirty && lost == nil {
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
		c.leave(m, lost)
	}
	for _, f := range quiet {
		f()
	}
	c.sys.busy(-1)
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
	c.noteClean()
	c.mu.Unlock()
	c.recovered = false
	var again []*message
	for _, m := range ms {
		if m.kind == kindEvent && errors.Is(m.fault, ErrContended) {
			m.fault, m.attempts = nil, 0
			c.holdOff()
		}
		if m.fault != nil && m.kind == kindCommand {
			m.answer(Outcome{}, fmt.Errorf("agent %q: command %s: %w", c.name, m.id, m.fault))
			c.done(m)
			continue
		}
		again = append(again, m)
	}
	c.backlog = append(again, c.backlog...)
}

// holdOff lets the others write for a moment. An event has no caller to be
// told that the stream is contended, and it is nobody's failure.
func (c *cell) holdOff() {
	c.box.gate(true)
	c.sys.after(c.sys.opts.Supervision.Backoff.Delay(1, c.sys.random()), func() {
		c.control(func() { c.box.gate(false) })
	})
}

// end answers what will not be handled any more. It runs on the last turn.
func (c *cell) end() {
	stopped := c.stopped()
	c.mu.Lock()
	if c.lost == nil {
		c.lost = stopped // also for what the journal has yet to refuse
	}
	c.noteClean()
	left := append(c.refused, c.backlog...)
	c.refused, c.backlog = nil, nil
	c.mu.Unlock()
	for _, m := range left {
		c.leave(m, stopped)
	}
	c.sys.registered.remove(c.name)
}
