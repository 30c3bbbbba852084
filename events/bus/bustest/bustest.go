package bustest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// bound is how long anything may take before the suite gives up on it.
var bound = 30 * time.Second

// Run runs the suite against the buses that open returns, each of which is
// empty and of no other user. Run closes them. A bus that implements bus.Store
// is held to that too.
func Run(t *testing.T, open func(t *testing.T) bus.Bus) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			b := open(t)
			defer func() {
				if err := b.Close(ctx); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			c.run(&suite{t, ctx, b})
		})
	}
}

var cases = []struct {
	name string
	run  func(*suite)
}{
	{"OneOrderForAll", (*suite).oneOrder},
	{"FromNowOn", (*suite).fromNowOn},
	{"Filters", (*suite).filters},
	{"DomainEvents", (*suite).domainEvents},
	{"Drafts", (*suite).drafts},
	{"Parents", (*suite).parents},
	{"Refusals", (*suite).refusals},
	{"LeavingALoopLosesNothing", (*suite).leaving},
	{"EndOfReception", (*suite).endOfReception},
	{"Subscribers", (*suite).subscribers},
	{"SubscribersFromWithin", (*suite).fromWithin},
	{"IsolatedSubscribers", (*suite).isolated},
	{"Close", (*suite).close},
	{"Store", (*suite).store},
}

type suite struct {
	*testing.T
	ctx context.Context
	b   bus.Bus
}

// say emits n numbered events.
func (s *suite) say(source, kind string, n int) {
	s.Helper()
	for i := range n {
		s.must(s.b.Emit(s.ctx, source, kind, numbered(i)))
	}
}

func numbered(i int) events.DomainEvent {
	payload, err := events.JSON(i)
	if err != nil {
		panic(err) // a number
	}
	return events.Custom{EventType: "numbered", Payload: payload}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) receive(f bus.Filter) bus.Receiver {
	s.Helper()
	r, err := s.b.Receive(f)
	s.must(err)
	s.Cleanup(r.Close)
	return r
}

func (s *suite) next(r bus.Receiver) bus.Message {
	s.Helper()
	m, err := r.Next(s.ctx)
	s.must(err)
	return m
}

// want receives one message of each source and kind, in this order.
func (s *suite) want(r bus.Receiver, want ...[2]string) {
	s.Helper()
	for i, w := range want {
		if m := s.next(r); m.Source != w[0] || m.Kind != w[1] {
			s.Fatalf("message %d is %s of %s, want %s of %s", i, m.Kind, m.Source, w[1], w[0])
		}
	}
}

// nothing checks that a receiver has nothing more: the next message that it
// gets is one of the suite's own.
func (s *suite) nothing(r bus.Receiver, source string) {
	s.Helper()
	s.must(s.b.Emit(s.ctx, source, "bustest.mark", numbered(0)))
	if m := s.next(r); m.Kind != "bustest.mark" {
		s.Fatalf("there is still %s of %s", m.Kind, m.Source)
	}
}

// until waits for something that a subscriber does.
func (s *suite) until(what string, done func() bool) {
	s.Helper()
	for !done() {
		select {
		case <-s.ctx.Done():
			s.Fatalf("not within %v: %s", bound, what)
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *suite) status(id string) bus.Status {
	for _, st := range s.b.Subscribers() {
		if st.ID == id {
			return st
		}
	}
	return bus.Status{}
}

func (s *suite) isClosed(err error) {
	s.Helper()
	if !errors.Is(err, bus.ErrClosed) {
		s.Errorf("got %v, want ErrClosed", err)
	}
}
