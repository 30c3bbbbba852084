package journal

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// Append stores w and returns when it is durable at the journal's level. An
// append that brings embeddings also waits for its own intents, at most
// Options.IntentBudget.
//
// Cancelling ctx abandons the wait, not the write: the error is then an
// *OutcomeError that carries the ids to retry with. Other errors wrap
// events.ErrInvalid, ErrTooLarge, intent.ErrEmbedding, ErrIDConflict, ErrPartlyKnown,
// ErrUnknownParent, ErrWrongVersion, ErrFull, ErrClosed or ErrFatal; after each
// of these but ErrFatal nothing was stored.
func (j *Journal) Append(ctx context.Context, w Write) (Receipt, error) {
	r, err := j.prepare(&w)
	if err != nil {
		return Receipt{}, err
	}
	if err := j.refuseFull(&w); err != nil {
		return Receipt{}, err
	}
	r.answer = make(chan struct{})
	if err := j.queue.put(ctx, r); err != nil {
		return Receipt{}, err
	}
	if ctx.Done() == nil {
		<-r.answer
		return r.receipt, r.err
	}
	select {
	case <-r.answer:
		return r.receipt, r.err
	case <-ctx.Done():
	}
	select {
	case <-r.answer: // both were ready: the outcome is the better news
		return r.receipt, r.err
	default:
		ids := make([]events.ID, len(r.sealed))
		for i := range r.sealed {
			ids[i] = r.sealed[i].ID
		}
		return Receipt{}, &OutcomeError{IDs: ids, Cause: context.Cause(ctx)}
	}
}

// Submit is Append that does not wait for the outcome: it returns when w is in
// the queue, and done is called once with the outcome, on a goroutine of the
// journal's that done must not hold up: in the order of the journal, save that
// a write with embeddings is answered when its intents are known. An
// error means that w was refused before it was queued and done will not be
// called. ctx bounds the wait for room, in the queue and on the disk, only.
func (j *Journal) Submit(ctx context.Context, w Write, done func(Receipt, error)) error {
	r, err := j.prepare(&w)
	if err != nil {
		return err
	}
	r.done = func(receipt Receipt, err error) {
		defer func() {
			if v := recover(); v != nil {
				j.log.Error("the callback of a write panicked", "panic", v)
			}
		}()
		done(receipt, err)
	}
	if err := j.awaitRoom(ctx, r.sealed); err != nil {
		return err
	}
	return j.queue.put(ctx, r)
}

// request is a write on its way. After it was queued it belongs to the
// committer until finish.
type request struct {
	sealed       []events.Event
	slots        []slot // one for each event
	expect       []expectation
	checkpoints  []Checkpoint
	stateDigests []StateDigest
	bytes        int64
	embeds       bool
	byID         map[events.ID]int // where each id first stands in sealed; nil for a small write

	// Nearly every write has one event in one stream: these spare it three
	// allocations.
	oneEvent  [1]events.Event
	oneSlot   [1]slot
	oneExpect [1]expectation

	finished atomic.Bool
	done     func(Receipt, error)
	answer   chan struct{} // closed by finish, after receipt and err are set
	receipt  Receipt
	err      error
}

// fewEvents are looked through faster than a map of them is made.
const fewEvents = 32

// slot is what the committer needs to know of an event besides the event.
type slot struct {
	vector  intent.Vector
	model   string // that made the vector, if the writer says
	minted  bool   // the id was drawn just now, so it cannot be known
	hashed  bool   // the causal digest is computed
	foreign bool   // it is imported: parents may be missing
	holder  uint64 // record that holds the payload, if one does
	head    head   // where the stream stood before the write
	plain   []byte // the payload before it was encrypted, if it was
}

// expectation is an Expected with its stream.
type expectation struct {
	stream string
	Expected
}

