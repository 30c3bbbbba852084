package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Reading works in chunks: each one is copied out of the store and handed on
// before the next is read, so that a reader that takes its time holds no
// snapshot and no file.
const (
	chunkEvents = 512
	chunkBytes  = 1 << 20
)

// Query selects events. The zero Query is everything.
type Query struct {
	Stream string           // only this stream
	Kinds  []events.Pattern // only kinds that one of these matches
	After  uint64           // only positions greater than this
	Limit  int              // at most so many; 0 is no limit
}

func (q *Query) matches(e *events.Event) bool {
	if len(q.Kinds) == 0 {
		return true
	}
	for _, p := range q.Kinds {
		if p.Match(e.Kind) {
			return true
		}
	}
	return false
}

// Read yields the durable events that q selects, in order of position, up to
// the durable mark as it is when Read begins. After an error it yields nothing
// more; errors wrap ErrCorrupt, ErrClosed or the context's error.
func (j *Journal) Read(ctx context.Context, q Query) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		_, _ = j.read(ctx, q, j.mark.load(), yield)
	}
}

// read yields what q selects up to most. It returns how many it yielded and
// whether the consumer wants more.
func (j *Journal) read(ctx context.Context, q Query, most uint64, yield func(events.Event, error) bool) (n int, more bool) {
	next := j.scan
	if q.Stream != "" {
		next = j.scanStream
	}
	after := q.After
	for after < most {
		if err := j.enter(ctx); err != nil {
			yield(events.Event{}, err)
			return n, false
		}
		chunk, seen, err := next(&q, after, most)
		j.leave()
		for _, e := range chunk {
			if !yield(e, nil) {
				return n, false
			}
			if n++; q.Limit > 0 && n == q.Limit {
				return n, false
			}
		}
		if err != nil {
			yield(events.Event{}, err)
			return n, false
		}
		after = seen
	}
	return n, true
}

// enter keeps the store open until leave, or says why reading cannot go on. A
// journal whose storage has failed can still be read up to its mark until it
// is closed. Nothing between the two calls a consumer.
func (j *Journal) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j.readers.RLock()
	select {
	case <-j.closing:
		j.readers.RUnlock()
		return ErrClosed
	default:
		return nil
	}
}

func (j *Journal) leave() { j.readers.RUnlock() }

func missing(position uint64) error {
	return fmt.Errorf("position %d: %w: the record is missing; run verify", position, ErrCorrupt)
}

// scan reads one chunk of the log after a position. seen is how far it came.
func (j *Journal) scan(q *Query, after, most uint64) (chunk []events.Event, seen uint64, err error) {
	size := 0
	seen = most
	errStop := errors.New("chunk is full")
	want := after + 1
	err = j.eachRecord(want, most, func(e events.Event, payloadAt uint64) error {
		if e.Position != want {
			return missing(want)
		}
		want++
		seen = e.Position
		if q.matches(&e) {
			if err := j.join(&e, payloadAt); err != nil {
				return err
			}
			chunk = append(chunk, e)
			size += len(e.Payload) + 512
		}
		if len(chunk) >= chunkEvents || size >= chunkBytes || seen-after >= 64*chunkEvents {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		return chunk, seen, nil
	}
	if err == nil && want <= most {
		err = missing(want)
	}
	return chunk, seen, err
}

// scanStream reads one chunk of a stream after a position of the journal.
func (j *Journal) scanStream(q *Query, after, most uint64) (chunk []events.Event, seen uint64, err error) {
	from, err := j.streamPositionAfter(q.Stream, after)
	if err != nil {
		return nil, after, err
	}
	positions, err := j.streamPositions(q.Stream, from, most, chunkEvents)
	if err != nil {
		return nil, after, err
	}
	for _, p := range positions {
		e, err := j.at(p)
		if err != nil {
			return chunk, after, err
		}
		if q.matches(&e) {
			chunk = append(chunk, e)
		}
	}
	if len(positions) < chunkEvents {
		return chunk, most, nil
	}
	return chunk, positions[len(positions)-1], nil
}

// ReadStream yields the durable events of a stream after a stream position,
// in order.
func (j *Journal) ReadStream(ctx context.Context, stream string, after uint64) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		most := j.mark.load()
		for {
			if err := j.enter(ctx); err != nil {
				yield(events.Event{}, err)
				return
			}
			chunk, err := j.streamChunk(stream, after, most)
			j.leave()
			for _, e := range chunk {
				if !yield(e, nil) {
					return
				}
				after = e.StreamPosition
			}
			if err != nil {
				yield(events.Event{}, err)
			}
			if err != nil || len(chunk) < chunkEvents {
				return
			}
		}
	}
}

func (j *Journal) streamChunk(stream string, after, most uint64) ([]events.Event, error) {
	positions, err := j.streamPositions(stream, after, most, chunkEvents)
	if err != nil {
		return nil, err
	}
	chunk := make([]events.Event, 0, len(positions))
	for _, p := range positions {
		e, err := j.at(p)
		if err != nil {
			return chunk, err
		}
		chunk = append(chunk, e)
	}
	return chunk, nil
}

