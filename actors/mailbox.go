package actors

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
)

// slot is one place in a mailbox: a message, or, for a command that came
// without options, no more than that.
type slot struct {
	m       *message
	command any
	wait    *waiter // who asked; nil if it was told
}

// mailbox is the queue in front of one actor. It replaces the actor library's
// own, which spin when they are full or drop without a word.
//
// Messages from outside are bounded and wait for room, or what else the sender
// wants; urgent ones overtake and pass the gate; forced ones are let in above
// the bound. While the gate is closed only urgent messages are delivered, and
// nothing spins: the goroutine goes away and comes back when the gate opens.
//
// From the first message that is put until there is none left, and nothing is
// being delivered, the mailbox counts as one unfinished thing of its system.
type mailbox struct {
	owner    receiver
	workers  *workers
	count    func(int) // of unfinished things; nil if this one does not count
	clock    *atomic.Int64
	capacity int

	attention atomic.Bool  // the gate was closed, or something urgent came, while messages are delivered
	wanted    atomic.Bool  // somebody waits for room
	at        atomic.Int64 // batch[:at] was taken out: who adds one may take the next

	mu     sync.Mutex
	batch  []slot     // what is delivered now; changed by whoever delivers, with mu held
	first  []*message // urgent
	queue  []slot
	room   chan struct{}
	rested int64 // by clock, when there was last nothing left to deliver
	since  int64 // by clock, when there was nothing; 0 while there is
	closed bool  // to those outside
	over   bool  // to all but urgent messages
	shut   bool
	active bool // somebody delivers
	held   bool // it counts as unfinished
}

// receiver is one actor as its mailbox sees it.
type receiver interface {
	turn(s *slot, scratch *scratch)
}

var (
	errBoxClosed = errors.New("mailbox is closed")
	errBoxFull   = errors.New("mailbox is full")
)

func (b *mailbox) depth() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting() + len(b.first)
}

// idleFor returns how long there has been nothing to deliver.
func (b *mailbox) idleFor() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active || b.held || b.waiting() > 0 {
		return 0
	}
	return time.Duration(b.clock.Load() - b.rested)
}

// inHand is how many messages are being delivered.
func (b *mailbox) inHand() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active {
		return 1
	}
	return 0
}

// waiting is how many ordinary messages there are; b.mu is held.
func (b *mailbox) waiting() int { return len(b.queue) + max(len(b.batch)-int(b.at.Load()), 0) }

// full reports whether the bound is reached; b.mu is held. What is left of the
// batch is only looked at where it matters.
func (b *mailbox) full() bool {
	return len(b.queue)+len(b.batch) >= b.capacity && b.waiting() >= b.capacity
}

// waitingSince returns since when there has been something, zero if there is
// nothing.
func (b *mailbox) waitingSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since == 0 || b.waiting() == 0 {
		return time.Time{}
	}
	return time.Unix(0, b.since)
}

// put takes a message from outside, if there is room, or does what the sender
// wants if there is none. What had to go to make room is returned.
func (b *mailbox) put(ctx context.Context, s slot, policy WhenFull) (dropped slot, err error) {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return slot{}, errBoxClosed
		}
		if !b.full() {
			b.push(s)
			return slot{}, nil
		}
		switch policy {
		case Reject:
			b.mu.Unlock()
			return slot{}, errBoxFull
		case DropNewest:
			b.mu.Unlock()
			return s, nil
		case DropOldest:
			dropped = b.dropOldest()
			b.push(s)
			return dropped, nil
		}
		if b.room == nil {
			b.room = make(chan struct{})
			b.wanted.Store(true)
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return slot{}, context.Cause(ctx)
		}
	}
}

// dropOldest takes the oldest command out that is not about to be delivered;
// b.mu is held. If there is none, the newest is one above the bound.
func (b *mailbox) dropOldest() (dropped slot) {
	for i := range b.queue {
		if s := b.queue[i]; s.m == nil || s.m.kind == kindCommand {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			return s
		}
	}
	return slot{}
}

// try is put that does not wait.
func (b *mailbox) try(m *message) (full, ok bool) {
	b.mu.Lock()
	if b.closed || b.full() {
		full = !b.closed
		b.mu.Unlock()
		return full, false
	}
	b.push(slot{m: m})
	return false, true
}

func (b *mailbox) force(m *message) bool {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return false
	}
	b.push(slot{m: m})
	return true
}

// push queues a message; it unlocks b.mu.
func (b *mailbox) push(s slot) {
	if b.since == 0 {
		b.since = b.clock.Load()
	}
	b.queue = append(b.queue, s)
	b.wake()
}

// urgent works on a drained mailbox too: what was accepted must come to an end.
func (b *mailbox) urgent(m *message) {
	b.mu.Lock()
	b.first = append(b.first, m)
	b.attention.Store(true)
	b.wake()
}

// close takes no more messages from outside; what these lead to is still let in.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.makeRoom()
}

// drain takes everything out that was not delivered and nothing in but what is
// urgent.
func (b *mailbox) drain() []slot {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.over = true, true
	var left []slot
	if i := int(b.at.Swap(drained)); i < len(b.batch) {
		left = append(left, b.batch[i:]...)
	}
	left = append(left, b.queue...)
	b.queue = nil
	b.makeRoom()
	return left
}

