package yardstick

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/tokaworks/toka/internal/disk"
)

// Mode is how durable a commit is.
type Mode uint8

const (
	// Fsync : on disk, synced.
	Fsync Mode = iota
	// OS : handed to the kernel.
	OS
	// Memory : on a file system in memory.
	Memory
)

// Group is one commit to repeat.
type Group struct {
	Events uint32
	Bytes  uint32 // of the whole batch, keys and values
}

// Options say what Run does.
type Options struct {
	Dir    string // empty or absent; not used in mode Memory
	Mode   Mode
	Groups []Group
	// Streams is over how many streams the index keys are spread. Default 1.
	Streams int
}

// Result is what Run measured.
type Result struct {
	Events   int
	Elapsed  time.Duration
	P50, P99 time.Duration // of the commits of the log
}

// EventsPerSecond returns the rate.
func (r Result) EventsPerSecond() float64 { return float64(r.Events) / r.Elapsed.Seconds() }

// IndexBatch is how many events go to the index at once.
const IndexBatch = 16 << 10

// Run repeats the groups and returns when all are written, when ctx ends, or
// when the storage fails; in that case what the engine runs stays behind.
func Run(ctx context.Context, o Options) (Result, error) {
	type answer struct {
		r   Result
		err error
	}
	failed, answers := make(chan error, 1), make(chan answer, 1)
	volume := disk.OS()
	if o.Mode == Memory {
		volume, o.Dir = disk.Memory(), "yardstick"
	}
	// Behind a guard as in a journal: without it, the engine would end the
	// process when the disk is full.
	guard := disk.NewGuard(volume, o.Mode == OS, func(err error) { failed <- err })
	go func() {
		r, err := run(ctx, guard, o)
		answers <- answer{r, err}
	}()
	select {
	case a := <-answers:
		return a.r, a.err
	case err := <-failed:
		guard.Abandon()
		return Result{}, fmt.Errorf("yardstick: %w", err)
	}
}

