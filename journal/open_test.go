package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func contents(t *testing.T, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := disktest.Walk(fsys, dir, out); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		t.Fatal(err)
	}
	return out
}

func TestOpenRefuses(t *testing.T) {
	put := func(t *testing.T, path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	begun := func(t *testing.T, dir string) {
		t.Helper()
		j := open(t, dir, journal.Options{})
		addN(t, j, "s", 3)
		closeOK(t, j)
	}
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		opts    journal.Options
		want    error
		says    []string // the remedy among them
	}{
		{"held by this process", func(t *testing.T, dir string) {
			addN(t, open(t, dir, journal.Options{}), "s", 3)
		}, journal.Options{}, journal.ErrHeld, []string{fmt.Sprint("process ", os.Getpid()), "stop it first"}},

		{"held by another process", func(t *testing.T, dir string) {
			p := start(t, "hold "+dir)
			if !p.out.Scan() || p.out.Text() != "held" {
				t.Fatal("the child did not open the journal")
			}
			t.Setenv("CHILD_PID", fmt.Sprint(p.cmd.Process.Pid))
		}, journal.Options{}, journal.ErrHeld, []string{"process $CHILD_PID", "stop it first"}},

		{"a foreign file", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "thesis.txt"), "years of work")
		}, journal.Options{}, journal.ErrNotJournal, []string{"thesis.txt", "give an empty or a new directory"}},

		{"a foreign directory", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "log", "syslog"), "something else")
		}, journal.Options{}, journal.ErrNotJournal, []string{`"log"`, "give an empty or a new directory"}},

		{"a newer format", func(t *testing.T, dir string) {
			begun(t, dir)
			put(t, filepath.Join(dir, "TOKA"), "toka journal format 2\n")
		}, journal.Options{}, journal.ErrFormat, []string{"format 2", "use a newer toka"}},

		{"garbage in the file TOKA", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "TOKA"), "\x00\xffgarbage")
		}, journal.Options{}, journal.ErrNotJournal, []string{"TOKA"}},

		{"an empty file TOKA", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "TOKA"), "")
		}, journal.Options{}, journal.ErrNotJournal, []string{"TOKA"}},

		{"format 0", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "TOKA"), "toka journal format 0\n")
		}, journal.Options{}, journal.ErrNotJournal, []string{"TOKA"}},

		{"a file", func(t *testing.T, dir string) {
			put(t, dir, "a file where a directory was meant")
		}, journal.Options{}, syscall.ENOTDIR, []string{"give a directory"}},

		{"nothing there", func(*testing.T, string) {}, journal.Options{MustExist: true}, journal.ErrNoJournal, []string{"check the path"}},

		{"an empty directory", func(t *testing.T, dir string) {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, journal.Options{MustExist: true}, journal.ErrNoJournal, []string{"check the path"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			tt.prepare(t, dir)
			before := contents(t, vfs.Default, dir)
			j, err := journal.Open(dir, tt.opts)
			if err == nil {
				_ = j.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			for _, s := range append(tt.says, dir) {
				if !strings.Contains(err.Error(), os.ExpandEnv(s)) {
					t.Errorf("%q does not say %q", err, os.ExpandEnv(s))
				}
			}
			if after := contents(t, vfs.Default, dir); !maps.Equal(before, after) {
				t.Errorf("the directory was changed: %q, before %q", after, before)
			}
		})
	}

	t.Run("not writable", func(t *testing.T) {
		for what, prepare := range map[string]func(d *disktest.Disk){
			"new":      func(*disktest.Disk) {},
			"existing": func(d *disktest.Disk) { begunOn(t, d) },
		} {
			d := disktest.New()
			prepare(d)
			before, _ := d.Files("/")
			fault := d.Fail(1, true, fs.ErrPermission, func(disktest.Op) bool { return true })
			_, err := journal.Open("/data/journal", journal.Options{Volume: d.Volume()})
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "/data/journal") || !strings.Contains(err.Error(), "give this user write permission") {
				t.Errorf("%s: %v", what, err)
			}
			if after, _ := d.Files("/"); !maps.Equal(before, after) {
				t.Errorf("%s: the directory was changed: %q, before %q", what, after, before)
			}
			fault.Repair()
			j := open(t, "/data/journal", journal.Options{Volume: d.Volume()})
			closeOK(t, j)
		}
	})

	t.Run("not writable on disk", func(t *testing.T) {
		if os.Geteuid() == 0 || runtime.GOOS == "windows" {
			t.Skip("root may write anywhere")
		}
		dir := filepath.Join(t.TempDir(), "journal")
		begun(t, dir)
		for _, path := range []string{dir, filepath.Join(dir, "LOCK")} {
			if err := os.Chmod(path, 0o500); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		before := contents(t, vfs.Default, dir)
		_, err := journal.Open(dir, journal.Options{})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v", err)
		}
		if after := contents(t, vfs.Default, dir); !maps.Equal(before, after) {
			t.Errorf("the directory was changed")
		}
	})
}

