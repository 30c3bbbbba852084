package consumer_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// meaning is a journal on d that assigns intents.
func meaning(d *disktest.Disk) journal.Options {
	o := on(d)
	o.NewIntents = func(_ string, dim int) intent.Strategy { return cluster.NewLeader(cluster.Options{Dimension: dim}) }
	return o
}

var north, east, south = []float32{1, 0, 0}, []float32{0, 1, 0}, []float32{-1, 0, 0}

// say appends an event with an embedding, or without.
func say(t testing.TB, j *journal.Journal, v []float32) events.Event {
	t.Helper()
	r, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: "a.said", Embedding: v}}})
	ok(t, err)
	return r.Events[0]
}

func ack(t testing.TB, ds []consumer.Delivery) {
	t.Helper()
	for _, d := range ds {
		ok(t, d.Ack(t.Context()))
	}
}

// A consumer by intent is handed what was assigned before, what is assigned while
// it waits, and after a restart what it did not acknowledge and no more.
func TestConsumerByIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, meaning(d))
		id := say(t, j, north).Intent.ID
		say(t, j, east)
		say(t, j, nil)
		say(t, j, north)
		config := consumer.Config{Name: "norths", Query: journal.Query{Intent: id}}
		c := create(t, s, config)
		ds := fetch(t, c, 10)
		same(t, "what was there", tries(ds), "1/1", "4/1")
		for _, d := range ds {
			if d.Event.Intent.ID != id {
				t.Errorf("event %d came with intent %v", d.Event.Position, d.Event.Intent)
			}
		}
		ack(t, ds)
		came := make(chan []consumer.Delivery)
		go func() {
			ds, err := c.Fetch(t.Context(), 10)
			if err != nil {
				t.Error(err)
			}
			came <- ds
		}()
		say(t, j, east)
		synctest.Wait()
		say(t, j, north)
		ds = <-came
		same(t, "what comes", tries(ds), "6/1")
		say(t, j, north)
		if _, err := s.Create(t.Context(), consumer.Config{Name: "norths"}); err == nil {
			t.Error("another filter is taken for the same")
		}
		shut(t, j, s)

		j, s = open(t, meaning(d))
		c = create(t, s, config)
		ack(t, fetch(t, c, 10)) // 7; 6 waits to come again
		say(t, j, nil)
		same(t, "when all was fetched", tries(fetch(t, c, 10)))
		if i := c.Info(); i.Open != 1 || i.Position != 8 || i.Config.Query.Intent != id {
			t.Errorf("it stands at %+v", i)
		}
		ok(t, s.Delete(t.Context(), "norths"))
		synctest.Wait()
		shut(t, j, s)
	})
}

// With everything that a filter can say, a consumer selects what a query does, in
// a stream of its own and not.
func TestConsumerByIntentSelectsAsAQueryDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, meaning(disktest.New()))
		like, err := intent.Quantize(north, 3)
		ok(t, err)
		id := say(t, j, north).Intent.ID
		for i := range 40 {
			v := [][]float32{north, east, nil, {1, 0.4, 0}}[i%4]
			_, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{
				Stream: fmt.Sprint("s", i%3), Kind: fmt.Sprint("kind.k", i%5), Correlation: fmt.Sprint(i % 2), Embedding: v,
			}}})
			ok(t, err)
		}
		for name, q := range map[string]journal.Query{
			"intent": {}, "stream": {Stream: "s1"}, "agent": {Agent: "s2"}, "kinds": kinds("kind.k1", "kind.k3"),
			"correlation": {Correlation: "0"}, "like": {Like: like, Min: 0.99}, "after": {After: 17}, "like in a stream": {Stream: "s0", Like: like, Min: 0.99},
		} {
			q.Intent = id
			var want []string
			for e, err := range j.Read(t.Context(), q) {
				ok(t, err)
				want = append(want, fmt.Sprintf("%d/1", e.Position))
			}
			if len(want) == 0 {
				t.Errorf("%s selects nothing: nothing is tried", name)
			}
			same(t, name, tries(fetch(t, create(t, s, consumer.Config{Name: name, Query: q}), 100)), want...)
		}
		shut(t, j, s)
	})
}

// By either name of a merged intent a consumer is handed what comes for it, and
// nothing that it has passed; one that begins later gets all of it.
func TestMergedIntents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, meaning(d))
		a, b := say(t, j, north).Intent.ID, say(t, j, east).Intent.ID
		byA := create(t, s, consumer.Config{Name: "a", Query: journal.Query{Intent: a}})
		byB := create(t, s, consumer.Config{Name: "b", Query: journal.Query{Intent: b}})
		for _, c := range []*consumer.Consumer{byA, byB} {
			ack(t, fetch(t, c, 10))
		}
		_, err := j.MergeIntents(t.Context(), b, a)
		ok(t, err)
		say(t, j, north) // 4
		say(t, j, east)  // 5
		say(t, j, south)
		synctest.Wait()
		for _, c := range []*consumer.Consumer{byA, byB} {
			ds := fetch(t, c, 10)
			same(t, c.Name(), tries(ds), "4/1", "5/1")
			ack(t, ds)
		}
		all := create(t, s, consumer.Config{Name: "all", Query: journal.Query{Intent: b}})
		same(t, "from the beginning", tries(fetch(t, all, 10)), "1/1", "2/1", "4/1", "5/1")
		shut(t, j, s)

		j, s = open(t, meaning(d))
		say(t, j, east) // 7
		for _, name := range []string{"a", "b", "all"} {
			same(t, name+" after a restart", tries(fetch(t, get(t, s, name), 10)), "7/1")
		}
		shut(t, j, s)
	})
}

