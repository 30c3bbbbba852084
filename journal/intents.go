package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// intentStage assigns events with embeddings to intents, one after the other
// in order of position, behind the durable mark: nobody but the writer of such
// an event ever waits for it. What it writes is derived: the strategy's
// snapshot and the assignments up to it lie in the index store, and what came
// later is assigned again, with the same result, from the vectors in the log.
type intentStage struct {
	j        *Journal
	strategy intent.Strategy // owned by loop once it runs

	dimension int // of the strategy; set once

	mu       sync.Mutex
	arrivals []intent.Arrival
	waiters  []waiter      // in order of position
	assigned uint64        // every arrival up to here is assigned
	offered  uint64        // the last arrival
	moved    chan struct{} // closed and replaced when assigned grows
	intents  int
	broken   bool // the strategy panicked; nothing more is assigned
	closed   bool
	wake     chan struct{} // capacity 1
}

// waiter is a write whose answer waits for the intents of its events.
type waiter struct {
	position uint64 // of its last event with an embedding
	request  *request
	receipt  Receipt
	timer    *time.Timer
}

// snapshotEvery is how many assignments may have to be repeated after a crash.
const snapshotEvery = 4096

func (s *intentStage) active() bool { return s.dimension > 0 }

func (s *intentStage) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.intents
}

// offer queues arrivals that are durable.
func (s *intentStage) offer(arrivals []intent.Arrival) {
	if len(arrivals) == 0 || !s.active() {
		return
	}
	s.mu.Lock()
	s.arrivals = append(s.arrivals, arrivals...)
	s.offered = arrivals[len(arrivals)-1].Position
	s.mu.Unlock()
	s.signal()
}

// upTo returns the position, at most a durable one, up to which every event
// has the intent that it will have.
func (s *intentStage) upTo(durable uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.assigned >= s.offered {
		return durable
	}
	return min(durable, s.assigned)
}

// next returns a channel that is closed when assignments come after next was
// called.
func (s *intentStage) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

func (s *intentStage) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *intentStage) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.signal()
}

// wait answers r when its events are assigned or the budget is spent.
func (s *intentStage) wait(r *request, receipt Receipt) {
	w := waiter{request: r, receipt: receipt}
	for i := range receipt.Events {
		if !receipt.Events[i].EmbeddingDigest.IsZero() {
			w.position = receipt.Events[i].Position
		}
	}
	s.mu.Lock()
	ready := !s.active() || s.broken || s.assigned >= w.position || s.j.Err() != nil
	if !ready {
		// The stage goes on to read its copy while the writer has this one.
		early := receipt
		early.Events = slices.Clone(receipt.Events)
		w.timer = time.AfterFunc(s.j.opts.IntentBudget, func() { r.finish(early, nil) })
		s.waiters = append(s.waiters, w)
	}
	s.mu.Unlock()
	if ready {
		s.answer(w)
	}
}

// letGo answers everybody who waits, as if the budget were spent: what they
// wrote is durable, and after a storage failure no intent may ever come.
func (s *intentStage) letGo() {
	s.mu.Lock()
	waiters := s.waiters
	s.waiters = nil
	s.mu.Unlock()
	for _, w := range waiters {
		w.timer.Stop()
		w.request.finish(w.receipt, nil)
	}
}

func (s *intentStage) answer(w waiter) {
	if w.timer != nil {
		w.timer.Stop()
	}
	out := w.receipt
	for i := range out.Events {
		if err := s.join(&out.Events[i]); err != nil {
			w.request.finish(Receipt{}, err)
			return
		}
	}
	w.request.finish(out, nil)
}

func (s *intentStage) loop(done *sync.WaitGroup) {
	defer done.Done()
	unsaved := 0
	for {
		select {
		case <-s.wake:
		case <-s.j.failed:
			return
		}
		s.mu.Lock()
		batch, closed := s.arrivals, s.closed
		s.arrivals = nil
		s.mu.Unlock()
		if len(batch) > 0 {
			unsaved += len(batch)
			err := s.assign(batch, unsaved >= snapshotEvery || closed)
			if unsaved >= snapshotEvery {
				unsaved = 0
			}
			s.settle(batch[len(batch)-1].Position, err)
		} else if closed && unsaved > 0 {
			s.settle(0, s.assign(nil, true))
		}
		if closed {
			return
		}
	}
}

// settle publishes how far the stage has come and answers who waited for it.
func (s *intentStage) settle(position uint64, err error) {
	s.mu.Lock()
	if err != nil {
		s.broken = true
		s.j.log.Error("intents are no longer assigned; open the journal again to go on", "err", err)
	} else {
		s.assigned = max(s.assigned, position)
		close(s.moved)
		s.moved = make(chan struct{})
	}
	n := 0
	for n < len(s.waiters) && (s.broken || s.waiters[n].position <= s.assigned) {
		n++
	}
	ready := s.waiters[:n:n]
	s.waiters = append([]waiter(nil), s.waiters[n:]...)
	s.mu.Unlock()
	for _, w := range ready {
		s.answer(w)
	}
}