func (r *request) finish(receipt Receipt, err error) {
	if r.finished.Swap(true) {
		return
	}
	for i := range receipt.Events {
		if plain := r.slots[i].plain; plain != nil {
			receipt.Events[i].Payload = plain
		}
	}
	if r.done != nil {
		r.done(receipt, err)
		return
	}
	r.receipt, r.err = receipt, err
	close(r.answer)
}

// prepare does everything about w that needs no order: checks, ids, payload
// digests, quantised vectors and, where the parents come with digests, causal
// digests. It runs on the writer's goroutine, so that the committer is left
// with what only it can do.
//
// Whatever of w is used later is copied: a writer that stopped waiting may
// reuse its buffers, slices and maps while the committer still has to store
// what the digest was computed of.
func (j *Journal) prepare(w *Write) (*request, error) {
	if err := j.stop(); err != nil {
		return nil, err
	}
	if w.empty() {
		return nil, fmt.Errorf("append: %w: nothing to store", events.ErrInvalid)
	}
	n := len(w.Events)
	if len(w.Imported) > 0 {
		if n > 0 || !w.Authority.IsSystem() {
			return nil, fmt.Errorf("append: %w: imported events come alone and with authority; import them as a bundle", events.ErrInvalid)
		}
		n = len(w.Imported)
	}
	if k := len(w.ImportedVectors); k > 0 && k != len(w.Imported) {
		return nil, fmt.Errorf("append: %w: %d vectors for %d imported events", events.ErrInvalid, k, len(w.Imported))
	}
	if n > MaxWriteEvents {
		return nil, tooLarge("%d events; the limit is %d", n, MaxWriteEvents)
	}
	r := &request{
		checkpoints:  slices.Clone(w.Checkpoints),
		stateDigests: slices.Clone(w.StateDigests),
		bytes:        256 * int64(1+len(w.Checkpoints)+len(w.StateDigests)),
	}
	if n == 1 {
		r.sealed, r.slots = r.oneEvent[:], r.oneSlot[:]
	} else {
		r.sealed, r.slots = make([]events.Event, n), make([]slot, n)
	}
	r.expect = r.oneExpect[:0]
	if len(w.Expect) == 1 && n == 1 && len(w.Events) == 1 {
		// Nearly always it is the event's own stream, and asking is quicker
		// than beginning to walk over a map.
		if want, ok := w.Expect[w.Events[0].Stream]; ok {
			r.expect = append(r.expect, expectation{w.Events[0].Stream, want})
		}
	}
	if len(r.expect) < len(w.Expect) {
		for stream, want := range w.Expect {
			r.expect = append(r.expect, expectation{stream, want})
		}
	}
	for i := range w.Events {
		d := &w.Events[i]
		if !w.Authority.IsSystem() {
			if err := d.CheckOutside(); err != nil {
				return nil, err
			}
		}
		sl, e := &r.slots[i], &r.sealed[i]
		id := d.ID
		if id.IsZero() {
			id, sl.minted = NewID(), true
		}
		sl.hashed = true
		for k := range d.Parents {
			sl.hashed = sl.hashed && !d.Parents[k].Digest.IsZero()
		}
		if d.SubjectKey != "" {
			sealed, err := j.sealed(d)
			if err != nil {
				return nil, fmt.Errorf("event %s: %w", id, err)
			}
			sl.plain = slices.Clone(d.Payload)
			d = sealed
		}
		var err error
		if *e, err = d.Unlinked(id); err == nil && sl.hashed {
			err = e.SetParents(d.Parents)
		}
		if err != nil {
			return nil, err
		}
		e.Payload, e.Extensions = slices.Clone(e.Payload), maps.Clone(e.Extensions)
		if !sl.hashed {
			e.Parents = slices.Clone(d.Parents) // until link knows their digests
		}
		if n := len(d.Embedding); n > maxDimension {
			return nil, fmt.Errorf("event %s: %w: %d dimensions; the limit is %d", id, intent.ErrEmbedding, n, maxDimension)
		} else if n > 0 {
			v, err := intent.Quantize(d.Embedding, j.intent.wants(len(d.Embedding)))
			if err != nil {
				return nil, fmt.Errorf("event %s: %w", id, err)
			}
			sl.vector, sl.model, r.embeds = v, d.EmbeddingModel, true
			e.EmbeddingDigest = events.EmbeddingDigest(v.Bytes())
		}
		r.bytes += 512 + int64(len(d.Payload)) + 2*int64(len(d.Embedding))
	}
	for i := range w.Imported {
		if err := r.imported(i, &w.Imported[i]); err != nil {
			return nil, err
		}
		if len(w.ImportedVectors) > 0 {
			if err := r.importedVector(i, w.ImportedVectors[i]); err != nil {
				return nil, err
			}
		}
	}
	if n > fewEvents {
		r.byID = make(map[events.ID]int, n)
		for i := n - 1; i >= 0; i-- { // of an id that stands twice the first is left
			r.byID[r.sealed[i].ID] = i
		}
	}
	for i := range w.Checkpoints {
		c := &r.checkpoints[i]
		if err := events.CheckName("checkpoint", c.Name); err != nil {
			return nil, err
		}
		if strings.HasPrefix(c.Name, "$") && !w.Authority.IsSystem() {
			return nil, fmt.Errorf("checkpoint %q: %w: names that begin with $ belong to the system", c.Name, events.ErrInvalid)
		}
		if len(c.State) > MaxCheckpointState {
			return nil, fmt.Errorf("checkpoint %q: %w: its state has %d bytes; the limit is %d", c.Name, events.ErrInvalid, len(c.State), MaxCheckpointState)
		}
		r.bytes += int64(len(c.State))
	}
	for i := range w.StateDigests {
		if err := events.CheckStream(w.StateDigests[i].Stream); err != nil {
			return nil, err
		}
		if w.StateDigests[i].StreamPosition == 0 {
			return nil, fmt.Errorf("state digest of stream %q: %w: stream positions begin at 1", w.StateDigests[i].Stream, events.ErrInvalid)
		}
	}
	if r.bytes > MaxWriteBytes {
		return nil, tooLarge("%d bytes; the limit is %d", r.bytes, MaxWriteBytes)
	}
	return r, nil
}

