package nearest

import (
	"fmt"
	"math"

	"github.com/tokaworks/toka/internal/kernel"
)

// chunkRows is how many rows are scanned at a time. They fit the second-level
// cache, so that a batch of queries reads each row from memory once.
const chunkRows = 256

// Table is a list of centroids, the oldest first. It is used by one goroutine
// at a time.
type Table struct {
	dim    int
	k      int
	chunks []*chunk

	// Scratch of a search.
	query  kernel.Query
	narrow []int8
	long   []int32
	dots   [chunkRows]int32
	scores []float32
	rough  []float32
	sigma  float64
	signed signed
	left   []int32
	luck   luck
}

// chunk holds up to chunkRows centroids.
type chunk struct {
	rows  []int8    // what is scanned
	scale []float32 // a centroid at unit length is scale times its row, and what is off
	off   []float32 // at least the length of what is off
	bias  []int32   // see kernel.Scan8
	sums  []int32
	wide  map[int][]int64 // sums that do not fit
	norms []Norm
	bits  []uint64 // signs; made when they are wanted first
	sketch
}

// New returns a table of centroids of so many dimensions, at most 65,536.
func New(dim int) *Table {
	if dim < 1 || dim > 1<<16 {
		panic(fmt.Sprintf("nearest: New: %d dimensions", dim))
	}
	return &Table{dim: dim, narrow: make([]int8, dim), long: make([]int32, dim)}
}

// Len returns the number of centroids.
func (t *Table) Len() int { return t.k }

// at returns where the i-th centroid is.
func (t *Table) at(i int) (c *chunk, row int) { return t.chunks[i/chunkRows], i % chunkRows }

// Add appends a centroid of one vector.
func (t *Table) Add(v []int16) {
	sum := make([]int64, t.dim)
	for j, q := range v {
		sum[j] = int64(q)
	}
	t.AddSum(sum)
}

// AddSum appends a centroid. sum must not be zero, and within the range that
// exact.go states.
func (t *Table) AddSum(sum []int64) {
	if t.k%chunkRows == 0 {
		t.chunks = append(t.chunks, t.newChunk())
	}
	c, i := t.at(t.k)
	if n := i + 1; n*t.dim > len(c.rows) { // a small table takes little memory
		c.grow(min(max(2*i, 8), chunkRows), t.dim)
	}
	t.k++
	t.Set(t.k-1, sum)
}

func (t *Table) newChunk() *chunk {
	c := &chunk{}
	if t.k > 0 {
		c.grow(chunkRows, t.dim)
	}
	return c
}

func (c *chunk) grow(n, dim int) {
	c.rows = grown(c.rows, n*dim)
	c.sums = grown(c.sums, n*dim)
	c.scale, c.off, c.bias, c.norms = grown(c.scale, n), grown(c.off, n), grown(c.bias, n), grown(c.norms, n)
	c.bits, c.sketch = nil, sketch{}
}

func grown[T any](s []T, n int) []T {
	out := make([]T, n)
	copy(out, s)
	return out
}

// Set replaces a centroid.
func (t *Table) Set(i int, sum []int64) {
	c, r := t.at(i)
	c.norms[r] = Norm{}
	fits := true
	for _, s := range sum {
		c.norms[r] = c.norms[r].plus(square(uint64(max(s, -s))))
		fits = fits && s >= -maxNarrow && s <= maxNarrow
	}
	if c.norms[r] == (Norm{}) {
		panic("nearest: Set: a sum of length 0")
	}
	delete(c.wide, r)
	if fits {
		narrow := c.sums[r*t.dim:][:t.dim]
		for j, s := range sum {
			narrow[j] = int32(s)
		}
	} else {
		c.widen(r, append([]int64(nil), sum...))
	}
	t.quantize(c, r)
}

// maxNarrow leaves room for one more vector in an int32.
const maxNarrow = math.MaxInt32 - 1<<15

func (c *chunk) widen(r int, sum []int64) {
	if c.wide == nil {
		c.wide = make(map[int][]int64)
	}
	c.wide[r] = sum
}

