package bus

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
)

// batch is how many messages a reader copies out of the ring at a time.
const batch = 64

// yields is how often a reader lets others run before it sleeps: to be woken
// costs it, and the emitter, more than that.
const yields = 16

// reader is the receiver of a Memory.
type reader struct {
	bus    *Memory
	filter Filter
	all    bool          // the filter selects everything
	end    chan struct{} // closed by Close
	closed atomic.Bool

	// Owned by whoever receives.
	buf      [batch]Message
	at, n    int
	want     uint64 // the next that copy will look at, if nobody moves it on
	kind     string // the last that was looked at
	selected bool   // what became of it

	// mu is held by the receiver while it copies, and by emitters who look or
	// move it on.
	mu     sync.Mutex
	next   uint64
	missed uint64
	owes   uint64 // an emitter waits to be told when next is here; 0 if none does
}

// Close implements Receiver.
func (r *reader) Close() {
	if r.closed.CompareAndSwap(false, true) {
		close(r.end)
		r.bus.remove(r)
	}
}

// Next implements Receiver.
func (r *reader) Next(ctx context.Context) (Message, error) {
	for {
		if err := r.stopped(ctx, ctx.Done()); err != nil {
			return Message{}, err
		}
		if r.at < r.n {
			r.at++
			return r.buf[r.at-1], nil
		}
		if err := r.fill(ctx); err != nil {
			return Message{}, err
		}
	}
}

// All implements Receiver.
func (r *reader) All(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		done := ctx.Done()
		for {
			for r.at < r.n {
				if err := r.stopped(ctx, done); err != nil {
					yield(Message{}, err)
					return
				}
				r.at++
				if !yield(r.buf[r.at-1], nil) {
					return
				}
			}
			err := r.fill(ctx)
			if err == nil {
				continue
			}
			if _, lag := errors.AsType[*LagError](err); !yield(Message{}, err) || !lag {
				return
			}
		}
	}
}

func (r *reader) stopped(ctx context.Context, done <-chan struct{}) error {
	if r.closed.Load() {
		return ErrClosed
	}
	select { // one case and a default: that is cheap
	case <-done:
		return context.Cause(ctx)
	default:
		return nil
	}
}

// fill waits until it has copied something that the filter selects.
func (r *reader) fill(ctx context.Context) error {
	done := ctx.Done()
	for idle := 0; ; {
		if err := r.stopped(ctx, done); err != nil {
			return err
		}
		moved, err := r.copy()
		switch {
		case err != nil:
			return err
		case r.n > 0:
			return nil
		case moved:
			idle = 0
		case idle < yields:
			idle++
			runtime.Gosched()
		default:
			if err := r.sleep(ctx); err != nil {
				return err
			}
			idle = 0
		}
	}
}

// copy takes what is there, at most a batch and a part of the ring, and
// reports whether anything was.
func (r *reader) copy() (moved bool, err error) {
	b := r.bus
	there := b.published.Load()
	r.at, r.n = 0, 0
	r.mu.Lock()
	from := r.next
	if r.missed > 0 {
		err = &LagError{Missed: r.missed, Next: r.next}
		r.missed = 0
		r.mu.Unlock()
		return false, err
	}
	for most := min(there, from+uint64(len(b.ring)/4)); r.next <= most && r.n < batch; r.next++ {
		if m := &b.ring[r.next&b.mask]; r.all || r.selects(m) {
			r.buf[r.n] = *m
			r.n++
		}
	}
	r.want, moved = r.next, r.next > from
	last := false
	if r.owes > 0 && r.next >= r.owes {
		r.owes = 0
		last = b.owing.Add(-1) == 0
	}
	r.mu.Unlock()
	if last {
		b.vacate()
	}
	return moved, nil
}

func (r *reader) selects(m *Message) bool {
	if r.filter.Source != "" && m.Source != r.filter.Source {
		return false
	}
	if m.Kind != r.kind {
		r.kind, r.selected = m.Kind, (&Filter{Kinds: r.filter.Kinds}).Match("", m.Kind)
	}
	return r.selected
}

// sleep waits for the next message, or for the end.
func (r *reader) sleep(ctx context.Context) error {
	b := r.bus
	gate := *b.gate.Load()
	b.asleep.Store(true)
	if b.published.Load() >= r.want {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-r.end:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.end:
		// Nothing is published after the end.
		if b.published.Load() >= r.want {
			return nil
		}
		return ErrClosed
	}
}
