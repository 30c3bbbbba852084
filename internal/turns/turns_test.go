package turns_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/internal/turns"
)

// drive runs what is there, each turn once more while it has any left, and
// returns whose turns those were, and when.
func drive(t *testing.T, seed uint64) (who []string, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		q := turns.New(seed, synctest.Wait)
		put := map[string]bool{}
		q.Delay = func(actor string) time.Duration {
			if actor == "slow" && !put[actor] {
				put[actor] = true
				return time.Minute
			}
			return 0
		}
		for _, actor := range []string{"b", "a", "c", "slow"} {
			left := 3
			var run func()
			run = func() {
				if left--; left > 0 {
					q.Dispatch(actor, run)
				}
			}
			q.Dispatch(actor, run)
		}
		rang := false
		if stop := q.AfterFunc(time.Hour, func() { rang = true }); !stop() || stop() {
			t.Error("a timer was not stopped once")
		}
		q.AfterFunc(time.Second, func() { q.Dispatch("timer", func() {}) })
		for end := began.Add(2 * time.Hour); time.Now().Before(end) && len(who) < 15; {
			if actor, ok := q.Step(); ok {
				who = append(who, actor)
				continue
			}
			q.Idle(nil, end)
		}
		if rang {
			t.Error("a stopped timer rang")
		}
		took = time.Since(began)
	})
	return who, took
}

func TestSameSeedSameOrder(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(10) {
		first, took := drive(t, seed)
		if again, _ := drive(t, seed); !slices.Equal(first, again) {
			t.Errorf("seed %d: %v, then %v", seed, first, again)
		}
		if took != time.Minute {
			t.Errorf("seed %d: it took %v", seed, took)
		}
		clock, slow := slices.Index(first, turns.Clock), slices.Index(first, "slow")
		if len(first) != 15 || clock < 9 || slow < clock {
			t.Errorf("seed %d: %v", seed, first)
		}
		orders[first[0]+first[1]+first[2]+first[3]] = true
	}
	if len(orders) < 5 {
		t.Errorf("10 seeds gave %d orders", len(orders))
	}
}
