package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
)

// What may be under way at a time. Syncs are shared by all that wait for one,
// so this also bounds how many events a sync can be shared by.
const (
	flightLines = 4096
	flightBytes = 16 << 20
	readAhead   = 16 // lines that are read and parsed before they are needed
)

func (a *app) ingestCommand() *cobra.Command {
	var durability string
	var f embedFlags
	c := &cobra.Command{
		Use:   "ingest FILE|-",
		Short: "Journal events from a file, one CloudEvent a line",
		Long: `Journals CloudEvents 1.0 from FILE, or from standard input for -: one JSON object
a line, plain or compressed with gzip. The source of an event names its stream,
which is the agent that journals it, and the type is its kind.

tokaparents lists the causes of an event, separated by spaces. Each is the id of
an event in the journal or earlier in the input, or the id that such an event
came with: the one of the same source if there is one, else the only one of any
source. An event that is in the journal already is a duplicate and changes
nothing, so an input can be given again, in whole or after an interruption.

With --embed, an event that comes without a vector gets one, computed from its
text: a payload that is text, or the texts in a payload of JSON. The vector is
stored with the event and never computed again. An event whose vector cannot be
computed is taken without one, which is reported and counted.

A line that cannot be taken is reported on standard error, as "line N: reason"
or, with -o json, as {"line":N,"reason":"..."}; the others are taken. The last
line of the output counts what was ingested. The exit code is 1 if a line was
rejected or the input could not be read to its end.`,
		Example: lines(
			"toka-node ingest --data ./data events.jsonl.gz",
			"toka-node ingest --data ./data --embed static events.jsonl.gz",
			"curl -s https://example.org/events.jsonl | toka-node ingest --data ./data -"),
		Args: args(1, "one FILE, or - for standard input"),
		RunE: func(c *cobra.Command, files []string) error {
			level, err := journal.ParseLevel(durability)
			if err != nil || level == journal.LevelMemory {
				return usage("durability %q: use fsync or os", durability)
			}
			if err := a.checkIntents(); err != nil {
				return err
			}
			if a.held != nil && a.held.incoming != nil && !c.Flags().Changed("embed") {
				f.from = a.held.incoming.from // as for all that comes in there
			}
			e, err := a.embedder(&f)
			if err != nil {
				return err
			}
			return a.ingest(c.Context(), files[0], level, e)
		},
	}
	a.withIntents(c)
	c.Flags().StringVar(&durability, "durability", journal.LevelFsync.String(),
		"when an event counts as ingested: fsync (on the disk) or os (handed to the system; lost in a power cut)")
	f.flags(c, "none")
	return a.withData(c)
}

// ingest reads first and opens the journal then, so that a wrong name does not
// leave a directory behind.
func (a *app) ingest(ctx context.Context, name string, level journal.Level, e intent.Embedder) error {
	input, size, err := a.input(name)
	if err != nil {
		return err
	}
	defer func() { _ = input.Close() }()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	reader, err := cloudevents.NewReader(interruptible(reading, input))
	if err != nil {
		return unread(ctx, name, err)
	}
	j, letGo, err := a.borrow(journal.Options{Level: level})
	if err != nil {
		return err
	}
	if e != nil {
		if err := j.UseModel(ctx, journal.Model{Name: e.Name(), Dimension: e.Dimension()}); err != nil {
			return errors.Join(&exit{ExitRefused, fmt.Errorf("embed: %w", err)}, letGo())
		}
	}
	sys, err := actors.Start(j, a.registry, actors.Options{})
	if err != nil {
		return errors.Join(err, letGo())
	}
	g := &ingest{
		j: j, sys: sys, reader: reader, name: name, embedder: e,
		flying: newFlying(), landed: make(chan struct{}, 1),
		progress: newProgress(a.streams.Err, size), json: a.json(),
	}
	err = g.run(reading)
	stop()
	g.progress.end()
	// The first error is the reason for those that follow.
	for _, end := range []func() error{func() error { return sys.Stop(context.WithoutCancel(ctx)) }, letGo} {
		if e := end(); err == nil {
			err = e
		}
	}
	if e != nil {
		g.count.Embedded, g.count.Unembedded = &g.embedded, &g.unembedded
	}
	if e := a.ingested(&g.count); err == nil {
		err = e
	}
	if err == nil && g.count.Rejected > 0 {
		return &exit{code: ExitFailed} // each was reported
	}
	return err
}

// input opens what is to be ingested; size is 0 if it cannot be told.
func (a *app) input(name string) (r io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(a.streams.In), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w; give a file of events, or - for standard input", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, nil
}

// unread says why an input was not read to its end.
func unread(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted; what was counted is stored, run the same again to go on")
	}
	if name == "-" {
		name = "standard input"
	}
	return fmt.Errorf("%s: %w; what came before is ingested, give the whole input again to go on", name, err)
}

type counts struct {
	Ingested   uint64 `json:"ingested"`
	Duplicates uint64 `json:"duplicates"`
	Rejected   uint64 `json:"rejected"`

	// With --embed: lines that got a vector, and lines with a text that got
	// none.
	Embedded   *uint64 `json:"embedded,omitempty"`
	Unembedded *uint64 `json:"unembedded,omitempty"`
}

