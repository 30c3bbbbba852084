package bare

import (
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Message is what is told and asked.
type Message struct{ N int }

// System is a running actor system, and nothing more. What it is asked to do
// has been dealt with when it returns, not only sent.
type System struct{ system *actor.ActorSystem }

// New starts one.
func New() *System {
	quiet := actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) })
	return &System{actor.NewActorSystem(quiet)}
}

// Close ends it.
func (s *System) Close() { s.system.Shutdown() }

// Tell sends n messages to one actor and returns when the last was received.
func (s *System) Tell(n int) {
	done := make(chan struct{})
	seen := 0
	pid := s.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(Message); ok {
			if seen++; seen == n {
				close(done)
			}
		}
	}))
	var m any = Message{1}
	for range n {
		s.system.Root.Send(pid, m)
	}
	<-done
	s.system.Root.Stop(pid)
}

// Ask sends n requests to one actor, each when the one before was answered.
func (s *System) Ask(n int) error {
	pid := s.echo()
	defer s.system.Root.Stop(pid)
	var m any = Message{1}
	for range n {
		if _, err := s.system.Root.RequestFuture(pid, m, time.Minute).Result(); err != nil {
			return err
		}
	}
	return nil
}

// AskMany has callers ask so many actors, n times in all.
func (s *System) AskMany(n, callers, actors int) error {
	pids := make([]*actor.PID, actors)
	for i := range pids {
		pids[i] = s.echo()
		defer s.system.Root.Stop(pids[i])
	}
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			var m any = Message{1}
			for i := c; i < n; i += callers {
				if _, err := s.system.Root.RequestFuture(pids[i%actors], m, time.Minute).Result(); err != nil {
					errs[c] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Spawn starts n actors.
func (s *System) Spawn(n int) {
	props := actor.PropsFromFunc(func(actor.Context) {})
	for range n {
		s.system.Root.Spawn(props)
	}
}

func (s *System) echo() *actor.PID {
	return s.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(Message); ok {
			c.Respond(true)
		}
	}))
}

// ChannelTell sends n messages over a channel and returns when the last was
// received.
func ChannelTell(n int) {
	c, done := make(chan any, 1024), make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			<-c
		}
	}()
	var m any = Message{1}
	for range n {
		c <- m
	}
	<-done
}

// ChannelAsk sends n requests over a channel, each when the one before was
// answered.
func ChannelAsk(n int) {
	c := make(chan chan any, 1024)
	defer close(c)
	go func() {
		for reply := range c {
			reply <- true
		}
	}()
	reply := make(chan any, 1)
	for range n {
		c <- reply
		<-reply
	}
}

// ChannelSpawn starts n goroutines, each with a channel that it waits on, and
// ends them.
func ChannelSpawn(n int) {
	var wg sync.WaitGroup
	all := make([]chan any, n)
	for i := range all {
		c := make(chan any, 8)
		all[i] = c
		wg.Go(func() { <-c })
	}
	for _, c := range all {
		close(c)
	}
	wg.Wait()
}
