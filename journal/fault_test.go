package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// faults are the changes that can fail, by what the engine does with them.
var faults = []struct {
	name string
	kind disktest.Kind
	path string // a part of it
}{
	{"log write", disktest.Write, "log/0"},
	{"log sync", disktest.Sync, "log/0"},
	{"log create", disktest.Create, ".log"},
	{"log reuse", disktest.Reuse, ".log"},
	{"manifest write", disktest.Write, "MANIFEST"},
	{"manifest sync", disktest.Sync, "MANIFEST"},
	{"table create", disktest.Create, ".sst"},
	{"table write", disktest.Write, ".sst"},
	{"table sync", disktest.Sync, ".sst"},
	{"index table write", disktest.Write, "index/0"},
	{"marker create", disktest.Create, "marker."},
	{"directory sync", disktest.Sync, "/log$"},
}

// matches takes no kind and no path for any.
func matches(op disktest.Op, kind disktest.Kind, path string) bool {
	if kind == "" {
		return strings.Contains(op.Path, path)
	}
	if end, ok := strings.CutSuffix(path, "$"); ok {
		return op.Kind == kind && strings.HasSuffix(op.Path, end)
	}
	return op.Is(kind, path)
}

// faultRun is one journal whose disk fails while several writers, a callback
// and a subscriber use it.
type faultRun struct {
	t    *testing.T
	disk *disktest.Disk
	j    *journal.Journal

	fatals atomic.Int64
	fatal  chan error

	mu    sync.Mutex
	acked []seen
}

const faultDir = "/data/journal"

func newFaultRun(t *testing.T) *faultRun {
	return &faultRun{t: t, disk: disktest.New(), fatal: make(chan error, 10)}
}

func (r *faultRun) options() journal.Options {
	o := on(r.disk.Volume())
	o.OnFatal = func(err error) {
		r.fatals.Add(1)
		r.fatal <- err
	}
	return o
}

func (r *faultRun) ack(es []events.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range es {
		r.acked = append(r.acked, seen{e.Position, e.Digest})
	}
}

// use appends n events from each of four writers, and returns when every
// append, callback and the subscriber have ended, which they do within bound
// or the test fails.
func (r *faultRun) use(n int) {
	ctx, cancel := context.WithTimeout(r.t.Context(), bound)
	defer cancel()
	check := func(what string, err error) {
		if !errors.Is(err, journal.ErrFatal) {
			r.t.Errorf("%s: %v, want ErrFatal", what, err)
		}
	}
	subscriber := make(chan error, 1)
	subctx, stop := context.WithCancelCause(ctx)
	over := errors.New("over")
	go func() {
		for _, err := range r.j.Subscribe(subctx, journal.Query{}) {
			if err != nil {
				subscriber <- err
				return
			}
		}
		subscriber <- nil
	}()
	var callbacks, writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			stream := fmt.Sprintf("writer/%d", w)
			for i := range n {
				d := draft(stream, "fault.test", strings.Repeat("y", 700)+fmt.Sprint(i))
				if i%8 == 7 {
					callbacks.Add(1)
					err := r.j.Submit(ctx, write(d), func(receipt journal.Receipt, err error) {
						defer callbacks.Done()
						if err != nil {
							check("callback", err)
							return
						}
						r.ack(receipt.Events)
					})
					if err != nil {
						callbacks.Done()
						check("submit", err)
						return
					}
					continue
				}
				receipt, err := r.j.Append(ctx, write(d))
				if err != nil {
					check("append", err)
					return
				}
				r.ack(receipt.Events)
			}
		})
	}
	writers.Wait()
	done := make(chan struct{})
	go func() { callbacks.Wait(); close(done) }()
	soon(r.t, "the callbacks", done)
	if r.j.Err() == nil {
		stop(over)
	}
	err := soon(r.t, "the subscriber's end", subscriber)
	if !errors.Is(err, over) {
		check("subscribe", err)
	}
	stop(over)
}

