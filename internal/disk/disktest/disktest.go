package disktest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk"
)

// Kind is what a change does.
type Kind string

// The kinds of changes.
const (
	Write  Kind = "write"
	Sync   Kind = "sync"
	Create Kind = "create"
	Reuse  Kind = "reuse"
	Rename Kind = "rename"
	Link   Kind = "link"
	Remove Kind = "remove"
	Mkdir  Kind = "mkdir"
	Lock   Kind = "lock"
)

// Op is one change that is about to happen.
type Op struct {
	Kind Kind
	Path string
}

// Is reports whether op is of a kind and on a path that contains part.
func (op Op) Is(kind Kind, part string) bool {
	return op.Kind == kind && strings.Contains(op.Path, part)
}

// Disk is a file system in memory. It is safe for concurrent use.
type Disk struct {
	mem *vfs.MemFS

	// changes is held shared by each change while it runs and exclusively
	// while the disk is copied: the engine's own file system in memory takes
	// a lock of that kind twice in one call and would hang.
	changes sync.RWMutex

	mu     sync.Mutex // guards what follows
	before []func(Op)
	faults []*Fault
	lying  bool
}

// New returns an empty disk.
func New() *Disk { return &Disk{mem: vfs.NewCrashableMem()} }

// Volume returns the disk for a journal to be opened on.
func (d *Disk) Volume() *disk.Volume { return &disk.Volume{FS: fs{FS: d.mem, d: d}} }

// Before has f called before every change from now on, on the goroutine that
// makes the change and without any lock held. Changes of several goroutines
// call it concurrently.
func (d *Disk) Before(f func(Op)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = append(d.before, f)
}

// SyncsLie makes syncs succeed without doing anything, as disks have done that
// acknowledged from a cache.
func (d *Disk) SyncsLie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lying = true
}

// PowerCut returns the disk as it could be found after losing power now. Of
// what was not synced each block and each directory entry is kept with the
// given probability; with 100 all is, as after the end of the process.
func (d *Disk) PowerCut(unsyncedPercent int, seed uint64) *Disk {
	d.changes.Lock()
	defer d.changes.Unlock()
	return &Disk{mem: d.mem.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: unsyncedPercent,
		RNG:                 rand.New(rand.NewPCG(seed, uint64(unsyncedPercent))),
	})}
}

// Files returns the content of every file below dir by path, for comparisons;
// directories are there with a path that ends in a slash.
func (d *Disk) Files(dir string) (map[string]string, error) {
	out := make(map[string]string)
	return out, Walk(d.mem, dir, out)
}

// Walk adds the content of every file below dir to out.
func Walk(fsys vfs.FS, dir string, out map[string]string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	sort.Strings(names)
	for _, name := range names {
		path := fsys.PathJoin(dir, name)
		info, err := fsys.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			out[path+"/"] = ""
			if err := Walk(fsys, path, out); err != nil {
				return err
			}
			continue
		}
		f, err := fsys.Open(path)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		out[path] = string(b)
	}
	return nil
}

// Fault makes changes fail.
type Fault struct {
	d     *Disk
	match func(Op) bool
	err   error
	skip  int  // so many matching changes still succeed
	stays bool // after the first failure the others fail too
	hits  int
	fired chan struct{} // closed by the first failure
}

// Fail makes the nth change (from 1) that match selects fail with err, and
// after it every other one that match selects if stays is set.
func (d *Disk) Fail(nth int, stays bool, err error, match func(Op) bool) *Fault {
	f := &Fault{d: d, match: match, err: err, skip: nth - 1, stays: stays, fired: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, f)
	return f
}

// Lose is Fail of which nobody is told: the changes succeed and are not made, as
// below a layer that keeps failures to itself.
func (d *Disk) Lose(nth int, stays bool, match func(Op) bool) *Fault {
	return d.Fail(nth, stays, errLost, match)
}

var errLost = errors.New("lost")

