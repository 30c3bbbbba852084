package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// ofDimension makes a strategy for whatever dimension is asked for.
func ofDimension(_ string, d int) intent.Strategy {
	return cluster.NewTwoPhase(cluster.Layered{Dimension: d, Parts: 64})
}

// modelled is a journal whose model can change; one with small sizes has a
// snapshot of its strategy every few events.
func modelled(d *disktest.Disk, small bool) journal.Options {
	o := making(d, ofDimension)
	if small {
		o = o.Small(40, 64<<10)
	}
	return o
}

// wanderIn is wanderer with an embedding of another dimension.
func wanderIn(i, dimension int, embedded bool) events.Draft {
	d := wanderer(i)
	if !embedded || len(d.Embedding) == 0 {
		d.Embedding = nil
		return d
	}
	d.Embedding = d.Embedding[:dimension]
	d.Embedding[0] += 0.01 // none points nowhere
	return d
}

// A journal whose model changes has, in each part, the intents that a journal has
// which holds embeddings of that part's model only: through restarts, kills and an
// index that is made anew, and whatever is embedded later.
func TestModelHalves(t *testing.T) {
	tries := 0
	rapid.Check(t, func(rt *rapid.T) {
		if tries++; underRace && tries > 15 {
			return // it looks for another kind of fault, and slowly
		}
		first := rapid.IntRange(0, 150).Draw(rt, "first")
		second := rapid.IntRange(0, 150).Draw(rt, "second")
		dims := [2]int{dim, rapid.SampledFrom([]int{dim, dim - 3}).Draw(rt, "dimension")}
		late := rapid.IntRange(0, 3).Draw(rt, "late") // so many of the first part are embedded in the second
		named := rapid.Bool().Draw(rt, "named")
		small := rapid.Bool().Draw(rt, "small")
		disturb := func(rt *rapid.T, d *disktest.Disk, j *journal.Journal) (*disktest.Disk, *journal.Journal) {
			switch rapid.SampledFrom([]string{"", "restart", "kill", "rebuild"}).Draw(rt, "disturb") {
			case "":
				return d, j
			case "kill":
				cut := d.PowerCut(100, 1)
				closeOK(t, j)
				d = cut
			case "restart":
				closeOK(t, j)
			case "rebuild":
				closeOK(t, j)
				d = d.PowerCut(100, 1)
				if err := d.Volume().FS.RemoveAll("/data/index"); err != nil {
					rt.Fatal(err)
				}
			}
			return d, open(t, "/data", modelled(d, small))
		}
		build := func(has [2]bool, shaken bool) *journal.Journal {
			d := disktest.New()
			j := open(t, "/data", modelled(d, small))
			shake := func() {
				if shaken {
					d, j = disturb(rt, d, j)
				}
			}
			if named && has[0] {
				if err := j.UseModel(t.Context(), journal.Model{Name: "one", Dimension: dims[0]}); err != nil {
					rt.Fatal(err)
				}
			} else {
				add(t, j, withID(draft("s", "test.filled", ""), nthID(9000)))
			}
			many := func(from, to, dimension int, embedded bool) {
				var w journal.Write
				for i := from; i < to; i++ {
					w.Events = append(w.Events, wanderIn(i, dimension, embedded))
				}
				if from < to {
					add(t, j, w.Events...)
				}
			}
			many(0, first/2, dims[0], has[0])
			shake()
			many(first/2, first, dims[0], has[0])
			shake()
			if has[0] && has[1] {
				if _, err := j.ChangeModel(t.Context(), journal.Model{Name: "two", Dimension: dims[1]}); err != nil {
					rt.Fatal(err)
				}
			} else {
				add(t, j, withID(draft("s", "test.filled", ""), nthID(9001)))
			}
			shake()
			many(first, first+second/2, dims[1], has[1])
			for n := range late {
				if position := uint64(5 + 7*n); position < uint64(first) && has[1] { // it came without
					if _, err := j.EmbedEvent(t.Context(), position, wanderIn(7*n, dims[1], true).Embedding); err != nil {
						rt.Fatal(err)
					}
				}
			}
			shake()
			many(first+second/2, first+second, dims[1], has[1])
			shake()
			verified(t, j)
			return j
		}
		both := build([2]bool{true, true}, true)
		border := uint64(first + 2)
		for half, only := range []*journal.Journal{build([2]bool{true, false}, false), build([2]bool{false, true}, false)} {
			got, want := intentsOf(t, both), intentsOf(t, only)
			gotChanges, wantChanges := changesOf(t, both), changesOf(t, only)
			if half == 0 {
				gotChanges = before(gotChanges, border)
				got, want = lateOut(both, got[:border]), want[:border]
			} else {
				gotChanges = gotChanges[len(before(gotChanges, border)):]
				got, want = got[border:], want[border:]
			}
			sameIntents(t, fmt.Sprintf("part %d", half+1), got, want)
			same(t, fmt.Sprintf("changes of part %d", half+1), gotChanges, wantChanges)
			closeOK(t, only)
		}
		closeOK(t, both)
	})
}