// drained is beyond every batch.
const drained = 1 << 40

func (b *mailbox) gate(closed bool) {
	b.mu.Lock()
	b.shut = closed
	b.attention.Store(true)
	b.wake()
}

func (b *mailbox) isGated() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shut
}

// wake starts the delivery if there is something to deliver and nobody does;
// it unlocks b.mu.
func (b *mailbox) wake() {
	if !b.held && (len(b.first) > 0 || len(b.queue) > 0) {
		b.held = true
		if b.count != nil {
			b.count(1)
		}
	}
	start := !b.active && b.deliverable()
	if start {
		b.active = true
	}
	b.mu.Unlock()
	if start {
		b.workers.start(b)
	}
}

// deliverable is asked while nobody delivers; b.mu is held.
func (b *mailbox) deliverable() bool {
	return len(b.first) > 0 || !b.shut && b.waiting() > 0
}

func (b *mailbox) makeRoom() {
	if b.room != nil {
		close(b.room)
		b.room = nil
		b.wanted.Store(false)
	}
}

// turnsPerRun lets others onto the processor now and then.
const turnsPerRun = 256

// run delivers until there is nothing to deliver, or, where turns are dispatched,
// one message, and says whether there is more. If a handler ends the
// goroutine, somebody else goes on.
func (b *mailbox) run(sc *scratch) (more bool) {
	done := false
	defer func() {
		if !done {
			b.workers.start(b)
		}
	}()
	for n := 1; ; n++ {
		m, ok := b.next(sc)
		if !ok {
			done = true
			return false
		}
		if m != nil {
			sc.slot = slot{m: m}
			b.owner.turn(&sc.slot, sc)
		} else {
			b.deliver(sc)
		}
		if b.workers.dispatch != nil {
			done = true
			return b.goesOn(sc)
		}
		if n%turnsPerRun == 0 {
			runtime.Gosched()
		}
	}
}

// next decides what is delivered next: an urgent message, which it returns, or
// the batch, which it sees to. It answers false if there is nothing, and then
// nobody delivers any more.
func (b *mailbox) next(sc *scratch) (urgent *message, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attention.Store(len(b.first) > 1)
	b.makeRoom() // who came too late to be noticed looks again
	switch {
	case len(b.first) > 0:
		m := b.first[0]
		if b.first[0] = nil; len(b.first) == 1 {
			b.first = nil
		} else {
			b.first = b.first[1:]
		}
		return m, true
	case b.shut:
	case int(b.at.Load()) < len(b.batch):
		return nil, true
	case len(b.queue) > 0:
		if b.batch == nil {
			b.batch, sc.slots = sc.slots, nil
		}
		b.batch, b.queue = b.queue, b.batch[:0]
		b.at.Store(0)
		return nil, true
	}
	b.idle(sc)
	return nil, false
}

// idle ends the delivery; b.mu is held.
func (b *mailbox) idle(sc *scratch) {
	b.active = false
	if b.waiting() > 0 {
		return // behind the gate
	}
	b.since, b.rested, b.batch = 0, b.clock.Load(), b.batch[:0]
	// An idle actor is to be small: what it needed goes to the next one.
	for _, slots := range []*[]slot{&b.batch, &b.queue} {
		if cap(*slots) > smallBox {
			if cap(*slots) > cap(sc.slots) {
				sc.slots = (*slots)[:0]
			}
			*slots = nil
		}
	}
	if b.held {
		b.held = false
		if b.count != nil {
			b.count(-1)
		}
	}
}

// goesOn reports whether there is more to deliver, and ends the delivery if
// there is not.
func (b *mailbox) goesOn(sc *scratch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deliverable() {
		return true
	}
	b.idle(sc)
	return false
}

// deliver delivers the batch, until something needs attention.
func (b *mailbox) deliver(sc *scratch) {
	for {
		i := int(b.at.Add(1)) - 1
		if i >= len(b.batch) {
			return
		}
		sc.slot, b.batch[i] = b.batch[i], slot{}
		// Senders that wait are let in by the half, not one by one.
		if b.wanted.Load() {
			b.mu.Lock()
			if b.waiting() <= b.capacity/2 {
				b.makeRoom()
			}
			b.mu.Unlock()
		}
		b.owner.turn(&sc.slot, sc)
		if b.attention.Load() || b.workers.dispatch != nil {
			return
		}
	}
}

// scratch is what a worker keeps to deliver with, so that a command that
// changes nothing costs no memory.
type scratch struct {
	m     *message
	t     *Turn
	slots []slot
	slot  slot // that is delivered
}

// smallBox is how many places an idle mailbox keeps.
const smallBox = 4

// message returns the message for a command that came without options.
func (sc *scratch) message(s *slot) *message {
	m := sc.m
	if m == nil {
		m = &message{}
		sc.m = m
	}
	m.kind, m.command, m.wait, m.id, m.at, m.attempts, m.kept = kindCommand, s.command, s.wait, events.ID{}, time.Time{}, 0, true
	return m
}

// turn returns an empty turn.
func (sc *scratch) turn() *Turn {
	if sc.t == nil {
		sc.t = &Turn{}
	}
	return sc.t
}
