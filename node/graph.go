package node

import (
	"bufio"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
)

func (a *app) graphCommand() *cobra.Command {
	var depth, limit int
	var up, down bool
	c := &cobra.Command{
		Use:   "graph ID...",
		Short: "Draw what events led to and came from, as DOT or JSON",
		Long: `Prints the causal graph around events: themselves, their ancestors and their
descendants, with a link from each cause to each effect among them.

  -o dot   a drawing for Graphviz: dot -Tsvg
  -o json  one object: nodes in the order of the journal, and links

An ID is an event id, the id with which the event was ingested, or the beginning
of its digest. If there are more events than --limit, nothing is drawn.`,
		Example: lines(
			"toka-node graph --data ./data 5f3a9c --depth 3 | dot -Tsvg > around.svg",
			"toka-node graph --data ./data 5f3a9c --ancestors -o json"),
		Args: func(c *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				return usage("%s takes one ID or more; run %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
	}
	// Not withData: the output is another one, and the flag of all commands
	// that share theirs would have the default of whichever came last.
	data := c.Flags().String("data", "./data", "directory of the journal")
	output := c.Flags().StringP("output", "o", "dot", "output: dot or json")
	c.Flags().BoolVar(&up, "ancestors", false, "only ancestors, unless --descendants is given too")
	c.Flags().BoolVar(&down, "descendants", false, "only descendants, unless --ancestors is given too")
	c.Flags().IntVar(&depth, "depth", 0, "only events at most so many links away; 0 is no limit")
	c.Flags().IntVar(&limit, "limit", 2000, "refuse to draw more events than this; 0 is no limit")
	c.RunE = func(c *cobra.Command, ids []string) error {
		a.data, a.output = *data, *output
		if a.output != "dot" && a.output != "json" {
			return usage("output %q: use dot or json", a.output)
		}
		if limit < 0 || depth < 0 {
			return usage("depth %d, limit %d: use 0 for no limit, or a positive number", depth, limit)
		}
		return a.read(func(j *journal.Journal) error {
			about, err := positionsOf(c, j, ids)
			if err != nil {
				return err
			}
			found, err := around(c, j, up, down, depth, limit, about)
			if err != nil {
				return err
			}
			drawn := j.Each(c.Context(), eachOf(found))
			if a.json() {
				return a.graphJSON(drawn, found, about)
			}
			return a.graphDOT(drawn, found, about)
		})
	}
	return c
}

// around finds what is to be drawn, ascending.
func around(c *cobra.Command, j *journal.Journal, up, down bool, depth, limit int, about []uint64) ([]uint64, error) {
	seq := causal.Cone(c.Context(), j, depth, about...)
	switch {
	case up && !down:
		seq = causal.Ancestors(c.Context(), j, depth, about...)
	case down && !up:
		seq = causal.Descendants(c.Context(), j, depth, about...)
	}
	var found []uint64
	if up != down {
		found = append(found, about...)
	}
	for p, err := range seq {
		if err != nil {
			return nil, err
		}
		if found = append(found, p); limit > 0 && len(found) > limit {
			return nil, fmt.Errorf("more than %d events: give a smaller --depth, or a greater --limit (0 is no limit)", limit)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

func eachOf(positions []uint64) answer {
	return func(yield func(uint64, error) bool) {
		for _, p := range positions {
			if !yield(p, nil) {
				return
			}
		}
	}
}

type graphJSON struct {
	Nodes []nodeJSON `json:"nodes"`
	Links []linkJSON `json:"links"`
}

type nodeJSON struct {
	Position   uint64        `json:"position"`
	ID         events.ID     `json:"id"`
	OutsideID  string        `json:"outside_id,omitempty"`
	Digest     events.Digest `json:"digest"`
	Stream     string        `json:"stream"`
	Kind       string        `json:"kind"`
	Time       *time.Time    `json:"time,omitempty"`
	RecordTime time.Time     `json:"record_time"`
	Asked      bool          `json:"asked,omitempty"`        // it was named on the command line
	More       int           `json:"more_parents,omitempty"` // causes that are not drawn
}

type linkJSON struct {
	Cause   uint64 `json:"cause"`  // position
	Effect  uint64 `json:"effect"` // position
	Trigger bool   `json:"trigger,omitempty"`
}

// linksTo returns the links to e's causes among those that are drawn, and how
// many causes are not.
func linksTo(e events.Event, found []uint64) (links []linkJSON, more int) {
	for _, p := range newestFirst(e) {
		if _, drawn := slices.BinarySearch(found, p.Position); !drawn {
			more++
			continue
		}
		links = append(links, linkJSON{p.Position, e.Position, p.ID == e.Trigger})
	}
	return links, more
}

func (a *app) graphJSON(drawn iter.Seq2[events.Event, error], found, about []uint64) error {
	out := graphJSON{Nodes: []nodeJSON{}, Links: []linkJSON{}}
	for e, err := range drawn {
		if err != nil {
			return err
		}
		links, more := linksTo(e, found)
		n := nodeJSON{
			Position: e.Position, ID: e.ID, OutsideID: e.OutsideID(), Digest: e.Digest, Stream: e.Stream, Kind: e.Kind,
			RecordTime: e.RecordTime, Asked: slices.Contains(about, e.Position), More: more,
		}
		if !e.Time.IsZero() {
			n.Time = &e.Time
		}
		out.Nodes, out.Links = append(out.Nodes, n), append(out.Links, links...)
	}
	return a.object(out)
}

// graphDOT draws events as boxes, causes above effects. Links to what an event
// reacts to are solid, others dashed; an event that was asked for is bold.
func (a *app) graphDOT(drawn iter.Seq2[events.Event, error], found, about []uint64) error {
	w := bufio.NewWriter(a.streams.Out)
	fmt.Fprint(w, "digraph toka {\n\tnode [shape=box, fontname=\"sans-serif\", fontsize=10];\n")
	for e, err := range drawn {
		if err != nil {
			return err
		}
		links, more := linksTo(e, found)
		label := fmt.Sprintf("%s\n%s\n%s %s", journal.Cursor{Epoch: e.Epoch, Position: e.Position}, e.Kind, e.Stream, e.Digest.Short())
		style := ""
		if slices.Contains(about, e.Position) {
			style = ", style=bold"
		}
		if more > 0 {
			label += fmt.Sprintf("\n(causes not drawn: %d)", more)
		}
		fmt.Fprintf(w, "\t%d [label=%s, tooltip=%s%s];\n", e.Position, quoteDOT(label), quoteDOT(outsideOrID(e)), style)
		for _, l := range links {
			style = ""
			if !l.Trigger && !e.Trigger.IsZero() {
				style = " [style=dashed]"
			}
			fmt.Fprintf(w, "\t%d -> %d%s;\n", l.Cause, l.Effect, style)
		}
	}
	fmt.Fprintln(w, "}")
	return w.Flush()
}

// quoteDOT writes text as a DOT string whose escapes stand for nothing but
// themselves.
func quoteDOT(s string) string {
	rows := strings.Split(s, "\n")
	for i, row := range rows {
		rows[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(row))
	}
	return `"` + strings.Join(rows, `\n`) + `"`
}
