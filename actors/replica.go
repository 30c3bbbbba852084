package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	broken   bool               // an event could not be folded: nothing more can be said
	open     map[events.ID]bool // commands that are recorded to have failed and may still cause events
	origin   events.Event       // what the events being compared react to, without its payload
	expected []events.Draft     // what deciding it anew gave; emptied as it is met
	met      int                // how many of them were met
	at       uint64             // position of the last event of the group
	failed   bool               // it is recorded to have failed
	differs  *Divergence        // the effects of the reaction are not those on record

	Decided   uint64 // commands and reactions that were decided again
	Reactions uint64 // of these, reactions
	Folded    uint64 // events that were folded into state
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

// Begin tells the replica whose stream it is, for one who knows before the
// event that says so comes by. The key is NAME/VERSION. Before the first Next
// it saves reading what stands before that event a second time.
func (x *Replica) Begin(key string) error {
	b, err := x.registry.find(key)
	if err != nil {
		return err
	}
	x.b, x.runner, x.open = b, b.runner(), map[events.ID]bool{}
	x.runner.reset()
	return nil
}

// Next takes the next event of the stream and returns what diverges at it. An
// event that cannot be folded is a divergence too, and the last one. An error
// says why the replica cannot go on, such as ErrUnknownBehaviour.
func (x *Replica) Next(ctx context.Context, e events.Event) ([]Divergence, error) {
	if key, ok := e.Extensions[events.ExtBehaviour]; ok && x.b == nil {
		if err := x.begin(ctx, key, e.StreamPosition); err != nil {
			return nil, fmt.Errorf("stream %q, position %d: %w", x.stream, e.Position, err)
		}
	}
	if x.b == nil || x.broken {
		x.version = e.StreamPosition
		return nil, nil
	}
	var ds []Divergence
	var err error
	if _, ok := commandKind(e.Kind); ok {
		ds = x.End()
		x.command(e)
	} else if e.Kind == kindRetry {
		ds = x.End() // what was parked may come again
		for _, p := range e.Parents {
			if p.ID != e.Trigger && len(x.b.patterns) == 0 {
				x.open[p.ID] = true
			}
		}
	} else if events.SystemKind(e.Kind) {
		x.failure(e)
	} else if !e.Trigger.IsZero() {
		if ds, err = x.caused(ctx, e); err != nil {
			return ds, fmt.Errorf("stream %q, position %d: %w", x.stream, e.Position, err)
		}
	}
	x.version = e.StreamPosition
	x.Folded++
	if err := x.fold(e); err != nil {
		x.broken = true
		ds = append(ds, x.End()...)
		ds = append(ds, Divergence{Position: e.Position, Agent: x.stream, Field: "state", Recorded: e.Kind, Produced: "error: " + err.Error()})
	}
	return ds, nil
}

// End closes the group of events that is being compared: what was produced and
// is not recorded is a divergence. It is to be called after the last event.
func (x *Replica) End() []Divergence {
	var ds []Divergence
	// Why a failure came about is not recorded, so that nothing came of the
	// work then cannot be held against what it gives now.
	if x.met < len(x.expected) && (x.met > 0 || !x.failed) {
		ds = append(ds, Divergence{
			Position: x.at, Agent: x.stream, Field: "events",
			Recorded: fmt.Sprintf("%d", x.met), Produced: fmt.Sprintf("%d, the next of kind %s", len(x.expected), x.expected[x.met].Kind),
		})
	}
	x.begun(events.Event{})
	return ds
}

// Check compares a recorded state digest with the state as it is now. It is to
// be called when the last event given to Next is the one that d stands after.
func (x *Replica) Check(d journal.StateDigest, position uint64) []Divergence {
	if x.b == nil || x.broken || d.StreamPosition != x.version {
		return nil
	}
	produced := ""
	if b, err := x.encoded(); err != nil {
		produced = "error: " + err.Error()
	} else if got := StateDigest(b); got != d.Digest {
		produced = got.Short()
	}
	if produced == "" {
		return nil
	}
	return []Divergence{{Position: position, Agent: x.stream, Field: "state", Recorded: d.Digest.Short(), Produced: produced}}
}

