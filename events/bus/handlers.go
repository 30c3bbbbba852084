package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"sync"
)

// Pull makes Receiver.All of Receiver.Next, for backends.
func Pull(ctx context.Context, next func(context.Context) (Message, error)) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := next(ctx)
			if !yield(m, err) {
				return
			}
			if _, lag := errors.AsType[*LagError](err); err != nil && !lag {
				return
			}
		}
	}
}

// Handlers runs the subscribers of a bus, each on a goroutine of its own over
// a receiver of its own. Backends embed it: it is the whole of Subscribe,
// Unsubscribe and Subscribers.
type Handlers struct {
	receive func(Filter) (Receiver, error)
	report  func(id string, m Message, err error)

	mu     sync.Mutex
	closed bool
	byID   map[string]*handler
	wg     sync.WaitGroup
}

// NewHandlers returns the handlers of a bus whose receivers receive returns.
// report, if it is not nil, is called with whatever goes wrong in a subscriber,
// on the subscriber's goroutine.
func NewHandlers(receive func(Filter) (Receiver, error), report func(id string, m Message, err error)) *Handlers {
	if report == nil {
		report = func(string, Message, error) {}
	}
	return &Handlers{receive: receive, report: report, byID: make(map[string]*handler)}
}

type handler struct {
	all    *Handlers
	s      Subscriber
	r      Receiver
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	status Status
}

// Subscribe implements Bus.
func (h *Handlers) Subscribe(s Subscriber) error {
	f := s.Filter()
	f.NoWait = true
	id := s.ID()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if h.byID[id] != nil {
		return fmt.Errorf("subscriber %q: %w", id, ErrSubscribed)
	}
	r, err := h.receive(f)
	if err != nil {
		return err
	}
	x := &handler{all: h, s: s, r: r, status: Status{ID: id}}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	h.byID[id] = x
	h.wg.Add(1)
	go x.run()
	return nil
}

// Unsubscribe implements Bus.
func (h *Handlers) Unsubscribe(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.byID[id]
	if x == nil {
		return false
	}
	delete(h.byID, id)
	x.cancel()
	return true
}

// Subscribers implements Bus.
func (h *Handlers) Subscribers() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Status, 0, len(h.byID))
	for _, x := range h.byID {
		x.mu.Lock()
		out = append(out, x.status)
		x.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Drain takes no more subscribers and waits until those that are there have
// come to the end of their receivers. When ctx ends first, they are cancelled.
func (h *Handlers) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.byID {
		x.cancel()
	}
	return fmt.Errorf("subscribers had not come to the end: %w", context.Cause(ctx))
}

// run ends when the receiver does, or with the subscription. A subscriber that
// ends the goroutine gets a new one.
func (x *handler) run() {
	returned := false
	defer func() {
		if !returned {
			go x.run()
			return
		}
		x.r.Close()
		x.cancel()
		x.all.wg.Done()
	}()
	for m, err := range x.r.All(x.ctx) {
		if x.ctx.Err() != nil {
			break
		}
		var lag *LagError
		switch {
		case err == nil:
			x.handle(m)
		case errors.As(err, &lag):
			x.note(m, err, func(s *Status) { s.Missed += lag.Missed })
		case !errors.Is(err, ErrClosed):
			x.note(m, err, func(s *Status) { s.Failed++ })
		}
	}
	returned = true
}

func (x *handler) handle(m Message) {
	err := error(&PanicError{})
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		x.note(m, err, func(s *Status) {
			s.Handled++
			if err != nil {
				s.Failed++
			}
		})
	}()
	err = x.s.Handle(x.ctx, m)
}

func (x *handler) note(m Message, err error, change func(*Status)) {
	x.mu.Lock()
	change(&x.status)
	if err != nil {
		x.status.Err = err
	}
	x.mu.Unlock()
	if err != nil {
		x.all.report(x.status.ID, m, err)
	}
}
