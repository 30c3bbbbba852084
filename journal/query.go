package journal

import (
	"sort"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// Query selects events. The zero Query is everything, in the order of the
// journal.
type Query struct {
	// Stream and Agent select one stream. An agent's events are those of the
	// stream that bears its name; system streams are nobody's.
	Stream string
	Agent  string

	Kinds       []events.Pattern // only kinds that one of these matches
	Correlation string           // only events with this correlation id

	// Intent selects the events of one intent. Such a query ends where
	// intents are assigned up to, which may be before the durable mark.
	Intent events.ID

	// Like selects events whose stored embedding has at least the cosine Min to
	// it: a subscription by meaning. An event that was embedded later is found as
	// the event that embedded it, at its place. See intent.Quantize.
	Like intent.Vector
	Min  float64
	// Model names what made Like: embeddings of other models are not compared with
	// it. Empty: the model that is in force when reading begins. See ChangeModel.
	Model string

	// Since and Until bound the record time: not before Since, before Until.
	// They select, and never change the order. Zero is no bound.
	Since, Until time.Time

	After     uint64 // only positions greater than this
	Before    uint64 // only positions less than this; 0 is no bound
	Backwards bool   // the greatest position first; for Read only
	Limit     int    // at most so many; 0 is no limit
}

// resolved is q with the name of the model that Like is of.
func (j *Journal) resolved(q Query) Query {
	if q.Like != nil && q.Model == "" {
		if q.Model = j.intent.of(j.mark.load() + 1).Name; q.Model == "" {
			q.Model = UnnamedModel
		}
	}
	return q
}

// stream returns the one stream that q selects, if it does; none says that no
// event can be in it.
func (q *Query) stream() (name string, none bool) {
	if q.Agent == "" {
		return q.Stream, false
	}
	none = events.SystemStream(q.Agent) || q.Stream != "" && q.Stream != q.Agent
	return q.Agent, none
}

// Matches reports whether q selects e, but for Limit and for Like, which takes
// more than the event.
func (q *Query) Matches(e *events.Event) bool {
	stream, none := q.stream()
	switch {
	case none, stream != "" && e.Stream != stream,
		e.Position <= q.After, q.Before > 0 && e.Position >= q.Before,
		!q.Since.IsZero() && e.RecordTime.Before(q.Since),
		!q.Until.IsZero() && !e.RecordTime.Before(q.Until),
		!q.Intent.IsZero() && e.Intent.ID != q.Intent:
		return false
	}
	return q.matches(e)
}

// matches reports whether q selects e by what the way to e does not decide:
// position, stream and record time are decided by then.
func (q *Query) matches(e *events.Event) bool {
	if q.Correlation != "" && e.Correlation != q.Correlation {
		return false
	}
	if len(q.Kinds) == 0 {
		return true
	}
	for _, p := range q.Kinds {
		if p.Match(e.Kind) {
			return true
		}
	}
	return false
}

// stretch is a run of positions, from first to last with both of them; it is
// empty if first is greater.
type stretch struct{ first, last uint64 }

func (s stretch) empty() bool { return s.first > s.last }

// past is what is left of s, read in q's direction, after a position.
func (q *Query) past(s stretch, position uint64) stretch {
	if q.Backwards {
		return stretch{s.first, position - 1}
	}
	return stretch{position + 1, s.last}
}

// stretch returns the positions that q allows, up to most.
func (j *Journal) stretch(q *Query, most uint64) (stretch, error) {
	if q.Before > 0 {
		most = min(most, q.Before-1)
	}
	if q.After >= most {
		return stretch{1, 0}, nil
	}
	s := stretch{q.After + 1, most}
	// Record times never decrease, which Verify checks, so the ends of a
	// window are found with few look-ups.
	var err error
	if !q.Since.IsZero() {
		if s.first, err = j.firstAt(s, q.Since); err != nil {
			return s, err
		}
	}
	if !q.Until.IsZero() && !s.empty() {
		end, err := j.firstAt(s, q.Until)
		if err != nil {
			return s, err
		}
		s.last = end - 1
	}
	return s, nil
}

// firstAt returns the first position of s that was recorded at t or later, the
// one after s if there is none.
func (j *Journal) firstAt(s stretch, t time.Time) (position uint64, err error) {
	n := sort.Search(int(s.last-s.first+1), func(i int) bool {
		if err != nil {
			return true
		}
		e, _, failed := j.record(s.first + uint64(i))
		err = failed
		return !e.RecordTime.Before(t)
	})
	return s.first + uint64(n), err
}
