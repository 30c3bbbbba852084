package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// command decides on a command.
func (c *cell) command(m *message) {
	// One that failed asks again: meanwhile the same id may have come from
	// another sender, and be on its way or done.
	if m.given && m.retry.ID.IsZero() {
		if c.deferred(m) {
			return
		}
		if out, seen, err := c.seen(m); seen || err != nil {
			c.finish(m, out, err)
			return
		}
	}
	if !m.retry.ID.IsZero() {
		c.retrying[m.retry.ID] = true
	}
	t := c.sc.turn()
	if t.c != c {
		t.agent, t.b, t.c = c.name, c.b, c
	}
	t.correlation, t.m = m.correlation, m
	if !m.recorded.ID.IsZero() {
		// A command that was journaled because it failed is decided again at
		// the time that was recorded with it.
		t.about, t.now = m.recorded, m.at
	}
	trace, err := c.run(t, m)
	if t.effects != nil && trace == "" {
		if w := t.effects.wanted; w != nil {
			m.at, c.sc.t = t.Now(), nil
			c.perform(m, w)
			return
		}
		if err == nil && t.err == nil {
			t.err = t.effects.ended(c.name)
		}
	}
	if trace == "" && t.stash {
		c.stashed(m)
		return
	}
	if trace == "" && t.unstash {
		c.unstash()
	}
	if len(t.emitted)+len(t.timers)+len(t.sends) == 0 && trace == "" && m.retry.ID.IsZero() && !m.always && !m.begun {
		if err == nil {
			err = t.err
		}
		c.nothing(m, t, err)
		return
	}
	c.sc.t = nil // what comes of it outlives the turn
	m.at = t.now
	if trace != "" {
		c.fail(m, err.Error(), trace)
		return
	}
	if err == nil {
		err = t.err
	}
	if err != nil {
		if r, ok := errors.AsType[*rejection](err); ok {
			if m.begun {
				c.ended(m, &Turn{}, err)
				return
			}
			if !m.retry.ID.IsZero() {
				c.runner.stay()
				c.write(m, &Turn{}, []events.Draft{c.unparked(m)}, nil, func(journal.Receipt) {})
				return
			}
			err = r.error
		} else if m.begun {
			c.fail(m, err.Error(), "")
			return
		} else {
			err = fmt.Errorf("agent %q: command: %w", c.name, err)
		}
		c.finish(m, Outcome{}, err)
		return
	}
	if len(t.emitted) == 0 && m.begun {
		c.ended(m, t, nil)
		return
	}
	// A command that only sends others is recorded all the same: it is their
	// cause.
	if len(t.emitted)+len(t.timers) == 0 && m.retry.ID.IsZero() && (len(t.sends) == 0 && !m.always || !m.recorded.ID.IsZero()) {
		c.settle(m, func() { m.answer(Outcome{}, nil); c.sendAll(t.sends) })
		return
	}
	drafts := t.emitted
	skip := 0
	if m.recorded.ID.IsZero() {
		if _, err := t.cause(); err != nil {
			c.finish(m, Outcome{}, fmt.Errorf("agent %q: command: %w", c.name, err))
			return
		}
		drafts, skip = append([]events.Draft{*t.draft}, drafts...), 1
	}
	if !m.retry.ID.IsZero() {
		drafts = append(drafts, c.unparked(m))
	}
	c.write(m, t, drafts, nil, func(r journal.Receipt) { m.answer(Outcome{Events: r.Events[skip : skip+len(t.emitted)]}, nil) })
}

// nothing ends a command that caused nothing, and sees to it that the next one
// can use its turn.
func (c *cell) nothing(m *message, t *Turn, err error) {
	if err != nil {
		if r, ok := errors.AsType[*rejection](err); ok {
			err = r.error
		} else {
			err = fmt.Errorf("agent %q: command: %w", c.name, err)
		}
	}
	t.reuse()
	c.finish(m, Outcome{}, err)
}

// commandDraft is the event that a command becomes when it causes others. Its
// time is the time at which it was decided, so that a replay decides at the
// same time.
func (c *cell) commandDraft(m *message, now time.Time) (events.Draft, error) {
	if err := c.encode(m); err != nil {
		return events.Draft{}, err
	}
	if m.id.IsZero() {
		m.id = c.sys.opts.NewID()
	}
	d := m.encoded
	d.ID, d.Stream, d.Kind, d.Time = m.id, c.name, commandPrefix+d.Kind, now
	d.Correlation = m.correlation
	var err error
	d.Parents, err = c.sys.resolve(m.causes)
	// Signed here and not only when it is written: what the command causes
	// commits to its digest.
	ds := []events.Draft{d}
	c.sign(ds)
	return ds[0], err
}

// encode sees to it that a command is encoded.
func (c *cell) encode(m *message) (err error) {
	if m.encoded.Kind == "" {
		m.encoded, err = c.runner.encode(m.command)
	}
	return err
}

