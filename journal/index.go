package journal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// The index store holds what can be rebuilt from the log. It has no
// write-ahead log of its own: its tables reach the disk in order, each with
// the mark up to which they are complete, so whatever is found after a crash
// is complete up to its mark, and the log is read again from there.

// indexLag is how often what is durable is moved to the index and its tables
// are written. Under steady load a generation waits until all of it is
// durable, so the index on disk may be further behind; how far does not matter
// to anybody but the next start, which reads the rest from the log.
const indexLag = time.Second

// indexMark says how far the index has come.
type indexMark struct {
	position, payloads, streams uint64
}

func (m indexMark) encode(id [16]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, indexVersion)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, m.position)
	b = binary.BigEndian.AppendUint64(b, m.payloads)
	return binary.BigEndian.AppendUint64(b, m.streams)
}

// loadMark reads the mark; ok is false if the index is empty, of another
// version or of another journal, and has to be built anew.
func (s *store) loadMark() (m indexMark, ok bool, err error) {
	v, closer, err := s.index.Get([]byte{idxMark})
	if errors.Is(err, pebble.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("index: %w", readError(err))
	}
	defer closer.Close()
	if len(v) != 44 || binary.BigEndian.Uint32(v) != indexVersion || [16]byte(v[4:20]) != s.id {
		return m, false, nil
	}
	m.position = binary.BigEndian.Uint64(v[20:])
	m.payloads = binary.BigEndian.Uint64(v[28:])
	m.streams = binary.BigEndian.Uint64(v[36:])
	return m, true, nil
}

// wipeIndex empties the index store.
func (s *store) wipeIndex() error {
	if err := s.index.DeleteRange([]byte{0}, []byte{0xff}, pebble.NoSync); err != nil {
		return fmt.Errorf("index: empty it: %w", err)
	}
	return nil
}

// indexLoop moves generations of the tail that are durable into the index. It
// ends when the syncer has ended and everything is moved.
func (j *Journal) indexLoop() {
	defer j.committed.Done()
	tick := time.NewTicker(indexLag * 3 / 4)
	defer tick.Stop()
	flushed := j.index.position
	for open := true; open; {
		force := false
		select {
		case _, open = <-j.indexWake:
			force = !open
		case <-tick.C:
			force = true
		case <-j.failed:
			return
		}
		for {
			g := j.tail.full(j.mark.load(), force)
			if g == nil {
				break
			}
			if err := j.writeIndex(g); err != nil {
				j.store.guard.Fail(fmt.Errorf("index: %w", err))
				return
			}
			j.tail.drop()
		}
		if force && open && j.index.position > flushed {
			flushed = j.index.position
			if _, err := j.store.index.AsyncFlush(); err != nil {
				j.store.guard.Fail(fmt.Errorf("index: %w", err))
				return
			}
		}
	}
}

// writeIndex writes one generation with the mark behind it. Keys go in sorted
// runs, which the engine takes much faster than scattered ones; sorting by the
// first eight bytes is sorted enough.
func (j *Journal) writeIndex(g *generation) error {
	w := indexWriter{g: g, batch: j.store.index.NewBatch(), order: make([]sortKey, 0, len(g.entries))}
	defer w.batch.Close()
	m := j.index
	w.run(func(en *entry) uint64 { return digestHash(en.digest) }, func(en *entry, p uint64) {
		w.set(digestKey(w.key[:0], idxDigest, en.digest, p), nil)
	})
	w.run(func(en *entry) uint64 { return binary.BigEndian.Uint64(en.id[:]) }, func(en *entry, p uint64) {
		w.set(append(append(w.key[:0], idxID), en.id[:]...), w.position(p))
	})
	w.run(func(en *entry) uint64 { return digestHash(en.payload) }, func(en *entry, p uint64) {
		if !en.payload.IsZero() {
			m.payloads++
			w.set(append(append(w.key[:0], idxPayload), en.payload[:16]...), w.position(p))
		}
	})
	streams := slices.SortedFunc(maps.Keys(g.streams), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // as in the keys
	})
	var chain []uint32
	for _, stream := range streams {
		chain = chain[:0]
		for n := g.streams[stream]; n != 0; n = g.entries[n-1].prevInStream {
			chain = append(chain, n)
		}
		for _, n := range slices.Backward(chain) {
			version := g.entries[n-1].streamVersion
			if version == 1 {
				m.streams++
			}
			w.set(textPositionKey(w.key[:0], idxStream, stream, version), w.position(g.first+uint64(n)-1))
		}
	}
	for outside, ns := range g.outside {
		for _, n := range ns {
			w.set(textPositionKey(w.key[:0], idxOutside, outside, g.first+uint64(n)-1), nil)
		}
	}
	w.links()
	for i := range g.entries {
		j.blocks.add(g.entries[i].kind, g.entries[i].correlation)
		if j.blocks.full() || i == len(g.entries)-1 {
			w.set(positionKey(idxBlock, j.blocks.first), j.blocks.summary(nil))
		}
	}
	m.position = g.end() - 1
	w.set([]byte{idxMark}, m.encode(j.store.id))
	if w.err == nil {
		w.err = w.batch.Commit(pebble.NoSync)
	}
	if w.err == nil {
		j.index = m
	}
	return w.err
}

// indexWriter builds the batch of one generation.
type indexWriter struct {
	g     *generation
	batch *pebble.Batch
	order []sortKey
	key   []byte
	value []byte
	err   error // of the first key that was refused
}

type sortKey struct {
	key uint64
	n   uint32
}

