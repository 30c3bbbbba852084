package nearest_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

func gaussian(r *rand.Rand, dim int) []int16 {
	x := make([]float32, dim)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return quantize(x)
}

func quantize(x []float32) []int16 {
	v, err := intent.Quantize(x, len(x))
	if err != nil {
		panic(err)
	}
	return v
}

// near moves v by about so much.
func near(r *rand.Rand, v []int16, noise float64) []int16 {
	x := make([]float32, len(v))
	for i, q := range v {
		x[i] = float32(float64(q)/32767 + noise*r.NormFloat64()/sqrtDim(len(v)))
	}
	return quantize(x)
}

func sqrtDim(n int) float64 {
	f, _ := new(big.Float).Sqrt(big.NewFloat(float64(n))).Float64()
	return f
}

// slow ranks all with integers of any size.
func slow(t *nearest.Table, v []int16) (best int, product int64) {
	most := new(big.Rat)
	for i := range t.Len() {
		p, n := new(big.Int), new(big.Int)
		for j, s := range t.Sum(nil, i) {
			p.Add(p, new(big.Int).Mul(big.NewInt(s), big.NewInt(int64(v[j]))))
			n.Add(n, new(big.Int).Mul(big.NewInt(s), big.NewInt(s)))
		}
		if p.Sign() <= 0 {
			continue
		}
		if c := new(big.Rat).SetFrac(new(big.Int).Mul(p, p), n); c.Cmp(most) > 0 {
			best, product, most = i, p.Int64(), c
		}
	}
	return best, product
}

func norm(v []int16) (n uint64) {
	for _, q := range v {
		n += uint64(int64(q) * int64(q))
	}
	return n
}

// streams are hard in their own ways: unrelated, crowded, tied, spiked.
var streams = map[string]func(r *rand.Rand, dim int) func() []int16{
	"random": func(r *rand.Rand, dim int) func() []int16 {
		return func() []int16 { return gaussian(r, dim) }
	},
	"crowded": func(r *rand.Rand, dim int) func() []int16 {
		centre := gaussian(r, dim)
		return func() []int16 { return near(r, centre, 0.02) }
	},
	"tied": func(r *rand.Rand, dim int) func() []int16 {
		return func() []int16 {
			x := make([]float32, dim)
			for range 4 {
				x[r.IntN(dim)] = float32(1 - 2*r.IntN(2))
			}
			x[0] += 8
			return quantize(x)
		}
	},
	"one spike": func(r *rand.Rand, dim int) func() []int16 {
		return func() []int16 {
			x := make([]float32, dim)
			x[0] = 1
			for i := 1; i < dim; i++ {
				x[i] = float32(r.NormFloat64()) * 1e-3
			}
			return quantize(x)
		}
	},
}

func TestNearestIsExact(t *testing.T) {
	for name, stream := range streams {
		for _, dim := range []int{5, 64, 768} {
			r := rand.New(rand.NewPCG(1, uint64(dim)))
			next := stream(r, dim)
			table := nearest.New(dim)
			for i := range 60 {
				v := next()
				best, product := table.Nearest(v)
				if wb, wp := slow(table, v); product != wp || product > 0 && best != wb {
					t.Fatalf("%s, dim %d, %d: %d (%d), want %d (%d)", name, dim, i, best, product, wb, wp)
				}
				if product > 0 && i%3 != 0 {
					table.Join(best, v, product, norm(v))
				} else {
					table.Add(v)
				}
			}
			vs := make([][]int16, 40)
			for i := range vs {
				vs[i] = next()
			}
			for i, m := range table.NearestBatch(vs) {
				if best, product := table.Nearest(vs[i]); m.Row != best || m.Product != product {
					t.Fatalf("%s, dim %d: batch %d: %+v, want %d (%d)", name, dim, i, m, best, product)
				}
			}
		}
	}
}

// Enough centroids for sketches, the sums of some of them long, against a look at
// all of them; in plain Go too.
func TestSketchesAreExact(t *testing.T) {
	defer kernel.Pure(kernel.Pure(false))
	for name, stream := range streams {
		for _, dim := range []int{64, 100, 768} {
			r := rand.New(rand.NewPCG(2, uint64(dim)))
			next := stream(r, dim)
			table := nearest.New(dim)
			for table.Len() < nearest.SketchFrom+100 {
				table.Add(next())
			}
			for i := range 20 {
				v := next()
				if i%2 == 0 { // near to one of them, more or less
					x, scale := make([]float32, dim), float32(norm(v))
					at := r.IntN(table.Len())
					for j, s := range table.Sum(nil, at) {
						x[j] = float32(s) + float32(v[j])*float32(i)/16
					}
					if v = quantize(x); scale == 0 || len(v) == 0 {
						continue
					}
				}
				kernel.Pure(i%3 == 0)
				best, product := table.Nearest(v)
				if wb, wp := ranked(table, v); product != wp || product > 0 && best != wb {
					t.Fatalf("%s, dim %d, %d: %d (%d), want %d (%d)", name, dim, i, best, product, wb, wp)
				}
				if m := table.NearestBatch([][]int16{next(), v}); m[1].Product != product || product > 0 && m[1].Row != best {
					t.Fatalf("%s, dim %d, %d: batch %+v, want %d (%d)", name, dim, i, m[1], best, product)
				}
				if name == "random" && dim == 768 && i%2 == 0 && i < 13 && !table.Told() {
					t.Fatalf("%d: what stands out was not told by sketches", i)
				}
				if product > 0 {
					table.Join(best, v, product, norm(v))
				}
			}
		}
	}
}

