package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func twoPhase(string, int) intent.Strategy {
	return cluster.NewTwoPhase(cluster.Layered{Dimension: dim, Parts: 64})
}

func making(d *disktest.Disk, f func(string, int) intent.Strategy) journal.Options {
	o := on(d.Volume())
	o.NewIntents = f
	return o
}

// wandering embeddings of topics that come one after the other, so that the
// strategy has something to regroup.
func wandering(rng *rand.Rand, n int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64()) * 0.25
	}
	topic := rng.IntN(2 + n/40)
	v[topic%dim]++
	v[(topic*3+1)%dim] += 0.7
	return v
}

// wander appends n events, most with an embedding, each with an id of its own
// so that it is the same event again elsewhere.
func wander(t testing.TB, j *journal.Journal, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		add(t, j, wanderer(i))
	}
}

func wanderer(i int) events.Draft {
	d := withID(draft("s", "test.happened", fmt.Sprint(i)), nthID(i+1))
	if i%7 != 3 {
		d.Embedding = wandering(rand.New(rand.NewPCG(uint64(i), 3)), i)
	}
	return d
}

func changesOf(t testing.TB, j *journal.Journal) (out []journal.IntentChange) {
	t.Helper()
	for c, err := range j.IntentChanges(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func same[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n%v\nwant\n%v", what, got, want)
	}
}

// What the strategy does on its own can be read and followed, leads to the
// intents that events are read with, and what was true at a position stays so.
func TestIntentChanges(t *testing.T) {
	j := open(t, "/data", making(disktest.New(), twoPhase))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var followed []journal.IntentChange
	caught := make(chan struct{})
	go func() {
		defer close(caught)
		for c, err := range j.FollowIntentChanges(ctx, 0) {
			if err != nil {
				return
			}
			followed = append(followed, c)
			if c.Position >= 400 {
				return
			}
		}
	}()
	var asOf []journal.IntentSummary
	for i := range 400 {
		wander(t, j, i, 1)
		if i == 199 {
			var err error
			if asOf, err = j.IntentsAt(t.Context(), 200); err != nil || len(asOf) == 0 {
				t.Fatal(asOf, err)
			}
		}
	}
	for i := 400; !closed(caught); i++ {
		wander(t, j, i, 1)
	}
	changes := changesOf(t, j)
	same(t, "followed", followed, changes[:len(followed)])
	seen := make(map[intent.ChangeKind]int)
	var aliases intent.Aliases
	for _, c := range changes {
		seen[c.Kind]++
		aliases.Apply(c.Change)
	}
	for _, k := range []intent.ChangeKind{intent.Created, intent.Moved, intent.Merged, intent.Split, intent.Calibrated} {
		if seen[k] == 0 {
			t.Errorf("nothing was %v in %d changes", k, len(changes))
		}
	}
	renamed := 0
	members := make(map[events.ID]uint64)
	for _, e := range everything(t, j) {
		if e.EmbeddingDigest.IsZero() {
			continue
		}
		members[e.Intent.ID]++
		if aliases.Resolve(e.Intent.ID) != e.Intent.ID {
			t.Fatalf("event %d has %v, which stands for another", e.Position, e.Intent.ID)
		}
		x, err := j.ExplainIntent(t.Context(), e.Position, 3)
		if err != nil {
			t.Fatal(err)
		}
		if x.Intent != e.Intent.ID || x.Similarity != e.Intent.Similarity || len(x.Now.Nearest) == 0 || x.Strategy == "" {
			t.Fatalf("explained %+v, read %+v", x, e.Intent)
		}
		if x.Assigned != x.Intent {
			renamed++
			if len(x.Since) == 0 {
				t.Fatalf("event %d went from %v to %v for no reason", e.Position, x.Assigned, x.Intent)
			}
			// Who follows an intent by its old name gets it under the new one,
			// if the whole intent went there.
			for _, c := range x.Since {
				if c.Kind == intent.Merged && j.ResolveIntent(c.Intent) != j.ResolveIntent(c.Into) {
					t.Fatalf("%+v is not followed", c)
				}
			}
		}
	}
	if renamed == 0 {
		t.Error("no event has changed its intent: nothing was tried")
	}
	now, err := j.IntentsAt(t.Context(), j.Position())
	if err != nil || len(now) != len(members) {
		t.Fatalf("%d intents, %d have events, %v", len(now), len(members), err)
	}
	for _, s := range now {
		es := all(t, j.Read(t.Context(), journal.Query{Intent: s.ID}))
		if s.Events != members[s.ID] || uint64(len(es)) != s.Events || es[0].Position != s.First || es[len(es)-1].Position != s.Last {
			t.Fatalf("%+v: %d events by reading, %d by query", s, members[s.ID], len(es))
		}
	}
	again, err := j.IntentsAt(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "as of position 200", again, asOf)
	verified(t, j)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A name that was merged away finds the events of what it stands for.
func TestQueryByAMergedIntent(t *testing.T) {
	j := open(t, "/data", making(disktest.New(), twoPhase))
	wander(t, j, 0, 400)
	tried := 0
	for _, c := range changesOf(t, j) {
		if c.Kind != intent.Merged {
			continue
		}
		tried++
		now := j.ResolveIntent(c.Intent)
		sameEvents(t, "by a merged name", all(t, j.Read(t.Context(), journal.Query{Intent: c.Intent})), all(t, j.Read(t.Context(), journal.Query{Intent: now})))
		sameEvents(t, "of a stream", all(t, j.Read(t.Context(), journal.Query{Intent: c.Intent, Stream: "s"})), all(t, j.Read(t.Context(), journal.Query{Intent: now})))
	}
	if tried == 0 {
		t.Fatal("nothing was merged")
	}
}

// whole is everything that a journal says of intents.
type whole struct {
	intents []events.Intent
	changes []journal.IntentChange
	now     []journal.IntentSummary
}

func wholeOf(t testing.TB, j *journal.Journal) (w whole) {
	t.Helper()
	w.intents, w.changes = intentsOf(t, j), changesOf(t, j)
	var err error
	if w.now, err = j.IntentsAt(t.Context(), j.Position()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w whole) is(t testing.TB, what string, want whole) {
	t.Helper()
	sameIntents(t, what, w.intents, want.intents)
	same(t, what+": changes", w.changes, want.changes)
	same(t, what+": intents", w.now, want.now)
}

// steer does by hand whatever can be done.
func steer(t testing.TB, j *journal.Journal) {
	t.Helper()
	now, err := j.IntentsAt(t.Context(), j.Position())
	if err != nil || len(now) < 3 {
		t.Fatal(now, err)
	}
	if _, err := j.MergeIntents(t.Context(), now[2].ID, now[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := j.ResolveIntent(now[2].ID); got != now[0].ID {
		t.Fatalf("merged into %v, stands for %v", now[0].ID, got)
	}
	if _, _, err := j.SplitIntent(t.Context(), now[0].ID); err != nil {
		t.Fatal(err)
	}
	for _, e := range everything(t, j) {
		if e.EmbeddingDigest.IsZero() && e.Intent.ID.IsZero() && e.Stream == "s" {
			if _, err := j.EmbedEvent(t.Context(), e.Position, wandering(rand.New(rand.NewPCG(e.Position, 9)), 50)); err != nil {
				t.Fatal(err)
			}
			got, err := j.At(t.Context(), e.Position)
			if err != nil || got.Intent.ID.IsZero() || got.Digest != e.Digest {
				t.Fatalf("embedded later: %+v, %v", got.Intent, err)
			}
			if v, err := j.Vector(t.Context(), e.Position); err != nil || len(v) != dim {
				t.Fatalf("its vector: %v, %v", v, err)
			}
			return
		}
	}
	t.Fatal("no event without an embedding")
}

func TestIntentsByHand(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", making(d, twoPhase))
	wander(t, j, 0, 200)
	steer(t, j)
	wander(t, j, 200, 200)
	steer(t, j)
	hand := 0
	for _, c := range changesOf(t, j) {
		if c.ByHand {
			hand++
		}
	}
	if hand < 6 {
		t.Errorf("%d changes by hand", hand)
	}
	verified(t, j)
	want := wholeOf(t, j)
	total := uint64(0)
	for _, s := range want.now {
		total += s.Events
	}
	if vectors := uint64(400 - 57 + 2); total != vectors {
		t.Errorf("%d events have intents, %d have embeddings", total, vectors)
	}
	killed := d.PowerCut(100, 1)
	cut := d.PowerCut(0, 1)
	closeOK(t, j)
	deleted := d.PowerCut(100, 1)
	if err := deleted.Volume().FS.RemoveAll("/data/index"); err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]*disktest.Disk{"close": d, "kill": killed, "power cut": cut, "deleting the index": deleted} {
		j := open(t, "/data", making(d, twoPhase))
		wholeOf(t, j).is(t, "after "+what, want)
		verified(t, j)
		closeOK(t, j)
		// Without a strategy they are there as they stand.
		j = open(t, "/data", on(d.Volume()))
		wholeOf(t, j).is(t, "without a strategy after "+what, want)
		closeOK(t, j)
	}
}

func TestSteeringIsRefused(t *testing.T) {
	j := open(t, "/data", with(disktest.New(), leader(0.9)))
	es := embed(t, j, 20)
	a := es[1].Intent.ID
	ctx := t.Context()
	for what, err := range map[string]error{
		"merge with nothing":  failed2(j.MergeIntents(ctx, a, nthID(1))),
		"split of nothing":    failed3(j.SplitIntent(ctx, nthID(1))),
		"embedding nothing":   failed2(j.EmbedEvent(ctx, 99, embedding(rand.New(rand.NewPCG(1, 1)), 1))),
		"explaining nothing":  failed2(j.ExplainIntent(ctx, 1, 3)),
		"intents of tomorrow": failed2(j.IntentsAt(ctx, 99)),
	} {
		if !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"merge with itself":    failed2(j.MergeIntents(ctx, a, a)),
		"split of one part":    failed3(j.SplitIntent(ctx, a)),
		"a model without name": j.UseModel(ctx, journal.Model{Dimension: dim}),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if j.Position() != 20 {
		t.Errorf("something was journaled: %d", j.Position())
	}
}

// A vector comes late for events that have none and may have one: what a
// subject key hides, a vector of it would tell.
func TestLateEmbeddingIsRefused(t *testing.T) {
	j := open(t, "/data", with(disktest.New(), leader(0.9)))
	good := embedding(rand.New(rand.NewPCG(1, 1)), 1)
	has := draft("s", "test.happened", "a")
	has.Embedding = good
	hidden := draft("s", "test.happened", "b")
	hidden.SubjectKey = "somebody"
	es := add(t, j, has, hidden, draft("s", "test.happened", "c"))
	for _, c := range []struct {
		of     int
		vector []float32
		want   string
	}{
		{0, good, "has an embedding"},
		{1, good, "subject key"},
		{2, nil, "empty"},
		{2, make([]float32, dim+1), fmt.Sprint("dimensions, want ", dim)},
		{2, make([]float32, dim), "points nowhere"},
		{2, []float32{1, 1, float32(math.NaN()), 1, 1, 1, 1, 1}, "component 2 is NaN"},
		{2, []float32{1, 1, 1, 1, 1, 1, 1, float32(math.Inf(1))}, "component 7 is +Inf"},
		{2, make([]float32, 1<<20), "1048576 dimensions"},
	} {
		if _, err := j.EmbedEvent(t.Context(), es[c.of].Position, c.vector); !errors.Is(err, intent.ErrEmbedding) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("event %d: %v, want %q", c.of+1, err, c.want)
		}
	}
	if j.Position() != es[2].Position {
		t.Errorf("something was journaled: %d", j.Position())
	}
	late, err := j.EmbedEvent(t.Context(), es[2].Position, good)
	if err != nil || late.Position != es[2].Position+1 {
		t.Errorf("an event without: %+v, %v", late, err)
	}
}

func failed2[A any](_ A, err error) error         { return err }
func failed3[A, B any](_ A, _ B, err error) error { return err }

func TestModelIsFixed(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", making(d, twoPhase))
	m := journal.Model{Name: "sentences-8", Dimension: dim}
	if err := errors.Join(j.UseModel(t.Context(), m), j.UseModel(t.Context(), m)); err != nil || j.Position() != 1 {
		t.Fatal(j.Position(), err)
	}
	for range 2 {
		for _, other := range []journal.Model{{"sentences-9", dim}, {"sentences-8", dim + 1}} {
			err := j.UseModel(t.Context(), other)
			if !errors.Is(err, journal.ErrModel) || !strings.Contains(err.Error(), other.Name) {
				t.Errorf("%v: %v", other, err)
			}
		}
		if got, ok := j.Model(); !ok || got != m {
			t.Errorf("%v, %v", got, ok)
		}
		bad := draft("s", "test.happened", "of another model")
		bad.Embedding = []float32{1, 2, 3}
		refused(t, j, write(bad), intent.ErrEmbedding)
		closeOK(t, j)
		j = open(t, "/data", on(d.Volume())) // it holds without a strategy as well
	}
}

func TestBrokenStrategyOpens(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", making(d, twoPhase))
	wander(t, j, 0, 100)
	want := wholeOf(t, j)
	closeOK(t, j)
	broken := func(string, int) intent.Strategy {
		return &odd{Strategy: twoPhase("", 0), assign: func(intent.Arrival) intent.Assignment { panic("as a user's strategy may") }}
	}
	for what, make := range map[string]func(string, int) intent.Strategy{
		"assigning": func(n string, d int) intent.Strategy { return &named{broken(n, d), "another"} },
		"beginning": func(string, int) intent.Strategy { panic("as a user's code may") },
	} {
		cut := d.PowerCut(100, 1)
		j := open(t, "/data", making(cut, make))
		if err := j.IntentError(); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("%s: %v", what, err)
		}
		es := addN(t, j, "s", 3)
		last := wanderer(200)
		e := add(t, j, last)[0]
		if e.Position != es[2].Position+1 || e.Intent.Pending || !e.Intent.ID.IsZero() {
			t.Errorf("%s: %+v", what, e.Intent)
		}
		if r, err := j.Verify(t.Context(), nil); err != nil || r.OK || !strings.Contains(r.Problems[0].What, "panicked") {
			t.Errorf("%s: verify says %+v, %v", what, r, err)
		}
		closeOK(t, j)
		j = open(t, "/data", making(cut, twoPhase))
		if err := j.IntentError(); err != nil {
			t.Fatal(err)
		}
		got := wholeOf(t, j)
		sameIntents(t, "afterwards", got.intents[:100], want.intents)
		if got.intents[103].ID.IsZero() {
			t.Error("what came meanwhile has no intent")
		}
		verified(t, j)
		closeOK(t, j)
	}
}

type named struct {
	intent.Strategy
	name string
}

func (n *named) Name() string { return n.name }

// A change of strategy assigns everything anew, and the factory is told who
// did it before.
func TestChangeOfStrategy(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", making(d, twoPhase))
	wander(t, j, 0, 150)
	want := wholeOf(t, j)
	closeOK(t, j)
	var last string
	j = open(t, "/data", making(d, func(l string, n int) intent.Strategy {
		last = l
		return cluster.NewStrict(cluster.Layered{Dimension: n, Parts: 64})
	}))
	if !strings.HasPrefix(last, "two-phase/") {
		t.Errorf("before was %q", last)
	}
	for i, in := range intentsOf(t, j) {
		if in.ID == want.intents[i].ID && !in.ID.IsZero() {
			t.Fatalf("event %d kept the intent of another strategy", i+1)
		}
	}
	verified(t, j)
	closeOK(t, j)
	j = open(t, "/data", making(d, twoPhase))
	wholeOf(t, j).is(t, "back under the first", want)
}

func TestVerifyFindsForgedIntents(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", making(d, twoPhase))
	wander(t, j, 0, 80)
	closeOK(t, j)
	j = open(t, "/data", making(d, twoPhase))
	verified(t, j)
	db := j.IndexDB()
	for what, key := range map[string][]byte{
		"an assignment": journal.PositionKey('t', 31),
		"a change":      append(journal.PositionKey('u', 1), 0, 0, 0, 0),
	} {
		v, closer, err := db.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		good := slices.Clone(v)
		_ = closer.Close()
		forged := slices.Clone(good)
		forged[9] ^= 1
		for how, change := range map[string]error{"changed": db.Set(key, forged, pebble.NoSync), "deleted": nil} {
			if how == "deleted" {
				change = db.Delete(key, pebble.NoSync)
			}
			if change != nil {
				t.Fatal(change)
			}
			if r, err := j.Verify(t.Context(), nil); err != nil || r.OK {
				t.Errorf("%s was %s and verify says %+v, %v", what, how, r, err)
			}
		}
		if err := db.Set(key, good, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	verified(t, j)
	if err := db.Set(journal.PositionKey('t', 4), make([]byte, 24), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if r, err := j.Verify(t.Context(), nil); err != nil || r.OK {
		t.Errorf("an assignment too many: %+v, %v", r, err)
	}
}

// A power cut anywhere between an append and what follows from it heals: what
// is there of the journal has the intents that it would have had.
func TestPowerCutBetweenAppendAndIntent(t *testing.T) {
	d := disktest.New()
	var mu sync.Mutex
	var cuts []*disktest.Disk
	n := 0
	d.Before(func(disktest.Op) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%7 == 0 {
			cuts = append(cuts, d.PowerCut(n%3*50, uint64(n)))
		}
	})
	j := open(t, "/data", making(d, twoPhase))
	wander(t, j, 0, 80)
	steer(t, j)
	wander(t, j, 80, 40)
	steer(t, j)
	d.Before(func(disktest.Op) {})
	want := changesOf(t, j)
	mu.Lock()
	defer mu.Unlock()
	short := 0
	for i, cut := range cuts {
		j := open(t, "/data", making(cut, twoPhase))
		end := j.Position()
		var upTo []journal.IntentChange
		for _, c := range want {
			if c.Position <= end {
				upTo = append(upTo, c)
			}
		}
		same(t, fmt.Sprintf("cut %d at position %d", i, end), changesOf(t, j), upTo)
		verified(t, j)
		if end > 10 && end < 110 {
			short++
		}
		closeOK(t, j)
	}
	t.Logf("%d power cuts, %d of them in the middle", len(cuts), short)
	if short < 10 {
		t.Error("too few to show anything")
	}
}
