package journal

import (
	"context"
	"iter"

	"github.com/tokaworks/toka/events"
)

// Subscribe yields the durable events that q selects, first those that are
// there and then those that come, each once and in order, until the consumer
// stops, q.Limit is reached, or an error is yielded: ctx's, ErrClosed, or one
// that wraps ErrFatal or ErrCorrupt. A consumer that is slow reads later what
// it did not read yet; it holds nobody up.
func (j *Journal) Subscribe(ctx context.Context, q Query) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		for {
			// The channel is taken before the mark is read: a commit between
			// the two closes it, so that no event is slept through.
			moved := j.mark.next()
			most := j.mark.load()
			n, more := j.read(ctx, q, most, yield)
			if !more {
				return
			}
			if q.Limit > 0 {
				q.Limit -= n
			}
			q.After = max(q.After, most)
			if j.mark.load() > most {
				continue
			}
			if err := j.stop(); err != nil {
				yield(events.Event{}, err)
				return
			}
			select {
			case <-moved:
			case <-ctx.Done():
				yield(events.Event{}, context.Cause(ctx))
				return
			}
		}
	}
}
