package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Kinds of the events by which a parked message is taken up again.
const (
	kindRetry    = "toka.agent.retry"
	kindUnparked = "toka.agent.unparked"
)

// ErrNotParked says that an event is not a parked entry that can be taken up:
// it is another kind of event, or its message was dealt with since, or parked anew.
var ErrNotParked = errors.New("not a parked message")

// Parked is a message that was set aside after its last try and has not been
// dealt with since.
type Parked struct {
	ID        events.ID  `json:"id"` // of the toka.agent.parked event
	Position  uint64     `json:"position"`
	Time      time.Time  `json:"time"` // when it was parked, by the journal's clock
	Agent     string     `json:"agent"`
	Behaviour string     `json:"behaviour"`
	Message   events.ID  `json:"message"` // the event, or the command's event
	Attempts  int        `json:"attempts"`
	Reason    string     `json:"reason"`
	Stack     string     `json:"stack,omitempty"`
	Effect    string     `json:"effect,omitempty"` // that is in doubt
	EffectKey string     `json:"effect_key,omitempty"`
	Retry     *events.ID `json:"retry,omitempty"` // it is asked for, and not done yet
}

// ListParked lists what is parked in a journal, in order of position. With an
// agent's name it lists what that one has parked.
func ListParked(ctx context.Context, j *journal.Journal, agent string) ([]Parked, error) {
	q := journal.Query{Stream: agent, Kinds: []events.Pattern{
		events.MustPattern(kindParked), events.MustPattern(kindRetry), events.MustPattern(kindUnparked),
	}}
	open := map[events.ID]*Parked{}
	asked := map[events.ID]events.ID{} // the entry that a request is about
	for e, err := range j.Read(ctx, q) {
		if err != nil {
			return nil, err
		}
		for _, p := range e.Parents { // a request that came to an end
			if entry, ok := asked[p.ID]; ok {
				delete(open, entry)
			}
		}
		switch e.Kind {
		case kindParked:
			p, err := parkedEntry(&e)
			if err != nil {
				return nil, err
			}
			open[e.ID] = &p
		case kindRetry:
			if p, ok := open[e.Trigger]; ok {
				p.Retry = &e.ID
				asked[e.ID] = e.Trigger
			}
		}
	}
	out := make([]Parked, 0, len(open))
	for _, p := range open {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Parked) int { return cmp.Compare(a.Position, b.Position) })
	return out, nil
}

func parkedEntry(e *events.Event) (Parked, error) {
	var f failurePayload
	if err := json.Unmarshal(e.Payload, &f); err != nil {
		return Parked{}, fmt.Errorf("parked event %s, position %d: %w", e.ID, e.Position, err)
	}
	p := Parked{
		ID: e.ID, Position: e.Position, Time: e.RecordTime, Agent: e.Stream, Behaviour: f.Behaviour, Message: e.Trigger,
		Attempts: f.Attempt, Reason: f.Reason, Stack: f.Stack,
	}
	if f.Effect != nil {
		p.Effect, p.EffectKey = f.Effect.Name, f.Effect.Key.String()
	}
	return p, nil
}

// FindParked returns the entry of a parked message, or an error that wraps
// ErrNotParked.
func FindParked(ctx context.Context, j *journal.Journal, id events.ID) (Parked, error) {
	e, err := j.ByID(ctx, id)
	if err != nil {
		return Parked{}, err
	}
	if e.Kind != kindParked {
		return Parked{}, fmt.Errorf("event %s: %w: it is %s", id, ErrNotParked, e.Kind)
	}
	all, err := ListParked(ctx, j, e.Stream)
	if err != nil {
		return Parked{}, err
	}
	for _, p := range all {
		if p.ID == id {
			return p, nil
		}
	}
	return Parked{}, fmt.Errorf("event %s: %w: its message was dealt with, or parked again, since", id, ErrNotParked)
}

// RetryParked asks for a parked message to be tried again. The request is an
// event in the actor's stream: a live actor takes it up at once, another one
// when it is live again. What comes of it is journaled as ever, with a
// toka.agent.unparked event, or another toka.agent.parked; ids derive from the
// message, so nothing is done twice. An effect of the message that is in doubt
// is called again, unless ResolveEffect has put a result on record. Asking
// twice is asking once.
func RetryParked(ctx context.Context, j *journal.Journal, id events.ID) (events.Event, error) {
	if _, err := FindParked(ctx, j, id); err != nil {
		return events.Event{}, err
	}
	parked, err := j.ByID(ctx, id)
	if err != nil {
		return events.Event{}, err
	}
	message, err := j.ByID(ctx, parked.Trigger)
	if err != nil {
		return events.Event{}, fmt.Errorf("the message of parked event %s: %w", id, err)
	}
	request := events.EmittedID(parked.Digest, parked.Stream+"#retry", 0)
	if e, err := j.ByID(ctx, request); err == nil {
		return e, nil
	}
	r, err := j.Append(ctx, journal.Write{Authority: authority.System(), Events: []events.Draft{{
		ID: request, Stream: parked.Stream, Kind: kindRetry, SchemaVersion: 1,
		Parents: []events.Ref{parked.Ref(), message.Ref()}, Trigger: parked.ID, Correlation: parked.Correlation,
	}}})
	if err != nil {
		return events.Event{}, err
	}
	return r.Events[0], nil
}

