package journal_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

const (
	markedDir  = "/data/journal"
	markedFile = "/data/journal.mark"
)

// readFile returns what a file holds, nothing if it is not there.
func readFile(t testing.TB, fsys vfs.FS, path string) string {
	t.Helper()
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t testing.TB, fsys vfs.FS, path, text string) {
	t.Helper()
	f, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte(text))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// replaceDir replaces a directory by another.
func replaceDir(t testing.TB, fsys vfs.FS, from, to string) {
	t.Helper()
	if err := fsys.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(fsys, fsys, from, to, vfs.CloneSync); err != nil || !ok {
		t.Fatalf("copy %s: %v, %v", from, ok, err)
	}
}

func lostAt(t testing.TB, v *disk.Volume, says ...string) {
	t.Helper()
	before := markOf(t, v.FS)
	j, err := journal.Open(markedDir, on(v))
	if err == nil {
		defer j.Close()
		t.Fatalf("it was opened at %d", j.Position())
	}
	if !errors.Is(err, journal.ErrLost) {
		t.Fatalf("%v, want ErrLost", err)
	}
	for _, s := range append(says, markedFile) {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if before != markOf(t, v.FS) {
		t.Error("the mark was changed by a refusal")
	}
}

func markOf(t testing.TB, fsys vfs.FS) string { return readFile(t, fsys, markedFile) }

func TestMarkIsExactAfterClose(t *testing.T) {
	d := disktest.New()
	for total := 0; total < 60; total += 20 {
		j := open(t, markedDir, on(d.Volume()))
		if w := j.Window(); w != (journal.Window{}) {
			t.Errorf("after a clean close events %d to %d are beyond the mark", w.First, w.Last)
		}
		addN(t, j, "s", 20)
		closeOK(t, j)
		text := readFile(t, d.Volume().FS, markedFile)
		for _, want := range []string{fmt.Sprintf("\nposition %d\n", total+20), "\nepoch 1\n", "\nstate closed\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("the mark does not say %q: %s", want, text)
			}
		}
	}
}

func TestMarkFollows(t *testing.T) {
	d := disktest.New()
	written := make(chan struct{}, 100)
	d.Before(func(op disktest.Op) {
		if op.Is(disktest.Sync, "/data") && op.Path == "/data" { // the last change of a mark
			select {
			case written <- struct{}{}:
			default:
			}
		}
	})
	j := open(t, markedDir, on(d.Volume()))
	e := addN(t, j, "s", 3)[2]
	for !strings.Contains(readFile(t, d.Volume().FS, markedFile), "\nrecord "+e.RecordHash().String()+"\nstate open\n") {
		soon(t, "the next mark", written)
	}
	// As after the end of the process: what came since then is the window.
	cut := d.PowerCut(100, 1)
	j2 := open(t, markedDir, on(cut.Volume()))
	if w := j2.Window(); w != (journal.Window{}) || j2.Position() != 3 {
		t.Errorf("%d events, %d to %d beyond the mark", j2.Position(), w.First, w.Last)
	}
	addN(t, j2, "s", 2)
	cut2 := cut.PowerCut(100, 1)
	j3 := open(t, markedDir, on(cut2.Volume()))
	if w := j3.Window(); j3.Position() != 5 || w.Last != 0 && w.Last != 5 {
		t.Errorf("%d events, %d to %d beyond the mark", j3.Position(), w.First, w.Last)
	}
}

