package actors

import (
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
)

// This file and proto_mailbox.go are the only ones that know the actor
// runtime. Of it Toka uses what is sound: processes, their registry, and
// turns on a goroutine that exists only while there is something to do.
// Mailboxes, supervision, stopping and timeouts are Toka's own: a handler's
// panic never reaches the runtime.

type runtime struct {
	system *actor.ActorSystem
	props  func(c receiver, b *mailbox) *actor.Props
}

// receiver is one actor as the runtime sees it.
type receiver interface{ turn(m *message) }

func newRuntime(log *slog.Logger) *runtime {
	return &runtime{
		system: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log })),
		props: func(c receiver, b *mailbox) *actor.Props {
			receive := func(ctx actor.Context) {
				if m, ok := ctx.Message().(*message); ok {
					c.turn(m)
				}
			}
			return actor.PropsFromFunc(receive, actor.WithMailbox(func() actor.Mailbox { return b }))
		},
	}
}

// spawn starts an actor and returns what stops it.
func (r *runtime) spawn(c receiver, b *mailbox) (stop func()) {
	pid := r.system.Root.Spawn(r.props(c, b))
	return func() { r.system.Root.Stop(pid) }
}

func (r *runtime) shutdown() { r.system.Shutdown() }
