package journal_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/internal/disk/disktest"
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

func TestCheckpointState(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	put := func(token authority.Token, cs ...journal.Checkpoint) error {
		_, err := tryAppend(t, j, journal.Write{Checkpoints: cs, Authority: token})
		return err
	}
	want := map[string]journal.Checkpoint{
		"$c/a": {Name: "$c/a", Position: 3, State: "what it wants to know"},
		"$c/b": {Name: "$c/b", Via: "$c/a", State: strings.Repeat("x", journal.MaxCheckpointState)},
		"$c/c": {Name: "$c/c", Via: "$c/a"},
		"c":    {Name: "c", State: "\x00"},
	}
	if err := put(authority.System(), slices.Collect(maps.Values(want))...); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]journal.Checkpoint{"of the system": {Name: "$c/d"}, "too large": {Name: "d", State: strings.Repeat("x", journal.MaxCheckpointState+1)}} {
		if err := put(authority.Token{}, c); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(authority.System(), journal.Checkpoint{Name: "$c/c", Delete: true}, journal.Checkpoint{Name: "absent", Delete: true}); err != nil {
		t.Fatal(err)
	}
	delete(want, "$c/c")
	list := func(prefix string) map[string]journal.Checkpoint {
		out := map[string]journal.Checkpoint{}
		for c, err := range j.Checkpoints(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			out[c.Name] = c
		}
		return out
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	if got := list(""); !maps.Equal(got, want) {
		t.Errorf("checkpoints %+v, want %+v", got, want)
	}
	delete(want, "c")
	if got := list("$c/"); !maps.Equal(got, want) {
		t.Errorf("checkpoints with a prefix %+v, want %+v", got, want)
	}
	for name, c := range want {
		if got, err := j.Checkpoint(t.Context(), name); err != nil || got != c {
			t.Errorf("checkpoint %s: %+v (%v)", name, got, err)
		}
	}
}
