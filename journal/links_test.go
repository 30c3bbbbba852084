package journal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// linksAre holds every answer of a reader of links against the events.
func linksAre(t rapid.TB, l *journal.Links, es []events.Event) {
	t.Helper()
	ctx := context.Background()
	children := make([][]uint64, len(es)+1)
	for _, e := range es {
		var parents []uint64
		for _, p := range e.Parents {
			parents = append(parents, p.Position)
			children[p.Position] = append(children[p.Position], e.Position)
		}
		slices.Sort(parents)
		if got, err := l.Parents(ctx, e.Position); err != nil || !slices.Equal(got, parents) {
			t.Fatalf("parents of %d: %v, %v; want %v", e.Position, got, err, parents)
		}
	}
	for p := range children[1:] {
		p := uint64(p) + 1
		if got, err := l.Children(ctx, p); err != nil || !slices.Equal(got, children[p]) {
			t.Fatalf("children of %d: %v, %v; want %v", p, got, err, children[p])
		}
	}
	for _, p := range []uint64{0, uint64(len(es)) + 1} {
		if _, err := l.Parents(ctx, p); !errors.Is(err, journal.ErrNotFound) {
			t.Fatalf("parents of %d: %v", p, err)
		}
		if _, err := l.Children(ctx, p); !errors.Is(err, journal.ErrNotFound) {
			t.Fatalf("children of %d: %v", p, err)
		}
	}
}

// Whatever the shape and wherever the links lie, in memory, in the index or in
// both, the reader says what the events say; also after the index was lost.
func TestLinks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := disktest.New()
		options := journal.Options{Volume: d.Volume()}.Small(rapid.IntRange(1, 40).Draw(rt, "generation"), 32<<10)
		j, err := journal.Open("/data", options)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		var es []events.Event
		for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 60).Draw(rt, "writes") {
				dr := draft("s", "test.happened", "")
				if n := len(es); n > 0 {
					for _, back := range rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, min(n, 3), rapid.ID[int]).Draw(rt, "parents") {
						dr.Parents = append(dr.Parents, es[back].Ref())
					}
				}
				r, err := j.Append(t.Context(), write(dr))
				if err != nil {
					rt.Fatal(err)
				}
				es = append(es, r.Events...)
			}
			linksAre(rt, j.Links(), es)
			if rapid.Bool().Draw(rt, "reopen") {
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "without index") {
					if err := d.Volume().FS.RemoveAll("/data/index"); err != nil {
						rt.Fatal(err)
					}
				}
				if j, err = journal.Open("/data", options); err != nil {
					rt.Fatal(err)
				}
				linksAre(rt, j.Links(), es)
			}
		}
		if r, err := j.Verify(t.Context(), nil); err != nil || !r.OK {
			rt.Fatalf("verify: %+v, %v", r, err)
		}
	})
}

// A chunk of parents and a block of children end somewhere.
func TestLinksAcrossChunks(t *testing.T) {
	d := disktest.New()
	options := journal.Options{Volume: d.Volume()}.Small(700, 1<<20)
	j := open(t, "/data", options)
	var es []events.Event
	for len(es) < 9000 {
		var w journal.Write
		for i := range 100 {
			dr := withID(draft("s", "test.happened", ""), nthID(len(es)+i+1))
			n := len(es) + i
			for _, back := range []int{1, 7, n / 2, n} {
				if at := n - back; back > 0 && at >= 0 && !slices.ContainsFunc(dr.Parents, func(p events.Ref) bool { return p.ID == nthID(at+1) }) {
					dr.Parents = append(dr.Parents, events.Ref{ID: nthID(at + 1)})
				}
			}
			w.Events = append(w.Events, dr)
		}
		r, err := tryAppend(t, j, w)
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, r.Events...)
	}
	before := j.Links()
	linksAre(t, before, es)
	more := addN(t, j, "late", 3)
	add(t, j, withParents(draft("late", "test.happened", ""), es[0].Ref(), more[0].Ref()))
	linksAre(t, before, es) // it is of the moment when it was made
	closeOK(t, j)
	j = open(t, "/data", options)
	linksAre(t, j.Links(), everything(t, j))
	verified(t, j)
}

