package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// world is the outside: it counts how often it was asked for what.
type world struct {
	mu    sync.Mutex
	calls []actors.EffectCall
}

func (w *world) note(call actors.EffectCall) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call)
	n := 0
	for _, c := range w.calls {
		if c.Key == call.Key {
			n++
		}
	}
	return n
}

func (w *world) all() []actors.EffectCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

var retrying = actors.EffectPolicy{InDoubt: actors.RetryInDoubt, Backoff: supervisor.Backoff{Initial: time.Second, Jitter: -1}}

// payer is an agent that has something done for each order and notes what
// came of it.
func payer(p actors.EffectPolicy, f func(ctx context.Context, call actors.EffectCall) (string, error), after func()) *actors.Agent[struct{}] {
	return actors.NewAgent("payer", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		receipt, err := actors.Do(t, "charge", p, f)
		if after != nil {
			after()
		}
		if err != nil {
			return actors.Emit(t, noted, Note{"no: " + err.Error()})
		}
		return actors.Emit(t, noted, Note{receipt})
	})
}

func TestEffectHappensOnce(t *testing.T) {
	j := memory(t)
	w := &world{}
	failures := 2
	a := payer(retrying, func(_ context.Context, call actors.EffectCall) (string, error) {
		w.note(call)
		return "paid", nil
	}, func() {
		if failures--; failures >= 0 {
			panic("after the effect")
		}
	})
	sys := start(t, j, quick(5), a)
	must(t, a.Spawn(sys, "payer"))
	cause := place(t, sys, "o1")
	settle(t, sys)
	want := []string{"toka.effect.done", "toka.agent.failed", "toka.agent.failed", "clerk.noted"}
	if got := kinds(stream(t, j, "payer")); !slices.Equal(got, want) {
		t.Errorf("the stream is %v, want %v", got, want)
	}
	calls := w.all()
	if len(calls) != 1 {
		t.Fatalf("called %d times: %+v", len(calls), calls)
	}
	if c := calls[0]; c.Key != events.EffectKey(cause.Digest, "payer", "charge", 0) || c.Cause != cause.ID || c.Attempt != 1 || c.Agent != "payer" || c.Name != "charge" {
		t.Errorf("called as %+v", c)
	}
	if e := stream(t, j, "payer")[0]; string(e.Payload) != `"paid"` || e.Trigger != cause.ID || e.Extensions[events.ExtBehaviour] != "payer/1" {
		t.Errorf("on record is %+v", e)
	}
	// Once more, as if nobody knew how far the agent had come.
	stopOK(t, sys)
	rewind(t, j, "payer")
	failures = 0
	sys = start(t, j, quick(5), a)
	must(t, a.Spawn(sys, "payer"))
	settle(t, sys)
	if n := len(w.all()); n != 1 {
		t.Errorf("called %d times after a restart", n)
	}
	if got := notes(t, j, "payer"); !slices.Equal(got, []string{"paid"}) {
		t.Errorf("notes are %v", got)
	}
}

func TestEffectIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(n int) error
		calls int
		note  string
	}{
		"third time":  {func(n int) error { return map[bool]error{true: errors.New("busy")}[n < 3] }, 3, "paid"},
		"never":       {func(int) error { return errors.New("broke") }, 3, `no: agent "payer": effect "charge" failed after 3 tries: broke`},
		"for good":    {func(int) error { return actors.Final(errors.New("no such card")) }, 1, `no: agent "payer": effect "charge" failed after 1 tries: no such card`},
		"by panic":    {func(n int) error { panic("oh") }, 3, `no: agent "payer": effect "charge" failed after 3 tries: panic: oh`},
		"not as JSON": {nil, 1, `no: agent "payer": effect "charge" failed after 1 tries: it happened, and its result cannot be recorded`},
		"large":       {nil, 1, `no: agent "payer": effect "charge" failed after 1 tries: it happened, and its result cannot be recorded`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := memory(t)
				w := &world{}
				a := payer(retrying, func(_ context.Context, call actors.EffectCall) (string, error) {
					n := w.note(call)
					return "paid", c.fail(n)
				}, nil)
				switch name {
				case "not as JSON":
					a = actors.NewAgent("payer", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
						_, err := actors.Do(t, "charge", retrying, func(_ context.Context, call actors.EffectCall) (func(), error) {
							w.note(call)
							return func() {}, nil
						})
						return actors.Emit(t, noted, Note{"no: " + err.Error()})
					})
				case "large":
					a = payer(retrying, func(_ context.Context, call actors.EffectCall) (string, error) {
						w.note(call)
						return strings.Repeat("x", events.MaxPayload), nil
					}, nil)
				}
				sys := start(t, j, quick(3), a)
				must(t, a.Spawn(sys, "payer"))
				begin := time.Now()
				place(t, sys, "o1")
				settle(t, sys)
				if calls := w.all(); len(calls) != c.calls || calls[len(calls)-1].Attempt != c.calls {
					t.Errorf("calls are %+v", calls)
				}
				if took, want := time.Since(begin), []time.Duration{0, 0, time.Second, 3 * time.Second}[c.calls]; took != want {
					t.Errorf("it took %v, want %v", took, want)
				}
				if got := notes(t, j, "payer"); len(got) != 1 || !strings.HasPrefix(got[0], c.note) {
					t.Errorf("notes are %.300v", got)
				}
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

// The process ends while an effect is under way.
func TestEffectInDoubt(t *testing.T) {
	for _, c := range []struct {
		policy actors.InDoubt
		calls  int
		want   []string
	}{
		{actors.RetryInDoubt, 2, []string{"toka.effect.done", "clerk.noted"}},
		{actors.FailInDoubt, 1, []string{"toka.effect.started", "toka.effect.failed", "clerk.noted"}},
		{actors.AskInDoubt, 1, []string{"toka.effect.started", "toka.agent.parked"}},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			j := memory(t)
			w := &world{}
			under := make(chan struct{})
			a := payer(actors.EffectPolicy{InDoubt: c.policy}, func(ctx context.Context, call actors.EffectCall) (string, error) {
				if w.note(call) == 1 {
					close(under)
					<-ctx.Done()
				}
				return "paid", nil
			}, nil)
			sys := start(t, j, quick(3), a)
			must(t, a.Spawn(sys, "payer"))
			place(t, sys, "o1")
			soon(t, "the effect", under)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if err := sys.Stop(gone); err == nil {
				t.Error("it stopped in good order with an effect under way")
			}
			sys = start(t, j, quick(3), a)
			must(t, a.Spawn(sys, "payer"))
			settle(t, sys)
			if got := kinds(stream(t, j, "payer")); !slices.Equal(got, c.want) {
				t.Errorf("the stream is %v, want %v", got, c.want)
			}
			if n := len(w.all()); n != c.calls {
				t.Errorf("called %d times, want %d", n, c.calls)
			}
			if c.policy == actors.FailInDoubt {
				if got := notes(t, j, "payer"); len(got) != 1 || !strings.Contains(got[0], "in doubt") {
					t.Errorf("notes are %v", got)
				}
			}
			// The next event is dealt with all the same.
			place(t, sys, "o2")
			settle(t, sys)
			if got := notes(t, j, "payer"); got[len(got)-1] != "paid" {
				t.Errorf("notes are %v", got)
			}
		})
	}
}

