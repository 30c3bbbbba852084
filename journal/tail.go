package journal

import (
	"math/bits"
	"slices"
	"sync"

	"github.com/tokaworks/toka/events"
)

// tail is the part of the journal that the index on disk does not cover yet,
// held in memory: a list of generations, the newest last. The committer adds
// to the newest; the indexer takes the oldest away once it is on disk. A
// generation may hold events that are not durable yet: the committer may look
// at those, readers filter them out by position.
type tail struct {
	size int // of a generation; set by newTail

	mu   sync.RWMutex
	gens []*generation // at least one

	// heads caches where streams stand beyond what the generations know. It
	// is two maps of which the older is dropped when the newer is full.
	heads, olderHeads map[string]head
}

const (
	generationSize = 16 << 10
	headCacheSize  = 128 << 10
)

// generation is a run of consecutive events with ways to find them, each to
// 1 + the index of an entry. Of a stream or outside id it is the newest.
type generation struct {
	first   uint64 // position of entries[0]
	entries []entry
	parents []uint64 // positions of the entries' parents, those that are in this journal

	ids, payloads slots
	streams       map[string]uint32
	outside       map[string][]uint32
}

type entry struct {
	id            events.ID
	digest        events.Digest
	payload       events.Digest // zero unless this record holds the payload
	stream        string
	outside       string
	streamVersion uint64
	kind          string // for the summaries
	correlation   string
	place         place
	pruned        bool // the record held the payload and does no more

	prevInStream uint32 // 1 + index of the previous entry of the same stream and generation, 0 for none
	parentsEnd   uint32 // where this entry's part of the generation's parents ends
}

func newEntry(e *events.Event) entry {
	en := entry{
		id: e.ID, digest: e.Digest, stream: e.Stream, streamVersion: e.StreamPosition, outside: e.OutsideID(),
		kind: e.Kind, correlation: e.Correlation, place: newPlace(e),
	}
	if len(e.Payload) > 0 || e.PayloadState == events.PayloadPruned {
		en.payload = e.PayloadDigest
		en.pruned = e.PayloadState == events.PayloadPruned
	}
	return en
}

// newGeneration makes room for as many entries as it is thought to get.
func newGeneration(first uint64, entries int) *generation {
	return &generation{
		first:    first,
		entries:  make([]entry, 0, entries),
		ids:      newSlots(entries),
		payloads: newSlots(entries),
		streams:  make(map[string]uint32),
		outside:  make(map[string][]uint32),
	}
}

func (g *generation) end() uint64 { return g.first + uint64(len(g.entries)) }

func (g *generation) add(en entry, parents []events.Ref) {
	n := uint32(len(g.entries)) + 1
	en.prevInStream = g.streams[en.stream]
	g.streams[en.stream] = n
	if en.outside != "" {
		g.outside[en.outside] = append(g.outside[en.outside], n)
	}
	for i := range parents {
		if p := parents[i].Position; p != 0 {
			g.parents = append(g.parents, p)
		}
	}
	en.parentsEnd = uint32(len(g.parents))
	g.entries = append(g.entries, en)
	g.ids.add(idHash(en.id), n, func(n uint32) uint64 { return idHash(g.entries[n-1].id) })
	if !en.payload.IsZero() {
		g.payloads.add(digestHash(en.payload), n, func(n uint32) uint64 { return digestHash(g.entries[n-1].payload) })
	}
}

func (g *generation) byID(id events.ID) (position uint64, en *entry) {
	n := g.ids.find(idHash(id), func(n uint32) bool { return g.entries[n-1].id == id })
	if n == 0 {
		return 0, nil
	}
	return g.first + uint64(n) - 1, &g.entries[n-1]
}

func (g *generation) byPayload(d events.Digest, spared func(uint64) bool) (position uint64) {
	n := g.payloads.find(digestHash(d), func(n uint32) bool {
		en := &g.entries[n-1]
		return en.payload == d && !en.pruned && (spared == nil || spared(g.first+uint64(n)-1))
	})
	if n == 0 {
		return 0
	}
	return g.first + uint64(n) - 1
}

// slots finds entries by their hashes: open addressing with linear probing
// (Knuth, The Art of Computer Programming 3, 6.4, algorithm L), at most half
// full. A slot holds 1 + the index of an entry, 0 if it is free.
type slots struct {
	table []uint32 // a power of two
	used  int
}

func newSlots(entries int) slots {
	return slots{table: make([]uint32, 2<<bits.Len(uint(entries)))}
}

// find returns the first number with the hash h that is the one looked for, or
// 0. Other hashes are asked about too.
func (s *slots) find(h uint64, is func(n uint32) bool) uint32 {
	for mask := uint64(len(s.table) - 1); ; h++ {
		if n := s.table[h&mask]; n == 0 || is(n) {
			return n
		}
	}
}

