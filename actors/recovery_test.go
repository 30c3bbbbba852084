package actors_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// After a restart all actors are live again, with what they had, and whoever
// waits is told how far it has come. TOKA_RECOVERED says how many, each with
// 100 events.
func TestRestore(t *testing.T) {
	n, each := 500, 10
	if s := os.Getenv("TOKA_RECOVERED"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
		each = 100
	}
	dir := t.TempDir()
	j := open(t, dir, journal.Options{Level: journal.LevelOS})
	stock, a := newStock(nil), clerk(nil)
	sys := start(t, j, actors.Options{}, stock, a)
	must(t, a.Spawn(sys, "clerk"))
	for i := range n {
		name := fmt.Sprint("stock ", i)
		ask(t, spawnStock(t, sys, stock, name), Add{1})
		var ds []events.Draft
		for k := range each - 2 { // the command, its event and these, no two the same
			d, err := stockEvents.Encode(Added{i*each + k})
			must(t, err)
			ds = append(ds, d)
		}
		_, err := sys.Publish(t.Context(), name, ds...)
		must(t, err)
	}
	place(t, sys, "o1")
	settle(t, sys)
	stopOK(t, sys)
	closeOK(t, j)

	j = open(t, dir, journal.Options{Level: journal.LevelOS, MustExist: true})
	sys = start(t, j, actors.Options{}, stock, a)
	last, total, calls := uint64(0), uint64(0), 0
	begin := time.Now()
	must(t, sys.Restore(within(t), func(done, of uint64) {
		if done < last || of < total || done > of {
			t.Errorf("%d of %d after %d of %d", done, of, last, total)
		}
		last, total, calls = done, of, calls+1
	}))
	t.Logf("%d actors of %d events each are live again after %v", n, each, time.Since(begin))
	if last != j.Position() || total != last || calls < int(last/10_000) {
		t.Errorf("told %d times, at last %d of %d, want %d", calls, last, total, j.Position())
	}
	if got := live(sys); len(got) != n+1 {
		t.Errorf("%d are live, want %d", len(got), n+1)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		sum := 1
		for k := range each - 2 {
			sum += i*each + k
		}
		if s := state(t, spawnStock(t, sys, stock, fmt.Sprint("stock ", i))); s.Free != sum {
			t.Errorf("stock %d: %+v, want %d", i, s, sum)
		}
	}
	stopOK(t, sys)

	// What is not registered is left alone, and named.
	sys = start(t, j, actors.Options{}, stock)
	err := sys.Restore(within(t), nil)
	if !errors.Is(err, actors.ErrUnknownBehaviour) {
		t.Errorf("%v, want %v", err, actors.ErrUnknownBehaviour)
	}
	if got := live(sys); len(got) != n {
		t.Errorf("%d are live, want %d", len(got), n)
	}
}