// A reader that was made before its links moved from memory to the index
// finds them all the same.
func TestLinksWhileTheyMove(t *testing.T) {
	j := open(t, "", journal.Options{Level: journal.LevelMemory}.Small(4, 0))
	var es []events.Event
	var readers []*journal.Links
	for i := range 300 {
		dr := draft("s", "test.happened", "")
		if i > 0 {
			dr.Parents = []events.Ref{es[i-1].Ref()}
		}
		es = append(es, add(t, j, dr)...)
		readers = append(readers, j.Links())
	}
	for i, l := range readers {
		if l.End() != uint64(i)+1 {
			t.Fatalf("reader %d ends at %d", i, l.End())
		}
		linksAre(t, l, es[:i+1])
	}
	closeOK(t, j)
	if _, err := j.Links().Parents(t.Context(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// An index of the version before this one is built anew, not misread.
func TestIndexOfAnOlderVersion(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	es := addN(t, j, "s", 40)
	es = append(es, add(t, j, withParents(draft("s", "test.happened", ""), es[3].Ref()))...)
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	mark, closer, err := j.IndexDB().Get([]byte{'m'})
	if err != nil {
		t.Fatal(err)
	}
	older := slices.Clone(mark)
	_ = closer.Close()
	binary.BigEndian.PutUint32(older, 1)
	if err := j.IndexDB().Set([]byte{'m'}, older, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []byte{'l', 'b'} {
		if err := j.IndexDB().DeleteRange([]byte{prefix}, []byte{prefix + 1}, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	linksAre(t, j.Links(), es)
	verified(t, j)
}

// Every byte of the links that is another one, every one that is missing, and
// every key that is gone is found, by Verify and by whoever reads there.
func TestVerifyFindsDamagedLinks(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	var es []events.Event
	for i := range 40 {
		dr := draft("s", "test.happened", "")
		for _, back := range []int{1, 20} {
			if i >= back {
				dr.Parents = append(dr.Parents, es[i-back].Ref())
			}
		}
		es = append(es, add(t, j, dr)...)
	}
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume())) // all in the index
	linksAre(t, j.Links(), es)
	type pair struct{ key, value []byte }
	var stored []pair
	for _, prefix := range []byte{'l', 'b'} {
		it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
		if err != nil {
			t.Fatal(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			stored = append(stored, pair{slices.Clone(it.Key()), slices.Clone(it.Value())})
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db, harms := j.IndexDB(), 0
	found := func(what string) {
		t.Helper()
		harms++
		r, err := j.Verify(t.Context(), nil)
		if err != nil || r.OK || len(r.Problems) == 0 || r.Problems[0].Position == 0 {
			t.Fatalf("%s: verify says %+v, %v", what, r, err)
		}
		for _, p := range r.Problems {
			if !strings.Contains(p.What, "index") {
				t.Fatalf("%s: verify says %+v, which is not about the index", what, p)
			}
		}
	}
	put := func(key, value []byte) {
		t.Helper()
		if err := db.Set(key, value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stored {
		for at := range s.value {
			for _, bit := range []byte{1, 0x10, 0x80} {
				v := slices.Clone(s.value)
				v[at] ^= bit
				put(s.key, v)
				found(fmt.Sprintf("key %x, byte %d", s.key, at))
			}
			put(s.key, s.value[:at])
			found(fmt.Sprintf("key %x, cut at %d", s.key, at))
		}
		put(s.key, append(slices.Clone(s.value), 1))
		found(fmt.Sprintf("key %x, one byte more", s.key))
		if err := db.Delete(s.key, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		found(fmt.Sprintf("key %x deleted", s.key))
		put(s.key, s.value)
	}
	verified(t, j)
	t.Logf("%d ways to damage %d keys, all found", harms, len(stored))

	put(stored[0].key, nil)
	l := j.Links()
	if _, err := l.Parents(t.Context(), 3); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), "parents of positions 1 to") {
		t.Errorf("read of damaged links: %v", err)
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte{2, 0, 1, 1}, uint64(5))
	f.Add([]byte{3, 1, 1, 4, 0}, uint64(4097))
	f.Fuzz(func(t *testing.T, b []byte, first uint64) {
		first = first%(1<<40) + 1
		if again, ok := journal.RecodeParents(b, first); ok && string(again) != string(b) {
			t.Errorf("parents %x at %d are written %x", b, first, again)
		}
		if again, ok := journal.RecodeChildren(b, 4096, first); ok && string(again) != string(b) {
			t.Errorf("children %x at %d are written %x", b, first, again)
		}
	})
}
