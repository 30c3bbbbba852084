package events

import (
	"maps"
	"slices"
	"time"
)

// Limits on what an event may hold.
const (
	MaxPayload    = 1 << 20 // bytes of payload
	MaxParents    = 64      // parents of one event
	MaxExtensions = 4 << 10 // bytes of all extension keys and values together
	MaxName       = 256     // bytes of a stream, agent, kind, source or outside id
)

// Well-known extension keys.
const (
	// ExtOutsideID holds the id that an event had in the system it came from.
	// A journal indexes it.
	ExtOutsideID = "outsideid"
	// ExtBehaviour holds NAME/VERSION of the behaviour of an agent, on the
	// first event that the agent itself journals. Keys that begin with "toka"
	// are the system's: a journal refuses them from outside.
	ExtBehaviour = "tokabehaviour"
)

// Event is what happened, once, and where it stands. It is a value: a journal
// hands out copies, and changing one changes nothing else.
//
// The first group of fields is what the event itself says and what its Digest
// commits to; the second is the place that one journal gave it, which RecordHash
// commits to as well; the third is derived beside the event and in no digest.
type Event struct {
	ID            ID
	Stream        string
	Kind          string
	SchemaVersion uint32
	Time          time.Time // event time, the caller's claim; zero if there was none; never an order
	ContentType   string
	Payload       []byte
	PayloadDigest Digest
	SubjectKey    string // id of the key that the payload is encrypted with; empty if it is not
	Parents       []Ref  // sorted by digest, each once
	Trigger       ID     // the parent that this event reacts to; zero if it names none
	Correlation   string
	Extensions    map[string]string
	Digest        Digest // the causal digest

	Position        uint64    // in the journal, dense from 1; 0 before it is journaled
	StreamPosition  uint64    // in the stream, dense from 1
	Epoch           uint32    // from 1; see the journal
	RecordTime      time.Time // the journal's clock, never decreasing with the position
	Trace           string    // W3C trace context; empty if there was none
	EmbeddingDigest Digest    // digest of the quantised embedding; zero if there was none

	Intent       Intent
	PayloadState PayloadState // why there is no payload, where there was one
}

// PayloadState says whether an event's payload can be had. It is in no digest:
// links and proofs hold whatever became of the payload.
type PayloadState uint8

const (
	// PayloadHere says that Payload is what was given, however empty.
	PayloadHere PayloadState = iota
	// PayloadPruned says that the payload was removed; its digest is all that is left.
	PayloadPruned
	// PayloadErased says that the key that the payload is encrypted with was destroyed.
	PayloadErased
	// PayloadSealed says that the payload is encrypted with a key that is not here.
	PayloadSealed
)

// String returns here, pruned, erased or sealed.
func (s PayloadState) String() string {
	switch s {
	case PayloadPruned:
		return "pruned"
	case PayloadErased:
		return "erased"
	case PayloadSealed:
		return "sealed"
	}
	return "here"
}

// Intent is what an event means to the journal's clustering strategy. It is
// derived from the journal and stored beside the event, never in it.
type Intent struct {
	ID         ID      // derived from the founding event; zero if the event has no intent
	Similarity float64 // cosine to the intent's centroid before this event joined, 1 for the founder
	Pending    bool    // the event brought an embedding and is not assigned yet
}

// Ref names an event by id and, where it is known, by causal digest. Position
// is the place in the journal that returned the Ref; it is no part of any
// digest and callers may leave it 0.
type Ref struct {
	ID       ID
	Digest   Digest
	Position uint64
}

// Ref returns a reference to e, to be given as a parent.
func (e Event) Ref() Ref { return Ref{ID: e.ID, Digest: e.Digest, Position: e.Position} }

// OutsideID returns the id that the event had where it came from, or "".
func (e Event) OutsideID() string { return e.Extensions[ExtOutsideID] }

// Draft describes an event that does not exist yet. Only Kind is needed, and
// Stream where the journal is written directly; an agent's events go to the
// agent's own stream.
type Draft struct {
	ID            ID // zero: minted (UUIDv7)
	Stream        string
	Kind          string
	SchemaVersion uint32
	Time          time.Time // zero: no claim is made
	ContentType   string
	Payload       []byte
	Parents       []Ref // a Ref needs its ID; a Digest, where given, is checked
	Trigger       ID    // must be the ID of one of Parents
	Correlation   string
	Extensions    map[string]string
	Trace         string
	Embedding     []float32 // any length but 0 must be the journal's dimension
	// EmbeddingModel is what made Embedding, if the writer knows: it is not stored,
	// and a journal whose model has another name refuses the event.
	EmbeddingModel string

	// SubjectKey names the key that a journal encrypts the payload with before
	// it is hashed, so that the content can be erased with the key. Use one key
	// for each person or matter that the content is about, and a name that
	// tells nothing: names, kinds, streams and times are not encrypted. There
	// must be no embedding, which would say in the clear what the payload hides.
	SubjectKey string
}

// Validate checks everything about d that can be checked without a journal
// and returns an *InvalidError that names the first field at fault.
func (d *Draft) Validate() error {
	if err := CheckStream(d.Stream); err != nil {
		return err
	}
	return d.validateBody()
}

