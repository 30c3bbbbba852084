package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Divergence is a place where doing the work again gave something else than
// what is recorded.
type Divergence struct {
	Position uint64 `json:"position"` // of the recorded event at fault
	Agent    string `json:"agent"`
	Field    string `json:"field"`
	Recorded string `json:"recorded"`
	Produced string `json:"produced"`
}

// String returns the divergence as one line.
func (d Divergence) String() string {
	return fmt.Sprintf("position %d, agent %q: %s: recorded %s, produced %s", d.Position, d.Agent, d.Field, d.Recorded, d.Produced)
}

// Replica does the work of one actor again from its stream, without effects:
// it folds the events, decides each recorded command and reaction anew on the
// state as it was, and compares. It is fed the events of its stream in order
// and used by one goroutine.
type Replica struct {
	j        *journal.Journal
	registry *Registry
	stream   string

	b      *behaviour // nil until the stream says whose it is
	runner runner

	version  uint64
	trigger  events.ID      // what the events being compared react to
	expected []events.Draft // what deciding it anew gave, still to be met
	met      int            // how many were
	at       uint64         // position of the last event of the group
	failed   bool           // it is recorded to have failed
	silent   bool           // nothing can be compared

	Decided uint64 // commands and reactions that were decided again
	Folded  uint64 // events that were folded into state
}

// NewReplica returns a replica of the actor of a stream.
func NewReplica(j *journal.Journal, r *Registry, stream string) *Replica {
	return &Replica{j: j, registry: r, stream: stream}
}

// Behaviour returns NAME/VERSION of what the replica runs, the recorder while
// nothing else is known.
func (x *Replica) Behaviour() string {
	if x.b == nil {
		return RecorderName + "/1"
	}
	return x.b.key()
}

// State returns the state after the last event that Next was given, nil for a
// recorder's stream.
func (x *Replica) State() any {
	if x.b == nil {
		return nil
	}
	return x.runner.snapshot()
}

// Next takes the next event of the stream and returns what diverges at it. An
// error says why the replica cannot go on, such as ErrUnknownBehaviour.
func (x *Replica) Next(ctx context.Context, e events.Event) (ds []Divergence, err error) {
	if key, ok := e.Extensions[events.ExtBehaviour]; ok && x.b == nil {
		if err := x.begin(ctx, key, e.StreamPosition); err != nil {
			return nil, fmt.Errorf("stream %q, position %d: %w", x.stream, e.Position, err)
		}
	}
	x.version = e.StreamPosition
	if x.b == nil {
		return nil, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("stream %q, position %d: folding panicked: %v\n%s", x.stream, e.Position, p, debug.Stack())
		}
	}()
	if kind, ok := commandKind(e.Kind); ok {
		ds = x.End()
		x.command(e, kind)
	} else if !events.SystemKind(e.Kind) && !e.Trigger.IsZero() {
		if e.Trigger != x.trigger {
			ds = x.End()
			if err := x.reaction(ctx, e); err != nil {
				return ds, err
			}
		}
		ds = append(ds, x.compare(e)...)
	} else if events.SystemKind(e.Kind) && e.Trigger == x.trigger && x.met == 0 {
		// The work is recorded to have failed. Why it did is not recorded, so
		// that nothing came of it cannot be held against what it gives now.
		x.failed = true
	}
	x.Folded++
	return ds, x.runner.apply(e)
}

// End closes the group of events that is being compared: what was produced and
// is not recorded is a divergence.
func (x *Replica) End() []Divergence {
	var ds []Divergence
	if !x.silent && x.met < len(x.expected) && (x.met > 0 || !x.failed) {
		ds = append(ds, Divergence{
			Position: x.at, Agent: x.stream, Field: "events",
			Recorded: fmt.Sprintf("%d", x.met), Produced: fmt.Sprintf("%d, the next of kind %s", len(x.expected), x.expected[x.met].Kind),
		})
	}
	x.trigger, x.expected, x.met, x.failed, x.silent = events.ID{}, nil, 0, false, false
	return ds
}

// Check compares a recorded state digest with the state as it is now. It is to
// be called when the last event given to Next is the one that d stands after.
func (x *Replica) Check(d journal.StateDigest, position uint64) []Divergence {
	if x.b == nil || d.StreamPosition != x.version {
		return nil
	}
	b, err := x.runner.encoded()
	if err != nil {
		return []Divergence{{Position: position, Agent: x.stream, Field: "state", Recorded: d.Digest.Short(), Produced: err.Error()}}
	}
	if got := StateDigest(b); got != d.Digest {
		return []Divergence{{Position: position, Agent: x.stream, Field: "state", Recorded: d.Digest.Short(), Produced: got.Short()}}
	}
	return nil
}

