package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func TestVerifyFindsDamage(t *testing.T) {
	get := func(t *testing.T, db *pebble.DB, key []byte) []byte {
		t.Helper()
		v, closer, err := db.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		b := bytes.Clone(v)
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
		return b
	}
	set := func(t *testing.T, db *pebble.DB, key, value []byte) {
		t.Helper()
		if err := db.Set(key, value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	del := func(t *testing.T, db *pebble.DB, key []byte) {
		t.Helper()
		if err := db.Delete(key, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(t *testing.T, db *pebble.DB, key []byte, at int) {
		t.Helper()
		v := get(t, db, key)
		v[(at+len(v))%len(v)] ^= 0x10
		set(t, db, key, v)
	}
	const damaged = 12 // of 40
	// pair changes the entry of the damaged event in an index of hashes: 8
	// bytes of hash and 4 that count from the first position of the run.
	pair := func(t *testing.T, j *journal.Journal, prefix byte, change func(b []byte)) {
		t.Helper()
		it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			page := bytes.Clone(it.Value())
			first := binary.BigEndian.Uint64(it.Key()[2:])
			for b := page; len(b) > 0; b = b[12:] {
				if first+uint64(binary.BigEndian.Uint32(b[8:])) == damaged {
					change(b)
					set(t, j.IndexDB(), bytes.Clone(it.Key()), page)
					return
				}
			}
		}
		t.Fatalf("index %c does not list position %d", prefix, damaged)
	}
	elsewhere := func(b []byte) { b[11]++ }
	otherHash := func(b []byte) { b[7] ^= 1 }
	e := journal.PositionKey('e', damaged)
	for name, harm := range map[string]func(t *testing.T, j *journal.Journal, es []events.Event){
		"missing record": func(t *testing.T, j *journal.Journal, _ []events.Event) { del(t, j.LogDB(), e) },
		"empty record":   func(t *testing.T, j *journal.Journal, _ []events.Event) { set(t, j.LogDB(), e, nil) },
		"payload byte":   func(t *testing.T, j *journal.Journal, _ []events.Event) { flip(t, j.LogDB(), e, -1) },
		"causal byte":    func(t *testing.T, j *journal.Journal, _ []events.Event) { flip(t, j.LogDB(), e, 100) },
		"digest byte":    func(t *testing.T, j *journal.Journal, _ []events.Event) { flip(t, j.LogDB(), e, 20) },
		"cut record": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			set(t, j.LogDB(), e, get(t, j.LogDB(), e)[:90])
		},
		"missing embedding": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			del(t, j.LogDB(), journal.PositionKey('v', damaged))
		},
		"embedding byte": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			flip(t, j.LogDB(), journal.PositionKey('v', damaged), 3)
		},
		"id index elsewhere": func(t *testing.T, j *journal.Journal, _ []events.Event) { pair(t, j, 'i', elsewhere) },
		"id index hash":      func(t *testing.T, j *journal.Journal, _ []events.Event) { pair(t, j, 'i', otherHash) },
		"digest index elsewhere": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			pair(t, j, 'd', elsewhere)
		},
		"payload index hash": func(t *testing.T, j *journal.Journal, _ []events.Event) { pair(t, j, 'p', otherHash) },
		"swapped records": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			other := journal.PositionKey('e', damaged+1)
			a, b := get(t, j.LogDB(), e), get(t, j.LogDB(), other)
			set(t, j.LogDB(), e, b)
			set(t, j.LogDB(), other, a)
		},
		"repeated record": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			set(t, j.LogDB(), e, get(t, j.LogDB(), journal.PositionKey('e', damaged-1)))
		},
		"record of another journal": func(t *testing.T, j *journal.Journal, es []events.Event) {
			other := es[damaged-1]
			d := draft(other.Stream, "test.happened", "forged")
			forged, err := d.Seal(other.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			forged.Position, forged.StreamPosition, forged.Epoch, forged.RecordTime = other.Position, other.StreamPosition, 1, other.RecordTime
			set(t, j.LogDB(), e, events.AppendRecord(nil, &forged, 0))
		},
		"stream index elsewhere": func(t *testing.T, j *journal.Journal, es []events.Event) {
			key := journal.TextPositionKey('s', es[damaged-1].Stream, 1)
			v := get(t, j.IndexDB(), key) // every third event: the fourth of them is the damaged one
			v[3]++
			v[4]--
			set(t, j.IndexDB(), key, v)
		},
		"outside id missing": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			if err := j.IndexDB().Delete(journal.TextPositionKey('o', fmt.Sprint("outside ", damaged-1), damaged), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		},
		"outside id of another": func(t *testing.T, j *journal.Journal, _ []events.Event) {
			set(t, j.IndexDB(), journal.TextPositionKey('o', "outside 3", damaged), nil)
		},
		"stream index cut": func(t *testing.T, j *journal.Journal, es []events.Event) {
			key := journal.TextPositionKey('s', es[damaged-1].Stream, 1)
			set(t, j.IndexDB(), key, get(t, j.IndexDB(), key)[:3]) // a byte for each event
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := disktest.New()
			j := open(t, "/data", on(d.Volume()))
			var es []events.Event
			for i := range 40 {
				dr := draft(fmt.Sprintf("s/%d", i%3), "test.happened", fmt.Sprintf("payload %d of its own", i))
				dr.Embedding = []float32{1, float32(i), 2}
				dr.Extensions = map[string]string{events.ExtOutsideID: fmt.Sprint("outside ", i)}
				if i > 0 {
					dr.Parents = []events.Ref{es[i-1].Ref()}
				}
				es = append(es, add(t, j, dr)...)
			}
			closeOK(t, j)
			j = open(t, "/data", on(d.Volume())) // all in the index
			verified(t, j)
			harm(t, j, es)
			r, err := j.Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			named := false
			for _, p := range r.Problems {
				named = named || p.Position == damaged
			}
			if r.OK || !named {
				t.Errorf("verify does not name position %d: %+v", damaged, r)
			}
			// Nothing that is damaged is served as if it were not: reading
			// either fails or gives the event that was stored.
			for got, err := range j.Read(t.Context(), journal.Query{}) {
				if err != nil {
					break
				}
				if want := es[got.Position-1]; got.Digest == want.Digest && string(got.Payload) != string(want.Payload) && name != "payload byte" {
					t.Errorf("read %q for %q", got.Payload, want.Payload)
				}
			}
			_ = j.Close()
		})
	}
}

