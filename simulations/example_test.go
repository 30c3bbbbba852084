package simulations_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

type (
	add   struct{ N int }
	added struct{ N int }
)

// counter returns the behaviour of a counter that adds each number so many
// times.
func counter(times int) *actors.Resource[int, add, added] {
	return &actors.Resource[int, add, added]{
		Name: "counter", Version: 1,
		Commands: events.NewType[add]("counter.add", 1),
		Events:   events.NewType[added]("counter.added", 1),
		Decide:   func(_ *actors.Turn, _ int, c add) ([]added, error) { return []added{{c.N * times}}, nil },
		Evolve:   func(s int, e added) int { return s + e.N },
	}
}

// recorded returns a journal of what a counter did.
func recorded(ctx context.Context) *journal.Journal {
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		log.Fatal(err)
	}
	c := counter(1)
	sys, err := actors.Start(j, actors.NewRegistry(c), actors.Options{DigestEvery: 1})
	if err != nil {
		log.Fatal(err)
	}
	ref, err := c.Spawn(sys, "visitors")
	if err != nil {
		log.Fatal(err)
	}
	for n := range 3 {
		if _, err := ref.Ask(ctx, add{n}); err != nil {
			log.Fatal(err)
		}
	}
	if err := sys.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	return j
}

func ExampleReplay() {
	ctx := context.Background()
	j := recorded(ctx)
	defer func() { _ = j.Close() }()

	r, err := simulations.Replay(ctx, j, actors.NewRegistry(counter(1)), simulations.ReplayOptions{})
	fmt.Println(r.OK, r.Events, r.Commands, err)

	// The same journal, and a counter that counts double by now.
	r, err = simulations.Replay(ctx, j, actors.NewRegistry(counter(2)), simulations.ReplayOptions{})
	fmt.Println(r.OK, r.Divergences[0], err)
	// Output:
	// true 6 3 <nil>
	// false position 4, agent "visitors": payload: recorded {"N":1}, produced {"N":2} <nil>
}

func ExampleFork() {
	ctx := context.Background()
	src := recorded(ctx)
	defer func() { _ = src.Close() }()

	var clock simulations.Clock
	dst, err := journal.Open("", journal.Options{Level: journal.LevelMemory, Now: clock.Now})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = dst.Close() }()
	if err := simulations.Fork(ctx, src, 4, dst, &clock); err != nil {
		log.Fatal(err)
	}
	c := counter(10)
	sys, err := actors.Start(dst, actors.NewRegistry(c), actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ref, err := c.Spawn(sys, "visitors")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ref.Ask(ctx, add{5}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ref.State(ctx)) // 0 and 1 from before the fork, and 5 tenfold
	fmt.Println(sys.Stop(ctx))
	// Output:
	// 51 <nil>
	// <nil>
}

func ExampleWorld_Run() {
	ctx := context.Background()
	w, err := simulations.NewWorld(simulations.WorldOptions{Roles: []simulations.Role{simulations.ResourceRole(counter(1))}})
	if err != nil {
		log.Fatal(err)
	}
	out, err := w.Run(ctx, `
# Power fails between two visitors.
spawn counter visitors
ask visitors counter.add {"N":1} id=first
crash
----

spawn counter visitors
ask visitors counter.add {"N":2}
state visitors
----
`)
	fmt.Println(out, err, w.Close(ctx))
	// Output:
	// # Power fails between two visitors.
	// spawn counter visitors
	// ask visitors counter.add {"N":1} id=first
	// crash
	// ----
	// visitors is live
	// 2 counter.added {"N":1}
	// restarted at 2
	//
	// spawn counter visitors
	// ask visitors counter.add {"N":2}
	// state visitors
	// ----
	// visitors is live
	// 4 counter.added {"N":2}
	// 3
	//  <nil> <nil>
}
