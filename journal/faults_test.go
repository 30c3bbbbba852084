package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
)

// allFaults says that the tests of faults do as much as a change has to pass
// before it goes in: make faults, which make test runs, sets TOKA_FAULTS=1.
// Without it they do a part of that in a few seconds.
func allFaults() bool { return os.Getenv("TOKA_FAULTS") != "" }

// TestPowerCutAtRandom cuts the power under thirty-two writers, a subscriber
// and their checkpoints, before changes that are drawn, with a part of what was
// not synced kept that is drawn too.
func TestPowerCutAtRandom(t *testing.T) {
	want := int64(40)
	switch {
	case allFaults():
		want = 2000
	case underRace:
		want = 10
	}
	var cuts, checks, looks, acked, syncs int64
	for seed := uint64(1); cuts < want; seed++ {
		rng := rand.New(rand.NewPCG(seed, 4))
		r := &crashRun{t: t, disk: disktest.New(), stride: 2 + rng.Int64N(4), percents: []int{rng.IntN(101)}}
		if !allFaults() {
			r.stride = 16
		}
		if underRace {
			r.stride = 64
		}
		for w := range 32 {
			r.writers = append(r.writers, plan(seed, w, 6))
		}
		var n atomic.Int64
		r.disk.Before(func(op disktest.Op) {
			if op.Is(disktest.Sync, "log/0") && op.Is(disktest.Sync, ".log") {
				n.Add(1)
			}
		})
		r.run()
		if r.violations() > 0 {
			t.Fatalf("seed %d", seed)
		}
		cuts, checks, looks = cuts+r.points.Load(), checks+r.checks.Load(), looks+r.looks.Load()
		acked, syncs = acked+32*6, syncs+n.Load()
	}
	t.Logf("%d power cuts, %d checks of acknowledged and %d of observed events: lost 0, observed and absent 0, torn 0; %d writes shared %d syncs of the log",
		cuts, checks, looks, acked, syncs)
}

// TestEveryChangeFails lets the n-th change of any kind fail, once or from then
// on, for n from 1 until a run comes to its end.
func TestEveryChangeFails(t *testing.T) {
	step := func(nth int) int { return 1 + nth/4 }
	switch {
	case allFaults():
		step = func(int) int { return 1 }
	case underRace:
		step = func(nth int) int { return 3 + nth }
	}
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		t.Run(fmt.Sprint(cause), func(t *testing.T) {
			t.Parallel()
			points := 0
			for nth := 1; nth < 1000; nth += step(nth) {
				if !failing(t, nth, errors.Is(cause, syscall.ENOSPC), cause, "", "") {
					break
				}
				if t.Failed() {
					t.Fatalf("at the %d-th", nth)
				}
				points++
			}
			if points == 0 {
				t.Error("there was no change to fail")
			}
			t.Logf("%d failures tried: acknowledged and lost 0", points)
		})
	}
}

// TestStorageFailureFindsASwallowedOne plants a layer that keeps failures to
// itself: what was acknowledged is then not there, and the test must see it.
func TestStorageFailureFindsASwallowedOne(t *testing.T) {
	lost := 0
	for nth := 3; nth < 60 && lost == 0; nth += 7 {
		r := newFaultRun(t)
		r.disk.Lose(nth, true, func(op disktest.Op) bool { return op.Is(disktest.Write, ".log") })
		var err error
		if r.j, err = journal.Open(faultDir, r.options()); err != nil {
			t.Fatal(err)
		}
		r.use(60)
		if r.j.Err() != nil {
			t.Fatalf("the disk kept it to itself: %v", r.j.Err())
		}
		copied := r.disk.PowerCut(100, 1) // as a kill leaves it
		_ = r.close()
		j, err := journal.Open(faultDir, on(copied.Volume()))
		if err != nil {
			lost++
			continue
		}
		for _, a := range r.acked {
			if e, err := j.At(t.Context(), a.position); err != nil || e.Digest != a.digest {
				lost++
			}
		}
		closeOK(t, j)
	}
	if lost == 0 {
		t.Error("a failure that was swallowed made no difference")
	}
}