func TestEffectOutlivesItsDeadline(t *testing.T) {
	for _, c := range []struct {
		policy actors.InDoubt
		calls  int
		last   string
		took   time.Duration
	}{
		{actors.RetryInDoubt, 2, "clerk.noted", 21 * time.Second},
		{actors.FailInDoubt, 1, "clerk.noted", 20 * time.Second},
		{actors.AskInDoubt, 1, "toka.agent.parked", 20 * time.Second},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := memory(t)
				w := &world{}
				p := retrying
				p.InDoubt, p.Deadline = c.policy, 10*time.Second
				never := make(chan struct{})
				a := payer(p, func(_ context.Context, call actors.EffectCall) (string, error) {
					if w.note(call) == 1 {
						<-never
					}
					return "paid", nil
				}, nil)
				sys := start(t, j, quick(3), a)
				must(t, a.Spawn(sys, "payer"))
				begin := time.Now()
				place(t, sys, "o1")
				settle(t, sys)
				if took := time.Since(begin); took.Truncate(time.Second) != c.took {
					t.Errorf("it took %v, want %v", took, c.took)
				}
				if n := len(w.all()); n != c.calls {
					t.Errorf("called %d times, want %d", n, c.calls)
				}
				if got := kinds(stream(t, j, "payer")); got[len(got)-1] != c.last {
					t.Errorf("the stream is %v", got)
				}
				close(never)
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

// While an effect is under way nobody waits for it, not even Progress.
func TestEffectBlocksNobody(t *testing.T) {
	j := memory(t)
	hold, under := make(chan struct{}), make(chan struct{})
	told := make(chan actors.Progress, 1)
	a := payer(retrying, func(_ context.Context, call actors.EffectCall) (string, error) {
		call.Progress("half way")
		close(under)
		<-hold
		return "paid", nil
	}, nil)
	other := clerk(nil)
	sys := start(t, j, actors.Options{OnProgress: func(p actors.Progress) { told <- p }}, a, other)
	must(t, a.Spawn(sys, "payer"))
	must(t, other.Spawn(sys, "clerk"))
	cause := place(t, sys, "o1")
	soon(t, "the effect", under)
	if p, want := soon(t, "progress", told), (actors.Progress{Agent: "payer", Effect: "charge", Cause: cause.ID, Attempt: 1, Value: "half way"}); p != want {
		t.Errorf("progress is %+v, want %+v", p, want)
	}
	for len(notes(t, j, "clerk")) == 0 {
		must(t, within(t).Err())
	}
	if got := stream(t, j, "payer"); len(got) != 0 {
		t.Errorf("the stream is %v", kinds(got))
	}
	close(hold)
	settle(t, sys)
	if got := notes(t, j, "payer"); !slices.Equal(got, []string{"paid"}) {
		t.Errorf("notes are %v", got)
	}
}

// An effect is not called before what the agent's state rests on is durable.
func TestEffectWaitsForTheDisk(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	called := make(chan []string, 1)
	first, asked := make(chan struct{}), make(chan struct{}, 8)
	a := &actors.Agent[int]{
		Name: "payer", Version: 1, On: []string{"order.placed"},
		React: func(t *actors.Turn, n int, e events.Event) error {
			if n == 0 {
				<-first
				return actors.Emit(t, noted, Note{"0"})
			}
			asked <- struct{}{}
			_, err := actors.Do(t, "charge", retrying, func(ctx context.Context, _ actors.EffectCall) (int, error) {
				var there []string
				for e, err := range j.ReadStream(ctx, "payer", 0) {
					if err == nil {
						there = append(there, e.Kind)
					}
				}
				called <- there
				return 0, nil
			})
			if err != nil {
				return err
			}
			return actors.Emit(t, noted, Note{"1"})
		},
		Evolve: func(n int, _ events.Event) int { return n + 1 },
	}
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "payer"))
	orders(t, sys, 2)
	b.pull()
	close(first)
	soon(t, "the sync of the first reaction", b.reached)
	soon(t, "the second reaction", asked)
	select {
	case there := <-called:
		t.Errorf("the effect was called while the journal held %v", there)
	default:
	}
	b.letGo()
	if there := soon(t, "the effect", called); !slices.Equal(there, []string{"clerk.noted"}) {
		t.Errorf("when the effect was called the journal held %v", there)
	}
	settle(t, sys)
	if got := notes(t, j, "payer"); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("notes are %v", got)
	}
}

