package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/tokaworks/toka/events"
)

const (
	fetchBytes  = 8 << 20   // of payloads that one fetch reads, but for the last
	fetchWindow = 256 << 10 // positions after which it is noted how far reading came
)

// Fetch returns at most n deliveries as soon as there is one, those first that
// come again. It waits until ctx ends. What it returns is on disk as delivered:
// it comes again when it is not settled within Config.AckWait. Errors wrap
// ErrNotFound if the consumer was deleted, the context's error, or are the
// journal's.
func (c *Consumer) Fetch(ctx context.Context, n int) ([]Delivery, error) {
	for {
		ds, wake, due, err := c.take(ctx, n)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
		if err := sleep(ctx, wake, due); err != nil {
			return nil, err
		}
	}
}

// FetchNow is Fetch that does not wait for an event to come: of what is durable
// by now it returns something if there is anything, and nothing otherwise.
func (c *Consumer) FetchNow(ctx context.Context, n int) ([]Delivery, error) {
	c.set.mu.Lock()
	c.known = max(c.known, c.end()) // the set may not have seen it all
	c.set.mu.Unlock()
	for {
		ds, wake, _, err := c.take(ctx, n)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
		select {
		case <-wake: // it came forward and there may be more
		default:
			return nil, nil
		}
	}
}

