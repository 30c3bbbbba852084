package cluster_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/gonum"
	"pgregory.net/rapid"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
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

// sloppy is a BLAS whose scores are off by as much as the bound allows, in
// directions that depend on nothing sensible.
type sloppy struct {
	gonum.Implementation
	r *rand.Rand
}

func (s sloppy) Sgemv(tr blas.Transpose, m, n int, alpha float32, a []float32, lda int, x []float32, incX int, beta float32, y []float32, incY int) {
	for i := range m {
		var sum float64
		for j := range n {
			sum += float64(a[i*lda+j]) * float64(x[j])
		}
		// The rounding to float32 and that of the stored row, which is not
		// undone here, need what is left of the bound.
		off := float64(n) * 0x1p-23
		y[i] = float32(sum + off*float64(2*s.r.IntN(2)-1))
	}
}

// Whatever a float kernel does within the bound, the answers stay the same.
func TestAnyKernelGivesTheSameAnswers(t *testing.T) {
	defer blas32.Use(blas32.Implementation())
	rapid.Check(t, func(t *rapid.T) {
		leader, stream := draw(t, 150)
		blas32.Use(gonum.Implementation{})
		want := answers(leader(), 1, stream)
		blas32.Use(sloppy{r: rand.New(rand.NewPCG(3, 3))})
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
