package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/yardstick/bare"
	"github.com/tokaworks/toka/journal"
)

// The actor of these benchmarks counts: a nudge changes nothing, a count
// causes an event.
type (
	countCommand interface{ countCommand() }
	nudge        struct{}
	count        struct{ N int }
	tallied      struct{ N int }
)

func (nudge) countCommand() {}
func (count) countCommand() {}

var benchCounter = &actors.Resource[int, countCommand, tallied]{
	Name: "bench.counter", Version: 1,
	Commands: events.NewUnion(events.Case[countCommand, nudge]("bench.nudge", 1), events.Case[countCommand, count]("bench.count", 1)),
	Events:   events.NewType[tallied]("bench.counted", 1),
	Decide: func(_ *actors.Turn, _ int, c countCommand) ([]tallied, error) {
		if c, ok := c.(count); ok {
			return []tallied{{c.N}}, nil
		}
		return nil, nil
	},
	Evolve: func(n int, e tallied) int { return n + e.N },
}

// actorsBench is one benchmark of actors.
type actorsBench struct {
	duration  time.Duration
	callers   int
	resources int
	level     journal.Level
	dir       string
}

// actorsResult is what the benchmarks of actors print. Yardsticks are in the
// unit of the figure that stands beside them; the ratio is above 1 where Toka
// is faster than the first of them.
type actorsResult struct {
	Benchmark  string             `json:"benchmark"`
	Durability string             `json:"durability,omitempty"`
	Callers    int                `json:"callers,omitempty"`
	Resources  int                `json:"resources,omitempty"`
	CPUs       int                `json:"cpus"`
	Operations int                `json:"operations"`
	NsPerOp    float64            `json:"ns_per_op,omitempty"`
	PerS       float64            `json:"per_s,omitempty"`
	P50        float64            `json:"p50_us,omitempty"`
	P99        float64            `json:"p99_us,omitempty"`
	FsyncP50   float64            `json:"fsync_p50_us,omitempty"`
	Bytes      float64            `json:"bytes_per_agent,omitempty"`
	Yardsticks map[string]float64 `json:"yardsticks"`
	Ratio      float64            `json:"ratio"`
}

func (a *app) benchActorsCommands() []*cobra.Command {
	return []*cobra.Command{
		a.benchActorsCommand("tell", "Measure commands that are told to one resource",
			`One sender tells one resource commands that cause nothing, without waiting, over
a typed reference and a bounded mailbox, with the outbox on. The time is until
the last was decided.`, (*actorsBench).tell),
		a.benchActorsCommand("ask", "Measure questions to one resource",
			`One caller asks one resource, each time when the answer before has come; the
commands cause nothing.`, (*actorsBench).ask),
		a.benchActorsCommand("command", "Measure commands until their events are durable",
			`Callers ask resources; each command causes an event, and its answer comes when
the journal has that on disk. Beside it are the journal's own appends by as many
writers, requests to as many bare actors, and a sync of a small file in the same
directory.`, (*actorsBench).command),
		a.benchActorsCommand("spawn", "Measure making actors live",
			`Resources are made live one after the other, and held: how many a second, and
how much memory each takes while it is idle. A yardstick's goroutines are ended
again.`, (*actorsBench).spawn),
	}
}

func (a *app) benchActorsCommand(name, short, long string, run func(*actorsBench, context.Context, *actorsResult) error) *cobra.Command {
	o := actorsBench{callers: 1024, resources: 1000, level: journal.LevelMemory}
	durability := journal.LevelFsync.String()
	c := &cobra.Command{
		Use: name, Short: short,
		Long: long + `

The yardsticks are the bare actor library and Go's channels, which journal
nothing, measured in turns with Toka in the same run; figures are the median of
the turns. The ratio is of speeds, Toka's over the first yardstick's.`,
		Example: lines("toka-node bench "+name, "toka-node bench "+name+" --duration 10s -o json"),
		Args:    args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			switch {
			case o.duration <= 0 || o.duration > maxBenchDuration:
				return usage("duration %v: use more than 0s, at most %v", o.duration, maxBenchDuration)
			case o.callers < 1 || o.callers > maxBenchWriters:
				return usage("callers %d: use 1 to %d", o.callers, maxBenchWriters)
			case o.resources < 1 || o.resources > 1_000_000:
				return usage("resources %d: use 1 to 1000000", o.resources)
			}
			if name == "command" {
				if o.level, err = journal.ParseLevel(durability); err != nil {
					return usage("%w", err)
				}
			}
			return a.inBenchDir(o.level, func(dir string) error {
				o.dir = dir
				r := &actorsResult{Benchmark: name, CPUs: runtime.GOMAXPROCS(0), Yardsticks: map[string]float64{}}
				if err := run(&o, c.Context(), r); err != nil {
					if c.Context().Err() != nil {
						return errors.New("interrupted; nothing was measured")
					}
					return err
				}
				if a.json() {
					return a.object(r)
				}
				return a.showActors(r)
			})
		},
	}
	c.Flags().DurationVar(&o.duration, "duration", 3*time.Second, "how long to measure, yardsticks included")
	if name == "command" {
		c.Flags().IntVar(&o.callers, "callers", o.callers, "how many ask at the same time")
		c.Flags().IntVar(&o.resources, "resources", o.resources, "how many are asked")
		c.Flags().StringVar(&durability, "durability", durability, "fsync, os or memory")
		c.Flags().StringVar(&a.data, "data", "", "an empty or new directory to work in; default a temporary one, removed at the end")
	}
	return a.withOutput(c)
}

