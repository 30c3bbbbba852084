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

// changeJSON is something that happened to an intent.
type changeJSON struct {
	Cursor string    `json:"cursor"` // of the event that it came after
	What   string    `json:"what"`
	ByHand bool      `json:"by_hand,omitempty"`
	Intent events.ID `json:"intent,omitzero"`
	Into   events.ID `json:"into,omitzero"`
	Value  float64   `json:"value,omitempty"`
}

func toChange(j *journal.Journal, c *journal.IntentChange) changeJSON {
	return changeJSON{
		Cursor: journal.Cursor{Epoch: j.Epoch(), Position: c.Position}.String(), What: c.Kind.String(),
		ByHand: c.ByHand, Intent: c.Intent, Into: c.Into, Value: c.Value,
	}
}

func (c changeJSON) text() string {
	by := ""
	if c.ByHand {
		by = ", by hand"
	}
	switch {
	case c.What == intent.Calibrated.String():
		return fmt.Sprintf("%s  calibrated to %.3f", c.Cursor, c.Value)
	case c.Into.IsZero():
		return fmt.Sprintf("%s  %s %s%s", c.Cursor, c.Intent, c.What, by)
	case c.What == intent.Split.String():
		return fmt.Sprintf("%s  %s split off %s%s", c.Cursor, c.Intent, c.Into, by)
	}
	return fmt.Sprintf("%s  %s %s into %s%s", c.Cursor, c.Intent, c.What, c.Into, by)
}

func (a *app) intentsShow() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "show INTENT",
		Short: "Show an intent, what happened to it and its latest events",
		Long: `Shows an intent: what intents lists of it, what happened to it (created, merged, split,
retired, and merges and splits by hand) and its latest events. INTENT is an id, that of
a part or of what was merged into it, or the first characters of a listed one's.

Moves of single parts are left out; with -o json they are in.`,
		Example: lines("toka-node intents show 2a0df382 --data ./data", "toka-node intents show 2a0df382 --data ./data --limit 50 -o json"),
		Args:    args(1, "one INTENT"),
		RunE: func(c *cobra.Command, names []string) error {
			if limit < 0 {
				return usage("limit %d: use 0 for none, or a positive number", limit)
			}
			return a.read(func(j *journal.Journal) error { return a.showIntent(c.Context(), j, names[0], limit) })
		},
	}
	c.Flags().IntVar(&limit, "limit", 10, "so many of its latest events")
	return a.withData(c)
}

func (a *app) showIntent(ctx context.Context, j *journal.Journal, name string, limit int) error {
	id, err := namedIntent(ctx, j, name)
	if err != nil {
		return err
	}
	id = j.ResolveIntent(id)
	infos, err := j.IntentsAt(ctx, j.Position())
	if err != nil {
		return err
	}
	var info *journal.IntentSummary
	for i := range infos {
		if infos[i].ID == id {
			info = &infos[i]
		}
	}
	if info == nil {
		return fmt.Errorf("intent %s: %w; no event has it", id, journal.ErrNotFound)
	}
	members, err := membersOf(ctx, j, j.Position(), []journal.IntentSummary{*info})
	if err != nil {
		return err
	}
	line, err := a.describe(ctx, j, info, members[0])
	if err != nil {
		return err
	}
	changes := []changeJSON{}
	for c, err := range j.IntentChanges(ctx, 0) {
		if err != nil {
			return err
		}
		if (c.Intent == id || c.Into == id) && (a.json() || c.Kind != intent.Moved) {
			changes = append(changes, toChange(j, &c))
		}
	}
	var latest []events.Event
	if limit > 0 {
		for e, err := range j.Read(ctx, journal.Query{Intent: id, Backwards: true, Limit: limit}) {
			if err != nil {
				return err
			}
			latest = append(latest, e)
		}
	}
	if a.json() {
		ids := []events.ID{}
		for _, e := range latest {
			ids = append(ids, e.ID)
		}
		return a.object(struct {
			*intentJSONLine
			Changes []changeJSON `json:"changes"`
			Latest  []events.ID  `json:"latest"`
		}{line, changes, ids})
	}
	t := a.table()
	fmt.Fprintf(t, "intent\t%s\nevents\t%d, in %d parts\nfirst\t%s\nlast\t%s\ndrift\t%.2f\n", line.ID, line.Size, line.Parts,
		journal.Cursor{Epoch: j.Epoch(), Position: line.First}, journal.Cursor{Epoch: j.Epoch(), Position: line.Last}, line.Drift)
	for i, text := range line.Typical {
		fmt.Fprintf(t, "%s\t%s\n", map[bool]string{true: "typical"}[i == 0], text)
	}
	for i, c := range changes {
		fmt.Fprintf(t, "%s\t%s\n", map[bool]string{true: "changes"}[i == 0], c.text())
	}
	for i := range latest {
		e := &latest[i]
		fmt.Fprintf(t, "%s\t%s  %.3f  %s  %s\n", map[bool]string{true: "latest"}[i == 0],
			journal.Cursor{Epoch: e.Epoch, Position: e.Position}, e.Intent.Similarity, e.Digest.Short(), excerpt(e, 70))
	}
	return t.Flush()
}

