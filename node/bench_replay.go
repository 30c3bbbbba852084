package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/internal/yardstick"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

func (a *app) benchReplayCommand() *cobra.Command {
	var journalDir string
	o := appendBench{writers: 64, size: 200, level: journal.LevelOS}
	c := &cobra.Command{
		Use:   "replay",
		Short: "Measure reading, verifying and replaying a journal",
		Long: `Measures how fast a journal is read with everything decoded, verified and
replayed, and the storage engine alone beside it.

The yardstick is the bare engine in the same run: one iteration over the records
of the log, which looks at each value and decodes nothing. Each ratio is events a
second over its. The yardstick and the reading are done twice, and the second
time counts: then what fits is in memory, for both.

Without --journal it measures a journal that it makes first: events as in bench
append, written for --duration, in a temporary directory beside the current one's
files, which it removes. With --journal it measures that one and changes nothing
that counts; streams of behaviours that this program does not have are left out
of the replay.`,
		Example: lines(
			"toka-node bench replay",
			"toka-node bench replay --journal ./data -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.size < minBenchSize || o.size > maxReplaySize:
				return usage("size %d: use %d to %d bytes", o.size, minBenchSize, maxReplaySize)
			case o.duration <= 0 || o.duration > maxBenchDuration:
				return usage("duration %v: use more than 0s, at most %v", o.duration, maxBenchDuration)
			}
			if journalDir != "" {
				a.data = journalDir
				return a.benchReplay(c.Context(), journalDir)
			}
			a.data = ""
			return a.inBenchDir(o.level, func(dir string) error {
				o.dir = dir
				if !a.json() {
					fmt.Fprintf(a.streams.Err, "writing for %v in %s\n", o.duration, printable(dir))
				}
				if _, err := o.journal(c.Context(), &appendResult{}); err != nil {
					if errors.Is(err, syscall.ENOSPC) {
						return &exit{ExitFull, err}
					}
					return err
				}
				a.data = filepath.Join(dir, "journal")
				return a.benchReplay(c.Context(), a.data)
			})
		},
	}
	c.Flags().StringVar(&journalDir, "journal", "", "directory of a journal to measure; default a new one")
	c.Flags().IntVar(&o.size, "size", 200, "bytes of payload of each event of a new journal")
	c.Flags().DurationVar(&o.duration, "duration", 3*time.Second, "how long to write a new journal")
	return a.withOutput(c)
}

const maxReplaySize = 64 << 10

// replayResult is what bench replay prints.
type replayResult struct {
	Benchmark string `json:"benchmark"`
	Events    uint64 `json:"events"`
	CPUs      int    `json:"cpus"`
	Dir       string `json:"dir"`

	YardstickEventsPerS float64 `json:"yardstick_events_per_s"`
	YardstickMBPerS     float64 `json:"yardstick_mb_per_s"`
	ReadEventsPerS      float64 `json:"read_events_per_s"`
	ReadRatio           float64 `json:"read_ratio"`
	BackwardsEventsPerS float64 `json:"read_backwards_events_per_s"`
	VerifyEventsPerS    float64 `json:"verify_events_per_s"`
	VerifyRatio         float64 `json:"verify_ratio"`
	ReplayEventsPerS    float64 `json:"replay_events_per_s"`
	ReplayRatio         float64 `json:"replay_ratio"`
}

func (a *app) benchReplay(ctx context.Context, dir string) error {
	r := &replayResult{Benchmark: "replay", CPUs: runtime.GOMAXPROCS(0), Dir: dir}
	if err := r.measure(ctx, a); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing was measured")
		}
		return err
	}
	if a.json() {
		return a.object(r)
	}
	t := a.table()
	row := func(name string, perSecond, ratio float64) {
		fmt.Fprintf(t, "%s\t%.0f events/s\t%.2f\n", name, perSecond, ratio)
	}
	fmt.Fprintf(t, "conditions\t%d events, %d CPUs\tratio\n", r.Events, r.CPUs)
	row("yardstick", r.YardstickEventsPerS, 1)
	row("read", r.ReadEventsPerS, r.ReadRatio)
	row("read backwards", r.BackwardsEventsPerS, r.BackwardsEventsPerS/r.YardstickEventsPerS)
	row("verify", r.VerifyEventsPerS, r.VerifyRatio)
	row("replay", r.ReplayEventsPerS, r.ReplayRatio)
	return t.Flush()
}

func (r *replayResult) measure(ctx context.Context, a *app) error {
	if err := r.bare(ctx); err != nil {
		return err
	}
	return a.read(func(j *journal.Journal) error {
		if r.Events = j.Position(); r.Events == 0 {
			return fmt.Errorf("%s holds no events to measure", r.Dir)
		}
		rate := func(f func() error) (float64, error) {
			runtime.GC()
			start := time.Now()
			err := f()
			return float64(r.Events) / time.Since(start).Seconds(), err
		}
		read := func(q journal.Query) func() error {
			return func() error {
				for _, err := range j.Read(ctx, q) {
					if err != nil {
						return err
					}
				}
				return nil
			}
		}
		err := read(journal.Query{})()
		if err == nil {
			r.ReadEventsPerS, err = rate(read(journal.Query{}))
		}
		if err == nil {
			r.BackwardsEventsPerS, err = rate(read(journal.Query{Backwards: true}))
		}
		if err == nil {
			r.VerifyEventsPerS, err = rate(func() error {
				report, err := j.Verify(ctx, nil)
				if err == nil && !report.OK {
					return fmt.Errorf("%w: verify finds %s; run toka-node verify --data %s", journal.ErrCorrupt, report.Problems[0].What, r.Dir)
				}
				return err
			})
		}
		if err == nil {
			r.ReplayEventsPerS, err = rate(func() error {
				_, err := simulations.Replay(ctx, j, a.registry, simulations.ReplayOptions{SkipUnknown: true})
				return err
			})
		}
		r.ReadRatio = r.ReadEventsPerS / r.YardstickEventsPerS
		r.VerifyRatio = r.VerifyEventsPerS / r.YardstickEventsPerS
		r.ReplayRatio = r.ReplayEventsPerS / r.YardstickEventsPerS
		return err
	})
}

// bare measures the yardstick, before the journal is opened: an engine cannot
// be opened twice.
func (r *replayResult) bare(ctx context.Context) error {
	dir := filepath.Join(r.Dir, "log")
	if _, err := os.Stat(dir); err != nil {
		return &exit{ExitRefused, fmt.Errorf("%s: %w there; check the path", r.Dir, journal.ErrNoJournal)}
	}
	for range 2 {
		s, err := yardstick.Scan(ctx, dir, []byte{'e'}, []byte{'e' + 1})
		if err != nil {
			return &exit{ExitRefused, err}
		}
		if s.Keys == 0 {
			return fmt.Errorf("%s holds no events to measure", r.Dir)
		}
		r.YardstickEventsPerS = s.KeysPerSecond()
		r.YardstickMBPerS = float64(s.Bytes) / 1e6 / s.Elapsed.Seconds()
	}
	return nil
}