// deferred makes a command wait for an earlier one with the same id that is
// still on its way to the disk.
func (c *cell) deferred(m *message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pending {
		if first := p.messages[0]; first.kind == kindCommand && first.id == m.id {
			p.messages = append(p.messages, m)
			p.release = append(p.release, func() { c.force(m) })
			return true
		}
	}
	return false
}

// seen looks a command id up and gathers its first outcome.
func (c *cell) seen(m *message) (out Outcome, seen bool, err error) {
	ctx := context.Background()
	e, err := c.sys.j.ByID(ctx, m.id)
	if errors.Is(err, journal.ErrNotFound) {
		return Outcome{}, false, nil
	}
	if err != nil {
		return Outcome{}, false, err
	}
	if kind, ok := commandKind(e.Kind); !ok || e.Stream != c.name || kind != m.encoded.Kind || e.PayloadDigest != events.PayloadDigest(m.encoded.Payload) {
		return Outcome{}, true, fmt.Errorf("agent %q: command id %s: %w: it is %s in stream %q", c.name, m.id, journal.ErrIDConflict, describe(&e), e.Stream)
	}
	var parked error
	unparked, failed := false, false
	for next, err := range c.sys.j.ReadStream(ctx, c.name, e.StreamPosition) {
		if err != nil {
			return Outcome{}, true, err
		}
		switch {
		case next.Trigger == e.ID && next.Kind == kindParked:
			var p failurePayload
			_ = json.Unmarshal(next.Payload, &p) // it is our own; what is missing is only missing
			parked = &FailedError{Agent: c.name, Event: next.ID, Attempts: p.Attempt, Reason: p.Reason}
			continue
		case next.Trigger == e.ID && (next.Kind == kindFailed || next.Kind == kindEffectStarted):
			failed = true
			m.begun = m.begun || next.Kind == kindEffectStarted
			continue
		case next.Trigger == e.ID && next.Kind == kindEffectEnded:
			var p effectPayload
			_ = json.Unmarshal(next.Payload, &p) // none if it was not rejected
			if p.Reason != "" {
				return Outcome{}, true, fmt.Errorf("agent %q: command %s was rejected: %s", c.name, m.id, p.Reason)
			}
			return Outcome{Duplicate: true}, true, nil
		case next.Trigger == e.ID && !events.SystemKind(next.Kind):
			parked = nil
			out.Events = append(out.Events, next)
			continue
		case next.Kind == kindUnparked && slices.ContainsFunc(next.Parents, func(p events.Ref) bool { return p.ID == e.ID }):
			parked, unparked = nil, true
		}
		if len(out.Events) > 0 {
			break
		}
	}
	if parked != nil {
		return Outcome{}, true, parked
	}
	if (unparked || m.always && !failed) && len(out.Events) == 0 {
		return Outcome{Duplicate: true}, true, nil
	}
	if len(out.Events) == 0 {
		// It was journaled because it failed, and nothing came of it yet: it is
		// decided as it was recorded.
		m.recorded, m.at, m.correlation, m.command = e.Ref(), e.Time, e.Correlation, nil
		m.encoded = events.Draft{Kind: m.encoded.Kind, SchemaVersion: e.SchemaVersion, ContentType: e.ContentType, Payload: e.Payload}
		return Outcome{}, false, nil
	}
	out.Duplicate = true
	return out, true, nil
}

// react hands an event to an agent.
func (c *cell) react(m *message) {
	if m.event.Position <= c.reacted && m.retry.ID.IsZero() {
		// Its checkpoint is gone, but the stream itself says that the agent
		// has dealt with this event or a later one.
		c.settle(m, func() {})
		return
	}
	if !m.retry.ID.IsZero() {
		c.retrying[m.retry.ID] = true
	}
	ref := m.event.Ref()
	t := &Turn{
		agent: c.name, b: c.b, now: m.event.RecordTime, correlation: m.event.Correlation, about: ref, effects: c.effects(m),
	}
	trace, err := c.run(t, m)
	if w := t.effects.wanted; w != nil {
		c.perform(m, w)
		return
	}
	if err == nil {
		err = t.err
	}
	if err == nil {
		err = t.effects.ended(c.name)
	}
	if err != nil {
		c.fail(m, err.Error(), trace)
		return
	}
	switch {
	case !m.retry.ID.IsZero():
		// How far the agent has come was stored when the event was parked.
		c.write(m, t, append(t.emitted, c.unparked(m)), nil, func(journal.Receipt) {})
	case len(t.emitted)+len(t.timers) == 0:
		c.settle(m, func() { c.sendAll(t.sends) })
	default:
		c.write(m, t, t.emitted, []journal.Checkpoint{c.checkpoint(m.event.Position)}, func(journal.Receipt) {})
	}
}

// describe says what stands under the id of a command.
func describe(e *events.Event) string {
	if _, ok := commandKind(e.Kind); ok {
		return e.Kind + " with another payload, or of another actor,"
	}
	return e.Kind
}

// checkpoint says that the agent has dealt with everything up to a position.
func (c *cell) checkpoint(position uint64) journal.Checkpoint {
	cp := journal.Checkpoint{Name: checkpointName(c.name), Position: position}
	if c.spokenFor {
		cp.Via = c.sys.bus.checkpoint
	}
	return cp
}

