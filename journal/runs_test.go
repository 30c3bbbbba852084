package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// Runs are merged level by level as they come; each event is found at every
// step, also by readers that began before a merge, and after a restart.
func TestRunsMerge(t *testing.T) {
	d := disktest.New()
	o := journal.Options{Volume: d.Volume()}.Small(16, 256<<10)
	j := open(t, "/data", o)
	rng := rand.New(rand.NewPCG(7, 7))
	var es []events.Event
	for range 40 {
		var ds []events.Draft
		for range 100 {
			ds = append(ds, draft(fmt.Sprintf("s/%d", rng.IntN(9)), "test.happened", fmt.Sprint(rng.IntN(3000))))
		}
		es = append(es, add(t, j, ds...)...)
		for range 20 {
			e := es[rng.IntN(len(es))]
			if got, err := j.ByID(t.Context(), e.ID); err != nil || got.Position != e.Position {
				t.Fatalf("by id: position %d, %v; want %d", got.Position, err, e.Position)
			}
			if got, err := j.ByDigest(t.Context(), e.Digest); err != nil || got.Position != e.Position {
				t.Fatalf("by digest: position %d, %v; want %d", got.Position, err, e.Position)
			}
			if got, err := j.Payload(t.Context(), e.PayloadDigest); err != nil || string(got) != string(e.Payload) {
				t.Fatalf("payload %q, %v; want %q", got, err, e.Payload)
			}
		}
	}
	if got, err := j.ByID(t.Context(), nthID(77)); err == nil {
		t.Errorf("an id that never was is found at %d", got.Position)
	}
	verified(t, j)
	closeOK(t, j)
	j = open(t, "/data", o)
	verified(t, j)
	levels := j.RunLevels()
	t.Logf("%d events in runs of levels %v", len(es), levels)
	if !slices.IsSortedFunc(levels, func(a, b int) int { return b - a }) || levels[0] < 2 || len(levels) > 7*4 {
		t.Errorf("levels %v: want them to fall, from 2 or more, and few of each", levels)
	}
	if again := add(t, j, withID(draft(es[5].Stream, "test.happened", string(es[5].Payload)), es[5].ID)); again[0].Position != es[5].Position {
		t.Errorf("the same event again is at %d, was at %d", again[0].Position, es[5].Position)
	}
}

// A page of the index that is damaged keeps its run from being merged and is
// named; it ends nothing, and the log builds the index again.
func TestADamagedPageEndsNothing(t *testing.T) {
	for _, gone := range []bool{true, false} {
		d := disktest.New()
		o := journal.Options{Volume: d.Volume()}.Small(16, 256<<10)
		j := open(t, "/data", o)
		addN(t, j, "before", 40)
		closeOK(t, j)
		j = open(t, "/data", o)
		it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte("i"), UpperBound: []byte("j")})
		if err != nil || !it.First() {
			t.Fatalf("no page: %v", err)
		}
		key := bytes.Clone(it.Key())
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		if gone {
			err = j.IndexDB().Delete(key, pebble.NoSync)
		} else {
			err = j.IndexDB().Set(key, []byte("short"), pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
		es := addN(t, j, "after", 400) // twenty-five runs, which would be merged three times
		if err := j.Err(); err != nil {
			t.Fatalf("the journal has failed: %v", err)
		}
		if r, err := j.Verify(t.Context(), nil); err != nil || r.OK {
			t.Errorf("verify: %+v, %v", r, err)
		}
		for _, e := range es {
			if got, err := j.ByID(t.Context(), e.ID); err != nil || got.Position != e.Position {
				t.Fatalf("event at %d: %v", e.Position, err)
			}
		}
		closeOK(t, j)
		verified(t, open(t, "/data", o)) // the start built it anew
	}
}

// Ids with one hash, more than a page of them, are told apart.
func TestRunsWithEqualHashes(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	n, step := 700, 1
	if underRace {
		n, step = 530, 19 // a page holds 512
	}
	ids := make([]events.ID, n)
	var ds []events.Draft
	for i := range ids {
		ids[i] = journal.IDWithHash(uint64(i)+1, 0x1234)
		ds = append(ds, withID(draft("s", "test.happened", fmt.Sprint(i)), ids[i]))
	}
	for part := range slices.Chunk(ds, 50) {
		add(t, j, part...)
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	verified(t, j)
	for i := 0; i < n; i += step {
		e, err := j.ByID(t.Context(), ids[i])
		if err != nil || e.ID != ids[i] || string(e.Payload) != fmt.Sprint(i) {
			t.Fatalf("id %d: %v %q %v", i, e.ID, e.Payload, err)
		}
	}
	if e, err := j.ByID(t.Context(), journal.IDWithHash(9999, 0x1234)); err == nil {
		t.Errorf("found %v, which never was", e.ID)
	}
}

func TestHashOfIDsSpreads(t *testing.T) {
	// Counting ids, random ids and ids of version 7 fill the leading bits evenly.
	buckets := make([]int, 256)
	const n = 1 << 16
	for i := range n {
		var id events.ID
		binary.BigEndian.PutUint64(id[8:], uint64(i))
		buckets[journal.IDHash(id)>>56]++
	}
	for b, c := range buckets {
		if c < n/256/2 || c > n/256*2 {
			t.Errorf("bucket %d holds %d of %d", b, c, n)
		}
	}
}

// The filters of merged runs are stored. One that is gone or of another size is
// made again and hides nothing; Verify names these, and one that would hide
// events.
func TestDamagedFilter(t *testing.T) {
	for _, damage := range []string{"none", "gone", "short", "empty"} {
		d := disktest.New()
		o := journal.Options{Volume: d.Volume()}.Small(16, 256<<10)
		j := open(t, "/data", o)
		es := addN(t, j, "s", 400)
		closeOK(t, j)
		j = open(t, "/data", o)
		it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte("fi"), UpperBound: []byte("fj")})
		if err != nil || !it.First() {
			t.Fatalf("no filter: %v", err)
		}
		key, value := bytes.Clone(it.Key()), bytes.Clone(it.Value())
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		switch damage {
		case "gone":
			err = j.IndexDB().Delete(key, pebble.NoSync)
		case "short":
			err = j.IndexDB().Set(key, value[:len(value)-64], pebble.NoSync)
		case "empty":
			err = j.IndexDB().Set(key, make([]byte, len(value)), pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
		closeOK(t, j)
		j = open(t, "/data", o)
		if r, err := j.Verify(t.Context(), nil); err != nil || r.OK != (damage == "none") {
			t.Errorf("%s: verify: %+v, %v", damage, r, err)
		}
		if damage == "empty" {
			continue
		}
		for _, e := range es {
			if got, err := j.ByID(t.Context(), e.ID); err != nil || got.Position != e.Position {
				t.Fatalf("%s: event at %d: %v", damage, e.Position, err)
			}
		}
	}
}
