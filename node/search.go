package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
)

// maxFound bounds what a search holds in memory.
const maxFound = 10_000

func (a *app) searchCommand() *cobra.Command {
	var l likeness
	var limit int
	c := &cobra.Command{
		Use:   "search --like TEXT",
		Short: "Find the events that mean most nearly what a text does",
		Long: `Compares the vector of a text with the stored vector of every event, and lists the
nearest events, the nearest first and of equals the oldest. Events without a vector
are not found; see ingest --embed.

The text has to be embedded by what embedded the events. How near is near depends on
that: with the built-in embedder, sentences that mean the same have similarities of
.3 to .7, and unrelated ones about 0.`,
		Example: lines(
			"toka-node search --data ./data --like 'the customer wants a refund'",
			"toka-node search --data ./data --like 'fix a data race' --min 0.5 --limit 100 -o names"),
		Args: args(0, "no arguments; the text is that of --like"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case l.text == "":
				return usage("--like is missing: give the text to compare with")
			case limit < 1 || limit > maxFound:
				return usage("limit %d: use 1 to %d", limit, maxFound)
			}
			return a.read(func(j *journal.Journal) error { return a.search(c.Context(), j, &l, limit) })
		},
	}
	l.flags(c, 0)
	c.Flags().IntVar(&limit, "limit", 10, "at most so many")
	return a.withData(c, asNames)
}

// likeness is a text to compare events with, as flags give it.
type likeness struct {
	text  string
	min   float64
	embed embedFlags
}

func (l *likeness) flags(c *cobra.Command, least float64) {
	c.Flags().StringVar(&l.text, "like", "", "the text whose meaning is wanted")
	c.Flags().Float64Var(&l.min, "min", least, "only events of this similarity or more, the cosine of the vectors")
	l.embed.flags(c, "static")
}

// like is the vector of a text.
type like struct {
	min    float64
	model  string // as journal.Query has it
	vector intent.Vector
	norm   float64
}

func (a *app) likeness(ctx context.Context, j *journal.Journal, l *likeness) (*like, error) {
	like, m, err := a.meant(ctx, l)
	if err != nil {
		return nil, err
	}
	if like.model, err = server.LikeModel(j, m.Name); err != nil {
		return nil, usage("%w: give --embed and --embed-model as for the events", err)
	}
	var others []string
	for _, c := range j.Models() {
		if !c.Is(like.model) {
			others = append(others, cmp.Or(c.Name, journal.UnnamedModel))
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(a.streams.Err, "toka-node: only events embedded by %s are compared, and none that were by %s; see toka-node intents model\n", like.model, strings.Join(others, ", "))
	}
	return like, nil
}

// meant is the vector of a text, and the model that made it.
func (a *app) meant(ctx context.Context, l *likeness) (x *like, m journal.Model, err error) {
	if math.IsNaN(l.min) || l.min < -1 || l.min > 1 {
		return nil, m, usage("min %v: a similarity is -1 to 1", l.min)
	}
	e, err := a.embedder(&l.embed)
	if err != nil {
		return nil, m, err
	}
	if e == nil {
		return nil, m, usage("--like needs the vector of the text: give --embed static or the URL of a server")
	}
	vectors, err := e.Embed(ctx, []string{l.text})
	if err != nil {
		return nil, m, err
	}
	if len(vectors) != 1 || vectors[0] == nil {
		return nil, m, usage("like %q: %s makes nothing of it", clip(l.text), e.Name())
	}
	v, err := intent.Quantize(vectors[0], e.Dimension())
	if err != nil {
		return nil, m, err
	}
	return &like{min: l.min, vector: v, norm: float64(kernel.Dot16(v, v))}, journal.Model{Name: e.Name(), Dimension: e.Dimension()}, nil
}

// of returns how near v is, if it can be compared.
func (x *like) of(v intent.Vector) (similarity float64, ok bool) {
	if len(v) != len(x.vector) {
		return 0, false
	}
	return float64(kernel.Dot16(x.vector, v)) / math.Sqrt(x.norm*float64(kernel.Dot16(v, v))), true
}

// found is an event that a search found.
type found struct {
	position   uint64
	similarity float64
}

// nearest returns the events that are nearest to x, and how many events had a
// vector to compare.
func (x *like) nearest(ctx context.Context, j *journal.Journal, limit int) (best []found, compared uint64, err error) {
	for e, err := range j.Vectors(ctx, 0) {
		if err != nil {
			return nil, 0, err
		}
		s, ok := x.of(e.Vector)
		if !ok || !e.Model.Is(x.model) {
			continue
		}
		compared++
		if s < x.min || len(best) == limit && s <= best[limit-1].similarity {
			continue
		}
		if len(best) == limit {
			best = best[:limit-1]
		}
		// Behind its equals, which are older.
		at, _ := slices.BinarySearchFunc(best, s, func(f found, s float64) int {
			if f.similarity >= s {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, found{e.Position, s})
	}
	return best, compared, nil
}

// foundJSON is an event as search prints it.
type foundJSON struct {
	Similarity float64 `json:"similarity"`
	eventJSON
}

func (a *app) search(ctx context.Context, j *journal.Journal, l *likeness, limit int) error {
	x, err := a.likeness(ctx, j, l)
	if err != nil {
		return err
	}
	best, compared, err := x.nearest(ctx, j, limit)
	if err != nil {
		return err
	}
	if compared == 0 {
		fmt.Fprintf(a.streams.Err, "toka-node: no event has a vector of %d dimensions to compare with; toka-node ingest --embed gives events theirs\n", len(x.vector))
	}
	t := a.table()
	if a.output == "table" {
		fmt.Fprintln(t, "SIMILARITY\tCURSOR\tRECORDED\tSTREAM\tKIND\tDIGEST\tTEXT")
	}
	positions := func(yield func(uint64, error) bool) {
		for _, f := range best {
			if !yield(f.position, nil) {
				return
			}
		}
	}
	i := 0
	for e, err := range j.Each(ctx, positions) {
		if err != nil {
			return errors.Join(err, t.Flush())
		}
		similarity := best[i].similarity
		i++
		if e, err = embedded(ctx, j, e); err != nil {
			return errors.Join(err, t.Flush())
		}
		switch a.output {
		case "json":
			err = a.object(foundJSON{similarity, toJSON(e)})
		case asNames:
			_, err = fmt.Fprintln(a.streams.Out, e.ID)
		default:
			fmt.Fprintf(t, "%.3f\t%s\t%s\t%s\t%s\t%s\t%s\n", similarity, journal.Cursor{Epoch: e.Epoch, Position: e.Position},
				e.RecordTime.Format(time.RFC3339), printable(e.Stream), printable(e.Kind), e.Digest.Short(), abstract(e))
		}
		if err != nil {
			return err
		}
	}
	return t.Flush()
}

// embedded returns the event that a vector is of: e itself, or, where e added
// the vector later, the one that it was added to.
func embedded(ctx context.Context, j *journal.Journal, e events.Event) (events.Event, error) {
	if e.Stream != journal.StreamIntents || e.Kind != journal.KindIntentEmbedded {
		return e, nil
	}
	var order struct {
		Position uint64 `json:"position"`
	}
	if err := json.Unmarshal(e.Payload, &order); err != nil {
		return e, fmt.Errorf("position %d: %w", e.Position, err)
	}
	return j.At(ctx, order.Position)
}

// abstract is the beginning of an event's text, on one line.
func abstract(e events.Event) string {
	text := strings.Join(strings.Fields(textOf(e.ContentType, e.Payload)), " ")
	return cmp.Or(shorten(printable(text), 64), "-")
}
