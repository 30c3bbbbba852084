package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// A reader with a filter that few events pass should not have to decode all
// the others. For each block of some thousand positions the index holds a
// summary: a Bloom filter over the kinds, the tokens of the kinds and the
// correlation ids in it. A block whose summary does not know what a query asks
// for is skipped.

const (
	blockEvents      = 1024
	summaryBits      = 12 // of the filter, for each distinct thing in the block
	summaryHashes    = 7
	summariesAtOnce  = 4096 // that are looked at before a reader comes up for air
	saltKind, saltCo = 'k', 'c'
)

// summary is one block: count positions from first on, and its filter.
type summary struct {
	stretch
	filter []byte
}

func parseSummary(key, value []byte) (summary, error) {
	if len(key) != 9 || len(value) < 5 || binary.BigEndian.Uint32(value) == 0 {
		return summary{}, fmt.Errorf("%w: summary %x has %d bytes; delete the directory index, it is built anew", ErrCorrupt, key, len(value))
	}
	first := tail8(key)
	return summary{stretch{first, first + uint64(binary.BigEndian.Uint32(value)) - 1}, value[4:]}, nil
}

func (s *summary) has(h uint64) bool {
	n := uint64(len(s.filter)) * 8
	for range summaryHashes {
		if bit := h % n; s.filter[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
		h = spread(h)
	}
	return true
}

// hashText is FNV-1a with its bits mixed (part of the stored format).
func hashText(salt byte, n int, text string) uint64 {
	h := uint64(0xcbf29ce484222325)
	h = (h ^ uint64(salt)) * 0x100000001b3
	h = (h ^ uint64(n)) * 0x100000001b3
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 0x100000001b3
	}
	return spread(h)
}

// kindHashes yields what a summary knows of a kind: the whole, and each token
// with its place.
func kindHashes(kind string, yield func(h uint64)) {
	yield(hashText(saltKind, 0, kind))
	n := 0
	for token := range strings.SplitSeq(kind, ".") {
		n++
		yield(hashText(saltKind, n, token))
	}
}

// wanted is what a summary must know for a query to find something in its
// block: all hashes of one of the kinds, and the correlation id.
type wanted struct {
	kinds       [][]uint64 // none if any kind will do
	correlation uint64     // 0 if any will do
}

// wants returns nil if nothing can be skipped.
func (q *Query) wants() *wanted {
	w := &wanted{}
	if q.Correlation != "" {
		w.correlation = hashText(saltCo, 0, q.Correlation)
	}
	for _, p := range q.Kinds {
		var hs []uint64
		if kind, ok := p.Literal(); ok {
			hs = append(hs, hashText(saltKind, 0, kind))
		} else {
			n := 0
			for token := range strings.SplitSeq(p.String(), ".") {
				if n++; token != "*" && token != ">" {
					hs = append(hs, hashText(saltKind, n, token))
				}
			}
		}
		if hs == nil {
			w.kinds = nil
			break
		}
		w.kinds = append(w.kinds, hs)
	}
	if w.kinds == nil && w.correlation == 0 {
		return nil
	}
	return w
}

func (s *summary) mayHold(w *wanted) bool {
	if w.correlation != 0 && !s.has(w.correlation) {
		return false
	}
kinds:
	for _, hs := range w.kinds {
		for _, h := range hs {
			if !s.has(h) {
				continue kinds
			}
		}
		return true
	}
	return len(w.kinds) == 0
}

// blocks builds summaries. The indexer owns it.
type blocks struct {
	size   uint64 // positions of a whole block
	first  uint64
	count  uint64
	hashes map[uint64]struct{}
	kinds  map[string]struct{} // that are among the hashes
}

func newBlocks(first uint64, size int) *blocks {
	b := &blocks{size: uint64(size)}
	b.begin(first)
	return b
}

func (b *blocks) begin(first uint64) {
	*b = blocks{size: b.size, first: first, hashes: make(map[uint64]struct{}), kinds: make(map[string]struct{})}
}

// add takes the next event, and begins a new block if the last one is whole.
func (b *blocks) add(kind, correlation string) {
	if b.full() {
		b.begin(b.first + b.count)
	}
	b.count++
	if _, ok := b.kinds[kind]; !ok {
		b.kinds[kind] = struct{}{}
		kindHashes(kind, func(h uint64) { b.hashes[h] = struct{}{} })
	}
	if correlation != "" {
		b.hashes[hashText(saltCo, 0, correlation)] = struct{}{}
	}
}