// ranked is slow for many rows.
func ranked(t *nearest.Table, v []int16) (best int, product int64) {
	var p2, n2 big.Int
	most := 0.0
	for i := range t.Len() {
		p := t.Product(i, v)
		cosine := float64(p) / math.Sqrt(t.Norm(i).Float())
		if p <= 0 || cosine < most*(1-1e-9) {
			continue
		}
		most = max(most, cosine)
		var n, q, square big.Int
		for _, s := range t.Sum(nil, i) {
			q.SetInt64(s)
			n.Add(&n, square.Mul(&q, &q))
		}
		q.SetInt64(p)
		q.Mul(&q, &q)
		if product == 0 || new(big.Int).Mul(&q, &n2).Cmp(new(big.Int).Mul(&p2, &n)) > 0 {
			best, product = i, p
			p2.Set(&q)
			n2.Set(&n)
		}
	}
	return best, product
}

// Across chunks, and with the kernels off.
func TestKernelsGiveTheSameAnswers(t *testing.T) {
	defer kernel.Pure(kernel.Pure(false))
	r := rand.New(rand.NewPCG(3, 3))
	const dim, k = 768, 1700
	table := nearest.New(dim)
	vs := make([][]int16, k)
	for i := range vs {
		vs[i] = gaussian(r, dim)
		table.Add(vs[i])
	}
	queries := make([][]int16, 50)
	for i := range queries {
		queries[i] = near(r, vs[r.IntN(k)], float64(i)/10)
	}
	run := func() (out []string) {
		for i, m := range table.NearestBatch(queries) {
			row, product := table.Nearest(queries[i])
			near, p := table.Approximate(queries[i], 100)
			scores := slices.Clone(table.Scores(queries[i]))
			out = append(out, fmt.Sprint(m, row, product, near, p, scores))
			if m.Row != row || m.Product != product {
				t.Errorf("batch %+v, alone %d %d", m, row, product)
			}
		}
		return out
	}
	kernel.Pure(true)
	want := run()
	kernel.Pure(false)
	if got := run(); !slices.Equal(got, want) {
		t.Error("other answers with the kernels in assembly")
	}
	for i, m := range table.NearestBatch(vs) {
		if m.Row != i {
			t.Fatalf("centroid %d is nearest to %d", i, m.Row)
		}
	}
}

// A sum that leaves 32 bits goes on in 64.
func TestLongSums(t *testing.T) {
	table := nearest.New(2)
	x, y := quantize([]float32{1, 0}), quantize([]float32{0, 1})
	table.Add(x)
	table.Add(y)
	for range 70000 {
		table.Join(0, x, table.Product(0, x), norm(x))
	}
	if got := table.Sum(nil, 0); got[0] != 70001*32767 || got[1] != 0 {
		t.Errorf("sum %v", got)
	}
	for _, v := range [][]int16{x, y, quantize([]float32{3, 2}), quantize([]float32{2, 3})} {
		best, product := table.Nearest(v)
		if wb, wp := slow(table, v); best != wb || product != wp {
			t.Errorf("%v: %d (%d), want %d (%d)", v, best, product, wb, wp)
		}
	}
	table.Set(0, []int64{7, 0})
	if got := table.Sum(nil, 0); got[0] != 7 || table.Product(0, x) != 7*32767 {
		t.Errorf("after Set: %v", got)
	}
}

func TestApproximateFindsWhatStandsOut(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	const dim, k, queries = 768, 3000, 400
	table := nearest.New(dim)
	vs := make([][]int16, k)
	for i := range vs {
		vs[i] = gaussian(r, dim)
		table.Add(vs[i])
	}
	found := 0
	for range queries {
		v := near(r, vs[r.IntN(k)], 1)
		want, _ := table.Nearest(v)
		if got, _ := table.Approximate(v, 64); got == want {
			found++
		}
	}
	if recall := float64(found) / queries; recall < 0.995 {
		t.Errorf("recall@1 %.4f, want 0.995", recall)
	}
}

func TestBytes(t *testing.T) {
	table := nearest.New(768)
	r := rand.New(rand.NewPCG(7, 7))
	const k = 2048
	for range k {
		table.Add(gaussian(r, 768))
	}
	table.Approximate(gaussian(r, 768), 10)
	if got := float64(table.Bytes()) / k; got > 4000 {
		t.Errorf("%.0f bytes a centroid", got)
	}
}

func BenchmarkNearest(b *testing.B) {
	const dim = 768
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range []int{1000, 10000} {
		table := nearest.New(dim)
		vs := make([][]int16, k)
		for i := range vs {
			vs[i] = gaussian(r, dim)
			table.Add(vs[i])
		}
		queries := make([][]int16, 64)
		for i := range queries {
			queries[i] = near(r, vs[r.IntN(k)], 0.8)
		}
		b.Run(fmt.Sprintf("k=%d/exact", k), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				table.Nearest(queries[i%64])
			}
		})
		b.Run(fmt.Sprintf("k=%d/batch", k), func(b *testing.B) {
			for b.Loop() {
				table.NearestBatch(queries)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/query")
		})
		b.Run(fmt.Sprintf("k=%d/approximate", k), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				table.Approximate(queries[i%64], 200)
			}
		})
		b.Run(fmt.Sprintf("k=%d/join", k), func(b *testing.B) {
			v := vs[0]
			for b.Loop() {
				table.Join(0, v, 1, 1)
			}
		})
	}
}
