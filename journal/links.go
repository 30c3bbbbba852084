package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/tokaworks/toka/events"
)

// Links between events are stored twice, both times packed: the parents of a
// run of events, so that one seek finds them, and the children of a block of
// positions, one key for each generation that has children there. Nothing is
// stored link by link: nearly all parents are recent, so that a generation
// costs a handful of keys, and never more than it has links.
//
// The sizes are part of the index; changing one needs another indexVersion.
const (
	linkChunk = 1 << 10 // positions whose parents may share a key
	linkBlock = 4 << 10 // positions whose children share keys
)

// chunkOf and blockOf number the parts that a position lies in.
func chunkOf(position uint64) uint64 { return (position - 1) / linkChunk }
func blockOf(position uint64) uint64 { return (position - 1) / linkBlock }

// Links reads which events caused which, by position, as the journal stood
// when [Journal.Links] was called. It remembers the part of the index that it
// read last, so asking in order of position, forwards or backwards, reads each
// part once; any other order is served as well.
//
// It holds the links of 1,024 positions, or of 4,096 parents with all their
// children, and of what the index does not hold yet. It holds nothing of the
// store, needs no closing, and is for one goroutine.
type Links struct {
	j    *Journal
	held bool   // the store is kept open by whoever asks; for Verify
	end  uint64 // the durable mark
	// What lies at from and after it was in memory; before it is the index.
	from uint64
	tail []tailLinks

	// The chunk of parents read last, by its number + 1: ends[i] is where the
	// parents of its i-th event end.
	chunk   uint64
	ends    []uint32
	parents []uint64

	// The block of children read last, by its number + 1, in the same form.
	block         uint64
	childrenEnds  []uint32
	childrenPairs []linkPair
	children      []uint64

	tailPairs []linkPair // of all of tail, once children were asked for
	inverted  bool
	out       []uint64
}

// tailLinks are the links of one generation.
type tailLinks struct {
	first   uint64
	entries []entry
	parents []uint64
}

func (t *tailLinks) of(n int) []uint64 {
	start := uint32(0)
	if n > 0 {
		start = t.entries[n-1].parentsEnd
	}
	return t.parents[start:t.entries[n].parentsEnd]
}

type linkPair struct{ parent, child uint64 }

func byParent(a, b linkPair) int {
	if a.parent != b.parent {
		if a.parent < b.parent {
			return -1
		}
		return 1
	}
	if a.child < b.child {
		return -1
	}
	return 1 // a child names a parent once
}

// Links returns a reader of the links up to the durable mark.
func (j *Journal) Links() *Links {
	l := &Links{j: j, end: j.mark.load()}
	// What has moved to the index when the tail is looked at is found there:
	// it is written before it is dropped.
	l.from, l.tail = j.tail.links()
	return l
}

// links shares what only grows: a generation's entries are never changed once
// they are in.
func (t *tail) links() (from uint64, ls []tailLinks) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.gens {
		ls = append(ls, tailLinks{g.first, g.entries, g.parents})
	}
	return t.gens[0].first, ls
}

// End returns the position of the last event that l knows of.
func (l *Links) End() uint64 { return l.end }

// Parents returns the positions of the parents of the event at a position,
// ascending, as far as they are in this journal. The slice is valid until the
// next call. Errors wrap ErrNotFound, ErrCorrupt or ErrClosed, or are the
// context's.
func (l *Links) Parents(ctx context.Context, position uint64) ([]uint64, error) {
	if err := l.check(position); err != nil {
		return nil, err
	}
	if position >= l.from {
		i := sort.Search(len(l.tail), func(i int) bool { return l.tail[i].first > position }) - 1
		t := &l.tail[i]
		l.out = append(l.out[:0], t.of(int(position-t.first))...)
		slices.Sort(l.out)
		return l.out, nil
	}
	c := chunkOf(position)
	if l.chunk != c+1 {
		if err := l.load(ctx, l.loadChunk, c); err != nil {
			return nil, err
		}
		l.chunk = c + 1
	}
	return span(l.ends, l.parents, position-1-c*linkChunk), nil
}

