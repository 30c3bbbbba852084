package disk_test

import (
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk"
	"github.com/tokaworks/toka/internal/disk/disktest"
)

// parked counts the goroutines of this process that a guard keeps.
func parked() int {
	for size := 1 << 20; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size {
			return strings.Count(string(b[:n]), "internal/disk.park(")
		}
	}
}

// mustPark runs change on a goroutine of its own and waits until a guard has
// parked it. A parked goroutine stays for ever, so one is left behind.
func mustPark(t *testing.T, what string, change func()) {
	t.Helper()
	before := parked()
	returned := make(chan struct{})
	go func() {
		change()
		close(returned)
	}()
	for deadline := time.Now().Add(10 * time.Second); parked() <= before; runtime.Gosched() {
		select {
		case <-returned:
			t.Fatalf("%s returned; it should be parked", what)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s neither returned nor was parked", what)
		}
	}
}

// failures collects what a guard reports.
type failures struct {
	mu   sync.Mutex
	errs []error
	c    chan error
}

func newFailures() *failures { return &failures{c: make(chan error, 100)} }

func (f *failures) report(err error) {
	f.mu.Lock()
	f.errs = append(f.errs, err)
	f.mu.Unlock()
	f.c <- err
}

func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.errs)
}

// bench is a guard on a disk with one open file, /d/000001.log.
type bench struct {
	disk     *disktest.Disk
	guard    *disk.Guard
	log      vfs.File
	failures *failures
}

