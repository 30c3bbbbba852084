package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The index is derived, so nothing that happens to its files may keep anybody
// from the log: an index that cannot be opened, or that recovery cannot read,
// is thrown away and built anew. Damage that is met later is named by whoever
// meets it, and noted, so that the next start builds the index anew.

// damagedName is a file in the directory of the index: it is known to be
// damaged.
const damagedName = "DAMAGED"

// openIndex opens the engine of the index. It begins an empty one where there
// is none that can be used.
func (s *store) openIndex(cache *pebble.Cache, log *slog.Logger) (*pebble.DB, error) {
	err := s.indexNoted()
	if err == nil {
		var db *pebble.DB
		if db, err = s.openIndexEngine(cache, log); err == nil {
			return db, nil
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	log.Warn("the index cannot be used; it is built anew from the log", "err", err)
	return s.newIndex(cache, log)
}

func (s *store) openIndexEngine(cache *pebble.Cache, log *slog.Logger) (*pebble.DB, error) {
	return s.openEngine(indexDir, cache, log, func(o *pebble.Options) {
		// What is not in the tables is rebuilt from the log: a second
		// write-ahead log would only say again what the first one holds.
		o.DisableWAL = true
		// Its keys are scattered, so each compaction out of level 0 rewrites
		// nearly all of the level below: better seldom and much at once.
		o.L0CompactionThreshold = 12
		o.MemTableSize = defaultMemTable
		o.TargetFileSizes[0] = 16 << 20
		for i := range o.Levels {
			o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		}
	})
}

// newIndex removes all that lies in the directory of the index, save the lock
// that we hold, and opens an empty one. If we die in between, what is left is
// an index that cannot be opened, or none.
func (s *store) newIndex(cache *pebble.Cache, log *slog.Logger) (*pebble.DB, error) {
	dir := s.fs.PathJoin(s.dir, indexDir)
	names, err := s.guard.List(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	last := ""
	for _, name := range names {
		switch name {
		case lockName:
		case damagedName:
			last = name // for as long as anything else is there
		default:
			err = errors.Join(err, s.guard.RemoveAll(s.fs.PathJoin(dir, name)))
		}
	}
	if last != "" && err == nil {
		err = errors.Join(s.syncDir(dir), s.guard.Remove(s.fs.PathJoin(dir, last)))
	}
	if err == nil {
		err = s.syncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: empty it: %w", dir, err)
	}
	s.indexDamaged.Store(false)
	return s.openIndexEngine(cache, log)
}

// renewIndex replaces an index that recovery could not read.
func (s *store) renewIndex(log *slog.Logger) error {
	if err := s.index.Close(); err != nil {
		log.Warn("closing the damaged index", "err", err)
	}
	db, err := s.newIndex(s.cache, log)
	if err == nil {
		s.index = db
	}
	return err
}

// indexNoted returns an error if the index was noted to be damaged.
func (s *store) indexNoted() error {
	path := s.fs.PathJoin(s.dir, indexDir, damagedName)
	switch _, err := s.fs.Stat(path); {
	case err == nil:
		return fmt.Errorf("%s: %w", path, ErrCorrupt)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// noteDamage leaves word for the next start once the index is known to be
// damaged. If we die before, whoever reads the damage then notes it.
func (s *store) noteDamage() {
	if s.damageNoted || !s.indexDamaged.Load() {
		return
	}
	s.damageNoted = true
	path := s.fs.PathJoin(s.dir, indexDir, damagedName)
	if f, err := s.guard.Create(path, vfs.WriteCategoryUnspecified); err == nil {
		_ = f.Close()
	}
}
