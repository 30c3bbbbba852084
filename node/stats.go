package node

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/journal"
)

// statsJSON is what stats prints with -o json. Names are stable.
type statsJSON struct {
	Cursor   string `json:"cursor"` // of the last event
	Position uint64 `json:"position"`
	Epoch    uint32 `json:"epoch"`
	Streams  uint64 `json:"streams"`
	Payloads uint64 `json:"payloads"` // distinct, not counting empty ones
	Intents  int    `json:"intents"`

	Bytes         uint64  `json:"bytes"` // on disk, of both stores
	BytesPerEvent float64 `json:"bytes_per_event"`

	Log   journal.StoreUsage `json:"log"`
	Index journal.StoreUsage `json:"index"`
	Parts []partJSON         `json:"parts"`

	// With --payloads: bytes of payloads as events carry them, as they are
	// stored, and the one over the other.
	PayloadBytes       *uint64  `json:"payload_bytes,omitempty"`
	StoredPayloadBytes *uint64  `json:"stored_payload_bytes,omitempty"`
	DedupRatio         *float64 `json:"dedup_ratio,omitempty"`
}

type partJSON struct {
	journal.PartUsage
	BytesPerEvent float64 `json:"bytes_per_event"`
}

func (a *app) statsCommand() *cobra.Command {
	var payloads bool
	c := &cobra.Command{
		Use:   "stats",
		Short: "Show what a journal holds and what it takes on disk",
		Long: `Shows how many events, streams, payloads and intents a journal holds, what it takes
on disk, for each event and by part, and how much the storage engine has written
for what it was given.

Parts are estimates of what lies in tables, compressed. Write amplification
counts from when the journal was opened: in a command on its own that is hardly
anything. With --payloads every event is read to tell how many bytes of payload
are stored for those that events carry.`,
		Example: lines(
			"toka-node stats --data ./data",
			"toka-node stats --data ./data --payloads -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.read(func(j *journal.Journal) error {
				s := j.Stats()
				u, err := j.Usage(c.Context())
				if err != nil {
					return err
				}
				out := statsJSON{
					Cursor:   journal.Cursor{Epoch: s.Epoch, Position: s.Position}.String(),
					Position: s.Position, Epoch: s.Epoch, Streams: s.Streams, Payloads: s.Payloads, Intents: s.Intents,
					Bytes: u.Log.Bytes + u.Index.Bytes, Log: u.Log, Index: u.Index, Parts: []partJSON{},
				}
				each := func(n uint64) float64 { return float64(n) / float64(max(s.Position, 1)) }
				out.BytesPerEvent = each(out.Bytes)
				for _, p := range u.Parts {
					out.Parts = append(out.Parts, partJSON{p, each(p.Bytes)})
				}
				if payloads {
					carried, stored, err := j.PayloadBytes(c.Context())
					if err != nil {
						return err
					}
					ratio := float64(carried) / float64(max(stored, 1))
					out.PayloadBytes, out.StoredPayloadBytes, out.DedupRatio = &carried, &stored, &ratio
				}
				if a.json() {
					return a.object(out)
				}
				return a.showStats(&out)
			})
		},
	}
	c.Flags().BoolVar(&payloads, "payloads", false, "read every event to measure deduplication")
	return a.withData(c)
}

func (a *app) showStats(s *statsJSON) error {
	t := a.table()
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("events", "%d, the last at %s", s.Position, s.Cursor)
	row("streams", "%d", s.Streams)
	row("payloads", "%d distinct", s.Payloads)
	row("intents", "%d", s.Intents)
	row("on disk", "%d bytes, %.0f an event", s.Bytes, s.BytesPerEvent)
	for _, p := range s.Parts {
		row("  "+p.Name, "%d bytes, %.1f an event", p.Bytes, p.BytesPerEvent)
	}
	for _, u := range []struct {
		name string
		*journal.StoreUsage
	}{{"log", &s.Log}, {"index", &s.Index}} {
		row(u.name, "%d bytes, %d of them write-ahead log; written since it was opened: %d for %d", u.Bytes, u.LogBytes, u.Written, u.BytesIn)
	}
	if s.DedupRatio != nil {
		row("payload bytes", "%d carried, %d stored, ratio %.2f", *s.PayloadBytes, *s.StoredPayloadBytes, *s.DedupRatio)
	}
	return t.Flush()
}
