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
)

// Reminder is the input of the timers of these tests.
type Reminder struct{ Order string }

var reminded = events.NewType[Reminder]("clerk.reminded", 1)

// reminder is an agent that has itself reminded of every order an hour later.
// An order named "cancel ID" cancels the timer of ID.
func reminder() *actors.Agent[struct{}] {
	return &actors.Agent[struct{}]{
		Name: "reminder", Version: 1, On: []string{"order.placed", "clerk.reminded"},
		React: func(t *actors.Turn, _ struct{}, e events.Event) error {
			if r, err := reminded.Decode(e); err == nil {
				return actors.Emit(t, noted, Note{fmt.Sprintf("%s at %s", r.Order, t.Now().Format(time.TimeOnly))})
			}
			o, err := placed.Decode(e)
			if err != nil {
				return err
			}
			if id, ok := strings.CutPrefix(o.ID, "cancel "); ok {
				return actors.CancelTimer(t, id)
			}
			return actors.SetTimer(t, reminded, o.ID, t.Now().Add(time.Hour), Reminder{o.ID})
		},
	}
}

func clockOf(j *journal.Journal) func(time.Duration) string {
	begin := time.Now()
	return func(d time.Duration) string { return begin.Add(d).UTC().Format(time.TimeOnly) }
}

func TestTimerFiresOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		at := clockOf(j)
		a, other := reminder(), reminder()
		other.Name = "another"
		sys := start(t, j, actors.Options{}, a, other)
		must(t, a.Spawn(sys, "r"))
		must(t, other.Spawn(sys, "hears nothing of it"))
		place(t, sys, "o1")
		settle(t, sys)
		time.Sleep(30 * time.Minute)
		place(t, sys, "o2")
		place(t, sys, "o3")
		settle(t, sys)
		if n := sys.Timers(); n != 6 { // of two agents
			t.Errorf("%d timers are set", n)
		}
		place(t, sys, "cancel o3")
		place(t, sys, "cancel nothing")
		settle(t, sys)
		time.Sleep(30*time.Minute - 1)
		settle(t, sys)
		if got := notes(t, j, "r"); len(got) != 0 {
			t.Errorf("before it was due: %v", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		settle(t, sys)
		if got, want := notes(t, j, "r"), []string{"o1 at " + at(time.Hour)}; !slices.Equal(got, want) {
			t.Errorf("notes are %v, want %v", got, want)
		}
		// Set again before it is due, it is due later.
		place(t, sys, "o2")
		settle(t, sys)
		time.Sleep(24 * time.Hour)
		settle(t, sys)
		if got, want := notes(t, j, "r"), []string{"o1 at " + at(time.Hour), "o2 at " + at(2*time.Hour)}; !slices.Equal(got, want) {
			t.Errorf("notes are %v, want %v", got, want)
		}
		if n := sys.Timers(); n != 0 {
			t.Errorf("%d timers are set", n)
		}
		if got := notes(t, j, "hears nothing of it"); len(got) != 2 {
			t.Errorf("the other's timers: %v", got)
		}
		stopOK(t, sys)
		replayOK(t, j, a, other)
		closeOK(t, j)
	})
}

func TestTimerSurvivesRestarts(t *testing.T) {
	for name, crash := range map[string]bool{"in good order": false, "power cut": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := disktest.New()
				j := onDisk(t, d)
				at := clockOf(j)
				a := reminder()
				sys := start(t, j, actors.Options{}, a)
				must(t, a.Spawn(sys, "r"))
				place(t, sys, "o1")
				settle(t, sys)
				time.Sleep(time.Minute)
				place(t, sys, "o2")
				settle(t, sys)
				again := func() {
					t.Helper()
					if crash {
						d = d.PowerCut(0, 1)
						gone, cancel := context.WithCancel(t.Context())
						cancel()
						_ = sys.Stop(gone)
					} else {
						stopOK(t, sys)
					}
					closeOK(t, j)
					j = onDisk(t, d)
					sys = start(t, j, actors.Options{}, a)
				}
				again()
				time.Sleep(59*time.Minute + time.Second) // o1 is due; nobody spawned r
				settle(t, sys)
				synctest.Wait()
				if got, want := notes(t, j, "r"), []string{"o1 at " + at(time.Hour)}; !slices.Equal(got, want) {
					t.Errorf("notes are %v, want %v", got, want)
				}
				// What comes due while nothing runs fires at the next start.
				again()
				stopOK(t, sys)
				time.Sleep(time.Hour)
				sys = start(t, j, actors.Options{}, a)
				synctest.Wait()
				settle(t, sys)
				again()
				settle(t, sys)
				late := at(2*time.Hour + time.Second)
				if got, want := notes(t, j, "r"), []string{"o1 at " + at(time.Hour), "o2 at " + late}; !slices.Equal(got, want) {
					t.Errorf("notes are %v, want %v", got, want)
				}
				if _, err := j.Checkpoint(t.Context(), "toka.timers"); err != nil && !crash {
					t.Errorf("where to read on from: %v", err)
				}
				stopOK(t, sys)
				closeOK(t, j)
			})
		})
	}
}

