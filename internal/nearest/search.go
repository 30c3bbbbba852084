package nearest

import (
	"math"

	"github.com/tokaworks/toka/internal/kernel"
)

// prepare makes v the query: 8 bits a component for the scan, and how far off
// those are.
func (t *Table) prepare(v []int16) (scale float64) {
	clear(t.long)
	peak := kernel.Add16(t.long, v)
	d := kernel.Round8(t.narrow, t.long, 127/float32(max(peak, 1)))
	product, squares, norm := d.Product, int64(d.Squares), int64(kernel.Dot16(v, v))
	t.query.Set(t.narrow)
	// Everything is taken as a part of the query's length.
	length := math.Sqrt(float64(norm))
	if squares == 0 || length == 0 {
		t.sigma = 1
		return 0
	}
	scale = float64(product) / float64(squares) / length
	rest := 1 - 2*scale*(float64(product)/length) + scale*scale*float64(squares)
	t.sigma = math.Sqrt(max(0, rest)) + slack
	return scale
}

// scan fills t.scores with the approximate cosine of each centroid, and t.rough
// with what it is at most. least is what the largest cosine is at least.
//
// With u the centroid at unit length, c its row, a its scale and r what is off,
// u = ac + r, and with the query q = bp + e likewise, u.q = ab c.p + a c.e + r.q:
// the score ab c.p is off by at most |ac||e| + |r|, and |ac| <= 1 + |r|.
func (t *Table) scan(v []int16) (least float32) {
	if cap(t.scores) < t.k {
		t.scores, t.rough = make([]float32, t.k+t.k/2), make([]float32, t.k+t.k/2)
	}
	t.scores, t.rough = t.scores[:t.k], t.rough[:t.k]
	b := t.prepare(v)
	return t.scanChunks(b, 0, len(t.chunks), float32(math.Inf(-1)))
}

func (t *Table) scanChunks(b float64, from, to int, least float32) float32 {
	sigma, scale := float32(t.sigma), float32(b)
	for n := from; n < to; n++ {
		c := t.chunks[n]
		base := n * chunkRows
		rows := min(t.k-base, chunkRows)
		dots := t.dots[:rows]
		t.products(c, rows, &t.query)
		scales, offs := c.scale[:rows], c.off[:rows]
		scores, rough := t.scores[base:][:rows], t.rough[base:][:rows]
		for i, d := range dots {
			score := float32(float32(float32(d)*scales[i]) * scale)
			off := offs[i]
			off += float32((1 + off) * sigma)
			scores[i] = score
			rough[i] = score + off
			if s := score - off; s > least {
				least = s
			}
		}
	}
	return least
}

// products fills t.dots. It computes some more than asked for, up to a multiple
// of what the kernels take at once: a chunk has room for them.
func (t *Table) products(c *chunk, rows int, q *kernel.Query) {
	n := (rows + 3) &^ 3
	kernel.Scan8(t.dots[:n], c.rows[:n*t.dim], q, c.bias[:n])
}

// Nearest returns the oldest of the centroids whose cosine to v is the largest,
// and the dot product of its sum and v. If no cosine is positive the product is
// 0 and the centroid has no meaning.
func (t *Table) Nearest(v []int16) (best int, product int64) {
	if t.k == 0 {
		return 0, 0
	}
	if t.k >= sketchFrom && t.luck.try() {
		if best, product, ok := t.sketchNearest(v); ok {
			return best, product
		}
	}
	return t.rank(v, t.scan(v))
}

// rank goes through the centroids that could be the nearest.
func (t *Table) rank(v []int16, least float32) (best int, product int64) {
	least = max(least, 0)
	for i, r := range t.rough {
		if r >= least {
			best, product = t.better(i, v, best, product)
		}
	}
	return best, product
}

// better is the i-th centroid if it is nearer than the best so far, which is
// older.
func (t *Table) better(i int, v []int16, best int, product int64) (int, int64) {
	if p := t.Product(i, v); p > 0 && (product == 0 || nearer(p, t.Norm(i), product, t.Norm(best))) {
		return i, p
	}
	return best, product
}

// Scores scans without ranking: it returns the cosine of v to each centroid,
// a hundredth off at most. The slice is the table's and good until the next
// call.
func (t *Table) Scores(v []int16) []float32 {
	if t.k == 0 {
		return nil
	}
	t.scan(v)
	return t.scores
}

// Reaches reports whether the cosine of a centroid with a positive dot product
// to a vector with the squared length norm is at least so many billionths.
func (t *Table) Reaches(i int, product int64, norm, billionths uint64) bool {
	return reaches(product, t.Norm(i), norm, billionths)
}

// Cosine returns the cosine of a centroid to a vector with the squared length
// norm, given their dot product, rounded once.
func (t *Table) Cosine(i int, product int64, norm uint64) float64 {
	if product <= 0 {
		return 0
	}
	return cosine(product, t.Norm(i), norm)
}
