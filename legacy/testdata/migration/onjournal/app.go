// Package app is a small program of the old kind.
package app

import (
	"context"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal/eventbus"
)

// Audit follows a bus.
type Audit struct{ bus bus.Store }

// Story does what the program does, and tells what was seen.
func Story(ctx context.Context, dir string) (seen []string, err error) {
	// One bus for everything, and what goes over it is on disk.
	b, err := eventbus.Open(dir, eventbus.Options{})
	if err != nil {
		return nil, err
	}
	defer b.Close(ctx)
	a := Audit{b}
	r, err := a.bus.Receive(bus.Filter{})
	if err != nil {
		return nil, err
	}
	started := events.System{Component: "app", Payload: []byte(`{"message":"started"}`)}
	if err := a.bus.Emit(ctx, "app", "app.log", started); err != nil {
		return nil, err
	}
	m, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	if v, err := m.Domain(); err != nil {
		return nil, err
	} else if s, ok := v.(events.System); ok {
		seen = append(seen, "log "+string(s.Payload))
	}

	login := events.System{Component: "auth", Payload: []byte(`{"user_id":"ada"}`)}
	if err := a.bus.Emit(ctx, "auth-service", "user.login", login); err != nil {
		return nil, err
	}
	if m, err = r.Next(ctx); err != nil {
		return nil, err
	}
	seen = append(seen, m.Kind+" of "+m.Source)

	created, err := bus.Commit(ctx, a.bus, "files", "resource.created", events.Resource{Action: "created", Payload: []byte(`{}`)}, nil, nil)
	if err != nil {
		return nil, err
	}
	updated, err := bus.Commit(ctx, a.bus, "files", "resource.updated", events.Resource{Action: "updated", Payload: []byte(`{}`)}, []events.Event{created}, nil)
	if err != nil {
		return nil, err
	}
	return append(seen, fmt.Sprintf("%s has %d parent", updated.Kind, len(updated.Parents))), nil
}