func (a *app) showActors(r *actorsResult) error {
	t := a.table()
	unit, figure := "ns", r.NsPerOp
	if figure == 0 {
		unit, figure = "a second", r.PerS
	}
	fmt.Fprintf(t, "%s\t%.0f %s\n", r.Benchmark, figure, unit)
	for _, name := range slices.Sorted(maps.Keys(r.Yardsticks)) {
		fmt.Fprintf(t, "yardstick %s\t%.0f %s\n", name, r.Yardsticks[name], unit)
	}
	fmt.Fprintf(t, "ratio\t%.2f\n", r.Ratio)
	if r.P50 > 0 {
		fmt.Fprintf(t, "latency\tp50 %.0f µs\tp99 %.0f µs\n", r.P50, r.P99)
	}
	if r.FsyncP50 > 0 {
		fmt.Fprintf(t, "fsync\tp50 %.0f µs\n", r.FsyncP50)
	}
	if r.Bytes > 0 {
		fmt.Fprintf(t, "memory\t%.0f bytes an agent\n", r.Bytes)
	}
	return t.Flush()
}

// withSystem runs f over a fresh journal and system.
func (o *actorsBench) withSystem(f func(sys *actors.System) error) (err error) {
	dir := ""
	if o.dir != "" {
		dir = filepath.Join(o.dir, "journal")
	}
	j, err := journal.Open(dir, journal.Options{Level: o.level})
	if err != nil {
		return err
	}
	sys, err := actors.Start(j, actors.NewRegistry(benchCounter), actors.Options{})
	if err != nil {
		return errors.Join(err, j.Close())
	}
	err = f(sys)
	stop, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(err, sys.Stop(stop), j.Close())
}

// turns measures several things in turns, each for its share of the duration,
// and returns the median of the nanoseconds that one operation took of each.
// What a function is given is how many operations to do.
func (o *actorsBench) turns(ctx context.Context, r *actorsResult, fs ...func(n int) error) ([]float64, error) {
	const rounds = 5
	share := o.duration / time.Duration(rounds*len(fs))
	n := make([]int, len(fs))
	// With fewer than some for each caller, it would be the last one's that is
	// measured.
	least := max(64, 8*o.callers)
	for i, f := range fs { // find out how many fit, and warm up
		if err := f(least); err != nil {
			return nil, err
		}
		for n[i] = least; ; n[i] *= 2 {
			begin := time.Now()
			if err := f(n[i]); err != nil {
				return nil, err
			}
			if took := time.Since(begin); took > share/4 {
				n[i] = max(int(float64(n[i])*float64(share)/float64(took)), least)
				break
			}
		}
	}
	took := make([][]float64, len(fs))
	for range rounds {
		for i, f := range fs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			runtime.GC()
			begin := time.Now()
			if err := f(n[i]); err != nil {
				return nil, err
			}
			took[i] = append(took[i], float64(time.Since(begin).Nanoseconds())/float64(n[i]))
		}
	}
	r.Operations = rounds * n[0]
	out := make([]float64, len(fs))
	for i := range out {
		slices.Sort(took[i])
		out[i] = took[i][rounds/2]
	}
	return out, nil
}

func (o *actorsBench) tell(ctx context.Context, r *actorsResult) error {
	return o.withSystem(func(sys *actors.System) error {
		ref, err := benchCounter.Spawn(sys, "counter")
		if err != nil {
			return err
		}
		library := bare.New()
		defer library.Close()
		tell := func(n int) error {
			for range n {
				if err := ref.Tell(ctx, nudge{}); err != nil {
					return err
				}
			}
			return sys.Settle(ctx)
		}
		ns, err := o.turns(ctx, r, tell,
			func(n int) error { library.Tell(n); return nil },
			func(n int) error { bare.ChannelTell(n); return nil })
		if err == nil {
			r.perOp(ns)
		}
		return err
	})
}

func (o *actorsBench) ask(ctx context.Context, r *actorsResult) error {
	return o.withSystem(func(sys *actors.System) error {
		ref, err := benchCounter.Spawn(sys, "counter")
		if err != nil {
			return err
		}
		library := bare.New()
		defer library.Close()
		ask := func(n int) error {
			for range n {
				if _, err := ref.Ask(ctx, nudge{}); err != nil {
					return err
				}
			}
			return nil
		}
		ns, err := o.turns(ctx, r, ask, library.Ask, func(n int) error { bare.ChannelAsk(n); return nil })
		if err == nil {
			r.perOp(ns)
		}
		return err
	})
}

