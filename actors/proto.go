package actors

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
)

// This file is the only one that knows the actor library. Of it Toka uses what
// is sound: the registry of processes, in which each actor stands under its
// name. Mailboxes, goroutines, supervision, stopping and timeouts are Toka's
// own: a handler's panic never reaches the library.

type registered struct{ system *actor.ActorSystem }

func newRegistered(log *slog.Logger) *registered {
	return &registered{actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))}
}

// add enters an actor under its name.
func (r *registered) add(name string, b *mailbox) { r.system.ProcessRegistry.Add(b, name) }

func (r *registered) remove(name string) {
	r.system.ProcessRegistry.Remove(&actor.PID{Address: r.system.ProcessRegistry.Address, Id: name})
}

func (r *registered) shutdown() { r.system.Shutdown() }

// SendUserMessage implements actor.Process. Messages of others than Toka are
// not understood.
func (b *mailbox) SendUserMessage(_ *actor.PID, m any) {
	if m, ok := m.(*message); ok {
		b.force(m)
	}
}

// SendSystemMessage implements actor.Process. The library has nothing to say
// to an actor that it does not run.
func (b *mailbox) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process; it is System.StopActor that stops.
func (b *mailbox) Stop(*actor.PID) {}
