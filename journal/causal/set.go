package causal

import (
	"iter"
	"math/bits"
	"slices"
)

// Positions are kept as bits in blocks of this many.
const blockBits = 4096

type block struct {
	words [blockBits / 64]uint64
	notes []uint32 // by bit, where notes are taken
}

// set is a set of positions.
type set map[uint64]*block

func (s set) add(position uint64) {
	b := s[position/blockBits]
	if b == nil {
		b = &block{}
		s[position/blockBits] = b
	}
	b.words[position%blockBits/64] |= 1 << (position % 64)
}

func (s set) has(position uint64) bool {
	b := s[position/blockBits]
	return b != nil && b.words[position%blockBits/64]&(1<<(position%64)) != 0
}

// up yields the positions of the set, ascending, as they are when their block
// is reached.
func (s set) up() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		numbers := make([]uint64, 0, len(s))
		for n := range s {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			for w, word := range s[n].words {
				for ; word != 0; word &= word - 1 {
					if !yield(n*blockBits + uint64(w*64+bits.TrailingZeros64(word))) {
						return
					}
				}
			}
		}
	}
}

// queue is a set of positions that are to be visited in order: the greatest
// first, or with up the smallest. A position that is added while it waits is
// in it once, with its two notes merged. Nothing may be added that should have
// been visited already: then no memory of what was visited is needed, and a
// block is given up when it is done.
type queue struct {
	up    bool
	merge func(old, new uint32) uint32 // nil: no notes are taken

	blocks set
	order  []uint64 // heap of the numbers of blocks
}

func (q *queue) add(position uint64, note uint32) {
	n, bit := position/blockBits, position%blockBits
	b := q.blocks[n]
	if b == nil {
		b = &block{}
		if q.merge != nil {
			b.notes = make([]uint32, blockBits)
		}
		if q.blocks == nil {
			q.blocks = set{}
		}
		q.blocks[n] = b
		q.push(n)
	}
	word, mask := &b.words[bit/64], uint64(1)<<(bit%64)
	if q.merge != nil {
		if *word&mask != 0 {
			note = q.merge(b.notes[bit], note)
		}
		b.notes[bit] = note
	}
	*word |= mask
}

// note returns the note of a position that waits.
func (q *queue) note(position uint64) (note uint32, waits bool) {
	if !q.blocks.has(position) {
		return 0, false
	}
	return q.blocks[position/blockBits].notes[position%blockBits], true
}

// take removes the next position; 0 means that there is none.
func (q *queue) take() (position uint64, note uint32) {
	for len(q.order) > 0 {
		n := q.order[0]
		b := q.blocks[n]
		for i := range b.words {
			w := len(b.words) - 1 - i
			if q.up {
				w = i
			}
			if b.words[w] == 0 {
				continue
			}
			bit := 63 - bits.LeadingZeros64(b.words[w])
			if q.up {
				bit = bits.TrailingZeros64(b.words[w])
			}
			b.words[w] &^= 1 << bit
			if q.merge != nil {
				note = b.notes[w*64+bit]
			}
			return n*blockBits + uint64(w*64+bit), note
		}
		delete(q.blocks, n)
		q.pop()
	}
	return 0, 0
}

func (q *queue) before(a, b uint64) bool { return (a < b) == q.up }

func (q *queue) push(n uint64) {
	q.order = append(q.order, n)
	for i := len(q.order) - 1; i > 0 && q.before(q.order[i], q.order[(i-1)/2]); i = (i - 1) / 2 {
		q.order[i], q.order[(i-1)/2] = q.order[(i-1)/2], q.order[i]
	}
}

func (q *queue) pop() {
	last := len(q.order) - 1
	q.order[0] = q.order[last]
	q.order = q.order[:last]
	for i := 0; ; {
		next := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q.before(q.order[child], q.order[next]) {
				next = child
			}
		}
		if next == i {
			return
		}
		q.order[i], q.order[next] = q.order[next], q.order[i]
		i = next
	}
}
