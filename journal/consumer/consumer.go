package consumer

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Consumer is one durable reader. It is safe for concurrent use.
type Consumer struct {
	set    *Set
	config Config
	filter journal.Query // the part of config.Query that an event alone decides
	stream string        // where its parked events go
	begun  uint64

	// Guarded by set.mu.

	read uint64 // everything selected up to here was delivered
	// Between read and known only reading tells what is selected; after both,
	// next is the first selected event that the set has seen, 0 for none.
	known, next uint64
	entries     map[uint64]*entry // deliveries that are not settled
	reading     bool              // somebody reads on from read
	wake        chan struct{}     // closed and replaced when anything changes
	ended       error

	// Of one that selects by intent; see intent.go.
	at   uint64 // as Set.at
	stop context.CancelFunc

	// See write.go.
	busy       bool // its checkpoint is on its way to the disk
	via        bool // the shared checkpoint speaks for it, on disk
	storedRead uint64
	waiters    []chan error
}

// entry is a delivery that is not settled.
type entry struct {
	position uint64
	attempts int
	due      time.Time // when it comes again
	ref      events.Ref
	talk     string // the event's correlation
	reason   string // why it is about to be parked; empty if it is not
}

// Delivery is an event that a consumer is to deal with.
type Delivery struct {
	Event   events.Event
	Attempt int // from 1
	c       *Consumer
}

// Info says where a consumer stands.
type Info struct {
	Config   Config
	Position uint64 // everything selected up to here was delivered
	Lag      uint64 // durable events after Position, selected or not
	Open     int    // deliveries that are not settled
	Due      int    // of these, those that come again at the next fetch
}

func newConsumer(s *Set, config Config, begun uint64) *Consumer {
	c := &Consumer{
		set: s, config: config, filter: config.Query, stream: namePrefix + config.Name, begun: begun,
		entries: make(map[uint64]*entry), wake: make(chan struct{}),
	}
	c.filter.Intent = events.ID{} // an intent that was merged has another id
	return c
}

// Name returns the consumer's name.
func (c *Consumer) Name() string { return c.config.Name }

// Info returns where the consumer stands.
func (c *Consumer) Info() Info {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	out := Info{Config: c.config, Position: c.position(), Open: len(c.entries)}
	out.Config.Backoff, out.Config.Query.Kinds = slices.Clone(c.config.Backoff), slices.Clone(c.config.Query.Kinds)
	now := time.Now()
	for _, e := range c.entries {
		if !e.due.After(now) {
			out.Due++
		}
	}
	if end := c.set.j.Position(); end > out.Position {
		out.Lag = end - out.Position
	}
	return out
}

// wants is the whole filter, but for what reading selects by: meaning and intent.
func (c *Consumer) wants(e *events.Event) bool {
	q := &c.filter
	if e.Stream == c.stream || !q.Matches(e) {
		return false
	}
	if !events.SystemKind(e.Kind) || (q.Like != nil || c.byIntent()) && len(q.Kinds) == 0 && embedsLater(e) {
		return true
	}
	return slices.ContainsFunc(q.Kinds, func(p events.Pattern) bool {
		return events.SystemKind(p.String()) && p.Match(e.Kind)
	})
}

// idle says that nothing is left to do up to where the set has come.
func (c *Consumer) idle() bool {
	return !c.byIntent() && len(c.entries) == 0 && c.next == 0 && c.read >= c.known
}

func (c *Consumer) position() uint64 {
	if c.next == 0 && c.read >= c.known {
		return max(c.read, c.offered())
	}
	return c.read
}

// broadcast wakes everybody who waits for the consumer to change.
func (c *Consumer) broadcast() {
	close(c.wake)
	c.wake = make(chan struct{})
}

// close fails everybody who uses the consumer, now and later.
func (c *Consumer) close(err error) {
	if c.ended != nil {
		return
	}
	c.ended = err
	for _, w := range c.waiters {
		w <- err
	}
	c.waiters = nil
	c.broadcast()
}

// sorted lists what is not settled by position.
func (c *Consumer) sorted() []*entry {
	return slices.SortedFunc(maps.Values(c.entries), func(a, b *entry) int {
		if a.position < b.position {
			return -1
		}
		return 1
	})
}

const stateVersion = 1

// checkpoint is what is stored of the consumer, as if settled were settled. An
// entry that is about to be parked is settled by the write that parks it and by
// no other: left out of one that comes in between, it would be lost in a crash.
func (c *Consumer) checkpoint(settled map[uint64]bool) journal.Checkpoint {
	cp := journal.Checkpoint{Name: atPrefix + c.config.Name, Position: c.read}
	var b []byte
	last := uint64(0)
	for _, e := range c.sorted() {
		if settled[e.position] {
			continue
		}
		if b == nil {
			b = append(b, stateVersion)
		}
		b = binary.AppendUvarint(b, e.position-last)
		b = binary.AppendUvarint(b, uint64(e.attempts))
		b = binary.AppendUvarint(b, uint64(max(e.due.UnixMilli(), 0)))
		last = e.position
	}
	cp.State = string(b)
	return cp
}

// decode takes over what is stored. shared is where the shared checkpoint
// stands, end the end of the journal. Deliveries of events beyond the
// checkpoint are of events that were lost, which somebody accepted: those that
// stand there now are others.
func (c *Consumer) decode(cp journal.Checkpoint, shared, end uint64) error {
	c.read = min(cp.Position, end)
	if c.via = cp.Via == sharedName; c.via {
		c.read = max(c.read, shared)
	}
	c.storedRead = c.read
	b := []byte(cp.State)
	if len(b) == 0 {
		return nil
	}
	bad := fmt.Errorf("consumer %q: %w: its state of %d bytes cannot be read", c.config.Name, journal.ErrCorrupt, len(b))
	if b[0] != stateVersion {
		return bad
	}
	b = b[1:]
	for position := uint64(0); len(b) > 0; {
		var v [3]uint64
		for i := range v {
			n, w := binary.Uvarint(b)
			if w <= 0 {
				return bad
			}
			v[i], b = n, b[w:]
		}
		if v[0] == 0 || v[0] > math.MaxUint64-position || v[1] > 1<<31 || v[2] > 1<<50 {
			return bad
		}
		if position += v[0]; position > c.read {
			continue
		}
		c.entries[position] = &entry{position: position, attempts: int(v[1]), due: time.UnixMilli(int64(v[2]))}
	}
	return nil
}

// seize waits until no checkpoint of the consumer is on its way and keeps
// others from sending one, until release.
func (c *Consumer) seize(ctx context.Context) error {
	for {
		c.set.mu.Lock()
		switch {
		case c.ended != nil:
			defer c.set.mu.Unlock()
			return c.ended
		case !c.busy:
			c.busy = true
			c.set.mu.Unlock()
			return nil
		}
		wake := c.wake
		c.set.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// speak says that the checkpoint which is about to be stored speaks for itself,
// and whether the one before did not. The caller has seized c and holds mu.
func (c *Consumer) speak() (spokenFor bool) {
	spokenFor, c.via = c.via, false
	c.set.touched[c] = struct{}{}
	return spokenFor
}

// release is the end of seize. The caller holds the set's mu.
func (c *Consumer) release() {
	c.busy = false
	c.broadcast()
	c.set.write()
}
