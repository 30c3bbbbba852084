package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tokaworks/toka/events"
)

// Errors that a caller can act on. Each may come wrapped.
var (
	// ErrClosed: the bus or the receiver was closed, and everything that was
	// there for the receiver was received.
	ErrClosed = errors.New("bus is closed")
	// ErrSubscribed: a subscriber of that id is there already.
	ErrSubscribed = errors.New("subscriber id is taken")
)

// Bus takes events and hands them on. It is safe for concurrent use.
type Bus interface {
	// Emit hands on a domain event of a source, under a kind by which it can
	// be selected. It returns when the event has its place in the order, as
	// durable as the backend promises. Errors wrap events.ErrInvalid,
	// ErrClosed, the backend's own or the context's.
	Emit(ctx context.Context, source, kind string, v events.DomainEvent) error

	// Publish is Emit of a whole draft, whose Stream is the source, and
	// returns the event with its id, digests and place. Parents are given as
	// Publish returned them, by events.Event.Ref.
	Publish(ctx context.Context, d events.Draft) (events.Event, error)

	// Receive returns a receiver of everything that f selects and that is
	// emitted from now on. It has to be closed, lest emitters wait for it.
	Receive(f Filter) (Receiver, error)

	// Subscribe calls s for everything that its filter selects and that is
	// emitted from now on, in order, on a goroutine of its own. The error wraps
	// ErrSubscribed or ErrClosed.
	Subscribe(s Subscriber) error

	// Unsubscribe ends a subscription and reports whether there was one. The
	// call that the subscriber is in, if any, gets its context cancelled and
	// is not waited for, so that a subscriber may unsubscribe itself.
	Unsubscribe(id string) bool

	// Subscribers lists the subscribers, by id.
	Subscribers() []Status

	// Close takes no more events, and waits, until ctx ends, until the
	// subscribers have dealt with those that were taken. Receivers get what is
	// there for them and then ErrClosed. It must not be called by a subscriber.
	Close(ctx context.Context) error
}

// Store is a bus that keeps what went over it.
type Store interface {
	Bus

	// Event returns the event with an id, with everything in its header.
	Event(ctx context.Context, id events.ID) (events.Event, error)
	// Payload returns the payload with a digest.
	Payload(ctx context.Context, d events.Digest) ([]byte, error)
	// Counts tells how much is kept.
	Counts() Counts
}

// Counts tells how much a store keeps.
type Counts struct {
	Events   uint64
	Payloads uint64 // distinct
	Intents  int    // 0 without a strategy
}

// Receiver hands out messages to one goroutine at a time.
type Receiver interface {
	// Next waits for the next message. The error is ErrClosed, the context's,
	// or a *LagError, after which Next goes on; or why the backend cannot.
	Next(ctx context.Context) (Message, error)

	// All yields what Next returns until ctx ends or the bus or the receiver is
	// closed, with the error that says so last. Leaving the loop loses nothing:
	// what was not yielded comes next.
	All(ctx context.Context) iter.Seq2[Message, error]

	// Close ends the reception. Closing again does nothing.
	Close()
}

// Subscriber is called for each message that its filter selects.
type Subscriber interface {
	// ID tells subscribers of one bus apart.
	ID() string
	// Filter is asked once. A subscriber is never waited for: NoWait is taken
	// as set.
	Filter() Filter
	// Handle deals with one message. An error, a panic or runtime.Goexit is
	// counted and reported, and the next message comes.
	Handle(ctx context.Context, m Message) error
}

// On returns a subscriber that calls f for the kinds that one of the patterns
// matches, for all without any.
func On(id string, f func(ctx context.Context, m Message) error, kinds ...events.Pattern) Subscriber {
	return &funcSubscriber{id, f, kinds}
}

type funcSubscriber struct {
	id    string
	f     func(ctx context.Context, m Message) error
	kinds []events.Pattern
}

func (s *funcSubscriber) ID() string                                  { return s.id }
func (s *funcSubscriber) Filter() Filter                              { return Filter{Kinds: s.kinds} }
func (s *funcSubscriber) Handle(ctx context.Context, m Message) error { return s.f(ctx, m) }

