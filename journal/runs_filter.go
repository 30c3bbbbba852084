package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// filterPart is how many blocks of a filter lie under one key.
const filterPart = 512

// filterKey is the key of a part of a filter.
func filterKey(kind hashKind, level uint8, first uint64, part int) []byte {
	b := binary.BigEndian.AppendUint64([]byte{idxFilter, kind.prefix(), level}, first)
	return binary.BigEndian.AppendUint32(b, uint32(part))
}

// storesFilter says whether the run's filter is stored: that of a generation is
// made of its few pages as quickly as it would be read.
func (r *run) storesFilter(kind hashKind) bool { return kind.filtered() && r.level > 0 }

// writeFilter writes a filter of the run with set, if it is to be stored.
func (r *run) writeFilter(kind hashKind, b filter, set func(key, value []byte)) {
	if !r.storesFilter(kind) {
		return
	}
	var v []byte
	part := 0
	for blocks := range slices.Chunk(b, filterPart) {
		v = v[:0]
		for i := range blocks {
			for _, word := range blocks[i] {
				v = binary.BigEndian.AppendUint64(v, word)
			}
		}
		set(filterKey(kind, r.level, r.first, part), v)
		part++
	}
}

// readFilter reads a filter that writeFilter wrote; it is nil if there is none.
func (r *run) readFilter(from pebble.Reader, kind hashKind) (filter, error) {
	if !r.storesFilter(kind) {
		return nil, nil
	}
	b := newFilter(r.tables[kind].pairs)
	part := 0
	for blocks := range slices.Chunk(b, filterPart) {
		if err := readFilterPart(from, filterKey(kind, r.level, r.first, part), blocks); err != nil {
			return nil, fmt.Errorf("index: filter of the run from position %d: %w", r.first, err)
		}
		part++
	}
	return b, nil
}

func readFilterPart(from pebble.Reader, key []byte, blocks filter) error {
	v, closer, err := from.Get(key)
	if err != nil {
		return readError(err)
	}
	defer closer.Close()
	if len(v) != len(blocks)*8*8 {
		return fmt.Errorf("%w: %d bytes where %d were expected; run verify", ErrCorrupt, len(v), len(blocks)*8*8)
	}
	for i := range blocks {
		for k := range blocks[i] {
			blocks[i][k] = binary.BigEndian.Uint64(v)
			v = v[8:]
		}
	}
	return nil
}

// learn brings the filters of the runs that were found at the start into
// memory, until more says no. Until then look-ups read a page of each run.
func (s *runs) learn(more func() bool) error {
	for _, r := range slices.Backward(s.load()) {
		for kind := range hashKinds {
			t := &r.tables[kind]
			if !kind.filtered() || t.filter.Load() != nil || !more() {
				continue
			}
			if b, err := r.readFilter(s.db, kind); b != nil {
				t.filter.Store(&b)
				continue
			} else if err != nil && !errors.Is(err, pebble.ErrNotFound) {
				s.log.Warn("a filter of the index is damaged; it is made again for this run of the program", "err", err)
			}
			if err := s.learnPages(r, kind, more); err != nil {
				return err
			}
		}
	}
	return nil
}

// learnPages makes the filter of a run from its pages.
func (s *runs) learnPages(r *run, kind hashKind, more func() bool) error {
	t := &r.tables[kind]
	b := newFilter(t.pairs)
	for c := (cursor{from: s.db, r: r, kind: kind}); more(); {
		ok, err := c.next()
		if errors.Is(err, pebble.ErrNotFound) {
			return nil // merged meanwhile, and the merged run has a filter
		}
		if err != nil {
			return err
		}
		if !ok {
			t.filter.Store(&b)
			return nil
		}
		b.add(c.hash)
	}
	return nil
}

// filter holds the stored filter of a run against one that was made of its
// pages.
func (v *verifier) filter(from pebble.Reader, r *run, kind hashKind, what string, made filter) {
	if !r.storesFilter(kind) {
		return
	}
	stored, err := r.readFilter(from, kind)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		v.problem(r.first, "the filter of %s from here to position %d is not whole", what, r.last)
	case err != nil:
		v.problem(r.first, "the filter of %s from here to position %d: %v", what, r.last, err)
	case !slices.Equal(stored, made):
		v.problem(r.first, "the stored filter of %s from here to position %d is of other events", what, r.last)
	}
}
