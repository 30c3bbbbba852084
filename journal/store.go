package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"github.com/tokaworks/toka/internal/disk"
)

const (
	formatName = "TOKA"
	lockName   = "LOCK"
	logDir     = "log"
	indexDir   = "index"
	holderName = "HOLDER"
	formatText = "toka journal format "
)

// store is a directory that this process holds, with the two engines in it.
type store struct {
	dir   string
	fs    vfs.FS // unguarded: for what happens before and after the engines run
	guard *disk.Guard

	memTable  uint64 // bytes; 0 is the default
	unflushed uint64 // bytes that may be in the engine's write-ahead log and not in its tables

	outside markFile

	log, index *pebble.DB
	cache      *pebble.Cache // of both

	// indexDamaged says that the next start should build the index anew.
	indexDamaged atomic.Bool
	damageNoted  bool // the indexer's

	epoch uint32
	cuts  []epochCut
	id    [16]byte // the journal's own id; an index of another journal is not used

	locksMu sync.Mutex
	locks   []io.Closer
	corrupt atomic.Pointer[error]

	// Where the guard's report of a failure goes: until run was called into
	// failed, for Open to return, and then to onFailure.
	failureMu sync.Mutex
	running   bool
	failed    chan error // capacity 1
	onFailure func(error)
}

