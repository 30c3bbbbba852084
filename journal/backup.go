package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk"
	"github.com/tokaworks/toka/journal/merkle"
)

// A backup is a directory with a checkpoint of the log store, so with all
// events and all operational state as of one moment, and a file that says what
// it is and what it holds at least. The index is left out: it is derived. A
// The keys of encrypted payloads lie in a directory of their own, so that they
// can be kept, and be destroyed, apart from the rest. A
// backup is not a journal and is not opened as one: two lives would begin at
// the same place. Restore makes a journal of it, in an epoch of its own.

const (
	backupName   = "BACKUP"
	backupFormat = 1
)

// Backup says what a backup holds.
type Backup struct {
	Format   int           `json:"toka_backup"`
	Origin   string        `json:"origin"`
	Epoch    uint32        `json:"epoch"`
	Position uint64        `json:"position"` // at least; later ones were under way
	Record   events.Digest `json:"record"`   // record hash of the event there
	Root     merkle.Hash   `json:"root"`     // of the tree up to there
	Time     time.Time     `json:"time"`
}

// Head returns the head over the events that the backup holds.
func (b Backup) Head() merkle.Head {
	return merkle.Head{Origin: b.Origin, Size: b.Position, Root: b.Root}
}

// Backup writes a backup to dir, which must not exist, while the journal is in
// use. It holds everything up to the durable mark, as it was when Backup began.
// Where the file system can, tables are linked and not copied.
func (j *Journal) Backup(ctx context.Context, dir string) (b Backup, err error) {
	if err := j.stop(); err != nil {
		return b, err
	}
	if j.opts.Level == LevelMemory {
		return b, fmt.Errorf("backup to %s: %w: a journal in memory has no backup", dir, errors.ErrUnsupported)
	}
	fsys := j.store.fs
	dir = fsys.PathJoin(dir) // as the engine will name it
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("backup to %s: it is there already (%w); give the name of a new directory", dir, fs.ErrExist)
	}
	if !j.backup.TryLock() {
		return b, fmt.Errorf("backup to %s: another backup is under way", dir)
	}
	defer j.backup.Unlock()
	b = Backup{Format: backupFormat, Origin: j.Origin(), Epoch: j.Epoch(), Position: j.mark.load(), Time: j.opts.Now().UTC()}
	h, err := j.HeadAt(ctx, b.Position)
	if err != nil {
		return b, err
	}
	b.Root = h.Root
	if b.Position > 0 {
		e, err := j.At(ctx, b.Position)
		if err != nil {
			return b, err
		}
		b.Record = e.RecordHash()
	}
	defer func() {
		if err != nil && j.Err() == nil {
			err = fmt.Errorf("backup to %s: %w", dir, errors.Join(err, fsys.RemoveAll(dir)))
		}
	}()
	// A failing storage parks what the engine does; a failing backup does not.
	j.store.guard.Spare(dir)
	defer j.store.guard.Spare("")
	done := make(chan error, 1)
	go func() { done <- j.checkpoint(ctx, dir) }()
	select {
	case err = <-done:
	case <-j.failed:
		return b, j.Err()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return b, err
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return b, err
	}
	// The file comes last: without it the directory is not a backup.
	return b, replaceText(fsys, fsys.PathJoin(dir, backupName), string(text)+"\n")
}

func (j *Journal) checkpoint(ctx context.Context, dir string) (err error) {
	// The engine panics over a directory of the checkpoint that cannot be
	// synced; it holds no lock then.
	defer func() {
		if r := recover(); r != nil {
			cause, ok := r.(error)
			if !ok {
				cause = fmt.Errorf("%v", r)
			}
			err = cause
		}
	}()
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.leave()
	if err := (&store{dir: dir, fs: j.store.fs}).makeDir(); err != nil {
		return err
	}
	if err := j.store.log.Checkpoint(j.store.fs.PathJoin(dir, logDir), pebble.WithFlushedWAL()); err != nil {
		return err
	}
	// After the events: whatever key they need is there by then.
	return j.keys.copyTo(j.store.fs.PathJoin(dir, keysDir))
}

