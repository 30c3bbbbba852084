package nearest

import (
	"math"

	"github.com/tokaworks/toka/internal/kernel"
)

// Match is an answer of NearestBatch.
type Match struct {
	Row     int
	Product int64
}

// share is how many vectors share a pass: their bounds take four bytes a
// centroid each.
const (
	share     = 16
	signShare = 4 // of a pass over signs, which are soon read
)

// NearestBatch is Nearest for many vectors, which share each pass over the
// centroids.
func (t *Table) NearestBatch(vs [][]int16) []Match {
	out := make([]Match, len(vs))
	if t.k == 0 {
		return out
	}
	var signs []signed
	var states []state
	left := make([]int, 0, share)
	for from := 0; from < len(vs); from += share {
		left = left[:0]
		for i := from; i < min(from+share, len(vs)); i++ {
			left = append(left, i)
		}
		if t.k >= sketchFrom && t.luck.try() {
			if signs == nil {
				signs = make([]signed, signShare)
			}
			left = t.sketchBatch(vs, left, signs, out)
		}
		if len(left) == 0 {
			continue
		}
		for len(states) < len(left) {
			states = append(states, state{rough: make([]float32, t.k)})
		}
		t.scanBatch(vs, left, states, out)
	}
	return out
}

// sketchBatch answers what sketches can, and returns what is left.
func (t *Table) sketchBatch(vs [][]int16, some []int, signs []signed, out []Match) (left []int) {
	t.sketchAll()
	all := len(some)
	left = some[:0]
	for len(some) > 0 {
		n := min(len(some), len(signs))
		for i, v := range some[:n] {
			signs[i].set(vs[v], t.narrow)
			signs[i].rough = resized(signs[i].rough, t.k)
		}
		for c := range t.chunks {
			for i := range n {
				t.sketchChunk(&signs[i], c)
			}
		}
		for i, v := range some[:n] {
			if best, product, ok := t.settle(&signs[i], vs[v]); ok {
				out[v] = Match{best, product}
			} else {
				left = append(left, v)
			}
		}
		some = some[n:]
	}
	t.luck.note(2*len(left) <= all)
	return left
}

// state is a query of a batch.
type state struct {
	query        kernel.Query
	scale, sigma float32
	least        float32
	rough        []float32 // upper bounds
}

// scanBatch answers some of the vectors by rows.
func (t *Table) scanBatch(vs [][]int16, some []int, states []state, out []Match) {
	for i, v := range some {
		s := &states[i]
		s.scale = float32(t.prepare(vs[v]))
		s.query.Set(t.narrow)
		s.sigma, s.least = float32(t.sigma), float32(math.Inf(-1))
	}
	for ci, c := range t.chunks {
		base := ci * chunkRows
		rows := min(t.k-base, chunkRows)
		for i := range some {
			s := &states[i]
			dots := t.dots[:rows]
			t.products(c, rows, &s.query)
			scales, offs, rough := c.scale[:rows], c.off[:rows], s.rough[base:][:rows]
			least := s.least
			for j, d := range dots {
				score := float32(float32(float32(d)*scales[j]) * s.scale)
				off := offs[j]
				off += float32((1 + off) * s.sigma)
				rough[j] = score + off
				least = max(least, score-off)
			}
			s.least = least
		}
	}
	kept := t.rough
	for i, v := range some {
		t.rough = states[i].rough
		row, product := t.rank(vs[v], states[i].least)
		out[v] = Match{row, product}
	}
	t.rough = kept
}
