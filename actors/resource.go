package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tokaworks/toka/events"
)

// Resource is the behaviour of actors that answer commands: an entity whose
// state S is folded from events E, and whose events are decided from commands
// C. E and C are usually interfaces with a type for each kind, and Events and
// Commands a Union of them; for a single kind, a Type will do. It must not be
// changed once it is registered.
type Resource[S, C, E any] struct {
	Name    string
	Version int // from 1

	Commands events.Codec[C]
	Events   events.Codec[E]

	// Initial returns the state before the first event. Default: the zero S.
	Initial func() S

	// Decide returns the events that a command causes, or an error to reject
	// it: the caller gets that error, and nothing is journaled. It must be
	// pure: whatever it needs is in t, state and command.
	Decide func(t *Turn, state S, command C) ([]E, error)

	// Evolve returns the state after an event. It must be pure and must not
	// refuse: the event has happened.
	Evolve func(state S, event E) S

	// Snapshots say when the state is kept. Default: never.
	Snapshots Snapshots[S]
}

func (r *Resource[S, C, E]) describe() *behaviour {
	if r.Commands == nil || r.Events == nil || r.Decide == nil || r.Evolve == nil {
		panic(fmt.Sprintf("actors: resource %q: Commands, Events, Decide and Evolve are needed", r.Name))
	}
	b := &behaviour{
		name: r.Name, version: r.Version, commands: r.Commands.Kinds(),
		runner: func() runner { return &resourceRunner[S, C, E]{r: r} },
		command: func(d events.Draft) (any, error) {
			v, err := r.Commands.Decode(events.Event{Kind: d.Kind, SchemaVersion: d.SchemaVersion, ContentType: d.ContentType, Payload: d.Payload})
			return v, err
		},
	}
	b.full, b.schema, b.atRest = b.key(), r.Snapshots.schema(b), r.Snapshots.AtRest
	return b
}

// Spawn returns a reference to the resource of that name, making it live if
// it is not. Its state is recovered from its stream before it handles its
// first message. Errors are those of Agent.Spawn; what recovery finds out is
// the answer to every message.
func (r *Resource[S, C, E]) Spawn(sys *System, name string) (*Ref[S, C], error) {
	b := sys.described(r)
	c, err := sys.spawn(b, name)
	if err != nil {
		return nil, err
	}
	ref := &Ref[S, C]{address: address{sys: sys, b: b, name: name}, commands: r.Commands}
	ref.at.Store(c)
	return ref, nil
}

// Ref addresses a resource by its name. If the resource is not live, because
// it was stopped since, the first message makes it live again. It is safe for
// concurrent use.
type Ref[S, C any] struct {
	address
	commands events.Codec[C]
}

// Outcome is what came of a command.
type Outcome struct {
	Events    []events.Event // that the command caused, durable, in order
	Duplicate bool           // the command's id was seen before; these are its first events
}

// CommandOption varies how a command is sent.
type CommandOption func(*message)

// WithCommandID gives the command an id of the caller's: sent again with the
// same id, it returns its first outcome. Without it an id is minted.
func WithCommandID(id events.ID) CommandOption {
	return func(m *message) { m.id, m.given = id, !id.IsZero() }
}

// WithCause names events that led to the command; they become its parents.
func WithCause(causes ...events.Ref) CommandOption {
	return func(m *message) { m.causes = append(m.causes, causes...) }
}

// WithCorrelation ties what the command causes to a longer story.
func WithCorrelation(id string) CommandOption {
	return func(m *message) { m.correlation = id }
}

// WhenFull says what becomes of a command that comes to a full mailbox.
type WhenFull uint8

const (
	// Wait waits for room until the context ends. It is the default.
	Wait WhenFull = iota
	// Reject refuses the command with ErrMailboxFull.
	Reject
	// DropOldest makes room by dropping the oldest command that waits; who
	// asked that one gets ErrDropped.
	DropOldest
	// DropNewest drops the command itself; who asks gets ErrDropped.
	DropNewest
)

