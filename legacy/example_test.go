package legacy_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal/eventbus"
	"github.com/tokaworks/toka/legacy"
)

// Before: the dispatcher of loosely typed events.
func Example_before() {
	ctx := context.Background()
	dispatcher := legacy.NewInMemoryDispatcher()
	subscription, err := dispatcher.Subscribe()
	if err != nil {
		log.Fatal(err)
	}
	event, err := legacy.NewEvent(legacy.Log, map[string]string{"message": "Started"})
	if err != nil {
		log.Fatal(err)
	}
	if err := dispatcher.Publish(ctx, event); err != nil {
		log.Fatal(err)
	}
	got, err := subscription.Recv(ctx)
	fmt.Println(got.Kind, string(got.Payload), err)
	// Output:
	// Log {"message":"Started"} <nil>
}

// After: a bus of typed domain events.
func Example_after() {
	ctx := context.Background()
	b := bus.NewMemory(bus.Options{})
	receiver, err := b.Receive(bus.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	event := events.System{Component: "app", Payload: []byte(`{"message":"Started"}`)}
	if err := b.Emit(ctx, "my-service", "app.started", event); err != nil {
		log.Fatal(err)
	}
	m, err := receiver.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	v, err := m.Domain()
	fmt.Println(m.Source, m.Kind, string(v.(events.System).Payload), err)
	// Output:
	// my-service app.started {"message":"Started"} <nil>
}

// In between: an old publisher and an old subscriber over a journal that new
// code uses too.
func ExampleNewDispatcher() {
	ctx := context.Background()
	b, err := eventbus.Open("", eventbus.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	old := legacy.NewDispatcher(b, "old-service")
	subscription, err := old.Subscribe()
	if err != nil {
		log.Fatal(err)
	}
	event, err := legacy.NewEvent(legacy.Custom("order.placed"), map[string]int{"total": 42})
	if err != nil {
		log.Fatal(err)
	}
	if err := old.Publish(ctx, event); err != nil {
		log.Fatal(err)
	}
	if err := b.Emit(ctx, "new-service", "order.paid", events.Custom{EventType: "order.paid", Payload: []byte(`{"total":42}`)}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		got, err := subscription.Recv(ctx)
		if err != nil {
			log.Fatal(err)
		}
		name, _ := got.Kind.Name()
		fmt.Println(name)
	}
	fmt.Println(b.Counts().Events, "events are journaled")
	// Output:
	// order.placed
	// order.paid
	// 2 events are journaled
}
