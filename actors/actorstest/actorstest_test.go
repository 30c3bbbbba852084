package actorstest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/actors/actorstest"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/supervisor"
)

// A counter of these tests is counted up by commands.
type (
	Add    struct{ N int }
	Added  struct{ N int }
	Lossy  struct{ N, lost int }
	Placed struct{ ID string }
	Noted  struct{ Text string }
)

var (
	errNegative = errors.New("negative")
	placed      = events.NewType[Placed]("order.placed", 1)
	noted       = events.NewType[Noted]("clerk.noted", 1)
	filed       = events.NewType[Noted]("clerk.filed", 1)
	lossy       = events.NewType[Lossy]("lossy", 1)
)

var counter = &actors.Resource[map[string]int, Add, Added]{
	Name: "counter", Version: 1,
	Commands: events.NewType[Add]("counter.add", 1),
	Events:   events.NewType[Added]("counter.added", 1),
	Decide: func(_ *actors.Turn, _ map[string]int, c Add) ([]Added, error) {
		switch {
		case c.N < 0:
			return nil, fmt.Errorf("%d: %w", c.N, errNegative)
		case c.N == 0:
			return nil, nil
		}
		return []Added{Added(c)}, nil
	},
	Evolve: func(s map[string]int, e Added) map[string]int {
		s = maps.Clone(s)
		if s == nil {
			s = map[string]int{}
		}
		s["sum"] += e.N
		return s
	},
}

var clerk = &actors.Agent[int]{
	Name: "clerk", Version: 1, On: []string{"order.placed"},
	React: func(t *actors.Turn, n int, e events.Event) error {
		o, err := placed.Decode(e)
		if err == nil && o.ID == "" {
			err = errors.New("an order needs an id")
		}
		if err != nil {
			return err
		}
		return actors.Emit(t, noted, Noted{fmt.Sprintf("%d: %s", n, o.ID)})
	},
	Evolve: func(n int, _ events.Event) int { return n + 1 },
}

// spy takes the place of a test that is meant to fail.
type spy struct {
	testing.TB
	said []string
}

func (s *spy) Errorf(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}
func (s *spy) Helper() {}

// caught is what f tells a test.
func caught(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	s := &spy{TB: t}
	f(s)
	return strings.Join(s.said, "; ")
}

func TestGiven(t *testing.T) {
	actorstest.Given(t, counter, Added{1}, Added{2}).When(Add{3}).Then(Added{3}).ThenState(map[string]int{"sum": 6})
	actorstest.Given(t, counter).When(Add{0}).Then()
	actorstest.Given(t, counter, Added{1}).When(Add{-1}).ThenRejected(errNegative).ThenState(map[string]int{"sum": 1})
	actorstest.Given(t, counter).When(Add{1}).Then(Added{1}).When(Add{2}).Then(Added{2}).ThenState(map[string]int{"sum": 3})
	for name, c := range map[string]struct {
		f    func(t testing.TB)
		want string
	}{
		"other events": {func(t testing.TB) { actorstest.Given(t, counter).When(Add{1}).Then(Added{2}) }, "want"},
		"no events":    {func(t testing.TB) { actorstest.Given(t, counter).When(Add{1}).Then() }, "want"},
		"no rejection": {func(t testing.TB) { actorstest.Given(t, counter).When(Add{1}).ThenRejected(nil) }, "rejection"},
		"another":      {func(t testing.TB) { actorstest.Given(t, counter).When(Add{-1}).ThenRejected(context.Canceled) }, "rejection"},
		"a rejection":  {func(t testing.TB) { actorstest.Given(t, counter).When(Add{-1}).Then() }, "not decided"},
		"a state":      {func(t testing.TB) { actorstest.Given(t, counter).When(Add{1}).ThenState(nil) }, "the state is"},
	} {
		if said := caught(t, c.f); !strings.Contains(said, c.want) {
			t.Errorf("%s: the test was told %q", name, said)
		}
	}
}

