// Package app is a small program of the old kind.
package app

import (
	"context"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal/eventbus"
	"github.com/tokaworks/toka/legacy"
)

// Audit follows a bus.
type Audit struct{ bus *bus.Memory }

// Story does what the program does, and tells what was seen.
func Story(ctx context.Context, dir string) (seen []string, err error) {
	// The dispatcher of loosely typed events.
	d := legacy.NewInMemoryDispatcher()
	sub, err := d.Subscribe()
	if err != nil {
		return nil, err
	}
	started, err := legacy.NewEvent(legacy.Log, map[string]string{"message": "started"})
	if err != nil {
		return nil, err
	}
	if err := d.Publish(ctx, started); err != nil {
		return nil, err
	}
	got, err := sub.Recv(ctx)
	if err != nil {
		return nil, err
	}
	seen = append(seen, "log "+string(got.Payload))

	// The bus of domain events.
	a := Audit{bus.NewMemory(bus.Options{})}
	r, err := a.bus.Receive(bus.Filter{})
	if err != nil {
		return nil, err
	}
	login := events.System{Component: "auth", Payload: []byte(`{"user_id":"ada"}`)}
	if err := a.bus.Emit(ctx, "auth-service", "user.login", login); err != nil {
		return nil, err
	}
	m, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	seen = append(seen, m.Kind+" of "+m.Source)

	// The bus that keeps its events.
	v, err := eventbus.Open(dir, eventbus.Options{})
	if err != nil {
		return nil, err
	}
	defer v.Close(ctx)
	created, err := bus.Commit(ctx, v, "files", "resource.created", events.Resource{Action: "created", Payload: []byte(`{}`)}, nil, nil)
	if err != nil {
		return nil, err
	}
	updated, err := bus.Commit(ctx, v, "files", "resource.updated", events.Resource{Action: "updated", Payload: []byte(`{}`)}, []events.Event{created}, nil)
	if err != nil {
		return nil, err
	}
	return append(seen, fmt.Sprintf("%s has %d parent", updated.Kind, len(updated.Parents))), nil
}
