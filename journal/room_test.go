package journal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// TestNoRoom has a disk that fails every write while it is said to be full: the
// journal is not to try one. What waits is stored when there is room again.
func TestNoRoom(t *testing.T) {
	var full atomic.Bool
	d := disktest.New()
	fault := d.Fail(1, true, syscall.ENOSPC, func(op disktest.Op) bool { return full.Load() && op.Is(disktest.Write, "data/") })
	o := journal.Options{Volume: d.Volume(), Room: func() bool { return !full.Load() }}
	j, err := journal.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	draft := func(kind string) journal.Write {
		return journal.Write{Events: []events.Draft{{Stream: "s", Kind: kind}}}
	}
	if _, err := j.Append(t.Context(), draft("first")); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	for range 3 {
		if _, err := j.Append(t.Context(), draft("refused")); !errors.Is(err, journal.ErrFull) {
			t.Fatalf("append on a full disk: %v", err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Submit(gone, draft("refused"), func(journal.Receipt, error) { t.Error("called") }); !errors.Is(err, journal.ErrFull) || !errors.Is(err, context.Canceled) {
		t.Fatalf("submit with a context that has ended: %v", err)
	}
	queued, stored := make(chan error, 1), make(chan error, 1)
	go func() {
		queued <- j.Submit(t.Context(), draft("held"), func(_ journal.Receipt, err error) { stored <- err })
	}()
	if e, err := j.At(t.Context(), 1); err != nil || e.Kind != "first" || j.Err() != nil {
		t.Fatalf("reading on a full disk: %v %v, %v", e.Kind, err, j.Err())
	}
	select {
	case err := <-queued:
		t.Fatalf("a write was not held: %v", err)
	default:
	}
	full.Store(false)
	if err := errors.Join(<-queued, <-stored); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(t.Context(), draft("last")); err != nil {
		t.Fatal(err)
	}
	kinds := ""
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds += e.Kind + " "
	}
	if kinds != "first held last " {
		t.Errorf("stored: %s", kinds)
	}
	// Who waits does not keep the journal from being closed.
	fault.Repair()
	full.Store(true)
	go func() { queued <- j.Submit(t.Context(), draft("held"), func(journal.Receipt, error) {}) }()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-queued; !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
