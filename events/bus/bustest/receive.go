package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

func (s *suite) oneOrder() {
	const emitters, each, receivers = 4, 100, 3
	var seen [receivers][]bus.Message
	var receiving, emitting sync.WaitGroup
	for i := range receivers {
		r := s.receive(bus.Filter{})
		receiving.Go(func() {
			for m, err := range r.All(s.ctx) {
				if err != nil {
					s.Errorf("receiver %d: %v", i, err)
					return
				}
				if seen[i] = append(seen[i], m); len(seen[i]) == emitters*each {
					return
				}
			}
		})
	}
	for i := range emitters {
		emitting.Go(func() {
			for n := range each {
				if err := s.b.Emit(s.ctx, fmt.Sprint("emitter-", i), "test.numbered", numbered(n)); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	emitting.Wait()
	receiving.Wait()
	for i := range receivers {
		if len(seen[i]) != emitters*each {
			s.Fatalf("receiver %d got %d messages, want %d", i, len(seen[i]), emitters*each)
		}
		count := map[string]int{}
		for k, m := range seen[i] {
			if k > 0 && (m.Sequence != seen[i][k-1].Sequence+1 || m.Time().Before(seen[i][k-1].Time())) {
				s.Fatalf("receiver %d: %d at %v comes after %d at %v", i, m.Sequence, m.Time(), seen[i][k-1].Sequence, seen[i][k-1].Time())
			}
			if m.Sequence != seen[0][k].Sequence || m.Source != seen[0][k].Source {
				s.Fatalf("receivers 0 and %d differ at message %d", i, k)
			}
			s.hasNumber(m, count[m.Source])
			count[m.Source]++
		}
	}
}

func (s *suite) hasNumber(m bus.Message, n int) {
	s.Helper()
	v, err := m.Domain()
	s.must(err)
	if c, ok := v.(events.Custom); !ok || string(c.Payload) != fmt.Sprint(n) {
		s.Fatalf("%s holds %v, want number %d", m.Source, v, n)
	}
}

func (s *suite) fromNowOn() {
	s.say("early", "test.early", 3)
	r := s.receive(bus.Filter{})
	s.say("late", "test.late", 1)
	s.want(r, [2]string{"late", "test.late"})
	s.nothing(r, "late")
}

func (s *suite) filters() {
	kinds := s.receive(bus.Filter{Kinds: []events.Pattern{events.MustPattern("order.*"), events.MustPattern("bustest.>")}})
	source := s.receive(bus.Filter{Source: "a"})
	both := s.receive(bus.Filter{Source: "a", Kinds: []events.Pattern{events.MustPattern("order.paid"), events.MustPattern("bustest.mark")}})
	all := s.receive(bus.Filter{NoWait: true})
	for _, e := range [][2]string{{"a", "order.placed"}, {"b", "order.paid"}, {"a", "order.item.added"}, {"a", "door.opened"}, {"a", "order.paid"}} {
		s.say(e[0], e[1], 1)
	}
	s.want(kinds, [2]string{"a", "order.placed"}, [2]string{"b", "order.paid"}, [2]string{"a", "order.paid"})
	s.nothing(kinds, "b")
	s.want(source, [2]string{"a", "order.placed"}, [2]string{"a", "order.item.added"}, [2]string{"a", "door.opened"}, [2]string{"a", "order.paid"})
	s.nothing(source, "a")
	s.want(both, [2]string{"a", "order.paid"}, [2]string{"a", "bustest.mark"})
	s.want(all, [2]string{"a", "order.placed"}, [2]string{"b", "order.paid"}, [2]string{"a", "order.item.added"})
}

func (s *suite) leaving() {
	r := s.receive(bus.Filter{})
	s.say("a", "test.numbered", 200)
	n := 0
	for n < 200 {
		took := 0
		for m, err := range r.All(s.ctx) {
			s.must(err)
			s.hasNumber(m, n)
			n++
			if took++; took == 7 || n == 200 {
				break
			}
		}
		if n < 200 {
			s.hasNumber(s.next(r), n)
			n++
		}
	}
	s.nothing(r, "a")
}

func (s *suite) endOfReception() {
	r := s.receive(bus.Filter{})
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("Next after the deadline: %v", err)
	}
	n := 0
	for _, err := range r.All(ctx) {
		if n++; !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("All after the deadline: %v", err)
		}
	}
	if n != 1 {
		s.Errorf("All yielded %d times after the deadline, want the error once", n)
	}
	// The receiver is none the worse for it.
	s.say("a", "test.numbered", 1)
	s.hasNumber(s.next(r), 0)

	blocked := make(chan error)
	go func() {
		_, err := r.Next(s.ctx)
		blocked <- err
	}()
	r.Close()
	r.Close()
	s.isClosed(<-blocked)
	s.say("a", "test.numbered", 1)
	_, err := r.Next(s.ctx)
	s.isClosed(err)
}

func (s *suite) close() {
	r := s.receive(bus.Filter{})
	handled := 0
	s.must(s.b.Subscribe(bus.On("counter", func(context.Context, bus.Message) error { handled++; return nil })))
	s.say("a", "test.numbered", 100)
	blocked := s.receive(bus.Filter{Source: "nobody"})
	end := make(chan error)
	go func() {
		_, err := blocked.Next(s.ctx)
		end <- err
	}()
	s.must(s.b.Close(s.ctx))
	if handled != 100 {
		s.Errorf("Close returned when the subscriber had handled %d of 100", handled)
	}
	s.isClosed(<-end)
	_, keeps := s.b.(bus.Store)
	got := 0
	for m, err := range r.All(s.ctx) {
		if err != nil {
			s.isClosed(err)
			continue
		}
		s.hasNumber(m, got)
		got++
	}
	if !keeps && got != 100 {
		s.Errorf("the receiver got %d of 100", got)
	}
	s.isClosed(s.b.Emit(s.ctx, "a", "test.late", numbered(0)))
	_, err := s.b.Publish(s.ctx, events.Draft{Stream: "a", Kind: "test.late"})
	s.isClosed(err)
	_, err = s.b.Receive(bus.Filter{})
	s.isClosed(err)
	s.isClosed(s.b.Subscribe(bus.On("late", func(context.Context, bus.Message) error { return nil })))
}
