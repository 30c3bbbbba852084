package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// A till charges for an order before it knows what is to come of that.
type (
	charge  struct{ Order string }
	charged struct{ Order, Receipt, Sign string }
)

var errDeclined = errors.New("declined")

type (
	tillResource = actors.Resource[int, charge, charged]
	tillRef      = actors.Ref[int, charge]
)

func newTill(p actors.EffectPolicy, f func(ctx context.Context, call actors.EffectCall) (string, error)) *tillResource {
	return &tillResource{
		Name: "till", Version: 1, Commands: events.NewType[charge]("till.charge", 1), Events: events.NewType[charged]("till.charged", 1),
		Decide: func(t *actors.Turn, n int, c charge) ([]charged, error) {
			sign := t.NewID().String()
			receipt, err := actors.Do(t, "charge", p, f)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%w: %w", errDeclined, err)
			case receipt == "free":
				return nil, nil
			}
			return []charged{{c.Order, fmt.Sprintf("%s, %d before", receipt, n), sign}}, nil
		},
		Evolve: func(n int, _ charged) int { return n + 1 },
	}
}

func spawnTill(t *testing.T, sys *actors.System, r *tillResource) *tillRef {
	t.Helper()
	ref, err := r.Spawn(sys, "till")
	must(t, err)
	return ref
}

func receipts(t *testing.T, j *journal.Journal) (out []string) {
	t.Helper()
	for _, e := range stream(t, j, "till") {
		if v, err := events.NewType[charged]("till.charged", 1).Decode(e); err == nil {
			out = append(out, v.Order+": "+v.Receipt)
		}
	}
	return out
}

func TestEffectOfACommand(t *testing.T) {
	j := memory(t)
	w := &world{}
	r := newTill(retrying, func(_ context.Context, call actors.EffectCall) (string, error) {
		switch w.note(call); len(w.all()) {
		case 2:
			return "", actors.Final(errors.New("no such card"))
		case 3:
			return "free", nil
		}
		return "paid", nil
	})
	sys := start(t, j, actors.Options{}, r)
	ref := spawnTill(t, sys, r)
	id := func(n int) actors.CommandOption {
		return actors.WithCommandID(events.IngestedID("till", fmt.Sprint(n)))
	}
	out, err := ref.Ask(within(t), charge{"o1"}, id(1))
	if err != nil || len(out.Events) != 1 || out.Events[0].Trigger != events.IngestedID("till", "1") {
		t.Errorf("the answer is %+v, %v", out, err)
	}
	if _, err := ref.Ask(within(t), charge{"o2"}, id(2)); !errors.Is(err, errDeclined) {
		t.Errorf("the answer to what is declined is %v", err)
	}
	if out, err := ref.Ask(within(t), charge{"o3"}, id(3)); err != nil || len(out.Events) != 0 {
		t.Errorf("the answer to what is free is %+v, %v", out, err)
	}
	if _, err := ref.Ask(within(t), charge{"o4"}); err != nil { // nobody knows its id
		t.Error(err)
	}
	var want []string
	for _, end := range []string{"toka.effect.done till.charged", "toka.effect.failed toka.effect.ended", "toka.effect.done toka.effect.ended", "toka.effect.done till.charged"} {
		want = append(want, strings.Fields("toka.command.till.charge toka.effect.started "+end)...)
	}
	es := stream(t, j, "till")
	if !slices.Equal(kinds(es), want) {
		t.Fatalf("the stream is %v, want %v", kinds(es), want)
	}
	if c := w.all()[0]; c.Key != events.EffectKey(es[0].Digest, "till", "charge", 0) || c.Cause != es[0].ID || c.Agent != "till" {
		t.Errorf("called as %+v", c)
	}
	for _, e := range es {
		if c, err := r.Events.Decode(e); err == nil && c.Sign != events.EmittedID(causeOf(t, j, e).Digest, "till#id", 1).String() {
			t.Errorf("position %d: the id of the turn is not that of the command on record", e.Position)
		}
	}
	// What is known is not done again, whoever asks and whenever.
	for range 2 {
		if out, err := ref.Ask(within(t), charge{"o1"}, id(1)); err != nil || !out.Duplicate || len(out.Events) != 1 {
			t.Errorf("again: %+v, %v", out, err)
		}
		if _, err := ref.Ask(within(t), charge{"o2"}, id(2)); err == nil || !strings.Contains(err.Error(), "no such card") {
			t.Errorf("what was declined, again: %v", err)
		}
		if out, err := ref.Ask(within(t), charge{"o3"}, id(3)); err != nil || !out.Duplicate {
			t.Errorf("what was free, again: %+v, %v", out, err)
		}
		settle(t, sys)
		stopOK(t, sys)
		sys = start(t, j, actors.Options{}, r)
		ref = spawnTill(t, sys, r)
	}
	if n := len(w.all()); n != 4 || len(stream(t, j, "till")) != len(want) {
		t.Errorf("called %d times; the stream is %v", n, kinds(stream(t, j, "till")))
	}
}

