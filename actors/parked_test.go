package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

func parked(t testing.TB, j *journal.Journal) []actors.Parked {
	t.Helper()
	ps, err := actors.ListParked(t.Context(), j, "")
	must(t, err)
	return ps
}

// replayOK does everything again and wants the same.
func replayOK(t testing.TB, j *journal.Journal, bs ...actors.Behaviour) {
	t.Helper()
	r, err := simulations.Replay(t.Context(), j, actors.NewRegistry(bs...), simulations.ReplayOptions{})
	must(t, err)
	if !r.OK {
		t.Errorf("the replay diverges: %v", r.Divergences)
	}
}

func TestParkedEventIsRetried(t *testing.T) {
	for name, live := range map[string]bool{"live": true, "after a restart": false} {
		t.Run(name, func(t *testing.T) {
			j := memory(t)
			broken := true
			a := clerk(func(*actors.Turn, events.Event) error {
				if broken {
					return errors.New("no ink")
				}
				return nil
			})
			sys := start(t, j, quick(2), a)
			must(t, a.Spawn(sys, "clerk"))
			o1 := place(t, sys, "o1")
			settle(t, sys)
			ps := parked(t, j)
			if len(ps) != 1 || ps[0].Agent != "clerk" || ps[0].Message != o1.ID || ps[0].Attempts != 2 || ps[0].Reason != "no ink" || ps[0].Behaviour != "clerk/1" || ps[0].Retry != nil {
				t.Fatalf("parked are %+v", ps)
			}
			again := func() {
				t.Helper()
				if !live {
					stopOK(t, sys)
				}
				ps := parked(t, j)
				e, err := actors.RetryParked(t.Context(), j, ps[0].ID)
				must(t, err)
				if twice, err := actors.RetryParked(t.Context(), j, ps[0].ID); err == nil && twice.ID != e.ID {
					t.Errorf("asked twice: %s and %s", e.ID, twice.ID)
				} else if err != nil && !errors.Is(err, actors.ErrNotParked) {
					t.Error(err)
				}
				if !live {
					if ps := parked(t, j); len(ps) != 1 || ps[0].Retry == nil || *ps[0].Retry != e.ID {
						t.Errorf("parked are %+v", ps)
					}
					sys = start(t, j, quick(2), a)
					must(t, a.Spawn(sys, "clerk"))
				}
				settle(t, sys)
			}
			again()
			if now := parked(t, j); len(now) != 1 || now[0].ID == ps[0].ID || now[0].Message != o1.ID || now[0].Retry != nil {
				t.Fatalf("tried in vain, parked are %+v", now)
			}
			if _, err := actors.RetryParked(t.Context(), j, ps[0].ID); !errors.Is(err, actors.ErrNotParked) {
				t.Errorf("the older entry: %v, want %v", err, actors.ErrNotParked)
			}
			broken = false
			place(t, sys, "o2")
			settle(t, sys)
			again()
			if got := notes(t, j, "clerk"); !slices.Equal(got, []string{"order o2", "order o1"}) {
				t.Errorf("notes are %v", got)
			}
			if now := parked(t, j); len(now) != 0 {
				t.Errorf("parked are %+v", now)
			}
			// It is over: nothing comes again, not even if the agent forgets
			// how far it has come.
			before := len(stream(t, j, "clerk"))
			stopOK(t, sys)
			rewind(t, j, "clerk")
			sys = start(t, j, quick(2), a)
			must(t, a.Spawn(sys, "clerk"))
			settle(t, sys)
			if es := stream(t, j, "clerk"); len(es) != before {
				t.Errorf("the stream grew: %v", kinds(es[before:]))
			}
			replayOK(t, j, a)
		})
	}
}

