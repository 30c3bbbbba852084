package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// selects is what Query says, in the plainest words.
func selects(q journal.Query, es []events.Event) (out []events.Event) {
	if q.Backwards {
		es = slices.Clone(es)
		slices.Reverse(es)
	}
	for _, e := range es {
		switch {
		case q.Limit > 0 && len(out) == q.Limit:
		case e.Position <= q.After, q.Before > 0 && e.Position >= q.Before:
		case q.Stream != "" && e.Stream != q.Stream:
		case q.Agent != "" && e.Stream != q.Agent:
		case q.Correlation != "" && e.Correlation != q.Correlation:
		case !q.Intent.IsZero() && e.Intent.ID != q.Intent:
		case !q.Since.IsZero() && e.RecordTime.Before(q.Since):
		case !q.Until.IsZero() && !e.RecordTime.Before(q.Until):
		case len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(p events.Pattern) bool { return p.Match(e.Kind) }):
		default:
			out = append(out, e)
		}
	}
	return out
}

// Every filter, alone and together, forwards and backwards, over the seams
// between the index, the tail and the blocks of the summaries.
func TestQueryAgainstTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := disktest.New()
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := with(d, leader(0.8)).Small(64, 32<<10)
	o.Now = func() time.Time { clock = clock.Add(time.Duration(rng.IntN(3)) * time.Second); return clock }
	j := open(t, "/data", o)
	kinds := []string{"order.placed", "order.item.added", "stock.taken", "a", "order.cancelled"}
	for i := range 1400 {
		dr := draft(fmt.Sprintf("s/%d", rng.IntN(4)), kinds[rng.IntN(4)], fmt.Sprint(i%40))
		if i%300 == 7 {
			dr.Kind = kinds[4]
		}
		if i%100 < 3 {
			dr.Correlation = fmt.Sprint("talk ", i/100)
		}
		if i%5 == 0 {
			dr.Embedding = embedding(rng, i)
		}
		add(t, j, dr)
		if i == 900 {
			closeOK(t, j)
			j = open(t, "/data", o)
		}
	}
	es := everything(t, j)
	verified(t, j)
	var intents []events.ID
	for _, e := range es {
		if !e.Intent.ID.IsZero() && !slices.Contains(intents, e.Intent.ID) {
			intents = append(intents, e.Intent.ID)
		}
	}
	if len(intents) < 2 {
		t.Fatalf("%d intents", len(intents))
	}
	maybe := func(t *rapid.T, what string) bool { return rapid.IntRange(0, 2).Draw(t, what) == 0 }
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		var q journal.Query
		if maybe(rt, "stream") {
			q.Stream = rapid.SampledFrom([]string{"s/0", "s/3", "none"}).Draw(rt, "which")
		}
		if maybe(rt, "agent") {
			q.Agent = rapid.SampledFrom([]string{"s/0", "s/3", "none", "$s"}).Draw(rt, "which")
		}
		if maybe(rt, "kinds") {
			for _, p := range rapid.SliceOfN(rapid.SampledFrom([]string{"order.*", "order.>", "*", "*.taken", "order.cancelled", "stock.none", "*.item.>"}), 1, 2).Draw(rt, "which") {
				q.Kinds = append(q.Kinds, events.MustPattern(p))
			}
		}
		if maybe(rt, "correlation") {
			q.Correlation = rapid.SampledFrom([]string{"talk 3", "talk 13", "talk 99"}).Draw(rt, "which")
		}
		if maybe(rt, "intent") {
			q.Intent = rapid.SampledFrom(append(intents, nthID(9))).Draw(rt, "which")
		}
		at := func() time.Time { return es[rapid.IntRange(0, len(es)-1).Draw(rt, "time of")].RecordTime }
		if maybe(rt, "since") {
			q.Since = at()
		}
		if maybe(rt, "until") {
			q.Until = at()
		}
		if maybe(rt, "after") {
			q.After = rapid.Uint64Range(0, 1500).Draw(rt, "position")
		}
		if maybe(rt, "before") {
			q.Before = rapid.Uint64Range(0, 1500).Draw(rt, "position")
		}
		if maybe(rt, "limit") {
			q.Limit = rapid.IntRange(1, 700).Draw(rt, "limit")
		}
		q.Backwards = rapid.Bool().Draw(rt, "backwards")
		want := selects(q, es)
		sameEvents(t, fmt.Sprintf("%+v", q), all(t, j.Read(t.Context(), q)), want)
		found += len(want)
	})
	if found == 0 {
		t.Error("no query found anything")
	}
}