func checkpointName(agent string) string { return agent }

// run calls the handler. A panic comes back as an error with a stack; turn
// sees to a Goexit.
func (c *cell) run(t *Turn, m *message) (trace string, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case abandoned:
			err = t.err
		default:
			trace, err = stack(), fmt.Errorf("panic: %v", p)
		}
	}()
	return "", c.runner.decide(t, m)
}

// write hands what a turn decided to the journal and goes on without waiting.
func (c *cell) write(m *message, t *Turn, drafts []events.Draft, cps []journal.Checkpoint, reply func(journal.Receipt)) {
	c.sign(drafts)
	w := journal.Write{
		Events: append(drafts, t.timers...), Checkpoints: cps, Authority: authority.System(),
		Expect: map[string]journal.Expected{c.name: c.expect()},
	}
	version := c.version + uint64(len(drafts))
	if every := c.sys.opts.DigestEvery; version/every > c.version/every {
		if d, err := c.stateDigest(c.runner.next, version); err == nil {
			w.StateDigests = []journal.StateDigest{d}
		}
	}
	if m.kind == kindEvent && len(drafts) > 0 {
		c.reacted = max(c.reacted, m.event.Position)
	}
	if !m.retry.ID.IsZero() {
		c.retrying[m.retry.ID] = false
	}
	var snap *journal.Snapshot
	if n := len(drafts); n > 0 && c.isDue(version) {
		if snap = c.snapshot(c.runner.next, version, drafts[n-1].ID); snap != nil {
			c.pictured = version
		}
	}
	p := &pending{messages: []*message{m}}
	if !c.enqueue(p) {
		return
	}
	err := c.sys.j.Submit(c.sys.ctx, w, func(r journal.Receipt, err error) {
		c.settled(p, err, func() {
			c.sys.keepSnapshot(snap, nil)
			if len(t.timers) > 0 {
				c.sys.timers.note(r.Events)
			}
			reply(r)
			c.sendAll(t.sends)
			c.done(m)
		})
	})
	if err != nil {
		c.dequeue()
		switch down := errors.Is(err, journal.ErrFatal) || errors.Is(err, journal.ErrClosed) || c.sys.ctx.Err() != nil; {
		case m.kind == kindEvent && down:
			c.leave(m, err)
			return
		case m.kind == kindEvent:
			c.fail(m, err.Error(), "")
			return
		}
		c.finish(m, Outcome{}, fmt.Errorf("agent %q: %w", c.name, err))
		return
	}
	c.runner.commit()
	if n := len(drafts); n > 0 {
		c.version, c.head, c.begun = version, drafts[n-1].ID, true
	}
}

// expect pins the stream to the very event that the state rests on.
func (c *cell) expect() journal.Expected {
	if c.version == 0 {
		return journal.NoStream()
	}
	return journal.VersionAt(c.version, c.head)
}

// sign puts behaviour and version on the first event that the actor journals.
func (c *cell) sign(drafts []events.Draft) {
	if c.begun || c.b.name == RecorderName || len(drafts) == 0 {
		return
	}
	d := &drafts[0]
	ext := map[string]string{events.ExtBehaviour: c.b.key()}
	maps.Copy(ext, d.Extensions)
	d.Extensions = ext
}

func (c *cell) sendAll(sends []send) {
	for _, s := range sends {
		to, err := s.to(c.sys)
		if err != nil {
			c.sys.log.Warn("a command could not be sent", "agent", c.name, "err", err)
			continue
		}
		s.message.kept = true
		to.force(s.message)
	}
}

// record journals a draft as it is: the recorder's whole behaviour. It decides
// nothing, so a refusal concerns nobody else.
func (c *cell) record(m *message) {
	m.encoded.Stream = c.name
	p := &pending{messages: []*message{m}}
	if !c.enqueue(p) {
		return
	}
	err := c.sys.j.Submit(c.sys.ctx, journal.Write{Events: []events.Draft{m.encoded}}, func(r journal.Receipt, err error) {
		refusal := err
		if errors.Is(err, journal.ErrFatal) {
			refusal = nil
		} else {
			err = nil
		}
		c.settled(p, err, func() {
			m.answer(Outcome{Events: r.Events, Duplicate: r.Duplicate}, refusal)
			c.done(m)
		})
	})
	if err != nil {
		c.dequeue()
		c.finish(m, Outcome{}, err)
	}
	if m.submitted != nil {
		m.submitted(err)
	}
}

// stateDigest computes the digest of a state after the event at version.
func (c *cell) stateDigest(encode func() ([]byte, error), version uint64) (d journal.StateDigest, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	b, err := encode()
	if err != nil {
		return d, err
	}
	return journal.StateDigest{Stream: c.name, StreamPosition: version, Digest: StateDigest(b)}, nil
}

// StateDigest returns the digest under which an encoded state is recorded and
// compared.
func StateDigest(encoded []byte) events.Digest { return events.PayloadDigest(encoded) }
