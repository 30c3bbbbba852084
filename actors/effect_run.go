package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// Kinds and extensions of the events that effects become, in the agent's own
// stream. The payload of a result is the result itself.
const (
	kindEffectStarted = "toka.effect.started"
	kindEffectDone    = "toka.effect.done"
	kindEffectFailed  = "toka.effect.failed"
	kindEffectEnded   = "toka.effect.ended"

	extEffect  = "tokaeffect"  // the name
	extOrdinal = "tokaordinal" // which effect of its reaction, from 0
)

// effectPayload is the payload of a failed effect.
type effectPayload struct {
	Reason   string `json:"reason"`
	Attempts int    `json:"attempts"`
	InDoubt  bool   `json:"in_doubt,omitempty"`
}

func (p effectPayload) encode() []byte {
	p.Reason = p.Reason[:min(len(p.Reason), maxReason)]
	b, err := json.Marshal(p)
	if err != nil {
		return []byte(`{}`)
	}
	return b
}

// effectID is the id of the result of an effect: there can be only one.
func effectID(cause events.Digest, agent string, ordinal uint32) events.ID {
	return events.EmittedID(cause, agent+"#effect", ordinal)
}

// recordedEffect looks up what is on record of an effect.
func recordedEffect(ctx context.Context, j *journal.Journal, cause events.Digest, agent string, ordinal uint32) (rec effectRecord, ok bool, err error) {
	e, err := j.ByID(ctx, effectID(cause, agent, ordinal))
	if errors.Is(err, journal.ErrNotFound) {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, err
	}
	rec.name = e.Extensions[extEffect]
	if e.Kind != kindEffectFailed {
		rec.result = e.Payload
		return rec, true, nil
	}
	var p effectPayload
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return rec, false, fmt.Errorf("event %s: %w", e.ID, err)
	}
	rec.failed = &EffectError{Agent: agent, Effect: rec.name, Attempts: p.Attempts, InDoubt: p.InDoubt, Reason: p.Reason}
	return rec, true, nil
}

// effects lets a reaction know what is on record for it; what was looked up
// once is kept with the message.
func (c *cell) effects(m *message) *effects {
	return &effects{lookup: func(n uint32) (effectRecord, bool, error) {
		if int(n) < len(m.effects) {
			return m.effects[n], true, nil
		}
		cause := m.cause()
		if cause.ID.IsZero() {
			return effectRecord{}, false, nil
		}
		rec, ok, err := recordedEffect(c.sys.ctx, c.sys.j, cause.Digest, c.name, n)
		if ok && int(n) == len(m.effects) {
			m.effects = append(m.effects, rec)
		}
		return rec, ok, err
	}}
}

// perform sees to an effect that a reaction was abandoned for. The actor
// pauses with the event in front of everything else; when the result is on
// record, it reacts again.
func (c *cell) perform(m *message, w *effectRequest) {
	c.box.gate(true)
	c.backlog = append([]*message{m}, c.backlog...)
	resume := func() { c.control(func() { c.box.gate(false) }) }
	c.whenQuiet(func() {
		c.control(func() {
			c.mu.Lock()
			dirty := c.dirty || c.lost != nil
			c.mu.Unlock()
			if dirty || !c.recovered {
				resume() // what the reaction rested on is not so: it reacts anew
				return
			}
			c.launch(m, w, resume)
		})
	})
}

// launch announces the call where the policy needs that, and makes it.
func (c *cell) launch(m *message, w *effectRequest, resume func()) {
	run := func() {
		c.sys.spin(func() {
			d, ok := c.sys.callEffect(c, m, w)
			switch {
			case !ok: // the system is let go, and the event with it
			case d.Kind == "":
				c.control(func() { c.askAbout(m, w, "it outlived its deadline and did not come back") })
			default:
				c.control(func() { c.noteEffects([]events.Draft{d}, resume, func(err error) { c.pausedFail(m, err) }) })
			}
		})
	}
	failed := func(err error) { c.pausedFail(m, err) }
	if m.cause().ID.IsZero() {
		c.begin(m, w, run, failed)
		return
	}
	if w.policy.InDoubt == RetryInDoubt {
		run()
		return
	}
	basis := m.cause().Digest
	if !m.retry.ID.IsZero() {
		basis = m.retry.Digest // somebody has said that it may be called again
	}
	started := events.EmittedID(basis, c.name+"#started", w.ordinal)
	switch _, err := c.sys.j.ByID(c.sys.ctx, started); {
	case err == nil:
		const reason = "the process ended after it was called and before a result was on record"
		if w.policy.InDoubt == AskInDoubt {
			c.askAbout(m, w, reason)
			return
		}
		d := c.effectDraft(m, w, kindEffectFailed, effectPayload{Reason: reason, InDoubt: true}.encode())
		c.noteEffects([]events.Draft{d}, resume, failed)
	case errors.Is(err, journal.ErrNotFound):
		d := c.effectDraft(m, w, kindEffectStarted, nil)
		d.ID = started
		c.noteEffects([]events.Draft{d}, run, failed)
	default:
		c.pausedFail(m, fmt.Errorf("effect %q: %w", w.name, err))
	}
}

