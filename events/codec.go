package events

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ContentTypeJSON is the content type of payloads written by this package's
// codecs.
const ContentTypeJSON = "application/json"

// ErrOtherKind is returned, wrapped, by a codec asked to decode an event whose
// kind it was not made for.
var ErrOtherKind = errors.New("another kind of event")

// ErrPayloadGone is wrapped by the error of decoding an event whose payload was
// pruned or erased, or is encrypted with a key that is not here.
var ErrPayloadGone = errors.New("the payload is not here")

// payloadHere returns an error that says what became of the payload.
func (e *Event) payloadHere() error {
	if e.PayloadState == PayloadHere {
		return nil
	}
	return fmt.Errorf("decode event %s (%s): %w: it is %v", e.ID, e.Kind, ErrPayloadGone, e.PayloadState)
}

// Codec turns values of T into drafts and events back into values of T. It is
// safe for concurrent use. [Type] and [Union] are the codecs of this package;
// an encoding other than JSON is one small type of the caller's.
type Codec[T any] interface {
	// Encode returns a draft with kind, schema version, content type and
	// payload, and nothing else.
	Encode(v T) (Draft, error)
	// Decode returns an error that wraps ErrOtherKind for an event of a kind
	// that is not among Kinds.
	Decode(e Event) (T, error)
	// Kinds lists the kinds that Decode accepts.
	Kinds() []string
}

// Type is the codec of one Go type: values of T are the JSON payloads of
// events of one kind. Declare it once, beside T:
//
//	var Placed = events.NewType[OrderPlaced]("order.placed", 1)
type Type[T any] struct {
	kind    string
	version uint32
}

// NewType returns the codec of T under the given kind and schema version. It
// panics if kind is not one.
func NewType[T any](kind string, schemaVersion uint32) *Type[T] {
	if err := CheckKind(kind); err != nil {
		panic("events: NewType: " + err.Error())
	}
	return &Type[T]{kind: kind, version: schemaVersion}
}

// Kind returns the kind of the events.
func (t *Type[T]) Kind() string { return t.kind }

// Kinds implements Codec.
func (t *Type[T]) Kinds() []string { return []string{t.kind} }

// Encode implements Codec. It fails if v cannot be written as JSON.
func (t *Type[T]) Encode(v T) (Draft, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Draft{}, fmt.Errorf("encode %s: %w", t.kind, err)
	}
	return Draft{Kind: t.kind, SchemaVersion: t.version, ContentType: ContentTypeJSON, Payload: b}, nil
}

// Decode implements Codec.
func (t *Type[T]) Decode(e Event) (T, error) {
	var v T
	if e.Kind != t.kind {
		return v, fmt.Errorf("decode event %s: %w: %s, not %s", e.ID, ErrOtherKind, e.Kind, t.kind)
	}
	if err := e.payloadHere(); err != nil {
		return v, err
	}
	if err := json.Unmarshal(e.Payload, &v); err != nil {
		return v, fmt.Errorf("decode event %s (%s, schema version %d): %w", e.ID, e.Kind, e.SchemaVersion, err)
	}
	return v, nil
}

// Union is the codec of an interface type E that is implemented by a closed
// set of types, each with a kind of its own: the events, or the commands, of
// one kind of entity.
//
//	type OrderEvent interface{ orderEvent() }
//
//	var OrderEvents = events.NewUnion(
//		events.Case[OrderEvent, Placed]("order.placed", 1),
//		events.Case[OrderEvent, Paid]("order.paid", 1),
//	)
type Union[E any] struct {
	cases  []Variant[E]
	byKind map[string]int
}

// Variant is one member of a Union; Case makes it.
type Variant[E any] struct {
	kind   string
	encode func(E) (d Draft, ok bool, err error)
	decode func(Event) (E, error)
}

// Case makes T a member of the union E under the given kind and schema
// version. It panics if kind is not one or T does not implement E.
func Case[E, T any](kind string, schemaVersion uint32) Variant[E] {
	var zero T
	if _, ok := any(zero).(E); !ok {
		panic(fmt.Sprintf("events: Case: %T does not implement the union's interface", zero))
	}
	t := NewType[T](kind, schemaVersion)
	return Variant[E]{
		kind: kind,
		encode: func(v E) (Draft, bool, error) {
			w, ok := any(v).(T)
			if !ok {
				return Draft{}, false, nil
			}
			d, err := t.Encode(w)
			return d, true, err
		},
		decode: func(ev Event) (E, error) {
			w, err := t.Decode(ev)
			if err != nil {
				var none E
				return none, err
			}
			return any(w).(E), nil
		},
	}
}

// NewUnion returns the codec of the given cases. It panics if two have the
// same kind, one was not made by Case or there is none.
func NewUnion[E any](cases ...Variant[E]) *Union[E] {
	if len(cases) == 0 {
		panic("events: NewUnion: no cases")
	}
	u := &Union[E]{cases: cases, byKind: make(map[string]int, len(cases))}
	for i, c := range cases {
		if c.encode == nil {
			panic("events: NewUnion: a Variant that was not made by Case")
		}
		if _, twice := u.byKind[c.kind]; twice {
			panic("events: NewUnion: two cases of kind " + c.kind)
		}
		u.byKind[c.kind] = i
	}
	return u
}

// Kinds implements Codec, in the order of the cases.
func (u *Union[E]) Kinds() []string {
	kinds := make([]string, len(u.cases))
	for i, c := range u.cases {
		kinds[i] = c.kind
	}
	return kinds
}

// Encode implements Codec. It fails if v is of a type that is not a case.
func (u *Union[E]) Encode(v E) (Draft, error) {
	for i := range u.cases {
		if d, ok, err := u.cases[i].encode(v); ok {
			return d, err
		}
	}
	return Draft{}, fmt.Errorf("encode: %T is not a case of the union %v", v, u.Kinds())
}

// Decode implements Codec.
func (u *Union[E]) Decode(e Event) (E, error) {
	i, ok := u.byKind[e.Kind]
	if !ok {
		var none E
		return none, fmt.Errorf("decode event %s: %w: %s, not one of %v", e.ID, ErrOtherKind, e.Kind, u.Kinds())
	}
	return u.cases[i].decode(e)
}
