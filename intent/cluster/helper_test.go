package cluster_test

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

// arrival gives a vector the place and the digest that a journal would.
func arrival(position int, v intent.Vector) intent.Arrival {
	a := intent.Arrival{Position: uint64(position), Vector: v}
	binary.BigEndian.PutUint64(a.Digest[:], a.Position)
	return a
}

func quantize(x []float32) intent.Vector {
	v, err := intent.Quantize(x, len(x))
	if err != nil {
		panic(err)
	}
	return v
}

// answers feeds a stream, from position first on.
func answers(s intent.Strategy, first int, stream []intent.Vector) []intent.Assignment {
	got := make([]intent.Assignment, len(stream))
	for i, v := range stream {
		got[i] = s.Assign(arrival(first+i, v))
	}
	return got
}

// shape is a kind of stream that is hard in its own way.
type shape struct {
	name      string
	dims      []int
	threshold []float64
	make      func(r *rand.Rand, dim, n int) []intent.Vector
}

var shapes = []shape{
	// What embeddings look like: directions around a few centres.
	{"topics", []int{2, 24, 768}, []float64{0.5, 0.82, 0.9}, func(r *rand.Rand, dim, n int) []intent.Vector {
		centres := make([][]float32, 1+r.IntN(8))
		for i := range centres {
			centres[i] = gaussian(r, dim)
		}
		return fill(n, func(int) intent.Vector {
			x, noise := gaussian(r, dim), 0.2+0.6*r.Float32()
			for j, c := range centres[r.IntN(len(centres))] {
				x[j] = c + noise*x[j]
			}
			return quantize(x)
		})
	}},
	// Cosines that are multiples of 1/8 or 1/32: exact ties, exact thresholds.
	{"signs", []int{16, 64}, []float64{0.125, 0.25, 0.375, 0.5, 0.75}, func(r *rand.Rand, dim, n int) []intent.Vector {
		return fill(n, func(int) intent.Vector {
			x := make([]float32, dim)
			for j := range x {
				x[j] = float32(2*r.IntN(2) - 1)
			}
			return quantize(x)
		})
	}},
	// Orthogonal founders, then arrivals equally far from all of them but for
	// single units of the quantised form, below the precision of the floats.
	{"between axes", []int{8, 768}, []float64{0.15, 0.2}, func(r *rand.Rand, dim, n int) []intent.Vector {
		axes := min(dim, 20)
		return fill(n, func(i int) intent.Vector {
			x := make([]float32, dim)
			if i < axes {
				x[i] = 1
				return quantize(x)
			}
			for j := range axes {
				x[j] = 1
			}
			v := quantize(x)
			for range r.IntN(4) {
				v = nudge(r, v, r.IntN(axes))
			}
			return v
		})
	}},
	// The same few vectors again and again, their opposites, and both with a
	// component moved by one unit.
	{"opposites", []int{3, 100, 768}, []float64{1e-9, 0.82, 0.999999999, 1}, func(r *rand.Rand, dim, n int) []intent.Vector {
		some := fill(5, func(int) intent.Vector { return quantize(gaussian(r, dim)) })
		return fill(n, func(int) intent.Vector {
			v, sign := make(intent.Vector, dim), int16(1-2*r.IntN(2))
			for j, q := range some[r.IntN(len(some))] {
				v[j] = sign * q
			}
			return nudge(r, v, r.IntN(dim))
		})
	}},
}

// nudge moves component j by at most one unit, if v stays a unit vector, of
// which there are few where the dimension is low.
func nudge(r *rand.Rand, v intent.Vector, j int) intent.Vector {
	w := slices.Clone(v)
	w[j] += int16(r.IntN(3) - 1)
	if w.Check(len(w)) != nil {
		return v
	}
	return w
}

func fill(n int, f func(i int) intent.Vector) []intent.Vector {
	stream := make([]intent.Vector, n)
	for i := range stream {
		stream[i] = f(i)
	}
	return stream
}

func gaussian(r *rand.Rand, dim int) []float32 {
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// reference is a slow leader strategy that takes its sums over all dimensions
// anew and compares fractions, with integers of any size.
type reference struct {
	name      string
	threshold *big.Rat
	ids       []events.ID
	sums      [][]*big.Int
}

// newReference copies the settings of l, except for the threshold's digits,
// which it reads as decimals.
func newReference(l *cluster.Leader, threshold string) *reference {
	t, ok := new(big.Rat).SetString(threshold)
	if !ok {
		panic(threshold)
	}
	return &reference{name: l.Name(), threshold: t.Mul(t, t)}
}

func (r *reference) assign(a intent.Arrival) intent.Assignment {
	v := make([]*big.Int, len(a.Vector))
	for i, q := range a.Vector {
		v[i] = big.NewInt(int64(q))
	}
	norm := product(v, v)
	best, most, similarity := -1, new(big.Rat), 0.0
	for i, s := range r.sums {
		p, n := product(s, v), new(big.Int).Mul(product(s, s), norm)
		if p.Sign() <= 0 {
			continue
		}
		if square := new(big.Rat).SetFrac(new(big.Int).Mul(p, p), n); square.Cmp(most) > 0 {
			best, most = i, square
			wide := new(big.Float).SetPrec(700)
			wide.Quo(wide.SetInt(p), new(big.Float).Sqrt(new(big.Float).SetPrec(700).SetInt(n)))
			similarity, _ = wide.Float64()
		}
	}
	if best < 0 || most.Cmp(r.threshold) < 0 {
		id := events.IntentID(r.name, a.Digest)
		r.ids, r.sums = append(r.ids, id), append(r.sums, v)
		return intent.Assignment{Intent: id, Similarity: 1, Created: true}
	}
	for i, s := range r.sums[best] {
		s.Add(s, v[i])
	}
	return intent.Assignment{Intent: r.ids[best], Similarity: similarity}
}

func product(a, b []*big.Int) *big.Int {
	sum, p := new(big.Int), new(big.Int)
	for i := range a {
		sum.Add(sum, p.Mul(a[i], b[i]))
	}
	return sum
}

// same compares with the bits of the similarity.
func same(a, b intent.Assignment) bool {
	return a.Intent == b.Intent && a.Created == b.Created &&
		math.Float64bits(a.Similarity) == math.Float64bits(b.Similarity)
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func compare(t failer, got, want []intent.Assignment) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d answers, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Fatalf("arrival %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}
