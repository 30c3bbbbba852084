package journal

import (
	"context"

	"github.com/tokaworks/toka/intent"
)

// explainThen asks a strategy like the journal's that has come as far as just
// before a position.
func (j *Journal) explainThen(ctx context.Context, name string, came uint64, v intent.Vector, most int) (x intent.Explanation, err error) {
	if j.opts.NewIntents == nil || name == "" {
		return x, nil
	}
	if err := j.enter(ctx); err != nil {
		return x, err
	}
	defer j.leave()
	s := j.intent
	m := &intentMachine{names: newNames(), make: j.opts.NewIntents, last: name}
	var explainer intent.Explainer
	at := s.of(came).Position // where the strategy of then began
	err = guarded(func() error {
		if err := m.begin(name, len(v)); err != nil {
			return err
		}
		explainer, _ = m.strategy.(intent.Explainer)
		if explainer == nil || m.dimension == 0 || s.of(came).Position == s.newest().Position && m.strategy.Name() != name {
			explainer = nil
			return nil
		}
		saved, of, state, err := s.snapshot()
		if err == nil && of == m.strategy.Name() && at <= saved && saved < came && m.strategy.Restore(state) == nil {
			at = saved
		}
		return err
	})
	if err != nil || explainer == nil {
		return x, err
	}
	if m.names, err = j.namesAt(at); err != nil {
		return x, err
	}
	n := 0
	err = s.eachInput(at, came-1, func(in intentInput) error {
		if n++; n%256 == 0 {
			if j.ending.Load() {
				return ErrClosed
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return guarded(func() error { return m.step(&in, func(_, _ []byte) {}) })
	})
	if err != nil {
		return x, err
	}
	return x, guarded(func() error {
		x = explainer.Explain(v, most)
		for i := range x.Nearest {
			x.Nearest[i].Intent = m.names.resolve(x.Nearest[i].Intent)
		}
		return nil
	})
}
