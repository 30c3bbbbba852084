package journal_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A follower is told when it has caught up, each time, also where its filter
// selects nothing, and never before it has been given everything up to there.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, "", journal.Options{Level: journal.LevelMemory}.Small(20, 0))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var steps []string
		follow := func(q journal.Query) {
			go func() {
				for s, err := range j.Follow(ctx, q) {
					switch {
					case err != nil:
						steps = append(steps, "end")
					case s.CaughtUp:
						steps = append(steps, fmt.Sprint("caught up ", s.Position))
					case s.Event.Position != 0:
						steps = append(steps, fmt.Sprint("event ", s.Event.Position))
					}
				}
			}()
			synctest.Wait()
		}
		said := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(steps, want) {
				t.Errorf("followed %v, want %v", steps, want)
			}
			steps = nil
		}
		addN(t, j, "other", 3)
		add(t, j, draft("s", "a.b", "1"))
		follow(journal.Query{Stream: "s"})
		said("event 4", "caught up 4")
		addN(t, j, "other", 1)
		said("caught up 5")
		add(t, j, draft("s", "a.b", "2"), draft("other", "a.b", "3"))
		said("event 6", "caught up 7")
		cancel()
		said("end")
	})
}

// A follower starts at the beginning, at the end, after a position or at a
// time, and is told now and then how far it is while nothing matches.
func TestFollowStarts(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := journal.Options{Level: journal.LevelMemory, Now: func() time.Time { clock = clock.Add(time.Second); return clock }}.Small(20, 0)
	j := open(t, "", o)
	es := addN(t, j, "s", 100)
	for name, c := range map[string]struct {
		q     journal.Query
		first uint64
	}{
		"beginning":  {journal.Query{}, 1},
		"position":   {journal.Query{After: 42}, 43},
		"time":       {journal.Query{Since: es[59].RecordTime}, 60},
		"time, past": {journal.Query{Since: es[59].RecordTime.Add(time.Millisecond)}, 61},
		"end":        {journal.Query{After: j.Position()}, 0},
		"future":     {journal.Query{Since: clock.Add(time.Hour)}, 0},
	} {
		first := uint64(0)
		for s, err := range j.Follow(t.Context(), c.q) {
			if err != nil {
				t.Fatal(err)
			}
			if first = s.Event.Position; first != 0 || s.CaughtUp {
				break
			}
		}
		if first != c.first {
			t.Errorf("%s: begins with %d, want %d", name, first, c.first)
		}
	}
	var passed []uint64
	for s, err := range j.Follow(t.Context(), journal.Query{Kinds: []events.Pattern{events.MustPattern("none")}, Before: 101}) {
		if err != nil {
			t.Fatal(err)
		}
		passed = append(passed, s.Position)
	}
	if len(passed) == 0 || passed[len(passed)-1] != 100 || !slices.IsSorted(passed) {
		t.Errorf("passed %v", passed)
	}
}