// Fired is closed when the fault has made its first change fail.
func (f *Fault) Fired() <-chan struct{} { return f.fired }

// Repair takes the fault away.
func (f *Fault) Repair() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.match = func(Op) bool { return false }
}

func (f *Fault) check(op Op) error {
	if !f.match(op) {
		return nil
	}
	if f.skip > 0 {
		f.skip--
		return nil
	}
	if f.hits > 0 && !f.stays {
		return nil
	}
	if f.hits++; f.hits == 1 {
		close(f.fired)
	}
	return &os.PathError{Op: string(op.Kind), Path: op.Path, Err: f.err}
}

// change runs f, which makes one change.
func (d *Disk) change(kind Kind, path string, f func() error) error {
	op := Op{Kind: kind, Path: path}
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	for _, hook := range before {
		hook(op)
	}
	d.mu.Lock()
	var err error
	for _, fault := range d.faults {
		if err == nil {
			err = fault.check(op)
		}
	}
	skip := d.lying && kind == Sync
	d.mu.Unlock()
	if errors.Is(err, errLost) {
		return nil
	}
	if err != nil || skip {
		return err
	}
	d.changes.RLock()
	defer d.changes.RUnlock()
	return f()
}

// fs sends changes past the disk's hooks; reads go straight on.
type fs struct {
	vfs.FS
	d *Disk
}

func (s fs) open(kind Kind, name string, f func() (vfs.File, error)) (out vfs.File, err error) {
	err = s.d.change(kind, name, func() error { out, err = f(); return err })
	if err != nil {
		return nil, err
	}
	return file{File: out, d: s.d, name: name}, nil
}

func (s fs) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(Create, name, func() (vfs.File, error) { return s.FS.Create(name, category) })
}

func (s fs) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(Create, name, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, category, opts...) })
}

func (s fs) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(Reuse, newname, func() (vfs.File, error) { return s.FS.ReuseForWrite(oldname, newname, category) })
}

func (s fs) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return file{File: f, d: s.d, name: name}, nil
}

func (s fs) Link(oldname, newname string) error {
	return s.d.change(Link, newname, func() error { return s.FS.Link(oldname, newname) })
}

func (s fs) Rename(oldname, newname string) error {
	return s.d.change(Rename, newname, func() error { return s.FS.Rename(oldname, newname) })
}

func (s fs) Remove(name string) error {
	return s.d.change(Remove, name, func() error { return s.FS.Remove(name) })
}

func (s fs) RemoveAll(name string) error {
	return s.d.change(Remove, name, func() error { return s.FS.RemoveAll(name) })
}

func (s fs) MkdirAll(dir string, perm os.FileMode) error {
	return s.d.change(Mkdir, dir, func() error { return s.FS.MkdirAll(dir, perm) })
}

func (s fs) Lock(name string) (c io.Closer, err error) {
	err = s.d.change(Lock, name, func() error { c, err = s.FS.Lock(name); return err })
	return c, err
}

func (s fs) Unwrap() vfs.FS { return s.FS }

type file struct {
	vfs.File
	d    *Disk
	name string
}

func (f file) Write(p []byte) (n int, err error) {
	done := false
	err = f.d.change(Write, f.name, func() error { done = true; n, err = f.File.Write(p); return err })
	if err == nil && !done {
		n = len(p) // lost
	}
	return n, err
}

func (f file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.d.change(Write, f.name, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f file) Sync() error { return f.d.change(Sync, f.name, f.File.Sync) }

func (f file) SyncData() error { return f.d.change(Sync, f.name, f.File.SyncData) }

// SyncTo promises nothing on a disk like this one, so it is no sync.
func (f file) SyncTo(length int64) (bool, error) { return f.File.SyncTo(length) }

// String tells an operation in a line of a test's report.
func (op Op) String() string { return fmt.Sprintf("%s %s", op.Kind, op.Path) }