// A query skips blocks that hold nothing for it: it does not notice that their
// records are gone.
func TestQuerySkips(t *testing.T) {
	j := open(t, "", journal.Options{Level: journal.LevelMemory}.Small(20, 0))
	for i := range 100 {
		d := draft("s", "common.kind", fmt.Sprint(i))
		if i == 49 {
			d.Kind, d.Correlation = "rare.kind", "c"
		}
		add(t, j, d)
	}
	soonIndexed(t, j, 100)
	for _, p := range []uint64{7, 80} {
		if err := j.LogDB().Delete(journal.PositionKey('e', p), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for name, q := range map[string]journal.Query{
		"kind":        {Kinds: []events.Pattern{events.MustPattern("rare.kind")}},
		"pattern":     {Kinds: []events.Pattern{events.MustPattern("rare.>")}},
		"second of":   {Kinds: []events.Pattern{events.MustPattern("none"), events.MustPattern("rare.*")}},
		"correlation": {Correlation: "c"},
	} {
		for _, q.Backwards = range []bool{false, true} {
			if got := all(t, j.Read(t.Context(), q)); len(got) != 1 || got[0].Position != 50 {
				t.Errorf("%s: %v", name, positions(got))
			}
		}
	}
	for _, backwards := range []bool{false, true} {
		var err error
		for _, err = range j.Read(t.Context(), journal.Query{Kinds: []events.Pattern{events.MustPattern("common.*")}, Backwards: backwards}) {
			if err != nil {
				break
			}
		}
		if !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("a query that must look at what is gone: %v", err)
		}
	}
}

// soonIndexed waits until the index holds everything up to a position.
func soonIndexed(t testing.TB, j *journal.Journal, position uint64) {
	t.Helper()
	for end := time.Now().Add(bound); ; runtime.Gosched() {
		at, err := j.Indexed()
		if err != nil {
			t.Fatal(err)
		}
		if at >= position {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the index stays at %d", at)
		}
	}
}

func TestVerifyFindsWhatHidesAnEvent(t *testing.T) {
	const at = 13
	for name, harm := range map[string]func(t *testing.T, j *journal.Journal){
		"a summary that knows less": func(t *testing.T, j *journal.Journal) {
			key := journal.PositionKey('k', 11)
			v, closer, err := j.IndexDB().Get(key)
			if err != nil {
				t.Fatal(err)
			}
			less := slices.Clone(v)
			_ = closer.Close()
			clear(less[4:])
			if err := j.IndexDB().Set(key, less, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		},
		"no summary": func(t *testing.T, j *journal.Journal) {
			if err := j.IndexDB().Delete(journal.PositionKey('k', 11), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := disktest.New()
			j := open(t, "/data", on(d.Volume()))
			addN(t, j, "s", 40)
			closeOK(t, j)
			j = open(t, "/data", on(d.Volume()))
			verified(t, j)
			harm(t, j)
			r, err := j.Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK || !slices.ContainsFunc(r.Problems, func(p journal.Problem) bool { return p.Position == at }) {
				t.Errorf("verify does not name position %d: %+v", at, r)
			}
		})
	}
}

// However many large events a stream holds, a reader holds few of them.
func TestStreamReadsAreBoundedInBytes(t *testing.T) {
	const n, size = 48, 1 << 20
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	payload := make([]byte, size)
	for i := range n {
		payload[i] = 1
		add(t, j, events.Draft{Stream: "s", Kind: "test.happened", Payload: payload})
	}
	// What the engine still has to write and what its cache takes up would be
	// counted as the reader's.
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	everything(t, j)
	for name, q := range map[string]journal.Query{"forwards": {Stream: "s"}, "backwards": {Stream: "s", Backwards: true}, "all": {}} {
		var most uint64
		seen := 0
		runtime.GC()
		var before, m runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, err := range j.Read(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; seen%16 == 1 {
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc-min(m.HeapAlloc, before.HeapAlloc))
			}
		}
		if seen != n || most > 24*size {
			t.Errorf("%s: %d events, %d MiB held", name, seen, most>>20)
		}
	}
}