// readBackup reads what a backup says of itself.
func readBackup(fsys vfs.FS, dir string) (b Backup, err error) {
	text, err := readText(fsys, fsys.PathJoin(dir, backupName))
	if errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("%s: %w: it has no file %s; give the directory that backup wrote", dir, ErrNotBackup, backupName)
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &b)
	}
	if err != nil {
		return b, fmt.Errorf("%s: %w: its file %s: %w", dir, ErrCorrupt, backupName, err)
	}
	if b.Format < 1 || b.Format > backupFormat {
		return b, fmt.Errorf("%s: %w: the backup has format %d, this program reads %d; use a newer toka", dir, ErrFormat, b.Format, backupFormat)
	}
	return b, nil
}

// VerifyBackup verifies the records of a backup like Verify, without changing
// anything, and holds them against what the backup says of itself and against
// heads. Errors wrap ErrNotBackup, ErrFormat or ErrCorrupt.
func VerifyBackup(ctx context.Context, dir string, opts Options, heads []merkle.Head, progress func(done, total uint64)) (Report, error) {
	volume := opts.Volume
	if volume == nil {
		volume = disk.OS()
	}
	b, err := readBackup(volume.FS, dir)
	if err != nil {
		return Report{}, err
	}
	s := &store{dir: dir, fs: volume.FS, memTable: opts.sizes.memTable, guard: disk.NewGuard(volume, false, func(error) {})}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	if s.log, err = s.openEngine(logDir, cache, slog.New(slog.DiscardHandler), func(o *pebble.Options) { o.ReadOnly = true }); err != nil {
		return Report{}, err
	}
	defer func() { _ = s.log.Close() }()
	e := engines{log: s.log}
	if err := e.readMeta(dir); err != nil {
		return Report{}, err
	}
	s.epoch, s.id = e.epoch, e.id
	j := &Journal{store: s, closing: make(chan struct{})}
	if err := j.loadEpochs(); err != nil {
		return Report{}, err
	}
	last, err := j.lastPosition()
	if err != nil {
		return Report{}, err
	}
	j.mark.position.Store(last)
	v := newVerifier(j, append([]merkle.Head{b.Head()}, heads...))
	v.logOnly = true
	if err := v.log(ctx, progress); err != nil {
		return v.report, err
	}
	return v.report, v.finish()
}

// Restored says what Restore made.
type Restored struct {
	Backup   Backup `json:"backup"`
	Epoch    uint32 `json:"epoch"`    // the new one
	Position uint64 `json:"position"` // where it begins
	Lost     string `json:"lost,omitempty"`
}

// Restore makes a journal in dir of a backup, in a new epoch and with a new
// outside mark. dir must be empty or not exist. What an outside mark that is
// left of a lost journal knows and the backup has not is said in Lost.
func Restore(backup, dir string, opts Options) (r Restored, err error) {
	volume := opts.Volume
	if volume == nil {
		volume = disk.OS()
	}
	fsys := volume.FS
	if r.Backup, err = readBackup(fsys, backup); err != nil {
		return r, err
	}
	names, err := fsys.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("restore to %s: %w", dir, err)
	}
	if len(names) > 0 {
		return r, fmt.Errorf("restore to %s: it holds %q; give an empty or a new directory, and keep what is left of the old one until the restored one was verified", dir, names[0])
	}
	s := &store{dir: dir, fs: fsys}
	if err := s.makeDir(); err != nil {
		return r, s.denied("create", err)
	}
	// A restore that is cut off leaves a directory without a file that says
	// what it is; nobody opens that.
	if opts.Keys == "" {
		opts.Keys = fsys.PathJoin(dir, keysDir)
	}
	for from, to := range map[string]string{logDir: fsys.PathJoin(dir, logDir), keysDir: opts.Keys} {
		if _, err := vfs.Clone(fsys, fsys, fsys.PathJoin(backup, from), to, vfs.CloneSync); err != nil {
			return r, fmt.Errorf("restore to %s: %w; empty it before the next try", dir, err)
		}
	}
	if err := s.writeFormat(); err != nil {
		return r, s.denied("write to", err)
	}
	var a Acceptance
	opts.MustExist, opts.accept, opts.restore = true, &a, true
	j, err := Open(dir, opts)
	if err != nil {
		return r, err
	}
	r.Epoch, r.Position, r.Lost = j.Epoch(), j.Position(), a.Lost
	if r.Position < r.Backup.Position {
		err = fmt.Errorf("%w: positions %d to %d are missing from the backup; verify it", ErrLost, r.Position+1, r.Backup.Position)
	}
	return r, errors.Join(err, j.Close())
}
