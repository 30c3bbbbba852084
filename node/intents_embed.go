package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// embeddedJSON is what intents embed prints.
type embeddedJSON struct {
	Embedded int `json:"embedded"`
	Without  int `json:"without"` // have a text and got none
}

func (a *app) intentsEmbed() *cobra.Command {
	var f embedFlags
	c := &cobra.Command{
		Use:   "embed",
		Short: "Give events their vectors that came without",
		Long: `Goes through the journal and gives each event with a text and without a vector the one
of its text, so that it gets an intent. Each is an event in the stream $intents; what
was journaled stays as it is. Run it again after a failure: it goes on.

Events come without a vector where the node or the ingest that took them had no --embed,
or their server of embeddings did not answer. On a journal that a node serves, the server
can only be the node's own: give the same --embed.`,
		Example: lines(
			"toka-node intents embed --data ./data --embed static",
			"toka-node intents embed --data ./data --embed http://127.0.0.1:11434/v1 --embed-model nomic-embed-text"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			e, err := a.embedder(&f)
			if err != nil {
				return err
			}
			if e == nil {
				return usage("--embed none: give static or the URL of a server")
			}
			j, letGo, err := a.borrow(journal.Options{MustExist: true})
			if err != nil {
				return err
			}
			return errors.Join(a.embedMissing(c.Context(), j, e), letGo())
		},
	}
	f.flags(c, "static")
	return a.withData(c)
}

func (a *app) embedMissing(ctx context.Context, j *journal.Journal, e intent.Embedder) error {
	var out embeddedJSON
	var batch []events.Event
	end := j.Position() // and not what this adds
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := j.UseModel(ctx, journal.Model{Name: e.Name(), Dimension: e.Dimension()}); err != nil {
			return &exit{ExitRefused, fmt.Errorf("embed: %w", err)}
		}
		drafts := make([]*events.Draft, len(batch))
		for i := range batch {
			drafts[i] = &events.Draft{ContentType: batch[i].ContentType, Payload: batch[i].Payload}
		}
		_, without, reason := embed(ctx, e, drafts)
		out.Without += without
		for i, d := range drafts {
			if len(d.Embedding) == 0 {
				continue
			}
			switch _, err := j.EmbedEventBy(ctx, e.Name(), batch[i].Position, d.Embedding); {
			case err == nil:
				out.Embedded++
			case !errors.Is(err, journal.ErrIDConflict): // somebody else has given it one
				return err
			}
		}
		batch = batch[:0]
		if reason != nil && !errors.Is(reason, intent.ErrEmbedding) {
			return fmt.Errorf("embed: %w; %d events have their vectors now, run it again for the rest", reason, out.Embedded)
		}
		return nil
	}
	for event, err := range j.Read(ctx, journal.Query{Before: end + 1}) {
		if err != nil {
			return err
		}
		if events.SystemStream(event.Stream) || events.SystemKind(event.Kind) || !event.EmbeddingDigest.IsZero() || event.SubjectKey != "" || textOf(event.ContentType, event.Payload) == "" {
			continue
		}
		switch v, err := j.Vector(ctx, event.Position); {
		case err != nil:
			return err
		case v != nil:
			continue // it was given one before
		}
		if batch = append(batch, event); len(batch) == embedLines {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if a.json() {
		return a.object(out)
	}
	_, err := fmt.Fprintf(a.streams.Out, "embedded %d, without %d\n", out.Embedded, out.Without)
	return err
}
