package bus

import (
	"context"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
)

// DefaultCapacity is the size of a ring where nothing else is said.
const DefaultCapacity = 16 << 10

// Bounds of a ring's size.
const (
	minCapacity = 16
	maxCapacity = 1 << 24
)

// Options say how a bus in memory works. The zero value is fine.
type Options struct {
	// Capacity is how many messages a receiver may be behind before emitters
	// wait for it, or it misses some. It is rounded up to a power of two.
	// Default DefaultCapacity.
	Capacity int

	// OnError is called with whatever goes wrong in a subscriber, on its
	// goroutine. m is the message in hand, zero for a *LagError.
	OnError func(subscriber string, m Message, err error)
}

// Memory is a bus in memory. Emitters write into one ring; receivers copy from
// it, each at its own pace.
//
// A slot is written by emitters, one at a time under mu, and read by any
// receiver after published says that it is there. Before an emitter comes round
// to it again, every receiver has passed it: the emitter looks (room), and
// either waits for a receiver or moves it on.
type Memory struct {
	*Handlers
	ring   []Message
	mask   uint64
	origin *origin

	mu           sync.Mutex
	next         uint64 // sequence of the next message
	limit        uint64 // up to here there is room without a look
	closed       bool
	source, kind string        // the last that were found good
	readers      []*reader     // nobody's order
	vacated      chan struct{} // closed when waited-for room may be there; nil if nobody waits

	_         [64]byte // what emitters write and readers read, on lines of their own
	published atomic.Uint64
	_         [56]byte
	owing     atomic.Int64 // receivers that an emitter waits for
	asleep    atomic.Bool  // a reader sleeps, or is about to

	gate atomic.Pointer[chan struct{}] // closed to wake the sleepers
	end  chan struct{}                 // closed by Close

	minted atomic.Uint64 // ids given to drafts
}

// NewMemory returns a bus in memory. It panics if the capacity is negative or
// above 16,777,216.
func NewMemory(opts Options) *Memory {
	n := opts.Capacity
	if n < 0 || n > maxCapacity {
		panic("bus: NewMemory: capacity is not within 0 and 16777216")
	}
	if n == 0 {
		n = DefaultCapacity
	}
	n = 1 << bits.Len(uint(max(n, minCapacity)-1))
	b := &Memory{
		ring: make([]Message, n), mask: uint64(n) - 1, origin: newOrigin(),
		next: 1, end: make(chan struct{}),
	}
	b.limit = uint64(n)
	for i := range b.ring {
		b.ring[i].origin = b.origin
	}
	gate := make(chan struct{})
	b.gate.Store(&gate)
	b.Handlers = NewHandlers(b.Receive, opts.OnError)
	return b
}

// Emit implements Bus. It returns when the message is in the ring.
func (b *Memory) Emit(ctx context.Context, source, kind string, v events.DomainEvent) error {
	if v == nil {
		return &events.InvalidError{Field: "payload", Reason: "no domain event was given"}
	}
	b.mu.Lock()
	m, err := b.slot(ctx, source, kind)
	if err != nil {
		b.mu.Unlock()
		return err
	}
	m.domain = v
	if m.event != nil {
		m.event = nil
	}
	b.publish()
	return nil
}

// Publish implements Bus.
func (b *Memory) Publish(ctx context.Context, d events.Draft) (events.Event, error) {
	if err := d.CheckOutside(); err != nil {
		return events.Event{}, err
	}
	e, err := d.Seal(b.origin.id(time.Now(), b.minted.Add(1), published), d.Parents)
	if err != nil {
		return events.Event{}, err
	}
	e = e.Clone() // the caller keeps its draft
	b.mu.Lock()
	m, err := b.slot(ctx, e.Stream, e.Kind)
	if err != nil {
		b.mu.Unlock()
		return events.Event{}, err
	}
	e.Position, e.RecordTime = m.Sequence, b.origin.began.Add(m.at)
	shared := e
	m.domain, m.event = nil, &shared
	b.publish()
	return e.Clone(), nil
}

