package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Ack says that deliveries are dealt with. When it returns nil, that is on
// disk and none of them comes again. It settles all it can; for one that was
// settled before the error wraps ErrNotInFlight.
func (c *Consumer) Ack(ctx context.Context, ds ...Delivery) error {
	if len(ds) == 0 {
		return nil
	}
	c.set.mu.Lock()
	stored, err := c.ack(ds)
	c.set.mu.Unlock()
	if stored != nil {
		err = errors.Join(err, wait(ctx, stored))
	}
	return err
}

// ack is Ack that does not wait. The caller holds mu.
func (c *Consumer) ack(ds []Delivery) (stored <-chan error, err error) {
	acked := false
	for i := range ds {
		e, failed := c.entry(ds[i].Event.Position)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		delete(c.entries, e.position)
		acked = true
	}
	if acked {
		c.broadcast()
		stored = c.store()
	}
	return stored, err
}

// Ack settles d; see Consumer.Ack.
func (d Delivery) Ack(ctx context.Context) error { return d.c.Ack(ctx, d) }

// Nak refuses d: it comes again after delay, or after the backoff of the
// configuration if delay is 0, or is parked with the reason if it came often
// enough.
func (d Delivery) Nak(ctx context.Context, reason string, delay time.Duration) error {
	return d.change(ctx, func(e *entry) {
		if e.attempts >= d.c.config.MaxDeliver {
			e.park(reason)
			return
		}
		if delay <= 0 {
			delay = d.c.config.backoff(e.attempts)
		}
		e.due = time.Now().Add(delay)
	})
}

// Terminate refuses d for good: it is parked with the reason.
func (d Delivery) Terminate(ctx context.Context, reason string) error {
	return d.change(ctx, func(e *entry) { e.park(reason) })
}

// Extend says that d is being dealt with: the ack wait begins anew.
func (d Delivery) Extend(ctx context.Context) error {
	return d.change(ctx, func(e *entry) { e.due = time.Now().Add(d.c.config.AckWait) })
}

// change changes the entry of d, unless it was delivered again since, and
// waits until that is on disk.
func (d Delivery) change(ctx context.Context, f func(e *entry)) error {
	c := d.c
	c.set.mu.Lock()
	e, err := c.entry(d.Event.Position)
	if err == nil && e.attempts != d.Attempt {
		err = fmt.Errorf("consumer %q: event at position %d: %w: it was delivered again", c.config.Name, e.position, ErrNotInFlight)
	}
	if err != nil {
		c.set.mu.Unlock()
		return err
	}
	e.ref, e.talk = d.Event.Ref(), d.Event.Correlation
	f(e)
	c.broadcast()
	stored := c.store()
	c.set.mu.Unlock()
	return wait(ctx, stored)
}

// Commit appends w and acknowledges ds in one write of the journal: both are
// stored or neither. It is how work that ends in the journal is done once,
// however often it is begun. If w was stored before, under the same ids, the
// deliveries are acknowledged.
//
// Errors are those of an append, or wrap ErrNotInFlight: then somebody else
// has settled one of ds and nothing was stored.
func (c *Consumer) Commit(ctx context.Context, w journal.Write, ds ...Delivery) (journal.Receipt, error) {
	if !w.Authority.IsSystem() {
		for i := range w.Events {
			if err := w.Events[i].CheckOutside(); err != nil {
				return journal.Receipt{}, err
			}
		}
		for _, cp := range w.Checkpoints {
			if strings.HasPrefix(cp.Name, "$") {
				return journal.Receipt{}, fmt.Errorf("checkpoint %q: %w: names that begin with $ belong to the system", cp.Name, events.ErrInvalid)
			}
		}
	}
	if err := c.seize(ctx); err != nil {
		return journal.Receipt{}, err
	}
	s := c.set
	s.mu.Lock()
	settled := make(map[uint64]bool, len(ds))
	for i := range ds {
		e, err := c.entry(ds[i].Event.Position)
		if err != nil {
			c.release()
			s.mu.Unlock()
			return journal.Receipt{}, err
		}
		settled[e.position] = true
	}
	w.Checkpoints = append(slices.Clone(w.Checkpoints), c.checkpoint(settled))
	w.Authority = authority.System()
	spokenFor := c.speak()
	s.mu.Unlock()

	type outcome struct {
		receipt journal.Receipt
		err     error
		stored  <-chan error
	}
	done := make(chan outcome, 1)
	// Whoever stops waiting leaves the outcome to this callback.
	err := s.j.Submit(ctx, w, func(r journal.Receipt, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := outcome{receipt: r, err: err}
		if err == nil {
			for p := range settled {
				delete(c.entries, p)
			}
			if r.Duplicate {
				out.stored = c.store() // what was there came without this checkpoint
			}
		}
		if err != nil || r.Duplicate {
			c.via = spokenFor
		}
		c.release()
		done <- out
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.via = spokenFor
		c.release()
		return journal.Receipt{}, err
	}
	select {
	case out := <-done:
		if out.stored != nil {
			out.err = wait(ctx, out.stored)
		}
		return out.receipt, out.err
	case <-ctx.Done():
		return journal.Receipt{}, fmt.Errorf("consumer %q: %w: %w", c.config.Name, journal.ErrOutcomeUnknown, context.Cause(ctx))
	}
}