// after checks what is promised of a journal that has failed.
func (r *faultRun) after(cause error) {
	t, j := r.t, r.j
	err := soon(t, "OnFatal", r.fatal)
	if !errors.Is(err, journal.ErrFatal) || !errors.Is(err, cause) {
		t.Errorf("OnFatal got %v, want ErrFatal and %v", err, cause)
	}
	soon(t, "Failed", j.Failed())
	if err := j.Err(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("Err: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if _, err := j.Append(ctx, write(draft("late", "fault.test", ""))); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("append after the failure: %v", err)
	}
	if err := j.Submit(ctx, write(draft("late", "fault.test", "")), func(journal.Receipt, error) {
		t.Error("the callback of a refused write was called")
	}); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("submit after the failure: %v", err)
	}
	for _, err := range j.Subscribe(ctx, journal.Query{After: j.Position()}) {
		if !errors.Is(err, journal.ErrFatal) {
			t.Errorf("subscribe after the failure: %v", err)
		}
	}
	// What was acknowledged can be read until the journal is closed.
	at, mark := map[uint64]events.Digest{}, j.Position()
	for e, err := range j.Read(ctx, journal.Query{}) {
		if err != nil {
			t.Errorf("read after the failure: %v", err)
			break
		}
		at[e.Position] = e.Digest
	}
	if uint64(len(at)) < mark {
		t.Errorf("read %d events after the failure, the mark was %d", len(at), mark)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.acked {
		if at[a.position] != a.digest {
			t.Errorf("position %d was acknowledged and cannot be read after the failure", a.position)
		}
	}
}

func (r *faultRun) close() error {
	closed := make(chan error, 1)
	go func() { closed <- r.j.Close() }()
	return soon(r.t, "the end of Close", closed)
}

// reopen opens the journal again and checks that everything acknowledged is
// there and life goes on.
func (r *faultRun) reopen() {
	t := r.t
	j, err := journal.Open(faultDir, on(r.disk.Volume()))
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	defer closeOK(t, j)
	for _, a := range r.acked {
		if e, err := j.At(t.Context(), a.position); err != nil || e.Digest != a.digest {
			t.Errorf("position %d was acknowledged; after opening again: %v", a.position, err)
		}
	}
	end := j.Position()
	if e := add(t, j, draft("after", "fault.test", "again"))[0]; e.Position != end+1 {
		t.Errorf("appended at %d after %d", e.Position, end)
	}
	verified(t, j)
}

// failing runs one journal into the nth change of a kind. It reports whether
// there was an nth.
func failing(t *testing.T, nth int, stays bool, cause error, kind disktest.Kind, path string) (fired bool) {
	r := newFaultRun(t)
	fault := r.disk.Fail(nth, stays, cause, func(op disktest.Op) bool { return matches(op, kind, path) })
	opened := make(chan error, 1)
	go func() {
		j, err := journal.Open(faultDir, r.options())
		r.j = j
		opened <- err
	}()
	hit := func() bool {
		select {
		case <-fault.Fired():
			return true
		default:
			return false
		}
	}
	err := soon(t, "the end of Open", opened)
	switch {
	case err != nil:
		if !hit() || !errors.Is(err, cause) {
			t.Fatalf("open: %v, want %v", err, cause)
		}
		if r.fatals.Load() != 0 {
			t.Error("Open returned the failure and OnFatal was called as well")
		}
	default:
		r.use(60)
		if r.j.Err() != nil {
			r.after(cause)
		}
		err := r.close()
		if again := r.close(); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("closed again: %v, at first %v", again, err)
		}
		if !hit() {
			if err != nil {
				t.Errorf("close: %v", err)
			}
			return false
		}
		if r.j.Err() != nil && !errors.Is(err, journal.ErrFatal) {
			t.Errorf("close after a failure: %v", err)
		}
		if _, err := r.j.Append(t.Context(), write(draft("late", "fault.test", ""))); err == nil {
			t.Error("append after Close succeeded")
		}
	}
	// The engines that were let go of must not change anything any more.
	var late atomic.Int64
	watching := atomic.Bool{}
	watching.Store(true)
	r.disk.Before(func(op disktest.Op) {
		if watching.Load() && op.Kind != disktest.Lock {
			late.Add(1)
		}
	})
	before, err := r.disk.Files(faultDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the first change of all failed
	}
	if err != nil {
		t.Fatal(err)
	}
	copied := &faultRun{t: t, disk: r.disk.PowerCut(100, 1), acked: r.acked}
	copied.reopen() // takes a while, in which a stray goroutine could do harm
	after, err := r.disk.Files(faultDir)
	if err != nil && len(before) > 0 {
		t.Fatal(err)
	}
	if n := late.Load(); n > 0 || len(before) != len(after) {
		t.Errorf("%d changes after Close", n)
	}
	for name := range before {
		if before[name] != after[name] {
			t.Errorf("%s changed after Close", name)
		}
	}
	watching.Store(false)
	fault.Repair()
	r.reopen()
	if n := r.fatals.Load(); n > 1 {
		t.Errorf("OnFatal was called %d times", n)
	}
	return true
}

