package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// recoverIntents brings the strategy to the end of the log. What a strategy
// does wrong does not keep the journal from opening; see IntentError.
func (j *Journal) recoverIntents() error {
	s := &intentStage{j: j, wake: make(chan struct{}, 1), moved: make(chan struct{})}
	s.machine.names, s.machine.make = newNames(), j.opts.NewIntents
	s.models.Store(&[]ModelChange{{}})
	s.names.Store(s.machine.names)
	j.intent = s
	last := j.mark.load()
	s.assigned = last
	if err := s.learnOrders(last); err != nil {
		return err
	}
	at, name, snapshot, err := s.snapshot()
	if err != nil {
		return err
	}
	s.last, s.machine.last = name, name
	if err := s.begin(at, last); err != nil {
		return err
	}
	if s.broken == nil && s.active() {
		err = s.catchUp(at, last, snapshot)
	} else {
		err = s.learnNames(last) // as they stand
	}
	if err != nil {
		return fmt.Errorf("intents: %w", err)
	}
	if s.broken != nil {
		s.assigned = min(s.assigned, last)
	}
	return nil
}

// guarded calls f and makes a strategy's panic an error.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the strategy panicked: %v", r)
		}
	}()
	return f()
}

// begin finds out what dimension the journal has and makes the strategy as of a
// position.
func (s *intentStage) begin(at, last uint64) error {
	o := &s.j.opts
	if o.Intents != nil {
		s.breaks(guarded(func() error {
			s.machine.strategy, s.machine.dimension = o.Intents, o.Intents.Dimension()
			s.machine.make = nil
			s.single = s.machine.dimension > 0
			s.dimension.Store(int64(s.machine.dimension))
			if n := len(*s.models.Load()); s.single && n > 1 {
				return fmt.Errorf("the journal's model has changed %d times, and strategy %s cannot begin anew; open the journal with Options.NewIntents", n-1, o.Intents.Name())
			}
			return nil
		}))
		return nil
	}
	all := slices.Clone(*s.models.Load())
	if all[0].Name == "" {
		if len(all) > 1 {
			last = min(last, all[1].Position)
		}
		err := s.j.eachLogKey(positionKey(logVector, 1), positionKey(logVector, last+1), func(_, value []byte) error {
			all[0].Dimension = len(value) / 2
			return errFull
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
		if len(all) > 1 {
			s.models.Store(&all)
		}
	}
	s.dimension.Store(int64(all[len(all)-1].Dimension))
	if d := modelIn(all, at+1).Dimension; d > 0 {
		s.machine.since = modelIn(all, at+1).Position
		s.breaks(guarded(func() error { return s.start(d) }))
	}
	return nil
}

func (s *intentStage) breaks(err error) {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fail(err)
	}
}

// snapshot returns the position of the strategy's snapshot, the name of the
// strategy and what it wrote; an empty name if there is none.
func (s *intentStage) snapshot() (at uint64, name string, state []byte, err error) {
	v, closer, err := s.j.store.index.Get([]byte{idxIntents})
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, "", nil, nil
	}
	if err != nil {
		return 0, "", nil, readError(err)
	}
	defer closer.Close()
	if len(v) > 8 {
		rest := v[8:]
		if n, w := binary.Uvarint(rest); w > 0 && n <= uint64(len(rest)-w) {
			rest = rest[w:]
			return binary.BigEndian.Uint64(v), string(rest[:n]), append([]byte(nil), rest[n:]...), nil
		}
	}
	return 0, "", nil, nil
}

