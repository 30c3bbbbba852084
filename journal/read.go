package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// Reading works in chunks: each one is copied out of the store and handed on
// before the next is read, so that a reader that takes its time holds no
// snapshot and no file.
const (
	chunkEvents = 512
	chunkBytes  = 1 << 20
)

// Read yields the durable events that q selects, in order of position or
// against it, up to the durable mark as it is when Read begins. After an error
// it yields nothing more; errors wrap ErrCorrupt, ErrClosed or the context's
// error.
func (j *Journal) Read(ctx context.Context, q Query) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		q := j.resolved(q)
		_, _ = j.read(ctx, &q, j.readable(&q), yield, nil)
	}
}

// readable is the position up to which q may read now.
func (j *Journal) readable(q *Query) uint64 {
	most := j.mark.load()
	if !q.Intent.IsZero() {
		return j.intent.upTo(most)
	}
	return most
}

// read yields what q selects up to most. It returns how many it yielded and
// whether the consumer wants more. passed, if it is not nil, is told now and
// then up to where everything was yielded.
func (j *Journal) read(ctx context.Context, q *Query, most uint64, yield func(events.Event, error) bool, passed func(position uint64) bool) (n int, more bool) {
	r := reader{j: j, q: q, want: q.wants()}
	if err := j.enter(ctx); err != nil {
		yield(events.Event{}, err)
		return 0, false
	}
	left, err := j.stretch(q, most)
	j.leave()
	if err != nil {
		yield(events.Event{}, err)
		return 0, false
	}
	var none bool
	if r.stream, none = q.stream(); none {
		return 0, true
	}
	for !left.empty() {
		if err := j.enter(ctx); err != nil {
			yield(events.Event{}, err)
			return n, false
		}
		chunk, rest, err := r.chunk(left)
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
		left = rest
		if passed != nil && !left.empty() && !passed(left.first-1) {
			return n, false
		}
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

// reader is one read on its way.
type reader struct {
	j      *Journal
	q      *Query
	stream string         // the only one, if not empty
	want   *wanted        // nil if nothing can be skipped
	chunks []events.Event // memory of the last chunk, all of which was handed on

	vector intent.Vector // buffer
	norm   int64         // squared length of q.Like
}

// chunk reads the next part of what is left, and returns what is left then.
// The part is bounded in events, in bytes and in what was looked at.
func (r *reader) chunk(left stretch) (chunk []events.Event, rest stretch, err error) {
	switch {
	case r.stream != "":
		return r.streamChunk(left)
	case !r.q.Intent.IsZero():
		return r.intentChunk(left)
	case r.q.Like != nil:
		return r.likeChunk(left)
	}
	run, rest, err := r.j.next(r.q, r.want, left)
	if err != nil || run.empty() {
		return nil, rest, err
	}
	chunk, part, err := r.scan(run)
	if !part.empty() {
		if r.q.Backwards {
			rest.first, rest.last = left.first, part.last
		} else {
			rest.first, rest.last = part.first, left.last
		}
	}
	return chunk, rest, err
}

// errFull ends a walk whose chunk is full.
var errFull = errors.New("chunk is full")

// size is what an event counts for against chunkBytes.
func size(e *events.Event) int { return len(e.Payload) + 512 }

// scan reads one chunk of the log.
func (r *reader) scan(s stretch) (chunk []events.Event, rest stretch, err error) {
	rest, chunk = s, r.chunks[:0]
	seen, bytes := 0, 0
	err = r.j.eachValueIn(s, r.q.Backwards, func(position uint64, value []byte) error {
		want := rest.first
		if r.q.Backwards {
			want = rest.last
		}
		if position != want {
			return missing(want)
		}
		n := len(chunk)
		chunk = append(chunk, events.Event{}) // decoded in its place: an event is large
		e, payloadAt, err := &chunk[n], uint64(0), error(nil)
		if *e, payloadAt, err = events.DecodeRecord(position, value); err != nil {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		} else if !r.q.matches(e) {
			chunk = chunk[:n]
		} else if err = r.j.join(e, payloadAt); err == nil {
			bytes += size(e)
		}
		if err != nil {
			chunk = chunk[:n]
			return err
		}
		rest = r.q.past(rest, position)
		if seen++; len(chunk) >= chunkEvents || bytes >= chunkBytes || seen >= 64*chunkEvents {
			return errFull
		}
		return nil
	})
	r.chunks = chunk
	if errors.Is(err, errFull) {
		return chunk, rest, nil
	}
	if err == nil && !rest.empty() {
		err = missing(rest.first)
	}
	return chunk, rest, err
}

// load reads the events at positions, in q's direction, until it has enough.
func (r *reader) load(positions []uint64, left stretch) (chunk []events.Event, rest stretch, err error) {
	bytes := 0
	for _, p := range positions {
		if like, err := r.like(p); err != nil {
			return chunk, left, err
		} else if !like {
			left = r.q.past(left, p)
			continue
		}
		e, err := r.j.at(p)
		if err != nil {
			return chunk, left, err
		}
		left = r.q.past(left, p)
		if r.q.matches(&e) && (r.q.Intent.IsZero() || e.Intent.ID == r.j.intent.resolve(r.q.Intent)) {
			chunk = append(chunk, e)
		}
		if bytes += size(&e); bytes >= chunkBytes {
			break
		}
	}
	return chunk, left, nil
}

// streamChunk reads one chunk of a stream.
func (r *reader) streamChunk(left stretch) (chunk []events.Event, rest stretch, err error) {
	before, err := r.j.streamPositionAfter(r.stream, left.first-1)
	if err != nil {
		return nil, left, err
	}
	last, err := r.j.streamPositionAfter(r.stream, left.last)
	if err != nil || last <= before {
		return nil, stretch{1, 0}, err
	}
	n := min(last-before, chunkEvents)
	if r.q.Backwards {
		before = last - n
	}
	positions, err := r.j.streamPositions(r.stream, before, left.last, int(n))
	if err == nil && uint64(len(positions)) != n {
		err = fmt.Errorf("stream %q: %w: the index knows %d of %d events after stream position %d; delete the directory index, it is built anew",
			r.stream, ErrCorrupt, len(positions), n, before)
	}
	if err != nil {
		return nil, left, err
	}
	if r.q.Backwards {
		slices.Reverse(positions)
	}
	return r.load(positions, left)
}

// intentChunk reads one chunk of an intent, from where assignments lie.
func (r *reader) intentChunk(left stretch) (chunk []events.Event, rest stretch, err error) {
	var positions []uint64
	rest = left
	seen := 0
	want := r.j.intent.resolve(r.q.Intent)
	err = walk(r.j.store.index, positionKey(idxIntent, left.first), positionKey(idxIntent, left.last+1), r.q.Backwards, func(key, value []byte) error {
		p := tail8(key)
		if a, ok := decodeAssignment(p, value); ok && r.j.intent.resolve(a.part) == want {
			positions = append(positions, p)
		}
		rest = r.q.past(rest, p)
		if seen++; len(positions) >= chunkEvents || seen >= 64*chunkEvents {
			return errFull
		}
		return nil
	})
	return r.loaded(positions, left, rest, err)
}

// loaded loads what a walk over keys has found and says what is left then: rest
// if the walk ended with errFull, nothing if it came to its end.
func (r *reader) loaded(positions []uint64, left, rest stretch, err error) (chunk []events.Event, _ stretch, _ error) {
	switch {
	case err == nil:
		rest = stretch{1, 0}
	case !errors.Is(err, errFull):
		return nil, left, err
	}
	n := len(positions)
	chunk, part, err := r.load(positions, left)
	if n > 0 && part != r.q.past(left, positions[n-1]) {
		rest = part // not all of them were loaded
	}
	return chunk, rest, err
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
			chunk, err := j.readChunk(stream, after, most)
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
			if err != nil || len(chunk) == 0 {
				return
			}
		}
	}
}

