package journal

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/disk"
)

// Level is how durable an acknowledgement is. It belongs to the journal while
// it is open.
type Level uint8

const (
	// LevelFsync is on disk, synced. Survives a power cut.
	LevelFsync Level = iota
	// LevelOS is handed to the kernel. Survives the end of the process, however
	// sudden, but not a power cut.
	LevelOS
	// LevelMemory is in memory; the directory is not used. The engine is the
	// same, on a file system in memory.
	LevelMemory
)

// String returns fsync, os or memory.
func (l Level) String() string {
	switch l {
	case LevelOS:
		return "os"
	case LevelMemory:
		return "memory"
	}
	return "fsync"
}

// ParseLevel reads what String writes.
func ParseLevel(s string) (Level, error) {
	for _, l := range []Level{LevelFsync, LevelOS, LevelMemory} {
		if s == l.String() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("durability %q: use fsync, os or memory", s)
}

// Options say how a journal is opened. The zero value is a durable journal
// without intents.
type Options struct {
	Level Level

	// MustExist refuses to create a journal where there is none.
	MustExist bool

	// Intents assigns events with embeddings to intents. Nil: intent.Nil. The
	// journal takes the strategy over.
	Intents intent.Strategy

	// NewIntents makes the strategy where Intents is nil, once there is something
	// to assign: last is the name of the strategy that assigned before, if one
	// did. What it returns begins anew each time, so Verify can do again what the
	// journal's own did. Nil or intent.Nil: nothing is assigned.
	NewIntents func(last string, dimension int) intent.Strategy

	// IntentBudget is how long an append waits for its intent after it is
	// durable, before it returns with Intent.Pending. Default 2 s.
	IntentBudget time.Duration

	// QueueBytes bounds the payload bytes of writes that wait for the
	// committer; a writer that finds the queue full waits. Default 64 MiB.
	QueueBytes int64

	// KeepSnapshots is how many snapshots of a stream are kept. Default 2.
	KeepSnapshots int

	// Now is the clock of record times. Default time.Now.
	Now func() time.Time

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger

	// OnFatal is called once, on a goroutine of its own, when the storage has
	// failed. Toka never ends the process; whoever owns it may.
	OnFatal func(error)

	// OnCommit is called after each group commit, in order, before its writers
	// are answered. It must be quick.
	OnCommit func(Commit)

	// Room reports whether there is room on the disk for more events. While
	// there is none, Append returns ErrFull and Submit waits: a store does not
	// survive a disk that is full. It must be quick. Default: there is always.
	Room func() bool

	// Mark is the file of the outside mark, which notes where the journal ends
	// so that a store whose newest part is missing is refused. Default: DIR.mark
	// beside the directory, or DIR/MARK where nothing can be written there. A
	// journal in memory has none.
	Mark string

	// Keys is the directory of the keys that payloads are encrypted with.
	// Default: DIR/keys.
	Keys string

	// Volume is for tests of this module; nil is the operating system's file
	// system.
	Volume *disk.Volume

	accept  *Acceptance // go on where something is missing, and say what
	restore bool        // begin an epoch in any case

	sizes sizes
}

// sizes are small in this package's tests, so that a short run crosses every
// seam. Zero means the default.
type sizes struct {
	generation int    // events
	block      int    // events that one summary is about
	memTable   uint64 // bytes
	snapshot   int    // assignments between snapshots of a strategy, at least
}

// Commit describes one group commit.
type Commit struct {
	Events int
	Bytes  int // of keys and values written to the log
	Sync   time.Duration
}

// Stats are counts as of the durable mark.
type Stats struct {
	Position uint64 `json:"position"` // of the last durable event
	Epoch    uint32 `json:"epoch"`
	Payloads uint64 `json:"payloads"` // distinct payloads, not counting empty ones
	Streams  uint64 `json:"streams"`
	Intents  int    `json:"intents"`
}

// Journal is an open journal. It is safe for concurrent use.
type Journal struct {
	// Set by Open and never changed.
	opts  Options
	log   *slog.Logger
	store *store
	keys  *keyring

	queue  queue
	tail   *tail
	mark   mark // the durable position
	intent *intentStage

	counts struct {
		mu                sync.Mutex // held while they and the mark move together
		payloads, streams atomic.Uint64
	}

	// Owned by the committer.
	clock     clock
	accepted  uint64 // position of the last accepted event
	scratch   []byte
	committed sync.WaitGroup // the journal's own goroutines

	indexWake chan struct{} // capacity 1; closed when no more groups come
	index     indexMark     // owned by the indexer
	blocks    *blocks       // owned by the indexer
	runs      runs
	tree      tree
	window    Window // set by Open

	backup sync.Mutex // held by the one backup that is under way

	pruning sync.Mutex // held by the one prune that is under way
	doomed  atomic.Pointer[doom]

	// operational holds a token while checkpoints and state digests are written
	// or read: a channel and not a mutex, because a failing write never ends.
	operational chan struct{}

	// readers is held shared while something is read from the store and
	// exclusively while the store is closed.
	readers sync.RWMutex

	failure   atomic.Pointer[error]
	failed    chan struct{} // closed when the storage has failed
	closing   chan struct{} // closed when Close begins
	ending    atomic.Bool   // set then; much cheaper to ask for each write
	closeOnce sync.Once
	closeErr  error

	inSync atomic.Pointer[group] // the group that is being synced
}

// Open opens the journal in dir, creating it unless Options.MustExist is set.
// Errors wrap ErrHeld, ErrNotJournal, ErrFormat, ErrNoJournal, ErrLost or
// ErrCorrupt where one of these is the reason.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.Level > LevelMemory {
		panic("journal: Open: unknown level " + strconv.Itoa(int(opts.Level)))
	}
	if opts.Intents == nil && opts.NewIntents == nil {
		opts.Intents = intent.Nil{}
	}
	if opts.IntentBudget == 0 {
		opts.IntentBudget = 2 * time.Second
	}
	if opts.QueueBytes == 0 {
		opts.QueueBytes = 64 << 20
	}
	if opts.KeepSnapshots <= 0 {
		opts.KeepSnapshots = 2
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.sizes.generation == 0 {
		opts.sizes.generation = generationSize
	}
	if opts.sizes.snapshot == 0 {
		opts.sizes.snapshot = snapshotEvery
	}
	if opts.sizes.block == 0 {
		opts.sizes.block = blockEvents
	}
	volume := opts.Volume
	switch {
	case opts.Level == LevelMemory && volume == nil:
		volume = disk.Memory()
		if dir == "" {
			dir = "memory"
		}
	case volume == nil:
		volume = disk.OS()
	}
	if dir == "" {
		return nil, errors.New("journal: no directory given; use LevelMemory for a journal without one")
	}
	j := &Journal{
		opts:        opts,
		log:         opts.Logger,
		indexWake:   make(chan struct{}, 1),
		failed:      make(chan struct{}),
		operational: make(chan struct{}, 1),
		closing:     make(chan struct{}),
	}
	j.clock.now = opts.Now
	j.mark.init()
	j.queue.init(opts.QueueBytes)
	var marks []string
	if opts.Level != LevelMemory {
		marks = markPaths(volume.FS, dir, opts.Mark)
	}
	var err error
	j.store, err = openStore(dir, volume, opts.Level, !opts.MustExist || opts.Level == LevelMemory, marks, opts.sizes.memTable, opts.Logger, j.fail)
	if err != nil {
		return nil, err
	}
	defer j.store.cache.Unref() // the engines hold it
	if opts.Keys == "" {
		opts.Keys = volume.FS.PathJoin(dir, keysDir)
	}
	if j.keys, err = openKeyring(volume.FS, opts.Keys); err != nil {
		j.store.giveUp(func() { _ = j.store.close() })
		j.store.release()
		return nil, err
	}
	// Recovery writes to the index, so like opening it may never return.
	recovered := make(chan error, 1)
	go func() { recovered <- j.recover() }()
	select {
	case err = <-recovered:
		if err != nil {
			j.store.giveUp(func() { _ = j.store.close() })
			j.store.release()
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		err = j.store.run()
	case err = <-j.store.failed:
	}
	if err != nil {
		j.store.abandon()
		return nil, j.store.denied("open", err)
	}
	groups := make(chan *group)
	j.committed.Add(5)
	go j.learn()
	go j.commitLoop(groups)
	go j.syncLoop(groups)
	go j.indexLoop()
	go j.intent.loop(&j.committed)
	if len(marks) > 0 {
		j.committed.Add(1)
		go j.markLoop()
	}
	return j, nil
}

// NewID mints an event id (UUIDv7), for writers that name an event before it
// is stored.
func NewID() events.ID {
	source := randomness.Get().(*rand.ChaCha8)
	defer randomness.Put(source)
	u, err := uuid.NewV7FromReader(source)
	if err != nil {
		panic("journal: NewID: " + err.Error()) // the source has no errors to give
	}
	return events.ID(u)
}

// randomness holds generators that were seeded by the operating system: asking
// it for each id takes longer than all else that an id needs.
var randomness = sync.Pool{New: func() any {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails: it ends the process instead
	return rand.NewChaCha8(seed)
}}

// Close stops accepting writes, waits for those that were accepted, and closes
// the store. It returns an error that wraps ErrFatal if the journal had
// failed. Closing again returns the same.
func (j *Journal) Close() error {
	j.closeOnce.Do(func() {
		j.ending.Store(true)
		close(j.closing)
		j.queue.close()
		done := make(chan struct{})
		go func() { j.committed.Wait(); close(done) }()
		select {
		case <-done:
		case <-j.failed:
		}
		if err := j.Err(); err != nil {
			j.store.abandon()
			j.closeErr = err
		} else {
			j.readers.Lock()
			defer j.readers.Unlock()
			// The index has no log of its own: what is in memory goes to its
			// tables now or is rebuilt at the next start.
			closed := make(chan error, 1)
			go func() {
				err := j.store.index.Flush()
				j.closeMark()
				closed <- errors.Join(err, j.store.close())
			}()
			select {
			case j.closeErr = <-closed:
			case <-j.failed:
				j.store.abandon()
				j.closeErr = j.Err()
			}
		}
		j.mark.end()
	})
	return j.closeErr
}

// Err returns nil while the journal works, and an error that wraps ErrFatal
// and the cause once its storage has failed.
func (j *Journal) Err() error {
	if p := j.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Failed is closed when the storage has failed.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Position returns the durable mark: the position of the last event that may
// be observed.
func (j *Journal) Position() uint64 { return j.mark.load() }

// Epoch returns the journal's epoch, from 1.
func (j *Journal) Epoch() uint32 { return j.store.epoch }

// Stats returns counts.
func (j *Journal) Stats() Stats {
	j.counts.mu.Lock()
	defer j.counts.mu.Unlock()
	return Stats{
		Position: j.Position(), Epoch: j.Epoch(),
		Payloads: j.counts.payloads.Load(), Streams: j.counts.streams.Load(),
		Intents: j.intent.count(),
	}
}

// fail makes the journal terminal. The storage calls it once.
func (j *Journal) fail(cause error) {
	err := fmt.Errorf("%w: %w; close it and open it again", ErrFatal, cause)
	if !j.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(j.failed)
	j.log.Error("journal has failed", "err", cause)
	for _, r := range j.queue.fail(err) {
		r.finish(Receipt{}, err)
	}
	if g := j.inSync.Load(); g != nil {
		g.failAll(err)
	}
	j.intent.letGo()
	j.mark.end()
	if j.opts.OnFatal != nil {
		defer func() {
			if r := recover(); r != nil {
				j.log.Error("OnFatal panicked", "panic", r)
			}
		}()
		j.opts.OnFatal(err)
	}
}

// mark is a position that only grows and can be waited on.
type mark struct {
	position atomic.Uint64
	mu       sync.Mutex
	moved    chan struct{} // closed and replaced when position grows
	ended    bool
}

func (m *mark) init()        { m.moved = make(chan struct{}) }
func (m *mark) load() uint64 { return m.position.Load() }
func (m *mark) set(p uint64) { m.position.Store(p); m.wake() }
func (m *mark) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		close(m.moved)
		m.moved = make(chan struct{})
	}
}

// end wakes all who wait, now and later.
func (m *mark) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		m.ended = true
		close(m.moved)
	}
}

// next returns a channel that is closed when the mark moves past what load
// returned after next was called, or ends.
func (m *mark) next() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moved
}

// stop returns why nothing more will come, or nil.
func (j *Journal) stop() error {
	if err := j.Err(); err != nil {
		return err
	}
	if j.ending.Load() {
		return ErrClosed
	}
	return nil
}

// clock is never decreasing, so that record times follow positions.
type clock struct {
	now  func() time.Time
	last time.Time
}

func (c *clock) next() time.Time {
	if t := c.now().UTC().Round(0); t.After(c.last) {
		c.last = t
	}
	return c.last
}
