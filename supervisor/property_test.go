package supervisor_test

import (
	"fmt"
	"math/big"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/supervisor"
)

// input is what Decide is given beside the policy and the history.
type input struct {
	failure supervisor.Failure
	now     time.Time
	random  uint64
}

func drawInput(t *rapid.T, clock time.Time) input {
	// Mostly short steps forward, sometimes far, sometimes back.
	step := rapid.OneOf(
		rapid.Int64Range(0, int64(2*time.Second)),
		rapid.Int64Range(int64(-time.Minute), int64(time.Minute)),
		rapid.Int64(),
	).Draw(t, "step")
	return input{
		failure: supervisor.Failure{
			Message: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "message"),
			Reason:  "it broke",
		},
		now:    clock.Add(time.Duration(step)),
		random: rapid.Uint64().Draw(t, "random"),
	}
}

func drawPolicy(t *rapid.T) supervisor.Policy {
	return supervisor.Policy{
		MaxRestarts: rapid.IntRange(1, 6).Draw(t, "max restarts"),
		Window:      time.Duration(rapid.Int64Range(1, int64(20*time.Second)).Draw(t, "window")),
		MaxAttempts: rapid.IntRange(1, 4).Draw(t, "max attempts"),
		Backoff:     drawBackoff(t),
	}
}

// Whatever happens, and however the clock jumps, no stretch of Window of the
// time that passed holds more than MaxRestarts restarts; and a failure is
// escalated only where one more restart would break that.
func TestIntensityProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		var (
			h        supervisor.History
			clock    = start
			passed   = new(big.Int) // nanoseconds; many great steps are more than a Duration holds
			restarts []*big.Int     // at which value of passed
		)
		window := big.NewInt(int64(p.Window))
		for range rapid.IntRange(1, 60).Draw(t, "failures") {
			in := drawInput(t, clock)
			passed = new(big.Int).Add(passed, big.NewInt(max(int64(in.now.Sub(clock)), 0)))
			clock = in.now
			recent := 0
			for _, r := range restarts {
				if new(big.Int).Sub(passed, r).Cmp(window) <= 0 {
					recent++
				}
			}

			var d supervisor.Directive
			d, h = p.Decide(h, in.failure, in.now, in.random)
			full := recent >= p.MaxRestarts
			if escalated := d.Action == supervisor.Escalate; escalated != full {
				t.Fatalf("%v with %d restarts within %v, where %d are allowed", d.Action, recent, p.Window, p.MaxRestarts)
			}
			if !full {
				restarts = append(restarts, passed)
			}
			if rapid.Bool().Draw(t, "handled") {
				h = p.Handled(h, in.failure.Message)
			}
		}
	})
}

func TestDecideIsPure(t *testing.T) {
	type kept struct {
		h     supervisor.History
		shown string
	}
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		histories := []kept{{shown: fmt.Sprintf("%#v", supervisor.History{})}}
		clock := start
		for range rapid.IntRange(1, 40).Draw(t, "failures") {
			// Go on from any history so far: one that branches must not
			// disturb its other branches.
			h := histories[rapid.IntRange(0, len(histories)-1).Draw(t, "from")].h
			in := drawInput(t, clock)
			clock = in.now
			d1, h1 := p.Decide(h, in.failure, in.now, in.random)
			other := in
			other.failure.Message += "'"
			p.Decide(h, other.failure, other.now, other.random)
			d2, h2 := p.Decide(h, in.failure, in.now, in.random)
			if d1 != d2 {
				t.Fatalf("first %+v, then %+v", d1, d2)
			}
			if !reflect.DeepEqual(h1, h2) {
				t.Fatalf("first %#v, then %#v", h1, h2)
			}
			g1, g2 := p.Handled(h1, in.failure.Message), p.Handled(h2, in.failure.Message)
			if !reflect.DeepEqual(g1, g2) {
				t.Fatalf("handled: first %#v, then %#v", g1, g2)
			}
			for _, h := range []supervisor.History{h1, g1} {
				histories = append(histories, kept{h, fmt.Sprintf("%#v", h)})
			}
		}
		for i, k := range histories {
			if now := fmt.Sprintf("%#v", k.h); now != k.shown {
				t.Fatalf("history %d was %s and became %s", i, k.shown, now)
			}
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		p.Window = time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "long window"))
		var h supervisor.History
		clock := start
		for range rapid.IntRange(1, 200).Draw(t, "failures") {
			in := drawInput(t, clock)
			clock = in.now
			_, h = p.Decide(h, in.failure, in.now, in.random)
			if n, room := h.Size(); n > p.MaxRestarts || room > p.MaxRestarts+1 {
				t.Fatalf("%d restarts are remembered with room for %d, where %d are allowed", n, room, p.MaxRestarts)
			}
		}
		// A policy that allows less forgets the rest.
		p.MaxRestarts = 1
		_, h = p.Decide(h, supervisor.Failure{}, clock, 0)
		if n, room := h.Size(); n > 1 || room > 2 {
			t.Fatalf("%d restarts are remembered with room for %d, where 1 is allowed", n, room)
		}
	})
}
