package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// IntentChanges yields what happened to intents after a position, in order, up
// to where intents are assigned.
func (j *Journal) IntentChanges(ctx context.Context, after uint64) iter.Seq2[IntentChange, error] {
	return func(yield func(IntentChange, error) bool) {
		j.intentChanges(ctx, after, j.intent.upTo(j.mark.load()), yield)
	}
}

// FollowIntentChanges is IntentChanges that goes on with what comes, until the
// consumer stops or an error is yielded, as Subscribe does.
func (j *Journal) FollowIntentChanges(ctx context.Context, after uint64) iter.Seq2[IntentChange, error] {
	return func(yield func(IntentChange, error) bool) {
		for {
			moved, assigned := j.mark.next(), j.intent.next()
			most := j.intent.upTo(j.mark.load())
			if !j.intentChanges(ctx, after, most, yield) {
				return
			}
			after = max(after, most)
			if j.intent.upTo(j.mark.load()) > after {
				continue
			}
			if err := j.stop(); err != nil {
				yield(IntentChange{}, err)
				return
			}
			select {
			case <-moved:
			case <-assigned:
			case <-ctx.Done():
				yield(IntentChange{}, context.Cause(ctx))
				return
			}
		}
	}
}

func (j *Journal) intentChanges(ctx context.Context, after, most uint64, yield func(IntentChange, error) bool) (more bool) {
	for after < most {
		var chunk []IntentChange
		err := j.enter(ctx)
		if err == nil {
			err = j.eachChange(after, most, func(c *IntentChange) error {
				// Those of one position stay together.
				if n := len(chunk); n >= chunkEvents && chunk[n-1].Position != c.Position {
					return errFull
				}
				chunk = append(chunk, *c)
				return nil
			})
			j.leave()
		}
		for i := range chunk {
			if !yield(chunk[i], nil) {
				return false
			}
		}
		switch {
		case errors.Is(err, errFull):
			after = chunk[len(chunk)-1].Position
		case err != nil:
			yield(IntentChange{}, err)
			return false
		default:
			return true
		}
	}
	return true
}

// IntentSummary describes an intent as of a position.
type IntentSummary struct {
	ID      events.ID
	Events  uint64
	First   uint64 // position of its first event
	Last    uint64
	Parts   int
	Retired bool
}

