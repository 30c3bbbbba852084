package node

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// Root is the tree of commands.
func Root() *cobra.Command { return (&app{registry: actors.NewRegistry()}).root() }

// RunWith is Run with journals opened as change says.
func RunWith(ctx context.Context, r *actors.Registry, args []string, s Streams, change func(*journal.Options)) int {
	return (&app{registry: r, streams: s, change: change}).run(ctx, args)
}

// Reason is how a refusal of the journal's is reported.
func Reason(err error, tokens map[events.ID]string) string {
	return (&flight{id: "1", source: "s", tokens: tokens, err: err}).reason()
}

// Bar draws a progress bar on w as on a terminal, a line above it in the
// middle, and takes it away.
func Bar(w io.Writer, line string) {
	p := &progress{w: w}
	p.show(100)
	p.set(50)
	p.above(func(w io.Writer) { _, _ = io.WriteString(w, line) })
	p.set(100)
	p.end()
}

// TextOf is the text of a payload that is embedded.
func TextOf(contentType string, payload []byte) string { return textOf(contentType, payload) }

// EventBar draws on w, as on a terminal, that so many events were read.
func EventBar(w io.Writer, events uint64) {
	progress, end := newEventBar(w, "reading", "and then")
	progress(events/2, events)
	progress(events, events)
	end()
}

// BenchJournal measures a journal with so many topics for a moment, and returns the
// fields that bench intent prints.
func BenchJournal(ctx context.Context, dir, strategy string, topics int) (fields map[string]any, err error) {
	i := slices.IndexFunc(benchStrategies, func(s benchStrategy) bool { return s.name == strategy })
	row, err := measureJournal(ctx, dir, benchStrategies[i], topics, 50*time.Millisecond)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(row)
	if err != nil {
		return nil, err
	}
	return fields, json.Unmarshal(b, &fields)
}

// Incoming gives drafts their vectors as a node does for events that come in.
func Incoming(ctx context.Context, e intent.Embedder, j *journal.Journal, drafts []events.Draft) {
	i := &incoming{embedder: e, log: slog.New(slog.DiscardHandler), busy: make(chan struct{}, 1), wait: embedLeast}
	i.embed(ctx, j, drafts)
}

// EmbedMissing does as intents embed does.
func EmbedMissing(ctx context.Context, e intent.Embedder, j *journal.Journal, s Streams) error {
	return (&app{streams: s}).embedMissing(ctx, j, e)
}