// slot returns the next slot with everything but its content, once there is
// room. b.mu is held, and may be let go meanwhile.
func (b *Memory) slot(ctx context.Context, source, kind string) (*Message, error) {
	// An emitter's names are mostly the same strings again.
	if source != b.source || source == "" {
		if err := (&events.Draft{Stream: source, Kind: "any"}).CheckOutside(); err != nil {
			return nil, err
		}
		if err := events.CheckStream(source); err != nil {
			return nil, err
		}
		b.source = source
	}
	if kind != b.kind || kind == "" {
		if err := events.CheckKind(kind); err != nil {
			return nil, err
		}
		if err := (&events.Draft{Kind: kind}).CheckOutside(); err != nil {
			return nil, err
		}
		b.kind = kind
	}
	for b.next > b.limit || b.closed {
		if b.closed {
			return nil, ErrClosed
		}
		if err := b.room(ctx); err != nil {
			return nil, err
		}
	}
	m := &b.ring[b.next&b.mask]
	m.Sequence, m.Source, m.Kind, m.at = b.next, source, kind, time.Since(b.origin.began)
	return m, nil
}

// publish shows the slot that was filled, and lets go of b.mu.
func (b *Memory) publish() {
	b.published.Store(b.next)
	b.next++
	b.mu.Unlock()
	// A reader says that it sleeps and looks at published again, in this order,
	// so that one of the two sees the other.
	if b.asleep.Load() && b.asleep.CompareAndSwap(true, false) {
		go b.rouse()
	}
}

// room finds out how far everybody is, and waits where it must: until each
// receiver that has not read the slot yet has, of which the last one tells.
// b.mu is held, and let go while it waits.
func (b *Memory) room(ctx context.Context) error {
	if b.look(); b.next <= b.limit {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if b.vacated == nil {
		b.vacated = make(chan struct{})
	}
	vacated := b.vacated
	if b.charge(); b.owing.Add(-1) == 0 {
		return nil // they have read on since
	}
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-vacated:
	case <-b.end: // the caller sees it
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// look moves on whoever is a whole ring behind and not waited for, and sets
// the limit by the slowest of all. b.mu is held.
func (b *Memory) look() {
	size := uint64(len(b.ring))
	low := b.next
	for _, r := range b.readers {
		r.mu.Lock()
		if r.filter.NoWait && b.next-r.next >= size {
			// By half the ring, so that this is seldom.
			r.missed += b.next - size/2 - r.next
			r.next = b.next - size/2
		}
		low = min(low, r.next)
		r.mu.Unlock()
	}
	b.limit = low - 1 + size
}

// charge makes every receiver that keeps the next slot tell when it has read
// it, and counts them, and the caller. b.mu is held.
func (b *Memory) charge() {
	// Nobody may settle what an emitter before left, while this one counts.
	for _, r := range b.readers {
		r.mu.Lock()
		r.owes = 0
		r.mu.Unlock()
	}
	b.owing.Store(1)
	until := b.next - uint64(len(b.ring)) + 1
	for _, r := range b.readers {
		r.mu.Lock()
		if r.next < until {
			r.owes = until
			b.owing.Add(1)
		}
		r.mu.Unlock()
	}
}

// Receive implements Bus.
func (b *Memory) Receive(f Filter) (Receiver, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	f.Kinds = slices.Clone(f.Kinds)
	r := &reader{bus: b, filter: f, all: f.Source == "" && len(f.Kinds) == 0, next: b.next, end: make(chan struct{})}
	b.readers = append(b.readers, r)
	return r, nil
}

// Receivers tells how many receivers there are, those of subscribers included.
func (b *Memory) Receivers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.readers)
}

// Close implements Bus.
func (b *Memory) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.end)
	}
	b.mu.Unlock()
	return b.Drain(ctx)
}

// remove forgets a receiver, for which nobody has to wait any more.
func (b *Memory) remove(r *reader) {
	b.mu.Lock()
	b.readers = slices.DeleteFunc(b.readers, func(x *reader) bool { return x == r })
	b.mu.Unlock()
	b.vacate()
}

// vacate tells emitters that wait to look again.
func (b *Memory) vacate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.vacated != nil {
		close(b.vacated)
		b.vacated = nil
	}
}

// rouse wakes whoever sleeps.
func (b *Memory) rouse() {
	gate := make(chan struct{})
	close(*b.gate.Swap(&gate))
}
