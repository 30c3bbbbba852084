package actors

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is the queue in front of one actor. It replaces the runtime's own
// mailboxes, which spin when they are full or drop without a word.
//
// Messages from outside are bounded and wait for room; urgent ones overtake
// and pass the gate; forced ones are let in above the bound. While the gate is
// closed only urgent messages and the runtime's own are delivered, and nothing
// spins: the goroutine ends and is started again when the gate opens.
type mailbox struct {
	capacity int

	mu     sync.Mutex
	system []any      // the runtime's own messages
	first  []*message // urgent
	queue  []*message
	head   int // queue[:head] is taken
	room   chan struct{}
	since  time.Time // when the queue was last empty; zero while it is
	closed bool      // to those outside
	over   bool      // to all but urgent messages
	shut   bool
	active bool
	ready  bool // Start was called

	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
}

var errBoxClosed = errors.New("mailbox is closed")

func newMailbox(capacity int) *mailbox { return &mailbox{capacity: capacity} }

func (b *mailbox) depth() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) - b.head + len(b.first)
}

// put waits for room until ctx ends.
func (b *mailbox) put(ctx context.Context, m *message) error {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return errBoxClosed
		}
		if len(b.queue)-b.head < b.capacity {
			b.push(m)
			b.wake()
			return nil
		}
		if b.room == nil {
			b.room = make(chan struct{})
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try is put that does not wait.
func (b *mailbox) try(m *message) (full, ok bool) {
	b.mu.Lock()
	if b.closed || len(b.queue)-b.head >= b.capacity {
		full = !b.closed
		b.mu.Unlock()
		return full, false
	}
	b.push(m)
	b.wake()
	return false, true
}

func (b *mailbox) push(m *message) {
	if b.since.IsZero() {
		b.since = time.Now()
	}
	b.queue = append(b.queue, m)
}

// waitingSince returns since when something waits, zero if nothing does.
func (b *mailbox) waitingSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since
}

func (b *mailbox) force(m *message) bool {
	b.mu.Lock()
	if b.over {
		b.mu.Unlock()
		return false
	}
	b.push(m)
	b.wake()
	return true
}

// urgent works on a drained mailbox too: what was accepted must come to an end.
func (b *mailbox) urgent(m *message) {
	b.mu.Lock()
	b.first = append(b.first, m)
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
func (b *mailbox) drain() []*message {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.over = true, true
	left := append([]*message(nil), b.queue[b.head:]...)
	b.queue, b.head = nil, 0
	b.makeRoom()
	return left
}

func (b *mailbox) gate(closed bool) {
	b.mu.Lock()
	b.shut = closed
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
	start := b.ready && !b.active && b.deliverable()
	if start {
		b.active = true
	}
	b.mu.Unlock()
	if start {
		b.dispatcher.Schedule(b.run)
	}
}

func (b *mailbox) deliverable() bool {
	return len(b.system) > 0 || len(b.first) > 0 || (!b.shut && b.head < len(b.queue))
}

func (b *mailbox) makeRoom() {
	if b.room != nil {
		close(b.room)
		b.room = nil
	}
}

// turnsPerRun lets others onto the processor now and then.
const turnsPerRun = 256

func (b *mailbox) run() {
	// Deferred, because a handler may end the goroutine.
	again := true
	defer func() {
		if again {
			b.dispatcher.Schedule(b.run)
		}
	}()
	for range turnsPerRun {
		b.mu.Lock()
		switch {
		case len(b.system) > 0:
			m := b.system[0]
			b.system = b.system[1:]
			b.mu.Unlock()
			b.invoker.InvokeSystemMessage(m)
		case len(b.first) > 0:
			m := b.first[0]
			b.first = b.first[1:]
			b.mu.Unlock()
			b.invoker.InvokeUserMessage(m)
		case !b.shut && b.head < len(b.queue):
			m := b.queue[b.head]
			b.queue[b.head] = nil
			b.head++
			if b.head == len(b.queue) {
				b.queue, b.head, b.since = b.queue[:0], 0, time.Time{}
			} else if b.head > 1024 && b.head > len(b.queue)/2 {
				n := copy(b.queue, b.queue[b.head:])
				clear(b.queue[n:])
				b.queue, b.head = b.queue[:n], 0
			}
			b.makeRoom()
			b.mu.Unlock()
			b.invoker.InvokeUserMessage(m)
		default:
			b.active, again = false, false
			b.mu.Unlock()
			return
		}
	}
}

// PostUserMessage implements actor.Mailbox. Nothing of ours comes this way;
// the runtime itself posts no user messages here.
func (b *mailbox) PostUserMessage(m any) {
	if m, ok := m.(*message); ok {
		b.force(m)
	}
}

// PostSystemMessage implements actor.Mailbox.
func (b *mailbox) PostSystemMessage(m any) {
	b.mu.Lock()
	b.system = append(b.system, m)
	b.wake()
}

// RegisterHandlers implements actor.Mailbox.
func (b *mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	b.invoker, b.dispatcher = invoker, dispatcher
}

// Start implements actor.Mailbox. What was posted before it waited for it.
func (b *mailbox) Start() {
	b.mu.Lock()
	b.ready = true
	b.wake()
}

// UserMessageCount implements actor.Mailbox.
func (b *mailbox) UserMessageCount() int { return b.depth() }
