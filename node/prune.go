package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func (a *app) pruneCommand() *cobra.Command {
	var stream, until string
	var kinds []string
	var all bool
	c := &cobra.Command{
		Use:   "prune [EVENT]",
		Short: "Remove payloads, for good; the events stay and still verify",
		Long: `Removes the payload of EVENT, or those of all events that the flags select. The
events stay with their digests, links and proofs, and read as pruned. A payload
that an event outside of the selection carries too is kept. What was removed is
in no file of the journal any more when the command ends; backups and other
copies still have it.

An agent cannot be recovered from events without payload.`,
		Example: lines(
			"toka-node prune --data ./data --kind 'sensor.>' --until 2026-01-01T00:00:00Z",
			"toka-node prune --data ./data 5f3a9c"),
		Args: func(c *cobra.Command, given []string) error {
			flags := all || stream != "" || until != "" || len(kinds) > 0
			if len(given) > 1 || (len(given) == 1) == flags {
				return usage("%s takes one EVENT, or flags that select events; run %s --help", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, ids []string) error {
			q := journal.Query{Stream: stream}
			for _, k := range kinds {
				p, err := events.ParsePattern(k)
				if err != nil {
					return usage("%w", err)
				}
				q.Kinds = append(q.Kinds, p)
			}
			if until != "" {
				t, err := time.Parse(time.RFC3339, until)
				if err != nil {
					return usage("--until %q: write a time as in 2026-01-31T00:00:00Z", until)
				}
				q.Until = t
			}
			return a.read(func(j *journal.Journal) error {
				if len(ids) > 0 {
					e, err := resolve(c, j, ids[0])
					if err != nil {
						return err
					}
					q.After, q.Before = e.Position-1, e.Position+1
				}
				p, err := j.Prune(c.Context(), q)
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(p)
				}
				fmt.Fprintf(a.streams.Out, "pruned %d payloads, %d bytes, of %d events\n", p.Payloads, p.Bytes, p.Events)
				if p.Kept > 0 {
					fmt.Fprintf(a.streams.Out, "kept %d payloads that other events carry too\n", p.Kept)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&stream, "stream", "", "events of this stream")
	c.Flags().StringSliceVar(&kinds, "kind", nil, "events of kinds that match: dot tokens, * for one, > for the rest")
	c.Flags().StringVar(&until, "until", "", "events that were recorded before this time (RFC 3339)")
	c.Flags().BoolVar(&all, "all", false, "all events")
	return a.withData(c)
}

func (a *app) eraseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "erase SUBJECT",
		Short: "Destroy the key of a subject, and with it what was encrypted for it",
		Long: `Destroys the key that payloads of a subject are encrypted with: they cannot be
read any more, in no copy of the log, and nothing is stored for the subject
again. The events stay with their digests, links and proofs, and read as erased.
That the subject was erased is journaled.

Backups that were taken before hold the key: keep their keys apart, and not for
long.`,
		Example: lines(
			"toka-node erase --data ./data customer/4711",
			"toka-node erase --data ./data customer/4711 -o json"),
		Args: args(1, "one SUBJECT"),
		RunE: func(c *cobra.Command, subjects []string) error {
			return a.read(func(j *journal.Journal) error {
				err := j.Erase(c.Context(), subjects[0])
				if errors.Is(err, journal.ErrNotFound) {
					return fmt.Errorf("%w: nothing was encrypted for it here", err)
				}
				if err != nil {
					return err
				}
				if a.json() {
					return a.object(struct {
						Erased string `json:"erased"`
					}{subjects[0]})
				}
				fmt.Fprintf(a.streams.Out, "erased: %s\n", printable(subjects[0]))
				return nil
			})
		},
	}
	return a.withData(c)
}