func run(ctx context.Context, guard *disk.Guard, o Options) (r Result, err error) {
	cache := pebble.NewCache(256 << 20)
	defer cache.Unref()
	log, err := open(guard, filepath.Join(o.Dir, "log"), cache, func(p *pebble.Options) {
		p.TargetFileSizes[0] = 64 << 20
		for i := range p.Levels {
			p.Levels[i].BlockSize = 16 << 10
		}
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	index, err := open(guard, filepath.Join(o.Dir, "index"), cache, func(p *pebble.Options) {
		p.DisableWAL = true
		p.TargetFileSizes[0] = 16 << 20
		for i := range p.Levels {
			p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		}
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()

	w := newWriter(log, index, max(o.Streams, 1))
	took := make([]time.Duration, 0, len(o.Groups))
	start := time.Now()
	for _, g := range o.Groups {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		began := time.Now()
		if err := w.commit(g); err != nil {
			return r, err
		}
		took = append(took, time.Since(began))
		if err := w.indexFull(); err != nil {
			return r, err
		}
	}
	r.Elapsed, r.Events = time.Since(start), int(w.position)
	// Not measured, and as a journal does when it is closed: without it, what is
	// in memory would be gone.
	if err := index.Flush(); err != nil {
		return r, err
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.P50, r.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return r, nil
}

// open opens a store with the options that a journal's have in common.
func open(guard *disk.Guard, dir string, cache *pebble.Cache, set func(*pebble.Options)) (*pebble.DB, error) {
	o := &pebble.Options{
		FS: guard, Cache: cache, Logger: logger{guard},
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                32 << 20,
		MaxOpenFiles:                1024,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		MemTableStopWritesThreshold: 4,
	}
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return block.FastestCompression }
	}
	set(o)
	return pebble.Open(dir, o)
}

// writer is the loop's state.
type writer struct {
	log, index *pebble.DB
	streams    uint64

	position uint64
	indexed  uint64
	batches  uint64 // of the index
	read     int    // bytes, by merges
	pool     []byte // random bytes; values are slices of it
	random   *rand.ChaCha8
	numbers  *rand.Rand
}

func newWriter(log, index *pebble.DB, streams int) *writer {
	w := &writer{log: log, index: index, streams: uint64(streams), random: rand.NewChaCha8([32]byte{1})}
	w.numbers = rand.New(w.random)
	w.pool = make([]byte, 8<<20)
	_, _ = w.random.Read(w.pool)
	return w
}

// A batch is this long before its first key, and this much longer for each key
// and value than these are.
const batchHeader = 12

func overhead(value int) int {
	var b [binary.MaxVarintLen64]byte
	return 1 + 1 + binary.PutUvarint(b[:], uint64(value))
}

const logKey = 9

// commit writes one group to the log.
func (w *writer) commit(g Group) error {
	b := w.log.NewBatch()
	defer b.Close()
	n := int(g.Events)
	for i := range n {
		// What is left, spread over the events that are left.
		left := (int(g.Bytes) - max(b.Len(), batchHeader)) / (n - i)
		size := left - logKey
		size = min(max(size-overhead(max(size, 0)), 0), len(w.pool)/2)
		at := w.numbers.IntN(len(w.pool) - size)
		w.position++
		var key [logKey]byte
		key[0] = 'e'
		binary.BigEndian.PutUint64(key[1:], w.position)
		if err := b.Set(key[:], w.pool[at:at+size], nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// indexFull writes the index keys of what makes full batches.
func (w *writer) indexFull() error {
	for w.position-w.indexed >= IndexBatch {
		if err := w.indexBatch(w.indexed + 1); err != nil {
			return err
		}
		w.indexed += IndexBatch
	}
	return nil
}

// indexBatch writes what a journal's index takes for as many events: pages of
// sorted pairs, packed positions of streams, packed links. Every eighth batch
// the pages of the last eight are written again as one run, and so on.
func (w *writer) indexBatch(first uint64) error {
	b := w.index.NewBatch()
	defer b.Close()
	if err := w.pages(b, 0, first, IndexBatch); err != nil {
		return err
	}
	each := max(IndexBatch/int(w.streams), 1)
	for s := range min(w.streams, IndexBatch) {
		key := fmt.Appendf([]byte{'s'}, "\x0bwriter-%04d", s)
		if err := w.set(b, binary.BigEndian.AppendUint64(key, first/w.streams), 2*each+2); err != nil {
			return err
		}
	}
	for at := first; at < first+IndexBatch; at += linkEvents {
		for _, prefix := range []byte("lb") {
			if err := w.set(b, binary.BigEndian.AppendUint64([]byte{prefix}, at), 5*linkEvents); err != nil {
				return err
			}
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	w.batches++
	for level, n := byte(1), uint64(mergeBatches); w.batches%n == 0; level, n = level+1, n*mergeBatches {
		if err := w.merge(level, first+IndexBatch-n*IndexBatch, n*IndexBatch); err != nil {
			return err
		}
	}
	return nil
}

// The journal's index has these sizes.
const (
	pagePairs    = 512
	pairBytes    = 12
	linkEvents   = 1024 // of two parents, some 5 bytes each way
	mergeBatches = 8
)

// pages writes the pages of one run of hashes.
func (w *writer) pages(b *pebble.Batch, level byte, first, events uint64) error {
	for _, prefix := range []byte("idp") {
		for page := range events / pagePairs {
			key := binary.BigEndian.AppendUint64([]byte{prefix, level}, first)
			if err := w.set(b, binary.BigEndian.AppendUint32(key, uint32(page)), pagePairs*pairBytes); err != nil {
				return err
			}
		}
	}
	return w.set(b, binary.BigEndian.AppendUint64([]byte{'r'}, first), 3*8*int(events/pagePairs))
}

// merge reads the runs of the level below and writes them as one.
func (w *writer) merge(level byte, first, events uint64) error {
	b := w.index.NewBatch()
	defer func() { _ = b.Close() }()
	for _, prefix := range []byte("idp") {
		lower := binary.BigEndian.AppendUint64([]byte{prefix, level - 1}, first)
		upper := binary.BigEndian.AppendUint64([]byte{prefix, level - 1}, first+events)
		it, err := w.index.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			w.read += len(it.Value())
		}
		if err := it.Close(); err != nil {
			return err
		}
		if err := b.DeleteRange(lower, upper, nil); err != nil {
			return err
		}
	}
	if err := w.pages(b, level, first, events); err != nil {
		return err
	}
	return b.Commit(pebble.NoSync)
}

// set adds a key with a random value.
func (w *writer) set(b *pebble.Batch, key []byte, size int) error {
	at := w.numbers.IntN(len(w.pool) - size)
	return b.Set(key, w.pool[at:at+size], nil)
}

// logger drops the engine's words. Fatalf must not return: the engine would go
// on with what it could not write.
type logger struct{ guard *disk.Guard }

func (logger) Infof(string, ...any) {}

func (logger) Errorf(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.guard.Fail(fmt.Errorf("storage engine: "+format, args...))
	select {}
}
