package node

import (
	"fmt"
	"iter"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
)

// question is what a causal question is about, and how much of the answer is
// wanted.
type question struct {
	journal *journal.Journal
	about   []uint64 // positions of the events that were named
	depth   int
}

type answer = iter.Seq2[uint64, error]

func (a *app) causalCommands() []*cobra.Command {
	return []*cobra.Command{
		a.whyCommand(),
		a.graphCommand(),
		a.bundleCommand(),
		a.causalCommand(1, true, &cobra.Command{
			Use:   "ancestors ID",
			Short: "List the events that led to one",
			Long: `Lists all events that led to ID, directly or through others, the newest first and
without ID itself.`,
			Example: lines(
				"toka-node ancestors --data ./data 5f3a9c",
				"toka-node ancestors --data ./data 5f3a9c --depth 2 -o names"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Ancestors(c.Context(), q.journal, q.depth, q.about...)
		}),
		a.causalCommand(1, true, &cobra.Command{
			Use:   "descendants ID",
			Short: "List the events that one led to",
			Long: `Lists all events that ID led to, directly or through others, the oldest first and
without ID itself.`,
			Example: lines(
				"toka-node descendants --data ./data 5f3a9c",
				"toka-node descendants --data ./data 5f3a9c -o names --limit 10"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Descendants(c.Context(), q.journal, q.depth, q.about...)
		}),
		a.causalCommand(1, false, &cobra.Command{
			Use:   "parents ID",
			Short: "List the direct causes of an event",
			Long:  `Lists the events that ID names as its parents, the newest first.`,
			Example: lines(
				"toka-node parents --data ./data 5f3a9c",
				"toka-node parents --data ./data 5f3a9c -o names"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Ancestors(c.Context(), q.journal, 1, q.about...)
		}),
		a.causalCommand(1, false, &cobra.Command{
			Use:   "children ID",
			Short: "List the direct effects of an event",
			Long:  `Lists the events that name ID as a parent, the oldest first.`,
			Example: lines(
				"toka-node children --data ./data 5f3a9c",
				"toka-node children --data ./data 5f3a9c -o names"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Descendants(c.Context(), q.journal, 1, q.about...)
		}),
		a.causalCommand(2, false, &cobra.Command{
			Use:   "common A B",
			Short: "List the nearest common causes of two events",
			Long: `Lists the nearest common ancestors of A and B: those common ancestors that are not
ancestors of another one. Here an event counts as an ancestor of itself. There
may be several, and there are none if A and B have nothing in common.`,
			Example: lines(
				"toka-node common --data ./data 5f3a9c 77b012",
				"toka-node common --data ./data 5f3a9c 77b012 -o names"),
		}, func(c *cobra.Command, q question) answer {
			return func(yield func(uint64, error) bool) {
				found, err := causal.Common(c.Context(), q.journal, q.about[0], q.about[1])
				for _, p := range found {
					if !yield(p, nil) {
						return
					}
				}
				if err != nil {
					yield(0, err)
				}
			}
		}),
		a.causalCommand(2, false, &cobra.Command{
			Use:   "between A B",
			Short: "List the events on every way from one event to another",
			Long: `Lists the events that A led to and that led to B, the oldest first and without A
and B themselves. There are none unless A led to B.`,
			Example: lines(
				"toka-node between --data ./data 77b012 5f3a9c",
				"toka-node between --data ./data 77b012 5f3a9c -o names"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Between(c.Context(), q.journal, q.about[0], q.about[1])
		}),
		a.causalCommand(0, false, &cobra.Command{
			Use:   "heads",
			Short: "List the events that led to nothing yet",
			Long: `Lists the events that no other event names as a parent, the newest first. This
looks at the links of the whole journal, unless --limit ends it earlier.`,
			Example: lines(
				"toka-node heads --data ./data",
				"toka-node heads --data ./data -o names --limit 10"),
		}, func(c *cobra.Command, q question) answer {
			return causal.Heads(c.Context(), q.journal, 0)
		}),
	}
}

// causalCommand completes a command that takes n ids and lists events.
func (a *app) causalCommand(n int, deep bool, c *cobra.Command, ask func(c *cobra.Command, q question) answer) *cobra.Command {
	c.Args = args(n, [...]string{"no arguments", "one ID", "two IDs"}[n])
	c.Long += "\n\n"
	if n > 0 {
		c.Long += "An ID is an event id, the id with which the event was ingested, or the beginning\nof its digest. "
	}
	c.Long += "With -o names, each line is the id with which an event was ingested,\nor its event id if it was not."
	var depth, limit int
	c.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 is no limit")
	if deep {
		c.Flags().IntVar(&depth, "depth", 0, "only events at most so many links away; 0 is no limit")
	}
	c.RunE = func(c *cobra.Command, ids []string) error {
		if limit < 0 {
			return usage("limit %d: use 0 for no limit, or a positive number", limit)
		}
		if depth < 0 {
			return usage("depth %d: use 0 for no limit, or a positive number", depth)
		}
		return a.read(func(j *journal.Journal) error {
			about, err := positionsOf(c, j, ids)
			if err != nil {
				return err
			}
			found := ask(c, question{j, about, depth})
			return a.eventsOf(j.Each(c.Context(), atMost(limit, found)))
		})
	}
	return a.withData(c, asNames)
}

// positionsOf resolves ids.
func positionsOf(c *cobra.Command, j *journal.Journal, ids []string) ([]uint64, error) {
	var out []uint64
	for _, id := range ids {
		e, err := resolve(c, j, id)
		if err != nil {
			return nil, err
		}
		out = append(out, e.Position)
	}
	return out, nil
}

// atMost ends a sequence after limit values; 0 is no limit.
func atMost(limit int, seq answer) answer {
	if limit == 0 {
		return seq
	}
	return func(yield func(uint64, error) bool) {
		n := 0
		for p, err := range seq {
			if n++; !yield(p, err) || n == limit {
				return
			}
		}
	}
}

// eventsOf prints events as table, json or names.
func (a *app) eventsOf(seq iter.Seq2[events.Event, error]) error {
	var t *tabwriter.Writer
	if a.output == "table" {
		t = a.table()
		fmt.Fprintln(t, "CURSOR\tRECORDED\tSTREAM\tKIND\tDIGEST\tPARENTS")
	}
	for e, err := range seq {
		switch {
		case err != nil:
		case a.json():
			err = a.object(toJSON(e))
		case t == nil:
			_, err = fmt.Fprintln(a.streams.Out, outsideOrID(e))
		default:
			_, err = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", journal.Cursor{Epoch: e.Epoch, Position: e.Position},
				e.RecordTime.Format(time.RFC3339), printable(e.Stream), printable(e.Kind), e.Digest.Short(), parents(e))
		}
		if err != nil {
			if t != nil {
				_ = t.Flush()
			}
			return err
		}
	}
	if t == nil {
		return nil
	}
	return t.Flush()
}

// outsideOrID returns the id that people know an event by.
func outsideOrID(e events.Event) string {
	if id := e.OutsideID(); id != "" {
		return printable(id)
	}
	return e.ID.String()
}

// newestFirst sorts parents for people: the trigger, then by position.
func newestFirst(e events.Event) []events.Ref {
	refs := slices.Clone(e.Parents)
	slices.SortFunc(refs, func(a, b events.Ref) int {
		if (a.ID == e.Trigger) != (b.ID == e.Trigger) {
			if a.ID == e.Trigger {
				return -1
			}
			return 1
		}
		if a.Position > b.Position {
			return -1
		}
		return 1
	})
	return refs
}
