package bundle_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/bundle"
	"github.com/tokaworks/toka/journal/causal"
)

// An event and what led to it, carried to another journal.
func Example() {
	ctx := context.Background()
	open := func() *journal.Journal {
		j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
		if err != nil {
			log.Fatal(err)
		}
		return j
	}
	here, there := open(), open()
	defer func() { _, _ = here.Close(), there.Close() }()
	placed, err := here.Append(ctx, journal.Write{Events: []events.Draft{{Stream: "order/7", Kind: "order.placed"}}})
	if err != nil {
		log.Fatal(err)
	}
	paid, err := here.Append(ctx, journal.Write{Events: []events.Draft{{
		Stream: "bank", Kind: "order.paid", Parents: []events.Ref{placed.Events[0].Ref()},
	}}})
	if err != nil {
		log.Fatal(err)
	}

	var file bytes.Buffer
	cone := causal.Cone(ctx, here, 0, paid.Events[0].Position)
	if _, err := bundle.Export(ctx, &file, here, cone, bundle.ExportOptions{Proofs: true}); err != nil {
		log.Fatal(err)
	}
	n, err := bundle.Import(ctx, bytes.NewReader(file.Bytes()), there, bundle.VerifyOptions{})
	if err != nil {
		log.Fatal(err)
	}
	e, err := there.ByID(ctx, paid.Events[0].ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n.Imported, e.Kind, e.Digest == paid.Events[0].Digest)
	// Output: 2 order.paid true
}