func newBench(t *testing.T, skipLogSync bool) *bench {
	t.Helper()
	b := &bench{disk: disktest.New(), failures: newFailures()}
	b.guard = disk.NewGuard(b.disk.Volume(), skipLogSync, b.failures.report)
	var err error
	if err = b.guard.MkdirAll("/d", 0o700); err == nil {
		b.log, err = b.guard.Create("/d/000001.log", vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// changes lists every way to change something through a guard.
func (b *bench) changes() map[string]func() {
	g, f := b.guard, b.log
	return map[string]func(){
		"Create":        func() { _, _ = g.Create("/d/new", vfs.WriteCategoryUnspecified) },
		"ReuseForWrite": func() { _, _ = g.ReuseForWrite("/d/000001.log", "/d/new", vfs.WriteCategoryUnspecified) },
		"OpenReadWrite": func() { _, _ = g.OpenReadWrite("/d/new", vfs.WriteCategoryUnspecified) },
		"Rename":        func() { _ = g.Rename("/d/000001.log", "/d/new") },
		"Link":          func() { _ = g.Link("/d/000001.log", "/d/new") },
		"Remove":        func() { _ = g.Remove("/d/000001.log") },
		"RemoveAll":     func() { _ = g.RemoveAll("/d") },
		"MkdirAll":      func() { _ = g.MkdirAll("/d/new", 0o700) },
		"Write":         func() { _, _ = f.Write([]byte("x")) },
		"WriteAt":       func() { _, _ = f.WriteAt([]byte("x"), 0) },
		"Sync":          func() { _ = f.Sync() },
		"SyncData":      func() { _ = f.SyncData() },
		"SyncTo":        func() { _, _ = f.SyncTo(1) },
		"Preallocate":   func() { _ = f.Preallocate(0, 1) },
	}
}

func TestGuardParksAfterTheFirstFailure(t *testing.T) {
	for _, first := range []string{"Create", "ReuseForWrite", "OpenReadWrite", "Rename", "Write", "Sync", "SyncData"} {
		t.Run(first, func(t *testing.T) {
			b := newBench(t, false)
			b.disk.Fail(1, false, syscall.EIO, func(disktest.Op) bool { return true })
			mustPark(t, "the change that failed", b.changes()[first])
			err := <-b.failures.c
			if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "/d/") {
				t.Errorf("reported %v, want EIO and the path", err)
			}
			files, err := b.disk.Files("/d")
			if err != nil {
				t.Fatal(err)
			}
			for name, change := range b.changes() {
				mustPark(t, name+" after the failure", change)
			}
			after, err := b.disk.Files("/d")
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(files, after) {
				t.Errorf("files changed after the failure: %q, then %q", files, after)
			}
			b.guard.Fail(errors.New("again"))
			if n := b.failures.count(); n != 1 {
				t.Errorf("reported %d times", n)
			}
			// Reading goes on.
			if _, err := b.guard.List("/d"); err != nil {
				t.Errorf("List: %v", err)
			}
		})
	}
	t.Run("an answer is no failure", func(t *testing.T) {
		b := newBench(t, false)
		if err := b.guard.Remove("/d/absent"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Remove of what is not there: %v", err)
		}
		if err := b.guard.Link("/d/absent", "/d/new"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Link of what is not there: %v", err)
		}
		if _, err := b.guard.OpenDir("/absent"); err == nil {
			t.Error("OpenDir of what is not there succeeded")
		}
		if _, err := b.log.Write([]byte("x")); err != nil || b.failures.count() != 0 {
			t.Errorf("then Write: %v, with %d failures reported", err, b.failures.count())
		}
	})
}

func TestAbandonedGuardChangesNothing(t *testing.T) {
	b := newBench(t, false)
	// One change is on its way when the guard is abandoned.
	entered, release := make(chan struct{}), make(chan struct{})
	b.disk.Before(func(op disktest.Op) {
		if op.Is(disktest.Write, ".log") {
			close(entered)
			<-release
		}
	})
	var written atomic.Bool
	go func() {
		_, _ = b.log.Write([]byte("late"))
		written.Store(true)
	}()
	<-entered
	abandoned := make(chan string)
	go func() {
		b.guard.Abandon()
		files, err := b.disk.Files("/d")
		if err != nil {
			t.Error(err)
		}
		abandoned <- files["/d/000001.log"]
	}()
	select {
	case <-abandoned:
		t.Fatal("Abandon returned while a change was running")
	default:
	}
	close(release)
	if got := <-abandoned; got != "late" {
		t.Errorf("when Abandon returned the file held %q; the change that it waited for wrote %q", got, "late")
	}

	before, err := b.disk.Files("/d")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range b.changes() {
		mustPark(t, name, change)
	}
	after, err := b.disk.Files("/d")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, after) {
		t.Errorf("files changed after Abandon: %q, then %q", before, after)
	}
	if n := b.failures.count(); n != 0 {
		t.Errorf("Abandon reported %d failures", n)
	}
	b.guard.Abandon() // twice is as good as once
}

func TestSkipLogSync(t *testing.T) {
	for _, skip := range []bool{true, false} {
		b := newBench(t, skip)
		var syncs atomic.Int64
		b.disk.Before(func(op disktest.Op) {
			if op.Kind == disktest.Sync {
				syncs.Add(1)
			}
		})
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		recycled, err := b.guard.ReuseForWrite("/d/000001.log", "/d/000002.log", vfs.WriteCategoryUnspecified)
		do(err)
		for _, f := range []vfs.File{b.log, recycled} {
			_, err := f.Write([]byte("x"))
			do(err)
			do(f.Sync())
			do(f.SyncData())
			_, err = f.SyncTo(1)
			do(err)
		}
		want := int64(4)
		if skip {
			want = 0
		}
		if got := syncs.Load(); got != want {
			t.Errorf("skip %v: %d syncs of logs, want %d", skip, got, want)
		}
		if files, err := b.disk.Files("/d"); err != nil || files["/d/000002.log"] == "" {
			t.Errorf("skip %v: the write of a log did not reach the file system: %q, %v", skip, files, err)
		}
		for _, name := range []string{"/d/000003.sst", "/d/MANIFEST-000001"} {
			f, err := b.guard.Create(name, vfs.WriteCategoryUnspecified)
			do(err)
			do(f.Sync())
		}
		dir, err := b.guard.OpenDir("/d")
		do(err)
		do(dir.Sync())
		if got := syncs.Load() - want; got != 3 {
			t.Errorf("skip %v: %d syncs of tables, manifests and directories, want 3", skip, got)
		}
	}
}

func TestGuardCoversRecycledLogs(t *testing.T) {
	for _, op := range []disktest.Kind{disktest.Write, disktest.Sync} {
		t.Run(string(op), func(t *testing.T) {
			b := newBench(t, false)
			recycled, err := b.guard.ReuseForWrite("/d/000001.log", "/d/000002.log", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			b.disk.Fail(1, false, syscall.EIO, func(o disktest.Op) bool { return o.Is(op, "000002.log") })
			mustPark(t, "a failing change of a recycled log", func() {
				_, _ = recycled.Write([]byte("x"))
				_ = recycled.Sync()
			})
			if err := <-b.failures.c; !errors.Is(err, syscall.EIO) {
				t.Errorf("reported %v", err)
			}
		})
	}
}

func TestMarkerComesLast(t *testing.T) {
	b := newBench(t, false)
	var ops []string
	b.disk.Before(func(op disktest.Op) { ops = append(ops, op.String()) })
	manifest, err := b.guard.Create("/d/MANIFEST-000001", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.guard.Create("/d/marker.manifest.000001.MANIFEST-000001", vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	want := []string{"create /d/MANIFEST-000001", "sync /d/MANIFEST-000001", "sync /d", "create /d/marker.manifest.000001.MANIFEST-000001"}
	if !slices.Equal(ops, want) {
		t.Errorf("%q, want %q", ops, want)
	}
	b.disk.Fail(1, false, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Sync, "/d") })
	mustPark(t, "a marker whose directory cannot be synced", func() {
		_, _ = b.guard.Create("/d/marker.manifest.000002.MANIFEST-000002", vfs.WriteCategoryUnspecified)
	})
}

func TestGuardSparesADirectory(t *testing.T) {
	d := disktest.New()
	g := disk.NewGuard(d.Volume(), false, func(err error) { t.Errorf("reported: %v", err) })
	if err := errors.Join(g.MkdirAll("/backup", 0o700), g.MkdirAll("/backups", 0o700)); err != nil {
		t.Fatal(err)
	}
	g.Spare("/backup")
	f, err := g.Create("/backup/f", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	fault := d.Fail(1, true, syscall.ENOSPC, func(op disktest.Op) bool { return strings.HasPrefix(op.Path, "/backup/") })
	_, createErr := g.Create("/backup/g", vfs.WriteCategoryUnspecified)
	_, reuseErr := g.ReuseForWrite("/backup/f", "/backup/h", vfs.WriteCategoryUnspecified)
	_, openErr := g.OpenReadWrite("/backup/f", vfs.WriteCategoryUnspecified)
	_, writeErr := f.Write([]byte("x"))
	for what, err := range map[string]error{
		"create": createErr, "reuse": reuseErr, "open": openErr, "write": writeErr, "sync": f.Sync(),
		"rename": g.Rename("/backup/f", "/backup/h"), "link": g.Link("/backup/f", "/backup/h"),
	} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
	fault.Repair()
	if _, err := g.Create("/backup/g", vfs.WriteCategoryUnspecified); err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

// Only what lies below the directory is spared, and only for as long.
func TestGuardSparesNothingElse(t *testing.T) {
	for what, dir := range map[string]string{"a name that begins likewise": "/back", "no more": ""} {
		d := disktest.New()
		failed := make(chan error, 1)
		g := disk.NewGuard(d.Volume(), false, func(err error) { failed <- err })
		g.Spare("/backup")
		g.Spare(dir)
		d.Fail(1, true, syscall.ENOSPC, func(disktest.Op) bool { return true })
		mustPark(t, what, func() { _, _ = g.Create("/backup/f", vfs.WriteCategoryUnspecified) })
		if err := <-failed; !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestGuardRenews(t *testing.T) {
	d := disktest.New()
	g := disk.NewGuard(d.Volume(), false, func(err error) { t.Errorf("reported: %v", err) })
	content := func(path string) string {
		files, err := d.Files("/")
		if err != nil {
			t.Fatal(err)
		}
		return files[path]
	}
	f, err := g.Create("/1.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.Write([]byte("to be forgotten")); err != nil {
		t.Fatal(err)
	}
	for _, renew := range []bool{false, true} {
		g.Renew(renew)
		from, to := "/1.log", "/2.log"
		if renew {
			from, to = to, "/3.log"
		}
		if _, err := g.ReuseForWrite(from, to, vfs.WriteCategoryUnspecified); err != nil {
			t.Fatal(err)
		}
		if kept := content(to) != ""; kept == renew || content(from) != "" {
			t.Errorf("renewed %v: %q, and %q is left", renew, content(to), content(from))
		}
	}
}
