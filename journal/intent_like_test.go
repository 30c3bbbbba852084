package journal_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// Whatever is asked by meaning is what the definition says, alone and with
// other filters, in either direction, and as it comes.
func TestQueryByMeaning(t *testing.T) {
	j := open(t, "/data", making(disktest.New(), twoPhase))
	for i := range 300 {
		d := wanderer(i)
		d.Stream = fmt.Sprint("s", i%3)
		add(t, j, d)
	}
	like, err := intent.Quantize(wandering(rand.New(rand.NewPCG(5, 5)), 0), dim)
	if err != nil {
		t.Fatal(err)
	}
	near := func(position uint64) float64 {
		v, err := j.Vector(t.Context(), position)
		if err != nil {
			t.Fatal(err)
		}
		if v == nil {
			return -2
		}
		var product, a, b float64
		for i := range v {
			product += float64(v[i]) * float64(like[i])
			a += float64(v[i]) * float64(v[i])
			b += float64(like[i]) * float64(like[i])
		}
		return product / math.Sqrt(a*b)
	}
	found := 0
	for _, q := range []journal.Query{
		{Min: 0.5},
		{Min: 0.9},
		{Min: -1},
		{Min: 1.1},
		{Min: 0.5, Stream: "s1"},
		{Min: 0.5, Backwards: true},
		{Min: 0.5, Limit: 7},
		{Min: 0.5, After: 100, Before: 200},
		{Min: 0.5, Backwards: true, Stream: "s2", Limit: 5},
		{Min: 0.3, Intent: everything(t, j)[0].Intent.ID},
		{Min: 0.3, Kinds: []events.Pattern{events.MustPattern("other.>")}},
	} {
		q.Like = like
		plain := q
		plain.Like, plain.Min, plain.Limit = nil, 0, 0
		var want []events.Event
		for _, e := range all(t, j.Read(t.Context(), plain)) {
			if near(e.Position) >= q.Min && (q.Limit == 0 || len(want) < q.Limit) {
				want = append(want, e)
			}
		}
		sameEvents(t, fmt.Sprintf("%+v", q), all(t, j.Read(t.Context(), q)), want)
		found += len(want)
	}
	if found < 300 {
		t.Errorf("only %d were found in all", found)
	}
	if got := all(t, j.Read(t.Context(), journal.Query{Like: intent.Vector{32767}})); len(got) != 0 {
		t.Errorf("%d are like a vector of another dimension", len(got))
	}

	// What comes is followed, also what is embedded later.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	got := make(chan events.Event)
	go func() {
		for e, err := range j.Subscribe(ctx, journal.Query{Like: like, Min: 0.99, After: j.Position()}) {
			if err != nil {
				return
			}
			got <- e
		}
	}()
	exact := make([]float32, dim)
	for i := range exact {
		exact[i] = float32(like[i])
	}
	d := draft("s", "test.happened", "like it")
	d.Embedding = exact
	add(t, j, draft("s", "test.happened", "no vector"))
	if e := add(t, j, d)[0]; soon(t, "what is like it", got).ID != e.ID {
		t.Error("another event came")
	}
	late, err := j.EmbedEvent(t.Context(), 4, exact)
	if err != nil {
		t.Fatal(err)
	}
	if soon(t, "what was embedded later", got).ID != late.ID {
		t.Error("another event came")
	}
}
