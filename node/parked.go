package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
)

func (a *app) parkedCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "parked",
		Short: "List, show and retry messages that were set aside",
		Long: `A message that keeps breaking its agent is set aside after its last try, and so
is an event with an effect of which it is not known whether it happened. Both
stay until somebody has them tried again.`,
		Example: lines("toka-node parked list --data ./data", "toka-node parked retry --data ./data 0197…"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; run toka-node parked --help for a list", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	c.AddCommand(a.parkedListCommand(), a.parkedShowCommand(), a.parkedRetryCommand())
	return c
}

func (a *app) parkedListCommand() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use: "list", Short: "List what is parked",
		Example: lines("toka-node parked list --data ./data", "toka-node parked list --data ./data --agent courier -o json"),
		Args:    args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.read(func(j *journal.Journal) error {
				all, err := actors.ListParked(c.Context(), j, agent)
				if err != nil {
					return err
				}
				if a.json() {
					for _, p := range all {
						if err := a.object(p); err != nil {
							return err
						}
					}
					return nil
				}
				if a.output == asNames {
					for i := range all {
						if err := a.name(all[i].ID); err != nil {
							return err
						}
					}
					return nil
				}
				t := a.table()
				fmt.Fprintln(t, "ID\tPARKED\tAGENT\tTRIES\tSTATE\tREASON")
				for _, p := range all {
					fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", p.ID, p.Time.UTC().Format(time.RFC3339), printable(p.Agent), p.Attempts, parkedState(&p), inShort(p.Reason))
				}
				return t.Flush()
			})
		},
	}
	c.Flags().StringVar(&agent, "agent", "", "only of this agent")
	return a.withData(c, asNames)
}

func parkedState(p *actors.Parked) string {
	switch {
	case p.Retry != nil:
		return "retry asked for"
	case p.Effect != "":
		return "effect in doubt"
	}
	return "parked"
}

func (a *app) parkedShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show a parked message, why it is, and the stack",
		Example: lines("toka-node parked show --data ./data 0197…", "toka-node parked show --data ./data 0197… -o json"),
		Args:    args(1, "an event: its id, the id it came with, or the beginning of its digest"),
		RunE: func(c *cobra.Command, ids []string) error {
			return a.read(func(j *journal.Journal) error {
				p, err := a.findParked(c, j, ids[0])
				if err != nil {
					return err
				}
				message, err := j.ByID(c.Context(), p.Message)
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(struct {
						actors.Parked
						Event eventJSON `json:"event"`
					}{p, toJSON(message)})
				}
				t := a.table()
				row := func(name, value string) { fmt.Fprintf(t, "%s\t%s\n", name, value) }
				row("id", p.ID.String())
				row("agent", printable(p.Agent)+" ("+printable(p.Behaviour)+")")
				row("parked", p.Time.UTC().Format(time.RFC3339Nano)+fmt.Sprintf(", at position %d, after %d tries", p.Position, p.Attempts))
				row("message", fmt.Sprintf("%s %s of stream %s, position %d", message.ID, printable(message.Kind), printable(message.Stream), message.Position))
				row("state", parkedState(&p))
				if p.Effect != "" {
					row("effect", printable(p.Effect)+", key "+p.EffectKey)
				}
				if err := t.Flush(); err != nil {
					return err
				}
				out := a.streams.Out
				fmt.Fprintf(out, "reason\n%s\n", indented(p.Reason))
				if isJSON(message) {
					fmt.Fprintf(out, "payload\n%s\n", indented(string(message.Payload)))
				}
				if p.Stack != "" {
					fmt.Fprintf(out, "stack\n%s\n", indented(p.Stack))
				}
				return nil
			})
		},
	}
	return a.withData(c)
}

func (a *app) findParked(c *cobra.Command, j *journal.Journal, text string) (actors.Parked, error) {
	e, err := resolve(c, j, text)
	if err != nil {
		return actors.Parked{}, err
	}
	return actors.FindParked(c.Context(), j, e.ID)
}

func (a *app) parkedRetryCommand() *cobra.Command {
	var result, failed string
	c := &cobra.Command{
		Use: "retry ID", Short: "Have a parked message tried again",
		Long: `Asks for a parked message to be tried again. The request is journaled: an agent
that is live takes it up at once, another one when it is live again.

If the message is parked because of an effect in doubt, its result can be put on
record first: then the effect is not called again.`,
		Example: lines(
			"toka-node parked retry --data ./data 0197…",
			`toka-node parked retry --data ./data 0197… --result '{"receipt":"A-17"}'`,
			"toka-node parked retry --data ./data 0197… --failed 'the card was stolen'"),
		Args: args(1, "an event: its id, the id it came with, or the beginning of its digest"),
		RunE: func(c *cobra.Command, ids []string) error {
			r := actors.Resolution{Failed: failed}
			if c.Flags().Changed("result") {
				r.Result = json.RawMessage(result)
			}
			if r.Result != nil && failed != "" {
				return usage("--result and --failed: an effect has one of them")
			}
			if r.Result != nil && !json.Valid(r.Result) {
				return usage("--result: %.60q is not JSON", result)
			}
			j, letGo, err := a.borrow(journal.Options{MustExist: true})
			if err != nil {
				return err
			}
			return errors.Join(a.retryParked(c, j, ids[0], r), letGo())
		},
	}
	c.Flags().StringVar(&result, "result", "", "JSON: the effect in doubt happened, and this came of it")
	c.Flags().StringVar(&failed, "failed", "", "why the effect in doubt counts as failed")
	return a.withData(c)
}

func (a *app) retryParked(c *cobra.Command, j *journal.Journal, text string, r actors.Resolution) error {
	p, err := a.findParked(c, j, text)
	if err != nil {
		return err
	}
	if r.Result != nil || r.Failed != "" {
		if err := actors.ResolveEffect(c.Context(), j, p.ID, r); err != nil {
			return err
		}
	}
	e, err := actors.RetryParked(c.Context(), j, p.ID)
	if err != nil {
		return err
	}
	if a.json() {
		return a.object(toJSON(e))
	}
	fmt.Fprintf(a.streams.Out, "asked %s to try %s again (event %s)\n", printable(p.Agent), p.Message, e.ID)
	return nil
}

// indented is text of several lines, each printable and set in.
func indented(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		l = strings.TrimRight(l, "\n")
		b.WriteString("  " + printable(strings.ReplaceAll(l, "\t", "    ")) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
