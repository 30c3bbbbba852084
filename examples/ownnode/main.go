// Command ownnode is a node with an agent of its own: all of toka-node's
// commands, over a registry that knows the agent.
package main

import (
	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/node"
)

func main() { node.Main(actors.NewRegistry(greeter)) }

var greeter = actors.NewAgent("greeter", 1, "guest.arrived", func(t *actors.Turn, e events.Event) error {
	return t.Emit(events.Draft{Kind: "guest.greeted", Payload: []byte("Hello, " + e.Stream + "!")})
})
