package journal

import (
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

// generation is a run of consecutive events with ways to find them. Maps go
// from a hash or stream to 1 + the index of the newest entry with it; entries
// of equal hash or stream are chained.
type generation struct {
	first   uint64 // position of entries[0]
	entries []entry
	parents []uint64 // positions of the entries' parents, those that are in this journal

	ids, payloads map[uint64]uint32
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

	// 1 + index of the previous entry of the same generation, 0 for none.
	nextID, nextPayload, prevInStream uint32

	parentsEnd uint32 // where this entry's part of the generation's parents ends
}

func newEntry(e *events.Event) entry {
	en := entry{
		id: e.ID, digest: e.Digest, stream: e.Stream, streamVersion: e.StreamPosition, outside: e.OutsideID(),
		kind: e.Kind, correlation: e.Correlation, place: newPlace(e),
	}
	if len(e.Payload) > 0 {
		en.payload = e.PayloadDigest
	}
	return en
}

func newGeneration(first uint64, size int) *generation {
	return &generation{
		first:    first,
		ids:      make(map[uint64]uint32, size),
		payloads: make(map[uint64]uint32, size),
		streams:  make(map[string]uint32),
		outside:  make(map[string][]uint32),
	}
}

func (g *generation) end() uint64 { return g.first + uint64(len(g.entries)) }

func (g *generation) add(en entry, parents []events.Ref) {
	n := uint32(len(g.entries)) + 1
	link := func(m map[uint64]uint32, h uint64) (prev uint32) {
		prev = m[h]
		m[h] = n
		return prev
	}
	en.nextID = link(g.ids, idHash(en.id))
	if !en.payload.IsZero() {
		en.nextPayload = link(g.payloads, digestHash(en.payload))
	}
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
}

func (g *generation) byID(id events.ID) (position uint64, en *entry) {
	for n := g.ids[idHash(id)]; n != 0; {
		en := &g.entries[n-1]
		if en.id == id {
			return g.first + uint64(n) - 1, en
		}
		n = en.nextID
	}
	return 0, nil
}

func (g *generation) byPayload(d events.Digest) (position uint64) {
	for n := g.payloads[digestHash(d)]; n != 0; n = g.entries[n-1].nextPayload {
		if g.entries[n-1].payload == d {
			return g.first + uint64(n) - 1
		}
	}
	return 0
}

func newTail(first uint64, size int) *tail {
	return &tail{size: size, gens: []*generation{newGeneration(first, size)}, heads: make(map[string]head), olderHeads: make(map[string]head)}
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
	t.gens = append(t.gens, newGeneration(g.end(), t.size))
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

func (t *tail) byPayload(d events.Digest) (position uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range slices.Backward(t.gens) {
		if p := g.byPayload(d); p != 0 {
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
