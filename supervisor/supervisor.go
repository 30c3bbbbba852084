package supervisor

import (
	"fmt"
	"math"
	"time"
)

// Action is what to do about a failure.
type Action uint8

const (
	// Restart discards the actor's memory, waits Directive.After, recovers
	// the actor from its stream and offers it the message again.
	Restart Action = iota + 1
	// Park does what Restart does, but sets the message aside instead of
	// offering it again.
	Park
	// Escalate stops the actor and hands the failure upwards.
	Escalate
)

// String returns the action in lower case.
func (a Action) String() string {
	switch a {
	case Restart:
		return "restart"
	case Park:
		return "park"
	case Escalate:
		return "escalate"
	}
	return "unknown"
}

// Policy says how failures are answered. The zero value of a field means its
// default.
type Policy struct {
	// MaxRestarts restarts within Window are allowed; the next failure
	// escalates. A restart that is exactly Window old still counts. None allows
	// not one. Defaults: 100 within a minute.
	MaxRestarts int
	Window      time.Duration

	// MaxAttempts is how often one message is tried, in all, before it is
	// parked. Default 3.
	MaxAttempts int

	Backoff Backoff
}

// None is the MaxRestarts that allows no restart.
const None = math.MinInt

// Failure is one failed handling of one message.
type Failure struct {
	// Message names the message: equal for another try of the same one. It is
	// empty where the actor failed outside any message, as in recovery: there
	// is then nothing to park, and the tries of the message in hand stand.
	Message string
	Reason  string
}

// Directive is what to do, and when.
type Directive struct {
	Action  Action
	After   time.Duration // wait this long before the actor starts again; 0 where it does not
	Attempt int           // which try of this message failed, from 1; 0 where there was no message
	Reason  string        // why this action, in words for people
}

// History is what a policy needs to know about the failures of one actor so
// far. The zero value says that nothing has failed yet.
//
// It is an immutable value: Decide and Handled return a new one and never
// write to what an older one refers to. Copies may be kept, dropped and used
// by several goroutines. It holds at most MaxRestarts durations and the name
// of one message.
type History struct {
	// Ages of the restarts within the window, oldest first, as of at. Ages
	// and not times: a clock that jumps back then ages nothing, instead of
	// leaving restarts in the future that would count until it catches up.
	ages []time.Duration
	at   time.Time // of the last decision

	message  string // the last to fail and neither handled nor parked since
	attempts int    // failed tries of message
	inARow   int    // restarts since a message was last handled well
}

// Validate returns an error that names the first field out of range: one that
// is negative (but Jitter, and None), a Factor below 1 or a Jitter above 1. Check a
// policy where it is given: Decide panics on a bad one.
func (p Policy) Validate() error {
	switch {
	case p.MaxRestarts < 0 && p.MaxRestarts != None:
		return fmt.Errorf("supervisor: MaxRestarts is %d; it must not be negative, except None", p.MaxRestarts)
	case p.Window < 0:
		return fmt.Errorf("supervisor: Window is %v; it must not be negative", p.Window)
	case p.MaxAttempts < 0:
		return fmt.Errorf("supervisor: MaxAttempts is %d; it must not be negative", p.MaxAttempts)
	}
	return p.Backoff.Validate()
}

func (p Policy) withDefaults() Policy {
	if err := p.Validate(); err != nil {
		panic(err.Error())
	}
	p.MaxRestarts = max(or(p.MaxRestarts, 100), 0)
	p.Window = or(p.Window, time.Minute)
	p.MaxAttempts = or(p.MaxAttempts, 3)
	return p
}

func or[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}

// Decide answers one failure and returns the history to give with the next.
// random feeds the jitter: any uniformly drawn number does, and the same one
// gives the same answer.
//
// Time passes only by how far now lies after the decision before; a clock
// that jumps back is taken to have stood still. Decide panics if p is not
// valid.
func (p Policy) Decide(h History, f Failure, now time.Time, random uint64) (Directive, History) {
	p = p.withDefaults()
	ages := h.recent(p, now)
	next := History{ages: ages, at: now, message: h.message, attempts: h.attempts, inARow: h.inARow}
	d := Directive{}
	if f.Message != "" {
		if next.message != f.Message {
			next.message, next.attempts = f.Message, 0
		}
		next.attempts++
		d.Attempt = next.attempts
	}
	if len(ages) >= p.MaxRestarts {
		// Not counted as a restart: whoever is told may start the actor again
		// later and bring this history along.
		d.Action = Escalate
		d.Reason = fmt.Sprintf("%d restarts within %v were allowed and made: %s", p.MaxRestarts, p.Window, f.Reason)
		return d, next
	}
	next.ages = append(ages, 0)
	next.inARow++
	d.After = p.Backoff.Delay(next.inARow, random)
	switch {
	case f.Message == "":
		d.Action = Restart
		d.Reason = "failed outside any message: " + f.Reason
	case next.attempts >= p.MaxAttempts:
		d.Action = Park
		d.Reason = fmt.Sprintf("gave the message up after %d attempts: %s", next.attempts, f.Reason)
		// If someone takes the message up again, its tries are counted anew.
		next.message, next.attempts = "", 0
	default:
		d.Action = Restart
		d.Reason = fmt.Sprintf("attempt %d of %d failed: %s", next.attempts, p.MaxAttempts, f.Reason)
	}
	return d, next
}

// recent returns, in memory of its own and with room for one more, the ages at
// now of the restarts that still count, at most the newest MaxRestarts.
func (h History) recent(p Policy, now time.Time) []time.Duration {
	passed := max(now.Sub(h.at), 0)
	old := h.ages
	if len(old) > p.MaxRestarts {
		old = old[len(old)-p.MaxRestarts:]
	}
	ages := make([]time.Duration, 0, len(old)+1)
	for _, age := range old {
		// Written so that the sum cannot overflow: age may come from a
		// policy with a longer window.
		if age <= p.Window && passed <= p.Window-age {
			ages = append(ages, age+passed)
		}
	}
	return ages
}

// Handled notes that the actor handled a message well: backoff starts at
// Initial again, and the tries of that message are forgotten. The tries of
// another message stand, so that one which breaks the actor is parked in the
// end however much goes well between its tries. The restarts made still count
// towards MaxRestarts.
//
// It allocates nothing and is cheap enough to call after every message.
func (p Policy) Handled(h History, message string) History {
	if h.message == message {
		h.message, h.attempts = "", 0
	}
	h.inARow = 0
	return h
}
