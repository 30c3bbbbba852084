package journal_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A journal in memory is the same engine without a disk. Anything that is to
// last is opened with a directory instead.
func Example() {
	ctx := context.Background()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = j.Close() }()

	placed, err := j.Append(ctx, journal.Write{
		Events: []events.Draft{{Stream: "order/7", Kind: "order.placed", Payload: []byte("2 books")}},
		Expect: map[string]journal.Expected{"order/7": journal.NoStream()},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := j.Append(ctx, journal.Write{Events: []events.Draft{{
		Stream: "order/7", Kind: "order.paid", Parents: []events.Ref{placed.Events[0].Ref()},
	}}}); err != nil {
		log.Fatal(err)
	}

	for e, err := range j.Read(ctx, journal.Query{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Position, e.Stream, e.Kind, len(e.Parents))
	}
	// Output:
	// 1 order/7 order.placed 0
	// 2 order/7 order.paid 1
}

// The same event again is the same event: a retry is safe for ever.
func ExampleJournal_Append() {
	ctx := context.Background()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = j.Close() }()

	w := journal.Write{Events: []events.Draft{{ID: journal.NewID(), Stream: "order/7", Kind: "order.placed"}}}
	for range 2 {
		receipt, err := j.Append(ctx, w)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("position", receipt.Events[0].Position, "duplicate", receipt.Duplicate)
	}

	w.Events[0].Kind = "order.cancelled"
	_, err = j.Append(ctx, w)
	fmt.Println("conflict", errors.Is(err, journal.ErrIDConflict))

	stale := journal.Write{
		Events: []events.Draft{{Stream: "order/7", Kind: "order.paid"}},
		Expect: map[string]journal.Expected{"order/7": journal.NoStream()},
	}
	_, err = j.Append(ctx, stale)
	var wrong *journal.WrongVersionError
	fmt.Println("wrong version", errors.As(err, &wrong), wrong.Actual)
	// Output:
	// position 1 duplicate false
	// position 1 duplicate true
	// conflict true
	// wrong version true 1
}

// A subscription reads what is there and then waits for what comes.
func ExampleJournal_Subscribe() {
	ctx := context.Background()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = j.Close() }()

	say := func(kind string) {
		if _, err := j.Append(ctx, journal.Write{Events: []events.Draft{{Stream: "tea", Kind: kind}}}); err != nil {
			log.Fatal(err)
		}
	}
	say("kettle.filled")
	say("door.opened")
	for e, err := range j.Subscribe(ctx, journal.Query{Kinds: []events.Pattern{events.MustPattern("kettle.*")}, Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Position, e.Kind)
		if e.Kind == "kettle.filled" {
			say("kettle.boiled")
		}
	}
	// Output:
	// 1 kettle.filled
	// 3 kettle.boiled
}