func (j *Journal) readChunk(stream string, after, most uint64) ([]events.Event, error) {
	positions, err := j.streamPositions(stream, after, most, chunkEvents)
	if err != nil {
		return nil, err
	}
	chunk := make([]events.Event, 0, len(positions))
	bytes := 0
	for _, p := range positions {
		e, err := j.at(p)
		if err != nil {
			return chunk, err
		}
		chunk = append(chunk, e)
		if bytes += size(&e); bytes >= chunkBytes {
			break
		}
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

// eachRecord decodes the records from first to last, in order, until f
// returns an error.
func (j *Journal) eachRecord(first, last uint64, f func(e events.Event, payloadAt uint64) error) error {
	return j.eachRecordIn(stretch{first, last}, false, f)
}

// eachRecordIn is eachRecord in either direction.
func (j *Journal) eachRecordIn(s stretch, backwards bool, f func(e events.Event, payloadAt uint64) error) error {
	return j.eachValueIn(s, backwards, func(position uint64, value []byte) error {
		e, payloadAt, err := events.DecodeRecord(position, value)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return f(e, payloadAt)
	})
}

// eachValueIn is eachRecordIn without decoding. value is f's only during the
// call.
func (j *Journal) eachValueIn(s stretch, backwards bool, f func(position uint64, value []byte) error) error {
	if s.empty() {
		return nil
	}
	return walk(j.store.log, positionKey(logRecord, s.first), positionKey(logRecord, s.last+1), backwards, func(key, value []byte) error {
		return f(tail8(key), value)
	})
}

// eachLogKey calls f for the keys of the log from lower up to upper.
func (j *Journal) eachLogKey(lower, upper []byte, f func(key, value []byte) error) error {
	return walk(j.store.log, lower, upper, false, f)
}

// walk calls f for the keys of an engine from lower up to upper, or down from
// there, until f returns an error.
func walk(db *pebble.DB, lower, upper []byte, backwards bool, f func(key, value []byte) error) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read: %w", readError(err))
	}
	start, step := it.First, it.Next
	if backwards {
		start, step = it.Last, it.Prev
	}
	for ok := start(); ok; ok = step() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			return errors.Join(readError(err), it.Close())
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("read: %w", readError(err))
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

// stored is at with the payload as it is stored, encrypted or not.
func (j *Journal) stored(position uint64) (events.Event, error) {
	e, payloadAt, err := j.record(position)
	if err != nil {
		return events.Event{}, err
	}
	return e, j.fetch(&e, payloadAt)
}

// join adds to a record what is stored elsewhere: a payload that another
// record holds, and the intent. An encrypted payload is decrypted, or it is
// said why it cannot be.
func (j *Journal) join(e *events.Event, payloadAt uint64) error {
	if err := j.fetch(e, payloadAt); err != nil {
		return err
	}
	if e.SubjectKey != "" && len(e.Payload) > 0 {
		var err error
		if e.Payload, e.PayloadState, err = j.keys.open(e.SubjectKey, e.Payload); err != nil {
			return fmt.Errorf("position %d: %w", e.Position, err)
		}
	}
	return j.intent.join(e)
}

// fetch adds a payload that another record holds.
func (j *Journal) fetch(e *events.Event, payloadAt uint64) error {
	if payloadAt != 0 {
		holder, at, err := j.record(payloadAt)
		if err != nil {
			return err
		}
		if at != 0 || holder.PayloadDigest != e.PayloadDigest {
			return fmt.Errorf("position %d: %w: position %d should hold its payload %s and does not",
				e.Position, ErrCorrupt, payloadAt, e.PayloadDigest.Short())
		}
		e.Payload, e.PayloadState = holder.Payload, holder.PayloadState
	}
	return nil
}
