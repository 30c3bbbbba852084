package journal

import (
	"context"
	"errors"
	"iter"

	"github.com/tokaworks/toka/events"
)

// IntentMember is an event that has an intent.
type IntentMember struct {
	Position   uint64
	Intent     events.ID // as it was called then
	Similarity float64   // to the centroid of its part before it joined
}

// errEnough ends a walk whose consumer wants no more.
var errEnough = errors.New("enough")

// IntentMembers yields the events that have an intent, in order, as it was when the
// event at a position had been assigned: with the merges up to there, and none
// after. It reads assignments, and no event.
func (j *Journal) IntentMembers(ctx context.Context, position uint64) iter.Seq2[IntentMember, error] {
	return func(yield func(IntentMember, error) bool) {
		n, _, err := j.historyAt(ctx, position)
		if err == nil {
			err = j.eachAssigned(ctx, position, func(p uint64, a *assignment) error {
				if a.since != 0 && !yield(IntentMember{p, n.resolve(a.part), a.similarity}, nil) {
					return errEnough
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(IntentMember{}, err)
		}
	}
}
