package node

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

func (a *app) replayCommand() *cobra.Command {
	var skip bool
	c := &cobra.Command{
		Use:   "replay",
		Short: "Do the recorded work again and compare",
		Long: `Reads the journal once and does the work of every agent and resource again:
folds their events, decides each recorded command and reaction anew, and compares
the events and states with what is recorded. Nothing is written, and nothing that
an agent would send goes out.

The behaviours are those of this program. An agent of another one ends the replay
with an error that names it, unless --skip-unknown is given.

Exits with 3 if anything diverges. The first divergence is shown with both sides;
with -o json all that were kept are in one object.`,
		Example: lines(
			"toka-node replay --data ./shop",
			"toka-node replay --data ./shop -o json | jq .divergences",
			"toka-node replay --data ./data --skip-unknown"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.read(func(j *journal.Journal) error {
				progress, end := eventBar(a.streams.Err, "replaying", "")
				r, err := simulations.Replay(c.Context(), j, a.registry, simulations.ReplayOptions{SkipUnknown: skip, Progress: progress})
				end()
				if errors.Is(err, actors.ErrUnknownBehaviour) {
					return fmt.Errorf("%w; or leave out such streams with --skip-unknown", err)
				}
				if err != nil {
					return err
				}
				return a.replayed(&r)
			})
		},
	}
	c.Flags().BoolVar(&skip, "skip-unknown", false, "leave out streams of behaviours that this program does not have")
	return a.withData(c)
}

// replayed prints a report and turns a divergence into the exit code for it.
func (a *app) replayed(r *simulations.Report) error {
	if a.json() {
		if err := a.object(r); err != nil {
			return err
		}
	} else if _, err := io.WriteString(a.streams.Out, replayText(r)); err != nil {
		return err
	}
	if !r.OK {
		return &exit{code: ExitDamage}
	}
	return nil
}

func replayText(r *simulations.Report) string {
	var b strings.Builder
	word := "ok"
	if !r.OK {
		word = "DIVERGED"
	}
	fmt.Fprintf(&b, "%s: %d events of %d agents and resources; %d commands and %d reactions done again, %d states compared\n",
		word, r.Events, r.Agents, r.Commands, r.Reactions, r.StateDigests)
	if r.NotReplayed > 0 {
		fmt.Fprintf(&b, "left out, because this program does not have the behaviour: %s\n", counted(r.NotReplayed, "stream"))
	}
	fmt.Fprintf(&b, "state %s\n", r.State)
	if d, ok := r.First(); ok {
		fmt.Fprintf(&b, "\nthe first divergence is at position %d, agent %s: %s\n  recorded  %s\n  produced  %s\n",
			d.Position, printable(d.Agent), d.Field, printable(d.Recorded), printable(d.Produced))
		if more := uint64(len(r.Divergences)-1) + r.More; more > 0 {
			fmt.Fprintf(&b, "and %d more; -o json lists them\n", more)
		}
	}
	return b.String()
}
