package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Each yields the events at the given positions, in the order given, reading
// ahead in chunks: much cheaper than as many calls of At, above all where
// positions follow each other, in either direction. An error of positions is
// yielded as it comes; others wrap ErrNotFound, ErrCorrupt or ErrClosed, or
// are the context's. After an error it yields nothing more.
func (j *Journal) Each(ctx context.Context, positions iter.Seq2[uint64, error]) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		var want []uint64
		var chunk []events.Event // its memory serves every chunk
		room := 16               // grows: who stops early has not read much ahead
		flush := func() bool {
			for left := want; len(left) > 0; left = left[len(chunk):] {
				var err error
				chunk, err = j.each(ctx, left, chunk[:0])
				for i := range chunk {
					if !yield(chunk[i], nil) {
						return false
					}
				}
				if err != nil {
					yield(events.Event{}, err)
					return false
				}
			}
			want = want[:0]
			room = min(2*room, chunkEvents)
			return true
		}
		for p, err := range positions {
			if err != nil {
				if flush() {
					yield(events.Event{}, err)
				}
				return
			}
			if want = append(want, p); len(want) >= room && !flush() {
				return
			}
		}
		flush()
	}
}

// each adds events to chunk until chunkBytes are full, at least one.
func (j *Journal) each(ctx context.Context, positions []uint64, chunk []events.Event) (_ []events.Event, err error) {
	if err := j.enter(ctx); err != nil {
		return chunk, err
	}
	defer j.leave()
	end := j.mark.load()
	it, err := j.store.log.NewIter(&pebble.IterOptions{LowerBound: []byte{logRecord}, UpperBound: []byte{logRecord + 1}})
	if err != nil {
		return chunk, fmt.Errorf("log: %w", readError(err))
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var key [9]byte
	at, size := uint64(0), 0
	for _, p := range positions {
		if p == 0 || p > end {
			return chunk, fmt.Errorf("position %d: %w: the journal ends at %d", p, ErrNotFound, end)
		}
		var ok bool
		switch {
		case at != 0 && p == at+1:
			ok = it.Next()
		case at != 0 && p == at-1:
			ok = it.Prev()
		default:
			ok = it.SeekGE(putPositionKey(&key, logRecord, p))
		}
		if !ok || len(it.Key()) != 9 || tail8(it.Key()) != p {
			if err := it.Error(); err != nil {
				return chunk, fmt.Errorf("position %d: %w", p, readError(err))
			}
			return chunk, missing(p)
		}
		at = p
		v, err := it.ValueAndErr()
		if err != nil {
			return chunk, fmt.Errorf("position %d: %w", p, readError(err))
		}
		e, payloadAt, err := events.DecodeRecord(p, v)
		if err != nil {
			return chunk, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err := j.join(&e, payloadAt); err != nil {
			return chunk, err
		}
		chunk = append(chunk, e)
		if size += len(e.Payload) + 512; size >= chunkBytes {
			break
		}
	}
	return chunk, nil
}