func TestGivenAgent(t *testing.T) {
	order := func(id string) events.Draft { return actorstest.Draft(t, placed, Placed{id}) }
	note := func(text string) events.Draft { return actorstest.Draft(t, noted, Noted{text}) }
	actorstest.GivenAgent(t, clerk).WhenEvent(order("a")).ThenEmits(note("0: a"))
	actorstest.GivenAgent(t, clerk, note("x"), note("y")).WhenEvent(order("a")).ThenEmits(note("2: a")).WhenEvent(order("b")).ThenEmits(note("3: b"))
	actorstest.GivenAgent(t, clerk).WhenEvent(order("")).ThenFails()
	if said := caught(t, func(t testing.TB) { actorstest.GivenAgent(t, clerk).WhenEvent(order("a")).ThenEmits() }); !strings.Contains(said, "clerk.noted") {
		t.Errorf("the test was told %q", said)
	}
	if said := caught(t, func(t testing.TB) { actorstest.GivenAgent(t, clerk).WhenEvent(order("a")).ThenFails() }); !strings.Contains(said, "did not fail") {
		t.Errorf("the test was told %q", said)
	}
	if said := caught(t, func(t testing.TB) { actorstest.GivenAgent(t, clerk).WhenEvent(order("")).ThenEmits() }); !strings.Contains(said, "an order needs an id") {
		t.Errorf("the test was told %q", said)
	}
}

func TestWhatIsLostInEncodingIsFound(t *testing.T) {
	actorstest.RoundTrip(t, lossy, Lossy{N: 1})
	if said := caught(t, func(t testing.TB) { actorstest.RoundTrip(t, lossy, Lossy{1, 2}) }); !strings.Contains(said, "after it was encoded") {
		t.Errorf("the test was told %q", said)
	}
	r := &actors.Resource[Lossy, Add, Added]{
		Name: "lossy", Version: 1, Commands: counter.Commands, Events: counter.Events,
		Decide: func(_ *actors.Turn, _ Lossy, c Add) ([]Added, error) { return []Added{Added(c)}, nil },
		Evolve: func(s Lossy, e Added) Lossy { return Lossy{s.N + e.N, 1} },
	}
	if said := caught(t, func(t testing.TB) { actorstest.Given(t, r).When(Add{1}).ThenState(Lossy{1, 1}) }); !strings.Contains(said, "after it was encoded") {
		t.Errorf("the test was told %q", said)
	}
	// What is kept as a snapshot is looked at unasked.
	r.Snapshots = actors.Snapshots[Lossy]{Version: 1, Every: 10}
	if said := caught(t, func(t testing.TB) { actorstest.Given(t, r).When(Add{1}).Then(Added{1}) }); !strings.Contains(said, "after it was encoded") {
		t.Errorf("of a snapshot, the test was told %q", said)
	}
	a := &actors.Agent[Lossy]{
		Name: "lossy", Version: 1, On: []string{"guest.came"}, Snapshots: actors.Snapshots[Lossy]{Version: 1, AtRest: true},
		React:  func(t *actors.Turn, _ Lossy, _ events.Event) error { return actors.Emit(t, filed, Noted{"x"}) },
		Evolve: func(s Lossy, _ events.Event) Lossy { return Lossy{s.N + 1, 1} },
	}
	if said := caught(t, func(t testing.TB) { actorstest.GivenAgent(t, a).WhenEvent(events.Draft{Kind: "guest.came"}) }); !strings.Contains(said, "after it was encoded") {
		t.Errorf("of an agent's snapshot, the test was told %q", said)
	}
}