// A page of the index that is gone or cut is named by the run that it is of.
func TestVerifyFindsDamagedPages(t *testing.T) {
	for _, prefix := range []byte("idp") {
		for _, cut := range []bool{false, true} {
			d := disktest.New()
			j := open(t, "/data", on(d.Volume()))
			addN(t, j, "s", 40)
			closeOK(t, j)
			j = open(t, "/data", on(d.Volume()))
			verified(t, j)
			it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
			if err != nil || !it.First() {
				t.Fatalf("no page of index %c: %v", prefix, err)
			}
			key, page := bytes.Clone(it.Key()), bytes.Clone(it.Value())
			if err := it.Close(); err != nil {
				t.Fatal(err)
			}
			if cut {
				err = j.IndexDB().Set(key, page[:len(page)-12], pebble.NoSync)
			} else {
				err = j.IndexDB().Delete(key, pebble.NoSync)
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := j.Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK || r.Problems[0].Position != binary.BigEndian.Uint64(key[2:]) {
				t.Errorf("index %c, cut %t: %+v", prefix, cut, r)
			}
			closeOK(t, j)
		}
	}
}

// A hole in the log is an error to a reader, not silence.
func TestReadFindsAMissingRecord(t *testing.T) {
	for _, at := range []uint64{1, 4, 8} {
		j := memory(t)
		addN(t, j, "s", 8)
		if err := j.LogDB().Delete(journal.PositionKey('e', at), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		var err error
		n := uint64(0)
		for _, err = range j.Read(t.Context(), journal.Query{}) {
			if err != nil {
				break
			}
			n++
		}
		if !errors.Is(err, journal.ErrCorrupt) || n != at-1 {
			t.Errorf("without record %d: %d events and %v", at, n, err)
		}
	}
}

func TestContentDoesNotDependOnOrder(t *testing.T) {
	a, b := memory(t), memory(t)
	var ds []events.Draft
	for i := range 30 {
		ds = append(ds, withID(draft(fmt.Sprintf("s/%d", i%4), "test.happened", fmt.Sprint(i)), nthID(i+1)))
	}
	add(t, a, ds...)
	for _, d := range slices.Backward(ds) {
		add(t, b, d)
	}
	if x, y := verified(t, a), verified(t, b); x.Content != y.Content || x.Events != 30 || x.Payloads != 30 || x.Streams != 4 {
		t.Errorf("the same events in two orders: %+v and %+v", x, y)
	}
	addN(t, b, "s", 1)
	if x, y := verified(t, a), verified(t, b); x.Content == y.Content {
		t.Error("one event more, and the same content")
	}
}

func TestVerifyBesideWriters(t *testing.T) {
	j := memory(t)
	const writers, each = 4, 250
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := tryAppend(t, j, write(draft(fmt.Sprintf("s/%d/%d", w, i), "test.happened", fmt.Sprint(w, i)))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	progress := uint64(0)
	for n := 0; progress < writers*each && n < 1000; n++ {
		r, err := j.Verify(t.Context(), func(done, total uint64) {
			if done > total {
				t.Errorf("verified %d of %d", done, total)
			}
			progress = done
		})
		if err != nil || !r.OK || progress != r.Events {
			t.Errorf("verify beside writers: %+v, %v", r, err)
			break
		}
	}
	wg.Wait()
}

// Counts and mark are of one moment: here every event begins a stream and has
// a payload of its own, so all three are equal.
func TestStatsAreOfOneMoment(t *testing.T) {
	j := memory(t)
	const total = 3000
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range total / 4 {
				if _, err := tryAppend(t, j, write(draft(fmt.Sprintf("s/%d/%d", w, i), "test.happened", fmt.Sprint(w, i)))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	for {
		s := j.Stats()
		if s.Streams != s.Position || s.Payloads != s.Position {
			t.Errorf("%+v, want three equal numbers", s)
			break
		}
		if s.Position == total || t.Failed() {
			break
		}
	}
	wg.Wait()
}

// What is wrong with the first pair of a page is named like any other, though
// the run itself says what it should be.
func TestVerifyNamesTheFirstOfAPage(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	addN(t, j, "s", 40)
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	verified(t, j)
	it, err := j.IndexDB().NewIter(&pebble.IterOptions{LowerBound: []byte{'i'}, UpperBound: []byte{'i' + 1}})
	if err != nil {
		t.Fatal(err)
	}
	it.First()
	key, page := bytes.Clone(it.Key()), bytes.Clone(it.Value())
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	page[7] ^= 1
	if err := j.IndexDB().Set(key, page, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	position := binary.BigEndian.Uint64(key[2:]) + uint64(binary.BigEndian.Uint32(page[8:]))
	r, err := j.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	named := func(p journal.Problem) bool {
		return p.Position == position && strings.Contains(p.What, "index of ids has")
	}
	if r.OK || !slices.ContainsFunc(r.Problems, named) {
		t.Errorf("verify does not name position %d: %+v", position, r)
	}
}