// IntentsAt returns the intents as they were when the event at a position had
// been assigned, the largest first: with the merges up to there, and none after.
// It reads all assignments.
func (j *Journal) IntentsAt(ctx context.Context, position uint64) ([]IntentSummary, error) {
	if position > j.mark.load() {
		return nil, fmt.Errorf("intents as of position %d: %w: the journal ends at %d", position, ErrNotFound, j.mark.load())
	}
	n, retired, err := j.historyAt(ctx, position)
	if err != nil {
		return nil, err
	}
	place := make(map[events.ID]int)
	parts := make(map[events.ID]bool)
	var out []IntentSummary
	err = j.eachAssigned(ctx, position, func(p uint64, a *assignment) error {
		if a.since == 0 {
			return nil // stands for another event
		}
		id := n.resolve(a.part)
		at, ok := place[id]
		if !ok {
			at = len(out)
			place[id] = at
			out = append(out, IntentSummary{ID: id, First: p, Retired: retired[id]})
		}
		out[at].Events++
		out[at].Last = p
		if !parts[a.part] {
			parts[a.part] = true
			out[at].Parts++
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b IntentSummary) int {
		switch {
		case a.Events > b.Events:
			return -1
		case a.Events < b.Events:
			return 1
		}
		return 0
	})
	return out, err
}

func (j *Journal) historyAt(ctx context.Context, position uint64) (*names, map[events.ID]bool, error) {
	if err := j.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer j.leave()
	n, retired := newNames(), make(map[events.ID]bool)
	err := j.eachChange(0, position, func(c *IntentChange) error {
		n.apply(c)
		if c.Kind == intent.Retired {
			retired[c.Intent] = true
		}
		return nil
	})
	return n, retired, err
}

// eachAssigned calls f for every assignment that was known at a position, in
// order.
func (j *Journal) eachAssigned(ctx context.Context, last uint64, f func(position uint64, a *assignment) error) error {
	for next := uint64(1); next <= last; {
		if err := j.enter(ctx); err != nil {
			return err
		}
		err := j.someAssigned(&next, last, f)
		j.leave()
		if !errors.Is(err, errFull) {
			return err
		}
	}
	return nil
}

// someAssigned is one chunk of eachAssigned. It ends with errFull if there is
// more, from next on.
func (j *Journal) someAssigned(next *uint64, last uint64, f func(position uint64, a *assignment) error) error {
	seen := 0
	return walk(j.store.index, positionKey(idxIntent, *next), positionKey(idxIntent, last+1), false, func(key, value []byte) error {
		p := tail8(key)
		if seen++; seen > 64*chunkEvents {
			*next = p
			return errFull
		}
		a, ok := decodeAssignment(p, value)
		if !ok {
			return fmt.Errorf("position %d: intent: %w: %d bytes", p, ErrCorrupt, len(value))
		}
		if a.since > last || a.part.IsZero() {
			return nil
		}
		return f(p, &a)
	})
}

// IntentExplanation says why an event has its intent.
type IntentExplanation struct {
	Position uint64
	Strategy string

	// How it was assigned, when it came.
	Assigned   events.ID // the intent, by its name of then
	Part       events.ID // of the intent; equal to Assigned if that has no parts
	Similarity float64   // to the centroid of the part before the event joined
	Chosen     float64   // the threshold that the strategy had chosen last by then; 0 if none

	// Then is what the strategy said of the embedding just before the event joined:
	// what it would have taken, and what was the nearest. It is zero if the strategy
	// cannot say, or if nothing makes another one like it (Options.NewIntents).
	Then intent.Explanation

	// What became of it since.
	Intent events.ID
	Since  []IntentChange // that led from Assigned to Intent

	// Now is what the strategy says of the same embedding now. It is zero if the
	// strategy cannot say, as it cannot of an embedding by a model of before.
	Now intent.Explanation
}

// ExplainIntent says why the event at a position has its intent, and which
// others were and are the nearest, at most so many. Errors wrap ErrNotFound if the
// event has none. What came before the event is assigned once more, from the last
// snapshot if that is older and from the beginning if not, which takes its time in
// a large journal.
func (j *Journal) ExplainIntent(ctx context.Context, position uint64, most int) (x IntentExplanation, err error) {
	e, err := j.At(ctx, position)
	if err != nil {
		return x, err
	}
	if e.Intent.ID.IsZero() {
		return x, fmt.Errorf("event %s at position %d: intent: %w", e.ID, position, ErrNotFound)
	}
	x.Position, x.Intent, x.Similarity = position, e.Intent.ID, e.Intent.Similarity
	came, err := j.explainPast(ctx, &x)
	if err != nil {
		return x, err
	}
	v, err := j.Vector(ctx, position)
	if err != nil || v == nil {
		return x, err
	}
	err = guarded(func() error {
		j.intent.using.Lock()
		defer j.intent.using.Unlock()
		s := j.intent.machine.strategy
		if s == nil {
			return nil
		}
		x.Strategy = s.Name()
		if ex, ok := s.(intent.Explainer); ok && s.Dimension() == len(v) && j.intent.machine.since < came {
			x.Now = ex.Explain(v, most)
			for i := range x.Now.Nearest {
				near := &x.Now.Nearest[i]
				near.Intent = j.ResolveIntent(near.Intent)
			}
		}
		return nil
	})
	if err == nil {
		x.Then, err = j.explainThen(ctx, x.Strategy, came, v, most)
	}
	return x, err
}

// explainPast fills in how the event was assigned, and what came after. It returns
// the position at which its embedding came.
func (j *Journal) explainPast(ctx context.Context, x *IntentExplanation) (came uint64, err error) {
	if err := j.enter(ctx); err != nil {
		return 0, err
	}
	defer j.leave()
	v, closer, err := j.store.index.Get(positionKey(idxIntent, x.Position))
	if err != nil {
		return 0, fmt.Errorf("position %d: intent: %w", x.Position, readError(err))
	}
	a, ok := decodeAssignment(x.Position, v)
	_ = closer.Close()
	if !ok {
		return 0, fmt.Errorf("position %d: intent: %w", x.Position, ErrCorrupt)
	}
	x.Part = a.part
	n := newNames()
	then := max(x.Position, a.since)
	return then, j.eachChange(0, j.mark.load(), func(c *IntentChange) error {
		if c.Position <= then {
			n.apply(c)
			x.Assigned = n.resolve(x.Part)
			if c.Kind == intent.Calibrated {
				x.Chosen = c.Value
			}
			return nil
		}
		before := n.resolve(x.Part)
		if n.apply(c); n.resolve(x.Part) != before {
			x.Since = append(x.Since, *c)
		}
		return nil
	})
}
