package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
)

func backup(t testing.TB, j *journal.Journal, dir string) journal.Backup {
	t.Helper()
	b, err := j.Backup(t.Context(), dir)
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	return b
}

// soundBackup verifies a backup against heads.
func soundBackup(t testing.TB, d *disktest.Disk, dir string, heads ...merkle.Head) journal.Report {
	t.Helper()
	r, err := journal.VerifyBackup(t.Context(), dir, on(d.Volume()), heads, nil)
	if err != nil || !r.OK {
		t.Fatalf("backup %s: %+v, %v", dir, r, err)
	}
	return r
}

// Backups are taken while writers append; each holds what was acknowledged
// before it began, is verified against a head from before it, and is restored
// to a journal that goes on.
func TestBackupUnderLoad(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	var wg sync.WaitGroup
	const writers, each, backups = 4, 150, 6
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				m := journal.Write{Events: []events.Draft{draft(fmt.Sprintf("s/%d", w), "test.happened", strings.Repeat("z", 500)+fmt.Sprint(i))}}
				m.Checkpoints = []journal.Checkpoint{{Name: fmt.Sprint(w), Position: uint64(i + 1)}}
				if _, err := tryAppend(t, j, m); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	type taken struct {
		dir  string
		head merkle.Head
		b    journal.Backup
	}
	var all []taken
	for i := range backups {
		head, err := j.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dir := fmt.Sprintf("/backups/%d", i)
		b := backup(t, j, dir)
		if b.Position < head.Size {
			t.Errorf("a backup of %d events after a head of %d", b.Position, head.Size)
		}
		all = append(all, taken{dir, head, b})
	}
	wg.Wait()
	all = append(all, taken{dir: "/backups/last", b: backup(t, j, "/backups/last")})
	all[backups].head, _ = j.Head(t.Context())
	want := verified(t, j)
	es := everything(t, j)
	for i, b := range all {
		r := soundBackup(t, d, b.dir, b.head)
		if r.Events < b.b.Position {
			t.Errorf("%s: %d events, it says %d", b.dir, r.Events, b.b.Position)
		}
		to := fmt.Sprintf("/restored/%d", i)
		restored, err := journal.Restore(b.dir, to, on(d.Volume()))
		if err != nil || restored.Epoch != 2 || restored.Position != r.Events {
			t.Fatalf("%s: %+v, %v", b.dir, restored, err)
		}
		k := open(t, to, on(d.Volume()))
		if got := verified(t, k); got.Content != r.Content || got.Root != r.Root || k.Origin() != j.Origin() {
			t.Errorf("restored %+v, the backup has %+v", got, r)
		}
		sameEvents(t, b.dir, everything(t, k), es[:r.Events])
		counts := map[string]uint64{}
		for _, e := range es[:r.Events] {
			counts[e.Stream]++
		}
		for w := range writers {
			n := counts[fmt.Sprintf("s/%d", w)]
			if c, err := k.Checkpoint(t.Context(), fmt.Sprint(w)); n > 0 && (err != nil || c.Position != n) {
				t.Errorf("%s: checkpoint %d at %d with %d events (%v)", b.dir, w, c.Position, n, err)
			}
		}
		if e := addN(t, k, "s/0", 1)[0]; e.Epoch != 2 || e.Position != r.Events+1 {
			t.Errorf("the restored journal goes on at %d-%d", e.Epoch, e.Position)
		}
		closeOK(t, k)
	}
	if r := soundBackup(t, d, "/backups/last"); r.Content != want.Content {
		t.Errorf("the last backup has content %s, the journal %s", r.Content, want.Content)
	}
	t.Logf("%d backups of up to %d events", len(all), len(es))
}

