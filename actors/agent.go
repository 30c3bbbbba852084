package actors

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// Agent is the behaviour of actors that react to events. S is the agent's
// state, folded from the events of its own stream; struct{} for none.
// Everything but Name, Version, On and React may be left out. It must not be
// changed once it is registered.
type Agent[S any] struct {
	Name    string
	Version int // from 1

	// On lists patterns of kinds (see events.Pattern). Kinds of the system
	// match only a pattern that begins with "toka.".
	On []string

	// Initial returns the state before the first event. Default: the zero S.
	Initial func() S

	// React deals with one event. It may read state and must not change it;
	// what it emits on t is journaled when it returns nil, all of it or
	// nothing. A panic or an error discards the turn, and the event comes
	// again as the supervision policy says.
	React func(t *Turn, state S, e events.Event) error

	// Evolve returns the state after an event of the agent's own stream; e has
	// no position yet when it has just been emitted. It must be pure. Default:
	// the state never changes.
	Evolve func(state S, e events.Event) S

	// Snapshots say when the state is kept. Default: never.
	Snapshots Snapshots[S]
}

// NewAgent returns the behaviour of an agent without state that reacts to the
// kinds that on matches.
func NewAgent(name string, version int, on string, react func(t *Turn, e events.Event) error) *Agent[struct{}] {
	return &Agent[struct{}]{
		Name: name, Version: version, On: []string{on},
		React: func(t *Turn, _ struct{}, e events.Event) error { return react(t, e) },
	}
}

func (a *Agent[S]) describe() *behaviour {
	if a.React == nil || len(a.On) == 0 {
		panic(fmt.Sprintf("actors: agent %q: On and React are needed", a.Name))
	}
	b := &behaviour{name: a.Name, version: a.Version, runner: func() runner { return &agentRunner[S]{a: a} }}
	b.full, b.schema, b.atRest = b.key(), a.Snapshots.schema(b), a.Snapshots.AtRest
	for _, p := range a.On {
		b.patterns = append(b.patterns, events.MustPattern(p))
	}
	return b
}

// Spawn makes an agent of this behaviour live under a name, which is its
// stream. It goes on where an agent of that name left off, or begins with the
// first event of the journal. Spawning journals nothing; spawning a name that
// is live changes nothing. Errors wrap events.ErrInvalid, ErrStopped,
// ErrUnknownBehaviour if the system's registry does not hold it, or
// ErrOtherBehaviour if the name is live with another behaviour; what recovery
// finds out later is reported by Agents.
func (a *Agent[S]) Spawn(sys *System, name string) error {
	_, err := sys.spawn(sys.described(a), name)
	return err
}

type agentRunner[S any] struct {
	a     *Agent[S]
	state S
	aside S // after what was decided last
}

func (r *agentRunner[S]) reset() {
	var zero S
	r.state = zero
	if r.a.Initial != nil {
		r.state = r.a.Initial()
	}
}

func (r *agentRunner[S]) apply(e events.Event) error {
	if r.a.Evolve != nil && !events.SystemKind(e.Kind) {
		r.state = r.a.Evolve(r.state, e)
	}
	return nil
}

func (r *agentRunner[S]) decide(t *Turn, m *message) error {
	if m.kind != kindEvent {
		return fmt.Errorf("agent %q (%s/%d) takes no commands", t.agent, r.a.Name, r.a.Version)
	}
	if err := r.a.React(t, r.state, m.event); err != nil {
		return err
	}
	next := r.state
	if r.a.Evolve != nil {
		for i := range t.emitted {
			next = r.a.Evolve(next, asEvolved(&t.emitted[i]))
		}
	}
	r.aside = next
	return nil
}

func (r *agentRunner[S]) stay() { r.aside = r.state }

func (r *agentRunner[S]) commit() {
	var zero S
	r.state, r.aside = r.aside, zero
}

func (r *agentRunner[S]) next() ([]byte, error) { return json.Marshal(r.aside) }

func (r *agentRunner[S]) encode(any) (events.Draft, error) {
	return events.Draft{}, errors.New("an agent takes no commands")
}

func (r *agentRunner[S]) due(from, to uint64) bool { return r.a.Snapshots.due(from, to, r.aside) }

func (r *agentRunner[S]) restore(state []byte) error {
	var s S
	if err := json.Unmarshal(state, &s); err != nil {
		return err
	}
	r.state = s
	return nil
}

func (r *agentRunner[S]) snapshot() any { return r.state }

func (r *agentRunner[S]) encoded() ([]byte, error) { return json.Marshal(r.state) }

// asEvolved is an emitted draft as Evolve sees it: the portable fields.
func asEvolved(d *events.Draft) events.Event {
	return events.Event{
		ID: d.ID, Stream: d.Stream, Kind: d.Kind, SchemaVersion: d.SchemaVersion, Time: d.Time,
		ContentType: d.ContentType, Payload: d.Payload, Parents: d.Parents, Trigger: d.Trigger,
		Correlation: d.Correlation, Extensions: d.Extensions,
	}
}
