package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// intents holds what is stored of intents against what a strategy that begins
// anew makes of the log. Without Options.NewIntents there is none to ask, and
// only the form is checked.
func (v *verifier) intents(ctx context.Context) error {
	s := v.j.intent
	if err := v.j.IntentError(); err != nil {
		v.problem(0, "intents are not assigned: %v", err)
		return nil
	}
	last := min(v.total, s.upTo(v.total))
	m := &intentMachine{names: newNames()}
	name := "" // of the strategy that assigns at last
	if s.active() && v.j.opts.NewIntents != nil {
		s.using.Lock()
		if s.machine.strategy != nil {
			name = s.machine.strategy.Name()
		}
		later := s.machine.since > last
		s.using.Unlock()
		err := guarded(func() error {
			m.make, m.last = v.j.opts.NewIntents, name
			models, d := *s.models.Load(), int(s.dimension.Load())
			if len(models) > 1 {
				d = models[0].Dimension
			}
			if name == "" || d == 0 {
				return nil // nothing was assigned yet, or nothing before the model changed
			}
			err := m.begin(name, d)
			if err == nil && len(models) == 1 {
				err = m.is(name)
			}
			return err
		})
		if err != nil {
			v.problem(0, "intents: %v", err)
			return nil
		}
		if name != "" {
			if err := v.assignAgain(ctx, m, last); err != nil || later {
				return err
			}
			if err := m.is(name); err != nil {
				v.problem(0, "intents: %v", err)
			}
			return nil
		}
	}
	if err := v.j.eachChange(0, last, func(c *IntentChange) error { return nil }); err != nil {
		v.problem(0, "%v", err)
	}
	for next, err := uint64(1), errFull; errors.Is(err, errFull); {
		err = v.j.someAssigned(&next, last, func(uint64, *assignment) error { return nil })
		if err != nil && !errors.Is(err, errFull) {
			v.problem(0, "%v", err)
		}
	}
	return nil
}

// is refuses a machine whose strategy is not the one of a name.
func (m *intentMachine) is(name string) error {
	if m.strategy == nil || m.strategy.Name() != name {
		return fmt.Errorf("the strategy that assigns is %s; Options.NewIntents makes another one", name)
	}
	return nil
}

// assignAgain compares key by key, and counts, so that nothing else is there.
func (v *verifier) assignAgain(ctx context.Context, m *intentMachine, last uint64) error {
	index := v.j.store.index
	expected := 0
	set := func(key, value []byte) {
		expected++
		got, closer, err := index.Get(key)
		switch {
		case errors.Is(err, pebble.ErrNotFound):
			v.problem(m.position, "what is stored of intents lacks what the strategy says of it; delete the directory index, it is built anew")
			return
		case err != nil:
			v.problem(m.position, "intents: %v", readError(err))
			return
		}
		if !bytes.Equal(got, value) {
			v.problem(m.position, "its intent is stored as %x, the strategy says %x; delete the directory index, it is built anew", got, value)
		}
		_ = closer.Close()
	}
	stopped := func() error {
		if v.j.ending.Load() {
			return ErrClosed
		}
		return context.Cause(ctx)
	}
	n := 0
	err := v.j.intent.eachInput(0, last, func(in intentInput) error {
		if n++; n%256 == 0 {
			if err := stopped(); err != nil {
				return err
			}
		}
		return guarded(func() error { return m.step(&in, set) })
	})
	if err := stopped(); err != nil {
		return err
	}
	if err != nil {
		v.problem(0, "intents cannot be assigned again: %v", err)
		return nil
	}
	stored := 0
	for _, prefix := range []byte{idxIntent, idxChange} {
		err := walk(index, positionKey(prefix, 1), positionKey(prefix, last+1), false, func(key, value []byte) error {
			position := tail8(key[:9])
			if a, ok := decodeAssignment(position, value); prefix == idxIntent && ok && a.since > last {
				return nil // was embedded while Verify ran
			}
			stored++
			return nil
		})
		if err != nil {
			v.problem(0, "intents: %v", err)
			return nil
		}
	}
	if stored != expected {
		v.problem(0, "%d records of intents are stored, the strategy makes %d; delete the directory index, it is built anew", stored, expected)
	}
	return nil
}
