package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
)

// Emit a domain event and receive it.
func Example() {
	ctx := context.Background()
	b := bus.NewMemory(bus.Options{})
	receiver, err := b.Receive(bus.Filter{})
	if err != nil {
		log.Fatal(err)
	}
	event := events.System{Component: "auth", Payload: []byte(`{"user_id":"alice","action":"login"}`)}
	if err := b.Emit(ctx, "auth-service", "user.login", event); err != nil {
		log.Fatal(err)
	}
	received, err := receiver.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	v, err := received.Domain()
	if err != nil {
		log.Fatal(err)
	}
	system := v.(events.System)
	fmt.Println(received.Sequence, received.Source, received.Kind, system.Component, string(system.Payload))
	// Output:
	// 1 auth-service user.login auth {"user_id":"alice","action":"login"}
}

// A subscriber that panics harms nobody, and is seen.
func ExampleMemory_Subscribe() {
	ctx := context.Background()
	b := bus.NewMemory(bus.Options{})
	total := 0
	count := bus.On("counter", func(context.Context, bus.Message) error { total++; return nil }, events.MustPattern("user.*"))
	panics := bus.On("fragile", func(context.Context, bus.Message) error { panic("no users, please") }, events.MustPattern("user.*"))
	if err := errors.Join(b.Subscribe(count), b.Subscribe(panics)); err != nil {
		log.Fatal(err)
	}
	for _, kind := range []string{"user.login", "door.opened", "user.logout"} {
		if err := b.Emit(ctx, "house", kind, events.System{Component: "door"}); err != nil {
			log.Fatal(err)
		}
	}
	if err := b.Close(ctx); err != nil { // waits for the subscribers
		log.Fatal(err)
	}
	fmt.Println("counted", total)
	for _, s := range b.Subscribers() {
		fmt.Println(s.ID, s.Handled, s.Failed, s.Err)
	}
	// Output:
	// counted 2
	// counter 2 0 <nil>
	// fragile 2 2 subscriber panicked: no users, please
}
