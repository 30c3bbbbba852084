// Package slicebus is a backend for package events/bus in a hundred lines: it
// keeps every event in a slice. It shows what it takes to write one; its test
// runs the suite that every backend has to pass.
package slicebus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// Bus is a bus.Store that is never cleaned up.
type Bus struct {
	*bus.Handlers

	mu      sync.Mutex
	kept    []events.Event
	byID    map[events.ID]int
	payload map[events.Digest][]byte
	closed  bool
	more    chan struct{} // closed, and made anew, when something changes
}

var _ bus.Store = (*Bus)(nil)

// New returns an empty bus.
func New() *Bus {
	b := &Bus{byID: map[events.ID]int{}, payload: map[events.Digest][]byte{}, more: make(chan struct{})}
	b.Handlers = bus.NewHandlers(b.Receive, nil)
	return b
}

// Emit implements bus.Bus.
func (b *Bus) Emit(ctx context.Context, source, kind string, v events.DomainEvent) error {
	_, err := bus.Commit(ctx, b, source, kind, v, nil, nil)
	return err
}

// Publish implements bus.Bus.
func (b *Bus) Publish(_ context.Context, d events.Draft) (events.Event, error) {
	if err := d.CheckOutside(); err != nil {
		return events.Event{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return events.Event{}, bus.ErrClosed
	}
	now := time.Now()
	e, err := d.Seal(events.IngestedID("slicebus", fmt.Sprint(now.UnixNano(), len(b.kept))), d.Parents)
	if err != nil {
		return events.Event{}, err
	}
	if _, ok := b.byID[e.ID]; ok {
		return events.Event{}, errors.New("slicebus: the id is taken")
	}
	e = e.Clone()
	e.Position, e.RecordTime = uint64(len(b.kept))+1, now
	b.kept = append(b.kept, e)
	b.byID[e.ID] = len(b.kept) - 1
	b.payload[e.PayloadDigest] = e.Payload
	b.changed()
	return e.Clone(), nil
}

func (b *Bus) changed() {
	close(b.more)
	b.more = make(chan struct{})
}

// Event implements bus.Store.
func (b *Bus) Event(_ context.Context, id events.ID) (events.Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, ok := b.byID[id]; ok {
		return b.kept[i].Clone(), nil
	}
	return events.Event{}, fmt.Errorf("slicebus: no event %s", id)
}

// Payload implements bus.Store.
func (b *Bus) Payload(_ context.Context, d events.Digest) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.payload[d]; ok {
		return append([]byte(nil), p...), nil
	}
	return nil, fmt.Errorf("slicebus: no payload %s", d)
}

// Counts implements bus.Store.
func (b *Bus) Counts() bus.Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bus.Counts{Events: uint64(len(b.kept)), Payloads: uint64(len(b.payload))}
}

// Close implements bus.Bus.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.changed()
	b.mu.Unlock()
	return b.Drain(ctx)
}

// Receive implements bus.Bus.
func (b *Bus) Receive(f bus.Filter) (bus.Receiver, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, bus.ErrClosed
	}
	return &receiver{bus: b, filter: f, next: len(b.kept)}, nil
}

type receiver struct {
	bus    *Bus
	filter bus.Filter
	next   int
	closed bool // by the bus's lock, as next
}

// Next implements bus.Receiver.
func (r *receiver) Next(ctx context.Context) (bus.Message, error) {
	for ctx.Err() == nil {
		r.bus.mu.Lock()
		closed, more := r.closed, r.bus.more
		for ; !closed && r.next < len(r.bus.kept); r.next++ {
			if e := r.bus.kept[r.next]; r.filter.Match(e.Stream, e.Kind) {
				r.next++
				r.bus.mu.Unlock()
				return bus.FromEvent(e), nil
			}
		}
		closed = closed || r.bus.closed
		r.bus.mu.Unlock()
		if closed {
			return bus.Message{}, bus.ErrClosed
		}
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
	return bus.Message{}, context.Cause(ctx)
}

// All implements bus.Receiver.
func (r *receiver) All(ctx context.Context) iter.Seq2[bus.Message, error] {
	return bus.Pull(ctx, r.Next)
}

// Close implements bus.Receiver.
func (r *receiver) Close() {
	r.bus.mu.Lock()
	r.closed = true
	r.bus.changed()
	r.bus.mu.Unlock()
}