// begin journals a command of which an effect is wanted, and that it is: so it
// is known to be unfinished until something follows.
func (c *cell) begin(m *message, w *effectRequest, run func(), failed func(error)) {
	d, err := c.commandDraft(m, m.at)
	if err != nil {
		failed(err)
		return
	}
	e, err := d.Seal(m.id, d.Parents)
	if err != nil {
		failed(err)
		return
	}
	started := effectEvent(e.Ref(), m.correlation, c.name, w.name, w.ordinal, kindEffectStarted, nil)
	started.ID, started.Time = events.EmittedID(e.Digest, c.name+"#started", w.ordinal), m.at
	c.noteEffects([]events.Draft{d, started}, func() {
		m.recorded, m.begun = e.Ref(), true
		run()
	}, failed)
}

// ended journals that a command that had effects came to nothing, or was
// rejected, before that is answered.
func (c *cell) ended(m *message, t *Turn, rejected error) {
	var reason string
	answer := rejected
	if r, ok := errors.AsType[*rejection](rejected); ok {
		reason, answer = r.Error(), r.error
	}
	d := events.Draft{
		ID: events.EmittedID(m.recorded.Digest, c.name+"#ended", 0), Stream: c.name, Kind: kindEffectEnded, SchemaVersion: 1,
		Time: m.at, Parents: []events.Ref{m.recorded}, Trigger: m.recorded.ID, Correlation: m.correlation,
	}
	if reason != "" {
		d.ContentType, d.Payload = events.ContentTypeJSON, effectPayload{Reason: reason}.encode()
	}
	c.runner.stay()
	c.write(m, t, []events.Draft{d}, nil, func(journal.Receipt) { m.answer(Outcome{}, answer) })
}

// noteStarted keeps track, while the stream is folded, of commands whose
// effects have begun and of which nothing else has come yet.
func noteStarted(open map[events.ID]uint64, b *behaviour, e *events.Event) {
	switch {
	case len(b.patterns) > 0 || e.Trigger.IsZero() || e.Kind == kindFailed:
	case e.Kind == kindEffectStarted || e.Kind == kindEffectDone || e.Kind == kindEffectFailed:
		open[e.Trigger] = e.Position
	default:
		delete(open, e.Trigger)
	}
}

// finishAll has commands whose effects had begun when their actor ended decided
// to their end. To whoever asked them it makes no difference.
func (c *cell) finishAll(open map[events.ID]uint64) {
	for _, id := range slices.SortedFunc(maps.Keys(open), func(a, b events.ID) int { return cmp.Compare(open[a], open[b]) }) {
		e, err := c.sys.j.ByID(c.sys.ctx, id)
		kind, ok := commandKind(e.Kind)
		if err != nil || !ok || e.Stream != c.name {
			c.sys.log.Error("a command whose effects had begun cannot be found", "agent", c.name, "command", id, "err", err)
			continue
		}
		c.backlog = append(c.backlog, &message{
			kind: kindCommand, id: id, given: true, begun: true, correlation: e.Correlation,
			encoded: events.Draft{Kind: kind, SchemaVersion: e.SchemaVersion, ContentType: e.ContentType, Payload: e.Payload},
		})
	}
}

// effectDraft is an event about an effect, caused by the event in hand.
func (c *cell) effectDraft(m *message, w *effectRequest, kind string, payload []byte) events.Draft {
	correlation := m.correlation
	if m.kind == kindEvent {
		correlation = m.event.Correlation
	}
	d := effectEvent(m.cause(), correlation, c.name, w.name, w.ordinal, kind, payload)
	d.Time = c.sys.now()
	return d
}

func effectEvent(ref events.Ref, correlation, agent, name string, ordinal uint32, kind string, payload []byte) events.Draft {
	d := events.Draft{
		ID: effectID(ref.Digest, agent, ordinal), Stream: agent, Kind: kind, SchemaVersion: 1,
		Payload: payload, Parents: []events.Ref{ref}, Trigger: ref.ID, Correlation: correlation,
		Extensions: map[string]string{extEffect: name, extOrdinal: strconv.FormatUint(uint64(ordinal), 10)},
	}
	if payload != nil {
		d.ContentType = events.ContentTypeJSON
	}
	return d
}