// catchUp assigns what came after the snapshot, or everything where none fits.
func (s *intentStage) catchUp(at, last uint64, snapshot []byte) error {
	names, err := s.j.namesAt(at) // reads the index, while the strategy is untouched
	if err != nil {
		return err
	}
	fits := false
	s.breaks(guarded(func() error {
		if m := s.machine.strategy; m != nil {
			fits = at <= last && s.last == m.Name() && m.Restore(snapshot) == nil
		}
		if fits || s.machine.since == 0 {
			return nil
		}
		s.machine.since, s.machine.strategy, s.machine.dimension = 0, nil, 0 // all of it anew
		if d := s.of(1).Dimension; d > 0 {
			return s.start(d)
		}
		return nil
	}))
	if s.broken != nil {
		return s.learnNames(last)
	}
	if !fits {
		if s.last != "" {
			s.j.log.Info("assigning intents anew", "before", s.last)
		}
		at, names = 0, newNames()
	}
	// What the index has beyond the snapshot is made again. An assignment of an
	// event before that was embedded after it is replaced then.
	for _, prefix := range []byte{idxIntent, idxChange} {
		if err := s.j.store.index.DeleteRange(positionKey(prefix, at+1), []byte{prefix + 1}, pebble.NoSync); err != nil {
			return err
		}
	}
	if at == 0 {
		if err := s.j.store.index.Delete([]byte{idxIntents}, pebble.NoSync); err != nil {
			return err
		}
	}
	s.machine.names = names
	s.names.Store(names)
	s.saved = len(snapshot)
	s.assigned = at
	if s.machine.strategy != nil {
		s.intents = s.machine.strategy.Count()
	}
	var batch []intentInput
	flush := func(end bool) error {
		if s.broken != nil || len(batch) == 0 {
			batch = nil
			return nil
		}
		s.unsaved += len(batch)
		err := s.assign(batch, end || s.unsaved >= 4*max(s.j.opts.sizes.snapshot, s.saved/256))
		if err == nil {
			s.assigned = batch[len(batch)-1].Position
		} else if s.j.Err() == nil {
			s.breaks(err)
			err = nil
		}
		batch = nil
		return err
	}
	err = s.eachInput(at, last, func(in intentInput) error {
		if batch = append(batch, in); len(batch) == s.j.opts.sizes.snapshot {
			if err := flush(false); err != nil {
				return err
			}
			if s.broken != nil {
				return errFull
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return err
	}
	if err := flush(true); err != nil {
		return err
	}
	if s.broken == nil {
		s.assigned = last
	}
	return nil
}

// eachInput calls f for the inputs after a position, up to another, in order.
func (s *intentStage) eachInput(after, last uint64, f func(intentInput) error) error {
	orders, err := s.orders(after, last)
	if err != nil {
		return err
	}
	// Those with an embedding come again among the vectors.
	until := func(position uint64) error {
		for ; len(orders) > 0 && orders[0] <= position; orders = orders[1:] {
			e, err := s.j.stored(orders[0])
			if err != nil {
				return err
			}
			if !e.EmbeddingDigest.IsZero() {
				continue
			}
			if in, ok := newIntentInput(&e, nil); ok {
				if err := f(in); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err = s.j.eachLogKey(positionKey(logVector, after+1), positionKey(logVector, last+1), func(key, value []byte) error {
		position := tail8(key)
		if err := until(position - 1); err != nil {
			return err
		}
		e, _, err := s.j.record(position)
		if err == nil && e.Stream == StreamIntents {
			e, err = s.j.stored(position)
		}
		if err != nil {
			return err
		}
		v, err := checkedVector(&e, value)
		if err != nil {
			return err
		}
		in, _ := newIntentInput(&e, v)
		return f(in)
	})
	if err != nil {
		return err
	}
	return until(last)
}

// checkedVector reads the embedding of e and holds it against its digest.
func checkedVector(e *events.Event, value []byte) (intent.Vector, error) {
	if got := events.EmbeddingDigest(value); got != e.EmbeddingDigest {
		return nil, fmt.Errorf("position %d: embedding: %w: digest %s, recorded %s", e.Position, ErrCorrupt, got.Short(), e.EmbeddingDigest.Short())
	}
	v, err := intent.ParseVector(value, len(value)/2)
	if err != nil {
		return nil, fmt.Errorf("position %d: embedding: %w: %w", e.Position, ErrCorrupt, err)
	}
	return v, nil
}

// orders returns the positions of the events of StreamIntents.
func (s *intentStage) orders(after, last uint64) (out []uint64, err error) {
	version, err := s.j.streamPositionAfter(StreamIntents, after)
	for err == nil {
		var more []uint64
		more, err = s.j.streamPositions(StreamIntents, version, last, chunkEvents)
		if len(more) == 0 {
			break
		}
		out = append(out, more...)
		version += uint64(len(more))
	}
	return out, err
}

// learnOrders reads what has to be known before anything is assigned: the
// model, and whether events were embedded later.
func (s *intentStage) learnOrders(last uint64) error {
	positions, err := s.orders(0, last)
	if err != nil {
		return err
	}
	for _, p := range positions {
		e, err := s.j.stored(p)
		if err != nil {
			return err
		}
		in, _ := newIntentInput(&e, nil)
		s.notice(p, in.order)
	}
	return nil
}

// notice takes from an event what has to be known before.
func (s *intentStage) notice(position uint64, o *intentOrder) {
	switch o.kind {
	case KindIntentEmbedded:
		s.late.Store(true)
	case KindIntentConfigured:
		if o.Model != "" && o.Dimension > 0 {
			s.named(Model{Name: o.Model, Dimension: o.Dimension})
		}
	case KindIntentModel:
		if m, ok := o.changesModel(); ok {
			s.changed(position, m)
		}
	}
}

// learnNames reads what names stand for as of a position.
func (s *intentStage) learnNames(last uint64) error {
	n, err := s.j.namesAt(last)
	if err == nil {
		s.machine.names = n
		s.names.Store(n)
	}
	return err
}

func (j *Journal) namesAt(last uint64) (*names, error) {
	n := newNames()
	return n, j.eachChange(0, last, func(c *IntentChange) error { n.apply(c); return nil })
}

// eachChange calls f for the changes of intents after a position, up to
// another.
func (j *Journal) eachChange(after, last uint64, f func(*IntentChange) error) error {
	upper := []byte{idxChange + 1}
	if last < math.MaxUint64 {
		upper = positionKey(idxChange, last+1)
	}
	return walk(j.store.index, positionKey(idxChange, after+1), upper, false, func(key, value []byte) error {
		if len(key) != 13 {
			return fmt.Errorf("%w: a change of intents with a key of %d bytes", ErrCorrupt, len(key))
		}
		c, err := decodeChange(binary.BigEndian.Uint64(key[1:]), value)
		if err != nil {
			return err
		}
		return f(&c)
	})
}