// Resolution is what a person has found out about an effect in doubt: its
// result as JSON, or why it counts as failed.
type Resolution struct {
	Result json.RawMessage
	Failed string
}

// ResolveEffect puts the result of an effect on record that a parked message
// is in doubt about. It is for RetryParked to let the reaction run on with it.
// The first result on record counts: another one is journal.ErrIDConflict.
func ResolveEffect(ctx context.Context, j *journal.Journal, id events.ID, res Resolution) error {
	if (res.Failed == "") == (res.Result == nil) {
		panic("actors: ResolveEffect: either a result or a failure is needed")
	}
	if res.Result != nil && !json.Valid(res.Result) {
		return fmt.Errorf("%w: the result of an effect is JSON", events.ErrInvalid)
	}
	if _, err := FindParked(ctx, j, id); err != nil {
		return err
	}
	parked, err := j.ByID(ctx, id)
	if err != nil {
		return err
	}
	var f failurePayload
	if err := json.Unmarshal(parked.Payload, &f); err != nil || f.Effect == nil {
		return fmt.Errorf("event %s: %w: it is not parked because of an effect in doubt", id, ErrNotParked)
	}
	cause, err := j.ByID(ctx, parked.Trigger)
	if err != nil {
		return fmt.Errorf("the message of parked event %s: %w", id, err)
	}
	kind, payload := kindEffectDone, []byte(res.Result)
	if res.Failed != "" {
		kind = kindEffectFailed
		if payload, err = json.Marshal(effectPayload{Reason: res.Failed}); err != nil {
			return err
		}
	}
	d := effectEvent(cause.Ref(), cause.Correlation, parked.Stream, f.Effect.Name, f.Effect.Ordinal, kind, payload)
	d.Parents = append(d.Parents, parked.Ref())
	_, err = j.Append(ctx, journal.Write{Authority: authority.System(), Events: []events.Draft{d}})
	return err
}

// takeUp puts a request to try a parked message again behind what is in hand.
// It is called on the actor's turn.
func (c *cell) takeUp(request *events.Event) {
	if _, known := c.retrying[request.ID]; known {
		return
	}
	message, err := c.parkedMessage(request)
	if err != nil {
		c.sys.log.Error("a parked message cannot be taken up", "agent", c.name, "request", request.ID, "err", err)
		return
	}
	if c.retrying == nil {
		c.retrying = map[events.ID]bool{}
	}
	c.retrying[request.ID] = true
	c.backlog = append(c.backlog, message)
}

func (c *cell) parkedMessage(request *events.Event) (*message, error) {
	for _, p := range request.Parents {
		if p.ID == request.Trigger {
			continue
		}
		e, err := c.sys.j.ByID(c.sys.ctx, p.ID)
		if err != nil {
			return nil, err
		}
		kind, isCommand := commandKind(e.Kind)
		if !isCommand || e.Stream != c.name {
			return &message{kind: kindEvent, event: e, retry: request.Ref()}, nil
		}
		return &message{
			kind: kindCommand, id: e.ID, given: true, recorded: e.Ref(), at: e.Time, correlation: e.Correlation, retry: request.Ref(),
			encoded: events.Draft{Kind: kind, SchemaVersion: e.SchemaVersion, ContentType: e.ContentType, Payload: e.Payload},
		}, nil
	}
	return nil, fmt.Errorf("request %s: %w: it names no message", request.ID, ErrNotParked)
}

// unparked is the event by which a parked message has been dealt with.
func (c *cell) unparked(m *message) events.Draft {
	cause := m.recorded
	if m.kind == kindEvent {
		cause = m.event.Ref()
	}
	return events.Draft{
		ID: events.EmittedID(m.retry.Digest, c.name+"#unparked", 0), Stream: c.name, Kind: kindUnparked, SchemaVersion: 1,
		Parents: []events.Ref{m.retry, cause}, Trigger: m.retry.ID, Correlation: m.correlation,
	}
}

// noteRetry keeps track, while the stream is folded, of requests that have not
// come to an end.
func noteRetry(open map[events.ID]events.Event, e *events.Event) {
	switch e.Kind {
	case kindRetry:
		open[e.ID] = *e
	case kindParked, kindUnparked:
		for _, p := range e.Parents {
			delete(open, p.ID)
		}
	}
}