// IfFull says what to do if the mailbox is full.
func IfFull(w WhenFull) CommandOption {
	return func(m *message) { m.full = w }
}

// Name returns the name of the resource, which is its stream.
func (r *Ref[S, C]) Name() string { return r.name }

// Ask sends a command and returns what came of it, once that is durable. The
// error is Decide's if it rejected the command; otherwise it wraps ErrStopped,
// ErrFailed, ErrContended, ErrUnknownBehaviour, journal.ErrFatal or the
// context's error. When the context ends while the command is on its way, its
// outcome is unknown: ask again with the same WithCommandID.
func (r *Ref[S, C]) Ask(ctx context.Context, command C, opts ...CommandOption) (Outcome, error) {
	return r.await(ctx, func(w *waiter) error { return r.send(ctx, command, w, opts) })
}

// await posts what answers a waiter, and waits for the answer.
func (a *address) await(ctx context.Context, post func(w *waiter) error) (Outcome, error) {
	w := a.sys.waiters.Get().(*waiter)
	if err := post(w); err != nil {
		a.sys.waiters.Put(w)
		return Outcome{}, err
	}
	if ctx.Done() == nil {
		got := <-w.answers
		a.sys.waiters.Put(w)
		return got.out, got.err
	}
	select {
	case got := <-w.answers:
		a.sys.waiters.Put(w)
		return got.out, got.err
	case <-ctx.Done(): // whoever answers still has the waiter
		return Outcome{}, fmt.Errorf("agent %q: no answer yet: %w; ask again with the same command id to learn the outcome", a.name, context.Cause(ctx))
	}
}

// Tell sends a command and does not wait for what comes of it. It waits for
// room in the mailbox until ctx ends, unless an option says otherwise. The
// command must not be changed afterwards: without options it is encoded only
// when it causes something.
func (r *Ref[S, C]) Tell(ctx context.Context, command C, opts ...CommandOption) error {
	return r.send(ctx, command, nil, opts)
}

// send posts a command. Without options it is encoded, and given an id, only
// when it causes something.
func (r *Ref[S, C]) send(ctx context.Context, command C, w *waiter, opts []CommandOption) error {
	if len(opts) == 0 {
		return r.post(ctx, slot{command: command, wait: w}, Wait)
	}
	m, err := newCommand(r.commands, r.name, command, opts)
	if err != nil {
		return err
	}
	m.wait = w
	return r.post(ctx, slot{m: m}, m.full)
}

// waiter is where who asked waits for the answer.
type waiter struct{ answers chan answer }

type answer struct {
	out Outcome
	err error
}

func newWaiter() any { return &waiter{make(chan answer, 1)} }

// Send sends a command from within a turn. It goes out when the turn is
// durable, caused by the event in hand, under an id that derives from the
// cause: a reaction that is repeated after a crash sends the same command.
func (r *Ref[S, C]) Send(t *Turn, command C) error {
	return sendFrom(t, r.commands, r.name, command, func(sys *System) (*cell, error) { return sys.reach(r.b, r.name) })
}

// Send is Ref.Send to the resource of that name, which is made live when the
// command goes out, if it is not. It needs no system at hand: a reaction that
// sends this way can be done again by a replay.
func (r *Resource[S, C, E]) Send(t *Turn, name string, command C) error {
	if err := checkActor(name); err != nil {
		return err
	}
	return sendFrom(t, r.Commands, name, command, func(sys *System) (*cell, error) { return sys.reach(sys.described(r), name) })
}

func sendFrom[C any](t *Turn, commands events.Codec[C], name string, command C, to func(*System) (*cell, error)) error {
	cause, err := t.cause()
	if err != nil {
		return err
	}
	m, err := newCommand(commands, name, command, []CommandOption{
		WithCommandID(events.EmittedID(cause.Digest, t.agent+"#send", uint32(len(t.sends)))),
		WithCause(cause),
		WithCorrelation(t.correlation),
	})
	if err != nil {
		return err
	}
	t.sends = append(t.sends, send{to: to, message: m})
	return nil
}

