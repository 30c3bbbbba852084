package static

import (
	"context"
	"fmt"
	"math/bits"
)

// Name is the name of the model. The number in it is another one whenever a text
// gets another vector: a journal refuses to mix the two.
const Name = "toka-static/2"

// Dimension is the length of its vectors.
const Dimension = width + lexical

// Embedder is the built-in model. The zero Embedder is ready to use; all of
// them share one table, which the first use reads.
type Embedder struct{}

// Name implements intent.Embedder.
func (Embedder) Name() string { return Name }

// Dimension implements intent.Embedder.
func (Embedder) Dimension() int { return Dimension }

// Embed implements intent.Embedder. It fails only when ctx ends. The vector of a
// text without any words or marks is nil.
func (Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	t := load()
	out := make([][]float32, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("intent/static: %w", err)
		}
		out[i] = t.embed(text)
	}
	return out, nil
}

// one is the length of a vector before it becomes floats, which hold all whole
// numbers up to here exactly.
const one = 1 << 20

// The two halves stand at a right angle; these are their lengths. The squares
// add up to that of one, and the second half counts half as much as the first.
const (
	meaningLength = 937_875
	lexicalLength = 468_938
)

// embed returns the vector of a text, or nil.
func (t *table) embed(text string) []float32 {
	var meaning [width]int64
	var l lexicon
	var room [64]int32
	split(text, func(w []byte, mark bool) {
		for _, row := range t.pieces(room[:0], w) {
			add(&meaning, row)
		}
		if !mark {
			l.word(w)
		}
	})
	lengths := [2]int64{meaningLength, lexicalLength}
	a, b := level(meaning[:]), level(l.sum[:])
	switch {
	case a == 0 && b == 0:
		return nil
	case a == 0:
		lengths[1] = one
	case b == 0:
		lengths[0] = one
	}
	v := make([]float32, 0, Dimension)
	v = stretch(v, meaning[:], a, lengths[0])
	return stretch(v, l.sum[:], b, lengths[1])
}

// level doubles or halves all numbers until the largest has 26 bits, so that the
// sum of their squares is precise and cannot overflow, and returns its root,
// rounded down. It is 0 if all are.
func level(xs []int64) int64 {
	var all uint64
	for _, x := range xs {
		all |= uint64(max(x, -x))
	}
	up := max(0, 26-bits.Len64(all))
	down := max(0, bits.Len64(all)-26)
	var square uint64
	for i := range xs {
		xs[i] = xs[i] << up >> down
		square += uint64(xs[i] * xs[i])
	}
	return int64(root(square))
}

// root is the whole part of the square root.
func root(x uint64) uint64 {
	if x == 0 {
		return 0
	}
	// Newton's steps from above fall until they are there.
	r := uint64(1) << ((bits.Len64(x) + 1) / 2)
	for {
		next := (r + x/r) / 2
		if next >= r {
			return r
		}
		r = next
	}
}

// stretch appends xs, which have the given length, at another one.
func stretch(v []float32, xs []int64, length, to int64) []float32 {
	for _, x := range xs {
		if length > 0 {
			x = x * to / length
		}
		v = append(v, float32(x)/one)
	}
	return v
}
