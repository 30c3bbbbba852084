package journal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// TestTorture draws rounds from a seed: power cuts under a random load, a
// random change of the disk that fails, a clock that jumps. It does one round
// of each; TOKA_TORTURE=30m goes on for so long, and TOKA_TORTURE_SEED=7
// begins with another seed. make torture runs the long form and keeps what it
// prints.
func TestTorture(t *testing.T) {
	limit, seed := time.Duration(0), uint64(1)
	if s := os.Getenv("TOKA_TORTURE"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatalf("TOKA_TORTURE: %v", err)
		}
	}
	if s := os.Getenv("TOKA_TORTURE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("TOKA_TORTURE_SEED: %v", err)
		}
	}
	var total tortured
	for began := time.Now(); ; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Run("power cuts", func(t *testing.T) { torturePower(t, seed, &total) })
			t.Run("faults", func(t *testing.T) { tortureFault(t, seed, &total) })
			t.Run("clock", func(t *testing.T) { tortureClock(t, seed, &total) })
		})
		if t.Failed() {
			t.Logf("run it again with TOKA_TORTURE_SEED=%d", seed)
			break
		}
		if time.Since(began) >= limit {
			break
		}
	}
	t.Logf("%d rounds: %d power cuts, %d failing changes, %d clock jumps; %d events acknowledged, %d checks of them, %d of observed ones: lost 0, observed and absent 0, torn 0",
		total.rounds, total.cuts, total.faults, total.jumps, total.acked, total.checks, total.looks)
	if total.cuts == 0 || total.faults == 0 || total.jumps == 0 || total.checks == 0 || total.looks == 0 {
		t.Error("some part of it tried nothing")
	}
}

type tortured struct {
	rounds, cuts, faults, jumps, acked, checks, looks int64
}

// torturePower cuts the power before some of the changes that up to sixteen
// writers cause, keeping a random part of what was not synced.
func torturePower(t *testing.T, seed uint64, total *tortured) {
	rng := rand.New(rand.NewPCG(seed, 1))
	writers := 1 + rng.IntN(16)
	r := &crashRun{t: t, disk: disktest.New(), stride: 1 + rng.Int64N(4), percents: []int{0, rng.IntN(101)}}
	if underRace {
		r.stride *= 12
	}
	for w := range writers {
		r.writers = append(r.writers, plan(seed, w, 2*(1+rng.IntN(80/writers+1))))
	}
	r.run()
	total.rounds++
	total.cuts += r.points.Load()
	total.acked += int64(len(r.acked))
	total.checks += r.checks.Load()
	total.looks += r.looks.Load()
}

// tortureFault fails one change of a random kind, late or early. A run that
// does not come to it is tried with an earlier one.
func tortureFault(t *testing.T, seed uint64, total *tortured) {
	rng := rand.New(rand.NewPCG(seed, 2))
	f := faults[rng.IntN(len(faults))]
	cause, stays := error(syscall.EIO), false
	if rng.IntN(2) == 0 {
		cause, stays = syscall.ENOSPC, true
	}
	for nth := 1 + rng.IntN(120); nth > 0; nth /= 2 {
		if failing(t, nth, stays, cause, f.kind, f.path) {
			total.faults++
			return
		}
	}
}

// tortureClock lets the clock jump by hours and years, forwards and back, and
// stand still, also while the journal is closed. Order is by position, record
// times never decrease, and what is retried is what was stored.
func tortureClock(t *testing.T, seed uint64, total *tortured) {
	rng := rand.New(rand.NewPCG(seed, 3))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := disktest.New()
	o := on(d.Volume())
	o.Now = func() time.Time { return now }
	jump := func() {
		total.jumps++
		switch rng.IntN(4) {
		case 0:
			now = now.Add(time.Duration(rng.IntN(3)-1) * time.Hour)
		case 1:
			now = now.AddDate(10*(rng.IntN(3)-1), 0, 0)
		case 2:
			now = now.Add(time.Duration(rng.IntN(1000)) * time.Microsecond)
		}
	}
	var stored []events.Event
	for range 4 {
		j := open(t, "/data", o)
		for range 20 {
			jump()
			stored = append(stored, add(t, j, draft(fmt.Sprint("s/", rng.IntN(3)), "clock.test", fmt.Sprint(rng.Uint64())))...)
			old := stored[rng.IntN(len(stored))]
			again := add(t, j, withID(draft(old.Stream, old.Kind, string(old.Payload)), old.ID))[0]
			if again.Position != old.Position || again.Digest != old.Digest {
				t.Errorf("event %s was stored at %d and is at %d when it is tried again", old.ID, old.Position, again.Position)
			}
		}
		closeOK(t, j)
		jump()
	}
	j := open(t, "/data", o)
	var last time.Time
	n := 0
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Position != uint64(n) || e.Digest != stored[n-1].Digest {
			t.Fatalf("event %d of the journal is %d, %s", n, e.Position, e.ID)
		}
		if e.RecordTime.Before(last) {
			t.Errorf("position %d was recorded at %v, the one before at %v", e.Position, e.RecordTime, last)
		}
		last = e.RecordTime
	}
	if n != len(stored) {
		t.Errorf("%d events, %d were stored", n, len(stored))
	}
	verified(t, j)
}