func causeOf(t *testing.T, j *journal.Journal, e events.Event) events.Event {
	t.Helper()
	cause, err := j.ByID(within(t), e.Trigger)
	must(t, err)
	return cause
}

// The process ends while the effect of a command is under way. Nobody asks
// again; the command comes to its end all the same.
func TestEffectOfACommandInDoubt(t *testing.T) {
	for _, c := range []struct {
		policy actors.InDoubt
		calls  int
		want   string
	}{
		{actors.RetryInDoubt, 2, "toka.effect.done till.charged"},
		{actors.FailInDoubt, 1, "toka.effect.failed toka.effect.ended"},
		{actors.AskInDoubt, 1, "toka.agent.parked"},
	} {
		for _, restore := range []bool{false, true} {
			t.Run(fmt.Sprint(c.policy, restore), func(t *testing.T) {
				j := memory(t)
				w := &world{}
				under := make(chan struct{})
				r := newTill(actors.EffectPolicy{InDoubt: c.policy}, func(ctx context.Context, call actors.EffectCall) (string, error) {
					if w.note(call) == 1 {
						close(under)
						<-ctx.Done()
					}
					return "paid", nil
				})
				r.Snapshots = actors.Snapshots[int]{Version: 1, AtRest: true, Every: 1}
				sys := start(t, j, quick(3), r)
				must(t, spawnTill(t, sys, r).Tell(within(t), charge{"o1"}))
				soon(t, "the effect", under)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				if err := sys.Stop(gone); err == nil {
					t.Error("it stopped in good order with an effect under way")
				}
				sys = start(t, j, quick(3), r)
				if restore {
					must(t, sys.Restore(within(t), nil))
				} else if _, err := spawnTill(t, sys, r).State(within(t)); err != nil {
					t.Error(err)
				}
				settle(t, sys)
				want := append([]string{"toka.command.till.charge", "toka.effect.started"}, strings.Fields(c.want)...)
				if got := kinds(stream(t, j, "till")); !slices.Equal(got, want) {
					t.Errorf("the stream is %v, want %v", got, want)
				}
				if n := len(w.all()); n != c.calls {
					t.Errorf("called %d times, want %d", n, c.calls)
				}
				if len(stream(t, j, "$deadletters")) != 0 {
					t.Error("what comes to its end later is a dead letter")
				}
				if c.policy == actors.AskInDoubt {
					all, err := actors.ListParked(within(t), j, "till")
					if err != nil || len(all) != 1 {
						t.Fatalf("parked: %+v, %v", all, err)
					}
					must(t, actors.ResolveEffect(within(t), j, all[0].ID, actors.Resolution{Result: []byte(`"found out"`)}))
					_, err = actors.RetryParked(within(t), j, all[0].ID)
					must(t, err)
					settle(t, sys)
					if got := receipts(t, j); !slices.Equal(got, []string{"o1: found out, 0 before"}) || len(w.all()) != 1 {
						t.Errorf("receipts are %v, after %d calls", got, len(w.all()))
					}
				}
			})
		}
	}
}