func TestEffectsInAnotherOrder(t *testing.T) {
	j := memory(t)
	order := []string{"reserve", "charge"}
	calls := 0
	a := actors.NewAgent("payer", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		for _, name := range order {
			if _, err := actors.Do(t, name, retrying, func(context.Context, actors.EffectCall) (int, error) { calls++; return calls, nil }); err != nil {
				return err
			}
		}
		return actors.Emit(t, noted, Note{"done"})
	})
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "payer"))
	place(t, sys, "o1")
	settle(t, sys)
	stopOK(t, sys)
	es := stream(t, j, "payer")
	if got, want := kinds(es), []string{"toka.effect.done", "toka.effect.done", "clerk.noted"}; !slices.Equal(got, want) {
		t.Fatalf("the stream is %v, want %v", got, want)
	}
	replay := func() (ds []actors.Divergence) {
		x := actors.NewReplica(j, actors.NewRegistry(a), "payer")
		for _, e := range es {
			more, err := x.Next(t.Context(), e)
			must(t, err)
			ds = append(ds, more...)
		}
		return append(ds, x.End()...)
	}
	if ds := replay(); len(ds) != 0 || calls != 2 {
		t.Errorf("the replay diverges: %v; %d calls", ds, calls)
	}
	for name, c := range map[string]struct{ order []string }{
		"swapped": {[]string{"charge", "reserve"}},
		"fewer":   {[]string{"reserve"}},
		"more":    {[]string{"reserve", "charge", "thank"}},
		"another": {[]string{"reserve", "pay"}},
	} {
		order = c.order
		called := strings.Join(order, ", ")
		if name == "swapped" {
			called = "charge" // it goes no further
		}
		want := []actors.Divergence{{Position: es[2].Position, Agent: "payer", Field: "effects", Recorded: "reserve, charge", Produced: called}}
		if ds := replay(); !slices.Equal(ds, want) || calls != 2 {
			t.Errorf("%s: the replay says %v, want %v; %d calls", name, ds, want, calls)
		}
	}
}

// And so it is reported where a reaction runs again.
func TestNondeterminismIsReported(t *testing.T) {
	j := memory(t)
	names := []string{"reserve", "charge", "charge"} // in order of the calls to Do
	a := actors.NewAgent("payer", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		name := names[0]
		if len(names) > 1 {
			names = names[1:]
		}
		_, err := actors.Do(t, name, retrying, func(context.Context, actors.EffectCall) (int, error) { return 1, nil })
		return err
	})
	sys := start(t, j, quick(2), a)
	must(t, a.Spawn(sys, "payer"))
	place(t, sys, "o1")
	settle(t, sys)
	es := stream(t, j, "payer")
	if got, want := kinds(es), []string{"toka.effect.done", "toka.agent.failed", "toka.agent.parked"}; !slices.Equal(got, want) {
		t.Fatalf("the stream is %v, want %v", got, want)
	}
	want := `agent "payer": the reaction is not deterministic: effects on record are [reserve], called were [charge]`
	if f := failureOf(t, es[2]); f.Reason != want {
		t.Errorf("the reason is %q, want %q", f.Reason, want)
	}
}