// Join adds v to a centroid, given the dot product of the two, above 0, and
// |v|^2, which yield the new length without another pass:
// |s+v|^2 = |s|^2 + 2 s.v + |v|^2.
func (t *Table) Join(i int, v []int16, product int64, norm uint64) {
	c, r := t.at(i)
	c.norms[r] = c.norms[r].add(2 * uint64(product)).add(norm)
	if wide := c.wide[r]; wide != nil {
		for j, q := range v {
			wide[j] += int64(q)
		}
		t.quantize(c, r)
		return
	}
	sum := c.sums[r*t.dim:][:t.dim]
	if peak := kernel.Add16(sum, v); peak > maxNarrow {
		wide := make([]int64, t.dim)
		for j, s := range sum {
			wide[j] = int64(s)
		}
		c.widen(r, wide)
		t.quantize(c, r)
	} else {
		t.quantizeNarrow(c, r, peak)
	}
}

// quantize makes the row that stands for a sum in a scan.
func (t *Table) quantize(c *chunk, r int) {
	wide := c.wide[r]
	if wide == nil {
		var peak int32
		for _, s := range c.sums[r*t.dim:][:t.dim] {
			peak = max(peak, s, -s)
		}
		t.quantizeNarrow(c, r, peak)
		return
	}
	row := c.rows[r*t.dim:][:t.dim]
	var peak int64
	for _, s := range wide {
		peak = max(peak, s, -s)
	}
	f := 127 / float64(peak)
	var total, squares int32
	var product, signed float64
	for j, s := range wide {
		q := int32(float64(float64(s)*f)+128.5) - 128
		row[j] = int8(q)
		total += q
		squares += q * q
		product += float64(float64(s) * float64(q))
		m := int64(q >> 31)
		signed += float64((s ^ m) - m)
	}
	t.describe(c, r, total, squares, product, signed)
}

// quantizeNarrow is quantize for a sum that fits, and whose largest magnitude is
// known. Rounding of a float32 can carry a quotient past the peak by a fraction,
// never by half a unit.
func (t *Table) quantizeNarrow(c *chunk, r int, peak int32) {
	d := kernel.Round8(c.rows[r*t.dim:][:t.dim], c.sums[r*t.dim:][:t.dim], 127/float32(peak))
	t.describe(c, r, d.Total, d.Squares, float64(d.Product), float64(d.Signed))
}

// describe keeps what a row is like, given the sums of its components and of their
// squares, and the products of the sum with the row and with the row's signs.
func (t *Table) describe(c *chunk, r int, total, squares int32, product, signed float64) {
	length := math.Sqrt(c.norms[r].Float())
	c.bias[r] = 128 * total
	// The best multiple of the row has the length of the projection; what is off
	// is measured against the multiple as it is stored.
	scale := float32(product / length / float64(squares))
	c.scale[r] = scale
	s := float64(scale)
	rest := 1 - 2*s*(product/length) + s*s*float64(squares)
	c.off[r] = float32(math.Sqrt(max(0, rest))) + slack
	if c.bits != nil {
		t.sign(c, r, signed/length)
	}
}

// slack is more than all the roundings of a score together, as a part of the
// query's length: float64 arithmetic is good to 1e-15, which the square root in
// quantize can blow up to 1e-7, and float32 to 1e-7 of numbers below 2.
const slack = 4e-6

// Product returns the dot product of a centroid's sum and v.
func (t *Table) Product(i int, v []int16) int64 {
	c, r := t.at(i)
	if wide := c.wide[r]; wide != nil {
		return dot64(wide, v)
	}
	return kernel.Dot32(c.sums[r*t.dim:][:t.dim], v)
}

// Norm returns the squared length of a centroid's sum.
func (t *Table) Norm(i int) Norm {
	c, r := t.at(i)
	return c.norms[r]
}

// Sum appends a centroid's sum to dst.
func (t *Table) Sum(dst []int64, i int) []int64 {
	c, r := t.at(i)
	if wide := c.wide[r]; wide != nil {
		return append(dst, wide...)
	}
	for _, s := range c.sums[r*t.dim:][:t.dim] {
		dst = append(dst, int64(s))
	}
	return dst
}

// Row returns the 8-bit row of a centroid and its scale. It is not to be
// changed, and changes with the centroid.
func (t *Table) Row(i int) (row []int8, scale float32) {
	c, r := t.at(i)
	return c.rows[r*t.dim:][:t.dim], c.scale[r]
}

// Bytes returns the memory that the table takes.
func (t *Table) Bytes() int {
	n := 0
	for _, c := range t.chunks {
		n += len(c.rows) + 4*(len(c.scale)+len(c.off)+len(c.bias)+len(c.sums)) + 16*len(c.norms) + 8*len(c.bits) + 4*len(c.lean) + 4*len(c.rest)
		n += len(c.wide) * (8*t.dim + 48)
	}
	return n
}
