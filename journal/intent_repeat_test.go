package journal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// TestIntentsAreRepeatable reads synthetic events with restarts and steering
// between, and then all of them at once into an index that was deleted. With
// TOKA_INTENT_EVENTS=1000000 it reads a million.
func TestIntentsAreRepeatable(t *testing.T) {
	n := 4000
	if text := os.Getenv("TOKA_INTENT_EVENTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	d := disktest.New()
	options := func(d *disktest.Disk) journal.Options {
		return journal.Options{Volume: d.Volume(), NewIntents: twoPhase, Level: journal.LevelOS}
	}
	rng := rand.New(rand.NewPCG(7, 7))
	done := 0
	for part := range 4 {
		j := open(t, "/data", options(d))
		for done < n*(part+1)/4 {
			var w journal.Write
			for ; done < n*(part+1)/4 && len(w.Events) < 500; done++ {
				e := draft("s", "test.happened", strconv.Itoa(done%50))
				if done%11 != 0 {
					e.Embedding = wandering(rng, done%400)
				}
				w.Events = append(w.Events, e)
			}
			if _, err := tryAppend(t, j, w); err != nil {
				t.Fatal(err)
			}
		}
		steer(t, j)
		if part == 1 { // a kill, and not a close
			d = d.PowerCut(100, 1)
			continue
		}
		closeOK(t, j)
	}
	full := d.PowerCut(100, 2)
	if err := full.Volume().FS.RemoveAll("/data/index"); err != nil {
		t.Fatal(err)
	}
	var said [2]string
	for i, d := range []*disktest.Disk{d, full} {
		j := open(t, "/data", options(d))
		h := blake3.New()
		changes, assigned := 0, 0
		for c, err := range j.IntentChanges(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			changes++
			_, _ = fmt.Fprintln(h, c)
		}
		for e, err := range j.Read(t.Context(), journal.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.Intent.ID.IsZero() {
				assigned++
			}
			_, _ = fmt.Fprintln(h, e.Position, e.Intent)
		}
		said[i] = fmt.Sprintf("%d events, %d with intents, %d changes, %d intents, %x", j.Position(), assigned, changes, j.Stats().Intents, h.Sum(nil)[:16])
		if assigned < n*10/11 || changes == 0 {
			t.Errorf("too little was assigned: %s", said[i])
		}
		closeOK(t, j)
	}
	t.Log(said[0])
	if said[0] != said[1] {
		t.Errorf("snapshot and tail: %s\nread anew:         %s", said[0], said[1])
	}
}
