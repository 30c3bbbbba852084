package simulations

import (
	"context"
	"encoding/json"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

// Role is a behaviour as a World uses it: under its own name, with commands
// and state as JSON. AgentRole and ResourceRole make it.
type Role struct {
	name      string
	behaviour actors.Behaviour
	spawn     func(sys *actors.System, name string) (*actor, error)
}

// actor is one that is live in a World. An agent has neither of the two.
type actor struct {
	ask   func(ctx context.Context, command events.Event) (actors.Outcome, error)
	state func(ctx context.Context) ([]byte, error)
}

// AgentRole makes a role of an agent's behaviour.
func AgentRole[S any](a *actors.Agent[S]) Role {
	return Role{
		name: a.Name, behaviour: a,
		spawn: func(sys *actors.System, name string) (*actor, error) {
			return &actor{}, a.Spawn(sys, name)
		},
	}
}

// ResourceRole makes a role of a resource's behaviour.
func ResourceRole[S, C, E any](r *actors.Resource[S, C, E]) Role {
	return Role{
		name: r.Name, behaviour: r,
		spawn: func(sys *actors.System, name string) (*actor, error) {
			ref, err := r.Spawn(sys, name)
			if err != nil {
				return nil, err
			}
			return &actor{
				ask: func(ctx context.Context, command events.Event) (actors.Outcome, error) {
					c, err := r.Commands.Decode(command)
					if err != nil {
						return actors.Outcome{}, err
					}
					return ref.Ask(ctx, c, actors.WithCommandID(command.ID))
				},
				state: func(ctx context.Context) ([]byte, error) {
					s, err := ref.State(ctx)
					if err != nil {
						return nil, err
					}
					return json.Marshal(s)
				},
			}, nil
		},
	}
}
