package nearest

import (
	"slices"

	"github.com/tokaworks/toka/internal/kernel"
)

// Approximate is Nearest that looks only at so many candidates: those whose
// components agree in sign with those of v the most often. It reads an eighth
// of what Nearest reads, and finds the same where the nearest stands out.
func (t *Table) Approximate(v []int16, candidates int) (best int, product int64) {
	if t.k <= candidates {
		return t.Nearest(v)
	}
	b := t.prepare(v)
	words := t.words()
	q := make([]uint64, words)
	kernel.Signs(q, t.narrow)
	// How many rows have how many bits off; then the bound that lets enough in.
	off := make([]uint16, t.k)
	counts := make([]int32, t.dim+1)
	t.sketchAll()
	for n, c := range t.chunks {
		base := n * chunkRows
		o := off[base:min(base+chunkRows, t.k)]
		kernel.Hamming(o, c.bits, q)
		for _, d := range o {
			counts[d]++
		}
	}
	most, total := 0, int32(0)
	for total+counts[most] < int32(candidates) {
		total += counts[most]
		most++
	}
	type candidate struct {
		row   int
		score float32
	}
	found := make([]candidate, 0, candidates+int(counts[most]))
	for i, d := range off {
		if int(d) <= most {
			found = append(found, candidate{row: i})
		}
	}
	rows, bias := make([]int8, 0, chunkRows*t.dim), make([]int32, 0, chunkRows)
	for some := range slices.Chunk(found, chunkRows) {
		rows, bias = rows[:0], bias[:0]
		for _, f := range some {
			c, r := t.at(f.row)
			rows, bias = append(rows, c.rows[r*t.dim:][:t.dim]...), append(bias, c.bias[r])
		}
		for len(bias)%4 != 0 {
			rows, bias = append(rows, rows[:t.dim]...), append(bias, bias[0])
		}
		kernel.Scan8(t.dots[:len(bias)], rows, &t.query, bias)
		for i := range some {
			c, r := t.at(some[i].row)
			some[i].score = float32(float32(float32(t.dots[i])*c.scale[r]) * float32(b))
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return a.row - b.row
	})
	// The 8-bit scores are a hundredth off: a few are ranked by the sums.
	for _, f := range found[:min(8, len(found))] {
		p := t.Product(f.row, v)
		if p <= 0 {
			continue
		}
		if product == 0 || nearer(p, t.Norm(f.row), product, t.Norm(best)) ||
			f.row < best && !nearer(product, t.Norm(best), p, t.Norm(f.row)) {
			best, product = f.row, p
		}
	}
	return best, product
}
