package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

const (
	// embedLines are embedded at a time, or what there is of them: a server
	// takes hardly longer for several texts than for one.
	embedLines = 64

	// embedFailures in a row are believed: after so many batches without one
	// vector, the rest of the input is taken without.
	embedFailures = 3
)

// embedding gives lines their vectors, in the order of the input and on a
// goroutine of its own: while a server computes, lines go on to be read and
// events to be stored.
func (g *ingest) embedding(ctx context.Context, in <-chan parsed) <-chan parsed {
	out := make(chan parsed, embedLines)
	go func() {
		failures := 0
		var batch []parsed
		for {
			batch = gather(ctx, in, batch[:0])
			if len(batch) == 0 {
				return // interrupted
			}
			g.embed(ctx, batch, &failures)
			if ctx.Err() != nil {
				return // without vectors, they would not get them the next time
			}
			for _, l := range batch {
				select {
				case out <- l:
				case <-ctx.Done():
					return
				}
				if l.end != nil {
					return
				}
			}
		}
	}()
	return out
}

// gather waits for a line and takes with it what has come meanwhile.
func gather(ctx context.Context, in <-chan parsed, batch []parsed) []parsed {
	select {
	case l := <-in:
		batch = append(batch, l)
	case <-ctx.Done():
		return nil
	}
	for len(batch) < embedLines && batch[len(batch)-1].end == nil {
		select {
		case l := <-in:
			batch = append(batch, l)
		default:
			return batch
		}
	}
	return batch
}

// embed computes what vectors the batch needs. An event that the journal has
// already needs none, as it keeps the one that it came with.
func (g *ingest) embed(ctx context.Context, batch []parsed, failures *int) {
	var drafts []*events.Draft
	for i := range batch {
		l := &batch[i]
		if l.err != nil || l.end != nil {
			continue
		}
		if _, err := g.j.ByID(ctx, l.in.Draft.ID); !errors.Is(err, journal.ErrNotFound) {
			continue // what else went wrong is found again when the line is taken
		}
		drafts = append(drafts, &l.in.Draft)
	}
	first := &batch[0]
	if *failures == embedFailures {
		texts, _ := wanting(drafts)
		first.unembedded = len(texts)
		return
	}
	if err := stillOf(g.j, g.embedder); err != nil {
		texts, _ := wanting(drafts)
		first.unembedded, first.unembeddedFor = len(texts), err
	} else {
		first.embedded, first.unembedded, first.unembeddedFor = embed(ctx, g.embedder, drafts)
	}
	for i := range batch {
		batch[i].size += 4 * int64(len(batch[i].in.Draft.Embedding))
	}
	switch {
	case first.embedded > 0:
		*failures = 0
	case first.unembedded > 0:
		if *failures++; *failures == embedFailures {
			first.unembeddedFor = fmt.Errorf("%w; this was the last of %d tries, and what follows is journaled without vectors too", first.unembeddedFor, embedFailures)
		}
	}
}

// noteEmbedded counts and reports what came of a batch at its first line.
func (g *ingest) noteEmbedded(l *parsed) {
	g.embedded += uint64(l.embedded)
	g.unembedded += uint64(l.unembedded)
	if l.unembeddedFor != nil && g.failing.Err() == nil {
		g.report(l.line, fmt.Sprintf("from here on, %d events are journaled without a vector: %v", l.unembedded, l.unembeddedFor))
	}
}
