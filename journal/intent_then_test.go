package journal_test

import (
	"testing"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// What an event is told of the moment when it came is what happened to it then,
// whatever came since, and however long ago the last snapshot was.
func TestExplainAsItWas(t *testing.T) {
	j := open(t, "/data", making(disktest.New(), twoPhase))
	const n = 300
	was := make(map[uint64]journal.IntentExplanation)
	joined, founded, moved := 0, 0, 0
	explain := func(position uint64) journal.IntentExplanation {
		t.Helper()
		x, err := j.ExplainIntent(t.Context(), position, 3)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for i := range n {
		wander(t, j, i, 1)
		if i%7 == 3 || i%5 != 0 || i == 0 {
			continue
		}
		p := j.Position()
		x := explain(p)
		was[p] = x
		if x.Then.Threshold <= 0 || len(x.Then.Nearest) == 0 {
			t.Fatalf("event %d: %+v", p, x.Then)
		}
		if near := x.Then.Nearest[0]; x.Similarity < 1 {
			joined++
			if near.Similarity != x.Similarity || near.Part != x.Part || near.Similarity < x.Then.Threshold {
				t.Fatalf("event %d joined with %v, the nearest was %+v, the threshold %v", p, x.Similarity, near, x.Then.Threshold)
			}
		} else if near.Similarity < x.Then.Threshold {
			founded++
		}
	}
	for p, before := range was {
		x := explain(p)
		same(t, "the nearest then", x.Then.Nearest, before.Then.Nearest)
		if x.Then.Threshold != before.Then.Threshold {
			t.Fatalf("event %d: a threshold of %v, and %v when it came", p, x.Then.Threshold, before.Then.Threshold)
		}
		if len(x.Now.Nearest) > 0 && x.Now.Nearest[0] != x.Then.Nearest[0] {
			moved++
		}
	}
	if joined == 0 || founded == 0 || moved == 0 {
		t.Errorf("%d joined, %d founded, %d stand elsewhere now: nothing was tried", joined, founded, moved)
	}
}
