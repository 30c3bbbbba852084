package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/yardstick"
	"github.com/tokaworks/toka/journal"
)

// appendBench measures appends.
type appendBench struct {
	writers  int
	size     int
	duration time.Duration
	events   uint64 // to append instead of for a duration; 0 if the duration counts
	reopen   bool
	level    journal.Level
	prefix   string // of the streams
	dir      string // empty at LevelMemory
}

func (o *appendBench) run(ctx context.Context) (*appendResult, error) {
	r := &appendResult{
		Benchmark: "append", Writers: o.writers, Size: o.size, Durability: o.level.String(),
		CPUs: runtime.GOMAXPROCS(0), Dir: o.dir,
	}
	groups, err := o.journal(ctx, r)
	if err != nil {
		return nil, err
	}
	if o.reopen {
		if r.Reopen, err = o.reopened(ctx, min(killAfter, time.Duration(r.Seconds*float64(time.Second)))); err != nil {
			return nil, err
		}
	}
	// The journal's garbage is not the yardstick's to collect.
	runtime.GC()
	y := yardstick.Options{Groups: groups, Streams: o.writers}
	switch o.level {
	case journal.LevelOS:
		y.Mode = yardstick.OS
	case journal.LevelMemory:
		y.Mode = yardstick.Memory
	}
	if o.dir != "" {
		y.Dir = filepath.Join(o.dir, "yardstick")
		defer os.RemoveAll(y.Dir)
	}
	bare, err := yardstick.Run(ctx, y)
	if err != nil {
		return nil, err
	}
	r.YardstickEventsPerS = bare.EventsPerSecond()
	r.YardstickP50, r.YardstickP99 = microseconds(bare.P50), microseconds(bare.P99)
	r.Ratio = r.EventsPerS / r.YardstickEventsPerS
	return r, nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// journal measures the journal and returns its group commits.
func (o *appendBench) journal(ctx context.Context, r *appendResult) (groups []yardstick.Group, err error) {
	dir, mark := "", ""
	if o.dir != "" {
		dir = filepath.Join(o.dir, "journal")
		mark = filepath.Join(dir, "MARK") // nothing is left beside it
	}
	j, err := journal.Open(dir, journal.Options{
		Level: o.level,
		Mark:  mark,
		// Called in order by one goroutine, which has ended when Close returns.
		OnCommit: func(c journal.Commit) {
			if c.Events > 0 {
				groups = append(groups, yardstick.Group{Events: uint32(c.Events), Bytes: uint32(c.Bytes)})
			}
		},
	})
	if err != nil {
		return nil, &exit{ExitRefused, err}
	}
	before := cpuTime()
	elapsed, took, err := o.appendAll(ctx, j, r)
	cpu := cpuTime() - before
	if err == nil {
		err = r.written(ctx, j)
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return nil, err
	}
	r.Seconds, r.Events, r.Commits = elapsed.Seconds(), took.count, len(groups)
	r.EventsPerS = float64(r.Events) / r.Seconds
	r.CPUMicroseconds = microseconds(cpu) / float64(r.Events)
	r.EventsPerCommit = float64(r.Events) / float64(r.Commits)
	r.P50, r.P99 = microseconds(took.percentile(0.50)), microseconds(took.percentile(0.99))
	if dir != "" {
		size, err := sizeOf(dir)
		if err != nil {
			return nil, err
		}
		r.BytesPerEvent = float64(size) / float64(r.Events)
	}
	return groups, nil
}

// appendAll runs the writers and returns how long they ran and their
// latencies. Where a number of events was asked for, r is given how it went.
func (o *appendBench) appendAll(ctx context.Context, j *journal.Journal, r *appendResult) (time.Duration, *latencies, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	recent := make([]atomic.Pointer[events.Ref], o.writers)
	all := make([]*appendWriter, o.writers)
	for i := range all {
		all[i] = newAppendWriter(cmp.Or(o.prefix, "writer"), i, o.size, recent)
	}
	var left *atomic.Int64
	if o.events > 0 {
		left = &atomic.Int64{}
		left.Store(int64(o.events))
		defer r.watch(j, o.events)()
	}
	var writing sync.WaitGroup
	begin := make(chan struct{})
	var start time.Time
	for _, w := range all {
		writing.Go(func() {
			<-begin
			// A context of its own, as requests have, or all writers would wait
			// for their turn at one.
			ctx, cancelOwn := context.WithCancel(ctx)
			defer cancelOwn()
			if err := w.run(ctx, j, start.Add(o.duration), left); err != nil {
				cancel(err)
			}
		})
	}
	start = time.Now()
	close(begin)
	writing.Wait()
	elapsed := time.Since(start)
	if ctx.Err() != nil {
		return 0, nil, context.Cause(ctx)
	}
	took := &latencies{}
	for _, w := range all {
		took.add(&w.took)
	}
	return elapsed, took, nil
}

// appendWriter is one writer with its stream. All but recent is its own.
type appendWriter struct {
	number  int
	stream  string
	recent  []atomic.Pointer[events.Ref] // the last event of each writer
	random  *rand.ChaCha8
	payload []byte
	expect  map[string]journal.Expected
	last    events.Ref
	before  events.Ref // the one before last
	version uint64
	took    latencies
}

func newAppendWriter(prefix string, number, size int, recent []atomic.Pointer[events.Ref]) *appendWriter {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(number)+1)
	return &appendWriter{
		number: number, stream: fmt.Sprintf("%s-%04d", prefix, number), recent: recent,
		random: rand.NewChaCha8(seed), payload: make([]byte, size),
		expect: make(map[string]journal.Expected, 1),
	}
}

