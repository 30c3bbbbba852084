package cluster_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/kernel"
)

// agree checks every answer of l against the reference.
func agree(t failer, l *cluster.Leader, stream []intent.Vector) {
	t.Helper()
	_, threshold, _ := strings.Cut(l.Name(), "t=")
	r := newReference(l, threshold)
	want := make([]intent.Assignment, len(stream))
	for i, v := range stream {
		want[i] = r.assign(arrival(i+1, v))
	}
	compare(t, answers(l, 1, stream), want)
}

func TestLeaderAgreesWithReference(t *testing.T) {
	for _, s := range shapes {
		for _, dim := range s.dims {
			for _, threshold := range s.threshold {
				o := cluster.Options{Dimension: dim, Threshold: threshold}
				t.Run(s.name+" "+cluster.NewLeader(o).Name(), func(t *testing.T) {
					n, seeds := 250, uint64(3)
					if dim > 50 {
						n, seeds = 60, 2 // big integers are slow
					}
					for seed := range seeds {
						agree(t, cluster.NewLeader(o), s.make(rand.New(rand.NewPCG(seed, 2)), dim, n))
					}
				})
			}
		}
	}
}

// The kernels in assembly change nothing.
func TestAnyKernelGivesTheSameAnswers(t *testing.T) {
	defer kernel.Pure(kernel.Pure(false))
	rapid.Check(t, func(t *rapid.T) {
		leader, stream := draw(t, 150)
		kernel.Pure(true)
		want := answers(leader(), 1, stream)
		kernel.Pure(false)
		compare(t, answers(leader(), 1, stream), want)
	})
}

// FuzzLeader reads a threshold and vectors of small integers, which often tie.
func FuzzLeader(f *testing.F) {
	f.Add(uint16(8200), uint8(2), []byte{1, 0, 0, 1, 1, 1})
	f.Add(uint16(5000), uint8(4), []byte{1, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 255, 255, 255, 255})
	f.Add(uint16(10000), uint8(3), []byte{1, 2, 3, 2, 4, 6, 255, 254, 253, 1, 2, 4})
	f.Add(uint16(1), uint8(1), []byte{1, 255, 7, 128})
	f.Fuzz(func(t *testing.T, threshold uint16, dim uint8, b []byte) {
		if threshold == 0 || threshold > 10000 || dim == 0 || dim > 32 || len(b) > 4096 {
			return
		}
		var stream []intent.Vector
		for ; len(b) >= int(dim); b = b[dim:] {
			x := make([]float32, dim)
			for i := range x {
				x[i] = float32(int8(b[i]))
			}
			if v, err := intent.Quantize(x, int(dim)); err == nil {
				stream = append(stream, v)
			}
		}
		// The threshold goes by text, to be the same decimal for both.
		tt, err := strconv.ParseFloat(strconv.Itoa(int(threshold))+"e-4", 64)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, cluster.NewLeader(cluster.Options{Threshold: tt, Dimension: int(dim)}), stream)
	})
}