func TestLossIsRefused(t *testing.T) {
	older := func(t *testing.T) (*disktest.Disk, vfs.FS) {
		d := disktest.New()
		fsys := d.Volume().FS
		j := open(t, markedDir, on(d.Volume()))
		addN(t, j, "s", 30)
		closeOK(t, j)
		replaceDir(t, fsys, markedDir, "/older")
		j = open(t, markedDir, on(d.Volume()))
		addN(t, j, "s", 12)
		closeOK(t, j)
		return d, fsys
	}
	for name, lose := range map[string]struct {
		harm func(t *testing.T, fsys vfs.FS)
		says []string
	}{
		"the log is an older copy": {func(t *testing.T, fsys vfs.FS) {
			replaceDir(t, fsys, "/older/log", markedDir+"/log")
		}, []string{"positions 31 to 42 are missing", "the store ends at 30", "restore --accept-loss"}},
		"all of it is an older copy": {func(t *testing.T, fsys vfs.FS) {
			replaceDir(t, fsys, "/older", markedDir)
		}, []string{"positions 31 to 42 are missing"}},
		"the log is gone": {func(t *testing.T, fsys vfs.FS) {
			if err := fsys.RemoveAll(markedDir + "/log"); err != nil {
				t.Fatal(err)
			}
		}, []string{"another journal", "42 events"}},
		"the directory is gone": {func(t *testing.T, fsys vfs.FS) {
			if err := fsys.RemoveAll(markedDir); err != nil {
				t.Fatal(err)
			}
		}, []string{"a journal with 42 events belongs here", "remove the mark"}},
		"another life": {func(t *testing.T, fsys vfs.FS) {
			mark := readFile(t, fsys, markedFile)
			replaceDir(t, fsys, "/older", markedDir)
			if err := fsys.Remove(markedFile); err != nil {
				t.Fatal(err)
			}
			j := open(t, markedDir, on(&disk.Volume{FS: fsys}))
			addN(t, j, "s", 20)
			closeOK(t, j)
			writeFile(t, fsys, markedFile, mark)
		}, []string{"position 42 holds another event"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, fsys := older(t)
			lose.harm(t, fsys)
			lostAt(t, d.Volume(), lose.says...)
			lostAt(t, d.Volume(), lose.says...) // and again
		})
	}
}

func TestDamagedMarkIsRefused(t *testing.T) {
	d := disktest.New()
	fsys := d.Volume().FS
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 3)
	closeOK(t, j)
	text := readFile(t, fsys, markedFile)
	for i := 0; i < len(text); i += 5 {
		for bit := range 8 {
			changed := []byte(text)
			changed[i] ^= 1 << bit
			writeFile(t, fsys, markedFile, string(changed))
			if _, err := journal.Open(markedDir, on(d.Volume())); !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), markedFile) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	writeFile(t, fsys, markedFile, text)
	closeOK(t, open(t, markedDir, on(d.Volume())))
}

// A loss that was accepted starts an epoch, in which the journal goes on.
func TestAcceptLoss(t *testing.T) {
	d := disktest.New()
	fsys := d.Volume().FS
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 30)
	if _, err := tryAppend(t, j, journal.Write{Checkpoints: []journal.Checkpoint{{Name: "ahead", Position: 35}, {Name: "behind", Position: 20}}}); err != nil {
		t.Fatal(err)
	}
	closeOK(t, j)
	if a, err := journal.AcceptLoss(markedDir, on(d.Volume())); err != nil || a != (journal.Acceptance{Epoch: 1, Position: 30}) {
		t.Errorf("nothing was missing: %+v, %v", a, err)
	}
	replaceDir(t, fsys, markedDir, "/older")
	j = open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 12)
	closeOK(t, j)
	replaceDir(t, fsys, "/older/log", markedDir+"/log")
	lostAt(t, d.Volume())
	a, err := journal.AcceptLoss(markedDir, on(d.Volume()))
	if err != nil || a.Epoch != 2 || a.Position != 30 || !strings.Contains(a.Lost, "positions 31 to 42 are missing") {
		t.Fatalf("%+v, %v", a, err)
	}
	j = open(t, markedDir, on(d.Volume()))
	if j.Epoch() != 2 || j.Position() != 30 {
		t.Fatalf("epoch %d, position %d", j.Epoch(), j.Position())
	}
	for name, want := range map[string]uint64{"ahead": 30, "behind": 20} {
		if c, err := j.Checkpoint(t.Context(), name); err != nil || c.Position != want {
			t.Errorf("checkpoint %q: %+v, %v; want position %d", name, c, err, want)
		}
	}
	e := addN(t, j, "s", 5)[0]
	if e.Epoch != 2 || e.Position != 31 {
		t.Errorf("the first event of the new epoch is %d-%d", e.Epoch, e.Position)
	}
	verified(t, j)
	for s, want := range map[string]uint64{"1-0": 0, "1-12": 12, "1-30": 30, "2-30": 30, "2-35": 35, "35": 35, "2-7": 7} {
		if got, err := j.ParseCursor(s); err != nil || got != want {
			t.Errorf("cursor %s: %d, %v", s, got, err)
		}
	}
	for s, says := range map[string]string{"1-31": "epoch 1 had after position 30 was lost", "1-42": "epoch 2 went on", "2-36": "it ends at 2-35", "3-1": "in epoch 2"} {
		if got, err := j.ParseCursor(s); !errors.Is(err, journal.ErrCursor) || !strings.Contains(err.Error(), says) {
			t.Errorf("cursor %s: %d, %v", s, got, err)
		}
	}
	closeOK(t, j)
	// A store of the old epoch is an older copy, even if it has as many events.
	replaceDir(t, fsys, "/older", markedDir)
	lostAt(t, d.Volume(), "the store is in epoch 1, the mark in epoch 2")
	if a, err = journal.AcceptLoss(markedDir, on(d.Volume())); err != nil || a.Epoch != 3 || a.Position != 30 {
		t.Errorf("%+v, %v", a, err)
	}
}

