package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

// nearestRow is what bench intent prints for the search among so many centroids.
// Times are of one query, on one core: the median of the passes.
type nearestRow struct {
	Benchmark     string  `json:"benchmark"`
	K             int     `json:"k"`
	Dimension     int     `json:"dimension"`
	Kernel        string  `json:"kernel"`
	Exact         float64 `json:"exact_us"`
	Batch         float64 `json:"batch_us"` // of a batch of 64
	Approximate   float64 `json:"approximate_us"`
	Recall        float64 `json:"approximate_recall_at_1"`
	Gonum         float64 `json:"gonum_us"` // blas32.Gemv: all products, nothing ranked
	Ratio         float64 `json:"ratio_to_gonum"`
	CentroidBytes float64 `json:"bytes_per_centroid"`
	QueriesNoise  float64 `json:"query_cosine"` // mean cosine of a query to the centroid it was made of
}

const (
	nearestQueries    = 512
	nearestBatch      = 64
	nearestCandidates = 256
)

func (a *app) benchNearest(ctx context.Context) error {
	table := a.table()
	if !a.json() {
		fmt.Fprintf(a.streams.Out, "\nnearest of k centroids of %d dimensions, %s, microseconds a query\n", intent.DefaultDimension, kernel.Name())
		fmt.Fprintln(table, "k\texact\tin a batch\tapproximate\trecall@1\tgonum\tgonum/exact\tbytes")
	}
	for _, k := range []int{1000, 10000, 100000} {
		r, err := measureNearest(ctx, k)
		if err != nil {
			return err
		}
		if a.json() {
			if err := a.object(r); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(table, "%d\t%.1f\t%.1f\t%.1f\t%.4f\t%.1f\t%.2f\t%.0f\n", r.K, r.Exact, r.Batch, r.Approximate, r.Recall, r.Gonum, r.Ratio, r.CentroidBytes)
	}
	return table.Flush()
}

func measureNearest(ctx context.Context, k int) (*nearestRow, error) {
	const dim = intent.DefaultDimension
	r := rand.New(rand.NewPCG(uint64(k), 1))
	t := nearest.New(dim)
	rows := make([]float32, 0, k*dim)
	made := make([][]int16, 0, nearestQueries)
	for i := range k {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		x := make([]float32, dim)
		for j := range x {
			x[j] = float32(r.NormFloat64())
		}
		v, err := intent.Quantize(x, dim)
		if err != nil {
			return nil, err
		}
		t.Add(v)
		for _, q := range v {
			rows = append(rows, float32(q)*(1.0/32768))
		}
		if step := max(1, k/nearestQueries); i%step == 0 && len(made) < nearestQueries {
			made = append(made, v)
		}
	}
	queries := make([][]int16, len(made))
	for i, v := range made {
		x := make([]float32, dim)
		for j := range x {
			x[j] = float32(v[j])*(1.0/32768) + float32(r.NormFloat64())*(0.8/27.7) // a cosine of about .78
		}
		q, err := intent.Quantize(x, dim)
		if err != nil {
			return nil, err
		}
		queries[i] = q
	}
	row := &nearestRow{Benchmark: "nearest", K: k, Dimension: dim, Kernel: kernel.Name()}
	exact := make([]int, len(queries))
	found := 0
	for i, q := range queries {
		exact[i], _ = t.Nearest(q)
		if best, _ := t.Approximate(q, nearestCandidates); best == exact[i] {
			found++
		}
		row.QueriesNoise += float64(kernel.Dot16(q, made[i])) / (1 << 30) / float64(len(queries))
	}
	row.Recall = float64(found) / float64(len(queries))
	row.CentroidBytes = float64(t.Bytes()) / float64(k)

	m := blas32.General{Rows: k, Cols: dim, Stride: dim, Data: rows}
	y := blas32.Vector{N: k, Inc: 1, Data: make([]float32, k)}
	x := blas32.Vector{N: dim, Inc: 1, Data: make([]float32, dim)}
	runtime.GC()
	// The four take turns, so that what else the machine does hits all alike, each
	// with some queries in a row, so that none is measured by what the one before it
	// left in the cache.
	const inARow = 8
	var times [4][]float64
	for round, begun := 0, time.Now(); round < 5 || round < nearestQueries/inARow && time.Since(begun) < 3*time.Second; round++ {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		for n, f := range []func(q []int16){
			func(q []int16) { t.Nearest(q) },
			func([]int16) { t.NearestBatch(queries[:nearestBatch]) },
			func(q []int16) { t.Approximate(q, nearestCandidates) },
			func([]int16) { blas32.Gemv(blas.NoTrans, 1, m, x, 0, y) },
		} {
			for i := range inARow {
				q := queries[(round*inARow+i)%len(queries)]
				if n == 1 && i > 0 {
					break // has many queries itself
				}
				for j, c := range q {
					x.Data[j] = float32(c) * (1.0 / 32768)
				}
				start := time.Now()
				f(q)
				times[n] = append(times[n], microseconds(time.Since(start)))
			}
		}
	}
	for n := range times {
		slices.Sort(times[n])
	}
	median := func(n int) float64 { return times[n][len(times[n])/2] }
	row.Exact, row.Batch, row.Approximate, row.Gonum = median(0), median(1)/nearestBatch, median(2), median(3)
	row.Ratio = row.Gonum / row.Exact
	return row, nil
}