// sleep waits until wake is closed or something is due.
func sleep(ctx context.Context, wake <-chan struct{}, due time.Time) error {
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-wake:
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// take takes what there is. If that is nothing, wake and due say when to look
// again.
func (c *Consumer) take(ctx context.Context, n int) (ds []Delivery, wake <-chan struct{}, due time.Time, err error) {
	if n < 1 {
		panic("consumer: Fetch: nothing is asked for")
	}
	if ctx.Err() != nil {
		return nil, nil, due, context.Cause(ctx)
	}
	s := c.set
	s.mu.Lock()
	if c.ended != nil {
		defer s.mu.Unlock()
		return nil, nil, due, c.ended
	}
	wake = c.wake
	again, worn := c.again(n)
	read := false
	room := min(n-len(again), c.config.MaxInFlight-len(c.entries))
	if room > 0 && !c.reading && (c.next != 0 || c.read < c.known) {
		c.reading, read = true, true
	}
	after := c.read
	s.mu.Unlock()

	ds, err = c.load(ctx, again)
	if err == nil {
		err = c.wearOut(ctx, worn)
	}
	var fresh []events.Event
	reached := after
	if read && err == nil {
		fresh, reached, err = c.scan(ctx, after, room)
	}

	s.mu.Lock()
	if read {
		c.reading = false
		c.reach(reached, fresh)
		for i := range fresh {
			ds = append(ds, Delivery{Event: fresh[i], Attempt: 1, c: c})
		}
		c.broadcast()
	}
	due = c.due()
	var stored <-chan error
	if len(ds) > 0 || len(worn) > 0 {
		stored = c.store()
	}
	s.mu.Unlock()
	if err != nil {
		return nil, nil, due, err
	}
	if stored != nil {
		if err := wait(ctx, stored); err != nil {
			return nil, nil, due, err
		}
	}
	return ds, wake, due, nil
}

// taken is an entry as it was when it was taken.
type taken struct {
	position uint64
	attempt  int
}

// again takes at most n entries that come again, and those that came too
// often. The caller holds mu.
func (c *Consumer) again(n int) (again, worn []taken) {
	now := time.Now()
	for _, e := range c.sorted() {
		if e.reason != "" || e.due.After(now) {
			continue
		}
		if e.attempts >= c.config.MaxDeliver {
			e.due = now.Add(c.config.AckWait) // nobody else takes it meanwhile
			worn = append(worn, taken{e.position, e.attempts})
		} else if len(again) < n {
			e.attempts++
			e.due = now.Add(c.config.AckWait)
			again = append(again, taken{e.position, e.attempts})
		}
	}
	return again, worn
}

// load reads the events that come again.
func (c *Consumer) load(ctx context.Context, again []taken) (ds []Delivery, err error) {
	for _, t := range again {
		e, err := c.set.j.At(ctx, t.position)
		if err != nil {
			return nil, fmt.Errorf("consumer %q: %w", c.config.Name, err)
		}
		ds = append(ds, Delivery{Event: e, Attempt: t.attempt, c: c})
	}
	return ds, nil
}

// wearOut parks what came too often.
func (c *Consumer) wearOut(ctx context.Context, worn []taken) error {
	for _, t := range worn {
		ev, err := c.set.j.At(ctx, t.position)
		if err != nil {
			return fmt.Errorf("consumer %q: %w", c.config.Name, err)
		}
		c.set.mu.Lock()
		if e := c.entries[t.position]; e != nil && e.attempts == t.attempt && e.reason == "" {
			e.ref, e.talk = ev.Ref(), ev.Correlation
			e.park(fmt.Sprintf("delivered %d times and not acknowledged within %v", t.attempt, c.config.AckWait))
		}
		c.set.mu.Unlock()
	}
	return nil
}

// scan reads on: at most n events that the consumer wants, and the position up
// to which these are all.
func (c *Consumer) scan(ctx context.Context, after uint64, n int) (found []events.Event, reached uint64, err error) {
	end := min(c.end(), after+fetchWindow)
	q := c.config.Query
	q.After, q.Before = max(q.After, after), end+1
	bytes := 0
	for e, err := range c.set.j.Read(ctx, q) {
		if err != nil {
			return nil, after, fmt.Errorf("consumer %q: %w", c.config.Name, err)
		}
		if !c.wants(&e) {
			continue
		}
		found = append(found, e)
		if bytes += len(e.Payload) + 512; len(found) == n || bytes >= fetchBytes {
			return found, e.Position, nil
		}
	}
	return found, max(after, end), nil
}

// reach notes that the consumer has read up to a position and was delivered
// what it wants of it. The caller holds mu.
func (c *Consumer) reach(position uint64, es []events.Event) {
	due := time.Now().Add(c.config.AckWait)
	for i := range es {
		e := &es[i]
		c.entries[e.Position] = &entry{position: e.Position, attempts: 1, due: due}
	}
	if position <= c.read {
		return
	}
	c.read = position
	if c.next != 0 && c.next <= position {
		// What else the set has seen meanwhile was not noted.
		c.next = 0
		if at := c.offered(); at > position {
			c.known = at
		}
	}
	if len(es) == 0 && c.read-c.storedRead >= saveEvery {
		c.mark()
	}
}

// due is when the first entry comes again. The caller holds mu.
func (c *Consumer) due() (first time.Time) {
	for _, e := range c.entries {
		if e.reason == "" && (first.IsZero() || e.due.Before(first)) {
			first = e.due
		}
	}
	return first
}

// InFlight returns the delivery of an event that is in flight, for those who fetch
// in one place and settle in another.
func (c *Consumer) InFlight(ctx context.Context, position uint64) (Delivery, error) {
	c.set.mu.Lock()
	e, err := c.entry(position)
	attempt := 0
	if err == nil {
		attempt = e.attempts
	}
	c.set.mu.Unlock()
	if err != nil {
		return Delivery{}, err
	}
	ev, err := c.set.j.At(ctx, position)
	return Delivery{Event: ev, Attempt: attempt, c: c}, err
}

// entry finds what is in flight. The caller holds mu.
func (c *Consumer) entry(position uint64) (*entry, error) {
	if c.ended != nil {
		return nil, c.ended
	}
	e := c.entries[position]
	if e == nil || e.reason != "" {
		return nil, fmt.Errorf("consumer %q: event at position %d: %w", c.config.Name, position, ErrNotInFlight)
	}
	return e, nil
}
