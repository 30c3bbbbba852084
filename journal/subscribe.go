package journal

import (
	"context"
	"iter"

	"github.com/tokaworks/toka/events"
)

// Subscribe yields the durable events that q selects, first those that are
// there and then those that come, each once and in order, until the consumer
// stops, q.Limit or q.Before is reached, or an error is yielded: ctx's,
// ErrClosed, or one that wraps ErrFatal or ErrCorrupt. A consumer that is slow
// reads later what it did not read yet; it holds nobody up.
//
// A subscription begins where q says: at the beginning, after a position
// (Journal.Position is the end), or at a record time.
func (j *Journal) Subscribe(ctx context.Context, q Query) iter.Seq2[events.Event, error] {
	if q.Backwards {
		panic("journal: Subscribe: what comes cannot be read backwards")
	}
	return func(yield func(events.Event, error) bool) {
		j.follow(ctx, q, yield, nil)
	}
}

// Step is one thing that Follow yields: an event, or how far the reader has
// come, or both.
type Step struct {
	// Event is one that the query selects. Its Position is 0 if the step
	// brings none.
	Event events.Event
	// Position is up to where everything that the query selects was yielded.
	Position uint64
	// CaughtUp says that nothing is left to read for now. It comes on a step
	// without an event, whenever the reader has come to the end.
	CaughtUp bool
}

// Follow is Subscribe for those who want to know how far they are: it yields a
// step for each event, one each time it has caught up, and one now and then
// while it passes over events that q does not select.
func (j *Journal) Follow(ctx context.Context, q Query) iter.Seq2[Step, error] {
	if q.Backwards {
		panic("journal: Follow: what comes cannot be read backwards")
	}
	return func(yield func(Step, error) bool) {
		j.follow(ctx, q, func(e events.Event, err error) bool {
			return yield(Step{Event: e, Position: e.Position}, err)
		}, func(position uint64, caughtUp bool) bool {
			return yield(Step{Position: position, CaughtUp: caughtUp}, nil)
		})
	}
}

// follow calls yield for events and passed, if it is not nil, for how far it
// has come, until one of them answers false.
func (j *Journal) follow(ctx context.Context, q Query, yield func(events.Event, error) bool, passed func(position uint64, caughtUp bool) bool) {
	q = j.resolved(q)
	var onTheWay func(uint64) bool
	if passed != nil {
		onTheWay = func(position uint64) bool { return passed(position, false) }
	}
	for {
		// The channels are taken before the mark is read: a commit between
		// the two closes them, so that no event is slept through.
		moved := j.mark.next()
		var assigned <-chan struct{} // never ready
		if !q.Intent.IsZero() {
			assigned = j.intent.next()
		}
		most := j.readable(&q)
		n, more := j.read(ctx, &q, most, yield, onTheWay)
		if !more {
			return
		}
		if q.Limit > 0 {
			q.Limit -= n
		}
		q.After = max(q.After, most)
		last := q.Before > 0 && q.After >= q.Before-1
		if !last && j.readable(&q) > q.After {
			continue
		}
		if passed != nil && !passed(q.After, true) || last {
			return
		}
		if err := j.stop(); err != nil {
			yield(events.Event{}, err)
			return
		}
		select {
		case <-moved:
		case <-assigned:
		case <-ctx.Done():
			yield(events.Event{}, context.Cause(ctx))
			return
		}
	}
}