// A resource's timer is a command to itself.
func TestTimerOfAResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		var decided []string
		stock := newStock(func(tu *actors.Turn, s Stock, c stockCommand) {
			decided = append(decided, fmt.Sprint(c))
			if r, ok := c.(Reserve); ok {
				must(t, actors.SetTimer(tu, stockCommands, r.Order, tu.Now().Add(time.Hour), stockCommand(Release{r.Order})))
			}
		})
		sys := start(t, j, actors.Options{}, stock)
		ref := spawnStock(t, sys, stock, "apples")
		ask(t, ref, Add{3})
		ask(t, ref, Reserve{"o1", 1})
		ask(t, ref, Reserve{"o2", 1})
		ask(t, ref, Release{"o2"}) // its timer will find nothing to do
		stopOK(t, sys)
		time.Sleep(time.Hour)
		for range 2 { // the second time there is nothing left to fire
			sys = start(t, j, actors.Options{}, stock)
			synctest.Wait()
			settle(t, sys)
			stopOK(t, sys)
		}
		if s := foldStock(t, j, "apples"); s.Free != 3 {
			t.Errorf("state %+v", s)
		}
		if want := []string{"{3}", "{o1 1}", "{o2 1}", "{o2}", "{o1}", "{o2}"}; !slices.Equal(decided, want) {
			t.Errorf("decided were %v, want %v", decided, want)
		}
		replayOK(t, j, newStock(func(tu *actors.Turn, _ Stock, c stockCommand) {}))
		closeOK(t, j)
	})
}

// A turn that is discarded sets no timer, and one that is done again sets it
// once.
func TestTimerIsPartOfTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		tries := 0
		a := reminder()
		react := a.React
		a.React = func(tu *actors.Turn, s struct{}, e events.Event) error {
			if err := react(tu, s, e); err != nil {
				return err
			}
			if tries++; tries < 3 {
				return errors.New("as planned")
			}
			return nil
		}
		sys := start(t, j, quick(3), a)
		must(t, a.Spawn(sys, "r"))
		place(t, sys, "o1")
		settle(t, sys)
		if got := kinds(stream(t, j, "$timers")); !slices.Equal(got, []string{"toka.timer.set"}) {
			t.Errorf("the timers' stream is %v", got)
		}
		stopOK(t, sys)
		rewind(t, j, "r")
		sys = start(t, j, quick(3), a)
		must(t, a.Spawn(sys, "r"))
		settle(t, sys)
		if got := kinds(stream(t, j, "$timers")); !slices.Equal(got, []string{"toka.timer.set"}) {
			t.Errorf("done again, the timers' stream is %v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		settle(t, sys)
		if got := notes(t, j, "r"); len(got) != 1 {
			t.Errorf("notes are %v", got)
		}
		stopOK(t, sys)
		closeOK(t, j)
	})
}

func TestTimerRefuses(t *testing.T) {
	j := memory(t)
	errs := make(chan error, 3)
	a := clerk(func(tu *actors.Turn, _ events.Event) error {
		errs <- actors.SetTimer(tu, reminded, "key", tu.Now(), Reminder{}) // no pattern for it
		errs <- actors.SetTimer(tu, placed, "", tu.Now(), Order{})
		errs <- actors.CancelTimer(tu, "\x00")
		return nil
	})
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "clerk"))
	place(t, sys, "o1")
	for range 3 {
		if err := soon(t, "an error", errs); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%v, want %v", err, events.ErrInvalid)
		}
	}
}

// The clock may be the caller's.
func TestTimersFollowTheGivenClock(t *testing.T) {
	j := memory(t)
	var mu sync.Mutex
	now := time.Now()
	var wait []time.Duration
	var ring []func()
	opts := actors.Options{
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
		AfterFunc: func(d time.Duration, f func()) func() bool {
			mu.Lock()
			defer mu.Unlock()
			wait, ring = append(wait, d), append(ring, f)
			return func() bool { return true }
		},
	}
	a := reminder()
	sys := start(t, j, opts, a)
	must(t, a.Spawn(sys, "r"))
	place(t, sys, "o1")
	settle(t, sys)
	mu.Lock()
	if len(wait) != 1 || wait[0] < 59*time.Minute || wait[0] > time.Hour+time.Minute {
		t.Errorf("it waits %v", wait)
	}
	now = now.Add(2 * time.Hour)
	f := ring[0]
	mu.Unlock()
	f()
	settle(t, sys)
	if got := notes(t, j, "r"); len(got) != 1 {
		t.Errorf("notes are %v", got)
	}
}
