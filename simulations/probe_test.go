package simulations_test

import (
	"testing"
	"testing/synctest"
	"fmt"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

type Add struct{ N int }
type Added struct{ N int; ID events.ID; R int }

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := &actors.Resource[int, Add, Added]{Name: "counter", Version: 1,
			Commands: events.NewType[Add]("counter.add", 1), Events: events.NewType[Added]("counter.added", 1),
			Decide: func(t *actors.Turn, s int, c Add) ([]Added, error) { return []Added{{N: c.N, ID: t.NewID(), R: t.Rand().IntN(1000)}}, nil },
			Evolve: func(s int, e Added) int { return s + e.N }}
		j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
		if err != nil {
			t.Fatal(err)
		}
		reg := actors.NewRegistry(res)
		sys, err := actors.Start(j, reg, actors.Options{DigestEvery: 3})
		if err != nil {
			t.Fatal(err)
		}
		ref, err := res.Spawn(sys, "c1")
		for i := range 3 {
			out, err := ref.Ask(t.Context(), Add{i})
			fmt.Println(out.Events, err)
		}
		fmt.Println(ref.State(t.Context()))
		fmt.Println(sys.Stop(t.Context()))
		x := actors.NewReplica(j, reg, "c1")
		for e, err := range j.Read(t.Context(), journal.Query{}) {
			ds, err2 := x.Next(t.Context(), e)
			fmt.Println(e.Position, e.Kind, e.Extensions, err, ds, err2, e.Digest.Short())
		}
		for d, err := range j.StateDigests(t.Context(), "c1") { fmt.Println(d, err)}
		fmt.Println(j.Close())
	})
}