func (b *blocks) full() bool { return b.count >= b.size }

// summary appends the block's value.
func (b *blocks) summary(v []byte) []byte {
	v = binary.BigEndian.AppendUint32(v, uint32(b.count))
	from := len(v)
	v = append(v, make([]byte, (len(b.hashes)*summaryBits+7)/8)...)
	filter := v[from:]
	n := uint64(len(filter)) * 8
	for h := range b.hashes {
		for range summaryHashes {
			bit := h % n
			filter[bit/8] |= 1 << (bit % 8)
			h = spread(h)
		}
	}
	return v
}

// recoverBlocks prepares for the events after the index mark: a block that is
// not whole yet is read again.
func (j *Journal) recoverBlocks() error {
	j.blocks = newBlocks(j.index.position+1, j.opts.sizes.block)
	s, err := j.summaryOf(j.index.position)
	if err != nil || s.empty() || s.last-s.first+1 >= j.blocks.size {
		return err
	}
	j.blocks.begin(s.first)
	err = j.eachRecord(s.first, j.index.position, func(e events.Event, _ uint64) error {
		j.blocks.add(e.Kind, e.Correlation)
		return nil
	})
	if errors.Is(err, ErrCorrupt) {
		// One damaged record is no reason to refuse the rest: the block stays
		// short, and its record is named by whoever reads it.
		j.blocks.begin(j.index.position + 1)
		return nil
	}
	return err
}

// summaryOf returns the summary of the block that holds a position, an empty
// one if there is none.
func (j *Journal) summaryOf(position uint64) (summary, error) {
	none := summary{stretch: stretch{1, 0}}
	it, err := j.store.index.NewIter(&pebble.IterOptions{LowerBound: []byte{idxBlock}, UpperBound: []byte{idxBlock + 1}})
	if err != nil {
		return none, fmt.Errorf("index: %w", readError(err))
	}
	defer it.Close()
	if !it.SeekLT(positionKey(idxBlock, position+1)) {
		return none, indexError("summaries", it.Error())
	}
	s, err := parseSummary(it.Key(), it.Value())
	if err != nil || s.last < position {
		return none, err
	}
	s.filter = append([]byte(nil), s.filter...)
	return s, nil
}

// next returns the first run of positions in left, in the direction of the
// query, in which it may find something, and what is left after that. The run
// may be empty although something is left.
func (j *Journal) next(q *Query, w *wanted, left stretch) (run, rest stretch, err error) {
	none := stretch{1, 0}
	if w == nil || left.empty() {
		return left, none, nil
	}
	it, err := j.store.index.NewIter(&pebble.IterOptions{LowerBound: []byte{idxBlock}, UpperBound: []byte{idxBlock + 1}})
	if err != nil {
		return none, left, fmt.Errorf("index: %w", readError(err))
	}
	defer it.Close()
	start, step := left.first, it.Next
	if q.Backwards {
		start, step = left.last, it.Prev
	}
	ok := it.SeekLT(positionKey(idxBlock, start+1))
	for n := 0; ok && n < summariesAtOnce; n++ {
		s, err := parseSummary(it.Key(), it.Value())
		if err != nil {
			return none, left, err
		}
		if start < s.first || start > s.last {
			// Nothing is known of what lies here: backwards that is what is
			// above the last block.
			if q.Backwards {
				return stretch{max(left.first, s.last+1), start}, stretch{left.first, s.last}, nil
			}
			break
		}
		block := stretch{max(left.first, s.first), min(left.last, s.last)}
		if s.mayHold(w) {
			return block, q.past(left, q.end(block)), nil
		}
		left = q.past(left, q.end(block))
		if left.empty() {
			return none, none, nil
		}
		start = left.first
		if q.Backwards {
			start = left.last
		}
		if ok = step(); ok && n == summariesAtOnce-1 {
			return none, left, nil
		}
	}
	if err := it.Error(); err != nil {
		return none, left, fmt.Errorf("index: %w", readError(err))
	}
	return left, none, nil
}

// end is where q leaves a run that it has read.
func (q *Query) end(s stretch) uint64 {
	if q.Backwards {
		return s.first
	}
	return s.last
}