// Children returns the positions of the events that name the event at a
// position as a parent, ascending. The slice is valid until the next call.
// Errors are as for Parents.
func (l *Links) Children(ctx context.Context, position uint64) ([]uint64, error) {
	if err := l.check(position); err != nil {
		return nil, err
	}
	l.invertTail()
	i, _ := slices.BinarySearchFunc(l.tailPairs, position, func(p linkPair, position uint64) int {
		if p.parent < position {
			return -1
		}
		return 1
	})
	l.out = l.out[:0]
	if position < l.from {
		b := blockOf(position)
		if l.block != b+1 {
			if err := l.load(ctx, l.loadBlock, b); err != nil {
				return nil, err
			}
			l.block = b + 1
		}
		l.out = append(l.out, span(l.childrenEnds, l.children, position-1-b*linkBlock)...)
	}
	for ; i < len(l.tailPairs) && l.tailPairs[i].parent == position; i++ {
		l.out = append(l.out, l.tailPairs[i].child)
	}
	return l.out, nil
}

func span(ends []uint32, all []uint64, n uint64) []uint64 {
	start := uint32(0)
	if n > 0 {
		start = ends[n-1]
	}
	return all[start:ends[n]:ends[n]]
}

func (l *Links) check(position uint64) error {
	if position == 0 || position > l.end {
		return fmt.Errorf("position %d: %w: the journal ends at %d", position, ErrNotFound, l.end)
	}
	return nil
}

func (l *Links) load(ctx context.Context, f func(n uint64) error, n uint64) error {
	if l.held {
		return f(n)
	}
	if err := l.j.enter(ctx); err != nil {
		return err
	}
	defer l.j.leave()
	return f(n)
}

func (l *Links) invertTail() {
	if l.inverted {
		return
	}
	l.inverted = true
	for i := range l.tail {
		t := &l.tail[i]
		for n := range t.entries {
			child := t.first + uint64(n)
			if child > l.end {
				break
			}
			for _, p := range t.of(n) {
				l.tailPairs = append(l.tailPairs, linkPair{p, child})
			}
		}
	}
	slices.SortFunc(l.tailPairs, byParent)
}

// linkDamage names a part of the index that cannot be used.
func linkDamage(what string, first, last uint64, format string, args ...any) error {
	return fmt.Errorf("%w: index: the %s of positions %d to %d: %s; delete the index directory, it is rebuilt",
		ErrCorrupt, what, first, last, fmt.Sprintf(format, args...))
}

// loadChunk reads the parents of the positions of a chunk that are in the
// index.
func (l *Links) loadChunk(c uint64) error {
	l.chunk = 0
	l.ends, l.parents = l.ends[:0], l.parents[:0]
	first := c*linkChunk + 1
	last := min(first+linkChunk-1, l.from-1)
	next := first
	err := l.j.eachIndexKey(positionKey(idxParents, first), positionKey(idxParents, last+1), func(key, value []byte) (bool, error) {
		if len(key) != 9 || tail8(key) != next {
			return false, linkDamage("parents", first, last, "key %x where position %d was expected", key, next)
		}
		var err error
		l.ends, l.parents, err = decodeParents(value, next, l.ends, l.parents)
		if err != nil {
			return false, linkDamage("parents", first, last, "from position %d: %v", next, err)
		}
		next = first + uint64(len(l.ends))
		return true, nil
	})
	if err == nil && (next <= last || next > first+linkChunk) {
		err = linkDamage("parents", first, last, "they end before position %d", next)
	}
	return err
}

// loadBlock reads the children that the index knows of for the positions of a
// block.
func (l *Links) loadBlock(b uint64) error {
	l.block = 0
	base := b * linkBlock
	pairs := l.childrenPairs[:0]
	prefix := positionKey(idxChildren, b)
	err := l.j.eachIndexKey(prefix, keyAfter(prefix), func(key, value []byte) (bool, error) {
		if len(key) != 17 {
			return false, linkDamage("children", base+1, base+linkBlock, "a malformed key %x", key)
		}
		first := tail8(key)
		if first >= l.from {
			return false, nil // it was in memory when l was made
		}
		var err error
		if pairs, err = decodeChildren(value, base, first, pairs); err != nil {
			err = linkDamage("children", base+1, base+linkBlock, "from position %d: %v", first, err)
		}
		return true, err
	})
	if err != nil {
		return err
	}
	l.childrenPairs = pairs
	// Keys come in the order of their generations, so counting by parent
	// keeps the children of each in order.
	ends := slices.Grow(l.childrenEnds[:0], linkBlock)[:linkBlock]
	clear(ends)
	for _, p := range pairs {
		if p.child <= l.end {
			ends[p.parent-base-1]++
		}
	}
	total := uint32(0)
	for i, n := range ends {
		ends[i] = total
		total += n
	}
	l.children = slices.Grow(l.children[:0], int(total))[:total]
	for _, p := range pairs {
		if p.child <= l.end {
			at := &ends[p.parent-base-1] // begins where its children begin, ends where they end
			l.children[*at] = p.child
			*at++
		}
	}
	l.childrenEnds = ends
	return nil
}