// begin learns the stream's behaviour and folds what stands before.
func (x *Replica) begin(ctx context.Context, key string, version uint64) error {
	b, err := x.registry.find(key)
	if err != nil {
		return err
	}
	x.b, x.runner = &b, b.runner()
	x.runner.reset()
	for e, err := range x.j.ReadStream(ctx, x.stream, 0) {
		if err != nil {
			return err
		}
		if e.StreamPosition >= version {
			return nil
		}
		if err := x.runner.apply(e); err != nil {
			return err
		}
	}
	return nil
}

// command decides a recorded command anew.
func (x *Replica) command(e events.Event, kind string) {
	m := &message{kind: kindCommand, id: e.ID, encoded: events.Draft{
		Kind: kind, SchemaVersion: e.SchemaVersion, ContentType: e.ContentType, Payload: e.Payload,
	}}
	t := &Turn{agent: x.stream, now: e.Time, cause: func() (events.Ref, error) { return e.Ref(), nil }}
	x.produce(e.ID, e.Position, t, m)
}

// reaction does anew what an agent did about the event that e reacts to.
func (x *Replica) reaction(ctx context.Context, e events.Event) error {
	cause, err := x.j.ByID(ctx, e.Trigger)
	if errors.Is(err, journal.ErrNotFound) {
		x.trigger, x.silent = e.Trigger, true
		return nil
	}
	if err != nil {
		return err
	}
	if len(x.b.patterns) == 0 || cause.Stream == x.stream || e.ID != events.EmittedID(cause.Digest, x.stream, 0) {
		// Written from outside with a trigger of its own.
		x.trigger, x.silent = e.Trigger, true
		return nil
	}
	m := &message{kind: kindEvent, event: cause}
	t := &Turn{agent: x.stream, now: cause.RecordTime, cause: func() (events.Ref, error) { return cause.Ref(), nil }}
	x.produce(e.Trigger, e.Position, t, m)
	return nil
}

func (x *Replica) produce(trigger events.ID, position uint64, t *Turn, m *message) {
	x.trigger, x.at, x.met, x.expected, x.failed, x.silent = trigger, position, 0, nil, false, false
	x.Decided++
	defer func() {
		if p := recover(); p != nil {
			x.expected = []events.Draft{{Kind: fmt.Sprintf("panic: %v", p)}}
		}
	}()
	if _, err := x.runner.decide(t, m); err != nil {
		x.expected = []events.Draft{{Kind: "error: " + err.Error()}}
		return
	}
	x.expected = t.emitted
}

// compare holds a recorded event against what was produced in its place.
func (x *Replica) compare(e events.Event) []Divergence {
	x.at = e.Position
	if x.silent {
		return nil
	}
	if x.met >= len(x.expected) {
		x.met++
		return []Divergence{{Position: e.Position, Agent: x.stream, Field: "events", Recorded: e.Kind, Produced: "nothing"}}
	}
	d := x.expected[x.met]
	x.met++
	one := func(field, recorded, produced string) []Divergence {
		if recorded == produced {
			return nil
		}
		return []Divergence{{Position: e.Position, Agent: x.stream, Field: field, Recorded: recorded, Produced: produced}}
	}
	ds := one("kind", e.Kind, d.Kind)
	if ds != nil {
		return ds
	}
	ds = slices.Concat(ds,
		one("schema version", fmt.Sprint(e.SchemaVersion), fmt.Sprint(d.SchemaVersion)),
		one("content type", e.ContentType, d.ContentType),
		one("payload", clipped(e.Payload), clipped(d.Payload)),
		one("time", e.Time.UTC().String(), d.Time.UTC().String()),
		one("parents", parentIDs(e.Parents), parentIDs(d.Parents)),
	)
	if ds == nil {
		ds = one("id", e.ID.String(), d.ID.String())
	}
	return ds
}

func clipped(b []byte) string {
	const most = 200
	if len(b) <= most {
		return string(b)
	}
	return fmt.Sprintf("%s… (%d bytes, %s)", b[:most], len(b), events.PayloadDigest(b).Short())
}

func parentIDs(refs []events.Ref) string {
	var ids []string
	for _, r := range refs {
		if s := r.ID.String(); !slices.Contains(ids, s) {
			ids = append(ids, s)
		}
	}
	slices.Sort(ids)
	return fmt.Sprint(ids)
}
