package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
)

// varied appends n events of all the forms that a record hash distinguishes.
func varied(t testing.TB, j *journal.Journal, n int) {
	t.Helper()
	for i := range n {
		d := draft(fmt.Sprintf("s/%d", i%5), "test.happened", fmt.Sprint(i%50))
		if i%3 == 0 {
			d.Trace = fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)
		}
		if i%4 == 0 {
			d.Embedding = []float32{1, float32(i)}
		}
		add(t, j, d)
	}
}

// treeOf computes the head over a journal's first events from what it reads.
func treeOf(t testing.TB, j *journal.Journal, size uint64) merkle.Hash {
	t.Helper()
	var edge merkle.Edge
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if edge.Size() < size {
			edge.Add(e.RecordHash(), nil)
		}
	}
	return edge.Root()
}

func TestHead(t *testing.T) {
	const n = 700 // over two complete subtrees of the stored level, and some
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	if h, err := j.Head(t.Context()); err != nil || h.Size != 0 || h.Root != new(merkle.Edge).Root() {
		t.Errorf("the head of nothing: %+v, %v", h, err)
	}
	var heads []merkle.Head
	check := func(what string, sizes ...uint64) {
		t.Helper()
		for _, size := range sizes {
			h, err := j.HeadAt(t.Context(), size)
			if want := treeOf(t, j, size); err != nil || h.Root != want || h.Size != size || h.Origin != j.Origin() {
				t.Fatalf("%s: head of %d events: %+v, %v; want root %s", what, size, h, err, want)
			}
			heads = append(heads, h)
		}
	}
	varied(t, j, n/2)
	check("while the index is behind", 1, 2, 15, 16, 17, n/2-1, n/2)
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	check("all in the index", 1, 255, 256, 257, n/2)
	varied(t, j, n-n/2)
	check("going on", n/2+1, 512, 513, n)
	closeOK(t, j)
	// Without its index the journal has the same heads.
	removeIndex(t, d)
	j = open(t, "/data", on(d.Volume()))
	for _, h := range heads {
		if got, err := j.HeadAt(t.Context(), h.Size); err != nil || got != h {
			t.Errorf("rebuilt: %+v, %v; want %+v", got, err, h)
		}
	}
	if report := verified(t, j); report.Root != heads[len(heads)-1].Root.String() {
		t.Errorf("verify gives the root %s, the head is %s", report.Root, heads[len(heads)-1].Root)
	}
	if _, err := j.HeadAt(t.Context(), n+1); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a head beyond the end: %v", err)
	}
}

func removeIndex(t *testing.T, d *disktest.Disk) {
	t.Helper()
	if err := d.Volume().FS.RemoveAll("/data/index"); err != nil {
		t.Fatal(err)
	}
}

func TestProve(t *testing.T) {
	const n = 600
	j := memory(t)
	varied(t, j, n)
	es := everything(t, j)
	for _, size := range []uint64{1, 2, 256, 300, n} {
		head, err := j.HeadAt(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		for p := uint64(1); p <= size; p += 1 + size/40 {
			proof, err := j.ProveInclusion(t.Context(), size, p)
			if err == nil {
				err = merkle.CheckInclusion(proof, size, head.Root, p-1, es[p-1].RecordHash())
			}
			if err != nil {
				t.Fatalf("event %d of %d: %v", p, size, err)
			}
			older, err := j.HeadAt(t.Context(), p)
			if err == nil {
				proof, err = j.ProveConsistency(t.Context(), size, p)
			}
			if err == nil {
				err = merkle.CheckConsistency(proof, size, head.Root, p, older.Root)
			}
			if err != nil {
				t.Fatalf("%d in %d: %v", p, size, err)
			}
		}
	}
	for _, p := range []uint64{0, n + 1} {
		if _, err := j.ProveInclusion(t.Context(), n, p); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("position %d was proved: %v", p, err)
		}
	}
	if _, err := j.ProveInclusion(t.Context(), n+1, 1); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a proof in a head beyond the end: %v", err)
	}
}

// Heads and proofs are right while writers append and the index follows.
func TestHeadBesideWriters(t *testing.T) {
	j := memory(t)
	const writers, each = 4, 300
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := tryAppend(t, j, write(draft(fmt.Sprintf("s/%d", w), "test.happened", fmt.Sprint(i)))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	var last merkle.Head
	for looks := 0; last.Size < writers*each && !t.Failed(); looks++ {
		h, err := j.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if last.Size > 0 {
			proof, err := j.ProveConsistency(t.Context(), h.Size, last.Size)
			if err == nil {
				err = merkle.CheckConsistency(proof, h.Size, h.Root, last.Size, last.Root)
			}
			if err != nil {
				t.Fatalf("from %d to %d: %v", last.Size, h.Size, err)
			}
		}
		last = h
	}
	wg.Wait()
}

// Who rewrites a record and makes every digest of it anew still does not fit
// the tree, and who makes the tree anew does not fit the head.
func TestVerifyFindsARewrite(t *testing.T) {
	const n, at = 300, 12
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	es := addN(t, j, "s", n)
	head, err := j.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	dr := draft("s", "test.happened", "rewritten")
	forged, err := dr.Seal(es[at-1].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	forged.Position, forged.StreamPosition, forged.Epoch, forged.RecordTime = at, es[at-1].StreamPosition, 1, es[at-1].RecordTime
	if err := j.LogDB().Set(journal.PositionKey('e', at), events.AppendRecord(nil, &forged, 0), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	report, err := j.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	named := false
	for _, p := range report.Problems {
		named = named || strings.Contains(p.What, "the tree was built over other records for the events 1 to 256")
	}
	if report.OK || !named {
		t.Errorf("verify does not name the tree: %+v", report.Problems)
	}
	closeOK(t, j)
	removeIndex(t, d)
	j = open(t, "/data", on(d.Volume()))
	report = verified(t, j) // nothing inside tells any more
	if got, err := j.HeadAt(t.Context(), head.Size); err != nil || got.Root == head.Root || report.Root == head.Root.String() {
		t.Errorf("a rewritten journal has the head that it had before (%v)", err)
	}
}

// The stored tree is checked even where nothing else is wrong.
func TestVerifyFindsDamageToTheTree(t *testing.T) {
	for what, harm := range map[string]func(db *pebble.DB) error{
		"a subtree": func(db *pebble.DB) error {
			return db.Set(append([]byte{'h', 8}, make([]byte, 8)...), make([]byte, 32), pebble.NoSync)
		},
		"a missing subtree": func(db *pebble.DB) error {
			return db.Delete(append([]byte{'h', 8}, make([]byte, 8)...), pebble.NoSync)
		},
		"the edge": func(db *pebble.DB) error {
			v, closer, err := db.Get([]byte{'h'})
			if err != nil {
				return err
			}
			b := append([]byte(nil), v...)
			b[len(b)-1] ^= 1
			return errors.Join(closer.Close(), db.Set([]byte{'h'}, b, pebble.NoSync))
		},
	} {
		d := disktest.New()
		j := open(t, "/data", on(d.Volume()))
		addN(t, j, "s", 300)
		closeOK(t, j)
		j = open(t, "/data", on(d.Volume()))
		verified(t, j)
		if err := harm(j.IndexDB()); err != nil {
			t.Fatal(err)
		}
		report, err := j.Verify(t.Context(), nil)
		if err != nil || report.OK || !strings.Contains(fmt.Sprint(report.Problems), "tree") {
			t.Errorf("%s: %+v, %v", what, report.Problems, err)
		}
	}
}
