package journal

import (
	"context"
	"iter"

	"github.com/tokaworks/toka/events"
)

// Subscribe yields the durable events that q selects, first those that are
// there and then those that come, each once and in order, until the consumer
// stops, q.Limit or q.Before is reached, or an error is yielded: ctx's, ErrClosed, or one
// that wraps ErrFatal or ErrCorrupt. A consumer that is slow reads later what
// it did not read yet; it holds nobody up.
//
// A subscription begins where q says: at the beginning, after a position
// (Journal.Position is the end), or at a record time.
func (j *Journal) Subscribe(ctx context.Context, q Query) iter.Seq2[events.Event, error] {
	if q.Backwards {
		panic("journal: Subscribe: what comes cannot be read backwards")
	}
	return func(yield func(events.Event, error) bool) {
		for {
			// The channels are taken before the mark is read: a commit between
			// the two closes them, so that no event is slept through.
			moved := j.mark.next()
			var assigned <-chan struct{} // never ready
			if !q.Intent.IsZero() {
				assigned = j.intent.next()
			}
			most := j.readable(&q)
			n, more := j.read(ctx, &q, most, yield)
			if !more {
				return
			}
			if q.Limit > 0 {
				q.Limit -= n
			}
			q.After = max(q.After, most)
			if q.Before > 0 && q.After >= q.Before-1 {
				return
			}
			if j.readable(&q) > q.After {
				continue
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
}