// A hole in the log ends what can be gone on with.
func TestAcceptAHole(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 30)
	if err := j.LogDB().Delete(journal.PositionKey('e', 21), nil); err != nil {
		t.Fatal(err)
	}
	closeOK(t, j)
	a, err := journal.AcceptLoss(markedDir, on(d.Volume()))
	if err != nil || a.Epoch != 2 || a.Position != 20 || a.Lost == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	j = open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 3)
	if r := verified(t, j); r.Events != 23 {
		t.Errorf("%d events", r.Events)
	}
	if _, err := j.ParseCursor("1-21"); !errors.Is(err, journal.ErrCursor) {
		t.Errorf("a cursor into the hole: %v", err)
	}
}

// The mark is never ahead of the store, whenever the power is cut: each change
// that writes a mark is tried, with losses in the store as well.
func TestMarkNeverRefusesFalsely(t *testing.T) {
	var cuts, marks atomic.Int64
	d := disktest.New()
	d.Before(func(op disktest.Op) {
		if !strings.Contains(op.Path, ".mark") && op.Path != "/data" && !op.Is(disktest.Sync, ".log") {
			return
		}
		marks.Add(1)
		for _, percent := range []int{0, 50, 100} {
			cut := d.PowerCut(percent, uint64(marks.Load()))
			j, err := journal.Open(markedDir, on(cut.Volume()))
			if err != nil {
				t.Errorf("before %v, %d%% kept: %v", op, percent, err)
				return
			}
			if err := j.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			cuts.Add(1)
		}
	})
	for range 4 {
		j := open(t, markedDir, on(d.Volume()))
		addN(t, j, "s", 8)
		closeOK(t, j)
	}
	t.Logf("%d changes, %d power cuts", marks.Load(), cuts.Load())
	if cuts.Load() < 100 {
		t.Error("too few to show anything")
	}
}

// With the bug that the mark is written of what is not durable yet, the same
// power cuts find it out: the mark of a later journal beside an earlier store.
func TestAMarkAheadIsRefused(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 8)
	early := d.PowerCut(0, 1)
	addN(t, j, "s", 1)
	closeOK(t, j)
	writeFile(t, early.Volume().FS, markedFile, readFile(t, d.Volume().FS, markedFile))
	lostAt(t, early.Volume(), "positions 9 to 9 are missing")
}

// Where nothing can be written beside the directory the mark is kept within.
func TestMarkWithin(t *testing.T) {
	d := disktest.New()
	fault := d.Fail(1, true, syscall.EROFS, func(op disktest.Op) bool { return strings.Contains(op.Path, ".mark") })
	fsys := d.Volume().FS
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 8)
	closeOK(t, j)
	replaceDir(t, fsys, markedDir+"/log", "/older")
	j = open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 8)
	closeOK(t, j)
	replaceDir(t, fsys, "/older", markedDir+"/log")
	if _, err := journal.Open(markedDir, on(d.Volume())); !errors.Is(err, journal.ErrLost) || !strings.Contains(err.Error(), markedDir+"/MARK") {
		t.Errorf("%v", err)
	}
	fault.Repair()
	if _, err := journal.Open(markedDir, on(d.Volume())); !errors.Is(err, journal.ErrLost) {
		t.Errorf("%v", err)
	}
}

func TestMarkElsewhere(t *testing.T) {
	d := disktest.New()
	o := on(d.Volume())
	o.Mark = "/elsewhere"
	j := open(t, markedDir, o)
	addN(t, j, "s", 8)
	closeOK(t, j)
	if text := readFile(t, d.Volume().FS, "/elsewhere"); !strings.Contains(text, "position 8\n") {
		t.Errorf("the mark says %q", text)
	}
	if text := readFile(t, d.Volume().FS, markedFile); text != "" {
		t.Errorf("there is another mark: %q", text)
	}
}
