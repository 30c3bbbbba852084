package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure",
		Long:  `Measures what this program does on this machine, against a yardstick where there is one.`,
		Example: lines(
			"toka-node bench append",
			"toka-node bench append --writers 1 --duration 10s -o json",
			"toka-node bench replay"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown benchmark %q; run toka-node bench --help for a list", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(a.benchActorsCommands()...)
	c.AddCommand(a.benchAppendCommand(), a.benchBusCommand(), a.benchReplayCommand(), a.benchIntentCommand(), a.benchHTTPCommand())
	return c
}

// Bounds of what can be measured.
const (
	maxBenchWriters  = 4096
	minBenchSize     = 16 // smaller payloads would not all be distinct
	maxBenchDuration = time.Hour
)

func (a *app) benchAppendCommand() *cobra.Command {
	var o appendBench
	var durability string
	c := &cobra.Command{
		Use:   "append",
		Short: "Measure appends to a journal",
		Long: `Measures appends to a fresh journal, and the storage engine alone beside it.

Each writer has a stream of its own. It appends one event a call and waits for
its acknowledgement before the next; the event names the exact version of its
stream, has two parents, given with their digests (the writer's own previous
event and a recent one of another writer), and a payload of random bytes. Ids
are minted by the journal.

The yardstick is the bare engine, in the same run: one loop that repeats the
journal's own group commits, with as many events and bytes in each, as durable.
For each event it writes one sequential key of 9 bytes to a log, in one synced
batch for each group; and to a second store without a write-ahead log, in
batches of 16,384 events, the four index keys of an event: id (16 bytes),
digest (8 and 8), payload digest (16), stream and position. It hashes, checks
and answers nothing. The ratio is the journal's events a second over its.

It works in a temporary directory beside the current one's files, which should
not be in memory, and removes it. With --data the journal is kept in DIR/journal.`,
		Example: lines(
			"toka-node bench append",
			"toka-node bench append --writers 1 --size 1024 --duration 10s -o json",
			"toka-node bench append --durability os --data ./bench"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.level, err = journal.ParseLevel(durability); err != nil {
				return usage("%w", err)
			}
			switch {
			case o.writers < 1 || o.writers > maxBenchWriters:
				return usage("writers %d: use 1 to %d", o.writers, maxBenchWriters)
			case o.size < minBenchSize || o.size > events.MaxPayload:
				return usage("size %d: use %d to %d bytes", o.size, minBenchSize, events.MaxPayload)
			case o.duration <= 0 || o.duration > maxBenchDuration:
				return usage("duration %v: use more than 0s, at most %v", o.duration, maxBenchDuration)
			case o.level == journal.LevelMemory && a.data != "":
				return usage("--data has no use with --durability memory, which uses no directory")
			}
			return a.inBenchDir(o.level, func(dir string) error {
				o.dir = dir
				return a.benchAppend(c.Context(), &o)
			})
		},
	}
	c.Flags().IntVar(&o.writers, "writers", 64, "how many append at the same time")
	c.Flags().IntVar(&o.size, "size", 256, "bytes of payload of each event")
	c.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "how long to append; the yardstick takes about as long again")
	c.Flags().StringVar(&durability, "durability", journal.LevelFsync.String(), "fsync, os or memory")
	c.Flags().StringVar(&a.data, "data", "", "an empty or new directory to work in; default a temporary one, removed at the end")
	return a.withOutput(c)
}

// inBenchDir calls f with a directory to work in: that of --data, or one that
// it makes and removes. f gets none where it is to work in memory.
func (a *app) inBenchDir(level journal.Level, f func(dir string) error) error {
	if level == journal.LevelMemory {
		return f("")
	}
	if a.data != "" {
		entries, err := os.ReadDir(a.data)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &exit{ExitRefused, err}
		}
		if len(entries) > 0 {
			return &exit{ExitRefused, fmt.Errorf("%s is not empty; give an empty or a new directory", a.data)}
		}
		dir, err := filepath.Abs(a.data)
		if err != nil {
			return &exit{ExitRefused, err}
		}
		return f(dir)
	}
	here, err := os.Getwd()
	if err != nil {
		return &exit{ExitRefused, err}
	}
	dir, err := os.MkdirTemp(here, ".toka-bench-")
	if err != nil {
		return &exit{ExitRefused, fmt.Errorf("%w; name a directory with --data", err)}
	}
	err = f(dir)
	return errors.Join(err, os.RemoveAll(dir))
}

// appendResult is what bench append prints.
type appendResult struct {
	Benchmark  string  `json:"benchmark"`
	Writers    int     `json:"writers"`
	Size       int     `json:"size"`
	Durability string  `json:"durability"`
	CPUs       int     `json:"cpus"`
	Dir        string  `json:"dir,omitempty"` // where it was measured
	Seconds    float64 `json:"seconds"`

	Events          uint64  `json:"events"`
	Commits         int     `json:"commits"`
	EventsPerCommit float64 `json:"events_per_commit"`
	BytesPerEvent   float64 `json:"bytes_per_event,omitempty"` // on disk, after the journal is closed

	EventsPerS float64 `json:"events_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`

	YardstickEventsPerS float64 `json:"yardstick_events_per_s"`
	YardstickP50        float64 `json:"yardstick_p50_us"` // of a commit
	YardstickP99        float64 `json:"yardstick_p99_us"`
	Ratio               float64 `json:"ratio"`
}

func (a *app) benchAppend(ctx context.Context, o *appendBench) error {
	if !a.json() {
		where := "in memory"
		if o.dir != "" {
			where = "in " + printable(o.dir)
		}
		fmt.Fprintf(a.streams.Err, "measuring for %v, %s; then the yardstick\n", o.duration, where)
	}
	r, err := o.run(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing was measured")
		}
		if errors.Is(err, syscall.ENOSPC) {
			return &exit{ExitFull, err}
		}
		return err
	}
	if a.json() {
		return a.object(r)
	}
	return a.showAppend(r)
}

func (a *app) showAppend(r *appendResult) error {
	t := a.table()
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("conditions", "%d writers, payloads of %d bytes, durability %s, %d CPUs", r.Writers, r.Size, r.Durability, r.CPUs)
	row("journal", "%.0f events/s\tp50 %.0f µs\tp99 %.0f µs", r.EventsPerS, r.P50, r.P99)
	row("yardstick", "%.0f events/s\tp50 %.0f µs\tp99 %.0f µs a commit", r.YardstickEventsPerS, r.YardstickP50, r.YardstickP99)
	row("ratio", "%.2f", r.Ratio)
	row("commits", "%d, of %.1f events each; %d events in %.2f s", r.Commits, r.EventsPerCommit, r.Events, r.Seconds)
	if r.BytesPerEvent > 0 {
		row("on disk", "%.0f bytes an event", r.BytesPerEvent)
	}
	return t.Flush()
}