// run calls put for every entry in the order of key.
func (w *indexWriter) run(key func(en *entry) uint64, put func(en *entry, position uint64)) {
	w.order = w.order[:0]
	for i := range w.g.entries {
		w.order = append(w.order, sortKey{key(&w.g.entries[i]), uint32(i)})
	}
	slices.SortFunc(w.order, func(a, b sortKey) int { return cmp.Compare(a.key, b.key) })
	for _, o := range w.order {
		put(&w.g.entries[o.n], w.g.first+uint64(o.n))
	}
}

func (w *indexWriter) set(key, value []byte) {
	if w.err == nil {
		w.err = w.batch.Set(key, value, nil)
	}
	w.key = key
}

func (w *indexWriter) position(p uint64) []byte {
	w.value = binary.BigEndian.AppendUint64(w.value[:0], p)
	return w.value
}

func (j *Journal) indexedID(id events.ID) (uint64, error) {
	v, closer, err := j.store.index.Get(append([]byte{idxID}, id[:]...))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("event %s: index: %w", id, readError(err))
	}
	defer closer.Close()
	return position8(v, "index of ids")
}

// indexedPayload finds the record that holds a payload. The index knows half
// of its digest, the record the whole: should two ever share the half, one of
// them is not found and stored again.
func (j *Journal) indexedPayload(d events.Digest) (uint64, error) {
	v, closer, err := j.store.index.Get(append([]byte{idxPayload}, d[:16]...))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("payload %s: index: %w", d.Short(), readError(err))
	}
	defer closer.Close()
	position, err := position8(v, "index of payloads")
	if err != nil {
		return 0, err
	}
	e, payloadAt, err := j.record(position)
	if err != nil || payloadAt != 0 || e.PayloadDigest != d {
		return 0, err
	}
	return position, nil
}

func (j *Journal) indexedHead(stream string) (head, error) {
	prefix := textKey(nil, idxStream, stream)
	it, err := j.store.index.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)})
	if err != nil {
		return head{}, fmt.Errorf("stream %q: index: %w", stream, readError(err))
	}
	defer it.Close()
	if !it.Last() {
		return head{}, indexError(stream, it.Error())
	}
	position, err := position8(it.Value(), "index of streams")
	if err != nil {
		return head{}, err
	}
	h := head{version: tail8(it.Key()), position: position}
	e, _, err := j.record(position)
	if err != nil {
		return head{}, err
	}
	h.last = e.ID
	return h, nil
}

func indexError(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q: index: %w", what, readError(err))
}

// eachIndexKey calls f for the keys from lower up to upper until f says stop.
// key and value are f's only during the call.
func (j *Journal) eachIndexKey(lower, upper []byte, f func(key, value []byte) (more bool, err error)) error {
	it, err := j.store.index.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("index: %w", readError(err))
	}
	for ok := it.First(); ok; ok = it.Next() {
		more, err := f(it.Key(), it.Value())
		if err != nil || !more {
			return errors.Join(err, it.Close())
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("index: %w", readError(err))
	}
	return nil
}

// recover brings the state in memory to where the log ends.
func (j *Journal) recover() error {
	last, err := j.lastPosition()
	if err != nil {
		return err
	}
	m, ok, err := j.store.loadMark()
	if err != nil {
		return err
	}
	if !ok || m.position > last {
		// Either there is no index of this journal, or it knows of more than
		// the log has: at level os a power cut may take the log's end and
		// leave the index. What it says of positions that are gone, and will
		// be given out again, must not stay.
		j.log.Info("rebuilding the index", "events", last)
		if err := j.store.wipeIndex(); err != nil {
			return err
		}
		m = indexMark{}
	}
	j.index = m
	if err := j.recoverBlocks(); err != nil {
		return err
	}
	j.tail = newTail(m.position+1, j.opts.sizes.generation)
	j.counts.payloads.Store(m.payloads)
	j.counts.streams.Store(m.streams)
	want := m.position + 1
	err = j.eachRecord(want, last, func(e events.Event, payloadAt uint64) error {
		if e.Position != want {
			return fmt.Errorf("%w: position %d is missing from the log, the next is %d", ErrCorrupt, want, e.Position)
		}
		want++
		en := newEntry(&e)
		if payloadAt != 0 {
			en.payload = events.Digest{}
		}
		if !en.payload.IsZero() {
			j.counts.payloads.Add(1)
		}
		if e.StreamPosition == 1 {
			j.counts.streams.Add(1)
		}
		j.familiar.add(&en)
		j.tail.add(en, e.Parents)
		// A rebuild of a large journal must not hold it all in memory.
		for g := j.tail.full(e.Position, false); g != nil; g = j.tail.full(e.Position, false) {
			if err := j.writeIndex(g); err != nil {
				return err
			}
			j.tail.drop()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if want != last+1 {
		return fmt.Errorf("%w: position %d is missing from the log", ErrCorrupt, want)
	}
	if last > 0 {
		e, _, err := j.record(last)
		if err != nil {
			return err
		}
		j.clock.last = e.RecordTime
	}
	j.accepted = last
	j.mark.set(last)
	return j.recoverIntents()
}

func (j *Journal) lastPosition() (uint64, error) {
	it, err := j.store.log.NewIter(&pebble.IterOptions{LowerBound: []byte{logRecord}, UpperBound: []byte{logRecord + 1}})
	if err != nil {
		return 0, readError(err)
	}
	defer it.Close()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return 0, fmt.Errorf("find the last position: %w", readError(err))
		}
		return 0, nil
	}
	if len(it.Key()) != 9 {
		return 0, fmt.Errorf("%w: a record key of %d bytes", ErrCorrupt, len(it.Key()))
	}
	return tail8(it.Key()), nil
}
