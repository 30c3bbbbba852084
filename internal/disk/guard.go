package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Volume is a file system as the tests of this module hand it to a journal.
type Volume struct{ FS vfs.FS }

// OS returns the file system of the operating system.
func OS() *Volume { return &Volume{FS: vfs.Default} }

// Memory returns an empty file system in memory.
func Memory() *Volume { return &Volume{FS: vfs.NewMem()} }

// Guard is a vfs.FS that parks failing changes; see the package comment. It is
// safe for concurrent use.
type Guard struct {
	vfs.FS // the inner file system; reads go straight to it

	skipLogSync bool
	onFailure   func(error) // called once, on a goroutine of its own

	// changes is held shared by each change while it runs and exclusively by
	// Abandon, so that Abandon returns only after the last change has ended.
	changes sync.RWMutex
	dead    atomic.Bool

	spared atomic.Pointer[string]
	renew  atomic.Bool
}

// NewGuard guards v. onFailure is called once, after the first failure.
func NewGuard(v *Volume, skipLogSync bool, onFailure func(error)) *Guard {
	return &Guard{FS: v.FS, skipLogSync: skipLogSync, onFailure: onFailure}
}

// Spare lets changes below a directory fail like any other call: a backup that
// cannot be written is not a failure of the storage. Only one directory is
// spared at a time; an empty name ends it.
func (g *Guard) Spare(dir string) { g.spared.Store(&dir) }

func (g *Guard) spares(name string) bool {
	dir := g.spared.Load()
	if dir == nil || *dir == "" {
		return false
	}
	rest, below := strings.CutPrefix(name, *dir)
	return below && (rest == "" || rest[0] == '/' || rest[0] == os.PathSeparator)
}

// Renew has files that the engine would use again removed and made anew, for as
// long as it is on: what they held is to be gone.
func (g *Guard) Renew(on bool) { g.renew.Store(on) }

// Fail declares the storage failed for a reason that the guard did not see
// itself, such as a fatal condition inside the engine.
func (g *Guard) Fail(err error) {
	if !g.dead.Swap(true) {
		go g.onFailure(err)
	}
}

// Abandon parks every later change and waits for those that are running. It is
// how a journal lets go of an engine that it cannot close.
func (g *Guard) Abandon() {
	g.dead.Store(true)
	g.changes.Lock()
	g.changes.Unlock() //nolint:staticcheck // waiting for the last change is all that is wanted
}

// park keeps the calling goroutine for ever: returning an error would let the
// engine go on, and there is nothing true to return.
func park() { select {} }

// change runs f, which changes something on disk.
func (g *Guard) change(op, name string, f func() error) {
	if err := g.attempt(f); err != nil {
		g.Fail(fmt.Errorf("%s %s: %w", op, name, err))
		park()
	}
}

func (g *Guard) attempt(f func() error) error {
	g.changes.RLock()
	if g.dead.Load() {
		g.changes.RUnlock()
		park()
	}
	defer g.changes.RUnlock()
	return f()
}

// Create implements vfs.FS.
func (g *Guard) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	if g.spares(name) {
		return g.FS.Create(name, category)
	}
	g.change("create", name, func() error {
		// The engine begins a new MANIFEST and then a marker that names it, and
		// syncs their directory once, behind both. If a power cut keeps the
		// second entry and not the first, the store cannot be opened any more;
		// so what is named is made durable before what names it.
		if strings.HasPrefix(g.PathBase(name), "marker.") {
			if err := g.syncDir(g.PathDir(name)); err != nil {
				return err
			}
		}
		f, err = g.FS.Create(name, category)
		return err
	})
	return g.wrap(name, f), nil
}

func (g *Guard) syncDir(name string) error {
	d, err := g.FS.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReuseForWrite implements vfs.FS.
func (g *Guard) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	if g.spares(newname) {
		return g.FS.ReuseForWrite(oldname, newname, category)
	}
	if g.renew.Load() {
		g.change("remove", oldname, func() error { return g.FS.Remove(oldname) })
		return g.Create(newname, category)
	}
	g.change("reuse", newname, func() error { f, err = g.FS.ReuseForWrite(oldname, newname, category); return err })
	return g.wrap(newname, f), nil
}

// OpenReadWrite implements vfs.FS.
func (g *Guard) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (f vfs.File, err error) {
	if g.spares(name) {
		return g.FS.OpenReadWrite(name, category, opts...)
	}
	g.change("open", name, func() error { f, err = g.FS.OpenReadWrite(name, category, opts...); return err })
	return g.wrap(name, f), nil
}

// OpenDir implements vfs.FS.
func (g *Guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || g.spares(name) {
		return f, err
	}
	return g.wrap(name, f), nil
}

// Rename implements vfs.FS.
func (g *Guard) Rename(oldname, newname string) error {
	if g.spares(newname) {
		return g.FS.Rename(oldname, newname)
	}
	g.change("rename", newname, func() error { return g.FS.Rename(oldname, newname) })
	return nil
}

// Link implements vfs.FS. A failing link is an answer, not a broken disk.
func (g *Guard) Link(oldname, newname string) error {
	return g.attempt(func() error { return g.FS.Link(oldname, newname) })
}

// Remove implements vfs.FS. What cannot be removed is only in the way.
func (g *Guard) Remove(name string) error {
	return g.attempt(func() error { return g.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (g *Guard) RemoveAll(name string) error {
	return g.attempt(func() error { return g.FS.RemoveAll(name) })
}

// MkdirAll implements vfs.FS.
func (g *Guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.attempt(func() error { return g.FS.MkdirAll(dir, perm) })
}

// Lock implements vfs.FS and locks nothing: who made the guard holds the
// directory, and must be able to let go of it when an engine cannot be closed
// any more.
func (g *Guard) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Unwrap implements vfs.FS.
func (g *Guard) Unwrap() vfs.FS { return g.FS }

func (g *Guard) wrap(name string, f vfs.File) vfs.File {
	return &file{File: f, g: g, name: name, skipSync: g.skipLogSync && strings.HasSuffix(name, ".log")}
}

// file is an open file whose changes go through its guard.
type file struct {
	vfs.File
	g        *Guard
	name     string
	skipSync bool
}

func (f *file) Write(p []byte) (n int, err error) {
	f.g.change("write", f.name, func() error { n, err = f.File.Write(p); return err })
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	f.g.change("write", f.name, func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, nil
}

func (f *file) Sync() error {
	if f.skipSync {
		return nil
	}
	f.g.change("sync", f.name, f.File.Sync)
	return nil
}

func (f *file) SyncData() error {
	if f.skipSync {
		return nil
	}
	f.g.change("sync", f.name, f.File.SyncData)
	return nil
}

func (f *file) SyncTo(length int64) (fullSync bool, err error) {
	if f.skipSync {
		return false, nil
	}
	f.g.change("sync", f.name, func() error { fullSync, err = f.File.SyncTo(length); return err })
	return fullSync, nil
}

func (f *file) Preallocate(offset, length int64) error {
	return f.g.attempt(func() error { return f.File.Preallocate(offset, length) })
}
