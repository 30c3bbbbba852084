package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/supervisor"
)

// InDoubt says what to do about an effect of which it is not known whether it
// happened: the process ended, or the call outlived its deadline and did not
// come back, before a result was on record.
type InDoubt uint8

const (
	// RetryInDoubt calls again. It is for effects that may be done twice, or
	// where the other side knows EffectCall.Key; nothing is journaled before
	// the call.
	RetryInDoubt InDoubt = iota + 1
	// FailInDoubt records the effect as failed and hands the reaction an
	// EffectError that says so. The call is announced in the journal before it
	// is made.
	FailInDoubt
	// AskInDoubt parks the event for a person to decide: RetryParked calls
	// again, unless ResolveEffect has put a result on record. The call is
	// announced in the journal before it is made.
	AskInDoubt
)

// EffectPolicy says how an effect is called. InDoubt has no default; the zero
// value of any other field means its default.
type EffectPolicy struct {
	InDoubt InDoubt

	// Attempts is how often the effect is tried, in all, before its error is
	// its result. Default 3. An error marked by Final is not tried again.
	Attempts int

	// Backoff is the time between attempts.
	Backoff supervisor.Backoff

	// Deadline is how long one attempt may take: then its context ends. An
	// attempt that has not returned as long again after that is in doubt.
	// Default 30 seconds.
	Deadline time.Duration
}

// EffectCall is what the function of an effect is told about the call.
type EffectCall struct {
	Agent   string
	Name    string
	Cause   events.ID     // the event that is reacted to, or the command
	Key     events.Digest // idempotency key: the same for every try of this effect
	Attempt int           // from 1, of those in this process

	progress func(any)
}

// Progress tells whoever watches (see Options.OnProgress) how far the effect
// has come. It is not journaled, and not repeated when the reaction runs again.
func (c EffectCall) Progress(v any) {
	if c.progress != nil {
		c.progress(v)
	}
}

// Progress is what an effect that is under way has told.
type Progress struct {
	Agent   string
	Effect  string
	Cause   events.ID
	Attempt int
	Value   any
}

// EffectError is the result of an effect that failed. It is on record like any
// other result: the reaction gets the same one when it runs again.
type EffectError struct {
	Agent    string
	Effect   string
	Attempts int
	InDoubt  bool // it may have happened
	Reason   string
}

func (e *EffectError) Error() string {
	if e.InDoubt {
		return fmt.Sprintf("agent %q: effect %q is in doubt: %s", e.Agent, e.Effect, e.Reason)
	}
	return fmt.Sprintf("agent %q: effect %q failed after %d tries: %s", e.Agent, e.Effect, e.Attempts, e.Reason)
}

// NondeterminismError says that a reaction that ran again called other effects
// than are on record for it, or in another order. Nothing was called.
type NondeterminismError struct {
	Agent    string
	Recorded []string // names, in order
	Called   []string // names, in order, up to the one that does not fit
}

func (e *NondeterminismError) Error() string {
	return fmt.Sprintf("agent %q: the reaction is not deterministic: effects on record are [%s], called were [%s]",
		e.Agent, strings.Join(e.Recorded, ", "), strings.Join(e.Called, ", "))
}

// Final marks an error of an effect as one that trying again cannot help.
func Final(err error) error { return &finalError{err} }

type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// Do has an effect on the outside world from within a reaction or the deciding
// on a command, once as far as the world allows, and returns what came of it.
// What follows speaks of reactions; deciding on a command is no different, but
// that the command is journaled before the effect is called, and decided to its
// end also where the process was ended meanwhile, as soon as its actor is live.
//
// Do returns only when the result is on record. The first time it is not: the
// reaction is abandoned there and then, all that it decided is discarded, and
// f runs on a goroutine of its own, once everything that the agent's state
// rests on is durable. Its result is journaled, and the reaction runs again
// from the beginning; this time Do hands back what is on record and calls
// nothing. So code before Do runs more than once, and must, like all of a
// reaction, depend only on its arguments. A deferred call runs each time; what
// it recovers does not keep the reaction from being abandoned.
//
// While the effect is under way the actor takes nothing else, since it deals
// with events and commands in order; it holds no goroutine and nobody else waits
// for it.
// Results are kept as JSON of at most events.MaxPayload bytes, equal ones once.
//
// The error is an *EffectError if the effect failed. Effects of one reaction
// are told apart by their order; name is checked against what is on record.
// Do panics if it is called outside of a turn, or p is not valid.
func Do[T any](t *Turn, name string, p EffectPolicy, f func(ctx context.Context, call EffectCall) (T, error)) (T, error) {
	var v T
	r := t.effect(name, p, func(ctx context.Context, call EffectCall) ([]byte, error) {
		v, err := f(ctx, call)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, Final(fmt.Errorf("it happened, and its result cannot be recorded: %w", err))
		}
		if len(b) > events.MaxPayload {
			return nil, Final(fmt.Errorf("it happened, and its result cannot be recorded: %d bytes of JSON; the limit is %d", len(b), events.MaxPayload))
		}
		return b, nil
	})
	if r.failed != nil {
		return v, r.failed
	}
	if err := json.Unmarshal(r.result, &v); err != nil {
		t.abandon(fmt.Errorf("effect %q: the result on record is not one: %w", name, err))
	}
	return v, nil
}

