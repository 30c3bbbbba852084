package node

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// filter is a query as flags give it.
type filter struct {
	q            journal.Query
	kinds        []string
	intent       string
	since, until string
	after        string
	before       string
}

// flags adds what selects events and where to begin; bounded adds what only a
// query with an end has.
func (f *filter) flags(c *cobra.Command, bounded bool) {
	c.Flags().StringVar(&f.q.Stream, "stream", "", "only events of this stream")
	c.Flags().StringVar(&f.q.Agent, "agent", "", "only events of this agent")
	c.Flags().StringSliceVar(&f.kinds, "kind", nil, "only kinds that match: dot tokens, * for one, > for the rest")
	c.Flags().StringVar(&f.q.Correlation, "correlation", "", "only events with this correlation id")
	c.Flags().StringVar(&f.since, "since", "", "only events recorded at this time or later: RFC 3339, or how long ago, as in 90m")
	c.Flags().StringVar(&f.after, "after", "", "only events after this cursor")
	c.Flags().StringVar(&f.intent, "intent", "", "only events of this intent, by its id")
	if !bounded {
		return
	}
	c.Flags().StringVar(&f.until, "until", "", "only events recorded before this time")
	c.Flags().StringVar(&f.before, "before", "", "only events before this cursor")
	c.Flags().BoolVar(&f.q.Backwards, "backwards", false, "the newest first")
	c.Flags().IntVar(&f.q.Limit, "limit", 0, "at most so many; 0 is no limit")
}

// parse checks what can be checked without a journal.
func (f *filter) parse() error {
	if f.q.Limit < 0 {
		return usage("limit %d: use 0 for no limit, or a positive number", f.q.Limit)
	}
	f.q.Kinds = nil
	for _, k := range f.kinds {
		p, err := events.ParsePattern(k)
		if err != nil {
			return usage("%w", err)
		}
		f.q.Kinds = append(f.q.Kinds, p)
	}
	if f.intent != "" {
		id, err := events.ParseID(f.intent)
		if err != nil {
			return usage("intent: %w", err)
		}
		f.q.Intent = id
	}
	var err error
	if f.q.Since, err = moment("since", f.since); err != nil {
		return err
	}
	f.q.Until, err = moment("until", f.until)
	return err
}

// query completes the query with what only the journal can tell.
func (f *filter) query(j *journal.Journal) (q journal.Query, err error) {
	q = f.q
	for _, cursor := range []struct {
		text string
		to   *uint64
	}{{f.after, &q.After}, {f.before, &q.Before}} {
		if cursor.text == "" {
			continue
		}
		if *cursor.to, err = j.ParseCursor(cursor.text); err != nil {
			return q, &exit{ExitUsage, err}
		}
	}
	if f.before != "" && q.Before == 0 {
		return q, usage("before %q: nothing is before the first event", f.before)
	}
	return q, nil
}

// moment reads a time, or how long ago it was.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("%s %q: write a time as in 2026-01-02T15:04:05Z, or how long ago as in 90m", flag, text)
	}
	return t, nil
}