func (x *Replica) encoded() (b []byte, err error) {
	defer panicAsError(&err)
	return x.runner.encoded()
}

func (x *Replica) fold(e events.Event) (err error) {
	defer panicAsError(&err)
	return x.runner.apply(e)
}

func panicAsError(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
	}
}

// begin learns the stream's behaviour and folds what stands before.
func (x *Replica) begin(ctx context.Context, key string, version uint64) error {
	if err := x.Begin(key); err != nil {
		return err
	}
	for e, err := range x.j.ReadStream(ctx, x.stream, 0) {
		if err != nil || e.StreamPosition >= version {
			return err
		}
		if err := x.fold(e); err != nil {
			return fmt.Errorf("position %d: %w", e.Position, err)
		}
	}
	return nil
}

// failure notes that work is recorded to have failed. It comes again later, on
// the state as it is then.
func (x *Replica) failure(e events.Event) {
	effect := strings.HasPrefix(e.Kind, "toka.effect.")
	if e.Trigger.IsZero() || e.Kind == kindUnparked || effect && len(x.b.patterns) > 0 {
		return
	}
	if e.Trigger == x.origin.ID && x.met == 0 {
		x.failed = true
	}
	switch e.Kind {
	case kindEffectStarted: // the command was decided when its effects had come to an end
		x.open[e.Trigger] = true
	case kindFailed, kindStopped:
		if len(x.b.patterns) == 0 { // an agent's reaction needs no record to be found again
			x.open[e.Trigger] = true
		}
	case kindParked, kindEffectEnded: // nothing more can come of it
		delete(x.open, e.Trigger)
		if e.Trigger == x.origin.ID {
			x.expected = nil
		}
	}
}

