package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// fragile is an agent that notes orders, and is given up at once when an order
// is named like it.
func fragile() *actors.Agent[struct{}] {
	return actors.NewAgent("fragile", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		if strings.HasPrefix(o.ID, t.Agent()+" ") {
			return errors.New("as planned")
		}
		return actors.Emit(t, noted, Note{o.ID})
	})
}

// brittle gives an actor up at its first failure.
func brittle() actors.Options {
	return actors.Options{Supervision: supervisor.Policy{MaxRestarts: supervisor.None, MaxAttempts: 1}}
}

// ends collects terminations.
type ends struct {
	mu sync.Mutex
	ts []actors.Termination
}

func (e *ends) note(t actors.Termination) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ts = append(e.ts, t)
}

func (e *ends) names() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.ts {
		how := "!"
		if t.Normal {
			how = ""
		}
		out = append(out, t.Agent+how)
	}
	return out
}

func live(sys *actors.System) (names []string) {
	for _, i := range sys.Agents() {
		if i.Failure == "" || i.State == "live" {
			names = append(names, i.Name)
		}
	}
	return names
}

func TestTreeRestartsItsChildren(t *testing.T) {
	for _, c := range []struct {
		strategy supervisor.Strategy
		ends     []string // when b fails
	}{
		{supervisor.OneForOne, []string{"b!"}},
		{supervisor.RestForOne, []string{"b!", "c"}},
		{supervisor.AllForOne, []string{"b!", "c", "a"}},
	} {
		t.Run(c.strategy.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := memory(t)
				a := fragile()
				var mended atomic.Bool
				breaks := a.React
				a.React = func(tu *actors.Turn, s struct{}, e events.Event) error {
					if !mended.Load() {
						return breaks(tu, s, e)
					}
					o, err := placed.Decode(e)
					if err != nil {
						return err
					}
					return actors.Emit(tu, noted, Note{o.ID})
				}
				sys := start(t, j, brittle(), a)
				seen := &ends{}
				for _, name := range []string{"a", "b", "c"} {
					defer sys.Watch(name, seen.note)()
				}
				_, err := sys.Supervise(actors.Tree{
					Name: "top", Strategy: c.strategy, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1},
					Children: []actors.ChildSpec{a.Child("a"), a.Child("b"), a.Child("c")},
				})
				must(t, err)
				settle(t, sys)
				place(t, sys, "one")
				settle(t, sys)
				place(t, sys, "b fails")
				synctest.Wait()
				place(t, sys, "two")
				time.Sleep(999 * time.Millisecond)
				synctest.Wait()
				if got := notes(t, j, "b"); !slices.Equal(got, []string{"one"}) {
					t.Errorf("before it is back, b noted %v", got)
				}
				if got := seen.names(); !slices.Equal(got, c.ends) {
					t.Errorf("ended are %v, want %v", got, c.ends)
				}
				// What broke it comes again, and breaks it again; this time it
				// is as good as any.
				mended.Store(true)
				time.Sleep(time.Second)
				synctest.Wait()
				settle(t, sys)
				for _, name := range []string{"a", "b", "c"} {
					if got := notes(t, j, name); !slices.Equal(got, []string{"one", "b fails", "two"}) {
						t.Errorf("%s noted %v", name, got)
					}
				}
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

// Beyond its intensity a tree stops its children in reverse and fails; what is
// above it decides, and at the root the system ends.
func TestEscalationEndsAtTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		a := fragile()
		opts := brittle()
		ended := make(chan error, 2)
		opts.OnEnd = func(err error) { ended <- err }
		sys := start(t, j, opts, a)
		seen := &ends{}
		for _, name := range []string{"a", "b", "c", "d"} {
			defer sys.Watch(name, seen.note)()
		}
		_, err := sys.Supervise(actors.Tree{
			Name: "top", MaxRestarts: 1, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1},
			Children: []actors.ChildSpec{
				a.Child("a"),
				{Tree: &actors.Tree{
					Name: "inner", MaxRestarts: 2, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1},
					Children: []actors.ChildSpec{a.Child("b"), a.Child("c"), a.Child("d")},
				}},
			},
		})
		must(t, err)
		settle(t, sys)
		place(t, sys, "c fails") // and again, each time that it is back
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case err = <-ended:
		default:
			t.Fatalf("the system did not end; ended are %v", seen.names())
		}
		if !errors.Is(err, actors.ErrSupervisor) || !strings.Contains(err.Error(), `supervisor "inner"`) || !strings.Contains(err.Error(), "as planned") {
			t.Errorf("it ended with %v", err)
		}
		inner := []string{"c!", "c!", "c!", "d", "b"}
		if got, want := seen.names(), append(slices.Concat(inner, inner), "a"); !slices.Equal(got, want) {
			t.Errorf("ended are %v, want %v", got, want)
		}
		if err := a.Spawn(sys, "late"); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("spawn: %v, want %v", err, actors.ErrStopped)
		}
		if err := sys.Settle(t.Context()); !errors.Is(err, actors.ErrSupervisor) {
			t.Errorf("settle: %v, want %v", err, actors.ErrSupervisor)
		}
		stopOK(t, sys)
		if len(ended) != 0 {
			t.Errorf("told twice: %v", <-ended)
		}
		closeOK(t, j)
	})
}

func TestChildrenEndAsTheyAreMeantTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		a := fragile()
		sys := start(t, j, brittle(), a)
		sup, err := sys.Supervise(actors.Tree{Name: "top", Strategy: supervisor.Dynamic})
		must(t, err)
		for name, when := range map[string]supervisor.When{"permanent": supervisor.Permanent, "transient": supervisor.Transient, "temporary": supervisor.Temporary} {
			c := a.Child(name)
			c.Restart = when
			must(t, sup.Start(c))
			if err := sup.Start(c); err == nil {
				t.Errorf("%s was started twice", name)
			}
		}
		settle(t, sys)
		for _, name := range []string{"permanent", "transient", "temporary"} {
			must(t, sys.StopActor(t.Context(), name))
		}
		time.Sleep(time.Minute)
		settle(t, sys)
		if got := live(sys); !slices.Equal(got, []string{"permanent"}) {
			t.Errorf("live are %v", got)
		}
		must(t, sup.StopChild(t.Context(), "permanent"))
		time.Sleep(time.Minute)
		if got := live(sys); len(got) != 0 {
			t.Errorf("live are %v", got)
		}
		if err := sup.StopChild(t.Context(), "permanent"); err == nil {
			t.Error("a child that is not there was stopped")
		}
		stopOK(t, sys)
		if err := sup.Start(a.Child("late")); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("start: %v, want %v", err, actors.ErrStopped)
		}
		closeOK(t, j)
	})
}

// A system stops its trees from the end to the beginning.
func TestStopIsInReverse(t *testing.T) {
	j := memory(t)
	a := fragile()
	sys := start(t, j, actors.Options{}, a)
	seen := &ends{}
	told := make(chan struct{}, 9)
	var tree actors.Tree
	for i := range 9 {
		name := fmt.Sprint(i)
		sys.Watch(name, func(e actors.Termination) { seen.note(e); told <- struct{}{} })
		tree.Children = append(tree.Children, a.Child(name))
	}
	tree.Name = "top"
	sup, err := sys.Supervise(tree)
	must(t, err)
	order := []string{}
	for i := range 9 {
		must(t, sup.StopChild(within(t), fmt.Sprint(8-i)))
		soon(t, "an end", told)
		order = append(order, fmt.Sprint(8-i))
	}
	if got := seen.names(); !slices.Equal(got, order) {
		t.Errorf("ended are %v", got)
	}
}

