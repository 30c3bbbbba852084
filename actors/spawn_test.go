package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
)

func TestSpawnTwiceIsOneActor(t *testing.T) {
	j := memory(t)
	var inside, most atomic.Int32
	stock := newStock(func(*actors.Turn, Stock, stockCommand) {
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		inside.Add(-1)
	})
	a := clerk(nil)
	sys := start(t, j, actors.Options{}, stock, a)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			ref, err := stock.Spawn(sys, "apples")
			if err != nil {
				t.Error(err)
				return
			}
			ask(t, ref, Add{1})
		})
		wg.Go(func() {
			if err := a.Spawn(sys, "clerk"); err != nil {
				t.Error(err)
			}
		})
	}
	place(t, sys, "o1")
	wg.Wait()
	settle(t, sys)
	if n := most.Load(); n != 1 {
		t.Errorf("%d commands were decided at the same time", n)
	}
	if got := len(stream(t, j, "clerk")); got != 1 {
		t.Errorf("%d reactions to one event", got)
	}
	want := []actors.Info{{Name: "apples", Behaviour: "stock/1", State: "live"}, {Name: "clerk", Behaviour: "clerk/1", State: "live"}}
	if got := sys.Agents(); !slices.Equal(got, want) {
		t.Errorf("live are %+v, want %+v", got, want)
	}
	if s := foldStock(t, j, "apples"); s.Free != 50 {
		t.Errorf("state %+v", s)
	}

	if err := a.Spawn(sys, "apples"); !errors.Is(err, actors.ErrOtherBehaviour) || !strings.Contains(err.Error(), "stock/1") {
		t.Errorf("a clerk on a live stock: %v, want %v and which", err, actors.ErrOtherBehaviour)
	}
	if _, err := actors.SpawnRecorder(sys, "clerk"); !errors.Is(err, actors.ErrOtherBehaviour) {
		t.Errorf("a recorder on a live clerk: %v", err)
	}
}

func TestUnknownBehaviour(t *testing.T) {
	j := memory(t)
	stock, a := newStock(nil), clerk(nil)
	sys := start(t, j, actors.Options{}, stock, a)
	ask(t, spawnStock(t, sys, stock, "apples"), Add{1})
	must(t, a.Spawn(sys, "clerk"))
	place(t, sys, "o1")
	settle(t, sys)
	stopOK(t, sys)

	// One that is not registered cannot be spawned at all.
	sys = start(t, j, actors.Options{}, stock)
	if err := a.Spawn(sys, "clerk"); !errors.Is(err, actors.ErrUnknownBehaviour) || !strings.Contains(err.Error(), "clerk/1") {
		t.Errorf("%v, want %v and which", err, actors.ErrUnknownBehaviour)
	}
	stopOK(t, sys)

	// A stream that was begun by one that is not registered is left alone.
	newer := newStock(nil)
	newer.Version = 2
	newerClerk := clerk(nil)
	newerClerk.Version = 2
	for _, tt := range []struct {
		name string
		also []actors.Behaviour
		want error
	}{
		{"unregistered", nil, actors.ErrUnknownBehaviour},
		{"another", []actors.Behaviour{stock, a}, actors.ErrOtherBehaviour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := everything(t, j)
			sys := start(t, j, actors.Options{}, append(tt.also, newer, newerClerk)...)
			ref := spawnStock(t, sys, newer, "apples")
			for range 2 {
				if _, err := ref.Ask(within(t), Add{1}); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "stock/1") {
					t.Errorf("ask: %v, want %v and which", err, tt.want)
				}
			}
			if _, err := ref.State(within(t)); !errors.Is(err, tt.want) {
				t.Errorf("state: %v, want %v", err, tt.want)
			}
			place(t, sys, "o2")
			must(t, newerClerk.Spawn(sys, "clerk"))
			settle(t, sys)
			if info := sys.Agents()[1]; !strings.Contains(info.Failure, "clerk/1") {
				t.Errorf("the agent is said to be %+v, want why it could not recover", info)
			}
			stopOK(t, sys)
			if got := everything(t, j)[len(before):]; len(got) != 1 {
				t.Errorf("the refused actors journaled %v", kinds(got))
			}
		})
	}
	// The right one goes on where it was.
	sys = start(t, j, actors.Options{}, stock, a)
	must(t, a.Spawn(sys, "clerk"))
	settle(t, sys)
	if got := len(stream(t, j, "clerk")); got != 3 {
		t.Errorf("%d notes, want one for each order", got)
	}
}

func TestBadNames(t *testing.T) {
	stock, a := newStock(nil), clerk(nil)
	sys := start(t, memory(t), actors.Options{}, stock, a)
	for _, name := range []string{"", "$bus", "a\x00b", strings.Repeat("x", 257), "\xff"} {
		_, err := stock.Spawn(sys, name)
		_, rerr := actors.SpawnRecorder(sys, name)
		for _, err := range []error{err, rerr, a.Spawn(sys, name)} {
			if !errors.Is(err, events.ErrInvalid) {
				t.Errorf("name %.10q: %v, want %v", name, err, events.ErrInvalid)
			}
		}
	}
	if live := sys.Agents(); len(live) != 0 {
		t.Errorf("live are %v", live)
	}
}

func TestRegistryPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"twice":                func() { actors.NewRegistry(clerk(nil), clerk(nil)) },
		"version 0":            func() { a := clerk(nil); a.Version = 0; actors.NewRegistry(a) },
		"no name":              func() { a := clerk(nil); a.Name = ""; actors.NewRegistry(a) },
		"slash":                func() { a := clerk(nil); a.Name = "a/b"; actors.NewRegistry(a) },
		"system":               func() { a := clerk(nil); a.Name = "toka.x"; actors.NewRegistry(a) },
		"no patterns":          func() { a := clerk(nil); a.On = nil; actors.NewRegistry(a) },
		"no React":             func() { a := clerk(nil); a.React = nil; actors.NewRegistry(a) },
		"no Decide":            func() { r := newStock(nil); r.Decide = nil; actors.NewRegistry(r) },
		"no Evolve":            func() { r := newStock(nil); r.Evolve = nil; actors.NewRegistry(r) },
		"no codec":             func() { r := newStock(nil); r.Events = nil; actors.NewRegistry(r) },
		"start without either": func() { _, _ = actors.Start(nil, nil, actors.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "actors: ") {
					t.Errorf("panic %q, want one that begins with the package's name", p)
				}
			}()
			f()
		})
	}
	r := actors.NewRegistry(newStock(nil), clerk(nil))
	if got, want := r.Behaviours(), []string{"clerk/1", "stock/1", "toka.recorder/1"}; !slices.Equal(got, want) {
		t.Errorf("registered are %v, want %v", got, want)
	}
}
