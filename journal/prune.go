package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Pruned says what Prune did.
type Pruned struct {
	Events   uint64 `json:"events"`   // that were selected and had a payload
	Payloads uint64 `json:"payloads"` // that were removed
	Bytes    uint64 `json:"bytes"`    // that they had
	Kept     uint64 `json:"kept"`     // payloads that an event which was not selected carries too
}

// Prune removes the payloads of the events that q selects. They stay, with
// their digests, links and proofs, and read as pruned. A payload that another
// event carries too, which q does not select, is kept. When Prune returns, what
// was removed is in no file of the journal any more: the parts of the log that
// held it are written anew. Snapshots of the streams are dropped. What stays is
// what is not payload: names, kinds, times, extensions, quantised embeddings;
// and copies elsewhere, backups among them.
//
// An agent whose events are pruned cannot be recovered from them.
func (j *Journal) Prune(ctx context.Context, q Query) (p Pruned, err error) {
	if err := j.stop(); err != nil {
		return p, err
	}
	if !j.pruning.TryLock() {
		return p, errors.New("prune: another one is under way")
	}
	defer j.pruning.Unlock()
	most := j.mark.load()
	selected := make([]uint64, most/64+1) // a bit for each position
	holders := map[uint64]struct{}{}
	streams := map[string]struct{}{}
	for e, err := range j.Read(ctx, q) {
		if err != nil {
			return p, err
		}
		if e.Position > most || e.PayloadState == events.PayloadPruned || strings.HasPrefix(e.Stream, "$") {
			continue
		}
		_, at, err := j.holderOf(ctx, e.Position)
		if err != nil {
			return p, err
		}
		if at == 0 {
			continue // it had none
		}
		selected[e.Position/64] |= 1 << (e.Position % 64)
		holders[at] = struct{}{}
		streams[e.Stream] = struct{}{}
		p.Events++
	}
	if len(holders) == 0 {
		return p, nil
	}
	// From here on whoever shares one of these payloads anew takes it out of
	// the list; those that were accepted before are seen by the pass that
	// follows. What is on the list after it is not shared any more, but stored
	// anew.
	d := &doom{holders: maps.Clone(holders)}
	j.doomed.Store(d)
	defer j.doomed.Store(nil)
	if err := j.barrier(ctx); err != nil {
		return p, err
	}
	if err := j.unshare(ctx, j.mark.load(), selected, d); err != nil {
		return p, err
	}
	alone := d.seal()
	p.Kept = uint64(len(holders) - len(alone))
	// The tail in memory would go on to offer them.
	if err := j.untilIndexed(ctx, j.mark.load()); err != nil {
		return p, err
	}
	positions := slices.Sorted(maps.Keys(alone))
	done := make(chan error, 1)
	go func() { done <- j.rewrite(ctx, positions, slices.Sorted(maps.Keys(streams)), &p) }()
	select {
	case err = <-done:
		return p, err
	case <-j.failed:
		return Pruned{}, j.Err()
	}
}

// doom is the list of the records that may lose their payload.
type doom struct {
	mu      sync.Mutex
	holders map[uint64]struct{}
	sealed  bool // they will
}

// seal ends the list and returns what is on it.
func (d *doom) seal() map[uint64]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sealed = true
	return d.holders
}

// sparing returns what tells whether a record that an event is about to share
// the payload of goes on to hold it; nil means that all do.
func (j *Journal) sparing() func(holder uint64) bool {
	d := j.doomed.Load()
	if d == nil {
		return nil
	}
	return d.spares
}

func (d *doom) spares(holder uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, listed := d.holders[holder]
	if listed && !d.sealed {
		delete(d.holders, holder)
	}
	return !listed || !d.sealed
}

// holderOf returns the event at a position and the position of the record that
// holds its payload, 0 if it has none.
func (j *Journal) holderOf(ctx context.Context, position uint64) (e events.Event, at uint64, err error) {
	if err := j.enter(ctx); err != nil {
		return e, 0, err
	}
	defer j.leave()
	e, at, err = j.record(position)
	if at == 0 && len(e.Payload) > 0 {
		at = position
	}
	return e, at, err
}

