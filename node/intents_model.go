package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/openai"
	"github.com/tokaworks/toka/intent/static"
	"github.com/tokaworks/toka/journal"
)

// modelJSON is a model that a journal has or had.
type modelJSON struct {
	After     string `json:"after"` // the cursor after which vectors are of it
	Model     string `json:"model"`
	Dimension int    `json:"dimension,omitempty"`
}

func (a *app) intentsModel() *cobra.Command {
	var f embedFlags
	var to journal.Model
	c := &cobra.Command{
		Use:   "model",
		Short: "Show what model the vectors of events are of, or change it",
		Long: `Shows the models that the vectors of events are of, each with the cursor after which
they are.

With --embed, or with --to and --dimension for vectors that events bring along, it
changes the model, as an event in the stream $intents: after it, vectors of the model
before are refused. Vectors of two models are never compared: intents begin anew there,
those of before keep their events, and --like finds events of one model at a time.

Events that came before keep their vectors. A node that serves with --embed goes on
without vectors until it is started with that of the new model.`,
		Example: lines(
			"toka-node intents model --data ./data",
			"toka-node intents model --data ./data --embed http://127.0.0.1:11434/v1 --embed-model nomic-embed-text",
			"toka-node intents model --data ./data --to all-mpnet-base-v2 --dimension 768"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.names(&to); err != nil {
				return err
			}
			if to.Name == "" {
				return a.read(a.listModels)
			}
			j, letGo, err := a.borrow(journal.Options{MustExist: true})
			if err != nil {
				return err
			}
			_, err = j.ChangeModel(c.Context(), to)
			switch {
			case errors.Is(err, events.ErrInvalid):
				err = &exit{ExitUsage, err}
			case errors.Is(err, journal.ErrModel):
				err = &exit{ExitRefused, err}
			case err == nil:
				err = a.listModels(j)
			}
			return errors.Join(err, letGo())
		},
	}
	f.flags(c, "none")
	c.Flags().StringVar(&to.Name, "to", "", "change to the model of this name")
	c.Flags().IntVar(&to.Dimension, "dimension", intent.DefaultDimension, "the dimension of the model of --to")
	return a.withData(c, asNames)
}

// names says of what model the vectors are that would be computed. It asks no
// server.
func (f *embedFlags) names(m *journal.Model) error {
	if f.from == "none" {
		return nil
	}
	if m.Name != "" {
		return usage("give --to or --embed, not both")
	}
	if f.from == "static" {
		*m = journal.Model{Name: static.Embedder{}.Name(), Dimension: static.Embedder{}.Dimension()}
		return nil
	}
	e, err := openai.New(openai.Options{URL: f.from, Model: f.model, Dimension: f.dimension, Key: os.Getenv(embedKey)})
	if err != nil {
		return usage("embed: %w", err)
	}
	*m = journal.Model{Name: e.Name(), Dimension: e.Dimension()}
	return nil
}

func (a *app) listModels(j *journal.Journal) error {
	t := a.table()
	if a.output == "table" {
		fmt.Fprintln(t, "AFTER\tDIMENSION\tMODEL")
	}
	for _, m := range j.Models() {
		line := modelJSON{journal.Cursor{Epoch: j.Epoch(), Position: m.Position}.String(), cmp.Or(m.Name, journal.UnnamedModel), m.Dimension}
		if a.json() {
			if err := a.object(line); err != nil {
				return err
			}
			continue
		}
		if a.output == asNames {
			if err := a.name(line.Model); err != nil {
				return err
			}
			continue
		}
		dimension := "-"
		if m.Dimension > 0 {
			dimension = fmt.Sprint(m.Dimension)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", line.After, dimension, printable(line.Model))
	}
	return t.Flush()
}