func begunOn(t *testing.T, d *disktest.Disk) {
	t.Helper()
	j := open(t, "/data/journal", journal.Options{Volume: d.Volume()})
	addN(t, j, "s", 3)
	closeOK(t, j)
}

// A first start that was cut off is begun again; the same for one that was
// refused.
func TestOpenAfterAnInterruptedStart(t *testing.T) {
	for n := 1; ; n++ {
		d := disktest.New()
		fault := d.Fail(n, true, syscall.EIO, func(op disktest.Op) bool { return op.Kind != disktest.Lock })
		j, err := journal.Open("/data/journal", on(d.Volume()))
		if err == nil {
			select {
			case <-fault.Fired():
				_ = j.Close() // it failed in the background, which other tests are about
			default:
				fault.Repair()
				closeOK(t, j)
				if n < 10 {
					t.Errorf("opening took %d changes", n)
				}
				t.Logf("%d interrupted starts", n-1)
				return
			}
		}
		fault.Repair()
		j, err = journal.Open("/data/journal", on(d.Volume()))
		if err != nil {
			t.Fatalf("after a start that ended before change %d: %v", n, err)
		}
		addN(t, j, "s", 3)
		closeOK(t, j)
	}
}

func TestMemoryLevel(t *testing.T) {
	t.Chdir(t.TempDir())
	a, b := open(t, "", journal.Options{Level: journal.LevelMemory}), open(t, "", journal.Options{Level: journal.LevelMemory, MustExist: true})
	addN(t, a, "s", 2)
	if a.Position() != 2 || b.Position() != 0 {
		t.Errorf("two journals in memory share events: %d, %d", a.Position(), b.Position())
	}
	if names, err := os.ReadDir("."); err != nil || len(names) != 0 {
		t.Errorf("a journal in memory left %v (%v)", names, err)
	}
	if _, err := journal.Open("", journal.Options{}); err == nil {
		t.Error("a durable journal was opened without a directory")
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	j := open(t, "data", journal.Options{})
	addN(t, j, "s", 2)
	closeOK(t, j)
	if info, err := os.Stat("data"); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o700) {
		t.Errorf("the directory: %v, %v", info, err)
	}
	for _, name := range []string{"TOKA", "LOCK", "log", "index"} {
		if _, err := os.Stat(filepath.Join("data", name)); err != nil {
			t.Error(err)
		}
	}
	j = open(t, "data", journal.Options{MustExist: true})
	if j.Position() != 2 || j.Epoch() != 1 {
		t.Errorf("opened at %d in epoch %d", j.Position(), j.Epoch())
	}
}

func TestLevels(t *testing.T) {
	for _, l := range []journal.Level{journal.LevelFsync, journal.LevelOS, journal.LevelMemory} {
		if got, err := journal.ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("%v reads as %v, %v", l, got, err)
		}
	}
	if _, err := journal.ParseLevel("disk"); err == nil {
		t.Error("level disk was taken")
	}
}