func (a *app) ingested(c *counts) error {
	if a.json() {
		return a.object(c)
	}
	embedded := ""
	if c.Embedded != nil {
		embedded = fmt.Sprintf(", embedded %d, without a vector %d", *c.Embedded, *c.Unembedded)
	}
	_, err := fmt.Fprintf(a.streams.Out, "ingested %d, duplicates %d, rejected %d%s\n", c.Ingested, c.Duplicates, c.Rejected, embedded)
	return err
}

// ingest is one run. Everything in it belongs to the goroutine of run, which
// hands events to their recorders strictly in the order of the input and never
// waits for a single one to become durable.
type ingest struct {
	j        *journal.Journal
	sys      *actors.System
	reader   *cloudevents.Reader
	name     string // of the input
	progress *progress
	json     bool
	count    counts

	embedder             intent.Embedder // nil: vectors come with events, or not at all
	embedded, unembedded uint64

	queue  []*flight // lines that are not accounted for, in order
	bytes  int64     // of what is in queue
	flying flying    // the events of queue that are new
	landed chan struct{}

	// failing ends when the journal fails: its recorders answer nobody any
	// more then. It does not end with an interruption, so that every event
	// that was handed over is accounted for.
	failing context.Context
}

// flight is a line that was taken and is not accounted for yet.
type flight struct {
	line   int
	size   int64
	source string
	id     string // as it came
	event  events.ID
	tokens map[events.ID]string // what its parents were called

	// Set by the journal before landed.
	duplicate bool
	err       error
	landed    atomic.Bool
}

// parsed is a line on its way from the reader.
type parsed struct {
	line int
	size int64
	in   cloudevents.Incoming
	err  error // why the line is rejected
	end  error // why there are no more lines; io.EOF at the end

	// What came of the batch of which this is the first line; see embedding.
	embedded, unembedded int
	unembeddedFor        error
}

// run takes line after line until the input ends or ctx does, and then waits
// for what is under way. The error is why it ended early.
func (g *ingest) run(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	input := g.read(reading)
	if g.embedder != nil {
		input = g.embedding(reading, input)
	}
	failing, give := context.WithCancelCause(context.WithoutCancel(ctx))
	defer give(nil)
	g.failing = failing
	go func() {
		select {
		case <-g.j.Failed():
			give(g.j.Err())
		case <-failing.Done():
		}
	}()
	interrupted := ctx.Done()
	var end error
	for end == nil || len(g.queue) > 0 {
		next := input
		if end != nil || len(g.queue) >= flightLines || g.bytes >= flightBytes {
			next = nil
		}
		select {
		case l := <-next:
			if l.end != nil {
				end = l.end
				break
			}
			if err := g.take(l); err != nil {
				return err
			}
		case <-g.landed:
		case <-g.j.Failed():
			_ = g.account()
			return g.j.Err()
		case <-interrupted:
			end, interrupted = context.Cause(ctx), nil
		}
		if err := g.account(); err != nil {
			return err
		}
	}
	if !errors.Is(end, io.EOF) {
		return unread(ctx, g.name, end)
	}
	return nil
}

// read parses on a goroutine of its own, which leaves this one to look up
// parents. The last value has end set.
func (g *ingest) read(ctx context.Context) <-chan parsed {
	out := make(chan parsed, readAhead)
	go func() {
		for {
			var l parsed
			text, number, err := g.reader.Next()
			l.line, l.size = number, int64(len(text))+512
			switch {
			case err == nil:
				l.in, l.err = cloudevents.Parse(text)
			case errors.Is(err, cloudevents.ErrLineTooLong):
				l.err = err
			default:
				l.end = err
			}
			select {
			case out <- l:
			case <-ctx.Done():
				return
			}
			if l.end != nil {
				return
			}
		}
	}()
	return out
}

// take hands one event to its recorder. The error is why the run cannot go on;
// a rejected line is none.
func (g *ingest) take(l parsed) error {
	f := &flight{line: l.line, size: l.size, source: l.in.Source, id: l.in.OutsideID, event: l.in.Draft.ID}
	g.queue = append(g.queue, f)
	g.bytes += f.size
	g.noteEmbedded(&l)
	if l.err != nil {
		f.land(false, l.err)
		return nil
	}
	known, err := g.resolve(&l.in, f)
	if err != nil {
		if rejects(err) {
			f.land(false, err)
			return nil
		}
		return err
	}
	if !known {
		g.flying.add(f)
	}
	// The system keeps a recorder for each source until the run is over; that
	// is the one thing here that grows with the input.
	recorder, err := actors.SpawnRecorder(g.sys, f.source)
	if err != nil {
		return err
	}
	err = recorder.Record(g.failing, l.in.Draft, func(out actors.Outcome, err error) {
		f.land(out.Duplicate, err)
		select {
		case g.landed <- struct{}{}:
		default:
		}
	})
	if err != nil && !known {
		g.flying.remove(f)
	}
	return nil
}