// assign feeds arrivals to the strategy and writes what it says, with a
// snapshot behind it if save is set. The strategy may be a caller's: its panic
// is an error here.
func (s *intentStage) assign(arrivals []intent.Arrival, save bool) (err error) {
	if s.broken {
		return errors.New("the strategy has failed before")
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the strategy panicked: %v", r)
		}
	}()
	b := s.j.store.index.NewBatch()
	defer b.Close()
	for _, a := range arrivals {
		if len(a.Vector) != s.dimension {
			s.j.log.Warn("embedding of another dimension gets no intent", "position", a.Position, "dimension", len(a.Vector))
			continue
		}
		as := s.strategy.Assign(a)
		v := append([]byte(nil), as.Intent[:]...)
		v = binary.BigEndian.AppendUint64(v, math.Float64bits(as.Similarity))
		if err := b.Set(positionKey(idxIntent, a.Position), v, nil); err != nil {
			return err
		}
	}
	if save {
		last := s.assigned
		if n := len(arrivals); n > 0 {
			last = arrivals[n-1].Position
		}
		v := binary.BigEndian.AppendUint64(nil, last)
		name := s.strategy.Name()
		v = binary.AppendUvarint(v, uint64(len(name)))
		v = append(v, name...)
		if err := b.Set([]byte{idxIntents}, append(v, s.strategy.Snapshot()...), nil); err != nil {
			return err
		}
	}
	count := s.strategy.Count()
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.mu.Lock()
	s.intents = count
	s.mu.Unlock()
	return nil
}

// join fills in e's intent from what is stored beside it.
func (s *intentStage) join(e *events.Event) error {
	e.Intent = events.Intent{}
	if e.EmbeddingDigest.IsZero() {
		return nil
	}
	v, closer, err := s.j.store.index.Get(positionKey(idxIntent, e.Position))
	if errors.Is(err, pebble.ErrNotFound) {
		s.mu.Lock()
		e.Intent.Pending = s.active() && !s.broken && e.Position > s.assigned
		s.mu.Unlock()
		return nil
	}
	if err != nil {
		return fmt.Errorf("position %d: intent: %w", e.Position, readError(err))
	}
	defer closer.Close()
	if len(v) != 24 {
		return fmt.Errorf("position %d: intent: %w: %d bytes", e.Position, ErrCorrupt, len(v))
	}
	copy(e.Intent.ID[:], v)
	e.Intent.Similarity = math.Float64frombits(binary.BigEndian.Uint64(v[16:]))
	return nil
}

// recoverIntents brings the strategy to the end of the log.
func (j *Journal) recoverIntents() error {
	s := &intentStage{j: j, strategy: j.opts.Intents, dimension: j.opts.Intents.Dimension(), wake: make(chan struct{}, 1), moved: make(chan struct{})}
	j.intent = s
	last := j.mark.load()
	s.assigned = last
	if !s.active() {
		return nil
	}
	from, err := s.restore(last)
	if err != nil {
		return err
	}
	var batch []intent.Arrival
	flush := func() error {
		err := s.assign(batch, len(batch) > 0)
		batch = nil
		return err
	}
	err = j.eachLogKey(positionKey(logVector, from+1), positionKey(logVector, last+1), func(key, value []byte) error {
		e, _, err := j.record(tail8(key))
		if err != nil {
			return err
		}
		if got := events.EmbeddingDigest(value); got != e.EmbeddingDigest {
			return fmt.Errorf("position %d: embedding: %w: digest %s, recorded %s", e.Position, ErrCorrupt, got.Short(), e.EmbeddingDigest.Short())
		}
		v, err := intent.ParseVector(value, len(value)/2)
		if err != nil {
			return fmt.Errorf("position %d: embedding: %w: %w", e.Position, ErrCorrupt, err)
		}
		batch = append(batch, intent.Arrival{Position: e.Position, ID: e.ID, Digest: e.Digest, Vector: v})
		if len(batch) == snapshotEvery {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("intents: %w", err)
	}
	return nil
}

// restore loads the strategy's snapshot and returns the position it stands at.
// Without a usable one everything is assigned anew from the first event.
func (s *intentStage) restore(last uint64) (uint64, error) {
	v, closer, err := s.j.store.index.Get([]byte{idxIntents})
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return 0, fmt.Errorf("intents: %w", readError(err))
	}
	if err == nil {
		defer closer.Close()
		if len(v) > 8 {
			position, rest := binary.BigEndian.Uint64(v), v[8:]
			n, w := binary.Uvarint(rest)
			if w > 0 && n <= uint64(len(rest)-w) && position <= last &&
				string(rest[w:w+int(n)]) == s.strategy.Name() &&
				s.strategy.Restore(append([]byte(nil), rest[w+int(n):]...)) == nil {
				return position, nil
			}
		}
		s.j.log.Info("assigning intents anew", "strategy", s.strategy.Name())
	}
	err = s.j.store.index.DeleteRange([]byte{idxIntent}, []byte{idxIntent + 1}, pebble.NoSync)
	return 0, err
}
