package journal_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

const dim = 8

func leader(threshold float64) intent.Strategy {
	return cluster.NewLeader(cluster.Options{Dimension: dim, Threshold: threshold})
}

// embedding points near one of four axes.
func embedding(rng *rand.Rand, axis int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = rng.Float32() * 0.1
	}
	v[axis%4] = 1
	return v
}

// embed appends n events of which all but every fifth has an embedding.
func embed(t testing.TB, j *journal.Journal, n int) (out []events.Event) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, j.Position()))
	for i := range n {
		d := draft("s", "test.happened", fmt.Sprint(i))
		if i%5 != 0 {
			d.Embedding = embedding(rng, i)
		}
		out = append(out, add(t, j, d)...)
	}
	return out
}

// intentsOf returns the intents of what is stored, by position.
func intentsOf(t testing.TB, j *journal.Journal) (out []events.Intent) {
	t.Helper()
	for _, e := range everything(t, j) {
		out = append(out, e.Intent)
	}
	return out
}

func sameIntents(t testing.TB, what string, got, want []events.Intent) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d events, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: event %d has intent %+v, want %+v", what, i+1, got[i], want[i])
		}
	}
}

func with(v *disktest.Disk, s intent.Strategy) journal.Options {
	o := on(v.Volume())
	o.Intents = s
	return o
}

func TestAppendReturnsItsIntent(t *testing.T) {
	j := open(t, "/data", with(disktest.New(), leader(0.9)))
	es := embed(t, j, 40)
	// The strategy alone, fed with the same vectors, says the same.
	alone := leader(0.9)
	rng := rand.New(rand.NewPCG(1, 0))
	for i, e := range es {
		if i%5 == 0 {
			if e.Intent != (events.Intent{}) || !e.EmbeddingDigest.IsZero() {
				t.Errorf("event %d has intent %+v without an embedding", i+1, e.Intent)
			}
			continue
		}
		v, err := intent.Quantize(embedding(rng, i), dim)
		if err != nil {
			t.Fatal(err)
		}
		a := alone.Assign(intent.Arrival{Position: e.Position, ID: e.ID, Digest: e.Digest, Vector: v})
		if e.Intent != (events.Intent{ID: a.Intent, Similarity: a.Similarity}) {
			t.Errorf("event %d came back with %+v, the strategy says %+v", i+1, e.Intent, a)
		}
	}
	if got := j.Stats().Intents; got != alone.Count() || got != 4 {
		t.Errorf("%d intents, the strategy says %d", got, alone.Count())
	}
	sameEvents(t, "read", everything(t, j), es)
	sameEvents(t, "read of a stream", all(t, j.ReadStream(t.Context(), "s", 0)), es)
	for _, e := range es {
		if got, err := j.ByID(t.Context(), e.ID); err != nil || got.Intent != e.Intent {
			t.Errorf("by id: %+v, %v, want %+v", got.Intent, err, e.Intent)
		}
	}
	d := withID(draft("s", "test.happened", "again"), nthID(1))
	d.Embedding = embedding(rng, 1)
	first := add(t, j, d)[0]
	if r, err := tryAppend(t, j, write(d)); err != nil || !r.Duplicate || r.Events[0].Intent != first.Intent {
		t.Errorf("appended again: %+v, %v", r, err)
	}
	verified(t, j)
}

func TestIntentsSurviveReopen(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", with(d, leader(0.9)))
	embed(t, j, 60)
	want := intentsOf(t, j)
	count := j.Stats().Intents
	killed := d.PowerCut(100, 1)
	cut := d.PowerCut(0, 1)
	closeOK(t, j)
	deleted := d.PowerCut(100, 1)
	if err := deleted.Volume().FS.RemoveAll("/data/index"); err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]*disktest.Disk{"close": d, "kill": killed, "power cut": cut, "deleting the index": deleted} {
		j := open(t, "/data", with(d, leader(0.9)))
		sameIntents(t, "after "+what, intentsOf(t, j), want)
		if got := j.Stats().Intents; got != count {
			t.Errorf("after %s: %d intents, want %d", what, got, count)
		}
		// What is appended now joins the intents of before.
		if e := embed(t, j, 2)[1]; e.Intent.ID != want[1].ID {
			t.Errorf("after %s: an event like event 2 joins %v, event 2 has %v", what, e.Intent.ID, want[1].ID)
		}
		verified(t, j)
		closeOK(t, j)
	}
	// Another strategy, or the same with other settings, assigns anew.
	j = open(t, "/data", with(deleted, leader(0.2)))
	other := intentsOf(t, j)
	if other[1].ID == want[1].ID || other[1].ID.IsZero() {
		t.Errorf("under another strategy event 2 has %+v, before %+v", other[1], want[1])
	}
	closeOK(t, j)
	j = open(t, "/data", with(deleted, leader(0.9)))
	sameIntents(t, "back under the first strategy", intentsOf(t, j)[:60], want)
}