// caused compares an event that names a trigger. It looks emitted if it reacts
// to a command in its own stream, or if its id derives from its trigger; all
// else was written from outside and is only folded.
func (x *Replica) caused(ctx context.Context, e events.Event) ([]Divergence, error) {
	same := e.Trigger == x.origin.ID
	again := x.open[e.Trigger]
	cause := x.origin
	if !same || again {
		var err error
		if cause, err = x.j.ByID(ctx, e.Trigger); errors.Is(err, journal.ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	var ds []Divergence
	if _, ok := commandKind(cause.Kind); ok && cause.Stream == x.stream {
		if !same || again {
			ds = x.End()
			x.begun(cause)
		}
		if again {
			delete(x.open, e.Trigger)
			x.command(cause)
			x.Decided-- // it is one command, however often it was tried
		}
		return append(ds, x.compare(e)...), nil
	}
	ordinal, ok := x.ordinal(cause, e.ID)
	if !ok {
		return nil, nil
	}
	if !same {
		ds = x.End()
		x.reaction(cause)
		x.met = ordinal
	}
	return append(ds, x.compare(e)...), nil
}

// maxOrdinal bounds the search for the place of an event in a group that it
// does not begin, which no honest stream holds.
const maxOrdinal = 64

// ordinal returns which of the agent's events about cause has that id.
func (x *Replica) ordinal(cause events.Event, id events.ID) (int, bool) {
	if len(x.b.patterns) == 0 || cause.Stream == x.stream {
		return 0, false
	}
	if cause.ID == x.origin.ID && id == events.EmittedID(cause.Digest, x.stream, uint32(x.met)) {
		return x.met, true
	}
	for n := range maxOrdinal {
		if id == events.EmittedID(cause.Digest, x.stream, uint32(n)) {
			return n, true
		}
	}
	return 0, false
}

// command decides a recorded command anew.
func (x *Replica) command(e events.Event) {
	kind, _ := commandKind(e.Kind)
	m := &message{kind: kindCommand, id: e.ID, encoded: events.Draft{
		Kind: kind, SchemaVersion: e.SchemaVersion, ContentType: e.ContentType, Payload: e.Payload,
	}}
	x.produce(e, &Turn{agent: x.stream, now: e.Time, m: m, effects: &effects{lookup: x.effects(e.Digest)}}, m)
}

// reaction does anew what an agent did about an event.
func (x *Replica) reaction(cause events.Event) {
	if !(&cell{name: x.stream, b: x.b}).wants(&cause) {
		x.begun(cause) // it would never be handed that
		return
	}
	x.Reactions++
	x.produce(cause, &Turn{agent: x.stream, now: cause.RecordTime, effects: &effects{lookup: x.effects(cause.Digest)}}, &message{kind: kindEvent, event: cause})
}

// effects looks up what is on record of what was done about a cause.
func (x *Replica) effects(cause events.Digest) func(n uint32) (effectRecord, bool, error) {
	return func(n uint32) (effectRecord, bool, error) {
		return recordedEffect(context.Background(), x.j, cause, x.stream, n)
	}
}

func (x *Replica) produce(cause events.Event, t *Turn, m *message) {
	x.begun(cause)
	x.at = cause.Position
	x.Decided++
	t.about = cause.Ref()
	err := x.decide(t, m)
	if f, ok := errors.AsType[*NondeterminismError](err); ok {
		x.differs = &Divergence{Agent: x.stream, Field: "effects", Recorded: strings.Join(f.Recorded, ", "), Produced: strings.Join(f.Called, ", ")}
	}
	if err != nil {
		x.expected = []events.Draft{{Kind: "error: " + err.Error()}}
		return
	}
	x.expected = t.emitted
}

// decide calls the handler. No effect is called: one without a result on
// record is an error.
func (x *Replica) decide(t *Turn, m *message) (err error) {
	func() {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case abandoned:
				err = t.err
			default:
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		err = x.runner.decide(t, m)
	}()
	if t.effects != nil && t.effects.wanted != nil {
		return &NondeterminismError{Agent: x.stream, Recorded: t.effects.called[:len(t.effects.called)-1], Called: t.effects.called}
	}
	if err == nil {
		err = t.effects.ended(x.stream)
	}
	if t.stash && err == nil {
		err = errors.New("the command was stashed")
	}
	return err
}

// begun starts a group of which nothing is expected yet.
func (x *Replica) begun(cause events.Event) {
	cause.Payload = nil
	x.origin, x.expected, x.met, x.failed, x.differs = cause, nil, 0, false, nil
}

// compare holds a recorded event against what was produced in its place.
func (x *Replica) compare(e events.Event) (ds []Divergence) {
	one := func(field, recorded, produced string) bool {
		if recorded != produced {
			ds = append(ds, Divergence{Position: e.Position, Agent: x.stream, Field: field, Recorded: recorded, Produced: produced})
		}
		return recorded == produced
	}
	x.at = e.Position
	x.met++
	if d := x.differs; d != nil {
		if x.met > 1 {
			return nil // what else differs follows from that
		}
		return []Divergence{{Position: e.Position, Agent: d.Agent, Field: d.Field, Recorded: d.Recorded, Produced: d.Produced}}
	}
	if x.met > len(x.expected) {
		one("events", e.Kind, "nothing")
		return ds
	}
	d := x.expected[x.met-1]
	x.expected[x.met-1] = events.Draft{}
	if !one("kind", e.Kind, d.Kind) {
		return ds
	}
	if d.Correlation == "" {
		d.Correlation = x.origin.Correlation
	}
	extensions := maps.Clone(e.Extensions)
	delete(extensions, events.ExtBehaviour)
	one("schema version", fmt.Sprint(e.SchemaVersion), fmt.Sprint(d.SchemaVersion))
	one("content type", e.ContentType, d.ContentType)
	one("payload", clipped(e.Payload), clipped(d.Payload))
	one("time", e.Time.UTC().String(), d.Time.UTC().String())
	one("parents", parentIDs(e.Parents), parentIDs(d.Parents))
	one("correlation", e.Correlation, d.Correlation)
	one("extensions", fmt.Sprint(extensions), fmt.Sprint(d.Extensions))
	if ds == nil {
		one("id", e.ID.String(), d.ID.String())
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
