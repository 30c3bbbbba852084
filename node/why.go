package node

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func (a *app) whyCommand() *cobra.Command {
	var depth, limit int
	c := &cobra.Command{
		Use:   "why ID",
		Short: "Tell what led to an event, as a tree",
		Long: `Tells what led to an event. Each line is an event, and its cause stands below it;
where there are several causes, each has a branch of its own, the one that the
event reacts to first. A cause that more than one event has is told once, and
named by its cursor where it comes again.

An ID is an event id, the id with which the event was ingested, or the beginning
of its digest. With -o json, each line is one event with its depth and the id of
the effect that it is told under.`,
		Example: lines(
			"toka-node why --data ./data 5f3a9c",
			"toka-node why --data ./data 5f3a9c --depth 3 --limit 0"),
		Args: args(1, "one ID"),
		RunE: func(c *cobra.Command, ids []string) error {
			if limit < 0 || depth < 0 {
				return usage("depth %d, limit %d: use 0 for no limit, or a positive number", depth, limit)
			}
			return a.read(func(j *journal.Journal) error {
				e, err := resolve(c, j, ids[0])
				if err != nil {
					return err
				}
				return a.why(c, j, e, depth, limit)
			})
		},
	}
	c.Flags().IntVar(&depth, "depth", 0, "only causes at most so many links away; 0 is no limit")
	c.Flags().IntVar(&limit, "limit", 100, "at most so many lines; 0 is no limit")
	return a.withData(c)
}

// cause is an event that is still to be told.
type cause struct {
	ref     events.Ref
	effect  events.ID
	depth   int
	first   string // what stands before its line
	further string // what stands before the lines below it
	trigger bool
}

// causeJSON is a line of why -o json.
type causeJSON struct {
	Depth   int           `json:"depth"`
	ID      events.ID     `json:"id"`
	Digest  events.Digest `json:"digest"`
	Effect  string        `json:"effect,omitempty"` // id of the event that it is told under
	Trigger bool          `json:"trigger,omitempty"`
	Again   bool          `json:"again,omitempty"`  // it was told before, with its causes
	Absent  bool          `json:"absent,omitempty"` // it is not in this journal
	Event   *eventJSON    `json:"event,omitempty"`
}

// why walks down from e. The stack holds the branches that are still to be
// told, so a long history takes no more memory than its widest part and what
// has been told.
func (a *app) why(c *cobra.Command, j *journal.Journal, e events.Event, depth, limit int) error {
	told := map[uint64]bool{}
	stack := []cause{{ref: e.Ref()}}
	for n := 0; len(stack) > 0; n++ {
		if limit > 0 && n == limit {
			if a.json() {
				return nil
			}
			_, err := fmt.Fprintf(a.streams.Out, "… and more; --limit %d tells further, --limit 0 everything\n", 4*limit)
			return err
		}
		if err := c.Context().Err(); err != nil {
			return err
		}
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		e, absent, err := lookUp(c, j, next.ref)
		if err != nil {
			return err
		}
		again := told[e.Position] && !absent
		if err := a.tell(next, e, again, absent); err != nil {
			return err
		}
		if again || absent || depth > 0 && next.depth == depth {
			continue
		}
		told[e.Position] = true
		refs := newestFirst(e)
		for i, ref := range slices.Backward(refs) { // the first is told first
			down := cause{ref: ref, effect: e.ID, depth: next.depth + 1, trigger: ref.ID == e.Trigger, first: next.further, further: next.further}
			switch {
			case len(refs) == 1:
			case i == len(refs)-1:
				down.first, down.further = next.further+"└─ ", next.further+"   "
			default:
				down.first, down.further = next.further+"├─ ", next.further+"│  "
			}
			stack = append(stack, down)
		}
	}
	return nil
}

// lookUp reads the event of a reference. A parent of an imported event may not
// be in this journal.
func lookUp(c *cobra.Command, j *journal.Journal, ref events.Ref) (e events.Event, absent bool, err error) {
	if ref.Position != 0 {
		e, err = j.At(c.Context(), ref.Position)
		return e, false, err
	}
	return events.Event{ID: ref.ID, Digest: ref.Digest}, true, nil
}

func (a *app) tell(line cause, e events.Event, again, absent bool) error {
	if a.json() {
		out := causeJSON{Depth: line.depth, ID: e.ID, Digest: e.Digest, Trigger: line.trigger, Again: again, Absent: absent}
		if !again && !absent {
			event := toJSON(e)
			out.Event = &event
		}
		if !line.effect.IsZero() {
			out.Effect = line.effect.String()
		}
		return a.object(out)
	}
	cursor := journal.Cursor{Epoch: e.Epoch, Position: e.Position}
	var err error
	switch {
	case absent:
		_, err = fmt.Fprintf(a.streams.Out, "%s(not in this journal)  %s  %s\n", line.first, e.Digest.Short(), e.ID)
	case again:
		_, err = fmt.Fprintf(a.streams.Out, "%s%s  %s  (told above)\n", line.first, cursor, printable(e.Kind))
	default:
		_, err = fmt.Fprintf(a.streams.Out, "%s%s  %s  by %s  %s%s%s\n", line.first, cursor, printable(e.Kind),
			printable(e.Stream), told(e), outside(e), gist(e))
	}
	return err
}

// told is the time that people think an event has.
func told(e events.Event) string {
	if e.Time.IsZero() {
		return e.RecordTime.Format(time.RFC3339)
	}
	return e.Time.Format(time.RFC3339)
}

func outside(e events.Event) string {
	if id := e.OutsideID(); id != "" {
		return "  " + shorten(printable(id), 40)
	}
	return "  " + e.Digest.Short()
}

// gist is the beginning of a payload that people can read.
func gist(e events.Event) string {
	if !isJSON(e) {
		return ""
	}
	return "  " + shorten(printable(strings.Join(strings.Fields(string(e.Payload)), " ")), 60)
}

// shorten cuts text to so many characters.
func shorten(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	r := []rune(s)
	return string(r[:most-1]) + "…"
}
