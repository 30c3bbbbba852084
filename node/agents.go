package node

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
)

// agentJSON is an agent as -o json prints it: what the journal says, and, where
// this process runs it, how it is.
type agentJSON struct {
	actors.Summary
	Live *actors.Info `json:"live,omitempty"`
}

func (a *app) agentsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "agents",
		Short: "List the agents and resources of a journal",
		Long: `Lists the agents and resources that have written to the journal: behaviour,
events, failures, parked messages and the last failure. Where the program that
has the journal open runs them, it also says how they are: the supervisor above
each, its state, restarts, how many messages wait and for how long.`,
		Example: lines("toka-node agents --data ./data", "toka-node agents --data ./data -o json | jq 'select(.parked > 0)'"),
		Args:    args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.read(func(j *journal.Journal) error {
				known, err := actors.Summaries(c.Context(), j)
				if err != nil {
					return err
				}
				return a.showAgents(a.merged(known))
			})
		},
	}
	return a.withData(c, asNames)
}

// merged adds what is live to what the journal knows.
func (a *app) merged(known []actors.Summary) []agentJSON {
	all := make([]agentJSON, len(known))
	for i, s := range known {
		all[i].Summary = s
	}
	if a.held == nil || a.held.node.System == nil {
		return all
	}
	for _, info := range a.held.node.System.Agents() {
		i := slices.IndexFunc(all, func(g agentJSON) bool { return g.Name == info.Name })
		if i < 0 {
			i = len(all)
			all = append(all, agentJSON{Summary: actors.Summary{Name: info.Name, Behaviour: info.Behaviour}})
		}
		all[i].Live = &info
	}
	// As a tree: what has the same supervisor stands together.
	above := func(g agentJSON) string {
		if g.Live == nil {
			return ""
		}
		return g.Live.Supervisor
	}
	slices.SortFunc(all, func(x, y agentJSON) int {
		return cmp.Or(cmp.Compare(above(x), above(y)), cmp.Compare(x.Name, y.Name))
	})
	return all
}

func (a *app) showAgents(all []agentJSON) error {
	if a.json() {
		for _, g := range all {
			if err := a.object(g); err != nil {
				return err
			}
		}
		return nil
	}
	if a.output == asNames {
		for i := range all {
			if err := a.name(all[i].Name); err != nil {
				return err
			}
		}
		return nil
	}
	t := a.table()
	fmt.Fprintln(t, "AGENT\tBEHAVIOUR\tSTATE\tEVENTS\tFAILURES\tPARKED\tRESTARTS\tMAILBOX\tLAST FAILURE")
	at := ""
	for _, g := range all {
		state, restarts, mailbox, indent := "not live here", "-", "-", ""
		if g.GivenUp {
			state = "given up"
		}
		if l := g.Live; l != nil {
			state, restarts, mailbox = l.State, fmt.Sprint(l.Restarts), fmt.Sprint(l.Mailbox)
			if l.Mailbox > 0 {
				mailbox += " for " + l.Waiting.Round(time.Millisecond).String()
			}
			if l.Supervisor != at {
				at = l.Supervisor
				fmt.Fprintf(t, "%s\tsupervisor\t\t\t\t\t\t\t\n", printable(at))
			}
			if at != "" {
				indent = strings.Repeat("  ", strings.Count(at, "/")+1)
			}
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", indent, printable(g.Name), printable(g.Behaviour), state,
			g.Events, g.Failures, g.Parked, restarts, mailbox, inShort(g.Failure))
	}
	return t.Flush()
}

// inShort is the beginning of a text, in one line.
func inShort(s string) string {
	const most = 60
	if s == "" {
		return "-"
	}
	s, _, more := strings.Cut(s, "\n")
	if r := []rune(s); len(r) > most {
		s, more = string(r[:most]), true
	}
	if more {
		s += "…"
	}
	return printable(s)
}

func (a *app) agentCommand() *cobra.Command {
	var at string
	c := &cobra.Command{
		Use:   "agent NAME",
		Short: "Show the state of an agent, as of now or of any position",
		Long: `Folds the events of an agent or a resource, up to a cursor if one is given, and
prints its state as JSON. Its behaviour must be registered in this program.`,
		Example: lines("toka-node agent --data ./shop stock", "toka-node agent --data ./shop order-3 --at 1-40"),
		Args:    args(1, "the name of an agent"),
		RunE: func(c *cobra.Command, names []string) error {
			return a.read(func(j *journal.Journal) error {
				position := j.Position()
				if at != "" {
					var err error
					if position, err = j.ParseCursor(at); err != nil {
						return &exit{ExitUsage, err}
					}
					if position == 0 {
						return usage("--at 0: positions begin at 1")
					}
				}
				s, err := actors.StateAt(c.Context(), j, a.registry, names[0], position)
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(s)
				}
				var b bytes.Buffer
				if err := json.Indent(&b, s.State, "", "  "); err != nil {
					return fmt.Errorf("agent %q: its state: %w", s.Agent, err)
				}
				fmt.Fprintf(a.streams.Out, "%s (%s) as of position %d, %d events\n%s\n", printable(s.Agent), printable(s.Behaviour), s.Position, s.Version, &b)
				return nil
			})
		},
	}
	c.Flags().StringVar(&at, "at", "", "as of this cursor; default now")
	return a.withData(c)
}
