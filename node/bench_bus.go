package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/internal/yardstick/bare"
)

// maxBenchSubscribers bounds what can be measured.
const maxBenchSubscribers = 10_000

func (a *app) benchBusCommand() *cobra.Command {
	var o busBench
	c := &cobra.Command{
		Use:   "bus",
		Short: "Measure the bus in memory",
		Long: `Measures the bus in memory, and a channel and the bare actor library beside it.

One emitter makes a typed domain event at a time and emits it; the bus gives it
its sequence and time. Each subscriber receives every event, over a receiver that
the emitter waits for, and checks that none is missing. What is counted is
deliveries over all subscribers, until the last one has everything. Emissions
are timed one in 64, reading the clock included.

The yardsticks do less: "channel" sends the event over one channel of 1,024 to
each subscriber, "protoactor" to one actor each, at most 1,024 ahead. The ratio is
the bus's deliveries a second over protoactor's.`,
		Example: lines(
			"toka-node bench bus",
			"toka-node bench bus --subscribers 100 --duration 10s -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.subscribers < 1 || o.subscribers > maxBenchSubscribers:
				return usage("subscribers %d: use 1 to %d", o.subscribers, maxBenchSubscribers)
			case o.duration <= 0 || o.duration > maxBenchDuration:
				return usage("duration %v: use more than 0s, at most %v", o.duration, maxBenchDuration)
			}
			return a.benchBus(c.Context(), &o)
		},
	}
	c.Flags().IntVar(&o.subscribers, "subscribers", 1, "how many receive every event")
	c.Flags().DurationVar(&o.duration, "duration", 3*time.Second, "how long to emit; each yardstick takes as long again")
	return a.withOutput(c)
}

// busBench measures the bus in memory.
type busBench struct {
	subscribers int
	duration    time.Duration
}

// busResult is what bench bus prints.
type busResult struct {
	Benchmark   string  `json:"benchmark"`
	Subscribers int     `json:"subscribers"`
	CPUs        int     `json:"cpus"`
	Seconds     float64 `json:"seconds"`

	Events     uint64 `json:"events"`
	Deliveries uint64 `json:"deliveries"`
	Lost       uint64 `json:"lost"`

	PerS         float64 `json:"per_s"` // deliveries
	EmissionsPer float64 `json:"emissions_per_s"`
	P50          float64 `json:"p50_ns"` // of an emission
	P99          float64 `json:"p99_ns"`

	Yardsticks map[string]float64 `json:"yardsticks"` // deliveries a second
	Ratio      float64            `json:"ratio"`      // to protoactor
}

func (a *app) benchBus(ctx context.Context, o *busBench) error {
	if !a.json() {
		fmt.Fprintf(a.streams.Err, "measuring for %v; then the yardsticks\n", o.duration)
	}
	r := &busResult{Benchmark: "bus", Subscribers: o.subscribers, CPUs: runtime.GOMAXPROCS(0), Yardsticks: map[string]float64{}}
	if err := o.run(ctx, r); err != nil {
		return err
	}
	runtime.GC() // what the bus leaves is not for the yardsticks to collect
	r.Yardsticks["channel"] = bare.ChannelFanOut(ctx, o.subscribers, o.duration, busEvent)
	runtime.GC()
	r.Yardsticks["protoactor"] = bare.ActorFanOut(ctx, o.subscribers, o.duration, busEvent)
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing was measured")
	}
	r.Ratio = r.PerS / r.Yardsticks["protoactor"]
	if a.json() {
		return a.object(r)
	}
	t := a.table()
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("conditions", "%d subscribers, %d CPUs", r.Subscribers, r.CPUs)
	row("bus", "%.0f deliveries/s\t%d lost", r.PerS, r.Lost)
	row("emission", "%.0f events/s\tp50 %.0f ns\tp99 %.0f ns", r.EmissionsPer, r.P50, r.P99)
	row("channel", "%.0f deliveries/s", r.Yardsticks["channel"])
	row("protoactor", "%.0f deliveries/s", r.Yardsticks["protoactor"])
	row("ratio", "%.2f", r.Ratio)
	return t.Flush()
}

var busPayload = []byte(`{"user_id":"ada","action":"login"}`)

// busEvent makes one event, as an emitter would.
func busEvent() events.DomainEvent { return events.System{Component: "auth", Payload: busPayload} }

func (o *busBench) run(ctx context.Context, r *busResult) error {
	b := bus.NewMemory(bus.Options{})
	got := make([]uint64, o.subscribers)
	var receiving sync.WaitGroup
	for i := range got {
		receiver, err := b.Receive(bus.Filter{})
		if err != nil {
			return err
		}
		receiving.Go(func() {
			n := uint64(0)
			for m, err := range receiver.All(ctx) {
				if err != nil || m.Sequence != n+1 {
					break
				}
				n++
			}
			receiver.Close()
			got[i] = n
		})
	}
	const sampled = 64
	var took latencies
	began := time.Now()
	for ctx.Err() == nil {
		at := time.Now()
		if at.Sub(began) > o.duration {
			break
		}
		for i := range sampled {
			if err := b.Emit(ctx, "auth-service", "user.login", busEvent()); err != nil {
				break
			}
			if i == 0 {
				took.note(time.Since(at))
			}
			r.Events++
		}
	}
	emitted := time.Since(began)
	err := b.Close(ctx)
	receiving.Wait()
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing was measured")
	}
	r.Seconds = time.Since(began).Seconds()
	for _, n := range got {
		r.Deliveries += n
	}
	r.Lost = r.Events*uint64(o.subscribers) - r.Deliveries
	r.PerS = float64(r.Deliveries) / r.Seconds
	r.EmissionsPer = float64(r.Events) / emitted.Seconds()
	r.P50, r.P99 = float64(took.percentile(0.50)), float64(took.percentile(0.99))
	return err
}
