package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// The index store holds what can be rebuilt from the log. It has no
// write-ahead log of its own: its tables reach the disk in order, each with
// the mark up to which they are complete, so whatever is found after a crash
// is complete up to its mark, and the log is read again from there.

// indexLag bounds how long an event may be missing from the index on disk.
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
// runs, which the engine takes much faster than scattered ones.
func (j *Journal) writeIndex(g *generation) error {
	m := j.index
	b := j.store.index.NewBatch()
	defer b.Close()
	order := make([]uint32, len(g.entries))
	run := func(less func(a, b *entry) int, put func(en *entry, position uint64) error) error {
		for i := range order {
			order[i] = uint32(i)
		}
		slices.SortFunc(order, func(x, y uint32) int { return less(&g.entries[x], &g.entries[y]) })
		for _, i := range order {
			if err := put(&g.entries[i], g.first+uint64(i)); err != nil {
				return err
			}
		}
		return nil
	}
	var key, value []byte
	position8 := func(p uint64) []byte {
		value = binary.BigEndian.AppendUint64(value[:0], p)
		return value
	}
	err := errors.Join(
		run(func(a, b *entry) int { return slices.Compare(a.digest[:8], b.digest[:8]) }, func(en *entry, p uint64) error {
			key = digestKey(key[:0], idxDigest, en.digest, p)
			return b.Set(key, nil, nil)
		}),
		run(func(a, b *entry) int { return slices.Compare(a.id[:], b.id[:]) }, func(en *entry, p uint64) error {
			key = append(append(key[:0], idxID), en.id[:]...)
			return b.Set(key, position8(p), nil)
		}),
		run(func(a, b *entry) int { return slices.Compare(a.payload[:8], b.payload[:8]) }, func(en *entry, p uint64) error {
			if en.payload.IsZero() {
				return nil
			}
			m.payloads++
			key = append(append(key[:0], idxPayload), en.payload[:16]...)
			return b.Set(key, position8(p), nil)
		}),
		run(func(a, b *entry) int {
			// Length first, as in the keys.
			if d := len(a.stream) - len(b.stream); d != 0 {
				return d
			}
			if a.stream != b.stream {
				if a.stream < b.stream {
					return -1
				}
				return 1
			}
			return int(int64(a.streamVersion) - int64(b.streamVersion))
		}, func(en *entry, p uint64) error {
			if en.streamVersion == 1 {
				m.streams++
			}
			key = textPositionKey(key[:0], idxStream, en.stream, en.streamVersion)
			return b.Set(key, position8(p), nil)
		}),
	)
	if err != nil {
		return err
	}
	for outside, ns := range g.outside {
		for _, n := range ns {
			key = textPositionKey(key[:0], idxOutside, outside, g.first+uint64(n)-1)
			if err := b.Set(key, nil, nil); err != nil {
				return err
			}
		}
	}
	m.position = g.end() - 1
	if err := b.Set([]byte{idxMark}, m.encode(j.store.id), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	j.index = m
	return nil
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
		j.tail.add(en)
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