func TestParkedCommandIsRetried(t *testing.T) {
	j := memory(t)
	f := &failing{tries: map[string]int{"o1": 2, "o2": 2}, how: func(string) { panic("the shelf broke") }}
	stock := f.stock()
	sys := start(t, j, quick(2), stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{1})
	o1, o2 := journal.NewID(), journal.NewID()
	for order, id := range map[string]events.ID{"o1": o1, "o2": o2} {
		if _, err := ref.Ask(within(t), Reserve{order, 1}, actors.WithCommandID(id)); !errors.Is(err, actors.ErrFailed) {
			t.Errorf("%s: %v, want %v", order, err, actors.ErrFailed)
		}
	}
	for _, p := range parked(t, j) {
		if p.Agent != "apples" || p.Reason != "panic: the shelf broke" || !strings.Contains(p.Stack, "failure_test.go") {
			t.Errorf("parked is %+v", p)
		}
		_, err := actors.RetryParked(t.Context(), j, p.ID)
		must(t, err)
	}
	settle(t, sys)
	if ps := parked(t, j); len(ps) != 0 {
		t.Errorf("parked are %+v", ps)
	}
	// One of them took the last one, the other was rejected, and both are
	// known by their ids.
	got, empty := 0, 0
	for order, id := range map[string]events.ID{"o1": o1, "o2": o2} {
		out, err := ref.Ask(within(t), Reserve{order, 1}, actors.WithCommandID(id))
		must(t, err)
		if !out.Duplicate {
			t.Errorf("%s was decided again", order)
		}
		if len(out.Events) > 0 {
			got++
		} else {
			empty++
		}
	}
	if s := state(t, ref); got != 1 || empty != 1 || s.Free != 0 || len(s.Held) != 1 {
		t.Errorf("%d had it, %d did not, state %+v", got, empty, s)
	}
	replayOK(t, j, stock)
}

func TestEffectInDoubtIsResolved(t *testing.T) {
	for name, c := range map[string]struct {
		res   actors.Resolution
		calls int
		note  string
	}{
		"it happened":     {actors.Resolution{Result: json.RawMessage(`"paid by hand"`)}, 1, "paid by hand"},
		"it did not":      {actors.Resolution{Failed: "the card is stolen"}, 1, `no: agent "payer": effect "charge" failed after 0 tries: the card is stolen`},
		"it may be again": {actors.Resolution{}, 2, "paid"},
	} {
		t.Run(name, func(t *testing.T) {
			j := memory(t)
			w := &world{}
			under := make(chan struct{})
			a := payer(actors.EffectPolicy{InDoubt: actors.AskInDoubt}, func(ctx context.Context, call actors.EffectCall) (string, error) {
				if w.note(call) == 1 {
					close(under)
					<-ctx.Done()
				}
				return "paid", nil
			}, nil)
			sys := start(t, j, quick(3), a)
			must(t, a.Spawn(sys, "payer"))
			cause := place(t, sys, "o1")
			soon(t, "the effect", under)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_ = sys.Stop(gone)
			sys = start(t, j, quick(3), a)
			must(t, a.Spawn(sys, "payer"))
			settle(t, sys)
			ps := parked(t, j)
			if want := events.EffectKey(cause.Digest, "payer", "charge", 0).String(); len(ps) != 1 || ps[0].Effect != "charge" || ps[0].EffectKey != want {
				t.Fatalf("parked are %+v", ps)
			}
			if c.calls == 1 {
				must(t, actors.ResolveEffect(t.Context(), j, ps[0].ID, c.res))
				if err := actors.ResolveEffect(t.Context(), j, ps[0].ID, actors.Resolution{Failed: "no"}); !errors.Is(err, journal.ErrIDConflict) {
					t.Errorf("another result: %v, want %v", err, journal.ErrIDConflict)
				}
			}
			_, err := actors.RetryParked(t.Context(), j, ps[0].ID)
			must(t, err)
			settle(t, sys)
			if got := notes(t, j, "payer"); !slices.Equal(got, []string{c.note}) {
				t.Errorf("notes are %v, want %q", got, c.note)
			}
			if n := len(w.all()); n != c.calls {
				t.Errorf("called %d times, want %d", n, c.calls)
			}
			if ps := parked(t, j); len(ps) != 0 {
				t.Errorf("parked are %+v", ps)
			}
			replayOK(t, j, a)
		})
	}
}

func TestParkedRefuses(t *testing.T) {
	j := memory(t)
	a := clerk(func(*actors.Turn, events.Event) error { return errors.New("no ink") })
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "clerk"))
	o1 := place(t, sys, "o1")
	settle(t, sys)
	if _, err := actors.RetryParked(t.Context(), j, o1.ID); !errors.Is(err, actors.ErrNotParked) {
		t.Errorf("an order: %v", err)
	}
	if _, err := actors.RetryParked(t.Context(), j, journal.NewID()); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("nothing: %v", err)
	}
	p := parked(t, j)[0]
	if err := actors.ResolveEffect(t.Context(), j, p.ID, actors.Resolution{Failed: "no"}); !errors.Is(err, actors.ErrNotParked) {
		t.Errorf("an effect where there was none: %v", err)
	}
	if err := actors.ResolveEffect(t.Context(), j, p.ID, actors.Resolution{Result: json.RawMessage("{")}); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("no JSON: %v", err)
	}
}