// run appends until the deadline, or where left is not nil as long as that
// many are left for all writers. The last append may end after the deadline: it
// counts, and so does its time.
func (w *appendWriter) run(ctx context.Context, j *journal.Journal, deadline time.Time, left *atomic.Int64) error {
	for began := time.Now(); left != nil && left.Add(-1) >= 0 || left == nil && began.Before(deadline); {
		if ctx.Err() != nil {
			return nil
		}
		if err := w.append(ctx, j); err != nil {
			return err
		}
		now := time.Now()
		w.took.note(now.Sub(began))
		began = now
	}
	return nil
}

func (w *appendWriter) append(ctx context.Context, j *journal.Journal) error {
	_, _ = w.random.Read(w.payload)
	w.expect[w.stream] = journal.NoStream()
	if w.version > 0 {
		w.expect[w.stream] = journal.Version(w.version)
	}
	receipt, err := j.Append(ctx, journal.Write{
		Events: []events.Draft{{
			Stream: w.stream, Kind: "bench.appended", SchemaVersion: 1,
			ContentType: "application/octet-stream", Payload: w.payload, Parents: w.parents(),
		}},
		Expect: w.expect,
	})
	if err != nil {
		return err
	}
	w.before, w.last = w.last, receipt.Events[0].Ref()
	w.version++
	ref := w.last
	w.recent[w.number].Store(&ref)
	return nil
}

// parents are the writer's own previous event, and a recent one of another
// writer, each in turn; a writer that is alone takes one more of its own.
func (w *appendWriter) parents() []events.Ref {
	if w.version == 0 {
		return nil
	}
	refs := append(make([]events.Ref, 0, 2), w.last)
	if n := len(w.recent); n > 1 {
		other := (w.number + 1 + int(w.version%uint64(n-1))) % n
		if ref := w.recent[other].Load(); ref != nil {
			refs = append(refs, *ref)
		}
	} else if !w.before.ID.IsZero() {
		refs = append(refs, w.before)
	}
	return refs
}

// sizeOf returns the size of the files in and below dir.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// residentBytes is how much memory this process takes up, its storage engine's
// included, or 0 where the system does not say.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	var size, resident uint64
	if _, scanned := fmt.Sscan(string(b), &size, &resident); err != nil || scanned != nil {
		return 0
	}
	return resident * uint64(os.Getpagesize())
}
