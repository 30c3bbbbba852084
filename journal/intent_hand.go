package journal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/internal/kernel"
)

// What is done to intents by hand is journaled in StreamIntents and takes
// effect at its place in the order.
const (
	StreamIntents        = "$intents"
	KindIntentConfigured = "toka.intent.configured"
	KindIntentModel      = "toka.intent.model"
	KindIntentMerged     = "toka.intent.merged"
	KindIntentSplit      = "toka.intent.split"
	KindIntentEmbedded   = "toka.intent.embedded"
)

// order journals what is done by hand and waits until it has been done.
func (j *Journal) order(ctx context.Context, kind string, id events.ID, o *intentOrder, model string, embedding []float32) (events.Event, error) {
	payload, err := json.Marshal(o)
	if err != nil {
		return events.Event{}, err
	}
	r, err := j.Append(ctx, Write{
		Authority: authority.System(),
		Events: []events.Draft{{
			ID: id, Stream: StreamIntents, Kind: kind, SchemaVersion: 1,
			ContentType: events.ContentTypeJSON, Payload: payload, Embedding: embedding, EmbeddingModel: model,
		}},
	})
	if err != nil {
		return events.Event{}, fmt.Errorf("%s: %w", kind, err)
	}
	e := r.Events[0]
	for {
		moved := j.intent.next()
		if j.IntentError() != nil || j.intent.upTo(e.Position) >= e.Position {
			return e, nil
		}
		select {
		case <-moved:
		case <-j.failed:
			return e, j.Err()
		case <-ctx.Done():
			return e, context.Cause(ctx)
		}
	}
}

// IntentError says why no intents are assigned any more, or nil: a strategy
// that panics ends its own work and nothing else.
func (j *Journal) IntentError() error {
	j.intent.mu.RLock()
	defer j.intent.mu.RUnlock()
	return j.intent.broken
}

// IntentPosition returns the position up to which every event has the intent that
// it will have, but for being embedded later, merged or split: at most the durable
// mark. A filter by intent ends there.
func (j *Journal) IntentPosition() uint64 { return j.intent.upTo(j.mark.load()) }

// ResolveIntent returns the intent that an id stands for now, with merges
// followed: the id itself if nothing is known of it.
func (j *Journal) ResolveIntent(id events.ID) events.ID { return j.intent.resolve(id) }

// steered refuses what only a strategy that works can follow.
func (j *Journal) steered(what string) error {
	if err := j.IntentError(); err != nil {
		return fmt.Errorf("%s: intents are not assigned: %w", what, err)
	}
	if !j.intent.active() {
		return fmt.Errorf("%s: %w: the journal has no intents; open it with a strategy", what, ErrNotFound)
	}
	return nil
}

// MergeIntents says by hand that what is in one intent belongs to another,
// whose name it has from now on. Errors wrap ErrNotFound if there is no such
// intent.
func (j *Journal) MergeIntents(ctx context.Context, from, into events.ID) (events.Event, error) {
	if err := j.steered("merge"); err != nil {
		return events.Event{}, err
	}
	have, err := j.IntentsAt(ctx, j.Position())
	if err != nil {
		return events.Event{}, err
	}
	known := make(map[events.ID]bool)
	for i := range have {
		known[have[i].ID] = true
	}
	from, into = j.ResolveIntent(from), j.ResolveIntent(into)
	for _, id := range []events.ID{from, into} {
		if !known[id] {
			return events.Event{}, fmt.Errorf("merge: intent %s: %w", id, ErrNotFound)
		}
	}
	if from == into {
		return events.Event{}, fmt.Errorf("merge: both stand for the intent %s already", into)
	}
	return j.order(ctx, KindIntentMerged, events.ID{}, &intentOrder{Intent: from, Into: into}, "", nil)
}

