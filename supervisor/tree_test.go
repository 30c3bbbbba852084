package supervisor_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/supervisor"
)

// children starts some, each written ID or ID:WHEN.
func children(t testing.TB, tree supervisor.Tree, written ...string) (cs supervisor.Children) {
	t.Helper()
	for _, w := range written {
		id, when, _ := strings.Cut(w, ":")
		c := supervisor.Child{ID: id}
		for _, r := range []supervisor.When{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
			if r.String() == when {
				c.Restart = r
			}
		}
		var err error
		if cs, err = tree.Add(cs, c); err != nil {
			t.Fatal(err)
		}
	}
	return cs
}

func TestStrategies(t *testing.T) {
	abc := []string{"a", "b", "c"}
	for _, c := range []struct {
		strategy supervisor.Strategy
		children []string
		exit     string // of ID, or ID! where it failed
		stop     string
		start    string
		running  string // afterwards
	}{
		{supervisor.OneForOne, abc, "b!", "", "b", "a b c"},
		{supervisor.OneForOne, abc, "b", "", "b", "a b c"},
		{supervisor.OneForOne, []string{"a", "b:transient", "c"}, "b!", "", "b", "a b c"},
		{supervisor.OneForOne, []string{"a", "b:transient", "c"}, "b", "", "", "a c"},
		{supervisor.OneForOne, []string{"a", "b:temporary", "c"}, "b!", "", "", "a c"},
		{supervisor.Dynamic, abc, "b!", "", "b", "a b c"},
		{supervisor.AllForOne, abc, "b!", "c a", "a b c", "a b c"},
		{supervisor.AllForOne, []string{"a", "b:transient", "c"}, "b", "", "", "a c"},
		{supervisor.AllForOne, []string{"a:temporary", "b", "c"}, "b!", "c a", "b c", "b c"},
		{supervisor.AllForOne, []string{"a:temporary", "b", "c"}, "a!", "", "", "b c"},
		{supervisor.RestForOne, abc, "a!", "c b", "a b c", "a b c"},
		{supervisor.RestForOne, abc, "b!", "c", "b c", "a b c"},
		{supervisor.RestForOne, abc, "c!", "", "c", "a b c"},
		{supervisor.RestForOne, []string{"a", "b", "c:temporary"}, "b!", "c", "b", "a b"},
		{supervisor.OneForOne, abc, "nobody!", "", "", "a b c"},
	} {
		tree := supervisor.Tree{Strategy: c.strategy, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1}}
		cs := children(t, tree, c.children...)
		id, failed := strings.CutSuffix(c.exit, "!")
		p, next := tree.Exited(cs, supervisor.Exit{Child: id, Normal: !failed, Reason: "it broke"}, start, 0)
		what := fmt.Sprintf("%v of %v, exit of %s", c.strategy, c.children, c.exit)
		if got := strings.Join(p.Stop, " "); got != c.stop {
			t.Errorf("%s: stop %q, want %q", what, got, c.stop)
		}
		if got := strings.Join(p.Start, " "); got != c.start {
			t.Errorf("%s: start %q, want %q", what, got, c.start)
		}
		if got := strings.Join(next.Running(), " "); got != c.running {
			t.Errorf("%s: %q run afterwards, want %q", what, got, c.running)
		}
		if want := map[bool]time.Duration{true: time.Second}[c.start != ""]; p.After != want || p.Fail || p.Reason == "" {
			t.Errorf("%s: %+v", what, p)
		}
		if got := strings.Join(cs.Running(), " "); got != "a b c" {
			t.Errorf("%s: what was given changed: %q", what, got)
		}
	}
}

// A transient child that ended is started again with its group.
func TestGroupIsStartedWhole(t *testing.T) {
	tree := supervisor.Tree{Strategy: supervisor.AllForOne}
	cs := children(t, tree, "a", "b:transient", "c")
	_, cs = tree.Exited(cs, supervisor.Exit{Child: "b", Normal: true}, start, 0)
	p, cs := tree.Exited(cs, supervisor.Exit{Child: "a"}, start, 0)
	if !slices.Equal(p.Stop, []string{"c"}) || !slices.Equal(p.Start, []string{"a", "b", "c"}) {
		t.Errorf("%+v", p)
	}
	if p, _ := tree.Exited(cs, supervisor.Exit{Child: "b", Normal: true}, start, 0); len(p.Start)+len(p.Stop) != 0 {
		t.Errorf("%+v", p)
	}
}

func TestTreeFails(t *testing.T) {
	for _, most := range []int{supervisor.None, 1, 3} {
		tree := supervisor.Tree{MaxRestarts: most, Window: time.Minute}
		cs := children(t, tree, "a", "b", "c")
		var p supervisor.Plan
		for range max(most, 0) {
			if p, cs = tree.Exited(cs, supervisor.Exit{Child: "b"}, start, 0); p.Fail {
				t.Fatalf("%d allowed: %+v", most, p)
			}
		}
		p, gone := tree.Exited(cs, supervisor.Exit{Child: "b", Reason: "it broke"}, start, 0)
		if !p.Fail || !slices.Equal(p.Stop, []string{"c", "a"}) || len(p.Start) != 0 || len(gone.Running()) != 0 || !strings.Contains(p.Reason, "it broke") {
			t.Errorf("%d allowed: %+v, %v run", most, p, gone.Running())
		}
		if p, _ = tree.Exited(cs, supervisor.Exit{Child: "b"}, start.Add(time.Minute+1), 0); p.Fail && most > 0 {
			t.Errorf("%d allowed, a window later: %+v", most, p)
		}
	}
}

