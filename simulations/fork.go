package simulations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Errors of Fork that a caller can act on.
var (
	// ErrNotEmpty: the journal to fork into holds events already.
	ErrNotEmpty = errors.New("journal is not empty")
	// ErrCannotFork: an event holds what a fork cannot carry over.
	ErrCannotFork = errors.New("event cannot be forked")
)

// Clock is the clock of a journal that is forked into: pass its Now as
// journal.Options.Now and the Clock to Fork. While Fork copies, it tells the
// record time of the event that is being copied, otherwise the time of Base. A
// reaction happens at the record time of its cause, so without this the
// reactions in the fork would not be the ones that are recorded.
//
// The zero Clock is ready for use, by one Fork at a time.
type Clock struct {
	Base func() time.Time // default time.Now

	mu   sync.Mutex
	held time.Time
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	switch {
	case !held.IsZero():
		return held
	case c.Base != nil:
		return c.Base()
	}
	return time.Now()
}

func (c *Clock) hold(t time.Time) {
	c.mu.Lock()
	c.held = t
	c.mu.Unlock()
}

// Fork copies the events of src up to and including a position into dst, which
// must be empty and was opened with clock.Now. They keep their ids, digests,
// positions and record times, so that a world started on dst goes on from
// there as src could have. Recorded state digests up to there come along.
//
// Checkpoints, intents and embeddings do not. Pruned events stay pruned. An agent knows from its own
// stream what it has dealt with, and is handed what came after that again.
//
// Events that carry a subject key are refused with ErrCannotFork, since their
// content is not in the journal alone, and so is a position in the middle of
// what one command or reaction caused. Other errors wrap ErrNotEmpty, or are
// those of the journals; dst then holds a part and is of no use.
func Fork(ctx context.Context, src *journal.Journal, upto uint64, dst *journal.Journal, clock *Clock) error {
	if end := src.Position(); upto > end {
		return fmt.Errorf("fork at position %d: %w: the journal ends at %d", upto, journal.ErrNotFound, end)
	}
	if n := dst.Position(); n > 0 {
		return fmt.Errorf("fork: %w: %d events", ErrNotEmpty, n)
	}
	if err := whole(ctx, src, upto); err != nil {
		return err
	}
	defer clock.hold(time.Time{})
	f := &fork{src: src, dst: dst, clock: clock, versions: map[string]uint64{}}
	for e, err := range src.Read(ctx, journal.Query{}) {
		if err == nil && e.Position > upto {
			break
		}
		if err == nil {
			err = f.add(ctx, &e)
		}
		if err != nil {
			return fmt.Errorf("fork at position %d: %w", upto, err)
		}
	}
	err := f.flush(ctx)
	if err == nil {
		err = f.stateDigests(ctx)
	}
	if err != nil {
		return fmt.Errorf("fork at position %d: %w", upto, err)
	}
	return nil
}

// whole refuses a position after which the same turn goes on: half a turn is
// what no journal ever holds.
func whole(ctx context.Context, j *journal.Journal, position uint64) error {
	if position == 0 || position == j.Position() {
		return nil
	}
	last, err := j.At(ctx, position)
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	next, err := j.At(ctx, position+1)
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	if next.Stream != last.Stream || next.Trigger.IsZero() || events.SystemKind(next.Kind) {
		return nil
	}
	cause, err := j.ByID(ctx, next.Trigger)
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	split := last.ID == cause.ID
	if last.Trigger == cause.ID {
		for n := uint32(0); n < 1<<12 && !split; n++ {
			split = last.ID == events.EmittedID(cause.Digest, last.Stream, n) && next.ID == events.EmittedID(cause.Digest, last.Stream, n+1)
		}
	}
	if split {
		return fmt.Errorf("fork at position %d: %w: the event after it, %s of stream %q, belongs to the same turn", position, ErrCannotFork, next.Kind, next.Stream)
	}
	return nil
}

type fork struct {
	src, dst *journal.Journal
	clock    *Clock

	run      []events.Event // with one record time, still to be written
	bytes    int
	versions map[string]uint64 // by stream
}

// A run of events with one record time is written at once, up to so much.
const (
	runEvents = 1024
	runBytes  = 4 << 20
)

func (f *fork) add(ctx context.Context, e *events.Event) error {
	if e.SubjectKey != "" {
		return fmt.Errorf("position %d: %w: it is encrypted under subject key %q", e.Position, ErrCannotFork, e.SubjectKey)
	}
	if len(f.run) > 0 && (!f.run[0].RecordTime.Equal(e.RecordTime) || len(f.run) == runEvents || f.bytes > runBytes) {
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
	f.run = append(f.run, *e)
	f.bytes += len(e.Payload)
	f.versions[e.Stream] = e.StreamPosition
	return nil
}

func (f *fork) flush(ctx context.Context) error {
	if len(f.run) == 0 {
		return nil
	}
	// As imported events they keep their digests where the payload is gone, too.
	w := journal.Write{Imported: slices.Clone(f.run), Authority: authority.System()}
	f.clock.hold(f.run[0].RecordTime)
	r, err := f.dst.Append(ctx, w)
	if err != nil {
		return err
	}
	for i := range r.Events {
		got, want := &r.Events[i], &f.run[i]
		if got.Digest != want.Digest || got.Position != want.Position {
			return fmt.Errorf("position %d: %w: it became event %s at position %d", want.Position, ErrCannotFork, got.Digest.Short(), got.Position)
		}
		if !got.RecordTime.Equal(want.RecordTime) {
			return fmt.Errorf("position %d: %w: its record time became %v, not %v; open the journal with the Now of the Clock given to Fork",
				want.Position, ErrCannotFork, got.RecordTime, want.RecordTime)
		}
	}
	f.run, f.bytes = f.run[:0], 0
	return nil
}

// stateDigests copies what is recorded of the states that the events fold to.
func (f *fork) stateDigests(ctx context.Context) error {
	var w journal.Write
	flush := func() error {
		if len(w.StateDigests) == 0 {
			return nil
		}
		_, err := f.dst.Append(ctx, w)
		w.StateDigests = nil
		return err
	}
	for _, stream := range slices.Sorted(maps.Keys(f.versions)) {
		for d, err := range f.src.StateDigests(ctx, stream) {
			if err != nil {
				return err
			}
			if d.StreamPosition <= f.versions[stream] {
				w.StateDigests = append(w.StateDigests, d)
			}
		}
		if len(w.StateDigests) >= runEvents {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
