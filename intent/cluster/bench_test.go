package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

// BenchmarkAssign compares an assignment with the bare product of a matrix of
// the same shape and a vector: what is above it is the price of exact answers
// and of moving the centroid.
func BenchmarkAssign(b *testing.B) {
	const dim = intent.DefaultDimension
	for _, k := range []int{100, 1000} {
		r := rand.New(rand.NewPCG(1, 1))
		stream := fill(k, func(int) intent.Vector { return quantize(gaussian(r, dim)) })
		b.Run(fmt.Sprintf("centroids=%d/gemv", k), func(b *testing.B) {
			rows := make([]float32, 0, k*dim)
			for _, v := range stream {
				for _, q := range v {
					rows = append(rows, float32(q)/32768)
				}
			}
			m := blas32.General{Rows: k, Cols: dim, Stride: dim, Data: rows}
			y := blas32.Vector{N: k, Inc: 1, Data: make([]float32, k)}
			i := 0
			for b.Loop() {
				x := blas32.Vector{N: dim, Inc: 1, Data: rows[i%k*dim:][:dim]}
				blas32.Gemv(blas.NoTrans, 1, m, x, 0, y)
				i++
			}
		})
		b.Run(fmt.Sprintf("centroids=%d/assign", k), func(b *testing.B) {
			l := cluster.NewLeader(cluster.Options{})
			answers(l, 1, stream)
			i := 0
			for b.Loop() { // each arrival joins the intent that it once founded
				l.Assign(arrival(i, stream[i%k]))
				i++
			}
			if l.Count() != k {
				b.Fatalf("%d intents, want %d", l.Count(), k)
			}
		})
	}
}

func BenchmarkSnapshot(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	l := cluster.NewLeader(cluster.Options{})
	answers(l, 1, fill(1000, func(int) intent.Vector { return quantize(gaussian(r, intent.DefaultDimension)) }))
	snapshot := l.Snapshot()
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(snapshot)))
		for b.Loop() {
			l.Snapshot()
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(len(snapshot)))
		for b.Loop() {
			if err := l.Restore(snapshot); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTwoPhase assigns events of a thousand intents, from the first one on, and
// then in the steady state.
func BenchmarkTwoPhase(b *testing.B) {
	const dim, intents, events = intent.DefaultDimension, 1000, 20_000
	r := rand.New(rand.NewPCG(1, 1))
	centres := make([][]float32, intents)
	for i := range centres {
		centres[i] = gaussian(r, dim)
	}
	stream := fill(events, func(int) intent.Vector {
		x := gaussian(r, dim)
		for j, c := range centres[r.IntN(intents)] {
			x[j] = c + 0.5*x[j]
		}
		return quantize(x)
	})
	b.Run("begin", func(b *testing.B) {
		for b.Loop() {
			answers(cluster.NewTwoPhase(cluster.Layered{}), 1, stream)
		}
		b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("steady", func(b *testing.B) {
		s := cluster.NewTwoPhase(cluster.Layered{})
		answers(s, 1, stream)
		i := 0
		for b.Loop() {
			s.Assign(arrival(events+i, stream[i%events]))
			i++
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}
