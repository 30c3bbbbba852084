package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// add puts a run that is written at the end of the list, and merges where a
// level is full. The pages that a merge makes useless are deleted only after
// the list names them no more: who has the old list and misses a page loads
// the list again.
func (s *runs) add(r *run) error {
	list := append(slices.Clone(s.load()), r)
	s.publish(list)
	for {
		at := full(list)
		if at < 0 {
			return nil
		}
		merged, err := s.merge(list[at : at+runFanout])
		if errors.Is(err, ErrCorrupt) {
			// The runs stay as they are: what is damaged is named by whoever
			// reads it and by Verify, and the rest is found as before.
			if !s.damaged.Swap(true) {
				s.log.Error("a part of the index is damaged; the next start builds it anew", "err", err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		list = slices.Concat(list[:at], []*run{merged}, list[at+runFanout:])
		s.publish(list)
		if err := s.deletePages(merged.first, merged.last, merged.level-1); err != nil {
			return err
		}
	}
}

// full returns where runFanout runs of one level begin, -1 if none do.
func full(list []*run) int {
	for i := 0; i+runFanout <= len(list); i++ {
		if list[i].level == list[i+runFanout-1].level {
			return i
		}
	}
	return -1
}

// deletePages deletes the pages of the runs of a level that begin from first
// to last.
func (s *runs) deletePages(first, last uint64, level uint8) error {
	for kind := range hashKinds {
		lower, upper := pageKey(nil, kind, level, first, 0), pageKey(nil, kind, level, last+1, 0)
		if err := s.db.DeleteRange(lower, upper, pebble.NoSync); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if !kind.filtered() {
			continue
		}
		lower, upper = filterKey(kind, level, first, 0), filterKey(kind, level, last+1, 0)
		if err := s.db.DeleteRange(lower, upper, pebble.NoSync); err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	return nil
}

// merge writes the pages of old as one run of the next level, and then, in one
// step, that run in their place. If we die before that step, the next merge
// writes the same pages again.
func (s *runs) merge(old []*run) (*run, error) {
	r := &run{first: old[0].first, last: old[len(old)-1].last, level: old[0].level + 1}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	var err error
	set := func(key, value []byte) {
		if err = errors.Join(err, batch.Set(key, value, nil)); err == nil && batch.Len() > 1<<20 {
			err = batch.Commit(pebble.NoSync)
			_ = batch.Close()
			batch = s.db.NewBatch()
		}
	}
	for kind := range hashKinds {
		pairs := 0
		for _, o := range old {
			pairs += o.tables[kind].pairs
		}
		w := newPageWriter(r, kind, pairs, set)
		if e := s.mergeKind(old, kind, w.add); errors.Is(e, pebble.ErrNotFound) {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, e) // nobody else deletes pages
		} else if e != nil {
			return nil, e
		}
		w.end()
	}
	for _, o := range old[1:] {
		err = errors.Join(err, batch.Delete(positionKey(idxRun, o.first), nil))
	}
	set(positionKey(idxRun, r.first), r.encode())
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	if err != nil {
		return nil, fmt.Errorf("index: merge runs: %w", err)
	}
	return r, nil
}

// mergeKind yields the pairs of all runs in order.
func (s *runs) mergeKind(old []*run, kind hashKind, yield func(pair)) error {
	cursors := make([]cursor, 0, len(old))
	for _, o := range old {
		c := cursor{from: s.db, r: o, kind: kind}
		if ok, err := c.next(); err != nil {
			return err
		} else if ok {
			cursors = append(cursors, c)
		}
	}
	for len(cursors) > 0 {
		least := 0
		for i := 1; i < len(cursors); i++ {
			if comparePairs(cursors[i].pair, cursors[least].pair) < 0 {
				least = i
			}
		}
		yield(cursors[least].pair)
		if ok, err := cursors[least].next(); err != nil {
			return err
		} else if !ok {
			cursors = slices.Delete(cursors, least, least+1)
		}
	}
	return nil
}
