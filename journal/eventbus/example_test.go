package eventbus_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/eventbus"
)

// An event and one that it caused, on disk when Commit returns.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "events")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := eventbus.Open(dir, eventbus.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()

	document := events.IngestedID("example", "document.pdf")
	created := events.Resource{ResourceID: document, Action: "created", Payload: []byte(`{"name":"document.pdf"}`)}
	parent, err := bus.Commit(ctx, b, "documents", "resource.created", created, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	updated := events.Resource{ResourceID: document, Action: "updated", Payload: []byte(`{"size":1024}`)}
	child, err := bus.Commit(ctx, b, "documents", "resource.updated", updated, []events.Event{parent}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("child has parent:", child.Parents[0].ID == parent.ID, child.Parents[0].Digest == parent.Digest)

	header, err := b.Event(ctx, child.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(header.Position, header.Kind, string(header.Payload))
	fmt.Printf("%+v\n", b.Counts())
	// Output:
	// child has parent: true true
	// 2 resource.updated {"type":"resource","event":{"resource_id":"f7b77c1e-72c8-86b0-8d46-f46d5113251e","action":"updated","payload":{"size":1024}}}
	// {Events:2 Payloads:2 Intents:0}
}

// An agent's life, one event at a time.
func ExampleOpen() {
	ctx := context.Background()
	b, err := eventbus.Open("", eventbus.Options{}) // in memory
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	started := events.Agent{AgentID: events.IngestedID("example", "agent"), Payload: []byte(`{"action":"started"}`)}
	header, err := bus.Commit(ctx, b, "agent", "agent.lifecycle", started, nil, nil)
	fmt.Println(header.Position, header.Kind, len(header.Parents), err)
	// Output:
	// 1 agent.lifecycle 0 <nil>
}

// Events whose embeddings point the same way share an intent.
func ExampleOptions_intents() {
	ctx := context.Background()
	b, err := eventbus.Open("", eventbus.Options{Journal: journal.Options{
		Intents: cluster.NewLeader(cluster.Options{Dimension: 3}),
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	var first events.Event
	for i, embedding := range [][]float32{{1, 0.1, 0}, {0.9, 0.2, 0}, {0, 0, 1}} {
		message := events.Custom{EventType: "message", Payload: fmt.Appendf(nil, `"message %d"`, i)}
		header, err := bus.Commit(ctx, b, "chat", "user.message", message, nil, embedding)
		if err != nil {
			log.Fatal(err)
		}
		if i == 0 {
			first = header
		}
		fmt.Println("with the first:", header.Intent.ID == first.Intent.ID)
	}
	fmt.Println("clusters discovered:", b.Counts().Intents)
	// Output:
	// with the first: true
	// with the first: true
	// with the first: false
	// clusters discovered: 2
}
