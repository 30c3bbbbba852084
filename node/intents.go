package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

func (a *app) intentsCommand() *cobra.Command {
	c := a.intentsList("intents", args(0, "no arguments; run toka-node intents --help for what it can do"), "")
	c.Long = `Lists the intents that events were assigned to, the largest first: how many events
have it, how long ago the first and the last were recorded, how far its latest events
have drifted from its first ones (0 not at all, 1 to something unrelated), and the
texts that are the nearest to its middle.

Intents are of events with embeddings: they come with a vector, or get one where they
come in (toka-node ingest --embed).`
	c.Example = lines(
		"toka-node intents --data ./data",
		"toka-node intents --data ./data --all -o json",
		"toka-node intents explain 5f3a9c --data ./data")
	c.AddCommand(a.intentsAsOf(), a.intentsShow(), a.intentsExplain(), a.intentsEmbed(), a.intentsMerge(), a.intentsSplit(),
		a.intentsMap(), a.intentsModel())
	return c
}

// intentJSONLine is an intent as -o json prints it. Names are stable.
type intentJSONLine struct {
	ID        events.ID `json:"id"`
	Size      uint64    `json:"size"`
	Parts     int       `json:"parts"`
	First     uint64    `json:"first"` // positions
	Last      uint64    `json:"last"`
	FirstTime time.Time `json:"first_time"` // record times
	LastTime  time.Time `json:"last_time"`
	Retired   bool      `json:"retired,omitempty"` // nothing like it came for long
	Drift     float64   `json:"drift"`
	Typical   []string  `json:"typical"`
}

