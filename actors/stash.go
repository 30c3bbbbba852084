package actors

import "fmt"

// Stash puts the command in hand aside, to be decided when Unstash was called;
// whoever asked it waits until then. It is for a resource that cannot say yet
// what is to come of a command. What the turn decided otherwise is discarded,
// the error that Decide returns with it too.
//
// The stash is no part of the state: a new state keeps it, and so does a
// failure, after which, as whenever the state is read anew from the stream, the
// commands in it come again by themselves. It is not journaled either: when the
// actor is stopped or given up, its commands become dead letters and their
// senders are told. It holds at most Options.Stash commands; the next one gets
// ErrStashFull and becomes a dead letter.
//
// Stash panics in a reaction: an agent deals with events in the order of the
// journal. What it has to come back to belongs in its state, or into a timer.
func (t *Turn) Stash() {
	if t.m == nil || t.m.kind != kindCommand {
		panic("actors: Stash: only commands can be stashed")
	}
	t.stash = true
}

// Unstash has all stashed commands decided again, in the order in which they
// were stashed, behind the command in hand and in front of all others. In a
// turn that stashes it does nothing.
func (t *Turn) Unstash() { t.unstash = true }

// stashed sees to a command that was stashed.
func (c *cell) stashed(m *message) {
	c.sc.t = nil
	if most := c.sys.opts.Stash; len(c.stash) >= most {
		if c.sc.m == m { // a dead letter is encoded
			c.sc.m = nil
		}
		c.sys.dead(c, &slot{m: m}, "the stash was full")
		c.finish(m, Outcome{}, fmt.Errorf("agent %q: %w (%d commands); the command was not decided", c.name, ErrStashFull, most))
		return
	}
	c.stash = append(c.stash, m)
	c.aside.Store(int32(len(c.stash)))
}

// unstash has the stashed commands come next.
func (c *cell) unstash() {
	if len(c.stash) > 0 {
		c.backlog = append(c.stash, c.backlog...)
		c.stash = nil
		c.aside.Store(0)
	}
}

// spill makes dead letters of the stash.
func (c *cell) spill(reason string, err error) {
	left := c.stash
	c.stash = nil
	c.aside.Store(0)
	for _, m := range left {
		c.sys.dead(c, &slot{m: m}, reason)
		m.answer(Outcome{}, err)
	}
}
