// Command hello is the smallest Toka program: an agent, an event, a reaction.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func main() {
	ctx := context.Background()
	greeter := actors.NewAgent("greeter", 1, "guest.arrived", func(t *actors.Turn, e events.Event) error {
		return t.Emit(events.Draft{Kind: "guest.greeted", Payload: []byte("Hello, " + e.Stream + "!")})
	})
	err := actors.Run(ctx, "", actors.NewRegistry(greeter), func(sys *actors.System) error {
		spawned := greeter.Spawn(sys, "butler")
		_, published := sys.Publish(ctx, "Ada", events.Draft{Kind: "guest.arrived"})
		settled := sys.Settle(ctx)
		for e, err := range sys.Journal().Read(ctx, journal.Query{}) {
			fmt.Println(e.Position, e.Stream, e.Kind, string(e.Payload), len(e.Parents), err)
		}
		return errors.Join(spawned, published, settled)
	})
	fmt.Println("stopped:", err)
}
