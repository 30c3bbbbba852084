package node

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestLatencyBuckets(t *testing.T) {
	last := -1
	for n := range time.Duration(5000) {
		b := latencyBucket(n)
		if b < last || b > last+1 {
			t.Fatalf("%v is in bucket %d, the one before in %d", n, b, last)
		}
		last = b
	}
	for range 100_000 {
		d := time.Duration(rand.Uint64() >> (1 + rand.IntN(63)))
		b := latencyBucket(d)
		most := latencyAt(b)
		if most < d || float64(most-d) > float64(d)/64 || latencyBucket(most) != b {
			t.Fatalf("%v is in bucket %d, which ends at %v, which is in bucket %d", d, b, most, latencyBucket(most))
		}
		if b > 0 && latencyAt(b-1) >= d {
			t.Fatalf("%v is in bucket %d, and the one before ends at %v", d, b, latencyAt(b-1))
		}
	}
	if b := latencyBucket(math.MaxInt64); b >= len(latencies{}.buckets) || latencyAt(b) != math.MaxInt64 {
		t.Errorf("the longest duration is in bucket %d, which ends at %d", b, latencyAt(b))
	}
	if latencyBucket(-1) != 0 {
		t.Error("a clock that jumped back")
	}
}

func TestLatencyPercentiles(t *testing.T) {
	var a, b latencies
	for i := 1; i <= 1000; i++ {
		if i%2 == 0 {
			a.note(time.Duration(i) * time.Microsecond)
		} else {
			b.note(time.Duration(i) * time.Microsecond)
		}
	}
	a.add(&b)
	for fraction, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 1: 1000} {
		want *= time.Microsecond
		if got := a.percentile(fraction); got < want || got > want+want/64+1 {
			t.Errorf("percentile %v: got %v, want %v", fraction, got, want)
		}
	}
	var none latencies
	if none.percentile(0.5) != 0 {
		t.Error("none has a percentile")
	}
}