func TestEffectMisuse(t *testing.T) {
	one := func(context.Context, actors.EffectCall) (int, error) { return 1, nil }
	for name, c := range map[string]struct {
		policy actors.EffectPolicy
		effect string
		want   string
	}{
		"no policy":  {actors.EffectPolicy{}, "charge", "InDoubt"},
		"no name":    {retrying, "", "empty"},
		"attempts":   {actors.EffectPolicy{InDoubt: actors.RetryInDoubt, Attempts: -1}, "charge", "attempts"},
		"deadline":   {actors.EffectPolicy{InDoubt: actors.RetryInDoubt, Deadline: -1}, "charge", "deadline"},
		"backoff":    {actors.EffectPolicy{InDoubt: actors.RetryInDoubt, Backoff: supervisor.Backoff{Jitter: 2}}, "charge", "Jitter"},
		"in no turn": {retrying, "charge", "effects belong into"},
	} {
		j := memory(t)
		said := make(chan string, 1)
		try := func(t *actors.Turn) {
			defer func() {
				p := recover()
				select {
				case said <- fmt.Sprint(p):
				default:
				}
				panic(p)
			}()
			_, _ = actors.Do(t, c.effect, c.policy, one)
		}
		a := clerk(func(t *actors.Turn, _ events.Event) error { try(t); return nil })
		sys := start(t, j, quick(1), a)
		if name == "in no turn" {
			func() {
				defer func() { _ = recover() }()
				try(&actors.Turn{})
			}()
		} else {
			must(t, a.Spawn(sys, "clerk"))
			place(t, sys, "o1")
		}
		if p := soon(t, "a panic", said); !strings.HasPrefix(p, "actors: Do: ") || !strings.Contains(p, c.want) {
			t.Errorf("%s: it panicked with %q", name, p)
		}
	}
}

// However the power goes, after the restart every effect has a result, and one
// that had it before is not called again.
func TestEffectsSurvivePowerCuts(t *testing.T) {
	const n = 4
	type shot struct {
		disk *disktest.Disk
		what string
	}
	var mu sync.Mutex
	var shots []shot
	changes, stride := 0, 5
	if underRace || testing.Short() {
		stride = 17
	}
	d := disktest.New()
	d.Before(func(op disktest.Op) {
		mu.Lock()
		defer mu.Unlock()
		if changes++; changes%stride == 0 {
			for _, percent := range []int{0, 50} {
				shots = append(shots, shot{d.PowerCut(percent, uint64(changes)), fmt.Sprintf("change %d, before %v, %d%% kept", changes, op, percent)})
			}
		}
	})
	work := func(j *journal.Journal) *world {
		w := &world{}
		a := payer(actors.EffectPolicy{InDoubt: actors.RetryInDoubt}, func(_ context.Context, call actors.EffectCall) (string, error) {
			w.note(call)
			return "paid " + call.Cause.String(), nil
		}, nil)
		sys, err := actors.Start(j, actors.NewRegistry(a), quick(3))
		must(t, err)
		must(t, a.Spawn(sys, "payer"))
		for i := range n {
			o, err := placed.Encode(Order{ID: fmt.Sprint(i)})
			must(t, err)
			o.ID = events.IngestedID("effects", fmt.Sprint(i))
			_, err = sys.Publish(within(t), "shop", o)
			must(t, err)
		}
		settle(t, sys)
		stopOK(t, sys)
		return w
	}
	j := onDisk(t, d)
	work(j)
	closeOK(t, j)
	mu.Lock()
	all := shots
	mu.Unlock()
	for _, s := range all {
		j := onDisk(t, s.disk)
		recorded := map[events.ID]bool{}
		for _, e := range stream(t, j, "payer") {
			if e.Kind == "toka.effect.done" {
				recorded[e.Trigger] = true
			}
		}
		w := work(j)
		for _, c := range w.all() {
			if recorded[c.Cause] {
				t.Errorf("%s: the effect for %s was on record and called again", s.what, c.Cause)
			}
			recorded[c.Cause] = true
		}
		var want []string
		for i := range n {
			want = append(want, "paid "+events.IngestedID("effects", fmt.Sprint(i)).String())
		}
		if got := notes(t, j, "payer"); !slices.Equal(got, want) {
			t.Errorf("%s: notes are %v, want %v", s.what, got, want)
		}
		closeOK(t, j)
	}
	t.Logf("%d power cuts", len(all))
}