func (s *slots) add(h uint64, n uint32, hashOf func(n uint32) uint64) {
	if s.used++; 2*s.used > len(s.table) {
		old := s.table
		s.table = make([]uint32, 2*len(old))
		for _, n := range old {
			if n != 0 {
				s.put(hashOf(n), n)
			}
		}
	}
	s.put(h, n)
}

func (s *slots) put(h uint64, n uint32) {
	mask := uint64(len(s.table) - 1)
	for s.table[h&mask] != 0 {
		h++
	}
	s.table[h&mask] = n
}

func newTail(first uint64, size int) *tail {
	return &tail{size: size, gens: []*generation{newGeneration(first, 0)}, heads: make(map[string]head), olderHeads: make(map[string]head)}
}

// add takes the next event. Only the committer calls it.
func (t *tail) add(en entry, parents []events.Ref) {
	t.mu.Lock()
	g := t.gens[len(t.gens)-1]
	if len(g.entries) >= t.size {
		g = newGeneration(g.end(), t.size)
		t.gens = append(t.gens, g)
	}
	g.add(en, parents)
	t.mu.Unlock()
}

// full returns the oldest generation if it ends at or below durable and is
// complete, or if it has anything and force is set.
func (t *tail) full(durable uint64, force bool) *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.gens[0]
	if len(g.entries) == 0 || g.end()-1 > durable {
		return nil
	}
	if len(t.gens) > 1 {
		return g
	}
	if !force {
		return nil
	}
	t.gens = append(t.gens, newGeneration(g.end(), len(g.entries)))
	return g
}

// drop forgets the oldest generation, which the index now holds.
func (t *tail) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.gens[0]
	t.gens = append([]*generation(nil), t.gens[1:]...)
	for stream, n := range g.streams {
		en := &g.entries[n-1]
		t.cacheHead(stream, head{version: en.streamVersion, position: g.first + uint64(n) - 1, last: en.id})
	}
}

func (t *tail) cacheHead(stream string, h head) {
	if len(t.heads) >= headCacheSize {
		t.heads, t.olderHeads = make(map[string]head), t.heads
	}
	t.heads[stream] = h
}

// at returns the id and digest of the event at a position, durable or not, if
// the tail holds it.
func (t *tail) at(position uint64) (id events.ID, digest events.Digest) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		if position >= g.first {
			if position < g.end() {
				en := &g.entries[position-g.first]
				return en.id, en.digest
			}
			break
		}
	}
	return events.ID{}, events.Digest{}
}

// byID finds an event of the tail, durable or not.
func (t *tail) byID(id events.ID) (position uint64, digest events.Digest) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		if p, en := g.byID(id); en != nil {
			return p, en.digest
		}
	}
	return 0, events.Digest{}
}

// byPayload finds a record that holds a payload, and that spared, if it is not
// nil, says will go on to.
func (t *tail) byPayload(d events.Digest, spared func(uint64) bool) (position uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		if p := g.byPayload(d, spared); p != 0 {
			return p
		}
	}
	return 0
}

// byDigest lists the events at or below most whose digest matches.
func (t *tail) byDigest(match func(events.Digest) bool, most uint64) (found []uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.gens {
		for i := range g.entries {
			if p := g.first + uint64(i); p <= most && match(g.entries[i].digest) {
				found = append(found, p)
			}
		}
	}
	return found
}

func (t *tail) byOutside(outsideID string, most uint64) (found []uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.gens {
		for _, n := range g.outside[outsideID] {
			if p := g.first + uint64(n) - 1; p <= most {
				found = append(found, p)
			}
		}
	}
	return found
}

// streamPositions lists the events of a stream after the given stream
// position and at or below most, in order, and tells the stream position
// before the first event that the tail knows of (0 if it knows none).
func (t *tail) streamPositions(stream string, after, most uint64) (found []uint64, from uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		for n := g.streams[stream]; n != 0; n = g.entries[n-1].prevInStream {
			en := &g.entries[n-1]
			from = en.streamVersion
			if p := g.first + uint64(n) - 1; p <= most && en.streamVersion > after {
				found = append(found, p)
			}
		}
	}
	slices.Reverse(found)
	return found, from
}

// head tells where a stream stands if the tail or its cache knows.
func (t *tail) head(stream string) (head, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		if n := g.streams[stream]; n != 0 {
			en := &g.entries[n-1]
			return head{version: en.streamVersion, position: g.first + uint64(n) - 1, last: en.id}, true
		}
	}
	if h, ok := t.heads[stream]; ok {
		return h, true
	}
	h, ok := t.olderHeads[stream]
	return h, ok
}

// remember caches where a stream stands according to the index. Only the
// committer calls it, so no later event of the stream can have come between.
func (t *tail) remember(stream string, h head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cacheHead(stream, h)
}