// TestOlderCopiesAreFound puts copies from before, of closed and of running
// journals, in the place of the journal. Each is refused. Where mark and
// directory are rolled back together, or all of the history was made anew with
// digests that fit, a head that was kept elsewhere tells.
func TestOlderCopiesAreFound(t *testing.T) {
	copies := 6
	if allFaults() {
		copies = 24
	}
	d := disktest.New()
	older := make([]*disktest.Disk, copies)
	for i := range older {
		j := open(t, markedDir, on(d.Volume()))
		addN(t, j, fmt.Sprintf("s/%d", i%3), 7)
		for i%2 == 1 && !strings.Contains(readFile(t, d.Volume().FS, markedFile), fmt.Sprintf("\nposition %d\n", 7*(i+1))) {
			if _, err := j.Head(t.Context()); err != nil { // something to do until the mark is there
				t.Fatal(err)
			}
		}
		if i%2 == 1 {
			older[i] = d.PowerCut(100, 1)
		}
		closeOK(t, j)
		if i%2 == 0 {
			older[i] = d.PowerCut(100, 1)
		}
	}
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s/0", 7)
	head, err := j.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := everything(t, j)
	closeOK(t, j)
	mark := markOf(t, d.Volume().FS)
	refused, told, planted := 0, 0, 0
	for i, old := range older {
		ends := 7 * (i + 1)
		together := old.PowerCut(100, 1)
		unmarked := old.PowerCut(100, 1)
		writeFile(t, old.Volume().FS, markedFile, mark)
		lostAt(t, old.Volume(), fmt.Sprintf("positions %d to %d are missing", ends+1, len(last)))
		refused++
		told += toldBy(t, together, head)
		// Without a mark nobody could know: so the test can see it.
		if err := unmarked.Volume().FS.Remove(markedFile); err != nil {
			t.Fatal(err)
		}
		k, err := journal.Open(markedDir, on(unmarked.Volume()))
		if err == nil && k.Position() == uint64(ends) {
			planted++
		}
		if err == nil {
			closeOK(t, k)
		}
	}
	rewritten := 0
	for i := range copies {
		other := disktest.New()
		j := open(t, markedDir, on(other.Volume()))
		for n, e := range last {
			payload := string(e.Payload)
			if n == i*len(last)/copies {
				payload = "another past"
			}
			add(t, j, withID(draft(e.Stream, e.Kind, payload), e.ID))
		}
		closeOK(t, j)
		rewritten += toldBy(t, other, head)
	}
	t.Logf("%d older copies refused, %d that came with their marks and %d rewritten histories found by a head; without a mark %d of %d open", refused, told, rewritten, planted, copies)
	if refused != copies || told != copies || rewritten != copies || planted != copies {
		t.Errorf("want %d of each", copies)
	}
}

