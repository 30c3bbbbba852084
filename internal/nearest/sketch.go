package nearest

import (
	"math"

	"github.com/tokaworks/toka/internal/kernel"
)

// A sketch is the signs of a centroid's components, an eighth of what a row
// takes. With s the signs at unit length, a centroid u at unit length is as + r,
// where a = u.s and r is at a right angle to s, so that |r| is the root of
// 1 - a*a. For a query q of unit length u.q = a s.q + r.q, which is at most
// a s.q + |r|. That is a loose bound: r is .6 long for a centroid that points
// anywhere, so only what is at a cosine of .7 or more tells it from all others.
// Where it does, nothing else has to be read; where it does not, rows are.

// sketchFrom is how many centroids make it worth while: the rows of fewer are in the
// second-level cache, and as quick.
const sketchFrom = 1536

// sketch is what is kept of the signs of a chunk, beside them.
type sketch struct {
	lean []float32 // a, at least 0
	rest []float32 // at least |r|
}

// sign makes the sketch of a centroid, whose product with the signs of its row is
// given. A row can be 0 where the sum is not: what counts is what the bits say.
func (t *Table) sign(c *chunk, r int, product float64) {
	words := t.words()
	kernel.Signs(c.bits[r*words:][:words], c.rows[r*t.dim:][:t.dim])
	a := product / math.Sqrt(float64(t.dim))
	if !(a > 0) { // spikes; it is never passed over
		c.lean[r], c.rest[r] = 0, 2
		return
	}
	c.lean[r] = float32(a)
	c.rest[r] = float32(math.Sqrt(max(0, 1-a*a))) + slack
}

func (t *Table) words() int { return (t.dim + 63) / 64 }

// sketchAll makes the sketches that there are not yet.
func (t *Table) sketchAll() {
	for n, c := range t.chunks {
		if c.bits != nil {
			continue
		}
		c.bits = make([]uint64, len(c.scale)*t.words())
		c.sketch = sketch{make([]float32, len(c.scale)), make([]float32, len(c.scale))}
		for r := range min(t.k-n*chunkRows, chunkRows) {
			t.quantize(c, r)
		}
	}
}

// signed is a query in the form that is compared with sketches: s.q is within
// off of f times the sum of its components, each with the sign of s.
type signed struct {
	query  kernel.Signed
	total  int32 // of all components
	f, off float32

	rough []float32 // what the cosine of each centroid is at most
	best  int       // where that is the largest
}

// set makes v the query.
func (x *signed) set(v []int16, narrow []int8) {
	var norm int64
	var peak int32
	for _, q := range v {
		norm += int64(q) * int64(q)
		peak = max(peak, int32(q), -int32(q))
	}
	// Few bits are better spent on what most components are than on the largest.
	const clip = 2.9
	length := math.Sqrt(float64(norm))
	f := kernel.MaxSigned / float32(max(1, min(float64(peak), clip*length/math.Sqrt(float64(len(v))))))
	var product, squares int64
	x.total = 0
	for j, q := range v {
		n := int32(float32(float32(q)*f)+kernel.MaxSigned+65.5) - kernel.MaxSigned - 65
		n = max(-kernel.MaxSigned, min(kernel.MaxSigned, n))
		narrow[j] = int8(n)
		x.total += n
		product += int64(n) * int64(q)
		squares += int64(n) * int64(n)
	}
	x.query.Set(narrow)
	if squares == 0 {
		x.f, x.off = 0, 1
		return
	}
	scale := float64(product) / float64(squares) / length
	rest := 1 - 2*scale*(float64(product)/length) + scale*scale*float64(squares)
	x.f = float32(scale / math.Sqrt(float64(len(v))))
	x.off = float32(math.Sqrt(max(0, rest))) + slack
}

// sketchChunk bounds the cosines of a chunk's centroids.
func (t *Table) sketchChunk(x *signed, n int) {
	c, base := t.chunks[n], n*chunkRows
	rows := min(t.k-base, chunkRows)
	dots := t.dots[:rows]
	kernel.ScanSigns(dots, c.bits[:rows*t.words()], &x.query)
	lean, rest, rough := c.lean[:rows], c.rest[:rows], x.rough[base:][:rows]
	best, most := 0, float32(math.Inf(-1))
	if n > 0 {
		best, most = x.best, x.rough[x.best]
	}
	for i, d := range dots {
		bound := lean[i]*(float32(x.total-2*d)*x.f+x.off) + rest[i]
		rough[i] = bound
		if bound > most {
			best, most = base+i, bound
		}
	}
	x.best = best
}

// settle ranks what the bounds leave, if that is little.
func (t *Table) settle(x *signed, v []int16) (best int, product int64, ok bool) {
	guess := t.Product(x.best, v)
	if guess <= 0 {
		return 0, 0, false
	}
	norm := uint64(kernel.Dot16(v, v))
	least := float32(float64(guess)/math.Sqrt(t.Norm(x.best).Float()*float64(norm))) - slack
	t.left = t.left[:0]
	most := 32 + t.k/256
	for i, r := range x.rough {
		if r >= least {
			if len(t.left) == most {
				return 0, 0, false
			}
			t.left = append(t.left, int32(i))
		}
	}
	for _, i := range t.left {
		best, product = t.better(int(i), v, best, product)
	}
	return best, product, true
}

// sketchNearest is Nearest by sketches; not ok if they do not tell.
func (t *Table) sketchNearest(v []int16) (best int, product int64, ok bool) {
	t.sketchAll()
	x := &t.signed
	x.set(v, t.narrow)
	x.rough = resized(x.rough, t.k)
	for n := range t.chunks {
		t.sketchChunk(x, n)
	}
	best, product, ok = t.settle(x, v)
	t.luck.note(ok)
	return best, product, ok
}

// resized keeps the memory of s, if there is enough.
func resized(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n, n+n/2)
	}
	return s[:n]
}

// luck decides whether sketches are worth a look: the more often in a row they
// did not tell, the more queries go without. No answer depends on it.
type luck struct{ misses, skip int }

func (l *luck) try() bool {
	if l.skip > 0 {
		l.skip--
		return false
	}
	return true
}

func (l *luck) note(hit bool) {
	if hit {
		*l = luck{}
		return
	}
	l.misses = min(l.misses+1, 7)
	l.skip = 1<<l.misses - 1
}
