package simulations_test

import (
	"fmt"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/simulations"
)

// BenchmarkReplay replays 50,000 events of 100 resources, in memory: one
// command for each event, and a state digest for each hundred.
func BenchmarkReplay(b *testing.B) {
	const resources, each = 100, 250
	j := memory(b)
	c := counter(1)
	r := actors.NewRegistry(c)
	sys, err := actors.Start(j, r, actors.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range resources {
		ref, err := c.Spawn(sys, fmt.Sprintf("counter-%03d", i))
		if err != nil {
			b.Fatal(err)
		}
		for n := range each {
			if err := ref.Tell(b.Context(), add{n}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := sys.Settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := sys.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	events := uint64(0)
	for b.Loop() {
		report, err := simulations.Replay(b.Context(), j, r, simulations.ReplayOptions{})
		if err != nil || !report.OK || report.Commands != resources*each {
			b.Fatalf("%+v, %v", report, err)
		}
		events += report.Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
