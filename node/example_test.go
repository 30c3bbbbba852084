package node_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/node"
)

// A node with an agent of its own: all the commands of toka-node, over a
// registry that knows the agent.
func ExampleRun() {
	greeter := actors.NewAgent("greeter", 1, "guest.arrived", func(t *actors.Turn, e events.Event) error {
		return t.Emit(events.Draft{Kind: "guest.greeted"})
	})
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	arrival := `{"specversion":"1.0","id":"1","source":"front-door","type":"guest.arrived","data":{"name":"Ada"}}`

	streams := node.Streams{In: strings.NewReader(arrival), Out: os.Stdout, Err: os.Stderr}
	code := node.Run(context.Background(), actors.NewRegistry(greeter), []string{"ingest", "--data", dir + "/data", "-"}, streams)
	fmt.Println("exit code", code)
	// Output:
	// ingested 1, duplicates 0, rejected 0
	// exit code 0
}
