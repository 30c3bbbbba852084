package supervisor_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/supervisor"
)

func TestBackoff(t *testing.T) {
	const (
		ms   = time.Millisecond
		most = math.MaxUint64
	)
	tests := []struct {
		name   string
		b      supervisor.Backoff
		n      int
		random uint64
		want   time.Duration
	}{
		{"default, first", supervisor.Backoff{}, 1, 0, 10 * ms},
		{"default, second", supervisor.Backoff{}, 2, 0, 20 * ms},
		{"default, tenth", supervisor.Backoff{}, 10, 0, 5120 * ms},
		{"default, at most", supervisor.Backoff{}, 11, 0, 10 * time.Second},
		{"default, half the jitter", supervisor.Backoff{}, 1, 1 << 63, 9 * ms},
		{"default, all the jitter", supervisor.Backoff{}, 1, most, 8*ms + 1},
		{"jitter applies to the greatest delay", supervisor.Backoff{Max: 100 * ms}, 99, 1 << 63, 90 * ms},
		{"no jitter", supervisor.Backoff{Jitter: -1}, 3, most, 40 * ms},
		{"full jitter", supervisor.Backoff{Jitter: 1}, 1, 1 << 63, 5 * ms},
		{"constant", supervisor.Backoff{Initial: 7 * ms, Factor: 1}, 1000, 0, 7 * ms},
		{"factor 1.5", supervisor.Backoff{Factor: 1.5}, 3, 0, 22500 * time.Microsecond},
		{"initial above max", supervisor.Backoff{Initial: time.Minute, Max: time.Second}, 1, 0, time.Second},
		{"initial above the default max", supervisor.Backoff{Initial: time.Minute}, 5, 0, time.Minute},
		{"the power is infinite", supervisor.Backoff{Factor: 1e300}, 1 << 40, 0, 10 * time.Second},
		{"the longest of all", supervisor.Backoff{Initial: 1, Max: math.MaxInt64}, math.MaxInt, 0, math.MaxInt64},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.b.Delay(tc.n, tc.random); got != tc.want {
				t.Errorf("Delay(%d, %#x) = %v, want %v", tc.n, tc.random, got, tc.want)
			}
		})
	}
}

func TestBackoffProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBackoff(t)
		random := rapid.Uint64().Draw(t, "random")
		steady := b
		steady.Jitter = -1
		before := time.Duration(0)
		for n := 1; n <= 40; n++ {
			delay := steady.Delay(n, random)
			switch {
			case delay < before:
				t.Fatalf("delay %d is %v, shorter than %v before it", n, delay, before)
			case delay > b.Max:
				t.Fatalf("delay %d is %v, longer than %v", n, delay, b.Max)
			case n == 1 && delay != min(b.Initial, b.Max):
				t.Fatalf("the first delay is %v", delay)
			case n > 1 && delay < b.Max:
				// One nanosecond for cutting off the fraction, twice.
				if want := float64(before) * b.Factor; math.Abs(float64(delay)-want) > b.Factor+1 {
					t.Fatalf("delay %d is %v after %v: not by factor %v", n, delay, before, b.Factor)
				}
			}
			before = delay

			got := b.Delay(n, random)
			least := float64(delay) * (1 - b.Jitter)
			if got > delay || float64(got) < least-1 {
				t.Fatalf("delay %d with jitter is %v, outside [%v, %v]", n, got, time.Duration(least), delay)
			}
			if got < 0 {
				t.Fatalf("delay %d is negative: %v", n, got)
			}
		}
	})
}

func drawBackoff(t *rapid.T) supervisor.Backoff {
	return supervisor.Backoff{
		Initial: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "initial")),
		Factor:  rapid.Float64Range(1, 8).Draw(t, "factor"),
		Max:     time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "max")),
		Jitter:  rapid.Float64Range(0.001, 1).Draw(t, "jitter"),
	}
}
