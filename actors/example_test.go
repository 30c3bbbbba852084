package actors_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

type (
	Arrived struct{ Name string }
	Greeted struct{ Text string }
)

var (
	arrived = events.NewType[Arrived]("guest.arrived", 1)
	greeted = events.NewType[Greeted]("guest.greeted", 1)
)

func Example() {
	ctx := context.Background()
	greeter := actors.NewAgent("greeter", 1, "guest.*", func(t *actors.Turn, e events.Event) error {
		guest, err := arrived.Decode(e)
		if err != nil {
			return err
		}
		return actors.Emit(t, greeted, Greeted{"Hello, " + guest.Name + "!"})
	})
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()
	sys, err := actors.Start(j, actors.NewRegistry(greeter), actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := greeter.Spawn(sys, "butler"); err != nil {
		log.Fatal(err)
	}
	if _, err := actors.Publish(ctx, sys, "front-door", arrived, Arrived{"Ada"}); err != nil {
		log.Fatal(err)
	}
	if err := sys.Settle(ctx); err != nil {
		log.Fatal(err)
	}
	for e, err := range j.Read(ctx, journal.Query{}) {
		fmt.Println(e.Position, e.Stream, e.Kind, string(e.Payload), len(e.Parents), err)
	}
	fmt.Println(sys.Stop(ctx))
	// Output:
	// 1 front-door guest.arrived {"Name":"Ada"} 0 <nil>
	// 2 butler guest.greeted {"Text":"Hello, Ada!"} 1 <nil>
	// <nil>
}
