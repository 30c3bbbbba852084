package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// All that a set stores goes through one writer, which takes whatever changed
// since it last looked into one write of the journal. So many acknowledgements
// share a sync, and what is stored of a consumer never goes back.
//
// A consumer that is idle is stored with the name of the shared checkpoint.
// From then on that one speaks for it, until there is something for it: so the
// shared checkpoint moves only together with the checkpoints of all those for
// whom that has become wrong.

// writeConsumers bounds how many consumers one write holds, save for those
// that the shared checkpoint cannot move without. Tests make it small.
var writeConsumers = 256

// Kinds of the events that a consumer journals.
const (
	kindParked   = "toka.consumer.parked"
	kindReplayed = "toka.consumer.replayed"
	kindDropped  = "toka.consumer.dropped"
)

// store marks c for the writer and returns where the outcome will come. The
// caller holds mu.
func (c *Consumer) store() <-chan error {
	outcome := make(chan error, 1)
	if c.ended != nil {
		outcome <- c.ended
		return outcome
	}
	c.waiters = append(c.waiters, outcome)
	c.mark()
	return outcome
}

// mark is store for those who do not wait.
func (c *Consumer) mark() {
	if c.via {
		c.set.touched[c] = struct{}{}
	}
	c.set.dirty[c] = struct{}{}
	c.set.write()
}

// wait waits for an outcome.
func wait(ctx context.Context, outcome <-chan error) error {
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write starts the writer if there is something for it. The caller holds mu.
func (s *Set) write() {
	if s.writing || s.closed || s.err != nil || len(s.dirty) == 0 && !s.save {
		return
	}
	s.writing = true
	s.done.Go(func() {
		for s.writeOnce() {
		}
	})
}

// part is what a write holds of one consumer.
type part struct {
	c       *Consumer
	waiters []chan error
	parked  []*entry
}

// writeOnce stores what there is to store. It returns false if that is nothing.
func (s *Set) writeOnce() bool {
	s.mu.Lock()
	w, parts, shared := s.collect()
	if len(w.Checkpoints) == 0 {
		s.writing = false
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	_, err := s.j.Append(context.Background(), w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// Memory is ahead of the disk now, and nobody knows by how much.
		s.fail(fmt.Errorf("consumers cannot be stored: %w", err))
	} else if shared > 0 {
		s.shared = shared
	}
	for _, p := range parts {
		p.c.busy = false
		if err == nil {
			for _, e := range p.parked {
				if p.c.entries[e.position] == e {
					delete(p.c.entries, e.position)
				}
			}
		}
		for _, out := range p.waiters {
			out <- err
		}
		p.c.broadcast()
	}
	return err == nil
}

// collect takes what is to be stored. The caller holds mu.
func (s *Set) collect() (w journal.Write, parts []part, shared uint64) {
	if s.err != nil {
		return w, nil, 0
	}
	w.Authority = authority.System()
	take := func(c *Consumer) {
		delete(s.dirty, c)
		parts = append(parts, c.part(&w))
	}
	if s.save && s.movable() {
		for c := range s.touched {
			if c.via != c.idle() {
				take(c)
			}
		}
		w.Checkpoints = append(w.Checkpoints, journal.Checkpoint{Name: sharedName, Position: s.at})
		shared, s.save = s.at, false
	}
	for c := range s.dirty {
		if len(parts) >= writeConsumers {
			break
		}
		if !c.busy {
			take(c)
		}
	}
	return w, parts, shared
}

// movable says that the checkpoints which must move with the shared one are
// all here.
func (s *Set) movable() bool {
	for c := range s.touched {
		if c.busy {
			return false
		}
	}
	return true
}

// part adds a consumer to a write.
func (c *Consumer) part(w *journal.Write) part {
	p := part{c: c, waiters: c.waiters}
	c.waiters = nil
	c.busy = true
	var settled map[uint64]bool
	for _, e := range c.sorted() {
		if e.reason == "" {
			continue
		}
		if settled == nil {
			settled = make(map[uint64]bool)
		}
		settled[e.position] = true
		p.parked = append(p.parked, e)
		w.Events = append(w.Events, c.parkedDraft(e))
	}
	cp := c.checkpoint(settled)
	if c.via = c.idle(); c.via {
		c.read = c.position()
		cp.Position, cp.Via = c.read, sharedName
		delete(c.set.touched, c)
	} else {
		c.set.touched[c] = struct{}{}
	}
	c.storedRead = c.read
	w.Checkpoints = append(w.Checkpoints, cp)
	return p
}

// parkedPayload is the payload of a parked event.
type parkedPayload struct {
	Consumer string `json:"consumer"`
	Position uint64 `json:"position"` // of the event that could not be dealt with
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason"`
}

// maxReason bounds what is kept of a reason.
const maxReason = 16 << 10

func (c *Consumer) parkedDraft(e *entry) events.Draft {
	payload, err := json.Marshal(parkedPayload{c.config.Name, e.position, e.attempts, e.reason})
	if err != nil {
		panic("consumer: " + err.Error()) // numbers and text
	}
	return events.Draft{
		Stream: c.stream, Kind: kindParked, SchemaVersion: 1, Time: time.Now(), ContentType: events.ContentTypeJSON,
		Payload: payload, Parents: []events.Ref{e.ref}, Trigger: e.ref.ID, Correlation: e.talk,
	}
}

// park leaves an entry to the writer. The caller holds mu and calls store.
func (e *entry) park(reason string) {
	if reason == "" {
		reason = "no reason was given"
	}
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	e.reason = reason
}
