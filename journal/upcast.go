package journal

import (
	"fmt"
	"iter"

	"github.com/tokaworks/toka/events"
)

// Upcasts turn events that were written under an older schema into what they
// would be today. They are applied on reading, by those who want them; what is
// stored never changes. The zero value has none. Register everything first:
// after that it is safe for concurrent use.
type Upcasts struct {
	steps map[upcastFrom]func(events.Event) (events.Event, error)
}

type upcastFrom struct {
	kind    string
	version uint32
}

// Register adds the step from a schema version of a kind to the next. f is
// pure; of what it returns the kind, the content type and the payload count,
// and everything else, digests included, stays what was stored. It panics if
// the step is there already.
func (u *Upcasts) Register(kind string, from uint32, f func(events.Event) (events.Event, error)) {
	if err := events.CheckKind(kind); err != nil {
		panic("journal: Upcasts.Register: " + err.Error())
	}
	at := upcastFrom{kind, from}
	if u.steps[at] != nil {
		panic(fmt.Sprintf("journal: Upcasts.Register: %s from version %d is registered twice", kind, from))
	}
	if u.steps == nil {
		u.steps = make(map[upcastFrom]func(events.Event) (events.Event, error))
	}
	u.steps[at] = f
}

// Apply brings e as far as there are steps.
func (u *Upcasts) Apply(e events.Event) (events.Event, error) {
	for {
		f := u.steps[upcastFrom{e.Kind, e.SchemaVersion}]
		if f == nil {
			return e, nil
		}
		next, err := step(f, e)
		if err != nil {
			return e, fmt.Errorf("event %s at position %d: upcast %s from version %d: %w", e.ID, e.Position, e.Kind, e.SchemaVersion, err)
		}
		e.Kind, e.ContentType, e.Payload = next.Kind, next.ContentType, next.Payload
		e.SchemaVersion++
	}
}

func step(f func(events.Event) (events.Event, error), e events.Event) (_ events.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f(e.Clone())
}

// All applies the steps to what a reader yields. An error ends it.
func (u *Upcasts) All(seq iter.Seq2[events.Event, error]) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		for e, err := range seq {
			if err == nil {
				e, err = u.Apply(e)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
