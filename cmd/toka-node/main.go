// Command toka-node works on journals of events: it shows, verifies, replays,
// ingests and measures them. Its own agents are those of the demonstration; a
// node with other agents is a program as short as this one.
package main

import (
	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

func main() { node.Main(actors.NewRegistry()) }