// While an effect is under way nothing else of its actor is decided, and what
// others write to the stream meanwhile is not passed over.
func TestEffectOfACommandAndOutsideAppends(t *testing.T) {
	j := memory(t)
	var sys *actors.System
	r := newTill(retrying, nil)
	out, err := r.Events.Encode(charged{Order: "outside"})
	must(t, err)
	decide := newTill(retrying, func(ctx context.Context, call actors.EffectCall) (string, error) {
		_, err := sys.Publish(ctx, "till", out)
		return "paid", err
	}).Decide
	r.Decide = decide
	sys = start(t, j, actors.Options{}, r)
	ref := spawnTill(t, sys, r)
	for i := range 3 {
		must(t, ref.Tell(within(t), charge{fmt.Sprint("o", i)}))
	}
	settle(t, sys)
	want := []string{"outside: ", "o0: paid, 1 before", "outside: ", "o1: paid, 3 before", "outside: ", "o2: paid, 5 before"}
	if got := receipts(t, j); !slices.Equal(got, want) {
		t.Errorf("receipts are %v, want %v", got, want)
	}
}

// Wherever the power is cut, an effect on record is not called again, and each
// command that was begun comes to its end once.
func TestEffectsOfCommandsSurvivePowerCuts(t *testing.T) {
	const n = 4
	var mu sync.Mutex
	var shots []*disktest.Disk
	changes, stride := 0, 5
	if underRace || testing.Short() {
		stride = 17
	}
	d := disktest.New()
	d.Before(func(disktest.Op) {
		mu.Lock()
		defer mu.Unlock()
		if changes++; changes%stride == 0 {
			shots = append(shots, d.PowerCut(50*(changes%3), uint64(changes)))
		}
	})
	work := func(j *journal.Journal, ask bool) *world {
		w := &world{}
		r := newTill(actors.EffectPolicy{InDoubt: actors.RetryInDoubt}, func(_ context.Context, call actors.EffectCall) (string, error) {
			w.note(call)
			return "paid", nil
		})
		sys, err := actors.Start(j, actors.NewRegistry(r), quick(3))
		must(t, err)
		ref := spawnTill(t, sys, r)
		_, err = ref.State(within(t))
		must(t, err)
		settle(t, sys)
		for i := range n {
			if ask {
				_, err := ref.Ask(within(t), charge{fmt.Sprint("o", i)}, actors.WithCommandID(events.IngestedID("cuts", fmt.Sprint(i))))
				must(t, err)
			}
		}
		stopOK(t, sys)
		return w
	}
	j := onDisk(t, d)
	work(j, true)
	closeOK(t, j)
	mu.Lock()
	all := shots
	mu.Unlock()
	for i, s := range all {
		j := onDisk(t, s)
		recorded := map[events.ID]bool{}
		begun := 0
		for _, e := range stream(t, j, "till") {
			recorded[e.Trigger] = recorded[e.Trigger] || e.Kind == "toka.effect.done"
			if e.Kind == "toka.effect.started" {
				begun++
			}
		}
		for _, ask := range []bool{false, true} {
			for _, c := range work(j, ask).all() {
				if recorded[c.Cause] {
					t.Errorf("shot %d: the effect for %s was on record and called again", i, c.Cause)
				}
				recorded[c.Cause] = true
			}
			want := []string{}
			for k := range n {
				if ask || k < begun {
					want = append(want, fmt.Sprintf("o%d: paid, %d before", k, k))
				}
			}
			if got := receipts(t, j); !slices.Equal(got, want) && len(got)+len(want) > 0 {
				t.Errorf("shot %d, asked again %v: receipts are %v, want %v", i, ask, got, want)
			}
		}
		closeOK(t, j)
	}
	if len(all) < 5 {
		t.Errorf("only %d shots were taken", len(all))
	}
}
