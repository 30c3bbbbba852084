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
	m := &intentMachine{names: newNames()}
	var explainer intent.Explainer
	at := uint64(0)
	err = guarded(func() error {
		m.strategy = j.opts.NewIntents(name, len(v))
		explainer, _ = m.strategy.(intent.Explainer)
		if explainer == nil || m.strategy.Name() != name {
			explainer = nil
			return nil
		}
		m.dimension = m.strategy.Dimension()
		saved, of, state, err := s.snapshot()
		if err == nil && of == name && saved < came && m.strategy.Restore(state) == nil {
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
		return guarded(func() error { m.step(&in, func(_, _ []byte) {}); return nil })
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
