package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Ids, digests and payload digests are scattered, and what a scattered key
// costs the engine hardly depends on its size: it is compared and copied on its
// way through the memory table and each compaction. So they are not keys of
// their own. Each generation of the tail becomes a run: for each kind of hash
// the pairs (hash, position) sorted and packed in pages of some hundred, and a
// page is a key. runFanout runs of a level are merged into one of the next, as
// in a log-structured merge tree with tiers (O'Neil et al., 1996), so n events
// are in at most runFanout*log(n) runs and each pair is copied log(n) times.
//
// In memory there are, for each run, the first hash of each page (which page to
// read) and a Bloom filter (whether to read one): 2 bytes for each id and each
// payload. Nearly every id and payload that comes in is new, and the filters
// say so without a look-up. Filters of merged runs are stored beside their pages:
// without them a start would read all pages, and until that was done each append
// a page of every run.

type hashKind uint8

const (
	hashID hashKind = iota
	hashDigest
	hashPayload
	hashKinds
)

// prefix of the keys of pages.
func (k hashKind) prefix() byte { return [hashKinds]byte{idxID, idxDigest, idxPayload}[k] }

// filtered says whether runs keep a filter. Digests are looked up by people,
// not on the way of an append.
func (k hashKind) filtered() bool { return k != hashDigest }

const (
	runFanout = 8
	pagePairs = 512
	pairBytes = 12
)

// pair is an entry of a run.
type pair struct{ hash, position uint64 }

func comparePairs(a, b pair) int {
	if a.hash != b.hash { // nearly always
		if a.hash < b.hash {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.position, b.position)
}

// run covers the events from first to last. It does not change, save that its
// filters come later when it was read from disk.
type run struct {
	first, last uint64
	level       uint8
	tables      [hashKinds]table
}

type table struct {
	pairs  int
	fences []uint64 // the first hash of each page
	filter atomic.Pointer[filter]
}

// runs is the list of runs, the oldest first; levels never grow along it. The
// indexer changes it, anybody reads it.
type runs struct {
	db      *pebble.DB
	log     *slog.Logger
	list    atomic.Pointer[[]*run]
	damaged *atomic.Bool // to be built anew by the next start
}

func (s *runs) load() []*run { return *s.list.Load() }

// snapshot returns the list with all the pages that it names. The caller
// closes it.
func (s *runs) snapshot() ([]*run, *pebble.Snapshot) {
	for {
		list, snapshot := s.list.Load(), s.db.NewSnapshot()
		if s.list.Load() == list {
			return *list, snapshot
		}
		_ = snapshot.Close() // pages may have been deleted between the two
	}
}

func (s *runs) publish(list []*run) { s.list.Store(&list) }

// idHash spreads ids over 64 bits whatever their version is. It is part of the
// stored format.
func idHash(id events.ID) uint64 {
	return spread(spread(binary.BigEndian.Uint64(id[:8])) ^ binary.BigEndian.Uint64(id[8:]))
}

// spread is the finaliser of MurmurHash3 (Appleby): a bijection in which each
// bit of the input turns about half of the output.
func spread(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func digestHash(d events.Digest) uint64 { return binary.BigEndian.Uint64(d[:8]) }

func pageKey(b []byte, kind hashKind, level uint8, first uint64, page int) []byte {
	b = append(b, kind.prefix(), level)
	b = binary.BigEndian.AppendUint64(b, first)
	return binary.BigEndian.AppendUint32(b, uint32(page))
}

// open reads the list of runs. Deletions of pages that a crash may have cut off
// are made again.
func (s *runs) open(db *pebble.DB, log *slog.Logger, damaged *atomic.Bool) error {
	s.db, s.log, s.damaged = db, log, damaged
	var list []*run
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{idxRun}, UpperBound: []byte{idxRun + 1}})
	if err != nil {
		return fmt.Errorf("index: %w", readError(err))
	}
	for ok := it.First(); ok; ok = it.Next() {
		r, err := decodeRun(it.Key(), it.Value())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if r.level > 0 {
			if err := s.deletePages(r.first, r.last, r.level-1); err != nil {
				return errors.Join(err, it.Close())
			}
		}
		list = append(list, r)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("index: %w", readError(err))
	}
	s.publish(list)
	return nil
}

