package actors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tokaworks/toka/journal"
)

// pending is a write that is on its way to the disk, and what waits for it.
type pending struct {
	messages []*message
	release  []func() // replies and sends, in order
}

// finish ends a message that journals nothing.
func (c *cell) finish(m *message, out Outcome, err error) {
	if c.clean.Load() {
		m.kept = false
		m.answer(out, err)
		c.done(m)
		return
	}
	c.settle(m, func() { m.answer(out, err) })
}

// settle runs release, and is done with m, once everything that was decided so
// far is durable.
func (c *cell) settle(m *message, release func()) {
	c.mu.Lock()
	switch n := len(c.pending); {
	case c.lost != nil:
		lost := c.lost
		c.mu.Unlock()
		c.leave(m, lost)
	case c.dirty:
		// What the answer rests on was refused after the turn began.
		c.postpone(m)
		c.mu.Unlock()
	case n > 0:
		p := c.pending[n-1]
		p.messages = append(p.messages, m)
		p.release = append(p.release, func() { release(); c.done(m) })
		c.mu.Unlock()
	default:
		c.mu.Unlock()
		release()
		c.done(m)
	}
}

// leave ends a message that was not dealt with. An event is still to be dealt
// with when the agent lives again: neither its own checkpoint nor the bus's
// may pass it.
func (c *cell) leave(m *message, err error) { m.answer(Outcome{}, err) }

// done is the end of a message that was dealt with.
func (c *cell) done(m *message) {
	if m.kind != kindQuery && !c.well.Load() {
		c.well.Store(true)
	}
	if m.kind == kindEvent && m.event.Position > c.handled.Load() {
		c.handled.Store(m.event.Position)
	}
}

// enqueue notes a write as pending before it goes to the journal. It fails,
// and sees to the messages, if what the write rests on was refused meanwhile.
func (c *cell) enqueue(p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		for _, m := range p.messages {
			c.leave(m, c.lost)
		}
		return false
	}
	if c.dirty {
		c.postpone(p.messages...)
		return false
	}
	c.pending = append(c.pending, p)
	c.clean.Store(false)
	c.sys.busy(1)
	return true
}

// noteClean sets clean; c.mu is held.
func (c *cell) noteClean() { c.clean.Store(len(c.pending) == 0 && !c.dirty && c.lost == nil) }

// postpone keeps messages to be decided again, behind those of the writes that
// are still to be refused; c.mu is held.
func (c *cell) postpone(ms ...*message) {
	if n := len(c.pending); n > 0 {
		c.pending[n-1].messages = append(c.pending[n-1].messages, ms...)
		return
	}
	c.refused = append(c.refused, ms...)
}

// dequeue takes back a write that the journal refused at the door.
func (c *cell) dequeue() {
	c.mu.Lock()
	c.pending = c.pending[:len(c.pending)-1]
	c.noteClean()
	c.mu.Unlock()
	c.sys.busy(-1)
}

// whenQuiet calls f once no write is pending, on whatever goroutine it is.
func (c *cell) whenQuiet(f func()) {
	c.mu.Lock()
	if len(c.pending) > 0 {
		c.quiet = append(c.quiet, f)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// settled is the journal's answer to a pending write. A refused write takes
// all that came after it along: they rest on it, and the journal refuses them
// too (see journal.VersionAt).
func (c *cell) settled(p *pending, err error, release func()) {
	c.mu.Lock()
	if c.pending[0] == p {
		c.pending = c.pending[1:]
	} else {
		// The answer to an older one waits for its intent, or a failing journal
		// answers from several goroutines.
		i := slices.Index(c.pending, p)
		c.pending = slices.Delete(slices.Clone(c.pending), i, i+1)
	}
	if err != nil && !c.dirty {
		c.dirty = true
		m := p.messages[0]
		if !errors.Is(err, journal.ErrWrongVersion) {
			m.fault = err
		} else if m.attempts++; m.attempts > maxDecisions {
			m.fault = fmt.Errorf("%w: decided %d times, each time too late", ErrContended, m.attempts)
		}
	}
	if errors.Is(err, journal.ErrFatal) && c.lost == nil {
		c.lost = fmt.Errorf("agent %q: %w", c.name, err)
	}
	good := !c.dirty
	if !good {
		c.refused = append(c.refused, p.messages...)
	}
	waiting := p.release
	var orphans []*message
	lost := c.lost
	if lost != nil {
		orphans, c.refused = c.refused, nil
	}
	var quiet []func()
	c.noteClean()
	if len(c.pending) == 0 {
		c.pending = nil
		quiet, c.quiet = c.quiet, nil
		if c.dirty && lost == nil {
			quiet = append(quiet, func() { c.control(c.reload) })
		}
	}
	c.mu.Unlock()
	if good {
		release()
		for _, f := range waiting {
			f()
		}
	}
	for _, m := range orphans {
		c.leave(m, lost)
	}
	for _, f := range quiet {
		f()
	}
	c.sys.busy(-1)
}

// maxDecisions bounds how often one command is decided again because somebody
// else wrote to the stream.
const maxDecisions = 8

// reload forgets the state in memory and puts what was decided on a world that
// is not in front of everything else, to be decided again on the stream as it
// is. A command that cannot be helped by that ends here.
func (c *cell) reload() {
	c.mu.Lock()
	ms := c.refused
	c.refused, c.dirty = nil, false
	c.noteClean()
	c.mu.Unlock()
	c.recovered = false
	var again []*message
	for _, m := range ms {
		if m.kind == kindEvent && errors.Is(m.fault, ErrContended) {
			m.fault, m.attempts = nil, 0
			c.holdOff()
		}
		if m.fault != nil && m.kind == kindCommand {
			m.answer(Outcome{}, fmt.Errorf("agent %q: command %s: %w", c.name, m.id, m.fault))
			c.done(m)
			continue
		}
		again = append(again, m)
	}
	c.unstash()
	c.backlog = append(again, c.backlog...)
}

// holdOff lets the others write for a moment. An event has no caller to be
// told that the stream is contended, and it is nobody's failure.
func (c *cell) holdOff() {
	c.box.gate(true)
	c.sys.after(c.sys.opts.Supervision.Backoff.Delay(1, c.sys.random()), func() {
		c.control(func() { c.box.gate(false) })
	})
}
