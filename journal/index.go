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
	"github.com/tokaworks/toka/journal/merkle"
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
		j.store.noteDamage()
		if force && open && j.index.position > flushed {
			flushed = j.index.position
			if _, err := j.store.index.AsyncFlush(); err != nil {
				j.store.guard.Fail(fmt.Errorf("index: %w", err))
				return
			}
		}
	}
}

// writeIndex writes one generation with the mark behind it.
func (j *Journal) writeIndex(g *generation) error {
	w := indexWriter{g: g, batch: j.store.index.NewBatch()}
	defer w.batch.Close()
	m := j.index
	r := j.runs.build(g, w.set)
	m.payloads += uint64(r.tables[hashPayload].pairs)
	streams := slices.SortedFunc(maps.Keys(g.streams), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // as in the keys
	})
	var chain []uint64
	for _, stream := range streams {
		chain = chain[:0]
		version := uint64(0) // of the first event of the chain, in the end
		for n := g.streams[stream]; n != 0; n = g.entries[n-1].prevInStream {
			chain = append(chain, g.first+uint64(n)-1)
			version = g.entries[n-1].streamVersion
		}
		slices.Reverse(chain)
		if version == 1 {
			m.streams++
		}
		for part := range slices.Chunk(chain, streamChunk) {
			w.value = encodePositions(w.value[:0], part)
			w.key = textPositionKey(w.key[:0], idxStream, stream, version)
			w.set(w.key, w.value)
			version += uint64(len(part))
		}
	}
	for outside, ns := range g.outside {
		for _, n := range ns {
			w.key = textPositionKey(w.key[:0], idxOutside, outside, g.first+uint64(n)-1)
			w.set(w.key, nil)
		}
	}
	w.links()
	for i := range g.entries {
		j.blocks.add(g.entries[i].kind, g.entries[i].correlation)
		if j.blocks.full() || i == len(g.entries)-1 {
			w.set(positionKey(idxBlock, j.blocks.first), j.blocks.summary(nil))
		}
	}
	edge := w.tree(j.tree.load())
	m.position = g.end() - 1
	w.set([]byte{idxMark}, m.encode(j.store.id))
	if w.err == nil {
		w.err = w.batch.Commit(pebble.NoSync)
	}
	if w.err != nil {
		return w.err
	}
	j.index = m
	j.tree.set(edge)
	return j.runs.add(r)
}

// indexWriter builds the batch of one generation.
type indexWriter struct {
	g          *generation
	batch      *pebble.Batch
	key, value []byte // buffers
	err        error  // of the first key that was refused
}

func (w *indexWriter) set(key, value []byte) {
	if w.err == nil {
		w.err = w.batch.Set(key, value, nil)
	}
}

// indexedID finds an event by id in the index; position 0 means none.
func (j *Journal) indexedID(id events.ID) (position uint64, digest events.Digest, err error) {
	err = j.runs.find(hashID, idHash(id), idHash(id), func(p uint64) (bool, error) {
		e, _, err := j.record(p)
		if err == nil && e.ID == id {
			position, digest = p, e.Digest
		}
		return position != 0, err
	})
	if err != nil {
		return 0, digest, fmt.Errorf("event %s: %w", id, err)
	}
	return position, digest, nil
}

// indexedPayload finds the record that holds a payload; 0 means none.
func (j *Journal) indexedPayload(d events.Digest) (position uint64, err error) {
	if !j.runs.mayHold(hashPayload, digestHash(d)) {
		return 0, nil
	}
	err = j.runs.find(hashPayload, digestHash(d), digestHash(d), func(p uint64) (bool, error) {
		e, payloadAt, err := j.record(p)
		if err == nil && payloadAt == 0 && e.PayloadDigest == d && e.PayloadState == events.PayloadHere {
			if spared := j.sparing(); spared == nil || spared(p) {
				position = p
			}
		}
		return position != 0, err
	})
	if err != nil {
		return 0, fmt.Errorf("payload %s: %w", d.Short(), err)
	}
	return position, nil
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

// recover brings the state in memory to where the log ends. An index that it
// cannot read is built anew. That it cannot shows before a strategy is given
// anything, so one that was handed over is as it was the second time.
func (j *Journal) recover() error {
	err := j.recoverOnce()
	if err == nil || !j.store.indexDamaged.Load() {
		return err
	}
	j.log.Warn("the index is damaged; it is built anew from the log", "err", err)
	if err := j.store.renewIndex(j.log); err != nil {
		return err
	}
	return j.recoverOnce()
}

func (j *Journal) recoverOnce() error {
	last, err := j.lastPosition()
	if err != nil {
		return err
	}
	if last, err = j.holdAgainstMark(last); err != nil {
		return err
	}
	m, ok, err := j.store.loadMark()
	if err != nil {
		return err
	}
	edge, whole, err := j.store.loadEdge()
	if err != nil {
		return err
	}
	if !ok || m.position > last || !whole || edge.Size() != m.position {
		// Either there is no index of this journal, or it knows of more than
		// the log has: at level os a power cut may take the log's end and
		// leave the index. What it says of positions that are gone, and will
		// be given out again, must not stay.
		j.log.Info("rebuilding the index", "events", last)
		if err := j.store.wipeIndex(); err != nil {
			return err
		}
		m, edge = indexMark{}, merkle.Edge{}
	}
	if err := j.runs.open(j.store.index, j.log, &j.store.indexDamaged); err != nil {
		return err
	}
	j.index = m
	if err := j.recoverBlocks(); err != nil {
		return err
	}
	j.tree.set(edge)
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

// learn reads what look-ups want in memory of the index as it was found.
func (j *Journal) learn() {
	defer j.committed.Done()
	if err := j.runs.learn(func() bool { return j.stop() == nil }); err != nil {
		j.log.Warn("reading the index ahead failed; appends stay right and are slower", "err", err)
	}
}
