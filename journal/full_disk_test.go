//go:build linux

package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// A disk that is really full takes a file system of its own. The test runs
// itself again in a mount namespace, as root in one of a user's own where it is
// not root, with a small file system in memory mounted at the directory that
// the environment names.
const fullDiskEnv = "JOURNAL_TEST_FULL_DISK"

const fullDiskBytes = 48 << 20

func TestFullDisk(t *testing.T) {
	dir := os.Getenv(fullDiskEnv)
	if dir == "" {
		fullDiskChild(t)
		return
	}
	for name, f := range map[string]func(*testing.T, *fullDisk){
		"held back":     fullHeldBack,
		"not held back": fullFatal,
		"from the start": func(t *testing.T, d *fullDisk) {
			d.fill(t, 0)
			if _, err := journal.Open(d.data, d.options()); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), d.data) {
				t.Fatalf("open on a full disk: %v, want the directory and ENOSPC", err)
			}
			d.free(t)
			d.soundAfter(t)
		},
		"for a backup": fullBackup,
	} {
		t.Run(name, func(t *testing.T) {
			d := &fullDisk{dir: filepath.Join(dir, strings.ReplaceAll(name, " ", "-")), random: rand.NewChaCha8([32]byte{1})}
			d.data, d.ballast = filepath.Join(d.dir, "data"), filepath.Join(d.dir, "ballast")
			if err := os.Mkdir(d.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			// One for each: an engine that was let go of keeps files open, and with
			// them their room, until the process ends.
			if err := syscall.Mount("toka", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", fullDiskBytes)); err != nil {
				fmt.Println("cannot mount:", err)
				return
			}
			f(t, d)
			t.Logf("%d events acknowledged, lost 0", len(d.acked))
			if n := d.said.n.Load(); n > 1<<20 {
				t.Errorf("%d bytes were logged", n)
			}
		})
	}
}

// fullDiskChild runs the test in a namespace of its own.
func fullDiskChild(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), fullDiskEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	err := cmd.Wait()
	if _, why, ok := strings.Cut(out.String(), "cannot mount: "); ok {
		t.Skipf("a small file system cannot be mounted here: %s", strings.SplitN(why, "\n", 2)[0])
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "events acknowledged") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// fullDisk is a directory on the small file system.
type fullDisk struct {
	dir, data, ballast string

	random *rand.ChaCha8
	acked  []seen
	fatals atomic.Int64
	said   countingWriter
}

type countingWriter struct{ n atomic.Int64 }

func (c *countingWriter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

func (d *fullDisk) options() journal.Options {
	return journal.Options{
		Logger:  slog.New(slog.NewTextHandler(&d.said, nil)),
		OnFatal: func(error) { d.fatals.Add(1) },
	}.Small(64, 256<<10)
}

// left returns how many bytes can still be written.
func (d *fullDisk) left() int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * s.Bsize
}

// fill leaves so many bytes of the disk.
func (d *fullDisk) fill(t *testing.T, leave int64) {
	t.Helper()
	f, err := os.Create(d.ballast)
	if err != nil {
		t.Fatal(err)
	}
	for page := make([]byte, 4096); err == nil && d.left() > leave; {
		_, err = f.Write(page)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// free makes room again.
func (d *fullDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		t.Fatal(err)
	}
}

// untilRefused appends until an append is refused and returns why.
func (d *fullDisk) untilRefused(t *testing.T, j *journal.Journal) error {
	t.Helper()
	for i := 0; ; i++ {
		payload := make([]byte, 9000)
		_, _ = d.random.Read(payload) // never fails
		r, err := tryAppend(t, j, write(draft("s", "full.test", string(payload))))
		if err != nil {
			return err
		}
		d.acked = append(d.acked, seen{r.Events[0].Position, r.Events[0].Digest})
		if i > fullDiskBytes/9000 {
			t.Fatal("more was stored than there is room for")
		}
	}
}

// have checks that everything acknowledged can be read.
func (d *fullDisk) have(t *testing.T, j *journal.Journal) {
	t.Helper()
	at := map[uint64]events.Digest{}
	for _, e := range everything(t, j) {
		at[e.Position] = e.Digest
	}
	for _, a := range d.acked {
		if at[a.position] != a.digest {
			t.Fatalf("position %d was acknowledged and is not there", a.position)
		}
	}
}

// soundAfter opens the journal when there is room, and goes on.
func (d *fullDisk) soundAfter(t *testing.T) {
	t.Helper()
	j := open(t, d.data, d.options())
	d.have(t, j)
	addN(t, j, "after", 20)
	verified(t, j)
	closeOK(t, j)
}

// fullHeldBack has a journal that asks for room: it refuses by name while there
// is little left, serves reads, and goes on by itself when there is room.
func fullHeldBack(t *testing.T, d *fullDisk) {
	// With everything small the engine may rewrite all that it holds at once,
	// and deletes what it has rewritten a little later, so twice as much is kept
	// as it may have. What fills the disk is as much as both together: a rewrite
	// under way does not take up what was made free.
	const has, kept = fullDiskBytes / 6, fullDiskBytes / 3
	d.fill(t, has+kept)
	o := d.options()
	o.Room = func() bool { return d.left() > kept }
	j := open(t, d.data, o)
	if err := d.untilRefused(t, j); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("append: %v, want ErrFull", err)
	}
	d.have(t, j)
	verified(t, j)
	d.free(t)
	addN(t, j, "more", 20)
	if err := j.Err(); err != nil || d.fatals.Load() != 0 {
		t.Errorf("%v, OnFatal %d times", err, d.fatals.Load())
	}
	closeOK(t, j)
	d.soundAfter(t)
}

// fullFatal plants that nobody holds writes back: the disk must then end the
// journal, and lose nothing that was acknowledged.
func fullFatal(t *testing.T, d *fullDisk) {
	d.fill(t, fullDiskBytes/12)
	j := open(t, d.data, d.options())
	if err := d.untilRefused(t, j); !errors.Is(err, journal.ErrFatal) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("append: %v, want ErrFatal and ENOSPC", err)
	}
	d.have(t, j)
	if err := j.Close(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
	if n := d.fatals.Load(); n != 1 {
		t.Errorf("OnFatal was called %d times", n)
	}
	// Still full: it opens or says why not, and does no harm either way.
	if k, err := journal.Open(d.data, d.options()); err == nil {
		d.have(t, k)
		_ = k.Close()
	} else if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("open on a disk that is still full: %v", err)
	}
	d.free(t)
	d.soundAfter(t)
}

// fullBackup has no room for a backup: it fails and the journal does not.
func fullBackup(t *testing.T, d *fullDisk) {
	j := open(t, d.data, d.options())
	addN(t, j, "s", 50)
	for _, e := range everything(t, j) {
		d.acked = append(d.acked, seen{e.Position, e.Digest})
	}
	d.fill(t, 0)
	to := filepath.Join(d.dir, "backup")
	if _, err := j.Backup(t.Context(), to); !errors.Is(err, syscall.ENOSPC) || j.Err() != nil {
		t.Errorf("backup to a full disk: %v; the journal: %v", err, j.Err())
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of a backup is left: %v", err)
	}
	d.free(t)
	addN(t, j, "s", 5)
	if _, err := j.Backup(t.Context(), to); err != nil {
		t.Errorf("backup with room: %v", err)
	}
	closeOK(t, j)
	d.soundAfter(t)
}