// intentsList lists as of now, or of a cursor that is the argument.
func (a *app) intentsList(use string, check cobra.PositionalArgs, _ string) *cobra.Command {
	var all bool
	var limit int
	c := &cobra.Command{
		Use:   use,
		Short: "List what events mean, and work on it",
		Args:  check,
		RunE: func(c *cobra.Command, given []string) error {
			if limit < 1 {
				return usage("limit %d: use a positive number, or --all", limit)
			}
			return a.read(func(j *journal.Journal) error {
				asOf := j.Position()
				if len(given) > 0 {
					var err error
					if asOf, err = j.ParseCursor(given[0]); err != nil {
						return &exit{ExitUsage, err}
					}
				}
				return a.listIntents(c.Context(), j, asOf, limit, all)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "list all of them, however small")
	c.Flags().IntVar(&limit, "limit", 30, "list so many")
	return a.withData(c, asNames)
}

func (a *app) intentsAsOf() *cobra.Command {
	c := a.intentsList("as-of CURSOR", args(1, "one CURSOR"), "")
	c.Short = "List intents as they were at a cursor"
	c.Long = `Lists intents as they were after the event at a cursor: with the events up to there,
and the merges and splits up to there.`
	c.Example = lines("toka-node intents as-of 1-400 --data ./data", "toka-node intents as-of 400 --data ./data -o json")
	return c
}

func (a *app) listIntents(ctx context.Context, j *journal.Journal, asOf uint64, limit int, all bool) error {
	infos, err := j.IntentsAt(ctx, asOf)
	if err != nil {
		return err
	}
	total := len(infos)
	if !all {
		infos = infos[:min(limit, total)]
	}
	if a.output == asNames {
		for i := range infos {
			if _, err := fmt.Fprintln(a.streams.Out, infos[i].ID); err != nil {
				return err
			}
		}
		return nil
	}
	members, err := membersOf(ctx, j, asOf, infos)
	if err != nil {
		return err
	}
	t := a.table()
	if !a.json() && total > 0 {
		fmt.Fprintln(t, "INTENT\tSIZE\tPARTS\tAGE\tLAST SEEN\tDRIFT\tTYPICAL")
	}
	now, err := lastTime(ctx, j, asOf)
	if err != nil {
		return err
	}
	for i, info := range infos {
		line, err := a.describe(ctx, j, &info, members[i])
		if err != nil {
			return err
		}
		if a.json() {
			if err := a.object(line); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%.2f\t%s\n", line.ID, line.Size, line.Parts, ago(now, line.FirstTime), ago(now, line.LastTime),
			line.Drift, printable(shorten(strings.Join(line.Typical, " | "), 100)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !a.json() && len(infos) < total {
		_, err = fmt.Fprintf(a.streams.Out, "%d of %d intents; --all lists them all\n", len(infos), total)
	}
	return err
}

// lastTime is the record time that ages count to: that of the last event.
func lastTime(ctx context.Context, j *journal.Journal, asOf uint64) (time.Time, error) {
	if asOf == 0 {
		return time.Time{}, nil
	}
	e, err := j.At(ctx, asOf)
	return e.RecordTime, err
}

// ago is how long before now, in one unit.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	for _, u := range []struct {
		least time.Duration
		name  string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= u.least {
			return fmt.Sprint(int64(d/u.least), u.name)
		}
	}
	return "0s"
}

// sampled is how many of an intent's first members, and of its last, stand for it
// where vectors have to be read.
const sampled = 48

// memberSample are the first and the last members of an intent, by position.
type memberSample struct{ first, last []uint64 }

func (m *memberSample) add(position uint64) {
	if len(m.first) < sampled {
		m.first = append(m.first, position)
		return
	}
	if len(m.last) == 2*sampled { // half of them are too old by now
		m.last = slices.Delete(m.last, 0, sampled)
	}
	m.last = append(m.last, position)
}

// ends returns as many first as last members; of a small intent its halves.
func (m *memberSample) ends() (first, last []uint64) {
	all := append(slices.Clone(m.first), m.last...)
	n := min(sampled, (len(all)+1)/2)
	return all[:n], all[max(len(all)-n, min(n, len(all)-1)):]
}

// membersOf samples the members of some intents in one pass.
func membersOf(ctx context.Context, j *journal.Journal, asOf uint64, infos []journal.IntentSummary) ([]memberSample, error) {
	at := make(map[events.ID]int, len(infos))
	for i := range infos {
		at[infos[i].ID] = i
	}
	out := make([]memberSample, len(infos))
	for m, err := range j.IntentMembers(ctx, asOf) {
		if err != nil {
			return nil, err
		}
		if i, ok := at[m.Intent]; ok {
			out[i].add(m.Position)
		}
	}
	return out, nil
}

// describe completes what is known of an intent with what its members tell.
func (a *app) describe(ctx context.Context, j *journal.Journal, info *journal.IntentSummary, m memberSample) (*intentJSONLine, error) {
	line := &intentJSONLine{ID: info.ID, Size: info.Events, Parts: info.Parts, First: info.First, Last: info.Last, Retired: info.Retired, Typical: []string{}}
	for _, end := range []struct {
		position uint64
		time     *time.Time
	}{{info.First, &line.FirstTime}, {info.Last, &line.LastTime}} {
		e, err := j.At(ctx, end.position)
		if err != nil {
			return nil, err
		}
		*end.time = e.RecordTime
	}
	first, last := m.ends()
	vectors := make(map[uint64]intent.Vector)
	newest, err := j.Embedding(ctx, last[len(last)-1])
	if err != nil {
		return nil, err
	}
	sum := func(positions []uint64) (total []float32, err error) {
		for _, p := range positions {
			v := vectors[p]
			if v == nil {
				x, err := j.Embedding(ctx, p)
				if err != nil || x.Vector == nil {
					return nil, err
				}
				if x.Model != newest.Model {
					continue // it was merged with one of another model
				}
				v = x.Vector
				vectors[p] = v
			}
			if total == nil {
				total = make([]float32, len(v))
			}
			for i := range min(len(v), len(total)) {
				total[i] += float32(v[i])
			}
		}
		return total, nil
	}
	before, err := sum(first)
	if err != nil {
		return nil, err
	}
	after, err := sum(last)
	if err != nil {
		return nil, err
	}
	if before == nil {
		before = after // its first ones are of another model
	}
	b, err1 := intent.Quantize(before, len(before))
	e, err2 := intent.Quantize(after, len(after))
	middle := make([]float32, len(before))
	for i := range middle {
		middle[i] = before[i] + after[i]
	}
	c, err3 := intent.Quantize(middle, len(middle))
	if errors.Join(err1, err2, err3) != nil {
		return line, nil // opposites have no middle, and no drift that a number could tell
	}
	if info.Events > 1 {
		line.Drift = max(0, 1-cosine(b, e))
	}
	line.Typical, err = typical(ctx, j, vectors, c)
	return line, err
}

// typical are up to three different texts of members, the nearest to the middle
// first.
func typical(ctx context.Context, j *journal.Journal, vectors map[uint64]intent.Vector, middle intent.Vector) ([]string, error) {
	near := make([]journal.IntentMember, 0, len(vectors))
	for p, v := range vectors {
		near = append(near, journal.IntentMember{Position: p, Similarity: cosine(v, middle)})
	}
	slices.SortFunc(near, func(x, y journal.IntentMember) int {
		return cmp.Or(cmp.Compare(y.Similarity, x.Similarity), cmp.Compare(x.Position, y.Position))
	})
	out := []string{}
	for _, n := range near {
		if len(out) == 3 {
			break
		}
		e, err := j.At(ctx, n.Position)
		if err != nil {
			return nil, err
		}
		if text := excerpt(&e, 80); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out, nil
}

// cosine is that of two quantised vectors of one dimension.
func cosine(a, b intent.Vector) float64 {
	if len(a) != len(b) {
		return 0
	}
	product, x, y := 0.0, 0.0, 0.0
	for i, q := range a {
		product += float64(q) * float64(b[i])
		x += float64(q) * float64(q)
		y += float64(b[i]) * float64(b[i])
	}
	if x == 0 || y == 0 {
		return 0
	}
	return max(-1, min(1, product/math.Sqrt(x*y)))
}

// excerpt is the beginning of what an event says, on one line.
func excerpt(e *events.Event, most int) string {
	text := string(e.Payload)
	if isJSON(*e) {
		text = sayings(e.Payload)
	}
	return printable(shorten(strings.Join(strings.Fields(strings.ToValidUTF8(text, " ")), " "), most))
}

// sayings joins the strings of a JSON value, without the names of members.
func sayings(payload []byte) string {
	var out []string
	var value any
	if json.Unmarshal(payload, &value) != nil {
		return ""
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k])
			}
		}
	}
	walk(value)
	return strings.Join(out, " ")
}

// namedIntent finds the intent that a person means: by its id, by that of a part or
// of what was merged into it, or by the beginning of the id of one that is listed.
func namedIntent(ctx context.Context, j *journal.Journal, name string) (events.ID, error) {
	if id, err := events.ParseID(name); err == nil {
		return id, nil
	}
	if len(name) < 4 {
		return events.ID{}, usage("intent %q: give its id, or the first 4 characters of it at least", name)
	}
	infos, err := j.IntentsAt(ctx, j.Position())
	if err != nil {
		return events.ID{}, err
	}
	var found []events.ID
	for _, i := range infos {
		if strings.HasPrefix(i.ID.String(), name) {
			found = append(found, i.ID)
		}
	}
	switch len(found) {
	case 0:
		return events.ID{}, fmt.Errorf("no intent begins with %q: %w", name, journal.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return events.ID{}, usage("%d intents begin with %q; give more of the id", len(found), name)
}