// encode draws a run as doc.go does.
func (r *run) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{r.level}, r.last)
	for k := range r.tables {
		b = binary.BigEndian.AppendUint32(b, uint32(r.tables[k].pairs))
		for _, fence := range r.tables[k].fences {
			b = binary.BigEndian.AppendUint64(b, fence)
		}
	}
	return b
}

func decodeRun(key, v []byte) (*run, error) {
	damaged := fmt.Errorf("index: %w: malformed run %x", ErrCorrupt, key)
	if len(key) != 9 || len(v) < 9 {
		return nil, damaged
	}
	r := &run{first: tail8(key), level: v[0], last: binary.BigEndian.Uint64(v[1:])}
	v = v[9:]
	for k := range r.tables {
		if len(v) < 4 {
			return nil, damaged
		}
		t := &r.tables[k]
		t.pairs, v = int(binary.BigEndian.Uint32(v)), v[4:]
		pages := (t.pairs + pagePairs - 1) / pagePairs
		if len(v) < 8*pages {
			return nil, damaged
		}
		t.fences = make([]uint64, pages)
		for i := range t.fences {
			t.fences[i] = binary.BigEndian.Uint64(v[8*i:])
		}
		v = v[8*pages:]
	}
	if len(v) != 0 || r.first == 0 || r.last < r.first {
		return nil, damaged
	}
	return r, nil
}

// pageWriter packs sorted pairs into the pages of a run.
type pageWriter struct {
	r     *run
	kind  hashKind
	set   func(key, value []byte)
	page  []byte
	key   []byte
	bloom filter
}

func newPageWriter(r *run, kind hashKind, most int, set func(key, value []byte)) *pageWriter {
	w := &pageWriter{r: r, kind: kind, set: set, page: make([]byte, 0, pagePairs*pairBytes)}
	if kind.filtered() {
		w.bloom = newFilter(most)
	}
	return w
}

func (w *pageWriter) add(p pair) {
	t := &w.r.tables[w.kind]
	if len(w.page) == 0 {
		t.fences = append(t.fences, p.hash)
	}
	w.page = binary.BigEndian.AppendUint64(w.page, p.hash)
	w.page = binary.BigEndian.AppendUint32(w.page, uint32(p.position-w.r.first))
	t.pairs++
	if w.bloom != nil {
		w.bloom.add(p.hash)
	}
	if len(w.page) == pagePairs*pairBytes {
		w.flush()
	}
}

func (w *pageWriter) flush() {
	if len(w.page) > 0 {
		w.key = pageKey(w.key[:0], w.kind, w.r.level, w.r.first, len(w.r.tables[w.kind].fences)-1)
		w.set(w.key, w.page)
		w.page = w.page[:0]
	}
}

func (w *pageWriter) end() {
	w.flush()
	if w.bloom != nil {
		w.r.tables[w.kind].filter.Store(&w.bloom)
		w.r.writeFilter(w.kind, w.bloom, w.set)
	}
}

// build writes the run of one generation with set. It is found only once it
// was added to the list.
func (s *runs) build(g *generation, set func(key, value []byte)) *run {
	r := &run{first: g.first, last: g.end() - 1}
	pairs, spare := make([]pair, 0, len(g.entries)), make([]pair, len(g.entries))
	for kind := range hashKinds {
		pairs = pairs[:0]
		for i := range g.entries {
			en, p := &g.entries[i], g.first+uint64(i)
			switch {
			case kind == hashID:
				pairs = append(pairs, pair{idHash(en.id), p})
			case kind == hashDigest:
				pairs = append(pairs, pair{digestHash(en.digest), p})
			case !en.payload.IsZero():
				pairs = append(pairs, pair{digestHash(en.payload), p})
			}
		}
		w := newPageWriter(r, kind, len(pairs), set)
		for _, p := range sortPairs(pairs, spare) {
			w.add(p)
		}
		w.end()
	}
	set(positionKey(idxRun, r.first), r.encode())
	return r
}

