package consumer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// maxBatch bounds how many deliveries Run fetches ahead of each worker.
const maxBatch = 256

// permanent is an error that no repetition mends.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error of a handler: the event is parked at once.
func Permanent(err error) error { return permanent{err} }

// Run hands what is there and what comes to handle, by as many workers (at
// least one; with one, in order but for what comes again), until ctx ends or
// the consumer does, and returns why. A delivery that handle returns nil for is
// acknowledged without waiting for the disk; for an error or a panic it is
// refused, for a Permanent error parked. handle may settle it itself, too.
func (c *Consumer) Run(ctx context.Context, workers int, handle func(context.Context, Delivery) error) error {
	workers = max(workers, 1)
	batch := 1
	for {
		ds, err := c.Fetch(ctx, batch*workers)
		if err != nil {
			return err
		}
		start := time.Now()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range min(workers, len(ds)) {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(ds)); i = next.Add(1) - 1 {
					c.handle(ctx, ds[i], handle)
				}
			})
		}
		wg.Wait()
		// What is fetched ahead must not wait so long that it comes again.
		switch took := time.Since(start); {
		case took > c.config.AckWait/4:
			batch = max(batch/2, 1)
		case len(ds) == batch*workers && took < c.config.AckWait/16:
			batch = min(batch*2, maxBatch)
		}
	}
}

func (c *Consumer) handle(ctx context.Context, d Delivery, handle func(context.Context, Delivery) error) {
	c.set.mu.Lock()
	e := c.entries[d.Event.Position]
	stale := e == nil || e.attempts != d.Attempt || ctx.Err() != nil
	if !stale {
		e.due = time.Now().Add(c.config.AckWait) // it was fetched ahead
	}
	c.set.mu.Unlock()
	if stale {
		return
	}
	err := protect(ctx, d, handle)
	switch p := (permanent{}); {
	case err == nil:
		c.set.mu.Lock()
		_, _ = c.ack([]Delivery{d}) // unless handle has settled it
		c.set.mu.Unlock()
	case errors.As(err, &p):
		_ = d.Terminate(ctx, err.Error())
	default:
		_ = d.Nak(ctx, err.Error(), 0)
	}
}

func protect(ctx context.Context, d Delivery, handle func(context.Context, Delivery) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return handle(ctx, d)
}
