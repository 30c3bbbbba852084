package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// journalRow is what bench intent prints of a journal whose events bring vectors.
type journalRow struct {
	Benchmark  string  `json:"benchmark"`
	Strategy   string  `json:"strategy"`
	Durability string  `json:"durability"`
	Intents    int     `json:"intents"`
	Events     uint64  `json:"events"`
	Writers    int     `json:"writers"`
	EventsPerS float64 `json:"events_per_s"`   // on the disk
	Assigned   float64 `json:"assigned_per_s"` // with the last one's intent known
	CPU        float64 `json:"cpu_us"`         // of the process, an event, until then
	Replay     float64 `json:"replay_per_s"`   // read again with their intents, which are trusted
}

const (
	journalTopics  = 1000
	journalWriters = 64
	journalBatch   = 32
	journalTime    = 2 * time.Second
)

// benchJournal measures how fast a journal takes events with vectors while it has a
// thousand intents. Nobody waits for the intent of an event here: assigning is
// behind the durable mark, and how far is told by Assigned.
func (a *app) benchJournal(ctx context.Context) error {
	data := a.data
	a.data = "" // a new directory, not that of the sets
	defer func() { a.data = data }()
	return a.inBenchDir(journal.LevelFsync, func(dir string) error {
		table := a.table()
		if !a.json() {
			fmt.Fprintf(a.streams.Out, "\na journal with %d topics, %d writers of %d events with vectors each\n", journalTopics, journalWriters, journalBatch)
			fmt.Fprintln(table, "strategy\tintents\tevents/s\tassigned/s\tCPU us\treplayed/s")
		}
		for _, s := range benchStrategies {
			if s.name != "two-phase" && s.name != "leader" {
				continue
			}
			r, err := measureJournal(ctx, filepath.Join(dir, s.name), s, journalTopics, journalTime)
			if err != nil {
				return err
			}
			if a.json() {
				err = a.object(r)
			} else {
				_, err = fmt.Fprintf(table, "%s\t%d\t%.0f\t%.0f\t%.1f\t%.0f\n", s.name, r.Intents, r.EventsPerS, r.Assigned, r.CPU, r.Replay)
			}
			if err != nil {
				return err
			}
		}
		return table.Flush()
	})
}

func measureJournal(ctx context.Context, dir string, s benchStrategy, topics int, during time.Duration) (row *journalRow, err error) {
	j, err := journal.Open(dir, journal.Options{
		Mark:         filepath.Join(dir, "MARK"),
		IntentBudget: time.Millisecond,
		NewIntents:   func(_ string, d int) intent.Strategy { return s.make(d) },
	})
	if err != nil {
		return nil, &exit{ExitRefused, err}
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	vectors := topicVectors(topics, 8*topics)
	var at atomic.Uint64
	// write appends so many events, with the vectors in turn.
	write := func(ctx context.Context, n int) error {
		w := journal.Write{Events: make([]events.Draft, n)}
		for i := range w.Events {
			k := at.Add(1)
			w.Events[i] = events.Draft{
				Stream: "bench", Kind: "bench.meant", SchemaVersion: 1, ContentType: events.ContentTypeJSON,
				Payload: fmt.Appendf(nil, `{"n":%d}`, k), Embedding: vectors[k%uint64(len(vectors))],
			}
		}
		_, err := j.Append(ctx, w)
		return err
	}
	for range len(vectors) / journalBatch {
		if err := write(ctx, journalBatch); err != nil {
			return nil, err
		}
	}
	if err := assigned(ctx, j); err != nil {
		return nil, err
	}
	before, begun, cpu := j.Position(), time.Now(), cpuTime()
	if err := manyWriters(ctx, begun.Add(during), func(ctx context.Context) error { return write(ctx, journalBatch) }); err != nil {
		return nil, err
	}
	durable := time.Since(begun)
	n := j.Position() - before
	if err := assigned(ctx, j); err != nil {
		return nil, err
	}
	row = &journalRow{
		Benchmark: "journal with intents", Strategy: s.name, Durability: journal.LevelFsync.String(),
		Intents: j.Stats().Intents, Events: n, Writers: journalWriters,
		CPU:        microseconds(cpuTime()-cpu) / float64(n),
		EventsPerS: float64(n) / durable.Seconds(), Assigned: float64(n) / time.Since(begun).Seconds(),
	}
	for range 2 { // the second time counts
		read := uint64(0)
		begun := time.Now()
		for e, err := range j.Read(ctx, journal.Query{}) {
			if err != nil {
				return nil, err
			}
			if !e.Intent.ID.IsZero() {
				read++
			}
		}
		if row.Replay = float64(read) / time.Since(begun).Seconds(); read != j.Position() {
			return nil, fmt.Errorf("%d of %d events have an intent", read, j.Position())
		}
	}
	return row, nil
}

// assigned waits until the last event has its intent.
func assigned(ctx context.Context, j *journal.Journal) error {
	last := j.Position()
	ctx, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	for step, err := range j.Follow(ctx, journal.Query{Intent: events.ID{1}}) { // of nothing; it waits for all
		if err != nil {
			return err
		}
		if step.Position >= last {
			return nil
		}
	}
	return nil
}

// manyWriters calls write from as many goroutines as there are writers until a time.
func manyWriters(ctx context.Context, end time.Time, write func(context.Context) error) error {
	errs := make([]error, journalWriters)
	var writers sync.WaitGroup
	for i := range errs {
		writers.Go(func() {
			for errs[i] == nil && time.Now().Before(end) {
				errs[i] = write(ctx)
			}
		})
	}
	writers.Wait()
	return errors.Join(errs...)
}

// topicVectors are vectors of topics in turn, with cosines of about .97 within one.
func topicVectors(k, n int) [][]float32 {
	const dim = intent.DefaultDimension
	r := rand.New(rand.NewPCG(1, 2))
	normal := func() []float32 {
		x := make([]float32, dim)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	topics := make([][]float32, k)
	for i := range topics {
		topics[i] = normal()
	}
	out := make([][]float32, n)
	for i := range out {
		x := normal()
		for d, c := range topics[i%k] {
			x[d] = c + 0.25*x[d]
		}
		out[i] = x
	}
	return out
}
