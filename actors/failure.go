package actors

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// Kinds of the events that failures become.
const (
	kindFailed  = "toka.agent.failed"
	kindParked  = "toka.agent.parked"
	kindStopped = "toka.agent.stopped"
)

// fail deals with a message that broke its handler, as the supervision policy
// says. The failure is journaled as an event, caused by the message; the actor
// pauses until that is durable and the backoff is over, and begins anew from
// its stream.
func (c *cell) fail(m *message, reason, trace string) {
	now := c.sys.now()
	if m.kind == kindCommand && m.id.IsZero() {
		m.id = c.sys.opts.NewID()
	}
	if c.well.Swap(false) {
		c.history = c.sys.opts.Supervision.Handled(c.history, "")
	}
	d, history := c.sys.opts.Supervision.Decide(c.history, supervisor.Failure{Message: m.name(), Reason: reason}, now, c.sys.random())
	c.history = history
	c.carryOut(m, d, reason, trace)
}

// carryOut does what was decided about a message that failed.
func (c *cell) carryOut(m *message, d supervisor.Directive, reason, trace string) {
	now := c.sys.now()
	c.restarts.Add(1)
	c.sys.restarts.Add(1)
	c.lastFailure.Store(&reason)
	c.sys.log.Warn("agent failed", "agent", c.name, "message", m.name(), "reason", reason, "action", d.Action.String(), "after", d.After)

	w, cause, err := c.failureWrite(m, d, now, reason, trace)
	c.box.gate(true)
	resume := func(failure events.ID) {
		c.control(func() {
			if m.kind == kindCommand && !failure.IsZero() {
				m.recorded = cause
			}
			switch d.Action {
			case supervisor.Park:
				c.drop(m)
				delete(c.retrying, m.retry.ID)
				m.answer(Outcome{}, &FailedError{Agent: c.name, Event: failure, Attempts: d.Attempt, Reason: reason})
				c.done(m)
				c.well.Store(false)
			case supervisor.Escalate:
				c.giveUp(fmt.Errorf("agent %q: %w: %s: %s", c.name, ErrStopped, d.Reason, reason))
			}
			c.recovered = false
			c.unstash()
			c.box.gate(false)
		})
	}
	// In front of everything else, and behind what may have to be decided
	// again because it was refused.
	c.backlog = append([]*message{m}, c.backlog...)
	wait := func(failure events.ID) {
		c.whenQuiet(func() {
			if d.After <= 0 {
				resume(failure)
				return
			}
			c.sys.after(d.After, func() { resume(failure) })
		})
	}
	if err == nil {
		err = c.sys.j.Submit(c.sys.ctx, w, func(r journal.Receipt, err error) {
			if err != nil {
				c.sys.log.Error("a failure could not be journaled", "agent", c.name, "err", err)
				wait(events.ID{})
				return
			}
			wait(r.Events[len(r.Events)-1].ID)
		})
	}
	if err != nil {
		c.sys.log.Error("a failure could not be journaled", "agent", c.name, "err", err)
		wait(events.ID{})
	}
}

// failureWrite is the failure as events: the command first, where the message
// is one that is not journaled yet, then the failure with the message as its
// cause. cause is the reference to the message's event.
func (c *cell) failureWrite(m *message, d supervisor.Directive, now time.Time, reason, trace string) (w journal.Write, cause events.Ref, err error) {
	w.Authority = authority.System()
	correlation := m.correlation
	switch {
	case m.kind == kindEvent:
		cause, correlation = m.event.Ref(), m.event.Correlation
	case !m.recorded.ID.IsZero():
		cause = m.recorded
	default:
		if m.at.IsZero() {
			m.at = now
		}
		cd, err := c.commandDraft(m, m.at)
		if err != nil {
			return w, cause, err
		}
		w.Events = append(w.Events, cd)
		c.sign(w.Events)
		e, err := w.Events[0].Seal(m.id, w.Events[0].Parents)
		if err != nil {
			return w, cause, err
		}
		cause = e.Ref()
	}
	kind := map[supervisor.Action]string{supervisor.Restart: kindFailed, supervisor.Park: kindParked, supervisor.Escalate: kindStopped}[d.Action]
	w.Events = append(w.Events, events.Draft{
		ID: c.sys.opts.NewID(), Stream: c.name, Kind: kind, SchemaVersion: 1, Time: now, ContentType: events.ContentTypeJSON,
		Payload: failurePayload{
			Reason: reason, Attempt: d.Attempt, Action: d.Action.String(), Behaviour: c.b.key(), Why: d.Reason, Stack: trace, Effect: m.doubt,
		}.encode(),
		Parents: []events.Ref{cause}, Trigger: cause.ID, Correlation: correlation,
	})
	if !m.retry.ID.IsZero() {
		last := &w.Events[len(w.Events)-1]
		last.Parents = append(last.Parents, m.retry)
	}
	if len(w.Events) == 1 {
		c.sign(w.Events)
	}
	if m.kind == kindEvent && m.retry.ID.IsZero() && d.Action == supervisor.Park {
		w.Checkpoints = []journal.Checkpoint{c.checkpoint(m.event.Position)}
	}
	return w, cause, nil
}

// drop takes a message out of the backlog.
func (c *cell) drop(m *message) {
	for i, o := range c.backlog {
		if o == m {
			c.backlog = append(c.backlog[:i:i], c.backlog[i+1:]...)
			return
		}
	}
}

// failurePayload is the payload of failure events.
type failurePayload struct {
	Reason    string `json:"reason"`
	Attempt   int    `json:"attempt"`
	Action    string `json:"action"`
	Behaviour string `json:"behaviour"`
	Why       string `json:"why,omitempty"`
	Stack     string `json:"stack,omitempty"`

	Effect *effectDoubt `json:"effect,omitempty"` // parked because of it
}

// effectDoubt names an effect of which it is not known whether it happened.
type effectDoubt struct {
	Name    string        `json:"name"`
	Ordinal uint32        `json:"ordinal"`
	Key     events.Digest `json:"key"`
}

// stack is where a panic came from. It names functions and lines only, so that the
// same failure is the same bytes.
func stack() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)]) // without itself and what recovers
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}

func (p failurePayload) encode() []byte {
	p.Stack = p.Stack[:min(len(p.Stack), maxReason)]
	p.Reason = p.Reason[:min(len(p.Reason), maxReason)]
	b, err := json.Marshal(p)
	if err != nil {
		return []byte(`{}`)
	}
	return b
}
