package supervisor

import (
	"fmt"
	"math"
	"time"
)

// Backoff says how long to wait before the n-th restart in a row: Initial
// times Factor^(n-1), at most Max, less up to Jitter of itself. Defaults:
// 10 ms, factor 2, 10 s (or Initial, where that is longer), 0.2.
type Backoff struct {
	Initial time.Duration
	Factor  float64 // 1 or more
	Max     time.Duration
	Jitter  float64 // fraction, 0 to 1; negative for none
}

// Validate returns an error that names the first field out of range. The
// comparisons are written so that a NaN fails them.
func (b Backoff) Validate() error {
	switch {
	case b.Initial < 0:
		return fmt.Errorf("supervisor: Backoff.Initial is %v; it must not be negative", b.Initial)
	case b.Max < 0:
		return fmt.Errorf("supervisor: Backoff.Max is %v; it must not be negative", b.Max)
	case b.Factor != 0 && !(b.Factor >= 1 && !math.IsInf(b.Factor, 1)):
		return fmt.Errorf("supervisor: Backoff.Factor is %v; it must be 1 or more", b.Factor)
	case !(b.Jitter <= 1):
		return fmt.Errorf("supervisor: Backoff.Jitter is %v; it must be at most 1, or negative for none", b.Jitter)
	}
	return nil
}

func (b Backoff) withDefaults() Backoff {
	if err := b.Validate(); err != nil {
		panic(err.Error())
	}
	b.Initial = or(b.Initial, 10*time.Millisecond)
	b.Factor = or(b.Factor, 2)
	b.Max = or(b.Max, max(10*time.Second, b.Initial))
	b.Jitter = max(or(b.Jitter, 0.2), 0)
	return b
}

// Delay returns how long to wait before the n-th restart in a row, n from 1.
// A random of 0 takes nothing off the delay, the greatest one nearly all that
// Jitter allows. Delay panics if n is less than 1 or b is not valid.
func (b Backoff) Delay(n int, random uint64) time.Duration {
	if n < 1 {
		panic(fmt.Sprintf("supervisor: Delay: n is %d; it counts from 1", n))
	}
	b = b.withDefaults()
	delay := min(b.Initial, b.Max)
	if n > 1 {
		// The power may be infinite; compare before converting, since a float
		// beyond int64 converts to anything.
		delay = b.Max
		if f := float64(b.Initial) * math.Pow(b.Factor, float64(n-1)); f < float64(b.Max) {
			delay = time.Duration(f)
		}
	}
	unit := float64(random>>11) / (1 << 53) // in [0, 1), each value exact
	return delay - min(time.Duration(float64(delay)*b.Jitter*unit), delay)
}