func (a *app) intentsExplain() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "explain EVENT",
		Short: "Say why an event has its intent",
		Long: `Says why an event has its intent: the part that it was put in when it came, with its
cosine to the middle of that part as it was then (1 for the event that founded it); the
threshold that the strategy had chosen by then; the cosine that it took to join a part,
and the parts that were the nearest just before, with their intents; what became of the
part since; and what would be said of the event now. For how it was then, the events
before it are assigned once more, which takes a while in a large journal.`,
		Example: lines("toka-node intents explain 5f3a9c --data ./data", "toka-node intents explain 5f3a9c --data ./data --limit 20 -o json"),
		Args:    args(1, "one EVENT"),
		RunE: func(c *cobra.Command, ids []string) error {
			if limit < 1 || limit > 1000 {
				return usage("limit %d: use 1 to 1000", limit)
			}
			return a.read(func(j *journal.Journal) error {
				e, err := resolve(c, j, ids[0])
				if err != nil {
					return err
				}
				x, err := j.ExplainIntent(c.Context(), e.Position, limit)
				if err != nil {
					return err
				}
				return a.explained(j, &e, &x)
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 5, "name so many of the nearest")
	return a.withData(c)
}

func (a *app) explained(j *journal.Journal, e *events.Event, x *journal.IntentExplanation) error {
	type nearJSON struct {
		Intent     events.ID `json:"intent"`
		Part       events.ID `json:"part,omitzero"`
		Similarity float64   `json:"similarity"`
		Members    uint64    `json:"members"`
	}
	type momentJSON struct {
		Threshold float64    `json:"threshold,omitempty"`
		Nearest   []nearJSON `json:"nearest"`
	}
	moment := func(of *intent.Explanation) momentJSON {
		m := momentJSON{of.Threshold, []nearJSON{}}
		for _, n := range of.Nearest {
			m.Nearest = append(m.Nearest, nearJSON(n))
		}
		return m
	}
	since, then, now := []changeJSON{}, moment(&x.Then), moment(&x.Now)
	for i := range x.Since {
		since = append(since, toChange(j, &x.Since[i]))
	}
	if a.json() {
		return a.object(struct {
			Event      events.ID `json:"event"`
			Intent     events.ID `json:"intent"`
			Strategy   string    `json:"strategy,omitempty"`
			Assigned   events.ID `json:"assigned"`
			Part       events.ID `json:"part"`
			Similarity float64   `json:"similarity"`
			Chosen     float64   `json:"chosen,omitempty"`
			momentJSON
			Since []changeJSON `json:"since"`
			Now   momentJSON   `json:"now"`
		}{e.ID, x.Intent, x.Strategy, x.Assigned, x.Part, x.Similarity, x.Chosen, then, since, now})
	}
	t := a.table()
	fmt.Fprintf(t, "event\t%s  %s\nintent\t%s\n", e.ID, excerpt(e, 70), x.Intent)
	how := fmt.Sprintf("joined with a cosine of %.3f", x.Similarity)
	if x.Similarity == 1 {
		how = "founded it, or is the same as what did"
	}
	fmt.Fprintf(t, "assigned to\t%s\npart\t%s: %s\n", x.Assigned, x.Part, how)
	if x.Chosen > 0 {
		fmt.Fprintf(t, "chosen then\t%.3f, the threshold of the last regrouping\n", x.Chosen)
	}
	tell := func(when string, m *momentJSON) {
		if m.Threshold > 0 {
			fmt.Fprintf(t, "%s\ta cosine of %.3f joins a part\n", when, m.Threshold)
		}
		for i, n := range m.Nearest {
			fmt.Fprintf(t, "%s\t%.3f  intent %s, part of %d events\n", map[bool]string{true: "nearest " + when}[i == 0], n.Similarity, n.Intent, n.Members)
		}
	}
	tell("then", &then)
	for i, c := range since {
		fmt.Fprintf(t, "%s\t%s\n", map[bool]string{true: "since"}[i == 0], c.text())
	}
	tell("now", &now)
	return t.Flush()
}

func (a *app) intentsMerge() *cobra.Command {
	c := &cobra.Command{
		Use:   "merge FROM INTO",
		Short: "Make one intent a part of another, as an event",
		Long: `Makes one intent a part of another: from then on the name of the first stands for the
second. It is an event in the stream $intents; what was before stays readable with
intents as-of.`,
		Example: lines("toka-node intents merge 2a0df382 f8c2e9cc --data ./data", "toka-node intents merge 2a0df382 f8c2e9cc --data ./data -o json"),
		Args:    args(2, "two intents, FROM and INTO"),
		RunE: func(c *cobra.Command, names []string) error {
			return a.orderIntents(c, names, func(j *journal.Journal, ids []events.ID) (events.Event, error) {
				return j.MergeIntents(c.Context(), ids[0], ids[1])
			})
		},
	}
	return a.withData(c)
}

func (a *app) intentsSplit() *cobra.Command {
	c := &cobra.Command{
		Use:   "split INTENT",
		Short: "Divide an intent in two, as an event",
		Long: `Divides an intent in two: of the parts that it is made of, those go to a new intent that
are the least like the rest. An intent of one part is not divided. It is an event in the
stream $intents, and no regrouping takes it back; intents merge does.`,
		Example: lines(
			"toka-node intents split 2a0df382 --data ./data",
			"toka-node intents split 2a0df382 --data ./data -o json"),
		Args: args(1, "one INTENT"),
		RunE: func(c *cobra.Command, names []string) error {
			return a.orderIntents(c, names, func(j *journal.Journal, ids []events.ID) (events.Event, error) {
				_, e, err := j.SplitIntent(c.Context(), ids[0])
				return e, err
			})
		},
	}
	return a.withData(c)
}

// orderIntents does something to intents, and prints the event that says so.
func (a *app) orderIntents(c *cobra.Command, names []string, order func(*journal.Journal, []events.ID) (events.Event, error)) error {
	j, letGo, err := a.borrow(journal.Options{MustExist: true})
	if err != nil {
		return err
	}
	ids := make([]events.ID, len(names))
	var e events.Event
	for i, name := range names {
		if err == nil {
			ids[i], err = namedIntent(c.Context(), j, name)
		}
	}
	if err == nil {
		e, err = order(j, ids)
	}
	if err == nil {
		if a.json() {
			err = a.object(toJSON(e))
		} else {
			_, err = fmt.Fprintf(a.streams.Out, "%s  %s\n", journal.Cursor{Epoch: e.Epoch, Position: e.Position}, e.Kind)
		}
	}
	return errors.Join(err, letGo())
}
