package actors_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// replay does the work of one stream again.
func replay(t *testing.T, j *journal.Journal, name string, bs ...actors.Behaviour) (ds []actors.Divergence, x *actors.Replica) {
	t.Helper()
	digests := map[uint64]journal.StateDigest{}
	for d, err := range j.StateDigests(t.Context(), name) {
		must(t, err)
		digests[d.StreamPosition] = d
	}
	x = actors.NewReplica(j, actors.NewRegistry(bs...), name)
	for _, e := range stream(t, j, name) {
		found, err := x.Next(t.Context(), e)
		must(t, err)
		ds = append(ds, found...)
		if d, ok := digests[e.StreamPosition]; ok {
			ds = append(ds, x.Check(d, e.Position)...)
		}
	}
	return append(ds, x.End()...), x
}

func TestReplicaOfHonestWork(t *testing.T) {
	j := memory(t)
	f := &failing{tries: map[string]int{"once": 1, "poison": 100, "gone": 1}, how: func(order string) {
		if order == "gone" {
			runtime.Goexit()
		}
		panic("as planned")
	}}
	stock := f.stock()
	var tries atomic.Int32
	a := counter()
	honest := a.React
	a.React = func(t *actors.Turn, n int, e events.Event) error {
		if e.StreamPosition == 2 && tries.Add(1) < 3 {
			return errors.New("not yet")
		}
		if err := honest(t, n, e); err != nil {
			return err
		}
		return actors.Emit(t, filed, Note{fmt.Sprint(t.Rand().IntN(1000), t.NewID(), t.Now())})
	}
	opts := quick(3)
	opts.DigestEvery = 1
	sys := start(t, j, opts, stock, a)
	outside(t, sys, "apples", Added{1})
	ref := spawnStock(t, sys, stock, "apples")
	must(t, a.Spawn(sys, "counter"))
	ask(t, ref, Add{10})
	ask(t, ref, Reserve{"once", 1})
	outside(t, sys, "apples", Reserved{"thief", 1})
	_, _ = ref.Ask(within(t), Reserve{"poison", 1})
	ask(t, ref, Reserve{"gone", 1})
	ask(t, ref, Reserve{"all", state(t, ref).Free})
	orders(t, sys, 4)
	settle(t, sys)
	_, err := sys.Publish(within(t), "counter", events.Draft{Kind: "remark"})
	must(t, err)
	orders(t, sys, 4)
	settle(t, sys)
	want := state(t, ref)
	stopOK(t, sys)

	ds, x := replay(t, j, "apples", stock, a)
	if len(ds) != 0 || x.Decided < 4 || x.Behaviour() != "stock/1" || !sameStock(x.State().(Stock), want) {
		t.Errorf("the stock: %v; decided %d, state %+v, want %+v", ds, x.Decided, x.State(), want)
	}
	ds, x = replay(t, j, "counter", stock, a)
	if len(ds) != 0 || x.Reactions != 8 || x.State() != 8 {
		t.Errorf("the agent: %v; reactions %d, state %v", ds, x.Reactions, x.State())
	}
	ds, x = replay(t, j, "shop", stock, a)
	if len(ds) != 0 || x.Behaviour() != "toka.recorder/1" || x.State() != nil {
		t.Errorf("an outside stream: %v, %s", ds, x.Behaviour())
	}
	x = actors.NewReplica(j, actors.NewRegistry(a), "apples")
	for _, e := range stream(t, j, "apples") {
		if _, err = x.Next(t.Context(), e); err != nil {
			break
		}
	}
	if !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Errorf("a replica without the behaviour: %v, want %v", err, actors.ErrUnknownBehaviour)
	}
}

func TestReplicaFindsPlantedFaults(t *testing.T) {
	j := memory(t)
	stock, a := newStock(nil), counter()
	sys := start(t, j, actors.Options{DigestEvery: 2}, stock, a)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, a.Spawn(sys, "counter"))
	ask(t, ref, Add{3})
	ask(t, ref, Reserve{"o1", 1})
	emptied := ask(t, ref, Reserve{"o2", 2}).Events[1] // two events
	released := ask(t, ref, Release{"o1"}).Events[0]
	orders(t, sys, 3)
	settle(t, sys)
	stopOK(t, sys)
	third := stream(t, j, "counter")[2]

	for _, tt := range []struct {
		name     string
		stream   string
		plant    func(*stockResource, *actors.Agent[int])
		position uint64
		field    string
	}{
		{"the clock", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			r.Decide = func(_ *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
				return decideStock(time.Now().Add(time.Hour), s, c)
			}
		}, emptied.Position, "payload"},
		{"another order", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			honest := r.Decide
			r.Decide = func(t *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
				es, err := honest(t, s, c)
				if len(es) == 2 { // as ranging over a map may do
					es[0], es[1] = es[1], es[0]
				}
				return es, err
			}
		}, emptied.Position - 1, "kind"},
		{"an event less", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			honest := r.Decide
			r.Decide = func(t *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
				es, err := honest(t, s, c)
				return es[:min(1, len(es))], err
			}
		}, emptied.Position, "events"},
		{"an event more", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			honest := r.Decide
			r.Decide = func(t *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
				es, err := honest(t, s, c)
				if _, ok := c.(Release); ok {
					es = append(es, Emptied{})
				}
				return es, err
			}
		}, released.Position, "events"},
		{"a changed Evolve", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			honest := r.Evolve
			r.Evolve = func(s Stock, e stockEvent) Stock {
				if _, ok := e.(Released); ok {
					return s
				}
				return honest(s, e)
			}
		}, released.Position, "state"},
		{"a changed React", "counter", func(_ *stockResource, a *actors.Agent[int]) {
			honest := a.React
			a.React = func(t *actors.Turn, n int, e events.Event) error {
				if n == 2 {
					n = 7
				}
				return honest(t, n, e)
			}
		}, third.Position, "payload"},
		{"a panic", "apples", func(r *stockResource, _ *actors.Agent[int]) {
			honest := r.Decide
			r.Decide = func(t *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
				if _, ok := c.(Release); ok {
					panic("a new bug")
				}
				return honest(t, s, c)
			}
		}, released.Position, "kind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, a := newStock(nil), counter()
			tt.plant(r, a)
			ds, _ := replay(t, j, tt.stream, r, a)
			if len(ds) == 0 {
				t.Fatal("nothing was found")
			}
			if d := ds[0]; d.Position != tt.position || d.Field != tt.field || d.Agent != tt.stream {
				t.Errorf("found %v, want position %d, field %s", d, tt.position, tt.field)
			}
			if s := ds[0].String(); !strings.Contains(s, fmt.Sprint("position ", tt.position)) || !strings.Contains(s, tt.field) {
				t.Errorf("it is told as %q", s)
			}
		})
	}
}