// openStore takes hold of dir and opens what is in it, creating it if it is
// empty and create is set. onFailure is called once if the storage fails after
// run was called.
func openStore(dir string, v *disk.Volume, level Level, create bool, marks []string, memTable uint64, log *slog.Logger, onFailure func(error)) (_ *store, err error) {
	s := &store{dir: dir, fs: v.FS, memTable: memTable, failed: make(chan error, 1), onFailure: onFailure}
	s.outside.paths = marks
	s.unflushed = 5 * max(memTable, defaultMemTable)
	fresh, err := s.inspect(create)
	if err != nil {
		return nil, err
	}
	if fresh {
		if err := s.nothingLost(); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if fresh {
		if err := s.makeDir(); err != nil {
			return nil, s.denied("create", err)
		}
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	if fresh {
		if err := s.writeFormat(); err != nil {
			return nil, s.denied("write to", err)
		}
	}
	if err := s.takeEngines(); err != nil {
		return nil, err
	}

	// The engines open on a goroutine of their own: a change that fails in
	// there is parked and never returns, and the failure comes this way.
	s.guard = disk.NewGuard(v, level == LevelOS, s.fail)
	opened := make(chan engines, 1)
	go func() { opened <- s.openEngines(log) }()
	select {
	case e := <-opened:
		if e.err != nil {
			s.giveUp(e.close)
			return nil, e.err
		}
		s.log, s.index, s.cache, s.epoch, s.id = e.log, e.index, e.cache, e.epoch, e.id
	case err = <-s.failed:
		s.guard.Abandon()
		return nil, s.denied("open", err)
	}
	s.writeHolder()
	return s, nil
}

// giveUp closes what was opened, or abandons it if the storage fails
// meanwhile: the engine would wait for ever for a write that was parked.
func (s *store) giveUp(closeAll func()) {
	closed := make(chan struct{})
	go func() { closeAll(); close(closed) }()
	select {
	case <-closed:
	case <-s.failed: //nolint:errcheck // the caller has an error to return already
		s.guard.Abandon()
	}
}

// fail is where the guard reports a failure.
func (s *store) fail(err error) {
	s.failureMu.Lock()
	running := s.running
	if !running {
		s.failed <- err
	}
	s.failureMu.Unlock()
	if running {
		s.onFailure(err)
	}
}

// run hands failures to onFailure from now on, or returns the one that came
// before.
func (s *store) run() error {
	s.failureMu.Lock()
	defer s.failureMu.Unlock()
	select {
	case err := <-s.failed:
		return err
	default:
		s.running = true
		return nil
	}
}

// makeDir creates the directory and makes the entries of all that it created
// durable, each in its parent: a file that was synced is gone after a power
// cut if the entry of a directory above it is.
func (s *store) makeDir() error {
	created := []string{s.dir} // also if it is there: a start that was cut off may have left it
	for d := s.parent(s.dir); d != ""; d = s.parent(d) {
		if _, err := s.fs.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		created = append(created, d)
	}
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	for _, d := range created {
		if d = s.parent(d); d == "" {
			continue
		}
		if err := s.syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// parent returns the directory that path lies in, "" if there is none. In
// memory, where there is no working directory, that is the root.
func (s *store) parent(path string) string { return parentDir(s.fs, path) }

func parentDir(fsys vfs.FS, path string) string {
	d := fsys.PathDir(path)
	if d == path {
		return ""
	}
	if _, err := fsys.Stat(d); d == "." && err != nil {
		return "/"
	}
	return d
}

func (s *store) syncDir(path string) error { return syncDir(s.fs, path) }

func syncDir(fsys vfs.FS, path string) error {
	d, err := fsys.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// inspect reads what is at dir without changing anything.
func (s *store) inspect(create bool) (fresh bool, err error) {
	names, err := s.fs.List(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, s.denied("read", err)
	}
	if slices.Contains(names, backupName) {
		return false, fmt.Errorf("%s: %w: it is a backup; restore it to another directory", s.dir, ErrNotJournal)
	}
	if slices.Contains(names, formatName) {
		return false, s.checkFormat()
	}
	for _, n := range names {
		switch n {
		case lockName, holderName, formatName + ".new":
			// A first start that was cut off leaves at most these.
		default:
			return false, fmt.Errorf("%s: %w: it holds %q and no file named %s; give an empty or a new directory", s.dir, ErrNotJournal, n, formatName)
		}
	}
	if !create {
		return false, fmt.Errorf("%s: %w there; check the path, or create one by appending to it", s.dir, ErrNoJournal)
	}
	return true, nil
}

func (s *store) checkFormat() error {
	text, err := s.readFile(formatName)
	if err != nil {
		return s.denied("read", err)
	}
	rest, ok := strings.CutPrefix(text, formatText)
	n, numErr := strconv.Atoi(strings.TrimSuffix(rest, "\n"))
	if !ok || numErr != nil || n < 1 {
		return fmt.Errorf("%s: %w: its file %s does not say %q", s.dir, ErrNotJournal, formatName, formatText+"1")
	}
	if n > Format {
		return fmt.Errorf("%s: %w: it has format %d, this program reads %d; use a newer toka", s.dir, ErrFormat, n, Format)
	}
	return nil
}

// take locks the directory and the two engines' directories. The engines'
// locks are ours too, so that an engine that cannot be closed does not keep
// them.
func (s *store) take() error {
	l, err := s.fs.Lock(s.fs.PathJoin(s.dir, lockName))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || brokenDisk(err) {
			return s.denied("write to", err)
		}
		who := "by another process"
		if text, e := s.readFile(holderName); e == nil && text != "" {
			who = "by process " + strings.TrimSpace(text)
		}
		return fmt.Errorf("%s: %w %s; stop it first, or use another directory", s.dir, ErrHeld, who)
	}
	s.locks = append(s.locks, l)
	return nil
}

// brokenDisk tells what a lock that somebody holds does not say.
func brokenDisk(err error) bool {
	for _, broken := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

func (s *store) writeFormat() error {
	path := s.fs.PathJoin(s.dir, formatName)
	f, err := s.fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(formatText + strconv.Itoa(Format) + "\n"))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(path+".new", path); err != nil {
		return err
	}
	return s.syncDir(s.dir)
}

// writeHolder leaves a hint for error messages; nothing depends on it.
func (s *store) writeHolder() {
	f, err := s.fs.Create(s.fs.PathJoin(s.dir, holderName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte(strconv.Itoa(os.Getpid()) + "\n"))
	_ = f.Close()
}

func (s *store) readFile(name string) (string, error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 256))
	return string(b), err
}

func (s *store) denied(what string, err error) error {
	remedy := "check the path and the disk"
	switch {
	case errors.Is(err, fs.ErrPermission):
		remedy = "give this user write permission, or use another directory"
	case errors.Is(err, fs.ErrExist), strings.Contains(err.Error(), "not a directory"):
		remedy = "give a directory, not a file"
	}
	return fmt.Errorf("cannot %s %s: %w; %s", what, s.dir, err, remedy)
}

// readMeta reads the journal's epoch and id, or begins epoch 1.
func (e *engines) readMeta(dir string) error {
	v, closer, err := e.log.Get([]byte{logMeta})
	if errors.Is(err, pebble.ErrNotFound) {
		u, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("%s: draw an id: %w", dir, err)
		}
		e.epoch, e.id = 1, u
		return e.log.Set([]byte{logMeta}, encodeMeta(e.epoch, e.id), pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("%s: read meta: %w", dir, err)
	}
	defer closer.Close()
	if len(v) != 24 || binary.BigEndian.Uint32(v) != Format {
		return fmt.Errorf("%s: %w: the log's meta record has %d bytes", dir, ErrCorrupt, len(v))
	}
	e.epoch = binary.BigEndian.Uint32(v[4:])
	copy(e.id[:], v[8:])
	return nil
}

func encodeMeta(epoch uint32, id [16]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, Format)
	b = binary.BigEndian.AppendUint32(b, epoch)
	return append(b, id[:]...)
}

// close closes the engines in good order.
func (s *store) close() error {
	err := errors.Join(s.index.Close(), s.log.Close())
	s.outside.end()
	s.release()
	return err
}

// abandon lets go of engines that cannot be closed any more: they are cut off
// from the disk and left to the end of the process.
func (s *store) abandon() {
	s.outside.end()
	s.guard.Abandon()
	s.release()
}

func (s *store) release() {
	s.locksMu.Lock()
	defer s.locksMu.Unlock()
	if len(s.locks) > 0 {
		_ = s.fs.Remove(s.fs.PathJoin(s.dir, holderName))
	}
	for _, l := range slices.Backward(s.locks) {
		_ = l.Close()
	}
	s.locks = nil
}