// sortPairs sorts pairs into spare. Hashes are spread evenly, so most of the
// work is done by dealing them out by their first bits.
func sortPairs(pairs, spare []pair) []pair {
	const bits = 12
	var ends [1 << bits]uint32
	for _, p := range pairs {
		ends[p.hash>>(64-bits)]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i], sum = sum, sum+n
	}
	spare = spare[:len(pairs)]
	for _, p := range pairs {
		b := p.hash >> (64 - bits)
		spare[ends[b]] = p
		ends[b]++
	}
	start := uint32(0)
	for _, end := range ends {
		slices.SortFunc(spare[start:end], comparePairs)
		start = end
	}
	return spare
}

// cursor walks over the pairs of a run.
type cursor struct {
	from pebble.Reader
	r    *run
	kind hashKind
	page int // the next to read
	rest []byte
	pair
	mismatch func(error) // told of pages that begin with what they should not; nil: they end the walk
}

func (c *cursor) next() (bool, error) {
	if len(c.rest) == 0 {
		if c.page == len(c.r.tables[c.kind].fences) {
			return false, nil
		}
		page, err := readPage(c.from, c.r, c.kind, c.page)
		if err != nil && page != nil && c.mismatch != nil {
			c.mismatch(err)
		} else if err != nil {
			return false, err
		}
		c.rest = page
		c.page++
	}
	c.pair, c.rest = readPair(c.r, c.rest), c.rest[pairBytes:]
	return true, nil
}

func readPair(r *run, b []byte) pair {
	return pair{binary.BigEndian.Uint64(b), r.first + uint64(binary.BigEndian.Uint32(b[8:]))}
}

// readPage reads one page. One that does not begin with what the run says comes
// with an error all the same: verify names what is wrong in it. An error that wraps pebble.ErrNotFound may mean that
// the run was merged meanwhile.
func readPage(from pebble.Reader, r *run, kind hashKind, n int) ([]byte, error) {
	v, closer, err := from.Get(pageKey(make([]byte, 0, 16), kind, r.level, r.first, n))
	if err != nil {
		return nil, fmt.Errorf("index: page %d of the run from position %d: %w", n, r.first, readError(err))
	}
	defer closer.Close()
	t := &r.tables[kind]
	pairs := min(pagePairs, t.pairs-n*pagePairs)
	whole := len(v) == pairs*pairBytes
	if whole && binary.BigEndian.Uint64(v) == t.fences[n] {
		return slices.Clone(v), nil
	}
	err = fmt.Errorf("index: %w: page %d of the run from position %d is not what the run says; run verify", ErrCorrupt, n, r.first)
	if whole {
		return slices.Clone(v), err
	}
	return nil, err
}

// mayHold says whether find may find anything: nearly always the filters know
// that there is nothing.
func (s *runs) mayHold(kind hashKind, hash uint64) bool {
	for _, r := range s.load() {
		if b := r.tables[kind].filter.Load(); b == nil || b.has(hash) {
			return true
		}
	}
	return false
}

// find calls f with the positions of pairs with a hash from low to high, the
// newest run first, until f is done. A position may come twice.
func (s *runs) find(kind hashKind, low, high uint64, f func(position uint64) (done bool, err error)) error {
	for {
		list := s.list.Load()
		err := s.findIn(*list, kind, low, high, f)
		if !errors.Is(err, pebble.ErrNotFound) {
			return err
		}
		if s.list.Load() == list {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
}

func (s *runs) findIn(list []*run, kind hashKind, low, high uint64, f func(uint64) (bool, error)) error {
	for _, r := range slices.Backward(list) {
		t := &r.tables[kind]
		if b := t.filter.Load(); b != nil && low == high && !b.has(low) {
			continue
		}
		// Equal hashes may begin on the page before the first fence that is
		// not less.
		n := sort.Search(len(t.fences), func(i int) bool { return t.fences[i] >= low })
		for n = max(n-1, 0); n < len(t.fences) && t.fences[n] <= high; n++ {
			page, err := readPage(s.db, r, kind, n)
			if err != nil {
				return err
			}
			pairs := len(page) / pairBytes
			i := sort.Search(pairs, func(i int) bool { return binary.BigEndian.Uint64(page[i*pairBytes:]) >= low })
			for ; i < pairs; i++ {
				p := readPair(r, page[i*pairBytes:])
				if p.hash > high {
					break
				}
				if done, err := f(p.position); done || err != nil {
					return err
				}
			}
		}
	}
	return nil
}
