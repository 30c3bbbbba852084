package consumer

import (
	"context"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A consumer that selects by intent has a reader of its own: intents come later
// than events, so the reader of the set, and the checkpoint that says how far that
// one came, cannot speak for it.

// byIntent says that the consumer has a reader of its own.
func (c *Consumer) byIntent() bool { return !c.config.Query.Intent.IsZero() }

// end is up to where it is known what the consumer selects.
func (c *Consumer) end() uint64 {
	if c.byIntent() {
		return c.set.j.IntentPosition()
	}
	return c.set.j.Position()
}

// offered is up to where the consumer was told of events. The caller holds mu.
func (c *Consumer) offered() uint64 {
	if c.byIntent() {
		return c.at
	}
	return c.set.at
}

// begin starts the consumer's own reader. The caller holds the set's mu.
func (c *Consumer) begin() {
	ctx, stop := context.WithCancel(c.set.ctx)
	c.stop = stop
	c.at = c.end()
	q := c.config.Query
	q.After = max(q.After, c.at)
	c.set.done.Go(func() {
		defer stop()
		c.follow(ctx, q)
	})
}

// follow tells the consumer what there is for it, as the set's reader does.
func (c *Consumer) follow(ctx context.Context, q journal.Query) {
	for step, err := range c.set.j.Follow(ctx, q) {
		c.set.mu.Lock()
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case err != nil:
			c.set.fail(err)
		default:
			c.offer(&step)
		}
		c.set.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *Consumer) offer(step *journal.Step) {
	c.at = max(c.at, step.Position)
	if e := &step.Event; e.Position > c.read && c.next == 0 && c.wants(e) {
		c.next = e.Position
		c.broadcast()
	}
	if c.next == 0 && c.read >= c.known && c.at > c.read { // nobody is reading
		c.read = c.at
		if c.read-c.storedRead >= saveEvery {
			c.mark()
		}
	}
}

// embedsLater says that e gave another event its embedding: to who selects by
// meaning or by intent it stands for that one.
func embedsLater(e *events.Event) bool {
	return e.Stream == journal.StreamIntents && e.Kind == journal.KindIntentEmbedded
}