func TestSuperviseRefuses(t *testing.T) {
	j := memory(t)
	a := fragile()
	sys := start(t, j, actors.Options{}, a)
	stranger := clerk(nil)
	if _, err := sys.Supervise(actors.Tree{Name: "top", Children: []actors.ChildSpec{a.Child("a"), stranger.Child("b")}}); !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Errorf("a child of an unknown behaviour: %v", err)
	}
	if got := live(sys); len(got) != 0 {
		t.Errorf("left running are %v", got)
	}
	_, err := sys.Supervise(actors.Tree{Name: "one", Children: []actors.ChildSpec{a.Child("a")}})
	must(t, err)
	if _, err := sys.Supervise(actors.Tree{Name: "two", Children: []actors.ChildSpec{a.Child("a")}}); err == nil {
		t.Error("two supervisors have one child")
	}
	for name, tree := range map[string]actors.Tree{
		"no name":  {},
		"strategy": {Name: "x", Strategy: 9},
		"dynamic":  {Name: "x", Strategy: supervisor.Dynamic, Children: []actors.ChildSpec{a.Child("c")}},
		"no child": {Name: "x", Children: []actors.ChildSpec{{}}},
	} {
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "actors: ") && !strings.HasPrefix(p, "actors: Supervise") {
					t.Errorf("%s: it panicked with %q", name, p)
				}
			}()
			_, _ = sys.Supervise(tree)
		}()
	}
}

func TestLink(t *testing.T) {
	j := memory(t)
	a := fragile()
	sys := start(t, j, brittle(), a)
	for _, name := range []string{"a", "b", "c"} {
		must(t, a.Spawn(sys, name))
	}
	failed := make(chan actors.Termination, 1)
	sys.Watch("b", func(e actors.Termination) { failed <- e })
	sys.Link("a", "b")
	sys.Link("a", "c")
	must(t, sys.StopActor(within(t), "c")) // that is no failure
	place(t, sys, "a fails")
	if e := soon(t, "the other's end", failed); e.Normal || !strings.Contains(e.Reason, `linked to "a"`) || !strings.Contains(e.Reason, "as planned") {
		t.Errorf("b ended as %+v", e)
	}
}

// A watcher that panics or ends its goroutine keeps nobody from being told.
func TestWatcherThatPanics(t *testing.T) {
	a := clerk(nil)
	sys := start(t, memory(t), actors.Options{}, a)
	told := make(chan string, 3)
	for _, name := range []string{"a", "b", "c"} {
		must(t, a.Spawn(sys, name))
		sys.Watch(name, func(e actors.Termination) {
			told <- e.Agent
			switch name {
			case "a":
				panic("at the end of a")
			case "b":
				runtime.Goexit()
			}
		})
	}
	for _, name := range []string{"a", "b", "c"} {
		must(t, sys.StopActor(within(t), name))
		if got := soon(t, "the end of "+name, told); got != name {
			t.Errorf("told of %s, want %s", got, name)
		}
	}
}

// An actor that was given up is revived by spawning it, and misses nothing.
func TestGivenUpActorIsRevived(t *testing.T) {
	j := memory(t)
	broken := true
	a := clerk(func(*actors.Turn, events.Event) error {
		if broken {
			return errors.New("no ink")
		}
		return nil
	})
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		if broken {
			panic("no shelf")
		}
	})
	sys := start(t, j, brittle(), a, stock)
	must(t, a.Spawn(sys, "clerk"))
	ref := spawnStock(t, sys, stock, "apples")
	place(t, sys, "o1")
	place(t, sys, "o2")
	settle(t, sys)
	for range 2 {
		if _, err := ref.Ask(within(t), Add{1}); !errors.Is(err, actors.ErrStopped) {
			t.Errorf("%v, want %v", err, actors.ErrStopped)
		}
	}
	place(t, sys, "o3")
	settle(t, sys)
	broken = false
	must(t, a.Spawn(sys, "clerk"))
	spawnStock(t, sys, stock, "apples")
	place(t, sys, "o4")
	ask(t, ref, Add{1})
	settle(t, sys)
	if got, want := notes(t, j, "clerk"), []string{"order o1", "order o2", "order o3", "order o4"}; !slices.Equal(got, want) {
		t.Errorf("notes are %v, want %v", got, want)
	}
}

