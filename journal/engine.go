package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/tokaworks/toka/internal/disk"
)

// cacheBytes is the memory that the two engines share. The engine takes its
// memory tables out of the cache: with less than a few times their size
// nothing is left to cache blocks in, and each look-up goes to the disk.
const cacheBytes = 256 << 20

const (
	defaultMemTable = 32 << 20
	logBlock        = 16 << 10
)

// engines is what openEngines found or begun.
type engines struct {
	log, index *pebble.DB
	cache      *pebble.Cache
	epoch      uint32
	id         [16]byte
	err        error
}

func (e *engines) close() {
	defer e.cache.Unref()
	for _, db := range []*pebble.DB{e.log, e.index} {
		if db != nil {
			_ = db.Close()
		}
	}
}

// takeEngines makes and locks the directories of the log and the index.
func (s *store) takeEngines() error {
	for _, name := range []string{logDir, indexDir} {
		dir := s.fs.PathJoin(s.dir, name)
		if err := s.fs.MkdirAll(dir, 0o700); err != nil {
			return s.denied("create "+name+" in", err)
		}
		lock, err := s.fs.Lock(s.fs.PathJoin(dir, lockName))
		if errors.Is(err, fs.ErrPermission) {
			return s.denied("write to", err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %w; stop whatever has it open", dir, ErrHeld, err)
		}
		s.locks = append(s.locks, lock)
	}
	if err := s.syncDir(s.dir); err != nil {
		return s.denied("write to", err)
	}
	return nil
}

// openEngines may never return, and then must not have touched s.
func (s *store) openEngines(log *slog.Logger) (e engines) {
	e.cache = pebble.NewCache(cacheBytes)
	e.log, e.err = s.openEngine(logDir, e.cache, log, func(o *pebble.Options) {
		o.MemTableSize = defaultMemTable
		// Records arrive in key order and are never overwritten, so the
		// tables do not overlap and compaction has nearly nothing to do;
		// larger tables keep their number small.
		o.TargetFileSizes[0] = 64 << 20
		// A block of the default size, 4 KiB, holds eight events. Four times
		// as many cost a look-up that finds nothing cached some microseconds,
		// and make writing and reading in order cheaper.
		for i := range o.Levels {
			o.Levels[i].BlockSize = logBlock
		}
	})
	if e.err != nil {
		return e
	}
	if e.err = e.readMeta(s.dir); e.err != nil {
		return e
	}
	e.index, e.err = s.openIndex(e.cache, log)
	return e
}

func (s *store) openEngine(name string, cache *pebble.Cache, log *slog.Logger, set func(*pebble.Options)) (*pebble.DB, error) {
	dir := s.fs.PathJoin(s.dir, name)
	logger := engineLogger{log: log.With("engine", name), guard: s.guard}
	o := &pebble.Options{
		FS:    s.guard,
		Cache: cache,
		// By name, not "newest": an upgrade of the engine must not raise the
		// format by itself, and the default is so old that it cannot tell a
		// damaged log from a torn tail.
		FormatMajorVersion:          pebble.FormatValueSeparation,
		Logger:                      logger,
		MaxOpenFiles:                1024,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		MemTableStopWritesThreshold: 4,
		// The default listener would end the process over one damaged byte
		// that one read came across.
		EventListener: &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
			err := fmt.Errorf("%w: %s: %w", ErrCorrupt, info.Path, info.Details)
			if name == indexDir {
				s.indexDamaged.Store(true)
			}
			s.corrupt.CompareAndSwap(nil, &err)
			log.Error("stored data is damaged", "file", info.Path, "err", info.Details)
		}},
	}
	// Hashes and payloads do not always compress: then this finds out sooner than
	// the default does, and where they do it leaves less.
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return block.FastestCompression }
	}
	set(o)
	if s.memTable > 0 {
		o.MemTableSize = s.memTable
		o.L0CompactionThreshold = 2
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		if pebble.IsCorruptionError(err) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return db, nil
}

// engineLogger routes the engine's words to slog. Fatalf must not return (the
// engine would go on to acknowledge what it could not write), must not end
// the process that embeds us, and a panic could be recovered by a supervisor:
// so it reports the failure and keeps the goroutine.
type engineLogger struct {
	log   *slog.Logger
	guard *disk.Guard
}

func (l engineLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}

func (l engineLogger) Fatalf(format string, args ...any) {
	l.guard.Fail(fmt.Errorf("storage engine: "+format, args...))
	select {}
}
