package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Summary is what a journal says about one actor.
type Summary struct {
	Name      string     `json:"name"`
	Behaviour string     `json:"behaviour"`
	Events    uint64     `json:"events"` // of its stream
	Position  uint64     `json:"position"`
	Time      time.Time  `json:"time"` // of the last one, by the journal's clock
	Failures  uint64     `json:"failures"`
	Parked    uint64     `json:"parked"`   // set aside and not dealt with since
	GivenUp   bool       `json:"given_up"` // and it has journaled nothing since
	Failure   string     `json:"failure,omitempty"`
	FailedAt  *time.Time `json:"failed_at,omitempty"`
}

// Summaries reads a journal once and says what it holds about each actor that
// has written to it, by name.
func Summaries(ctx context.Context, j *journal.Journal) ([]Summary, error) {
	all := map[string]*Summary{}
	retried := map[events.ID]bool{} // requests to take up what was parked
	for e, err := range j.Read(ctx, journal.Query{}) {
		if err != nil {
			return nil, err
		}
		s := all[e.Stream]
		if s == nil {
			key, ok := e.Extensions[events.ExtBehaviour]
			if !ok {
				continue
			}
			s = &Summary{Name: e.Stream, Behaviour: key}
			all[e.Stream] = s
		}
		s.note(&e, retried)
	}
	out := make([]Summary, 0, len(all))
	for _, s := range all {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Summary) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Summary) note(e *events.Event, retried map[events.ID]bool) {
	s.Events, s.Position, s.Time = e.StreamPosition, e.Position, e.RecordTime
	for _, p := range e.Parents {
		if retried[p.ID] && (e.Kind == kindParked || e.Kind == kindUnparked) {
			s.Parked--
		}
	}
	switch e.Kind {
	case kindRetry:
		retried[e.ID] = true
		return
	case kindFailed, kindParked, kindStopped:
	default:
		if !events.SystemKind(e.Kind) {
			s.GivenUp = false
		}
		return
	}
	s.Failures++
	s.GivenUp = e.Kind == kindStopped
	if e.Kind == kindParked {
		s.Parked++
	}
	var f failurePayload
	_ = json.Unmarshal(e.Payload, &f) // it is our own; what is missing is only missing
	at := e.RecordTime
	s.Failure, s.FailedAt = f.Reason, &at
}
