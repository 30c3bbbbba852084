package consumer_test

import (
	"path/filepath"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// A consumer by meaning is handed what is like its vector and nothing else,
// also after a restart.
func TestConsumerByMeaning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	like, err := intent.Quantize([]float32{1, 1, 0}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		j, err := journal.Open(dir, journal.Options{})
		if err != nil {
			t.Fatal(err)
		}
		set, err := consumer.Open(j)
		if err != nil {
			t.Fatal(err)
		}
		c, err := set.Create(t.Context(), consumer.Config{Name: "near", Query: journal.Query{Like: like, Min: 0.9}})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var want []events.ID
		for i, v := range [][]float32{{1, 0, 0}, {5, 5, 1}, nil, {-1, -1, 0}, {1, 0.9, 0}} {
			r, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: "a.b", Embedding: v}}})
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 || i == 4 {
				want = append(want, r.Events[0].ID)
			}
		}
		ds, err := c.Fetch(t.Context(), 10)
		if err != nil || len(ds) != len(want) {
			t.Fatalf("round %d: %d deliveries, want %d, %v", round, len(ds), len(want), err)
		}
		for i := range ds {
			if ds[i].Event.ID != want[i] {
				t.Errorf("round %d: delivery %d is %v", round, i, ds[i].Event.Position)
			}
			if err := ds[i].Ack(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A consumer by meaning compares with what is of the model of its vector, also
// when another model of that dimension comes.
func TestByMeaningKeepsItsModel(t *testing.T) {
	d := disktest.New()
	j, s := open(t, meaning(d))
	like, err := intent.Quantize(north, 3)
	ok(t, err)
	say(t, j, north)
	config := func(name string) consumer.Config {
		return consumer.Config{Name: name, Query: journal.Query{Like: like, Min: 0.9}}
	}
	create(t, s, config("first"))
	create(t, s, config("restarted"))
	_, err = j.ChangeModel(t.Context(), journal.Model{Name: "two", Dimension: 3}) // 2
	ok(t, err)
	say(t, j, north) // 3
	same(t, "by the model of before", tries(fetch(t, get(t, s, "first"), 10)), "1/1")
	shut(t, j, s)
	j, s = open(t, meaning(d))
	c := get(t, s, "restarted")
	if m := c.Info().Config.Query.Model; m != journal.UnnamedModel {
		t.Errorf("it is of %q", m)
	}
	same(t, "by the model of before, after a restart", tries(fetch(t, c, 10)), "1/1")
	same(t, "by the model of now", tries(fetch(t, create(t, s, config("second")), 10)), "3/1")
	bad := consumer.Config{Name: "bad", Query: journal.Query{Model: "two"}}
	if _, err := s.Create(t.Context(), bad); err == nil {
		t.Error("a model without a vector is taken")
	}
	shut(t, j, s)
}