// A resource that does not do when it is folded what it did when it decided is
// found.
func TestStateThatFoldsToAnother(t *testing.T) {
	n := 0
	r := &actors.Resource[int, Add, Added]{
		Name: "fickle", Version: 1, Commands: counter.Commands, Events: counter.Events,
		Decide: func(_ *actors.Turn, _ int, c Add) ([]Added, error) { return []Added{Added(c)}, nil },
		Evolve: func(s int, e Added) int { n++; return s + e.N + n },
	}
	if said := caught(t, func(t testing.TB) { actorstest.Given(t, r).When(Add{1}).Then(Added{1}) }); !strings.Contains(said, "when it is folded from the journal") {
		t.Errorf("the test was told %q", said)
	}
}

// happened is what a World did: whose turns, and what is in its journal.
func happened(w *actorstest.World) (out []string) {
	for e, err := range w.Journal.ReadStream(context.Background(), "log", 0) {
		if err != nil {
			return nil
		}
		out = append(out, string(e.Payload))
	}
	return append(out, w.Trace()...)
}

// play has agents that hear the same and tell one of them what they heard.
func play(t *testing.T, seed uint64) (out []string) {
	synctest.Test(t, func(t *testing.T) {
		log := &actors.Agent[struct{}]{
			Name: "log", Version: 1, On: []string{"clerk.noted"},
			React: func(t *actors.Turn, _ struct{}, e events.Event) error {
				return actors.Emit(t, filed, Noted{e.Stream + " " + string(e.Payload)})
			},
		}
		w := actorstest.NewWorld(t, seed, actors.Options{}, clerk, log)
		for _, name := range []string{"a", "b", "c", "d"} {
			if err := clerk.Spawn(w.System, name); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Spawn(w.System, "log"); err != nil {
			t.Fatal(err)
		}
		w.Run()
		for i := range 3 {
			d := actorstest.Draft(t, placed, Placed{fmt.Sprint(i)})
			d.ID = events.IngestedID("actorstest", fmt.Sprint(i))
			w.Publish("shop", d)
		}
		out = happened(w)
		w.Close()
	})
	return out
}

func TestSameSeedSameOrder(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(8) {
		first := play(t, seed)
		if len(first) < 12 {
			t.Fatalf("seed %d: %v", seed, first)
		}
		for range 3 {
			if again := play(t, seed); !slices.Equal(first, again) {
				t.Fatalf("seed %d: first\n%v\nthen\n%v", seed, first, again)
			}
		}
		orders[strings.Join(first, "\n")] = true
	}
	if len(orders) < 6 {
		t.Errorf("8 seeds gave %d orders", len(orders))
	}
}

func TestWorldTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		sleeper := &actors.Agent[struct{}]{
			Name: "sleeper", Version: 1, On: []string{"order.placed", "clerk.noted"},
			React: func(t *actors.Turn, _ struct{}, e events.Event) error {
				if e.Kind == "clerk.noted" {
					return actors.Emit(t, filed, Noted{"woke"})
				}
				if tries++; tries < 3 {
					return errors.New("not yet")
				}
				return actors.SetTimer(t, noted, "alarm", t.Now().Add(24*time.Hour), Noted{"wake"})
			},
		}
		backoff := supervisor.Policy{Backoff: supervisor.Backoff{Initial: time.Minute, Jitter: -1}}
		w := actorstest.NewWorld(t, 1, actors.Options{Supervision: backoff}, sleeper)
		if err := sleeper.Spawn(w.System, "s"); err != nil {
			t.Fatal(err)
		}
		p := actorstest.NewProbe(t, w.Journal, "clerk.filed")
		w.Publish("shop", actorstest.Draft(t, placed, Placed{"o1"}))
		if w.Advance(3 * time.Minute); tries != 3 {
			t.Errorf("%d tries after the backoff", tries)
		}
		p.None(0)
		w.Advance(23 * time.Hour)
		p.None(0)
		w.Advance(2 * time.Hour)
		if e := p.Next(time.Second); string(e.Payload) != `{"Text":"woke"}` {
			t.Errorf("there is %s", e.Payload)
		}
		if _, ok := w.Step(); ok {
			t.Error("there was a turn left to run")
		}
		w.Close()
	})
}
