package journal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk"
	"github.com/tokaworks/toka/journal"
)

// bound is how long anything here may take that has to end: an order of
// magnitude more than it needs on a busy machine.
const bound = 30 * time.Second

func open(t testing.TB, dir string, opts journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// memory opens a journal in memory with everything small.
func memory(t testing.TB) *journal.Journal {
	t.Helper()
	return open(t, "", journal.Options{Level: journal.LevelMemory}.Small(8, 0))
}

// on are the options for a journal on a volume, with everything small.
func on(v *disk.Volume) journal.Options {
	return journal.Options{Volume: v}.Small(16, 32<<10)
}

func closeOK(t testing.TB, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// nthID returns recognisable ids that differ where the tail's maps look.
func nthID(n int) events.ID {
	id := events.ID{0x01, 0x97, 6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

func draft(stream, kind, payload string) events.Draft {
	return events.Draft{Stream: stream, Kind: kind, Payload: []byte(payload)}
}

func withID(d events.Draft, id events.ID) events.Draft {
	d.ID = id
	return d
}

func withParents(d events.Draft, parents ...events.Ref) events.Draft {
	d.Parents = parents
	return d
}

func write(ds ...events.Draft) journal.Write { return journal.Write{Events: ds} }

func tryAppend(t testing.TB, j *journal.Journal, w journal.Write) (journal.Receipt, error) {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	return j.Append(ctx, w)
}

// add appends and returns what was stored.
func add(t testing.TB, j *journal.Journal, ds ...events.Draft) []events.Event {
	t.Helper()
	r, err := tryAppend(t, j, write(ds...))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return r.Events
}

// addN appends n events to a stream, one write each.
func addN(t testing.TB, j *journal.Journal, stream string, n int) (out []events.Event) {
	t.Helper()
	for i := range n {
		out = append(out, add(t, j, draft(stream, "test.happened", fmt.Sprintf("%s %d", stream, i)))...)
	}
	return out
}

// refused expects an append to fail with want and to change nothing.
func refused(t testing.TB, j *journal.Journal, w journal.Write, want error) {
	t.Helper()
	_ = refusal(t, j, w, want)
}

// refusal is refused for those who look at the error.
func refusal(t testing.TB, j *journal.Journal, w journal.Write, want error) error {
	t.Helper()
	before := j.Stats()
	_, err := tryAppend(t, j, w)
	if !errors.Is(err, want) {
		t.Fatalf("append: %v, want %v", err, want)
	}
	if after := j.Stats(); after != before {
		t.Fatalf("a refused write changed %+v to %+v", before, after)
	}
	return err
}

// all collects what a reader yields and fails the test on an error.
func all(t testing.TB, seq iter.Seq2[events.Event, error]) (out []events.Event) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			t.Fatalf("after %d events: %v", len(out), err)
		}
		out = append(out, e)
	}
	return out
}

func everything(t testing.TB, j *journal.Journal) []events.Event {
	t.Helper()
	return all(t, j.Read(t.Context(), journal.Query{}))
}

func positions(es []events.Event) []uint64 {
	out := make([]uint64, len(es))
	for i := range es {
		out[i] = es[i].Position
	}
	return out
}

func digests(es []events.Event) []events.Digest {
	out := make([]events.Digest, len(es))
	for i := range es {
		out[i] = es[i].Digest
	}
	return out
}

func sameEvents(t testing.TB, what string, got, want []events.Event) {
	t.Helper()
	if !slices.Equal(positions(got), positions(want)) || !slices.Equal(digests(got), digests(want)) {
		t.Fatalf("%s: positions %v, want %v", what, positions(got), positions(want))
	}
	for i := range got {
		if string(got[i].Payload) != string(want[i].Payload) || got[i].Intent != want[i].Intent {
			t.Fatalf("%s: event %d: %+v, want %+v", what, got[i].Position, got[i], want[i])
		}
	}
}

// verified runs Verify and fails the test on any problem.
func verified(t testing.TB, j *journal.Journal) journal.Report {
	t.Helper()
	r, err := j.Verify(t.Context(), nil)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if !r.OK {
		t.Fatalf("verify: %+v", r.Problems)
	}
	return r
}

// soon waits for a channel to be closed or to yield, within bound.
func soon[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("%s did not come within %v", what, bound)
	}
	return v
}