// SplitIntent divides an intent by hand in two: of its parts, those go to a new
// intent that are the least like the rest. One of parts by several models is
// divided where the model changed last. It cannot divide a single part.
func (j *Journal) SplitIntent(ctx context.Context, id events.ID) (split events.ID, e events.Event, err error) {
	if err := j.steered("split"); err != nil {
		return split, e, err
	}
	id = j.ResolveIntent(id)
	parts, err := j.partsOf(ctx, id)
	if err != nil {
		return split, e, err
	}
	switch len(parts) {
	case 0:
		return split, e, fmt.Errorf("split: intent %s: %w", id, ErrNotFound)
	case 1:
		return split, e, fmt.Errorf("split: intent %s is of one part, which is not divided", id)
	}
	gone := laterModel(parts)
	if len(gone) == 0 {
		gone = divide(id, parts)
	}
	e, err = j.order(ctx, KindIntentSplit, events.ID{}, &intentOrder{Intent: id, Parts: gone}, "", nil)
	return events.IntentID("split", e.Digest), e, err
}

// EmbedEvent gives an event without an embedding one, as an event of its own:
// the first event's intent is known from then on.
func (j *Journal) EmbedEvent(ctx context.Context, position uint64, embedding []float32) (events.Event, error) {
	return j.EmbedEventBy(ctx, "", position, embedding)
}

// EmbedEventBy is EmbedEvent that is refused with ErrModel where the journal's
// model has another name by then.
func (j *Journal) EmbedEventBy(ctx context.Context, model string, position uint64, embedding []float32) (events.Event, error) {
	e, err := j.At(ctx, position)
	if err != nil {
		return e, err
	}
	switch {
	case !e.EmbeddingDigest.IsZero():
		return e, fmt.Errorf("event %s: %w: it has an embedding", e.ID, intent.ErrEmbedding)
	case e.SubjectKey != "":
		return e, fmt.Errorf("event %s: %w: it is under a subject key; an embedding would say in the clear what the payload hides", e.ID, intent.ErrEmbedding)
	case len(embedding) == 0:
		return e, fmt.Errorf("event %s: %w: it is empty", e.ID, intent.ErrEmbedding)
	}
	order := &intentOrder{Event: e.ID, Digest: e.Digest, Position: e.Position}
	return j.order(ctx, KindIntentEmbedded, events.IngestedID("toka/intent/embedded", e.ID.String()), order, model, embedding)
}

// Vector returns the stored embedding of the event at a position; nil if it
// brought none.
func (j *Journal) Vector(ctx context.Context, position uint64) (intent.Vector, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	if position == 0 || position > j.mark.load() {
		return nil, fmt.Errorf("position %d: %w", position, ErrNotFound)
	}
	v, _, err := j.vector(position)
	return v, err
}

// vector reads the embedding at a position, or the one that came later for it, and
// the position where it came.
func (j *Journal) vector(position uint64) (v intent.Vector, came uint64, err error) {
	e, _, err := j.record(position)
	if err != nil {
		return nil, 0, err
	}
	if e.EmbeddingDigest.IsZero() {
		v, closer, err := j.store.index.Get(positionKey(idxIntent, position))
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, readError(err)
		}
		a, ok := decodeAssignment(position, v)
		_ = closer.Close()
		if !ok || a.since <= position {
			return nil, 0, nil
		}
		if e, _, err = j.record(a.since); err != nil {
			return nil, 0, err
		}
	}
	value, closer, err := j.store.log.Get(positionKey(logVector, e.Position))
	if err != nil {
		return nil, 0, fmt.Errorf("position %d: embedding: %w", e.Position, readError(err))
	}
	defer closer.Close()
	v, err = checkedVector(&e, value)
	return v, e.Position, err
}

