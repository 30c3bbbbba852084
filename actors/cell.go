package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tokaworks/toka/events"
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
	due(from, to uint64) bool                 // whether to keep the new state
	restore(state []byte) error               // as it was encoded
	encode(command any) (events.Draft, error) // a command, as it is journaled
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

	// Owned by the actor's turns. A million of them are to fit into memory, so
	// what is small stands together.
	sc        *scratch // of who runs the turn
	stuck     bool     // the backlog counts as unfinished
	recovered bool
	known     bool // it was recovered before
	begun     bool // the stream holds an event of the actor's own
	spokenFor bool // the bus's checkpoint stands for this agent too
	runner    runner
	failure   error // recovery failed or the actor was given up: every message gets this
	version   uint64
	head      events.ID
	history   supervisor.History
	backlog   []*message         // to be handled before the mailbox goes on
	current   *message           // the one in hand
	stash     []*message         // to be handled when the actor says so
	looked    uint64             // position of the journal when nobody else had written to the stream
	reacted   uint64             // position of the last event that the stream holds the end of
	retrying  map[events.ID]bool // requests to take up what was parked; true until that is done
	pictured  uint64             // version of the last snapshot

	mu      sync.Mutex
	pending []*pending // in the order of the journal
	refused []*message // what has to be decided again, once pending is empty
	lost    error      // the journal has failed: nothing more will be answered by it
	quiet   []func()   // called once pending is empty
	dirty   bool       // a write was refused: the state in memory is of a world that is not

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
	aside   atomic.Int32 // in the stash
	failed  atomic.Bool  // it was given up, and not revived
	gone    atomic.Bool  // it was stopped, and another may be live by its name

	answers *answers // of a recorder

	restarts    atomic.Uint64
	drops       atomic.Uint64 // messages that were dropped because the mailbox was full
	lastFailure atomic.Pointer[string]
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
	c.spill("the actor was stopped", stopped)
	for _, m := range left {
		c.leave(m, stopped)
	}
	c.sys.registered.remove(c.name)
}
