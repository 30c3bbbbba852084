package node

import (
	"math/bits"
	"time"
)

// latencies counts durations by size, to within 1 in 64, in memory that does
// not grow. It is one goroutine's.
//
// Durations below 64 ns have a bucket each; above, each power of two is
// divided into 64 buckets of equal width.
type latencies struct {
	count   uint64
	buckets [(64 - latencyBits) << latencyBits]uint32
}

const latencyBits = 6

func latencyBucket(d time.Duration) int {
	n := uint64(max(d, 0))
	shift := max(bits.Len64(n)-latencyBits-1, 0)
	return shift<<latencyBits + int(n>>shift)
}

// latencyAt returns the longest duration of a bucket.
func latencyAt(bucket int) time.Duration {
	if bucket < 2<<latencyBits {
		return time.Duration(bucket)
	}
	shift := bucket>>latencyBits - 1
	return time.Duration(uint64(bucket&(1<<latencyBits-1)+1<<latencyBits+1)<<shift - 1)
}

func (l *latencies) note(d time.Duration) {
	l.count++
	l.buckets[latencyBucket(d)]++
}

func (l *latencies) add(other *latencies) {
	l.count += other.count
	for i, n := range other.buckets {
		l.buckets[i] += n
	}
}

// percentile returns the duration that a fraction of all did not exceed.
func (l *latencies) percentile(fraction float64) time.Duration {
	want := max(uint64(float64(l.count)*fraction+0.5), 1)
	var seen uint64
	for i, n := range l.buckets {
		if seen += uint64(n); seen >= want {
			return latencyAt(i)
		}
	}
	return 0
}
