package legacy

import (
	"context"
	"errors"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// EventDispatcher hands legacy events from publishers to subscribers.
//
// Deprecated: use bus.Bus.
type EventDispatcher interface {
	Publish(ctx context.Context, e Event) error
	Subscribe() (*Subscription, error)
}

// ErrNoSubscribers is returned, wrapped in an EventError, by an in-memory
// dispatcher that nobody listens to, as in the old system.
var ErrNoSubscribers = errors.New("nobody has subscribed")

// Dispatcher is an EventDispatcher over any bus, a journal's too, so that old
// code and new share it: what it publishes is an event like any other, and its
// subscribers get everything that goes over the bus and holds a domain event.
//
// Deprecated: use the bus.
type Dispatcher struct {
	bus    bus.Bus
	source string
	lone   bool // nobody else publishes or listens
}

// NewDispatcher returns a dispatcher that publishes over b as a source.
//
// Deprecated: use the bus.
func NewDispatcher(b bus.Bus, source string) *Dispatcher {
	return &Dispatcher{bus: b, source: source}
}

// dispatcherCapacity is the old system's.
const dispatcherCapacity = 1024

// NewInMemoryDispatcher returns a dispatcher of its own, in memory. As in the
// old system Publish fails while nobody has subscribed, and waits for nobody:
// a subscription that falls 1,024 events behind is told by a *bus.LagError.
//
// Deprecated: use bus.NewMemory.
func NewInMemoryDispatcher() *Dispatcher {
	return &Dispatcher{bus: bus.NewMemory(bus.Options{Capacity: dispatcherCapacity}), source: "legacy", lone: true}
}

// Publish implements EventDispatcher.
func (d *Dispatcher) Publish(ctx context.Context, e Event) error {
	draft, err := ToDomain(d.source, e)
	if err != nil {
		return err
	}
	if m, ok := d.bus.(*bus.Memory); d.lone && ok && m.Receivers() == 0 {
		return &EventError{"publish event " + e.ID.String(), ErrNoSubscribers}
	}
	if _, err := d.bus.Publish(ctx, draft); err != nil {
		return &EventError{"publish event " + e.ID.String(), err}
	}
	return nil
}

// Subscribe implements EventDispatcher.
func (d *Dispatcher) Subscribe() (*Subscription, error) {
	r, err := d.bus.Receive(bus.Filter{NoWait: d.lone})
	if err != nil {
		return nil, &EventError{"subscribe", err}
	}
	return &Subscription{r}, nil
}

// Subscription receives what is published after it was made.
//
// Deprecated: use bus.Receiver.
type Subscription struct{ r bus.Receiver }

// Recv waits for the next event. Events that hold no domain event are passed
// over; other errors are those of bus.Receiver, and of FromDomain.
func (s *Subscription) Recv(ctx context.Context) (Event, error) {
	for {
		m, err := s.r.Next(ctx)
		if err != nil {
			return Event{}, err
		}
		e, err := m.Event()
		if err != nil {
			return Event{}, err
		}
		if l, err := FromDomain(e); !errors.Is(err, events.ErrOtherKind) {
			return l, err
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() { s.r.Close() }