// queue holds writes for the committer, bounded in bytes.
type queue struct {
	mu     sync.Mutex
	items  []*request
	spare  []*request // the committer's last batch, reused
	bytes  int64
	limit  int64
	closed bool
	err    error         // set when the journal has failed
	filled chan struct{} // capacity 1: something was put, or the queue was closed
	room   chan struct{} // closed and replaced when room is made
}

func (q *queue) init(limit int64) {
	q.limit = limit
	q.filled = make(chan struct{}, 1)
	q.room = make(chan struct{})
}

// put queues r, waiting for room until ctx ends. One write is always let in
// when the queue is empty, however large.
func (q *queue) put(ctx context.Context, r *request) error {
	for {
		q.mu.Lock()
		if q.err != nil || q.closed {
			defer q.mu.Unlock()
			if q.err != nil {
				return q.err
			}
			return ErrClosed
		}
		if q.bytes == 0 || q.bytes+r.bytes <= q.limit {
			q.items = append(q.items, r)
			q.bytes += r.bytes
			first := len(q.items) == 1
			q.mu.Unlock()
			if first {
				q.signal()
			}
			return nil
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("append: the queue is full (%d bytes wait for the disk); nothing was stored: %w", q.limit, context.Cause(ctx))
		}
	}
}

func (q *queue) signal() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take returns everything that is queued and whether the queue was closed.
func (q *queue) take() (items []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items = q.items
	q.items, q.spare = q.spare[:0], items
	if q.bytes > 0 {
		q.bytes = 0
		close(q.room)
		q.room = make(chan struct{})
	}
	return items, q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// fail closes the queue with the journal's error and returns what was in it.
func (q *queue) fail(err error) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	q.err = err
	close(q.room)
	q.room = make(chan struct{})
	return items
}