func TestRestoreAfterALoss(t *testing.T) {
	d := disktest.New()
	fsys := d.Volume().FS
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 20)
	backup(t, j, "/backup")
	addN(t, j, "s", 10)
	head, err := j.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeOK(t, j)
	// What is missing is named before it is restored.
	r, err := journal.VerifyBackup(t.Context(), "/backup", on(d.Volume()), []merkle.Head{head}, nil)
	if err != nil || r.OK || !strings.Contains(fmt.Sprint(r.Problems), "positions 21 to 30 are missing") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := journal.Restore("/backup", markedDir, on(d.Volume())); err == nil {
		t.Fatal("restored over a journal")
	}
	if err := fsys.RemoveAll(markedDir); err != nil {
		t.Fatal(err)
	}
	restored, err := journal.Restore("/backup", markedDir, on(d.Volume()))
	if err != nil || restored.Epoch != 2 || restored.Position != 20 || !strings.Contains(restored.Lost, "positions 21 to 30 are missing") {
		t.Fatalf("%+v, %v", restored, err)
	}
	j = open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 15)
	if _, err := j.ParseCursor("1-25"); !errors.Is(err, journal.ErrCursor) {
		t.Errorf("a cursor to what was lost: %v", err)
	}
	if p, err := j.ParseCursor("1-20"); err != nil || p != 20 {
		t.Errorf("a cursor to what was kept: %d, %v", p, err)
	}
	// The head tells the new life from the one that was lost.
	r, err = j.VerifyAgainst(t.Context(), []merkle.Head{head}, nil)
	if err != nil || r.OK || !strings.Contains(fmt.Sprint(r.Problems), "not those that the head stands for") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBackupIsRefused(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 5)
	backup(t, j, "/backup")
	if _, err := j.Backup(t.Context(), "/backup"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a backup over a backup: %v", err)
	}
	if _, err := memory(t).Backup(t.Context(), "/other"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a backup of a journal in memory: %v", err)
	}
	if _, err := journal.Open("/backup", on(d.Volume())); !errors.Is(err, journal.ErrNotJournal) || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("a backup was opened: %v", err)
	}
	for what, dir := range map[string]string{"a journal": markedDir, "nothing": "/nothing"} {
		if _, err := journal.Restore(dir, "/restored", on(d.Volume())); !errors.Is(err, journal.ErrNotBackup) {
			t.Errorf("%s was restored: %v", what, err)
		}
		if _, err := journal.VerifyBackup(t.Context(), dir, on(d.Volume()), nil, nil); !errors.Is(err, journal.ErrNotBackup) {
			t.Errorf("%s was verified: %v", what, err)
		}
	}
	writeFile(t, d.Volume().FS, "/backup/BACKUP", `{"toka_backup": 2}`)
	if _, err := journal.Restore("/backup", "/restored", on(d.Volume())); !errors.Is(err, journal.ErrFormat) {
		t.Errorf("a newer format: %v", err)
	}
}

// A disk that the backup does not fit on does not harm the journal, and what
// was written of it is removed.
func TestBackupThatFails(t *testing.T) {
	failed := 0
	for n := 1; ; n++ {
		d := disktest.New()
		j := open(t, markedDir, on(d.Volume()))
		addN(t, j, "s", 40)
		fault := d.Fail(n, false, syscall.ENOSPC, func(op disktest.Op) bool {
			return strings.HasPrefix(op.Path, "/backup") && op.Kind != disktest.Remove && op.Kind != disktest.Link
		})
		_, err := j.Backup(t.Context(), "/backup")
		select {
		case <-fault.Fired():
		default:
			if err != nil || failed < 8 {
				t.Errorf("%d failures, then %v", failed, err)
			}
			t.Logf("%d failing changes", failed)
			return
		}
		fault.Repair()
		failed++
		if err == nil {
			soundBackup(t, d, "/backup") // it got around it
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("change %d: %v", n, err)
		} else if _, err := d.Volume().FS.Stat("/backup"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("change %d: something is left (%v)", n, err)
		}
		addN(t, j, "s", 1)
		verified(t, j)
		closeOK(t, j)
	}
}

// A storage that fails while a backup is taken ends the backup.
func TestStorageFailsDuringABackup(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 10)
	d.Fail(1, true, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Sync, markedDir+"/log/") })
	if _, err := j.Backup(t.Context(), "/backup"); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("%v", err)
	}
	if err := j.Close(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
}

// Every byte of the backup's log that is changed is noticed before or by
// restoring it and verifying what came of it, or changes nothing.
func TestDamagedBackup(t *testing.T) {
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	addN(t, j, "s", 120)
	b := backup(t, j, "/backup")
	want := verified(t, j)
	files, err := d.Files("/backup")
	if err != nil {
		t.Fatal(err)
	}
	tried, found := 0, 0
	for path, text := range files {
		if strings.HasSuffix(path, "/") || len(text) == 0 {
			continue
		}
		for i := 7; i < len(text); i += 1 + len(text)/12 {
			changed := []byte(text)
			changed[i] ^= 0x20
			fsys := vfs.NewMem()
			for p, s := range files {
				if strings.HasSuffix(p, "/") {
					continue
				}
				if err := fsys.MkdirAll(fsys.PathDir(p), 0o700); err != nil {
					t.Fatal(err)
				}
				if p == path {
					s = string(changed)
				}
				writeFile(t, fsys, p, s)
			}
			o := on(d.Volume())
			v := *o.Volume
			v.FS = fsys
			o.Volume = &v
			tried++
			r, err := journal.VerifyBackup(t.Context(), "/backup", o, []merkle.Head{b.Head()}, nil)
			if err != nil || !r.OK {
				found++
			} else if r.Content != want.Content {
				t.Errorf("%s, byte %d: content %s and no word", path, i, r.Content)
			}
		}
	}
	t.Logf("%d bytes changed, %d found out, the others harmless", tried, found)
	if found == 0 {
		t.Error("nothing was found out")
	}
}