// Embedding returns the stored embedding of the event at a position, or the one
// that came later for it, with where it came and its model. The Vector is nil if
// there is none.
func (j *Journal) Embedding(ctx context.Context, position uint64) (x Embedded, err error) {
	if err := j.enter(ctx); err != nil {
		return x, err
	}
	defer j.leave()
	if position == 0 || position > j.mark.load() {
		return x, fmt.Errorf("position %d: %w", position, ErrNotFound)
	}
	if x.Vector, x.Position, err = j.vector(position); x.Vector != nil {
		x.Model = *j.intent.of(x.Position)
	}
	return x, err
}

// partCentre is what the events of a part add up to.
type partCentre struct {
	id    events.ID
	sum   []int64
	since uint64 // where its model came to be the journal's
}

// laterModel returns the parts by the last model; none if there is but one.
func laterModel(parts []partCentre) (gone []events.ID) {
	last := slices.MaxFunc(parts, func(a, b partCentre) int { return cmp.Compare(a.since, b.since) }).since
	for i := range parts {
		if parts[i].since == last {
			gone = append(gone, parts[i].id)
		}
	}
	if len(gone) == len(parts) {
		return nil
	}
	return gone
}

// partsOf returns the parts of an intent that have events, by the first.
func (j *Journal) partsOf(ctx context.Context, id events.ID) (out []partCentre, err error) {
	place := make(map[events.ID]int)
	err = j.eachAssigned(ctx, j.Position(), func(position uint64, a *assignment) error {
		if a.since == 0 || j.ResolveIntent(a.part) != id {
			return nil
		}
		v, came, err := j.vector(position)
		if err != nil {
			return err
		}
		n, ok := place[a.part]
		if !ok {
			n = len(out)
			place[a.part] = n
			out = append(out, partCentre{a.part, make([]int64, len(v)), j.intent.of(came).Position})
		}
		for i := range v {
			out[n].sum[i] += int64(v[i])
		}
		return nil
	})
	return out, err
}

// divide returns those of parts that go: it begins with the two that are the
// least alike and moves each to the nearer one until nothing moves. The part
// that bears the intent's name stays, or else the first one does.
func divide(id events.ID, parts []partCentre) (gone []events.ID) {
	units := make([]intent.Vector, len(parts))
	for i := range parts {
		units[i] = unitOf(parts[i].sum)
	}
	var ends [2]intent.Vector
	least := int32(1<<31 - 1)
	for i := range units {
		for k := range i {
			if p := kernel.Dot16(units[i], units[k]); p < least || ends[0] == nil {
				least, ends = p, [2]intent.Vector{units[k], units[i]}
			}
		}
	}
	side := make([]int, len(parts))
	for range 16 {
		moved := false
		sums := [2][]int64{make([]int64, len(units[0])), make([]int64, len(units[0]))}
		var size [2]int
		for i := range units {
			at := 0
			if kernel.Dot16(units[i], ends[1]) > kernel.Dot16(units[i], ends[0]) {
				at = 1
			}
			moved = moved || at != side[i]
			side[i] = at
			size[at]++
			for d, q := range parts[i].sum {
				sums[at][d] += q
			}
		}
		if size[0] == 0 || size[1] == 0 {
			for i := range side { // all alike: the newest goes
				side[i] = 0
			}
			side[len(side)-1] = 1
			break
		}
		if !moved {
			break
		}
		ends = [2]intent.Vector{unitOf(sums[0]), unitOf(sums[1])}
	}
	stays := side[0]
	for i := range parts {
		if parts[i].id == id {
			stays = side[i]
		}
	}
	for i := range parts {
		if side[i] != stays {
			gone = append(gone, parts[i].id)
		}
	}
	return gone
}

// unitOf scales a sum to the length of a stored vector.
func unitOf(sum []int64) intent.Vector {
	squares := 0.0
	for _, q := range sum {
		squares += float64(float64(q) * float64(q))
	}
	v := make(intent.Vector, len(sum))
	if length := math.Sqrt(squares); length > 0 {
		for i, q := range sum {
			v[i] = int16(math.Round(float64(float64(q)*math.MaxInt16) / length))
		}
	}
	return v
}
