package actors

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// address is an actor by name and behaviour, whether it is live or not.
type address struct {
	sys  *System
	b    *behaviour
	name string
	at   atomic.Pointer[cell] // the one that was live last
}

// post puts a message into the actor's mailbox, making the actor live if it
// was stopped.
func (a *address) post(ctx context.Context, s slot, policy WhenFull) error {
	c := a.at.Load()
	for {
		err := c.post(ctx, s, policy)
		if err == nil || !errors.Is(err, ErrStopped) {
			return err
		}
		if c, err = a.sys.activate(ctx, a, c, err); err != nil {
			return err
		}
		a.at.Store(c)
	}
}

// activate returns the actor that is live in place of one that was stopped,
// once that one is gone. refusal is the answer if it was not it that was
// stopped, but the system.
func (s *System) activate(ctx context.Context, a *address, old *cell, refusal error) (*cell, error) {
	for {
		s.mu.Lock()
		gone, leaving := s.ending[a.name]
		if s.stopping || s.refusing || !leaving && !old.gone.Load() {
			s.mu.Unlock()
			return nil, refusal
		}
		if !leaving {
			c, err := s.live(a.b, a.name, true)
			s.mu.Unlock()
			return c, err
		}
		s.mu.Unlock()
		if err := s.await(ctx, gone); err != nil {
			return nil, fmt.Errorf("agent %q: it is being stopped: %w; the message was not taken", a.name, err)
		}
	}
}

func (a *address) query(ctx context.Context) (any, error) {
	type answer struct {
		v   any
		err error
	}
	answers := make(chan answer, 1)
	m := &message{kind: kindQuery, query: func(v any, err error) { answers <- answer{v, err} }}
	if err := a.post(ctx, slot{m: m}, Wait); err != nil {
		return nil, err
	}
	select {
	case got := <-answers:
		return got.v, got.err
	case <-ctx.Done():
		return nil, fmt.Errorf("agent %q: no answer yet: %w", a.name, context.Cause(ctx))
	}
}