// StreamVersion returns how many durable events a stream has and the id of the
// last one; 0 and a zero id if it has none.
func (j *Journal) StreamVersion(stream string) (uint64, events.ID, error) {
	if err := j.enter(context.Background()); err != nil {
		return 0, events.ID{}, err
	}
	defer j.leave()
	// The head in memory may be ahead of the mark: then the last durable event
	// is looked for before it.
	if h, ok := j.tail.head(stream); ok && h.position <= j.mark.load() {
		return h.version, h.last, nil
	}
	if found, _ := j.tail.streamPositions(stream, 0, j.mark.load()); len(found) > 0 {
		e, err := j.at(found[len(found)-1])
		return e.StreamPosition, e.ID, err
	}
	h, err := j.indexedHead(stream)
	return h.version, h.last, err
}

// streamPositions lists at most limit positions of a stream after a stream
// position and not above most. The tail is asked first: what moves to the
// index meanwhile is then in both, never in neither.
func (j *Journal) streamPositions(stream string, after, most uint64, limit int) ([]uint64, error) {
	inTail, from := j.tail.streamPositions(stream, after, most)
	var found []uint64
	if from == 0 || from > after+1 {
		lower := textPositionKey(nil, idxStream, stream, after+1)
		prefix := textKey(nil, idxStream, stream)
		err := j.eachIndexKey(lower, keyAfter(prefix), func(key, value []byte) (bool, error) {
			if from != 0 && tail8(key) >= from {
				return false, nil
			}
			p, err := position8(value, "index of streams")
			if err != nil {
				return false, err
			}
			if p <= most {
				found = append(found, p)
			}
			return len(found) < limit, nil
		})
		if err != nil {
			return nil, fmt.Errorf("stream %q: %w", stream, err)
		}
	}
	if room := limit - len(found); len(inTail) > room {
		inTail = inTail[:room]
	}
	return append(found, inTail...), nil
}

// streamPositionAfter returns the stream position of the last event of a
// stream at or below a position of the journal.
func (j *Journal) streamPositionAfter(stream string, position uint64) (uint64, error) {
	if position == 0 {
		return 0, nil
	}
	inTail, from := j.tail.streamPositions(stream, 0, ^uint64(0))
	if len(inTail) > 0 && inTail[0] <= position {
		n := sort.Search(len(inTail), func(i int) bool { return inTail[i] > position })
		return from + uint64(n) - 1, nil
	}
	// Positions grow with stream positions, so a binary search over the index
	// finds the place with few lookups however long the stream is.
	h, err := j.indexedHead(stream)
	if err != nil {
		return 0, err
	}
	low, high := uint64(0), h.version // the answer is in [low, high]
	for low < high {
		mid := low + (high-low+1)/2
		v, closer, err := j.store.index.Get(textPositionKey(nil, idxStream, stream, mid))
		if err != nil {
			return 0, indexError(stream, err)
		}
		p, err := position8(v, "index of streams")
		_ = closer.Close()
		if err != nil {
			return 0, err
		}
		if p <= position {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

// eachRecord decodes the records from first to last, in order, until f
// returns an error.
func (j *Journal) eachRecord(first, last uint64, f func(e events.Event, payloadAt uint64) error) error {
	if first > last {
		return nil
	}
	return j.eachLogKey(positionKey(logRecord, first), positionKey(logRecord, last+1), func(key, value []byte) error {
		e, payloadAt, err := events.DecodeRecord(tail8(key), value)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return f(e, payloadAt)
	})
}

// eachLogKey calls f for the keys of the log from lower up to upper.
func (j *Journal) eachLogKey(lower, upper []byte, f func(key, value []byte) error) error {
	it, err := j.store.log.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("log: %w", readError(err))
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			return errors.Join(readError(err), it.Close())
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("log: %w", readError(err))
	}
	return nil
}

// at reads the event at a position at or below the durable mark, complete with
// payload and intent.
func (j *Journal) at(position uint64) (events.Event, error) {
	e, payloadAt, err := j.record(position)
	if err != nil {
		return events.Event{}, err
	}
	return e, j.join(&e, payloadAt)
}

// join adds to a record what is stored elsewhere: a payload that another
// record holds, and the intent.
func (j *Journal) join(e *events.Event, payloadAt uint64) error {
	if payloadAt != 0 {
		holder, at, err := j.record(payloadAt)
		if err != nil {
			return err
		}
		if at != 0 || holder.PayloadDigest != e.PayloadDigest {
			return fmt.Errorf("position %d: %w: position %d should hold its payload %s and does not",
				e.Position, ErrCorrupt, payloadAt, e.PayloadDigest.Short())
		}
		e.Payload = holder.Payload
	}
	if e.EmbeddingDigest.IsZero() {
		return nil
	}
	return j.intent.join(e)
}
