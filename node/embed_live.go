package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// What a node does for the vectors of events that come in: a client waits for
// its events to be stored, and not for a server of embeddings that is slow.
const (
	embedWithin = 2 * time.Second // for the events of one request
	embedLeast  = time.Second     // between two tries after a failure, doubled each time
	embedMost   = time.Minute
)

// incoming gives events that come in the vectors of their texts. An event that
// gets none is journaled without.
type incoming struct {
	embedder intent.Embedder
	from     string // as --embed named it
	log      *slog.Logger
	busy     chan struct{} // one place for each request that is embedded

	mu    sync.Mutex
	after time.Time // no try before
	wait  time.Duration
	left  int // events without a vector since the last success
}

// incoming returns what --embed asks a node to do; nil for nothing.
func (a *app) incoming(f *embedFlags, log *slog.Logger) (*incoming, error) {
	e, err := a.embedder(f)
	if e == nil || err != nil {
		return nil, err
	}
	return &incoming{embedder: e, from: f.from, log: log, busy: make(chan struct{}, 8), wait: embedLeast}, nil
}

// use makes the journal one of the embedder's model, and refuses that of
// another.
func (i *incoming) use(ctx context.Context, j *journal.Journal) error {
	if i == nil {
		return nil
	}
	return j.UseModel(ctx, journal.Model{Name: i.embedder.Name(), Dimension: i.embedder.Dimension()})
}

// stillOf refuses an embedder whose model is the journal's no more.
func stillOf(j *journal.Journal, e intent.Embedder) error {
	if m, ok := j.Model(); ok && m.Name != e.Name() {
		return fmt.Errorf("%w: the journal's model is %v now, --embed computes those of %q", journal.ErrModel, m, e.Name())
	}
	return nil
}

// embed gives drafts what vectors can be had in time.
func (i *incoming) embed(ctx context.Context, j *journal.Journal, drafts []events.Draft) {
	var fresh []*events.Draft
	for k := range drafts {
		// What is here keeps the vector that it came with.
		if _, err := j.ByID(ctx, drafts[k].ID); errors.Is(err, journal.ErrNotFound) {
			fresh = append(fresh, &drafts[k])
		}
	}
	texts, _ := wanting(fresh)
	if len(texts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, embedWithin)
	defer cancel()
	if !i.open(len(texts)) {
		return
	}
	if err := stillOf(j, i.embedder); err != nil {
		i.closed(0, len(texts), err)
		return
	}
	select {
	case i.busy <- struct{}{}:
		defer func() { <-i.busy }()
	case <-ctx.Done():
		i.closed(0, len(texts), ctx.Err())
		return
	}
	i.closed(embed(ctx, i.embedder, fresh))
}

// open reports whether to try, and counts what is left out otherwise.
func (i *incoming) open(texts int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Now().Before(i.after) {
		i.left += texts
		return false
	}
	return true
}

// closed heeds what came of a try.
func (i *incoming) closed(done, without int, reason error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.left += without
	switch {
	case done > 0 && without == 0 && i.left > 0:
		i.log.Warn("events get their vectors again; toka-node intents embed gives those theirs that came without", "without", i.left)
		i.left, i.wait = 0, embedLeast
	case done > 0 || without == 0:
		i.wait = embedLeast
	default: // nothing: the server is away, or does not know what to do
		i.after = time.Now().Add(i.wait)
		i.log.Warn("events are journaled without vectors", "until", i.after.UTC().Format(time.RFC3339), "without", i.left, "err", reason)
		i.wait = min(2*i.wait, embedMost)
	}
}