// Status says how a subscriber fares.
type Status struct {
	ID      string
	Handled uint64 // calls that returned, with or without an error
	Failed  uint64 // of these, with an error, a panic or a Goexit
	Missed  uint64 // messages that were overwritten before they could be handled
	Err     error  // the last one; nil if there was none
}

// Filter selects messages. The zero Filter is everything.
type Filter struct {
	Kinds  []events.Pattern // only kinds that one of these matches
	Source string           // only this source
	// NoWait keeps emitters from waiting for the receiver. A bus that cannot
	// keep everything for it tells it by a *LagError what it missed.
	NoWait bool
}

// Match reports whether f selects a message of a source and a kind.
func (f *Filter) Match(source, kind string) bool {
	if f.Source != "" && f.Source != source {
		return false
	}
	for _, p := range f.Kinds {
		if p.Match(kind) {
			return true
		}
	}
	return len(f.Kinds) == 0
}

// LagError says that a receiver that is not waited for was too slow.
type LagError struct {
	Missed uint64 // messages of the bus that were overwritten, selected or not
	Next   uint64 // sequence at which the receiver goes on
}

func (e *LagError) Error() string {
	return fmt.Sprintf("missed %d messages, going on at %d: receive faster, without NoWait, or from a journal", e.Missed, e.Next)
}

// PanicError is reported for a subscriber that panicked or ended its
// goroutine.
type PanicError struct {
	Value any // nil for runtime.Goexit
	Stack []byte
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "subscriber ended its goroutine"
	}
	return fmt.Sprintf("subscriber panicked: %v", e.Value)
}

// Message is an event as a bus hands it on. Copies share what it points to,
// which nobody may change.
type Message struct {
	Sequence uint64 // in the bus's order, growing; dense from 1 before filters
	Source   string
	Kind     string

	event  *events.Event // if it was published as a draft, or comes from a store
	domain events.DomainEvent
	origin *origin
	at     time.Duration // since origin.began
}

// FromEvent returns the message that hands on e, for backends.
func FromEvent(e events.Event) Message {
	return Message{Sequence: e.Position, Source: e.Stream, Kind: e.Kind, event: &e}
}

// Time returns when the bus took the message. It never decreases with the
// sequence.
func (m Message) Time() time.Time {
	if m.event != nil {
		return m.event.RecordTime
	}
	return m.origin.began.Add(m.at)
}

// Domain returns the domain event that was emitted, or decodes it from what
// was published. The error wraps events.ErrOtherKind if that holds none.
func (m Message) Domain() (events.DomainEvent, error) {
	if m.event != nil {
		return events.DecodeDomain(*m.event)
	}
	return m.domain, nil
}

// Event returns the event with its id, digests and encoded payload, which are
// computed now if the message was emitted as a domain event. Whoever asks gets
// the same. An error says why the payload cannot be encoded.
func (m Message) Event() (events.Event, error) {
	if m.event != nil {
		return *m.event, nil
	}
	d, err := events.NewDomain(m.Kind, m.domain)
	if err != nil {
		return events.Event{}, err
	}
	d.Stream = m.Source
	e, err := d.Seal(m.origin.id(m.Time(), m.Sequence, emitted), nil)
	if err != nil {
		return events.Event{}, err
	}
	e.Position, e.RecordTime = m.Sequence, m.Time()
	return e, nil
}

// Commit publishes a domain event with the events that caused it and an
// embedding of what it means, either of which may be nil, and returns it with
// its header.
func Commit(ctx context.Context, b Bus, source, kind string, v events.DomainEvent, parents []events.Event, embedding []float32) (events.Event, error) {
	d, err := events.NewDomain(kind, v)
	if err != nil {
		return events.Event{}, err
	}
	d.Stream, d.Embedding = source, embedding
	for _, p := range parents {
		d.Parents = append(d.Parents, p.Ref())
	}
	return b.Publish(ctx, d)
}