// links writes the links of the generation.
func (w *indexWriter) links() {
	g := w.g
	t := tailLinks{g.first, g.entries, g.parents}
	var scratch []uint64
	pairs := make([]linkPair, 0, len(g.parents))
	for n := 0; n < len(g.entries); {
		first := g.first + uint64(n)
		end := min(len(g.entries), n+linkChunk-int((first-1)%linkChunk))
		w.value = binary.AppendUvarint(w.value[:0], uint64(end-n))
		for ; n < end; n++ {
			child := g.first + uint64(n)
			scratch = append(scratch[:0], t.of(n)...)
			slices.Sort(scratch)
			for _, p := range scratch {
				pairs = append(pairs, linkPair{p, child})
			}
			w.value = appendParents(w.value, child, scratch)
		}
		w.set(append(w.key[:0], positionKey(idxParents, first)...), w.value)
	}
	slices.SortFunc(pairs, byParent)
	for len(pairs) > 0 {
		b := blockOf(pairs[0].parent)
		n := sort.Search(len(pairs), func(i int) bool { return blockOf(pairs[i].parent) > b })
		w.value = appendChildren(w.value[:0], b*linkBlock, g.first, pairs[:n])
		w.set(binary.BigEndian.AppendUint64(append(w.key[:0], positionKey(idxChildren, b)...), g.first), w.value)
		pairs = pairs[n:]
	}
}

// appendParents writes how many parents an event has and how far back each is,
// the nearest first, each but the first counted from the one before.
func appendParents(b []byte, child uint64, parents []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(parents)))
	for _, p := range slices.Backward(parents) {
		b = binary.AppendUvarint(b, child-p)
		child = p
	}
	return b
}

// appendChildren writes the children that a generation, which begins at first,
// has for the positions after base. A parent is counted from the pair before,
// or base; its first child from first, the others from the one before.
func appendChildren(b []byte, base, first uint64, pairs []linkPair) []byte {
	parent, child := base, first
	for _, p := range pairs {
		if p.parent != parent {
			child = first
		}
		b = binary.AppendUvarint(b, p.parent-parent)
		b = binary.AppendUvarint(b, p.child-child)
		parent, child = p.parent, p.child
	}
	return b
}

var errLinkBytes = errors.New("the bytes are no such links")

// decodeParents reads a value of parents whose first event stands at next.
func decodeParents(b []byte, next uint64, ends []uint32, parents []uint64) ([]uint32, []uint64, error) {
	r := linkReader{b: b}
	n := r.uvarint(linkChunk)
	if n == 0 {
		return ends, parents, errLinkBytes
	}
	for range n {
		at := next
		start := len(parents)
		for range r.uvarint(events.MaxParents) {
			back := r.uvarint(at)
			if back == 0 || back >= at {
				return ends, parents, errLinkBytes
			}
			at -= back
			parents = append(parents, at)
		}
		slices.Reverse(parents[start:])
		ends = append(ends, uint32(len(parents)))
		next++
	}
	return ends, parents, r.end()
}

// decodeChildren reads a value of children into pairs.
func decodeChildren(b []byte, base, first uint64, pairs []linkPair) ([]linkPair, error) {
	r := linkReader{b: b}
	parent, child := base, first
	for begin := true; len(r.b) > 0; begin = false {
		step := r.uvarint(linkBlock)
		if step > 0 {
			child = first
		} else if begin {
			return pairs, errLinkBytes
		}
		parent += step
		further := r.uvarint(^uint64(0) - child)
		child += further
		if r.bad || parent > base+linkBlock || parent >= child || step == 0 && further == 0 {
			return pairs, errLinkBytes
		}
		pairs = append(pairs, linkPair{parent, child})
	}
	return pairs, r.end()
}

// linkReader takes varints in their shortest form off the front of b; after
// the first that is none it yields zeroes.
type linkReader struct {
	b   []byte
	bad bool
}

func (r *linkReader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 || v > most {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *linkReader) end() error {
	if r.bad || len(r.b) > 0 {
		return errLinkBytes
	}
	return nil
}
