package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func (a *app) logCommand() *cobra.Command {
	var f filter
	var l likeness
	c := &cobra.Command{
		Use:   "log",
		Short: "List events in the order of the journal",
		Long: `Lists events in the order of the journal: position, record time, stream, kind,
short digest and the short digests of the parents.

All filters that are given must hold. Times are record times; they select, and
never change the order. An agent's events are those of the stream that bears its
name. A list by --intent ends where intents are assigned up to.

--like selects events by meaning: those whose stored vector is at least --min
near to the vector of the text.

A cursor is EPOCH-POSITION; a bare position means the current epoch.`,
		Example: lines(
			"toka-node log --data ./data --backwards --limit 20",
			"toka-node log --data ./data --like 'the customer wants a refund' --min 0.3",
			"toka-node log --data ./data --stream order-1 -o json",
			"toka-node log --data ./data --kind 'order.*' --after 1-42",
			"toka-node log --data ./data --correlation talk-7 --since 90m"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			return a.read(func(j *journal.Journal) error {
				q, err := f.query(j)
				if err != nil {
					return err
				}
				if l.text == "" {
					return a.list(c, j.Read(c.Context(), q))
				}
				like, err := a.likeness(c.Context(), j, &l)
				if err != nil {
					return err
				}
				q.Like, q.Min, q.Model = like.vector, like.min, like.model
				return a.list(c, j.Read(c.Context(), q))
			})
		},
	}
	f.flags(c, true)
	l.flags(c, 0.3)
	return a.withData(c, asNames)
}

func (a *app) list(c *cobra.Command, es iter.Seq2[events.Event, error]) error {
	t := a.table()
	if a.output == "table" {
		fmt.Fprintln(t, "CURSOR\tRECORDED\tSTREAM\tKIND\tDIGEST\tPARENTS")
	}
	for e, err := range es {
		if err != nil {
			_ = t.Flush()
			return err
		}
		if a.json() {
			if err := a.object(toJSON(e)); err != nil {
				return err
			}
			continue
		}
		if a.output == asNames {
			if _, err := fmt.Fprintln(a.streams.Out, e.ID); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", journal.Cursor{Epoch: e.Epoch, Position: e.Position},
			e.RecordTime.Format(time.RFC3339), printable(e.Stream), printable(e.Kind), e.Digest.Short(), parents(e))
	}
	return t.Flush()
}

func (a *app) showCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show one event with its payload",
		Long: `Shows one event. ID is an event id, the id with which the event was ingested, or
the beginning of its digest (at least 4 hexadecimal digits); the first of these
that fits is taken.`,
		Example: lines(
			"toka-node show --data ./data 0193b5a4-9c1e-7c4e-8a53-2f1d3c5b7a90",
			"toka-node show --data ./data 5f3a9c -o json"),
		Args: args(1, "one ID"),
		RunE: func(c *cobra.Command, ids []string) error {
			return a.read(func(j *journal.Journal) error {
				e, err := resolve(c, j, ids[0])
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(toJSON(e))
				}
				a.show(e)
				return nil
			})
		},
	}
	return a.withData(c)
}

// resolve finds the event that a person means by id.
func resolve(c *cobra.Command, j *journal.Journal, id string) (events.Event, error) {
	return find(c.Context(), j, id)
}

func find(ctx context.Context, j *journal.Journal, id string) (events.Event, error) {
	if uuid, err := events.ParseID(id); err == nil {
		if e, err := j.ByID(ctx, uuid); !errors.Is(err, journal.ErrNotFound) {
			return e, err
		}
	}
	if events.CheckName("id", id) == nil {
		es, err := j.ByOutsideID(ctx, id)
		switch {
		case err != nil:
			return events.Event{}, err
		case len(es) == 1:
			return es[0], nil
		case len(es) > 1:
			var ids []string
			for _, e := range es {
				ids = append(ids, fmt.Sprintf("%s (stream %q)", e.ID, e.Stream))
			}
			return events.Event{}, fmt.Errorf("%q was ingested from several sources; name one event: %s", id, strings.Join(ids, ", "))
		}
	}
	e, err := j.ByDigestPrefix(ctx, id)
	if errors.Is(err, journal.ErrNotFound) {
		return e, fmt.Errorf("no event with id, ingested id or digest %q: %w", id, journal.ErrNotFound)
	}
	return e, err
}

func (a *app) show(e events.Event) {
	t := a.table()
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("cursor", journal.Cursor{Epoch: e.Epoch, Position: e.Position}.String())
	row("id", e.ID.String())
	row("ingested as", printable(e.OutsideID()))
	row("stream", fmt.Sprintf("%s, position %d", printable(e.Stream), e.StreamPosition))
	row("kind", fmt.Sprintf("%s, schema version %d", printable(e.Kind), e.SchemaVersion))
	if !e.Time.IsZero() {
		row("time", e.Time.Format(time.RFC3339Nano))
	}
	row("recorded", e.RecordTime.Format(time.RFC3339Nano))
	row("digest", e.Digest.String())
	row("record hash", e.RecordHash().String())
	row("payload digest", e.PayloadDigest.String())
	row("subject key", printable(e.SubjectKey))
	if e.PayloadState != events.PayloadHere {
		row("payload", e.PayloadState.String())
	}
	for i, p := range e.Parents {
		name := ""
		if i == 0 {
			name = "parents"
		}
		mark := ""
		if p.ID == e.Trigger {
			mark = "  (trigger)"
		}
		place := fmt.Sprintf("position %d", p.Position)
		if p.Position == 0 {
			place = "not in this journal"
		}
		fmt.Fprintf(t, "%s\t%s  %s  %s%s\n", name, p.ID, p.Digest.Short(), place, mark)
	}
	row("correlation", printable(e.Correlation))
	row("trace", printable(e.Trace))
	for _, k := range sortedKeys(e.Extensions) {
		row("ext "+k, printable(e.Extensions[k]))
	}
	switch {
	case e.Intent.Pending:
		row("intent", "pending")
	case !e.Intent.ID.IsZero():
		row("intent", fmt.Sprintf("%s, similarity %.3f", e.Intent.ID, e.Intent.Similarity))
	}
	row("content type", printable(e.ContentType))
	_ = t.Flush()
	switch {
	case len(e.Payload) == 0:
	case isJSON(e):
		fmt.Fprintf(a.streams.Out, "\n%s\n", printable(string(e.Payload)))
	default:
		fmt.Fprintf(a.streams.Out, "\n%s", hex.Dump(e.Payload[:min(len(e.Payload), 1024)]))
	}
}
