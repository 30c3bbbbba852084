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
	maxBenchEvents   = 1_000_000_000
)

func (a *app) benchAppendCommand() *cobra.Command {
	var o appendBench
	var durability string
	var goOn bool
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

With --events it appends as many as that, however long it takes, and says after
each tenth how fast it was and what memory the process took. With --reopen it then
measures how long opening takes: after the journal was closed, and after another
process (this program again) went on appending as hard to it, for as long but at
most five seconds, and was killed. What is found then must be at least what that
process had acknowledged.

cpu_us_per_event is processor time of the whole process, the writers of the
benchmark included. The write amplification is what was written to disk, with the
write-ahead log, flushes and compactions, over the bytes of the events as they
came into the log.

It works in a temporary directory beside the current one's files, which should
not be in memory, and removes it. With --data the journal is kept in DIR/journal.`,
		Example: lines(
			"toka-node bench append",
			"toka-node bench append --writers 1 --size 1024 --duration 10s -o json",
			"toka-node bench append --durability os --data ./bench",
			"toka-node bench append --writers 1024 --size 200 --events 10000000 --reopen"),
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
			case o.events > maxBenchEvents:
				return usage("events %d: use at most %d", o.events, maxBenchEvents)
			case o.events > 0 && c.Flags().Changed("duration"):
				return usage("--events and --duration exclude each other")
			case o.reopen && o.level == journal.LevelMemory:
				return usage("--reopen has no use with --durability memory, of which nothing is left")
			case goOn:
				return o.goOn(c.Context(), a)
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
	c.Flags().Uint64Var(&o.events, "events", 0, "how many events to append, instead of for a duration")
	c.Flags().BoolVar(&o.reopen, "reopen", false, "measure opening the journal too, after it was closed and after a kill")
	c.Flags().BoolVar(&goOn, "go-on", false, "append to the journal that is in DIR, until killed")
	_ = c.Flags().MarkHidden("go-on") // for the process that --reopen kills
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
	// Processor time of the whole process, its writers included, for each event.
	CPUMicroseconds float64 `json:"cpu_us_per_event,omitempty"`

	WriteAmplification float64          `json:"write_amplification,omitempty"` // bytes written to disk for each byte of events
	Parts              []appendPart     `json:"parts,omitempty"`
	Progress           []appendProgress `json:"progress,omitempty"` // with --events
	Reopen             *reopenResult    `json:"reopen,omitempty"`   // with --reopen

	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`

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
		what := o.duration.String()
		if o.events > 0 {
			what = fmt.Sprintf("%d events", o.events)
		}
		fmt.Fprintf(a.streams.Err, "measuring for %s, %s; then the yardstick\n", what, where)
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
		row("on disk", "%.0f bytes an event; %.2f bytes were written for each byte of events", r.BytesPerEvent, r.WriteAmplification)
	}
	if r.CPUMicroseconds > 0 {
		row("processor", "%.2f µs an event", r.CPUMicroseconds)
	}
	for _, p := range r.Parts {
		row("  "+p.Name, "%.1f bytes an event", p.BytesPerEvent)
	}
	for _, p := range r.Progress {
		row(fmt.Sprintf("to %d", p.Events), "%.0f events/s\t%d MB of memory", p.EventsPerS, p.Resident>>20)
	}
	if o := r.Reopen; o != nil {
		row("open", "%.2f s after a close, which took %.2f s", o.Closed, o.Close)
		row("", "%.2f s after a kill, with %d events more", o.Killed, o.KilledEvents)
	}
	return t.Flush()
}
