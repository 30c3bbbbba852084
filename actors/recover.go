package actors

import (
	"context"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// recover folds the stream. It runs on a turn; the messages behind it wait.
func (c *cell) recover() {
	c.sys.recovering <- struct{}{}
	defer func() { <-c.sys.recovering }()
	if err := c.fold(); err != nil {
		c.giveUp(fmt.Errorf("agent %q: recover: %w", c.name, err))
		return
	}
	c.recovered = true
}

func (c *cell) fold() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	c.runner.reset()
	c.version, c.head, c.begun = 0, events.ID{}, false
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
	}
	return nil
}

// giveUp ends the actor: every message from now on gets err.
func (c *cell) giveUp(err error) {
	c.failure = err
	text := err.Error()
	c.lastFailure.Store(&text)
	c.sys.log.Error("agent is given up", "agent", c.name, "err", err)
}