// barrier returns when everything that was accepted before it is durable.
func (j *Journal) barrier(ctx context.Context) error {
	r := &request{answer: make(chan struct{})}
	if err := j.queue.put(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.answer:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unshare takes off the list what an event that is not selected refers to.
func (j *Journal) unshare(ctx context.Context, most uint64, selected []uint64, d *doom) error {
	for first := uint64(1); first <= most; first += 4096 {
		if err := j.enter(ctx); err != nil {
			return err
		}
		d.mu.Lock()
		err := j.eachRecord(first, min(first+4095, most), func(e events.Event, at uint64) error {
			if at == 0 {
				at = e.Position
			}
			if n := e.Position / 64; n >= uint64(len(selected)) || selected[n]&(1<<(e.Position%64)) == 0 {
				delete(d.holders, at)
			}
			return nil
		})
		d.mu.Unlock()
		j.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

// untilIndexed returns when the tail has let go of everything up to a position.
func (j *Journal) untilIndexed(ctx context.Context, position uint64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !j.tail.past(position) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-j.failed:
			return j.Err()
		case <-j.closing:
			return ErrClosed
		}
	}
	return nil
}

// past reports whether nothing up to a position is in the tail.
func (t *tail) past(position uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.gens[0].first > position
}

// rewrite takes the payloads out of the records, and everything that the
// records were before out of the files.
func (j *Journal) rewrite(ctx context.Context, positions []uint64, streams []string, p *Pruned) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	for chunk := range slices.Chunk(positions, 1024) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := j.store.log.NewBatch()
		for _, position := range chunk {
			e, at, err := j.record(position)
			if err == nil && (at != 0 || len(e.Payload) == 0) {
				err = fmt.Errorf("prune: position %d: %w: it should hold a payload and does not", position, ErrCorrupt)
			}
			if err != nil {
				return errors.Join(err, b.Close())
			}
			p.Payloads++
			p.Bytes += uint64(len(e.Payload))
			e.Payload, e.PayloadState = nil, events.PayloadPruned
			if err := b.Set(positionKey(logRecord, position), events.AppendRecord(nil, &e, 0), nil); err != nil {
				return errors.Join(err, b.Close())
			}
		}
		if err := errors.Join(b.Commit(pebble.Sync), b.Close()); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
	for _, stream := range streams {
		prefix := textKey(nil, idxSnapshot, stream)
		if err := j.store.index.DeleteRange(prefix, keyAfter(prefix), pebble.NoSync); err != nil {
			return fmt.Errorf("prune: snapshots: %w", err)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	s := j.store
	first, last := positions[0], positions[len(positions)-1]
	if err := s.scrub(ctx, logDir, s.log, positionKey(logRecord, first), positionKey(logRecord, last+1)); err != nil {
		return err
	}
	return s.scrub(ctx, indexDir, s.index, []byte{idxSnapshot}, []byte{idxSnapshot + 1})
}

// scrub returns when nothing that was overwritten or deleted between lower and
// upper is in a file of the engine: its tables are compacted, and its old
// write-ahead logs, which it keeps to use them again, are removed.
func (s *store) scrub(ctx context.Context, dir string, db *pebble.DB, lower, upper []byte) error {
	before, err := s.fs.List(s.fs.PathJoin(s.dir, dir))
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	s.guard.Renew(true)
	defer s.guard.Renew(false)
	if err := db.Flush(); err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	if err := db.Compact(ctx, lower, upper, false); err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	// Each flush begins a log and takes up an old one. What the engine let go
	// of is removed behind its back, and not while somebody still reads it.
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		left, err := s.stale(dir, db, before)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("prune: what was removed may still be in %v: %w", left, context.Cause(ctx))
		}
		if err := db.Flush(); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
}

// stale lists the files of before that are there and hold no data that counts:
// every log, and the tables that the engine does not use.
func (s *store) stale(dir string, db *pebble.DB, before []string) (left []string, err error) {
	levels, err := db.SSTables()
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	live := map[string]bool{}
	for _, level := range levels {
		for _, t := range level {
			live[fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum))] = true
		}
	}
	for _, name := range before {
		held := strings.HasSuffix(name, ".sst") && !live[name]
		if !held && (dir == indexDir || !strings.HasSuffix(name, ".log")) {
			continue // the index writes nothing to the log that the engine opens for it
		}
		switch _, err := s.fs.Stat(s.fs.PathJoin(s.dir, dir, name)); {
		case err == nil:
			left = append(left, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("prune: %w", err)
		}
	}
	return left, nil
}