// An event that is embedded after a consumer has passed it comes as the event that
// embedded it, by intent and by meaning.
func TestConsumerOfWhatIsEmbeddedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, meaning(disktest.New()))
		like, err := intent.Quantize(north, 3)
		ok(t, err)
		id := say(t, j, north).Intent.ID
		mute := say(t, j, nil)
		later := events.MustPattern(journal.KindIntentEmbedded)
		said := events.MustPattern("a.said")
		queries := map[string]journal.Query{
			"intent": {Intent: id}, "meaning": {Like: like, Min: 0.9}, "both": {Intent: id, Like: like, Min: 0.9},
			"named": {Intent: id, Kinds: []events.Pattern{said, later}},
			"kinds": {Intent: id, Kinds: []events.Pattern{said}}, "other": {Stream: "s"},
		}
		for name, q := range queries {
			ack(t, fetch(t, create(t, s, consumer.Config{Name: name, Query: q}), 10))
		}
		e, err := j.EmbedEvent(t.Context(), mute.Position, north)
		ok(t, err)
		synctest.Wait()
		for name := range queries {
			want := []string{fmt.Sprintf("%d/1", e.Position)}
			if name == "kinds" || name == "other" {
				want = nil
			}
			same(t, name, tries(fetch(t, get(t, s, name), 10)), want...)
		}
		shut(t, j, s)
	})
}

// stalled is a strategy that assigns nothing until it is let.
type stalled struct {
	intent.Strategy
	let chan struct{}
}

func (s *stalled) Assign(a intent.Arrival) intent.Assignment {
	<-s.let
	return s.Strategy.Assign(a)
}

// A consumer by intent passes no event that is not assigned yet, however long that
// takes, and holds up no other one.
func TestByIntentWaitsForTheAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, meaning(d))
		id := say(t, j, north).Intent.ID
		shut(t, j, s)

		let := make(chan struct{})
		o := on(d)
		o.IntentBudget = 1
		o.NewIntents = func(_ string, dim int) intent.Strategy {
			return &stalled{cluster.NewLeader(cluster.Options{Dimension: dim}), let}
		}
		j, s = open(t, o)
		c := create(t, s, consumer.Config{Name: "norths", Query: journal.Query{Intent: id, After: 1}})
		other := create(t, s, consumer.Config{Name: "other", Query: journal.Query{After: 1}})
		if e := say(t, j, north); !e.Intent.Pending {
			t.Fatalf("it is assigned: %+v", e.Intent)
		}
		say(t, j, nil)
		synctest.Wait()
		same(t, "of the others", tries(fetch(t, other, 10)), "2/1", "3/1")
		same(t, "before it is assigned", tries(fetch(t, c, 10)))
		if i := c.Info(); i.Position != 1 {
			t.Errorf("it has passed what is not assigned: %+v", i)
		}
		came := make(chan []consumer.Delivery)
		go func() {
			ds, err := c.Fetch(t.Context(), 10)
			if err != nil {
				t.Error(err)
			}
			came <- ds
		}()
		synctest.Wait() // and does not spin
		close(let)
		same(t, "when it is assigned", tries(<-came), "2/1")
		synctest.Wait()
		if i := c.Info(); i.Position != 3 {
			t.Errorf("it stands at %+v", i)
		}
		shut(t, j, s)
	})
}

// A consumer whose intent gets nothing comes forward all the same, also on disk
// and in a crash.
func TestByIntentComesForward(t *testing.T) {
	defer consumer.Small(50)()
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, meaning(d))
		id := say(t, j, north).Intent.ID
		c := create(t, s, consumer.Config{Name: "norths", Query: journal.Query{Intent: id, After: 1}})
		for range 60 {
			say(t, j, east)
			say(t, j, nil)
		}
		synctest.Wait()
		if i := c.Info(); i.Position != 121 || i.Lag != 0 {
			t.Errorf("it stands at %+v", i)
		}
		for _, at := range []*disktest.Disk{d.PowerCut(0, 1), d} {
			least := uint64(100)
			if at == d {
				shut(t, j, s)
				least = 121
			}
			j, s := open(t, meaning(at))
			cp, err := j.Checkpoint(t.Context(), "$consumer.at/norths")
			if err != nil || cp.Position < least || cp.Via != "" {
				t.Errorf("on disk it stands at %+v, %v, want at least %d", cp, err, least)
			}
			synctest.Wait()
			same(t, "there is nothing for it", tries(fetch(t, get(t, s, "norths"), 1)))
			say(t, j, north)
			same(t, "there is something for it", tries(fetch(t, get(t, s, "norths"), 1)), "122/1")
			shut(t, j, s)
		}
	})
}