// noteEffects journals events about an effect and calls then when they are
// durable, on whatever goroutine that is. The actor is paused, so nothing else
// of its own is on its way.
func (c *cell) noteEffects(ds []events.Draft, then func(), refused func(error)) {
	c.sign(ds)
	err := c.sys.j.Submit(c.sys.ctx, journal.Write{Events: ds, Authority: authority.System()}, func(r journal.Receipt, err error) {
		c.control(func() {
			switch {
			case errors.Is(err, journal.ErrIDConflict):
				// Another result is on record: it counts.
			case err != nil:
				refused(err)
				return
			case !r.Duplicate && r.Events[0].StreamPosition == c.version+1:
				c.version, c.head, c.begun = c.version+uint64(len(ds)), ds[len(ds)-1].ID, true
			default:
				c.recovered = false
			}
			then()
		})
	})
	if err != nil {
		refused(err)
	}
}

// pausedFail is fail for a message that already waits in the backlog.
func (c *cell) pausedFail(m *message, err error) {
	c.drop(m)
	c.fail(m, err.Error(), "")
}

// askAbout parks the event in hand until a person says what became of an
// effect.
func (c *cell) askAbout(m *message, w *effectRequest, why string) {
	c.drop(m)
	m.doubt = &effectDoubt{Name: w.name, Ordinal: w.ordinal, Key: events.EffectKey(m.cause().Digest, c.name, w.name, w.ordinal)}
	reason := fmt.Sprintf("effect %q is in doubt: %s", w.name, why)
	c.carryOut(m, supervisor.Directive{Action: supervisor.Park, Attempt: 1, Reason: reason}, reason, "")
}

// callEffect makes the call as its policy says and returns the event that its
// result becomes, without a kind if a person has to be asked. It answers false
// if the system was let go meanwhile.
func (s *System) callEffect(c *cell, m *message, w *effectRequest) (d events.Draft, ok bool) {
	select {
	case s.calling <- struct{}{}:
		defer func() { <-s.calling }()
	case <-s.ctx.Done():
		return d, false
	}
	p := w.policy.withDefaults()
	call := EffectCall{
		Agent: c.name, Name: w.name, Cause: m.cause().ID,
		Key: events.EffectKey(m.cause().Digest, c.name, w.name, w.ordinal),
	}
	if s.opts.OnProgress != nil {
		call.progress = func(v any) {
			s.opts.OnProgress(Progress{Agent: c.name, Effect: w.name, Cause: call.Cause, Attempt: call.Attempt, Value: v})
		}
	}
	for call.Attempt = 1; ; call.Attempt++ {
		result, err := s.attempt(call, p.Deadline, w.call)
		if s.ctx.Err() != nil {
			return d, false
		}
		if err == nil {
			return c.effectDraft(m, w, kindEffectDone, result), true
		}
		doubt := errors.Is(err, errNoReturn)
		_, final := errors.AsType[*finalError](err)
		s.log.Warn("effect failed", "agent", c.name, "effect", w.name, "attempt", call.Attempt, "err", err)
		switch {
		case doubt && p.InDoubt == AskInDoubt:
			return events.Draft{}, true
		case final, doubt && p.InDoubt == FailInDoubt, call.Attempt >= p.Attempts:
			failed := effectPayload{Reason: err.Error(), Attempts: call.Attempt, InDoubt: doubt}
			return c.effectDraft(m, w, kindEffectFailed, failed.encode()), true
		}
		if !s.pause(p.Backoff.Delay(call.Attempt, s.random())) {
			return d, false
		}
	}
}

// maxReason bounds what is journaled of an error's words.
const maxReason = 16 << 10

// errNoReturn is the end of a call that outlived its deadline.
var errNoReturn = errors.New("it outlived its deadline and did not return")

// attempt makes one call on a goroutine of its own, which may never end.
func (s *System) attempt(call EffectCall, deadline time.Duration, f func(context.Context, EffectCall) ([]byte, error)) ([]byte, error) {
	type outcome struct {
		result []byte
		err    error
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	defer s.opts.AfterFunc(deadline, func() { cancel(context.DeadlineExceeded) })()
	done := make(chan outcome, 1)
	go func() {
		out := outcome{err: errGoexit}
		defer func() { done <- out }()
		defer func() {
			if p := recover(); p != nil {
				out.err = fmt.Errorf("panic: %v\n%s", p, stack())
			}
		}()
		if s.opts.BeforeEffect != nil {
			if out.err = s.opts.BeforeEffect(call); out.err != nil {
				return
			}
		}
		out.result, out.err = f(ctx, call)
	}()
	select {
	case out := <-done:
		return out.result, out.err
	case <-ctx.Done():
	}
	// It was asked to stop; most do.
	grace := make(chan struct{})
	defer s.opts.AfterFunc(deadline, func() { close(grace) })()
	select {
	case out := <-done:
		return out.result, out.err
	case <-s.ctx.Done():
	case <-grace:
	}
	return nil, errNoReturn
}

// pause waits, unless the system is let go first.
func (s *System) pause(d time.Duration) bool {
	over := make(chan struct{})
	defer s.opts.AfterFunc(d, func() { close(over) })()
	select {
	case <-over:
		return true
	case <-s.ctx.Done():
		return false
	}
}
