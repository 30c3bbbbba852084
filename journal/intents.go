package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
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
	last string // the strategy that the index had when the journal was opened

	j       *Journal
	machine intentMachine // owned by loop once it runs
	names   atomic.Pointer[names]
	using   sync.Mutex // held while the strategy is asked; never by who must not wait

	dimension atomic.Int64 // of the strategy, as soon as it is known; 0: nothing is assigned
	late      atomic.Bool  // some events were embedded later
	unsaved   int          // assignments since the last snapshot; owned by loop
	saved     int          // bytes of the last snapshot; likewise

	fixing sync.Mutex // held while the model is fixed or changed
	single bool       // the strategy cannot begin anew

	naming sync.Mutex // held while models is replaced
	models atomic.Pointer[[]ModelChange]

	mu       sync.RWMutex
	inputs   []intentInput
	waiters  []waiter      // in order of position
	assigned uint64        // every arrival up to here is assigned
	offered  uint64        // the last arrival
	moved    chan struct{} // closed and replaced when assigned grows, or nothing more will come
	intents  int
	broken   error // why nothing more is assigned
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

// snapshotEvery is how many assignments have to be repeated after a crash at
// least; more where snapshots are large.
const snapshotEvery = 4096

func (s *intentStage) due() bool { return s.unsaved >= max(s.j.opts.sizes.snapshot, s.saved/256) }

// none is the dimension of a strategy that takes none.
const none = -1

func (s *intentStage) active() bool { return s.dimension.Load() > 0 }

func (s *intentStage) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.intents
}

// wants returns the dimension that an embedding has to have; n if any will do.
func (s *intentStage) wants(n int) int {
	if d := s.dimension.Load(); d > 0 {
		return int(d)
	}
	if d := s.newest().Dimension; d > 0 {
		return d
	}
	return n
}

// fits refuses a vector of another dimension than the first that the journal
// took. Writes that are prepared side by side can only be told so here, by the
// committer: before, which of them is the first is not decided.
func (s *intentStage) fits(r *request) error {
	open, first := s.dimension.Load() == 0 && s.j.opts.NewIntents != nil, 0
	for i := range r.slots {
		n := len(r.slots[i].vector)
		if n == 0 {
			continue
		}
		if by, have := r.slots[i].model, s.newest(); by != "" && have.Name != "" && by != have.Name {
			return fmt.Errorf("event %s: embedding by %q: %w: from position %d on the journal has those of %v", r.sealed[i].ID, by, ErrModel, have.Position+1, have.Model)
		}
		want := s.wants(n)
		if open && first > 0 {
			want = first
		}
		if n != want {
			return fmt.Errorf("event %s: %w: %d dimensions, want %d", r.sealed[i].ID, intent.ErrEmbedding, n, want)
		}
		first = n
	}
	return nil
}

// embeds tells the stage of the first vector that the journal takes, which
// decides on the dimension where nothing else did. The committer calls it.
func (s *intentStage) embeds(v intent.Vector) {
	if s.dimension.Load() == 0 && s.j.opts.NewIntents != nil {
		s.dimension.CompareAndSwap(0, int64(len(v)))
	}
}

