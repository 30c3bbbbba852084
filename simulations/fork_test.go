package simulations_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

func all(t testing.TB, j *journal.Journal) (out []events.Event) {
	t.Helper()
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func content(t testing.TB, j *journal.Journal) string {
	t.Helper()
	r, err := j.Verify(t.Context(), nil)
	if err != nil || !r.OK {
		t.Fatalf("verify: %v %v", r.Problems, err)
	}
	return r.Content
}

// forked returns a fork of src.
func forked(t testing.TB, src *journal.Journal, upto uint64) *journal.Journal {
	t.Helper()
	var clock simulations.Clock
	dst := memoryAt(t, clock.Now)
	if err := simulations.Fork(t.Context(), src, upto, dst, &clock); err != nil {
		t.Fatal(err)
	}
	return dst
}

func TestForkHoldsTheSameEvents(t *testing.T) {
	c := newCast()
	src := honest(t, c)
	dst := forked(t, src, src.Position())
	if got, want := content(t, dst), content(t, src); got != want {
		t.Errorf("content %s, want %s", got, want)
	}
	if got, want := asJSON(t, clean(t, dst, c)), asJSON(t, clean(t, src, c)); got != want {
		t.Errorf("the fork replays to\n%s, want\n%s", got, want)
	}
	want := all(t, src)
	for upto := range want {
		if upto == 1 || upto >= 4 && upto != 5 {
			continue // in the middle of a turn
		}
		dst := forked(t, src, uint64(upto))
		got := all(t, dst)
		if len(got) != upto {
			t.Fatalf("a fork at %d holds %d events", upto, len(got))
		}
		for i := range got {
			if asJSON(t, got[i]) != asJSON(t, want[i]) {
				t.Errorf("position %d: %s, want %s", i+1, asJSON(t, got[i]), asJSON(t, want[i]))
			}
		}
		clean(t, dst, c)
	}
}

func TestForkGoesAnotherWay(t *testing.T) {
	c := newCast()
	src := honest(t, c)
	before := content(t, src)
	dst := forked(t, src, 5) // before the payment that closes the order
	reacted := c.reacted
	s := begin(t, dst, c)
	if err := c.biller.Spawn(s.sys, "desk"); err != nil {
		t.Fatal(err)
	}
	// What was decided before the fork is known in it, what came after is not.
	if out, err := s.ask("order-1", pay{10}, "pay-1"); err != nil || !out.Duplicate {
		t.Fatalf("%+v, %v", out, err)
	}
	es := s.mustAsk("order-1", pay{20}, "pay-2")
	if len(es) != 1 || es[0].Position != 7 || es[0].Kind != "order.paid" {
		t.Fatalf("%+v", es)
	}
	// The desk has dealt with what it reacted to and reacts to what is new.
	s.mustAsk("order-1", items(1), "more")
	s.end()
	if n := c.reacted - reacted; n != 1 {
		t.Errorf("the desk reacted %d times in the fork, want 1", n)
	}
	got := all(t, dst)
	if last := got[len(got)-1]; len(got) != 10 || last.Kind != "invoice.sent" || string(last.Payload) != `{"Number":2,"Items":1}` {
		t.Fatalf("%d events, the last %s %s", len(got), last.Kind, last.Payload)
	}
	clean(t, dst, c)
	if content(t, src) != before {
		t.Error("the fork changed its source")
	}
}

// A reaction that is not there yet at the fork happens in the fork, and is the
// same one.
func TestForkReactsToWhatWasNotDealtWith(t *testing.T) {
	c := newCast()
	src := honest(t, c)
	dst := forked(t, src, 2)
	s := begin(t, dst, c)
	if err := c.biller.Spawn(s.sys, "desk"); err != nil {
		t.Fatal(err)
	}
	s.end()
	if got, want := all(t, dst), all(t, src); len(got) != 3 || got[2].Digest != want[2].Digest {
		t.Errorf("%d events, the last %s", len(got), asJSON(t, got[len(got)-1]))
	}
}

func TestForkRefuses(t *testing.T) {
	c := newCast()
	src := honest(t, c)
	var clock simulations.Clock
	fork := func(upto uint64, dst *journal.Journal) error {
		return simulations.Fork(t.Context(), src, upto, dst, &clock)
	}
	if err := fork(9, memoryAt(t, clock.Now)); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("beyond the end: %v", err)
	}
	if err := fork(3, honest(t, c)); !errors.Is(err, simulations.ErrNotEmpty) {
		t.Errorf("into a journal that holds something: %v", err)
	}
	for _, middle := range []uint64{1, 4, 6, 7} {
		if err := fork(middle, memoryAt(t, clock.Now)); !errors.Is(err, simulations.ErrCannotFork) {
			t.Errorf("in the middle of a turn, at %d: %v", middle, err)
		}
	}
	late := memoryAt(t, func() time.Time { return time.Now().Add(time.Hour) })
	if err := fork(8, late); !errors.Is(err, simulations.ErrCannotFork) {
		t.Errorf("with a clock of its own: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := simulations.Fork(gone, src, 8, memoryAt(t, clock.Now), &clock); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A Clock tells the time again when its fork is over.
	if d := time.Since(clock.Now()).Abs(); d > time.Hour {
		t.Errorf("the clock is off by %v", d)
	}
}