func (r *actorsResult) perOp(ns []float64) {
	r.NsPerOp = ns[0]
	r.Yardsticks["protoactor"], r.Yardsticks["channel"] = ns[1], ns[2]
	r.Ratio = ns[1] / ns[0]
}

func perSecond(ns float64) float64 { return float64(time.Second) / ns }

func (o *actorsBench) command(ctx context.Context, r *actorsResult) error {
	r.Durability, r.Callers, r.Resources = o.level.String(), o.callers, o.resources
	if o.dir != "" {
		p50, err := fsyncP50(o.dir)
		if err != nil {
			return err
		}
		r.FsyncP50 = microseconds(p50)
	}
	return o.withSystem(func(sys *actors.System) error {
		refs := make([]*actors.Ref[int, countCommand], o.resources)
		for i := range refs {
			var err error
			if refs[i], err = benchCounter.Spawn(sys, fmt.Sprintf("counter-%d", i)); err != nil {
				return err
			}
		}
		library := bare.New()
		defer library.Close()
		var mu sync.Mutex
		var all latencies
		commands := func(n int) error {
			return o.asMany(n, func(next func() (int, bool)) error {
				var mine latencies
				for i, ok := next(); ok; i, ok = next() {
					begin := time.Now()
					if _, err := refs[i%len(refs)].Ask(ctx, count{1}); err != nil {
						return err
					}
					mine.note(time.Since(begin))
				}
				mu.Lock()
				defer mu.Unlock()
				all.add(&mine)
				return nil
			})
		}
		appends := func(n int) error {
			return o.asMany(n, func(next func() (int, bool)) error {
				for i, ok := next(); ok; i, ok = next() {
					_, err := sys.Publish(ctx, fmt.Sprintf("plain-%d", i%o.resources), events.Draft{Kind: "bench.appended"})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		ns, err := o.turns(ctx, r, commands, appends, func(n int) error { return library.AskMany(n, o.callers, o.resources) })
		if err != nil {
			return err
		}
		r.PerS = perSecond(ns[0])
		r.P50, r.P99 = microseconds(all.percentile(0.5)), microseconds(all.percentile(0.99))
		r.Yardsticks["append"], r.Yardsticks["protoactor"] = perSecond(ns[1]), perSecond(ns[2])
		r.Ratio = ns[1] / ns[0]
		return nil
	})
}

// asMany has all callers work until n numbers have been given out.
func (o *actorsBench) asMany(n int, work func(next func() (int, bool)) error) error {
	var given atomic.Int64
	next := func() (int, bool) {
		i := int(given.Add(1)) - 1
		return i, i < n
	}
	errs := make([]error, o.callers)
	var wg sync.WaitGroup
	for c := range o.callers {
		wg.Go(func() { errs[c] = work(next) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fsyncP50 measures what a sync of a few appended bytes takes.
func fsyncP50(dir string) (time.Duration, error) {
	path := filepath.Join(dir, "sync")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(path) }()
	defer func() { _ = f.Close() }()
	var l latencies
	for range 50 {
		if _, err := f.Write(make([]byte, 512)); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		l.note(time.Since(begin))
	}
	return l.percentile(0.5), nil
}

// settledMemory returns the bytes of heap and stacks in use, once collecting
// frees no more. One collection does not do: pools are given up at the second
// one, and what a finalizer held at the one after it, so that what an earlier
// run left behind would be counted off the memory of this one.
func settledMemory() int64 {
	var m runtime.MemStats
	least := int64(math.MaxInt64)
	for range 8 {
		runtime.GC()
		runtime.ReadMemStats(&m)
		now := int64(m.HeapAlloc + m.StackInuse)
		if now >= least-least/200 {
			return min(now, least)
		}
		least = now
	}
	return least
}

func (o *actorsBench) spawn(ctx context.Context, r *actorsResult) error {
	return o.withSystem(func(sys *actors.System) error {
		spawned := 0
		before := settledMemory()
		spawn := func(n int) error {
			for range n {
				if _, err := benchCounter.Spawn(sys, fmt.Sprintf("counter-%d", spawned)); err != nil {
					return err
				}
				spawned++
			}
			return nil
		}
		// The actors stay, so their number is bounded by memory and not only
		// by time.
		const most = 200_000
		n := 0
		begin := time.Now()
		for ; n < most && time.Since(begin) < o.duration/3; n += 1000 {
			if err := errors.Join(spawn(1000), ctx.Err()); err != nil {
				return err
			}
		}
		r.PerS = float64(n) / time.Since(begin).Seconds()
		r.Operations = n
		r.Bytes = float64(settledMemory()-before) / float64(n)
		library := bare.New()
		defer library.Close()
		begin = time.Now()
		library.Spawn(n)
		r.Yardsticks["protoactor"] = float64(n) / time.Since(begin).Seconds()
		begin = time.Now()
		bare.ChannelSpawn(n)
		r.Yardsticks["channel"] = float64(n) / time.Since(begin).Seconds()
		r.Ratio = r.PerS / r.Yardsticks["protoactor"]
		return nil
	})
}