// lateOut takes the intents out of those that were embedded later.
func lateOut(j *journal.Journal, of []events.Intent) []events.Intent {
	out := slices.Clone(of)
	for i := range out {
		e, err := j.At(context.Background(), uint64(i+1))
		if err == nil && e.EmbeddingDigest.IsZero() {
			out[i] = events.Intent{}
		}
	}
	return out
}

func before(cs []journal.IntentChange, position uint64) []journal.IntentChange {
	n := 0
	for n < len(cs) && cs[n].Position <= position {
		n++
	}
	return cs[:n]
}

// A change is an event with what was and what is; another model than the one in
// force is refused, wherever an embedding comes in and says of what model it is.
func TestChangeModel(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", modelled(d, true))
	one, two := journal.Model{Name: "one", Dimension: dim}, journal.Model{Name: "two", Dimension: dim}
	three := journal.Model{Name: "three", Dimension: 3}
	if err := j.UseModel(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	vector := embedding(rand.New(rand.NewPCG(1, 1)), 1)
	by := func(id int, model string, v []float32) journal.Write {
		e := withID(draft("s", "test.happened", "x"), nthID(id))
		e.Embedding, e.EmbeddingModel = v, model
		return write(e)
	}
	old := by(1, "one", vector)
	add(t, j, old.Events...)
	refused(t, j, by(2, "two", vector), journal.ErrModel)
	if _, err := j.ChangeModel(t.Context(), one); !errors.Is(err, journal.ErrModel) || !strings.Contains(err.Error(), "already") {
		t.Errorf("to the same: %v", err)
	}
	for _, bad := range []journal.Model{{"", 3}, {"x", 0}, {"x", -1}, {"x", 1 << 20}, {journal.UnnamedModel, 3}} {
		if _, err := j.ChangeModel(t.Context(), bad); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	e, err := j.ChangeModel(t.Context(), two)
	if err != nil || e.Position != 3 || string(e.Payload) != `{"model":"two","dimension":8,"was":"one","was_dimension":8}` || e.Kind != journal.KindIntentModel {
		t.Fatalf("%+v, %v", e, err)
	}
	for range 2 {
		if err := j.UseModel(t.Context(), one); !errors.Is(err, journal.ErrModel) {
			t.Errorf("the model of before: %v", err)
		}
		if err := j.UseModel(t.Context(), two); err != nil {
			t.Error(err)
		}
		refused(t, j, by(3, "one", vector), journal.ErrModel)
		refused(t, j, by(3, "two", vector[:3]), intent.ErrEmbedding)
		// What was acknowledged under the model of before is the same event still.
		if r, err := tryAppend(t, j, old); err != nil || !r.Duplicate {
			t.Errorf("again: %+v, %v", r, err)
		}
		if m, ok := j.Model(); !ok || m != two {
			t.Errorf("model %v, %v", m, ok)
		}
		closeOK(t, j)
		j = open(t, "/data", modelled(d, true))
	}
	mute := add(t, j, draft("s", "test.happened", "mute"))[0]
	if _, err := j.EmbedEventBy(t.Context(), "one", mute.Position, vector); !errors.Is(err, journal.ErrModel) {
		t.Errorf("embedded later by the model of before: %v", err)
	}
	if _, err := j.EmbedEventBy(t.Context(), "two", mute.Position, vector); err != nil {
		t.Error(err)
	}
	if _, err := j.ChangeModel(t.Context(), three); err != nil {
		t.Fatal(err)
	}
	refused(t, j, by(4, "", vector), intent.ErrEmbedding)
	add(t, j, by(4, "three", []float32{1, 2, 3}).Events...)
	back, err := j.ChangeModel(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	add(t, j, by(5, "one", vector).Events...)
	same(t, "models", j.Models(), []journal.ModelChange{{Model: one}, {3, two}, {6, three}, {back.Position, one}})
	var of []string
	for v, err := range j.Vectors(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		x, err := j.Embedding(t.Context(), v.Position)
		if err != nil || x.Model != v.Model || !slices.Equal(x.Vector, v.Vector) {
			t.Errorf("position %d: %+v, %v", v.Position, x, err)
		}
		of = append(of, v.Model.Name)
	}
	same(t, "models of vectors", of, []string{"one", "two", "three", "one"})
	if x, err := j.Embedding(t.Context(), mute.Position); err != nil || x.Model.Model != two || x.Position != mute.Position+1 {
		t.Errorf("of an event that was embedded later: %+v, %v", x, err)
	}
	verified(t, j)
}

// A strategy that was handed in cannot begin anew: the change is refused, and a
// journal that has changed is opened without intents and says so.
func TestChangeModelNeedsNewIntents(t *testing.T) {
	d := disktest.New()
	two := journal.Model{Name: "two", Dimension: dim}
	j := open(t, "/data", with(d, leader(0.9)))
	embed(t, j, 10)
	if _, err := j.ChangeModel(t.Context(), two); !errors.Is(err, journal.ErrModel) || !strings.Contains(err.Error(), "NewIntents") {
		t.Fatalf("changed: %v", err)
	}
	closeOK(t, j)
	j = open(t, "/data", modelled(d, false))
	if _, err := j.ChangeModel(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	want := intentsOf(t, j)
	closeOK(t, j)
	j = open(t, "/data", with(d, leader(0.9)))
	if err := j.IntentError(); err == nil || !strings.Contains(err.Error(), "NewIntents") {
		t.Errorf("opened with %v", err)
	}
	embed(t, j, 3) // and takes events all the same
	sameIntents(t, "of before", intentsOf(t, j)[:len(want)], want)
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume())) // without intents, the model can change
	if _, err := j.ChangeModel(t.Context(), journal.Model{Name: "three", Dimension: 3}); err != nil {
		t.Error(err)
	}
	refused(t, j, write(wanderIn(1, dim, true)), intent.ErrEmbedding)
}

// Embeddings of two models of one dimension are never compared: not by meaning,
// not by an explanation, and an intent that was merged across the change is
// divided there.
func TestModelsAreNotCompared(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", modelled(d, false))
	north := make([]float32, dim)
	north[0] = 1
	like, err := intent.Quantize(north, dim)
	if err != nil {
		t.Fatal(err)
	}
	say := func() events.Event {
		e := draft("s", "test.happened", "x")
		e.Embedding = north
		return add(t, j, e)[0]
	}
	find := func(q journal.Query) (out []uint64) {
		q.Like, q.Min = like, 0.9
		for _, e := range all(t, j.Read(t.Context(), q)) {
			out = append(out, e.Position)
		}
		return out
	}
	a := say() // 1, by a model without a name
	same(t, "before any name", find(journal.Query{}), []uint64{1})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	followed := make(chan uint64, 10)
	begun := make(chan struct{})
	go func() {
		defer close(followed)
		first := true
		for step, err := range j.Follow(ctx, journal.Query{Like: like, Min: 0.9}) {
			if err != nil {
				return
			}
			if step.Event.Position > 0 {
				followed <- step.Event.Position
			}
			if step.CaughtUp && first {
				first = false
				close(begun)
			}
			if step.CaughtUp && step.Position >= 5 {
				return
			}
		}
	}()
	soon(t, "following", begun)
	if _, err := j.ChangeModel(t.Context(), journal.Model{Name: "two", Dimension: dim}); err != nil { // 2
		t.Fatal(err)
	}
	b := say() // 3
	if a.Intent.ID == b.Intent.ID || b.Intent.Similarity != 1 {
		t.Errorf("assigned to %+v and %+v", a.Intent, b.Intent)
	}
	if _, err := j.ChangeModel(t.Context(), journal.Model{Name: "three", Dimension: dim}); err != nil { // 4
		t.Fatal(err)
	}
	c := say() // 5
	for name, want := range map[string][]uint64{journal.UnnamedModel: {1}, "two": {3}, "three": {5}, "": {5}, "four": nil} {
		same(t, "like, by "+name, find(journal.Query{Model: name}), want)
		same(t, "like in a stream, by "+name, find(journal.Query{Model: name, Stream: "s"}), want)
		same(t, "like, backwards, by "+name, find(journal.Query{Model: name, Backwards: true}), want)
	}
	var got []uint64
	for p := range followed {
		got = append(got, p)
	}
	same(t, "who followed before the changes", got, []uint64{1})

	for _, e := range []events.Event{a, b, c} {
		x, err := j.ExplainIntent(t.Context(), e.Position, 3)
		if err != nil || len(x.Then.Nearest) != 0 {
			t.Errorf("event %d: %+v, %v", e.Position, x, err)
		}
		if now := len(x.Now.Nearest); now != 0 && e.Position != 5 || now == 0 && e.Position == 5 {
			t.Errorf("event %d: now %+v", e.Position, x.Now)
		}
	}
	if _, err := j.MergeIntents(t.Context(), c.Intent.ID, a.Intent.ID); err != nil {
		t.Fatal(err)
	}
	split, _, err := j.SplitIntent(t.Context(), a.Intent.ID)
	if err != nil {
		t.Fatal(err)
	}
	is := intentsOf(t, j)
	if is[0].ID != a.Intent.ID || is[4].ID != split {
		t.Errorf("after merge and split: %+v", is)
	}
	verified(t, j)
}