func TestStorageFailure(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		// A bad block fails one change, a full disk all that follow.
		stays := errors.Is(cause, syscall.ENOSPC)
		for _, f := range faults {
			t.Run(fmt.Sprintf("%s/%v", f.name, cause), func(t *testing.T) {
				points := 0
				for nth := 1; nth < 400; nth += 1 + nth/3 + points/6*4 {
					// Whether a run recycles a log depends on how soon the engine
					// has flushed the one before: a first run that does not come
					// to the change is begun again.
					came := failing(t, nth, stays, cause, f.kind, f.path)
					for idle := 0; !came && points == 0 && idle < 20; idle++ {
						came = failing(t, nth, stays, cause, f.kind, f.path)
					}
					if !came {
						break
					}
					if t.Failed() {
						t.Fatalf("at the %d-th", nth)
					}
					points++
					if underRace && points == 5 {
						break
					}
				}
				if points == 0 {
					t.Error("the run never came to such a change")
				}
				t.Logf("%d failures tried", points)
			})
		}
	}
}

// A journal that fails again and again in one process keeps every event that
// it acknowledged in between.
func TestReopenAfterFailure(t *testing.T) {
	r := newFaultRun(t)
	for round := range 8 {
		j, err := journal.Open(faultDir, r.options())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r.j = j
		for _, a := range r.acked {
			if e, err := j.At(t.Context(), a.position); err != nil || e.Digest != a.digest {
				t.Errorf("round %d: position %d was acknowledged: %v", round, a.position, err)
			}
		}
		fault := r.disk.Fail(5+7*round, true, syscall.EIO, func(op disktest.Op) bool {
			return op.Is(disktest.Sync, ".log") || op.Is(disktest.Write, ".sst")
		})
		r.use(200)
		r.after(syscall.EIO)
		if err := r.close(); !errors.Is(err, journal.ErrFatal) {
			t.Errorf("close: %v", err)
		}
		fault.Repair()
		if n := r.fatals.Load(); n != int64(round)+1 {
			t.Fatalf("OnFatal was called %d times in %d failures", n, round+1)
		}
	}
	r.reopen()
	t.Logf("%d events acknowledged over 8 failures, lost 0", len(r.acked))
}

func TestOnFatalMayPanic(t *testing.T) {
	d := disktest.New()
	o := on(d.Volume())
	o.OnFatal = func(error) { panic("as a user's callback may") }
	j := open(t, faultDir, o)
	addN(t, j, "s", 3)
	j.FailStorage(errors.New("planted"))
	soon(t, "Failed", j.Failed())
	if err := j.Close(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
}

// What waits while the disk hangs is answered when the disk turns out to have
// failed: appends, callbacks, those that wait for room, and Close.
func TestFailureAnswersEveryoneWhoWaits(t *testing.T) {
	d := disktest.New()
	o := on(d.Volume())
	o.QueueBytes = 8 << 10
	j := open(t, faultDir, o)
	addN(t, j, "s", 3)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	d.Before(func(op disktest.Op) {
		if op.Is(disktest.Sync, ".log") {
			entered <- struct{}{}
			<-release
		}
	})
	d.Fail(1, true, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Sync, ".log") })
	const n = 40
	errs := make(chan error, 2*n)
	for range n {
		go func() {
			_, err := j.Append(t.Context(), write(draft("w", "fault.test", strings.Repeat("z", 1000))))
			errs <- err
		}()
	}
	soon(t, "a sync", entered)
	closed := make(chan error, 1)
	go func() { closed <- j.Close() }()
	close(release)
	for range n {
		if err := soon(t, "an answer", errs); !errors.Is(err, journal.ErrFatal) && !errors.Is(err, journal.ErrClosed) {
			t.Errorf("append: %v", err)
		}
	}
	if err := soon(t, "the end of Close", closed); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
}
