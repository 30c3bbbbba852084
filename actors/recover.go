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
	err = c.fold(requests)
	c.recovered = err == nil
	for _, id := range slices.SortedFunc(maps.Keys(requests), func(a, b events.ID) int {
		return cmp.Compare(requests[a].Position, requests[b].Position)
	}) {
		request := requests[id]
		c.takeUp(&request)
	}
}

func (c *cell) fold(requests map[events.ID]events.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	c.runner.reset()
	c.version, c.head, c.begun, c.reacted = 0, events.ID{}, false, 0
	for e, err := range c.sys.j.ReadStream(context.Background(), c.name, 0) {
		if err != nil {
			return err
		}
		if key, ok := e.Extensions[events.ExtBehaviour]; ok && key != c.b.key() {
			if _, err := c.sys.registry.find(key); err != nil {
				return fmt.Errorf("%w (event %s)", err, e.ID)
			}
			return fmt.Errorf("%w: %s, not %s (event %s)", ErrOtherBehaviour, key, c.b.key(), e.ID)
		} else if ok {
			c.begun = true
		}
		if err := c.runner.apply(e); err != nil {
			return fmt.Errorf("position %d: %w", e.Position, err)
		}
		c.version, c.head = e.StreamPosition, e.ID
		noteRetry(requests, &e)
		c.reacted = max(c.reacted, c.endOf(&e))
	}
	return nil
}

// endOf returns the position of the event that the agent had dealt with when
// it journaled e, 0 if e says nothing of the kind. An agent deals with events
// in the order of the journal, so all earlier ones were dealt with too.
func (c *cell) endOf(e *events.Event) uint64 {
	if len(c.b.patterns) == 0 || e.Trigger.IsZero() {
		return 0
	}
	for _, p := range e.Parents {
		if p.ID == e.Trigger && (e.Kind == kindParked || e.ID == events.EmittedID(p.Digest, c.name, 0)) {
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
	if len(c.b.patterns) > 0 {
		c.sys.bus.retire(c, nil)
	}
	c.sys.terminated(Termination{Agent: c.name, Reason: text})
}