// State returns the state once everything it rests on is durable.
func (r *Ref[S, C]) State(ctx context.Context) (S, error) {
	v, err := r.query(ctx)
	s, _ := v.(S)
	return s, err
}

func newCommand[C any](commands events.Codec[C], to string, command C, opts []CommandOption) (*message, error) {
	d, err := commands.Encode(command)
	if err != nil {
		return nil, fmt.Errorf("agent %q: command: %w", to, err)
	}
	m := &message{kind: kindCommand, command: command, encoded: d}
	for _, o := range opts {
		o(m)
	}
	return m, nil
}

type resourceRunner[S, C, E any] struct {
	r     *Resource[S, C, E]
	state S
	aside S // after what was decided last
}

func (r *resourceRunner[S, C, E]) reset() {
	var zero S
	r.state = zero
	if r.r.Initial != nil {
		r.state = r.r.Initial()
	}
}

func (r *resourceRunner[S, C, E]) apply(e events.Event) error {
	if events.SystemKind(e.Kind) {
		return nil
	}
	v, err := r.r.Events.Decode(e)
	if errors.Is(err, events.ErrOtherKind) {
		return nil // written from outside; it is nothing to this resource
	}
	if err != nil {
		return err
	}
	r.state = r.r.Evolve(r.state, v)
	return nil
}

func (r *resourceRunner[S, C, E]) decide(t *Turn, m *message) error {
	command, ok := m.command.(C)
	if !ok {
		// A recorded command, or one that was refused and comes again.
		e := events.Event{ID: m.id, Kind: m.encoded.Kind, SchemaVersion: m.encoded.SchemaVersion, ContentType: m.encoded.ContentType, Payload: m.encoded.Payload}
		var err error
		if command, err = r.r.Commands.Decode(e); err != nil {
			return err
		}
	}
	decided, err := r.r.Decide(t, r.state, command)
	if err != nil {
		return &rejection{err}
	}
	next := r.state
	for _, v := range decided {
		if err := Emit(t, r.r.Events, v); err != nil {
			return err
		}
		next = r.r.Evolve(next, v)
	}
	r.aside = next
	return nil
}

func (r *resourceRunner[S, C, E]) stay() { r.aside = r.state }

func (r *resourceRunner[S, C, E]) commit() {
	var zero S
	r.state, r.aside = r.aside, zero
}

func (r *resourceRunner[S, C, E]) next() ([]byte, error) { return json.Marshal(r.aside) }

func (r *resourceRunner[S, C, E]) encode(command any) (events.Draft, error) {
	c, ok := command.(C)
	if !ok {
		return events.Draft{}, fmt.Errorf("%T is not a command of %s", command, r.r.Name)
	}
	return r.r.Commands.Encode(c)
}

func (r *resourceRunner[S, C, E]) due(from, to uint64) bool {
	return r.r.Snapshots.due(from, to, r.aside)
}

func (r *resourceRunner[S, C, E]) restore(state []byte) error {
	var s S
	if err := json.Unmarshal(state, &s); err != nil {
		return err
	}
	r.state = s
	return nil
}

func (r *resourceRunner[S, C, E]) snapshot() any { return r.state }

func (r *resourceRunner[S, C, E]) encoded() ([]byte, error) { return json.Marshal(r.state) }

// rejection carries Decide's error out to the caller as it is.
type rejection struct{ error }

func (r *rejection) Unwrap() error { return r.error }

const commandPrefix = "toka.command."

// commandKind returns the kind of a command from the kind of its event.
func commandKind(kind string) (string, bool) { return strings.CutPrefix(kind, commandPrefix) }
