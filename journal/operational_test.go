package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// TestOperationalStateIsDurableWhenRead: checkpoints and state digests have no
// position that a mark could hide, so a reader waits for the sync instead.
func TestOperationalStateIsDurableWhenRead(t *testing.T) {
	h := holdSyncs(t, nil)
	d := journal.StateDigest{Stream: "s", StreamPosition: 1, Digest: events.PayloadDigest([]byte("state"))}
	w := write(draft("s", "test.happened", "a"))
	w.Checkpoints = []journal.Checkpoint{{Name: "reader", Position: 7}}
	w.StateDigests = []journal.StateDigest{d}
	answered := make(chan error, 1)
	if err := h.Submit(t.Context(), w, func(journal.Receipt, error) {
		// The answer comes on the goroutine that syncs: reading here must not
		// wait for it.
		_, err := h.Checkpoint(t.Context(), "reader")
		answered <- err
	}); err != nil {
		t.Fatal(err)
	}
	soon(t, "a sync", h.entered)

	// What has not returned when the context ends was waiting for the sync.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if cp, err := h.Checkpoint(ctx, "reader"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a checkpoint was read before it was durable: %+v, %v", cp, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for got, err := range h.StateDigests(ctx, "s") {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a state digest was read before it was durable: %+v, %v", got, err)
		}
	}
	close(h.release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if cp, err := h.Checkpoint(t.Context(), "reader"); err != nil || cp.Position != 7 {
		t.Errorf("checkpoint: %+v, %v", cp, err)
	}
}