// toldBy counts a journal that a head does not fit.
func toldBy(t *testing.T, d *disktest.Disk, head merkle.Head) int {
	t.Helper()
	j := open(t, markedDir, on(d.Volume()))
	defer closeOK(t, j)
	verified(t, j) // by itself it is sound
	h := head
	h.Origin = j.Origin()
	r, err := j.VerifyAgainst(t.Context(), []merkle.Head{h}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.OK {
		return 0
	}
	return 1
}

// TestClockJumps lets the clock jump; a record whose time is before that of the
// one before it is planted, and Verify must name it.
func TestClockJumps(t *testing.T) {
	var total tortured
	for seed := uint64(100); total.jumps < 50 || allFaults() && total.jumps < 1000; seed++ {
		tortureClock(t, seed, &total)
	}
	t.Logf("%d clock jumps: order by position, record times never decrease, what was retried is what was stored", total.jumps)

	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := on(disktest.New().Volume())
	o.Now = func() time.Time { now = now.Add(time.Second); return now }
	j := open(t, "/data", o)
	e := addN(t, j, "s", 5)[2]
	e.RecordTime = e.RecordTime.Add(-time.Hour)
	if err := j.LogDB().Set(journal.PositionKey('e', e.Position), events.AppendRecord(nil, &e, 0), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	r, err := j.Verify(t.Context(), nil)
	if err != nil || !slices.ContainsFunc(r.Problems, func(p journal.Problem) bool {
		return p.Position == e.Position && strings.Contains(p.What, "record time")
	}) {
		t.Errorf("a clock that went back was not found out: %+v, %v", r, err)
	}
}

// TestErasedSubjects looks for the plaintext and the keys of erased subjects in
// every file, before and after a compaction, and does not find them; before the
// erasure it finds the keys, so it can see them.
func TestErasedSubjects(t *testing.T) {
	subjects := 10
	if allFaults() {
		subjects = 50
	}
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	secret := func(i int) string { return fmt.Sprintf("the secret of subject %d, plain as day", i) }
	for i := range subjects {
		dr := draft(fmt.Sprintf("s/%d", i%5), "test.happened", secret(i))
		dr.SubjectKey = fmt.Sprint("subject ", i)
		add(t, j, dr)
	}
	files := func() string {
		all, err := d.Files("/data")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, text := range all {
			b.WriteString(text)
		}
		return b.String()
	}
	all, err := d.Files(markedDir + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, text := range all {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "key ") {
				lines = append(lines, strings.Fields(line)[2])
			}
		}
	}
	if before := files(); len(lines) != subjects || !strings.Contains(before, lines[0]) {
		t.Fatalf("%d keys for %d subjects", len(lines), subjects)
	}
	for i := range subjects {
		if err := j.Erase(t.Context(), fmt.Sprint("subject ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, when := range []string{"at once", "after the next start"} {
		text := files()
		for i := range subjects {
			if strings.Contains(text, secret(i)) || strings.Contains(text, lines[i]) {
				t.Errorf("%s: what subject %d had is still in a file", when, i)
			}
		}
		verified(t, j)
		closeOK(t, j)
		j = open(t, markedDir, on(d.Volume()))
	}
	for _, e := range everything(t, j) {
		if e.SubjectKey != "" && e.PayloadState != events.PayloadErased {
			t.Errorf("position %d reads as %v", e.Position, e.PayloadState)
		}
	}
	t.Logf("%d subjects erased: keys and plaintext in 0 files, and the journal verifies", subjects)
}

// TestBackupsUnderLoad takes backups one after the other while others append;
// each is held against a head that was signed before it was taken. One of them
// is then damaged, so that the test can see it.
func TestBackupsUnderLoad(t *testing.T) {
	backups := 3
	if allFaults() {
		backups = 20
	}
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	var writers sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := tryAppend(t, j, write(draft(fmt.Sprintf("s/%d", w), "test.happened", strings.Repeat("z", 300)+fmt.Sprint(i)))); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	var events uint64
	var heads []merkle.Head
	for i := range backups {
		head, err := j.Head(t.Context())
		for err == nil && head.Size < uint64(40*(i+1)) {
			head, err = j.Head(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		dir := fmt.Sprintf("/backups/%d", i)
		backup(t, j, dir)
		heads = append(heads, head)
		events += soundBackup(t, d, dir, heads...).Events
	}
	close(done)
	writers.Wait()
	later, err := j.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := journal.VerifyBackup(t.Context(), "/backups/0", on(d.Volume()), []merkle.Head{later}, nil)
	if err != nil || r.OK || !strings.Contains(fmt.Sprint(r.Problems), fmt.Sprintf("%d", later.Size)) {
		t.Errorf("a backup against a head that is later: %+v, %v", r, err)
	} else {
		t.Logf("%d backups verified, %d events in all; against a later head: %s", backups, events, r.Problems[0].What)
	}
}
