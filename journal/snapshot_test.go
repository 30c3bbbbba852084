package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func save(t testing.TB, j *journal.Journal, stream string, at uint64) {
	t.Helper()
	err := j.SaveSnapshot(t.Context(), journal.Snapshot{Stream: stream, StreamPosition: at, Schema: "test/1", State: fmt.Appendf(nil, "state %d", at)})
	if err != nil {
		t.Fatalf("save at %d: %v", at, err)
	}
}

// latest returns where the latest snapshot stands, 0 for none.
func latest(t testing.TB, j *journal.Journal, stream string) uint64 {
	t.Helper()
	s, err := j.LatestSnapshot(t.Context(), stream, "test/1")
	if errors.Is(err, journal.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(s.State) != fmt.Sprintf("state %d", s.StreamPosition) || s.Stream != stream || s.Schema != "test/1" || s.Digest.IsZero() {
		t.Errorf("read %+v", s)
	}
	return s.StreamPosition
}

func snapshots(t testing.TB, j *journal.Journal) (keys [][]byte) {
	t.Helper()
	it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte{'z'}, UpperBound: []byte{'z' + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSnapshots(t *testing.T) {
	d := disktest.New()
	o := on(d.Volume())
	o.KeepSnapshots = 3
	j := open(t, "/data", o)
	addN(t, j, "a", 50)
	addN(t, j, "ab", 20)
	if at := latest(t, j, "a"); at != 0 {
		t.Errorf("a snapshot at %d before there is one", at)
	}
	for _, at := range []uint64{1, 10, 20, 30, 30, 50} {
		save(t, j, "a", at)
		if got := latest(t, j, "a"); got != at {
			t.Errorf("latest at %d, saved %d", got, at)
		}
	}
	save(t, j, "ab", 7)
	if n := len(snapshots(t, j)); n != 4 {
		t.Errorf("%d snapshots are kept, want 3 of one stream and 1 of the other", n)
	}
	if _, err := j.LatestSnapshot(t.Context(), "a", "test/2"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("with another schema: %v", err)
	}
	// An older one does not take the place of the newest.
	save(t, j, "a", 25)
	if got := latest(t, j, "a"); got != 50 {
		t.Errorf("latest at %d", got)
	}
	for name, s := range map[string]journal.Snapshot{
		"beyond the end":  {Stream: "a", StreamPosition: 51, Schema: "x"},
		"at nothing":      {Stream: "a", Schema: "x"},
		"no such stream":  {Stream: "b", StreamPosition: 1, Schema: "x"},
		"no schema":       {Stream: "a", StreamPosition: 1},
		"no stream":       {StreamPosition: 1, Schema: "x"},
		"another digest":  {Stream: "a", StreamPosition: 1, Schema: "x", Digest: events.Digest{1}},
		"a state too big": {Stream: "a", StreamPosition: 1, Schema: "x", State: make([]byte, journal.MaxSnapshot+1)},
	} {
		if err := j.SaveSnapshot(t.Context(), s); !errors.Is(err, events.ErrInvalid) && !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	closeOK(t, j)
	j = open(t, "/data", o)
	if a, ab := latest(t, j, "a"), latest(t, j, "ab"); a != 50 || ab != 7 {
		t.Errorf("after reopening: %d and %d", a, ab)
	}
	verified(t, j)
	if err := j.DropSnapshots(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if a, ab := latest(t, j, "a"), latest(t, j, "ab"); a != 0 || ab != 7 {
		t.Errorf("after dropping one stream's: %d and %d", a, ab)
	}
	if err := j.DropSnapshots(t.Context(), ""); err != nil || len(snapshots(t, j)) != 0 {
		t.Errorf("after dropping all: %d (%v)", len(snapshots(t, j)), err)
	}
}

// A snapshot that was damaged, that was made of another history, or that lies
// under the wrong key is passed over for the one before.
func TestSnapshotsThatDoNotFit(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 30)
	other := memory(t)
	add(t, other, draft("s", "test.happened", "another beginning"))
	addN(t, other, "s", 29)
	save(t, other, "s", 20)
	take := func(j *journal.Journal, at uint64) []byte {
		v, closer, err := j.IndexDB().Get(journal.TextPositionKey('z', "s", at))
		if err != nil {
			t.Fatal(err)
		}
		defer closer.Close()
		return bytes.Clone(v)
	}
	save(t, j, "s", 10)
	save(t, j, "s", 20)
	good := take(j, 20)
	put := func(v []byte) {
		if err := j.IndexDB().Set(journal.TextPositionKey('z', "s", 20), v, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for i := range good {
		for _, bad := range [][]byte{append(bytes.Clone(good[:i]), append([]byte{good[i] ^ 4}, good[i+1:]...)...), good[:i]} {
			put(bad)
			if at := latest(t, j, "s"); at != 10 {
				t.Fatalf("with damage at byte %d of %d: %d", i, len(good), at)
			}
		}
	}
	for name, bad := range map[string][]byte{"another history": take(other, 20), "another key": take(j, 10), "empty": nil} {
		put(bad)
		if at := latest(t, j, "s"); at != 10 {
			t.Errorf("%s: %d", name, at)
		}
	}
	put(good)
	if at := latest(t, j, "s"); at != 20 {
		t.Errorf("whole again: %d", at)
	}
}

func TestUpcasts(t *testing.T) {
	var u journal.Upcasts
	u.Register("order.made", 1, func(e events.Event) (events.Event, error) {
		e.Kind, e.Payload = "order.placed", append(e.Payload, " v2"...)
		return e, nil
	})
	u.Register("order.placed", 2, func(e events.Event) (events.Event, error) {
		e.Payload = append(e.Payload, " v3"...)
		e.Digest, e.Stream = events.Digest{}, "elsewhere" // counts for nothing
		return e, nil
	})
	u.Register("order.odd", 1, func(events.Event) (events.Event, error) { panic("no idea") })
	j := memory(t)
	versioned := func(kind string, version uint32) events.Draft {
		d := draft("s", kind, kind)
		d.SchemaVersion = version
		return d
	}
	es := add(t, j, versioned("order.made", 1), versioned("order.placed", 2), versioned("order.placed", 3), versioned("other", 1))
	before := everything(t, j)
	var payloads []string
	for i, e := range all(t, u.All(j.Read(t.Context(), journal.Query{}))) {
		payloads = append(payloads, fmt.Sprintf("%s/%d %s", e.Kind, e.SchemaVersion, e.Payload))
		if e.Digest != es[i].Digest || e.Stream != "s" || e.Position != es[i].Position {
			t.Errorf("upcasting changed what event %d is: %+v", i, e)
		}
	}
	if got, want := fmt.Sprint(payloads), "[order.placed/3 order.made v2 v3 order.placed/3 order.placed v3 order.placed/3 order.placed other/1 other]"; got != want {
		t.Errorf("upcast\n%s\nwant\n%s", got, want)
	}
	sameEvents(t, "what is stored", everything(t, j), before)
	add(t, j, versioned("order.odd", 1))
	var err error
	for _, err = range u.All(j.Read(t.Context(), journal.Query{After: 4})) {
	}
	if err == nil {
		t.Error("a step that panics gives no error")
	}
	defer func() {
		if recover() == nil {
			t.Error("a step was registered twice")
		}
	}()
	u.Register("order.odd", 1, func(e events.Event) (events.Event, error) { return e, nil })
}
