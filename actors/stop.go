package actors

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tokaworks/toka/journal"
)

// Stop ends the system: no new messages are taken, what was taken is handled
// and made durable with all that it leads to, and each actor stores the digest
// of its state. When ctx ends first, what is left is answered with ErrStopped
// and the error says how much that was. The journal stays open. Stopping again
// waits for the first Stop.
func (s *System) Stop(ctx context.Context) error {
	s.mu.Lock()
	again := s.stopping
	s.stopping = true
	s.mu.Unlock()
	if again {
		select {
		case <-s.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop: %w", context.Cause(ctx))
		}
	}
	defer close(s.ended)

	s.mu.Lock()
	roots := s.roots
	s.mu.Unlock()
	for _, sup := range slices.Backward(roots) {
		if err := sup.Stop(ctx); err != nil {
			s.log.Error("a supervisor did not stop", "supervisor", sup.tree.Name, "err", err)
		}
	}
	err := s.windUp(ctx)
	left := s.left()
	s.mu.Lock()
	s.over = true
	cells := s.list()
	s.mu.Unlock()
	var ended sync.WaitGroup
	for _, c := range cells {
		for _, m := range c.box.drain() {
			s.dead(c, &m, "the system was stopped")
			m.answer(Outcome{}, c.stopped())
		}
		ended.Add(1)
		c.control(func() { c.end(); ended.Done() })
	}
	s.spinMu.Lock()
	s.cancel()
	s.spinMu.Unlock()
	s.wg.Wait()
	s.registered.remove("$bus")
	if err == nil {
		ended.Wait() // otherwise a handler may be hanging, and ends when it returns
	}
	s.timers.stop()
	s.workers.stop()
	s.registered.shutdown()
	for _, c := range cells {
		if !c.failed.Load() {
			s.terminated(Termination{Agent: c.name, Normal: true, Reason: "the system was stopped"})
		}
	}
	if err != nil {
		return fmt.Errorf("stop: %d messages were not handled: %w", left, err)
	}
	return nil
}

// windUp waits until everything that was taken has come to an end and has each
// actor, and the bus, store where it is.
func (s *System) windUp(ctx context.Context) error {
	// What the bus would hand to a closed mailbox must not be passed by its
	// checkpoint, so from here on it stays where it is.
	if err := s.onBus(ctx, func() { s.bus.frozen = true }); err != nil {
		return err
	}
	s.mu.Lock()
	for _, c := range s.cells {
		c.box.close()
	}
	s.mu.Unlock()
	if err := s.until(ctx, func() bool { return s.unfinished.Load() == 0 }); err != nil {
		return err
	}
	s.mu.Lock()
	cells := s.list()
	s.mu.Unlock()
	for _, c := range cells {
		c.control(c.rest)
	}
	s.timers.save()
	if err := s.until(ctx, func() bool { return s.unfinished.Load() == 0 }); err != nil {
		return err
	}
	saved := make(chan struct{})
	if err := s.onBus(ctx, func() { s.bus.save(func() { close(saved) }) }); err != nil {
		return err
	}
	return s.await(ctx, saved)
}

// onBus runs f on the bus's turn and waits for it.
func (s *System) onBus(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if err := s.bus.do(ctx, func() { f(); close(done) }); err != nil {
		return err
	}
	return s.await(ctx, done)
}

// await waits for done, unless the storage fails or ctx ends first.
func (s *System) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-s.j.Failed():
		return s.j.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// until waits for something that stir tells of.
func (s *System) until(ctx context.Context, reached func() bool) error {
	for {
		s.stirMu.Lock()
		stirred := s.stirred
		s.stirMu.Unlock()
		if err := s.j.Err(); err != nil {
			return err
		}
		if reached() {
			return nil
		}
		select {
		case <-stirred:
		case <-s.j.Failed():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// rest stores the digest of the actor's state for replays to compare.
func (c *cell) rest() {
	c.spill("the system was stopped", c.stopped())
	if !c.recovered || c.version == 0 || c.b.name == RecorderName {
		return
	}
	c.sys.busy(1) // Stop waits for it
	c.sys.keepSnapshot(c.restSnapshot(), func() { c.sys.busy(-1) })
	d, err := c.stateDigest(c.runner.encoded, c.version)
	if err != nil {
		return
	}
	c.sys.busy(1)
	if c.sys.j.Submit(c.sys.ctx, journal.Write{StateDigests: []journal.StateDigest{d}}, func(journal.Receipt, error) { c.sys.busy(-1) }) != nil {
		c.sys.busy(-1)
	}
}
