package bustest

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

func (s *suite) subscribers() {
	got := make(chan bus.Message, 100)
	keep := func(_ context.Context, m bus.Message) error { got <- m; return nil }
	s.say("a", "test.early", 1)
	s.must(s.b.Subscribe(bus.On("one", keep, events.MustPattern("test.*"))))
	if err := s.b.Subscribe(bus.On("one", keep)); !errors.Is(err, bus.ErrSubscribed) {
		s.Errorf("a second subscriber of one id: %v", err)
	}
	s.must(s.b.Subscribe(bus.On("another", func(context.Context, bus.Message) error { return nil })))
	if all := s.b.Subscribers(); len(all) != 2 || all[0].ID != "another" || all[1].ID != "one" {
		s.Errorf("subscribers %+v", all)
	}
	s.say("a", "other.kind", 1)
	s.say("a", "test.numbered", 20)
	for i := range 20 {
		select {
		case m := <-got:
			s.hasNumber(m, i)
		case <-s.ctx.Done():
			s.Fatalf("the subscriber did not get message %d", i)
		}
	}
	s.until("20 are counted", func() bool { return s.status("one").Handled == 20 })
	if !s.b.Unsubscribe("one") || s.b.Unsubscribe("one") || s.b.Unsubscribe("nobody") {
		s.Error("Unsubscribe does not tell whether there was one")
	}
	s.say("a", "test.numbered", 1)
	s.until("the other one has all", func() bool { return s.status("another").Handled == 22 })
	if len(got) > 0 {
		s.Error("a subscriber was called after Unsubscribe")
	}
	s.must(s.b.Subscribe(bus.On("one", keep)))
}

// A subscriber may emit, subscribe and unsubscribe, itself too.
func (s *suite) fromWithin() {
	var second atomic.Int32
	done := make(chan error, 1)
	s.must(s.b.Subscribe(bus.On("first", func(ctx context.Context, m bus.Message) error {
		err := s.b.Subscribe(bus.On("second", func(context.Context, bus.Message) error { second.Add(1); return nil }, events.MustPattern("test.answer")))
		if err == nil {
			err = s.b.Emit(s.ctx, "first", "test.answer", numbered(1))
		}
		if !s.b.Unsubscribe("first") {
			err = errors.Join(err, errors.New("was not subscribed"))
		}
		if ctx.Err() == nil {
			err = errors.Join(err, errors.New("the call's context outlived the subscription"))
		}
		done <- err
		return nil
	}, events.MustPattern("test.question"))))
	s.say("a", "test.question", 2)
	select {
	case err := <-done:
		s.must(err)
	case <-s.ctx.Done():
		s.Fatal("the subscriber did not return")
	}
	s.until("the second was called", func() bool { return second.Load() == 1 })
	if s.status("first").ID != "" || s.status("second").ID == "" {
		s.Errorf("subscribers %+v", s.b.Subscribers())
	}
}

func (s *suite) isolated() {
	const n = 50
	stuck := make(chan struct{})
	failure := errors.New("as planned")
	handle := func(f func() error) func(context.Context, bus.Message) error {
		return func(context.Context, bus.Message) error { return f() }
	}
	for id, f := range map[string]func() error{
		"well":   func() error { return nil },
		"fails":  func() error { return failure },
		"panics": func() error { panic(failure) },
		"exits":  func() error { runtime.Goexit(); return nil },
		"stuck":  func() error { <-stuck; return nil },
	} {
		s.must(s.b.Subscribe(bus.On(id, handle(f))))
	}
	s.say("a", "test.numbered", n)
	for _, id := range []string{"well", "fails", "panics", "exits"} {
		s.until(id+" was called for all", func() bool { return s.status(id).Handled == n })
	}
	for id, want := range map[string]uint64{"well": 0, "fails": n, "panics": n, "exits": n} {
		if st := s.status(id); st.Failed != want || (st.Err != nil) != (want > 0) || st.Missed > 0 {
			s.Errorf("%s: %+v, want %d failures", id, st, want)
		}
	}
	if err := s.status("fails").Err; !errors.Is(err, failure) {
		s.Errorf("fails: %v", err)
	}
	for _, id := range []string{"panics", "exits"} {
		var p *bus.PanicError
		if err := s.status(id).Err; !errors.As(err, &p) || (id == "panics") != (p.Value == any(failure)) {
			s.Errorf("%s: %v", id, err)
		}
	}
	if st := s.status("stuck"); st.Handled > 0 {
		s.Errorf("stuck: %+v", st)
	}
	close(stuck)
	s.until("stuck goes on", func() bool { return s.status("stuck").Handled == n })
}
