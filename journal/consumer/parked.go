package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Parked is an event that was given up.
type Parked struct {
	ID       events.ID  // of the event that says so
	Event    events.Ref // the event that could not be dealt with
	Attempts int
	Reason   string
	At       time.Time // when it was recorded
	Position uint64    // of the event that says so
}

// Parked lists what is parked, in order.
func (c *Consumer) Parked(ctx context.Context) ([]Parked, error) {
	var out []Parked
	for e, err := range c.set.j.Read(ctx, journal.Query{Stream: c.stream, After: c.begun}) {
		if err != nil {
			return nil, fmt.Errorf("consumer %q: %w", c.config.Name, err)
		}
		switch e.Kind {
		case kindParked:
			var p parkedPayload
			if err := json.Unmarshal(e.Payload, &p); err != nil || len(e.Parents) != 1 {
				return nil, fmt.Errorf("consumer %q: event at position %d: %w: it does not say what was parked", c.config.Name, e.Position, journal.ErrCorrupt)
			}
			out = append(out, Parked{ID: e.ID, Event: e.Parents[0], Attempts: p.Attempts, Reason: p.Reason, At: e.RecordTime, Position: e.Position})
		case kindReplayed, kindDropped:
			out = slices.DeleteFunc(out, func(p Parked) bool { return p.ID == e.Trigger })
		}
	}
	return out, nil
}

// Replay delivers parked events again, all of them if ids is empty, as far as
// there is room for deliveries in flight, and returns how many. Each is noted
// as an event with the parked one as its parent.
func (c *Consumer) Replay(ctx context.Context, ids ...events.ID) (int, error) {
	return c.resolve(ctx, kindReplayed, ids, func(p Parked) bool {
		if c.entries[p.Event.Position] != nil || len(c.entries) >= c.config.MaxInFlight {
			return false
		}
		c.entries[p.Event.Position] = &entry{position: p.Event.Position, due: time.Now()}
		return true
	})
}

// Drop takes events off the list of what is parked for good.
func (c *Consumer) Drop(ctx context.Context, ids ...events.ID) (int, error) {
	return c.resolve(ctx, kindDropped, ids, func(Parked) bool { return true })
}

// resolve notes for parked events what becomes of them, where f, which holds
// mu, agrees.
func (c *Consumer) resolve(ctx context.Context, kind string, ids []events.ID, f func(Parked) bool) (int, error) {
	if err := c.seize(ctx); err != nil {
		return 0, err
	}
	s := c.set
	unlock := func() {
		c.release()
		s.mu.Unlock()
	}
	parked, err := c.Parked(ctx)
	for _, id := range ids {
		if err == nil && !slices.ContainsFunc(parked, func(p Parked) bool { return p.ID == id }) {
			err = fmt.Errorf("consumer %q: parked event %s: %w", c.config.Name, id, journal.ErrNotFound)
		}
	}
	s.mu.Lock()
	if err != nil {
		unlock()
		return 0, err
	}
	w := journal.Write{Authority: authority.System()}
	for _, p := range parked {
		if (len(ids) == 0 || slices.Contains(ids, p.ID)) && f(p) {
			w.Events = append(w.Events, events.Draft{
				Stream: c.stream, Kind: kind, SchemaVersion: 1, Time: time.Now(),
				Parents: []events.Ref{{ID: p.ID}}, Trigger: p.ID,
			})
		}
	}
	if len(w.Events) == 0 {
		unlock()
		return 0, nil
	}
	w.Checkpoints = []journal.Checkpoint{c.checkpoint(nil)}
	c.speak()
	s.mu.Unlock()
	// The outcome must be known before anybody stores the consumer again.
	_, err = s.j.Append(context.WithoutCancel(ctx), w)
	s.mu.Lock()
	defer unlock()
	if err != nil {
		// Memory is ahead of the disk now.
		s.fail(fmt.Errorf("consumers cannot be stored: %w", err))
		return 0, err
	}
	return len(w.Events), nil
}