func (d *Draft) validateBody() error {
	if err := CheckKind(d.Kind); err != nil {
		return err
	}
	if err := checkTime(d.Time); err != nil {
		return err
	}
	for _, f := range [...]struct{ field, text string }{
		{"content type", d.ContentType}, {"correlation", d.Correlation}, {"trace", d.Trace}, {"subject key", d.SubjectKey},
	} {
		if err := checkOptional(f.field, f.text); err != nil {
			return err
		}
	}
	if len(d.Payload) > MaxPayload {
		return invalid("payload", "%d bytes; the limit is %d", len(d.Payload), MaxPayload)
	}
	if d.SubjectKey != "" && len(d.Embedding) > 0 {
		return invalid("embedding", "an event under a subject key has none: it would say in the clear what the payload hides")
	}
	if len(d.Parents) > MaxParents {
		return invalid("parents", "%d parents; the limit is %d", len(d.Parents), MaxParents)
	}
	triggered := d.Trigger.IsZero()
	for _, p := range d.Parents {
		if p.ID.IsZero() {
			return invalid("parents", "a parent without an id")
		}
		if p.ID == d.ID {
			return invalid("parents", "event %s names itself as a parent", d.ID)
		}
		triggered = triggered || p.ID == d.Trigger
	}
	if !triggered {
		return invalid("trigger", "%s is not one of the parents", d.Trigger)
	}
	return checkExtensions(d.Extensions)
}

// Seal returns the event that d describes, with its digests and without a
// place. id is used where d has none; parents are d's parents with their
// digests, in any order. It fails with an *InvalidError.
//
// The payload is taken as it is to be stored: where d names a subject key, it
// is encrypted already. The event shares d's payload and extensions.
func (d *Draft) Seal(id ID, parents []Ref) (Event, error) {
	e, err := d.Unlinked(id)
	if err != nil {
		return Event{}, err
	}
	if err := e.SetParents(parents); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Unlinked is Seal without the parents: the event has a payload digest, and
// neither parents nor a causal digest until SetParents gives it both. It is
// for a journal that finds the parents' digests later.
func (d *Draft) Unlinked(id ID) (Event, error) {
	if err := d.Validate(); err != nil {
		return Event{}, err
	}
	if !d.ID.IsZero() {
		id = d.ID
	}
	if id.IsZero() {
		return Event{}, invalid("id", "an event without an id")
	}
	return Event{
		ID: id, Stream: d.Stream, Kind: d.Kind, SchemaVersion: d.SchemaVersion,
		Time: d.Time, ContentType: d.ContentType,
		Payload: d.Payload, PayloadDigest: PayloadDigest(d.Payload), SubjectKey: d.SubjectKey,
		Trigger: d.Trigger, Correlation: d.Correlation,
		Extensions: d.Extensions, Trace: d.Trace,
	}, nil
}

// SetParents gives e its parents (sorting them and dropping repetitions) and
// computes its causal digest anew. It fails, and leaves e as it was, if a
// parent has no id or no digest or is e itself, if one digest is claimed for
// two ids or one id given with two digests, if there are more than MaxParents,
// or if the trigger is none of them.
func (e *Event) SetParents(parents []Ref) error {
	ps := slices.Clone(parents)
	slices.SortFunc(ps, func(a, b Ref) int { return compareDigests(a.Digest, b.Digest) })
	out := ps[:0]
	for _, p := range ps {
		if p.ID.IsZero() {
			return invalid("parents", "a parent without an id")
		}
		if p.ID == e.ID {
			return invalid("parents", "event %s names itself as a parent", e.ID)
		}
		if p.Digest.IsZero() {
			return invalid("parents", "parent %s without a digest", p.ID)
		}
		if n := len(out); n > 0 && out[n-1].Digest == p.Digest {
			if out[n-1].ID != p.ID {
				return invalid("parents", "%s and %s claim the same digest", out[n-1].ID, p.ID)
			}
			continue
		}
		if slices.ContainsFunc(out, func(q Ref) bool { return q.ID == p.ID }) {
			return invalid("parents", "%s is given with two digests", p.ID)
		}
		out = append(out, p)
	}
	if len(out) > MaxParents {
		return invalid("parents", "%d parents; the limit is %d", len(out), MaxParents)
	}
	if !e.Trigger.IsZero() && !slices.ContainsFunc(out, func(q Ref) bool { return q.ID == e.Trigger }) {
		return invalid("trigger", "%s is not one of the parents", e.Trigger)
	}
	e.Parents = out
	e.Digest = e.causalDigest()
	return nil
}

// Clone returns a copy of e that shares no memory with it.
func (e Event) Clone() Event {
	e.Payload = slices.Clone(e.Payload)
	e.Parents = slices.Clone(e.Parents)
	e.Extensions = maps.Clone(e.Extensions)
	return e
}

// triggerIndex returns 1 + the index of the trigger among the parents, 0 for
// none.
func (e *Event) triggerIndex() uint64 {
	if e.Trigger.IsZero() {
		return 0
	}
	for i := range e.Parents {
		if e.Parents[i].ID == e.Trigger {
			return uint64(i) + 1
		}
	}
	return 0
}
