package yardstick

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/internal/disk"
)

func TestRunWritesTheGroups(t *testing.T) {
	groups := []Group{{1, 300}, {7, 7 * 400}, {300, 300 * 1500}, {2, 40}, {20_000, 20_000 * 90}}
	for _, mode := range []Mode{Fsync, OS, Memory} {
		r, err := Run(t.Context(), Options{Dir: t.TempDir(), Mode: mode, Groups: groups, Streams: 3})
		if err != nil {
			t.Fatal(err)
		}
		if r.Events != 20_310 || r.Elapsed <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.EventsPerSecond() <= 0 {
			t.Errorf("mode %d: %+v", mode, r)
		}
	}
}

func TestStoresHoldWhatWasAsked(t *testing.T) {
	dir := t.TempDir()
	groups := []Group{{1, 300}, {100, 100 * 400}, {IndexBatch, IndexBatch * 300}, {IndexBatch, IndexBatch * 30}}
	if _, err := Run(t.Context(), Options{Dir: dir, Groups: groups, Streams: 5}); err != nil {
		t.Fatal(err)
	}
	var events, bytes int
	for _, g := range groups {
		events += int(g.Events)
		bytes += int(g.Bytes)
	}
	keys, size := count(t, dir+"/log")
	if keys != events {
		t.Errorf("the log holds %d keys, want %d", keys, events)
	}
	// A batch's own framing is 3 or 4 bytes an event.
	if size < bytes-6*events || size > bytes {
		t.Errorf("the log holds %d bytes of %d events, want nearly %d", size, events, bytes)
	}
	// Pages of three kinds, a run, five streams, links both ways; twice.
	want := 2 * (3*IndexBatch/pagePairs + 1 + 5 + 2*IndexBatch/linkEvents)
	if keys, _ := count(t, dir+"/index"); keys != want {
		t.Errorf("the index holds %d keys, want %d", keys, want)
	}
}

// The eighth batch is merged with the seven before it: their pages are gone
// and as many are there again.
func TestMergesAsAJournalDoes(t *testing.T) {
	dir := t.TempDir()
	if _, err := Run(t.Context(), Options{Dir: dir, Groups: []Group{{8 * IndexBatch, 8 * IndexBatch * 30}}}); err != nil {
		t.Fatal(err)
	}
	want := 8 * (3*IndexBatch/pagePairs + 1 + 1 + 2*IndexBatch/linkEvents)
	if keys, _ := count(t, dir+"/index"); keys != want {
		t.Errorf("the index holds %d keys, want %d", keys, want)
	}
}

func count(t *testing.T, dir string) (keys, size int) {
	t.Helper()
	guard := disk.NewGuard(disk.OS(), false, func(err error) { t.Error(err) })
	db, err := open(guard, dir, nil, func(*pebble.Options) {})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		keys++
		size += len(it.Key()) + len(it.Value())
	}
	return keys, size
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{Mode: Memory, Groups: []Group{{1, 100}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	for _, size := range []uint32{1, 64, 1024} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			groups := make([]Group, b.N)
			for i := range groups {
				groups[i] = Group{size, size * 400}
			}
			r, err := Run(b.Context(), Options{Dir: b.TempDir(), Groups: groups})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(r.EventsPerSecond(), "events/s")
		})
	}
}