// A stopped actor is gone, its place is stored, and its reference makes it
// live again.
func TestStopActor(t *testing.T) {
	j := memory(t)
	a := clerk(nil)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, a, stock)
	must(t, a.Spawn(sys, "clerk"))
	ref := spawnStock(t, sys, stock, "apples")
	for i := range 3 {
		orders(t, sys, 50)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					if _, err := ref.Ask(within(t), Add{1}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() { must(t, sys.StopActor(within(t), "apples")) })
		wg.Go(func() { must(t, sys.StopActor(within(t), "clerk")) })
		wg.Wait()
		must(t, sys.StopActor(within(t), "nobody"))
		must(t, a.Spawn(sys, "clerk"))
		settle(t, sys)
		if s := state(t, ref); s.Free != 80*(i+1) {
			t.Errorf("state %+v, want %d", s, 80*(i+1))
		}
		if got := notes(t, j, "clerk"); len(got) != 50*(i+1) {
			t.Errorf("%d notes, want %d", len(got), 50*(i+1))
		}
	}
}

// What a stopped actor did not come to is a dead letter, and its sender knows.
func TestDeadLetters(t *testing.T) {
	j := memory(t)
	hold, held := make(chan struct{}), make(chan struct{})
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		if c == (Add{100}) {
			close(held)
			<-hold
		}
	})
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, ref.Tell(within(t), Add{100}))
	soon(t, "the handler", held)
	id := journal.NewID()
	answers := make(chan error, 2)
	go func() { _, err := ref.Ask(t.Context(), Add{1}, actors.WithCommandID(id)); answers <- err }()
	waiting(t, sys, "apples", 1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sys.StopActor(gone, "apples"); !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if err := soon(t, "the answer", answers); !errors.Is(err, actors.ErrStopped) {
		t.Errorf("the sender was told %v, want %v", err, actors.ErrStopped)
	}
	if _, err := stock.Spawn(sys, "apples"); !errors.Is(err, actors.ErrStopped) {
		t.Errorf("twice at once: %v", err)
	}
	close(hold)
	must(t, sys.StopActor(within(t), "apples"))
	settle(t, sys)
	es := stream(t, j, "$deadletters")
	if len(es) != 1 || es[0].Kind != "toka.agent.deadletter" {
		t.Fatalf("dead letters are %v", kinds(es))
	}
	var p struct {
		Agent, Kind, ID, Reason string
		Command                 []byte
	}
	must(t, json.Unmarshal(es[0].Payload, &p))
	if p.Agent != "apples" || p.Kind != "stock.add" || p.ID != id.String() || string(p.Command) != `{"N":1}` || p.Reason == "" {
		t.Errorf("the dead letter is %+v", p)
	}
	if s := state(t, ref); s.Free != 100 {
		t.Errorf("state %+v", s)
	}
}

// A resource that has nothing to do for long goes, and comes back with its
// state when somebody wants something of it.
func TestPassivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		stock, a := newStock(nil), clerk(nil)
		sys := start(t, j, actors.Options{PassivateAfter: time.Minute}, stock, a)
		must(t, a.Spawn(sys, "clerk"))
		idle, used := spawnStock(t, sys, stock, "idle"), spawnStock(t, sys, stock, "used")
		_, err := sys.Supervise(actors.Tree{Name: "top", Children: []actors.ChildSpec{stock.Child("kept")}})
		must(t, err)
		ask(t, idle, Add{1})
		for range 4 {
			time.Sleep(30 * time.Second)
			ask(t, used, Add{1})
		}
		synctest.Wait()
		if got := live(sys); !slices.Equal(got, []string{"clerk", "kept", "used"}) {
			t.Errorf("live are %v", got)
		}
		ask(t, idle, Add{1})
		if s := state(t, idle); s.Free != 2 {
			t.Errorf("state %+v", s)
		}
		if got := live(sys); !slices.Equal(got, []string{"clerk", "idle", "kept", "used"}) {
			t.Errorf("live are %v", got)
		}
		stopOK(t, sys)
		closeOK(t, j)
	})
}
