package causal_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
)

// What led to an order being shipped, the newest first.
func ExampleAncestors() {
	ctx := context.Background()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	happened := func(stream, kind string, causes ...events.Event) events.Event {
		d := events.Draft{Stream: stream, Kind: kind}
		for _, c := range causes {
			d.Parents = append(d.Parents, c.Ref())
		}
		r, err := j.Append(ctx, journal.Write{Events: []events.Draft{d}})
		if err != nil {
			log.Fatal(err)
		}
		return r.Events[0]
	}
	placed := happened("order/7", "order.placed")
	paid := happened("bank", "order.paid", placed)
	happened("stock", "stock.counted")
	packed := happened("stock", "order.packed", placed)
	shipped := happened("order/7", "order.shipped", paid, packed)

	for e, err := range j.Each(ctx, causal.Ancestors(ctx, j, 0, shipped.Position)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Position, e.Kind)
	}
	nearest, err := causal.Common(ctx, j, paid.Position, packed.Position)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("paid and packed go back to", nearest)
	// Output:
	// 4 order.packed
	// 2 order.paid
	// 1 order.placed
	// paid and packed go back to [1]
}