func TestEmbeddingIsRefused(t *testing.T) {
	j := open(t, "/data", with(disktest.New(), leader(0.9)))
	embed(t, j, 5)
	for what, v := range map[string][]float32{
		"short": make([]float32, dim-1), "long": make([]float32, dim+1), "zero": make([]float32, dim),
		"NaN": {float32(math.NaN()), 1, 1, 1, 1, 1, 1, 1}, "infinite": {float32(math.Inf(1)), 1, 1, 1, 1, 1, 1, 1},
		"minus infinite": {1, 1, 1, 1, 1, 1, 1, float32(math.Inf(-1))}, "huge": make([]float32, 1<<20),
	} {
		t.Run(what, func(t *testing.T) {
			bad := draft("s", "test.happened", "bad")
			bad.Embedding = v
			refused(t, j, write(draft("s", "test.happened", "good"), bad), intent.ErrEmbedding)
		})
	}
	// The largest numbers are no bad vector.
	long := draft("s", "test.happened", "large numbers")
	long.Embedding = slices.Repeat([]float32{math.MaxFloat32}, dim)
	add(t, j, long)
}

// A vector that no strategy takes does not become the first one, on which the
// dimension of a journal rests.
func TestHugeFirstVector(t *testing.T) {
	for _, f := range []func(string, int) intent.Strategy{nil, ofDimension} {
		j := open(t, "/data", making(disktest.New(), f))
		huge := draft("s", "test.happened", "huge")
		huge.Embedding = slices.Repeat([]float32{1}, 1<<16+1)
		refused(t, j, write(huge), intent.ErrEmbedding)
		mute := add(t, j, draft("s", "test.happened", "mute"))[0]
		if _, err := j.EmbedEvent(t.Context(), mute.Position, huge.Embedding); !errors.Is(err, intent.ErrEmbedding) {
			t.Errorf("embedded later: %v", err)
		}
		embed(t, j, 10)
		if err := j.IntentError(); err != nil || j.Position() != 11 {
			t.Errorf("%d events, %v", j.Position(), err)
		}
	}
}

// odd is a strategy of a user's with whatever behaviour a test wants.
type odd struct {
	intent.Strategy
	assign   func(intent.Arrival) intent.Assignment
	snapshot func() []byte
}

func (o *odd) Assign(a intent.Arrival) intent.Assignment {
	if o.assign != nil {
		return o.assign(a)
	}
	return o.Strategy.Assign(a)
}

func (o *odd) Snapshot() []byte {
	if o.snapshot != nil {
		return o.snapshot()
	}
	return o.Strategy.Snapshot()
}

func TestStrategyMayPanic(t *testing.T) {
	d := disktest.New()
	l := leader(0.9)
	j := open(t, "/data", with(d, &odd{Strategy: l, assign: func(a intent.Arrival) intent.Assignment {
		if a.Position == 8 {
			panic("as a user's strategy may")
		}
		return l.Assign(a)
	}}))
	es := embed(t, j, 20) // every one is answered
	for _, e := range es {
		if had := !e.Intent.ID.IsZero(); had != (e.Position < 8 && !e.EmbeddingDigest.IsZero()) || e.Intent.Pending && e.Position > 8 {
			t.Errorf("event %d: %+v with a strategy that panicked at 8", e.Position, e.Intent)
		}
	}
	sameEvents(t, "read", everything(t, j), es)
	closeOK(t, j)
	j = open(t, "/data", with(d, leader(0.9)))
	for _, e := range everything(t, j) {
		if e.Intent.ID.IsZero() == !e.EmbeddingDigest.IsZero() {
			t.Errorf("event %d: %+v after opening with a strategy that works", e.Position, e.Intent)
		}
	}
	verified(t, j)
	closeOK(t, j)

	d = disktest.New()
	j = open(t, "/data", with(d, &odd{Strategy: leader(0.9), snapshot: func() []byte { panic("as a user's strategy may") }}))
	es = embed(t, j, 20)
	closeOK(t, j)
	j = open(t, "/data", with(d, leader(0.9)))
	sameEvents(t, "after a snapshot that panicked", everything(t, j), es)
}

func TestPendingAfterTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l := leader(0.9)
		var assigned atomic.Int64
		o := with(disktest.New(), &odd{Strategy: l, assign: func(a intent.Arrival) intent.Assignment {
			<-release
			assigned.Add(1)
			return l.Assign(a)
		}})
		o.IntentBudget = 3 * time.Second
		j := open(t, "/data", o)
		d := withID(draft("s", "test.happened", "a"), nthID(1))
		d.Embedding = []float32{1, 0, 0, 0, 0, 0, 0, 0}
		begun := time.Now()
		e := add(t, j, d)[0]
		if took := time.Since(begun); !e.Intent.Pending || took < o.IntentBudget || took > o.IntentBudget+time.Second {
			t.Errorf("after %v: %+v", took, e.Intent)
		}
		e.Payload[0] = '!' // the receipt is the caller's
		e.Intent = events.Intent{}

		// Nobody else waits.
		begun = time.Now()
		plain := addN(t, j, "other", 3)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("appends without an embedding took %v", took)
		}
		if got, err := j.At(t.Context(), e.Position); err != nil || !got.Intent.Pending {
			t.Errorf("read meanwhile: %+v, %v", got.Intent, err)
		}
		if r, err := tryAppend(t, j, write(d)); err != nil || !r.Duplicate || !r.Events[0].Intent.Pending {
			t.Errorf("appended again meanwhile: %+v, %v", r, err)
		}
		if plain[0].Intent != (events.Intent{}) {
			t.Errorf("an event without an embedding: %+v", plain[0].Intent)
		}
		close(release)
		synctest.Wait()
		if got, err := j.At(t.Context(), e.Position); err != nil || got.Intent.Pending || got.Intent.ID.IsZero() || assigned.Load() != 1 {
			t.Errorf("read later: %+v, %v", got.Intent, err)
		}
		verified(t, j)
		closeOK(t, j)
	})
}

