package disktest_test

import (
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk/disktest"
)

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, d *disktest.Disk, name string) string {
	t.Helper()
	f, err := d.Volume().FS.Open(name)
	if err != nil {
		return "absent"
	}
	b, err := io.ReadAll(f)
	do(t, err)
	do(t, f.Close())
	return string(b)
}

func TestHooksSeeEveryChange(t *testing.T) {
	d := disktest.New()
	var seen []string
	d.Before(func(op disktest.Op) { seen = append(seen, op.String()) })
	fs := d.Volume().FS

	do(t, fs.MkdirAll("d", 0o700))
	f, err := fs.Create("d/a", vfs.WriteCategoryUnspecified)
	do(t, err)
	_, err = f.Write([]byte("one"))
	do(t, err)
	do(t, f.Sync())
	do(t, f.Close())
	f, err = fs.ReuseForWrite("d/a", "d/b", vfs.WriteCategoryUnspecified)
	do(t, err)
	_, err = f.Write([]byte("two"))
	do(t, err)
	do(t, f.SyncData())
	do(t, f.Close())
	f, err = fs.OpenReadWrite("d/b", vfs.WriteCategoryUnspecified)
	do(t, err)
	_, err = f.WriteAt([]byte("w"), 0)
	do(t, err)
	do(t, f.Close())
	do(t, fs.Link("d/b", "d/c"))
	do(t, fs.Rename("d/b", "d/e"))
	do(t, fs.Remove("d/c"))
	dir, err := fs.OpenDir("d")
	do(t, err)
	do(t, dir.Sync())
	l, err := fs.Lock("d/L")
	do(t, err)
	do(t, l.Close())
	do(t, fs.RemoveAll("d"))

	want := []string{
		"mkdir d", "create d/a", "write d/a", "sync d/a", "reuse d/b", "write d/b", "sync d/b",
		"create d/b", "write d/b", "link d/c", "rename d/e", "remove d/c", "sync d", "lock d/L", "remove d",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("hooks saw\n%q, want\n%q", seen, want)
	}
}

func TestPowerCut(t *testing.T) {
	d := disktest.New()
	fs := d.Volume().FS
	root, err := fs.OpenDir("/")
	do(t, err)
	f, err := fs.Create("/a", vfs.WriteCategoryUnspecified)
	do(t, err)
	_, err = f.Write([]byte("synced"))
	do(t, err)
	do(t, f.Sync())
	if got := read(t, d.PowerCut(0, 1), "/a"); got != "absent" {
		t.Errorf("a file whose directory was not synced: %q after a power cut", got)
	}
	do(t, root.Sync())
	_, err = f.Write([]byte(" and not"))
	do(t, err)
	if got := read(t, d.PowerCut(0, 1), "/a"); got != "synced" {
		t.Errorf("%q after a power cut that loses what was not synced", got)
	}
	if got := read(t, d.PowerCut(100, 1), "/a"); got != "synced and not" {
		t.Errorf("%q after a power cut that loses nothing", got)
	}
	d.SyncsLie()
	do(t, f.Sync())
	if got := read(t, d.PowerCut(0, 1), "/a"); got != "synced" {
		t.Errorf("%q after a sync that lied and a power cut", got)
	}
	if got := read(t, d, "/a"); got != "synced and not" {
		t.Errorf("%q on the disk itself after power cuts of copies", got)
	}
}

func TestFault(t *testing.T) {
	d := disktest.New()
	fs := d.Volume().FS
	f, err := fs.Create("/a", vfs.WriteCategoryUnspecified)
	do(t, err)
	write := func() error { _, err := f.Write([]byte("x")); return err }

	once := d.Fail(2, false, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Write, "a") })
	for i, want := range []error{nil, syscall.EIO, nil} {
		if err := write(); !errors.Is(err, want) {
			t.Errorf("write %d: %v, want %v", i+1, err, want)
		}
	}
	<-once.Fired()

	stays := d.Fail(1, true, syscall.ENOSPC, func(op disktest.Op) bool { return op.Is(disktest.Write, "a") })
	for range 2 {
		if err := write(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write on a full disk: %v", err)
		}
	}
	do(t, f.Sync())
	stays.Repair()
	do(t, write())
	if got := read(t, d, "/a"); got != "xxx" {
		t.Errorf("%q on disk, want what succeeded", got)
	}
}

func TestLose(t *testing.T) {
	d := disktest.New()
	f, err := d.Volume().FS.Create("/a", vfs.WriteCategoryUnspecified)
	do(t, err)
	lost := d.Lose(2, false, func(op disktest.Op) bool { return op.Is(disktest.Write, "a") })
	for _, text := range []string{"one ", "two ", "three"} {
		if n, err := f.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("write %q: %d, %v", text, n, err)
		}
	}
	<-lost.Fired()
	if got := read(t, d, "/a"); got != "one three" {
		t.Errorf("%q on disk, want all but the second", got)
	}
}