// offer queues inputs that are durable.
func (s *intentStage) offer(inputs []intentInput) {
	if len(inputs) == 0 || !s.active() {
		return
	}
	s.mu.Lock()
	s.inputs = append(s.inputs, inputs...)
	s.offered = inputs[len(inputs)-1].Position
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
	ready := !s.active() || s.broken != nil || s.assigned >= w.position || s.j.Err() != nil
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
	for {
		select {
		case <-s.wake:
		case <-s.j.failed:
			return
		}
		s.mu.Lock()
		batch, closed := s.inputs, s.closed
		s.inputs = nil
		s.mu.Unlock()
		switch {
		case len(batch) > 0:
			s.unsaved += len(batch)
			s.settle(batch[len(batch)-1].Position, s.assign(batch, closed || s.due()))
		case closed && s.unsaved > 0:
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
	switch {
	case err == nil:
		s.assigned = max(s.assigned, position)
		close(s.moved)
		s.moved = make(chan struct{})
	case s.broken == nil:
		s.fail(err)
		close(s.moved)
		s.moved = make(chan struct{})
	}
	n := 0
	for n < len(s.waiters) && (s.broken != nil || s.waiters[n].position <= s.assigned) {
		n++
	}
	ready := s.waiters[:n:n]
	s.waiters = append([]waiter(nil), s.waiters[n:]...)
	s.mu.Unlock()
	for _, w := range ready {
		s.answer(w)
	}
}

// fail says that nothing more is assigned. The caller holds mu.
func (s *intentStage) fail(err error) {
	s.broken = err
	s.j.log.Error("intents are no longer assigned; the journal goes on without. Open it again to go on, with another strategy if this one stays broken", "err", err)
}

// assign feeds inputs to the machine and writes what it says, with a snapshot
// behind it if save is set. The strategy may be a caller's: its panic is an
// error here.
func (s *intentStage) assign(inputs []intentInput, save bool) (err error) {
	s.mu.RLock()
	err = s.broken
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the strategy panicked: %v", r)
		}
		if err != nil && s.j.Err() == nil {
			// The names are ahead of what is stored.
			err = errors.Join(err, s.learnNames(math.MaxUint64))
		}
	}()
	if err := s.choose(inputs); err != nil || s.dimension.Load() == none {
		return err
	}
	b := s.j.store.index.NewBatch()
	defer b.Close()
	var failed error
	set := func(key, value []byte) {
		if failed == nil {
			failed = b.Set(key, value, nil)
		}
	}
	for i := range inputs {
		in := &inputs[i]
		if in.order != nil && in.order.kind == KindIntentEmbedded {
			s.late.Store(true)
		}
		if err := s.step(in, set); err != nil {
			return err
		}
		if in.Vector != nil && len(in.Vector) != s.machine.dimension && s.machine.dimension > 0 {
			s.j.log.Warn("embedding of another dimension gets no intent", "position", in.Position, "dimension", len(in.Vector), "want", s.machine.dimension)
		}
	}
	if failed != nil {
		return failed
	}
	count := 0
	if s.machine.strategy == nil {
		save = false // no vector has come
	} else {
		count = s.machine.strategy.Count()
	}
	if save {
		last := s.assigned
		if n := len(inputs); n > 0 {
			last = inputs[n-1].Position
		}
		v := binary.BigEndian.AppendUint64(nil, last)
		name := s.machine.strategy.Name()
		v = binary.AppendUvarint(v, uint64(len(name)))
		v = append(v, name...)
		v = append(v, s.machine.strategy.Snapshot()...)
		if err := b.Set([]byte{idxIntents}, v, nil); err != nil {
			return err
		}
		s.unsaved, s.saved = 0, len(v)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.mu.Lock()
	s.intents = count
	s.mu.Unlock()
	return nil
}

// step is the machine's, while nobody else asks the strategy.
func (s *intentStage) step(in *intentInput, set func(key, value []byte)) error {
	s.using.Lock()
	defer s.using.Unlock()
	return s.machine.step(in, set)
}

// choose makes the strategy, now that there is a vector. Where the model changes
// before one comes, the machine makes it.
func (s *intentStage) choose(inputs []intentInput) error {
	if s.machine.strategy != nil {
		return nil
	}
	for i := range inputs {
		if o := inputs[i].order; o != nil {
			if _, ok := o.changesModel(); ok {
				return nil
			}
		}
		if n := len(inputs[i].Vector); n > 0 {
			return s.start(n)
		}
	}
	return nil
}

// start makes the strategy for vectors of a dimension.
func (s *intentStage) start(dimension int) error {
	s.using.Lock()
	defer s.using.Unlock()
	err := s.machine.begin(s.last, dimension)
	if err == nil && s.machine.dimension == 0 {
		s.dimension.Store(none)
	}
	return err
}

// join fills in e's intent from what is stored beside it.
func (s *intentStage) join(e *events.Event) error {
	e.Intent = events.Intent{}
	if e.EmbeddingDigest.IsZero() && !s.late.Load() {
		return nil
	}
	v, closer, err := s.j.store.index.Get(positionKey(idxIntent, e.Position))
	if errors.Is(err, pebble.ErrNotFound) {
		s.mu.RLock()
		e.Intent.Pending = !e.EmbeddingDigest.IsZero() && s.active() && s.broken == nil && e.Position > s.assigned
		s.mu.RUnlock()
		return nil
	}
	if err != nil {
		return fmt.Errorf("position %d: intent: %w", e.Position, readError(err))
	}
	defer closer.Close()
	a, ok := decodeAssignment(e.Position, v)
	if !ok {
		return fmt.Errorf("position %d: intent: %w: %d bytes", e.Position, ErrCorrupt, len(v))
	}
	e.Intent.ID, e.Intent.Similarity = s.resolve(a.part), a.similarity
	return nil
}

// resolve returns the intent that an id stands for now.
func (s *intentStage) resolve(id events.ID) events.ID {
	return s.names.Load().standsFor(id)
}