// Without a strategy embeddings are kept for one to come.
func TestEmbeddingsWithoutAStrategy(t *testing.T) {
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	es := embed(t, j, 10)
	other := draft("s", "test.happened", "of another dimension")
	other.Embedding = []float32{1, 2, 3}
	es = append(es, add(t, j, other)...)
	for _, e := range es {
		if e.Intent != (events.Intent{}) {
			t.Errorf("event %d: %+v without a strategy", e.Position, e.Intent)
		}
	}
	closeOK(t, j)
	j = open(t, "/data", with(d, leader(0.9)))
	for _, e := range everything(t, j) {
		want := !e.EmbeddingDigest.IsZero() && e.Position != 11
		if e.Intent.ID.IsZero() == want || e.Intent.Pending {
			t.Errorf("event %d: %+v under a strategy", e.Position, e.Intent)
		}
	}
	verified(t, j)
}

// Which of many first vectors decides on the dimension is settled by the order
// of the journal; whoever comes after it with another is refused.
func TestOneDimension(t *testing.T) {
	either := func(_ string, dimension int) intent.Strategy {
		return cluster.NewTwoPhase(cluster.Layered{Dimension: dimension, Parts: 64})
	}
	for round := range 20 {
		o := journal.Options{Volume: disktest.New().Volume(), NewIntents: either}
		j := open(t, "/data", o)
		var wg sync.WaitGroup
		errs := make([]error, 16)
		for i := range errs {
			wg.Go(func() {
				dr := draft("s", "test.happened", fmt.Sprint("of ", 4+i%2*4))
				dr.Embedding = make([]float32, 4+i%2*4)
				dr.Embedding[i%4] = 1
				_, errs[i] = j.Append(t.Context(), write(dr))
			})
		}
		wg.Wait()
		es := everything(t, j)
		if len(es) != len(errs)/2 {
			t.Errorf("round %d: %d events stored, want %d", round, len(es), len(errs)/2)
		}
		for _, e := range es {
			if string(e.Payload) != string(es[0].Payload) || e.Intent.ID.IsZero() {
				t.Errorf("round %d: event %d is %s with intent %v", round, e.Position, e.Payload, e.Intent)
			}
		}
		for i, err := range errs {
			if err != nil && !errors.Is(err, intent.ErrEmbedding) {
				t.Errorf("round %d: writer %d: %v", round, i, err)
			}
		}
		both := write(draft("s", "test.happened", "a"), draft("s", "test.happened", "b"))
		both.Events[0].Embedding, both.Events[1].Embedding = []float32{1, 0, 0, 0}, []float32{1, 0, 0, 0, 0, 0, 0, 0}
		refused(t, j, both, intent.ErrEmbedding)
		closeOK(t, j)
	}
	j := open(t, "/data", journal.Options{Volume: disktest.New().Volume(), NewIntents: either})
	both := write(draft("s", "test.happened", "a"), draft("s", "test.happened", "b"))
	both.Events[0].Embedding, both.Events[1].Embedding = []float32{1, 0}, []float32{1, 0, 0}
	refused(t, j, both, intent.ErrEmbedding)
}

func TestFailureDoesNotWaitForIntents(t *testing.T) {
	release := make(chan struct{})
	l := leader(0.9)
	o := with(disktest.New(), &odd{Strategy: l, assign: func(a intent.Arrival) intent.Assignment {
		<-release
		return l.Assign(a)
	}})
	o.IntentBudget = time.Hour
	j := open(t, "/data", o)
	d := draft("s", "test.happened", "a")
	d.Embedding = []float32{1, 0, 0, 0, 0, 0, 0, 0}
	answered := make(chan error, 1)
	if err := j.Submit(t.Context(), write(d), func(_ journal.Receipt, err error) { answered <- err }); err != nil {
		t.Fatal(err)
	}
	for j.Position() == 0 {
		if e := addN(t, j, "s", 1)[0]; e.Position == 0 {
			t.Fatal("no position")
		}
	}
	j.FailStorage(errors.New("planted"))
	soon(t, "Failed", j.Failed())
	closed := make(chan error, 1)
	go func() { closed <- j.Close() }()
	if err := soon(t, "the end of Close", closed); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
	// The event is durable: both answers are true. None would not do.
	if err := soon(t, "an answer", answered); err != nil && !errors.Is(err, journal.ErrFatal) {
		t.Errorf("%v", err)
	}
	close(release)
}