// effectRecord is what is on record of one effect.
type effectRecord struct {
	name   string
	result []byte
	failed *EffectError
}

// effectRequest is an effect that a reaction came to and that has no result
// yet.
type effectRequest struct {
	name    string
	ordinal uint32
	policy  EffectPolicy
	call    func(ctx context.Context, call EffectCall) ([]byte, error)
}

// effects is how a turn knows what is on record, and what it has called.
type effects struct {
	lookup func(ordinal uint32) (rec effectRecord, ok bool, err error)
	called []string
	wanted *effectRequest
}

// abandoned is what a reaction panics with to end where it stands.
type abandoned struct{}

// abandon ends the handler. What becomes of its turn is on t.
func (t *Turn) abandon(err error) {
	if t.err == nil {
		t.err = err
	}
	panic(abandoned{})
}

func (t *Turn) effect(name string, p EffectPolicy, call func(context.Context, EffectCall) ([]byte, error)) effectRecord {
	if t.effects == nil && t.c != nil && t.m != nil {
		t.effects = t.c.effects(t.m)
	}
	if t.effects == nil {
		panic("actors: Do: effects belong into reactions and into what decides on commands")
	}
	if err := p.check(name); err != nil {
		panic("actors: Do: " + err.Error())
	}
	x := t.effects
	if x.wanted != nil || t.err != nil {
		panic(abandoned{}) // the handler recovered from being abandoned
	}
	n := uint32(len(x.called))
	x.called = append(x.called, name)
	rec, ok, err := x.lookup(n)
	switch {
	case err != nil:
		t.abandon(fmt.Errorf("effect %q: %w", name, err))
	case !ok:
		x.wanted = &effectRequest{name: name, ordinal: n, policy: p, call: call}
		panic(abandoned{})
	case rec.name != name:
		t.abandon(x.nondeterminism(t.agent))
	}
	return rec
}

// ended checks that a reaction called all the effects that are on record for
// it.
func (x *effects) ended(agent string) error {
	if x == nil || len(x.called) == 0 {
		return nil
	}
	_, more, err := x.lookup(uint32(len(x.called)))
	if more {
		err = x.nondeterminism(agent)
	}
	return err
}

func (x *effects) nondeterminism(agent string) error {
	e := &NondeterminismError{Agent: agent, Called: x.called}
	for n := uint32(0); ; n++ {
		rec, ok, err := x.lookup(n)
		if err != nil {
			return err
		}
		if !ok {
			return e
		}
		e.Recorded = append(e.Recorded, rec.name)
	}
}

func (p EffectPolicy) check(name string) error {
	if err := events.CheckName("effect", name); err != nil {
		return err
	}
	switch {
	case p.InDoubt < RetryInDoubt || p.InDoubt > AskInDoubt:
		return errors.New("say with EffectPolicy.InDoubt what to do when it is not known whether the effect happened")
	case p.Attempts < 0:
		return fmt.Errorf("attempts is %d; it must not be negative", p.Attempts)
	case p.Deadline < 0:
		return fmt.Errorf("deadline is %v; it must not be negative", p.Deadline)
	}
	return p.Backoff.Validate()
}

func (p EffectPolicy) withDefaults() EffectPolicy {
	if p.Attempts == 0 {
		p.Attempts = 3
	}
	if p.Deadline == 0 {
		p.Deadline = 30 * time.Second
	}
	return p
}