func TestNone(t *testing.T) {
	p := supervisor.Policy{MaxRestarts: supervisor.None}
	if d, _ := p.Decide(supervisor.History{}, supervisor.Failure{Message: "m", Reason: "it broke"}, start, 0); d.Action != supervisor.Escalate {
		t.Errorf("%+v", d)
	}
}

func TestTreeRefuses(t *testing.T) {
	var tree supervisor.Tree
	cs := children(t, tree, "a")
	for _, c := range []supervisor.Child{{ID: "a"}, {}, {ID: "b", Restart: 9}} {
		if got, err := tree.Add(cs, c); err == nil || len(got.Running()) != 1 {
			t.Errorf("%+v: %v, %v", c, got.Running(), err)
		}
	}
	for name, bad := range map[string]supervisor.Tree{
		"Strategy": {Strategy: 9}, "MaxRestarts": {MaxRestarts: -1}, "Window": {Window: -1}, "Jitter": {Backoff: supervisor.Backoff{Jitter: 2}},
	} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever ends: only what ran is stopped, in reverse, and only what is known
// is started, in order; who runs afterwards is who ran, less the stopped, plus
// the started; and no stretch of Window holds more than MaxRestarts restarts.
func TestTreeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := supervisor.Tree{
			Strategy:    supervisor.Strategy(rapid.IntRange(0, 3).Draw(t, "strategy")),
			MaxRestarts: rapid.IntRange(1, 5).Draw(t, "max restarts"),
			Window:      time.Minute,
			Backoff:     drawBackoff(t),
		}
		var cs supervisor.Children
		var order []string // as started first; ids are never used again
		when := map[string]supervisor.When{}
		now := start
		var restarts []time.Time
		for n := range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
			if len(order) < 2 || rapid.IntRange(0, 4).Draw(t, "add") == 0 {
				id := fmt.Sprint(n)
				when[id] = supervisor.When(rapid.IntRange(0, 2).Draw(t, "when"))
				var err error
				if cs, err = tree.Add(cs, supervisor.Child{ID: id, Restart: when[id]}); err != nil {
					t.Fatal(err)
				}
				order = append(order, id)
				continue
			}
			ran := cs.Running()
			e := supervisor.Exit{Child: rapid.SampledFrom(order).Draw(t, "child"), Normal: rapid.Bool().Draw(t, "normal")}
			p, next := tree.Exited(cs, e, now, rapid.Uint64().Draw(t, "random"))
			if err := holds(order, when, ran, next.Running(), e, p); err != nil {
				t.Fatalf("%v; ran %v, exit %+v, plan %+v, run now %v", err, ran, e, p, next.Running())
			}
			if len(p.Start) > 0 {
				restarts = append(restarts, now)
			}
			if k := len(restarts) - 1 - tree.MaxRestarts; k >= 0 && restarts[len(restarts)-1].Sub(restarts[k]) <= tree.Window {
				t.Fatalf("%d restarts within %v", tree.MaxRestarts+1, restarts[len(restarts)-1].Sub(restarts[k]))
			}
			if p.Fail {
				return
			}
			cs = next
		}
	})
}

func holds(order []string, when map[string]supervisor.When, ran, run []string, e supervisor.Exit, p supervisor.Plan) error {
	place := func(id string) int { return slices.Index(order, id) }
	inOrder := func(ids []string) bool {
		return slices.IsSortedFunc(ids, func(a, b string) int { return place(a) - place(b) })
	}
	reversed := slices.Clone(p.Stop)
	slices.Reverse(reversed)
	switch {
	case !inOrder(reversed) || !inOrder(p.Start) || !inOrder(run):
		return errors.New("out of order")
	case slices.ContainsFunc(p.Stop, func(id string) bool { return !slices.Contains(ran, id) || id == e.Child }):
		return errors.New("something is stopped that does not run")
	case slices.ContainsFunc(p.Start, func(id string) bool { return when[id] == supervisor.Temporary }):
		return errors.New("a temporary child is started again")
	case p.Fail && (len(p.Start) > 0 || len(run) > 0):
		return errors.New("a supervisor that fails starts something")
	}
	want := slices.DeleteFunc(slices.Clone(ran), func(id string) bool { return id == e.Child || slices.Contains(p.Stop, id) })
	want = append(want, p.Start...)
	slices.SortFunc(want, func(a, b string) int { return place(a) - place(b) })
	if !p.Fail && !slices.Equal(slices.Compact(want), run) {
		return errors.New("what runs is not what was planned")
	}
	ended := slices.Contains(ran, e.Child)
	again := when[e.Child] == supervisor.Permanent || when[e.Child] == supervisor.Transient && !e.Normal
	if ended && again && !p.Fail && !slices.Contains(p.Start, e.Child) {
		return errors.New("the child is not started again")
	}
	return nil
}
