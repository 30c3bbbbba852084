package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// What follows is for programs that know behaviours and commands by name only:
// a server, a command line. Code that has the behaviour at hand uses it.

// Described is what a registry says about one behaviour.
type Described struct {
	Behaviour string   `json:"behaviour"`        // NAME/VERSION
	Name      string   `json:"name"`             // without the version
	Reacts    []string `json:"reacts,omitempty"` // patterns of kinds; none for a resource
}

// Describe lists what is registered, sorted by name, later versions last.
func (r *Registry) Describe() []Described {
	r.mu.RLock()
	defer r.mu.RUnlock()
	bs := make([]*behaviour, 0, len(r.byKey))
	for _, b := range r.byKey {
		bs = append(bs, b)
	}
	slices.SortFunc(bs, func(a, b *behaviour) int {
		if a.name != b.name {
			if a.name < b.name {
				return -1
			}
			return 1
		}
		return a.version - b.version
	})
	out := make([]Described, len(bs))
	for i, b := range bs {
		out[i] = Described{Behaviour: b.key(), Name: b.name}
		for _, p := range b.patterns {
			out[i].Reacts = append(out[i].Reacts, p.String())
		}
	}
	return out
}

// Spawn makes an actor live under a name, by the key NAME/VERSION of its
// behaviour. Errors are those of Agent.Spawn.
func (s *System) Spawn(key, name string) error {
	b, err := s.registry.find(key)
	if err != nil {
		return fmt.Errorf("agent %q: %w", name, err)
	}
	_, err = s.spawn(b, name)
	return err
}

// Command sends a command, given as it would be encoded, to the resource of a
// name, which is made live if it is not, and returns what came of it once that
// is durable. A command that the behaviour's codec does not read is refused
// with an error that wraps events.ErrInvalid, and so is one to an agent, which
// takes none. Other errors are those of Ref.Ask.
func (s *System) Command(ctx context.Context, key, name string, command events.Draft, opts ...CommandOption) (Outcome, error) {
	b, err := s.registry.find(key)
	if err != nil {
		return Outcome{}, fmt.Errorf("agent %q: %w", name, err)
	}
	if b.command == nil {
		return Outcome{}, &events.InvalidError{Field: "command", Reason: fmt.Sprintf("agent %q (%s) takes no commands", name, key)}
	}
	if command.SchemaVersion == 0 {
		command.SchemaVersion = 1
	}
	v, err := readCommand(b, command)
	if err != nil {
		return Outcome{}, &events.InvalidError{Field: "command", Reason: fmt.Sprintf("%s does not read it: %v", key, err)}
	}
	c, err := s.spawn(b, name)
	if err != nil {
		return Outcome{}, err
	}
	to := &address{sys: s, b: b, name: name}
	to.at.Store(c)
	m := &message{kind: kindCommand, command: v, encoded: command}
	for _, o := range opts {
		o(m)
	}
	return to.await(ctx, func(w *waiter) error {
		m.wait = w
		return to.post(ctx, slot{m: m}, m.full)
	})
}

// readCommand is the codec's own reading, which is user code.
func readCommand(b *behaviour, d events.Draft) (v any, err error) {
	defer panicAsError(&err)
	return b.command(d)
}

// Folded is the state of an actor after a part of its stream.
type Folded struct {
	Agent     string          `json:"agent"`
	Behaviour string          `json:"behaviour"`
	Position  uint64          `json:"position"` // of the last event that was folded
	Version   uint64          `json:"version"`  // how many events of the stream that were
	State     json.RawMessage `json:"state"`
}

// StateAt folds the durable events of an actor's stream up to a position of the
// journal and returns what they come to. It disturbs no live actor and reads
// the stream from its beginning. Errors wrap journal.ErrNotFound if the stream
// has no event up to there, or ErrUnknownBehaviour.
func StateAt(ctx context.Context, j *journal.Journal, r *Registry, name string, position uint64) (Folded, error) {
	f := Folded{Agent: name}
	key, err := BehaviourOf(ctx, j, name)
	if err != nil {
		return f, err
	}
	b, err := r.find(key)
	if err != nil {
		return f, fmt.Errorf("agent %q: %w", name, err)
	}
	f.Behaviour = key
	run := b.runner()
	run.reset()
	for e, err := range j.ReadStream(ctx, name, 0) {
		if err != nil {
			return f, err
		}
		if e.Position > position {
			break
		}
		if err := applied(run, e); err != nil {
			return f, fmt.Errorf("agent %q, position %d: %w", name, e.Position, err)
		}
		f.Position, f.Version = e.Position, e.StreamPosition
	}
	if f.Version == 0 {
		return f, fmt.Errorf("agent %q: %w: it has no event up to position %d", name, journal.ErrNotFound, position)
	}
	f.State, err = encodedState(run)
	return f, err
}

func applied(run runner, e events.Event) (err error) {
	defer panicAsError(&err)
	return run.apply(e)
}

func encodedState(run runner) (b []byte, err error) {
	defer panicAsError(&err)
	return run.encoded()
}

// errFound ends a search.
var errFound = errors.New("found")

// BehaviourOf returns the key of the behaviour that a stream is signed with,
// the recorder's if it is signed with none. The error wraps journal.ErrNotFound
// if the stream has no events.
func BehaviourOf(ctx context.Context, j *journal.Journal, name string) (string, error) {
	key, seen := RecorderName+"/1", false
	err := func() error {
		for e, err := range j.ReadStream(ctx, name, 0) {
			if err != nil {
				return err
			}
			seen = true
			if k, ok := e.Extensions[events.ExtBehaviour]; ok {
				key = k
				return errFound
			}
		}
		return nil
	}()
	switch {
	case err != nil && !errors.Is(err, errFound):
		return "", err
	case !seen:
		return "", fmt.Errorf("agent %q: %w: its stream has no events", name, journal.ErrNotFound)
	}
	return key, nil
}
