package actors

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tokaworks/toka/events"
)

// recover folds the stream. It runs on a turn; the messages behind it wait.
func (c *cell) recover() {
	c.sys.recovering <- struct{}{}
	err := errGoexit // stays if folding never returns
	defer func() {
		<-c.sys.recovering
		if err != nil {
			c.giveUp(fmt.Errorf("agent %q: recover: %w", c.name, err))
		}
	}()
	requests := map[events.ID]events.Event{}
	open := map[events.ID]uint64{}
	err = c.fold(requests, open)
	c.recovered = err == nil
	c.takeUpAll(requests)
	if c.recovered && !c.known { // afterwards it has them in hand itself
		c.finishAll(open)
	}
	c.known = c.known || c.recovered
	if c.recovered {
		c.unstash() // why it was filled may not be so in the state as it is now
	}
}

// takeUpAll takes up requests in the order of the journal.
func (c *cell) takeUpAll(requests map[events.ID]events.Event) {
	for _, id := range slices.SortedFunc(maps.Keys(requests), func(a, b events.ID) int {
		return cmp.Compare(requests[a].Position, requests[b].Position)
	}) {
		request := requests[id]
		c.takeUp(&request)
	}
}

func (c *cell) fold(requests map[events.ID]events.Event, open map[events.ID]uint64) (err error) {
	defer panicAsError(&err)
	c.runner.reset()
	f := folded{runner: c.runner, requests: requests, open: open}
	kept := c.fromSnapshot(&f)
	c.pictured = f.version
	err = c.foldAfter(&f)
	if err != nil && kept {
		// Whatever is wrong with it, there is the stream.
		c.sys.log.Warn("a snapshot cannot be used; the stream is read from its beginning", "agent", c.name, "err", err)
		c.runner.reset()
		clear(requests)
		clear(open)
		f, c.pictured = folded{runner: c.runner, requests: requests, open: open}, 0
		err = c.foldAfter(&f)
	}
	if err == nil {
		c.take(&f)
	}
	return err
}

// foldAfter folds what the stream holds after what was folded so far.
func (c *cell) foldAfter(f *folded) (err error) {
	defer panicAsError(&err)
	for e, err := range c.sys.j.ReadStream(context.Background(), c.name, f.version) {
		if err == nil {
			err = f.add(c.sys, c.b, &e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take makes what was folded the actor's state.
func (c *cell) take(f *folded) {
	c.runner = f.runner
	c.version, c.head, c.begun, c.reacted = f.version, f.head, f.begun, f.reacted
}

// folded is what a stream comes to.
type folded struct {
	runner  runner
	version uint64
	head    events.ID
	begun   bool
	reacted uint64

	requests map[events.ID]events.Event // to take up what was parked, not dealt with
	open     map[events.ID]uint64       // commands whose effects have begun, and nothing more
}

func (f *folded) safely(sys *System, b *behaviour, e *events.Event) (err error) {
	defer panicAsError(&err)
	return f.add(sys, b, e)
}

// add folds one more event.
func (f *folded) add(sys *System, b *behaviour, e *events.Event) error {
	if key, ok := e.Extensions[events.ExtBehaviour]; ok && key != b.key() {
		if _, err := sys.registry.find(key); err != nil {
			return fmt.Errorf("%w (event %s)", err, e.ID)
		}
		return fmt.Errorf("%w: %s, not %s (event %s)", ErrOtherBehaviour, key, b.key(), e.ID)
	} else if ok {
		f.begun = true
	}
	if err := f.runner.apply(*e); err != nil {
		return fmt.Errorf("position %d: %w", e.Position, err)
	}
	f.version, f.head = e.StreamPosition, e.ID
	noteRetry(f.requests, e)
	noteStarted(f.open, b, e)
	f.reacted = max(f.reacted, endOf(b, e))
	return nil
}

// endOf returns the position of the event that the agent had dealt with when
// it journaled e, 0 if e says nothing of the kind. An agent deals with events
// in the order of the journal, so all earlier ones were dealt with too.
func endOf(b *behaviour, e *events.Event) uint64 {
	if len(b.patterns) == 0 || e.Trigger.IsZero() {
		return 0
	}
	for _, p := range e.Parents {
		if p.ID == e.Trigger && (e.Kind == kindParked || e.ID == events.EmittedID(p.Digest, e.Stream, 0)) {
			return p.Position
		}
	}
	return 0
}

// giveUp ends the actor: every message from now on gets err.
func (c *cell) giveUp(err error) {
	c.failure = err
	text := err.Error()
	c.lastFailure.Store(&text)
	c.sys.log.Error("agent is given up", "agent", c.name, "err", err)
	c.failed.Store(true)
	c.spill("the actor was given up", err)
	if len(c.b.patterns) > 0 {
		c.sys.bus.retire(c, nil)
	}
	c.sys.terminated(Termination{Agent: c.name, Reason: text})
}
