package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// Options say how a system runs. The zero value is fine.
type Options struct {
	// Mailbox is how many messages from outside an actor's mailbox takes
	// before senders wait. Default 1,024.
	Mailbox int

	// Stash is how many commands an actor puts aside at the same time; see
	// Turn.Stash. Default as many as Mailbox.
	Stash int

	// Supervision answers failures. See supervisor.Policy for its defaults.
	Supervision supervisor.Policy

	// DigestEvery is after how many events of its stream an actor stores the
	// digest of its state, for replays to compare. Default 100.
	DigestEvery uint64

	// PassivateAfter is how long a resource has nothing to do until it is
	// stopped, to within some seconds; the next message to it makes it live
	// again. Children of a Tree stay. Default 0: never.
	PassivateAfter time.Duration

	// Recoveries is how many actors read their streams at the same time.
	// Default 64.
	Recoveries int

	// Effects is how many effects are under way at the same time. Default 256.
	Effects int

	// OnProgress, if it is not nil, is told what effects tell about themselves,
	// on their goroutines.
	OnProgress func(Progress)

	// OnEnd, if it is not nil, is called once, on a goroutine of its own, when a
	// supervisor at the root has failed (see Supervise): the system takes
	// nothing any more, and should be stopped.
	OnEnd func(error)

	// Dispatch, if it is not nil, is given every turn that is to be run, each of
	// one message, with the name of its actor; the bus is $bus. It must not run
	// the turn before it returns, and the turns of one actor come one at a time.
	// It is for tests and simulations that decide the order; see package
	// actorstest. Default: turns run on goroutines, of many messages at once.
	Dispatch func(actor string, turn func())

	// BeforeEffect, if it is not nil, is called before each attempt of an effect,
	// on its goroutine; the attempt fails with the error that it returns. It is
	// for tests and simulations.
	BeforeEffect func(EffectCall) error

	// NewID mints the ids of what nobody gave one: of commands, and of failures
	// and dead letters. Default journal.NewID.
	NewID func() events.ID

	// Random feeds the jitter of backoffs. Default random numbers.
	Random func() uint64

	// Now is the clock of commands. Default time.Now.
	Now func() time.Time

	// AfterFunc calls f in a goroutine of its own when d has passed on the
	// clock that Now reads, unless what it returns is called before; that
	// answers whether it was in time. Backoff, deadlines and timers wait on it.
	// Default time.AfterFunc.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
}

// System runs actors over one journal. It is safe for concurrent use.
type System struct {
	j        *journal.Journal
	registry *Registry
	opts     Options
	log      *slog.Logger
	workers  *workers
	bus      *bus
	timers   *timers
	catching calls // who catches up, where turns are dispatched

	snapshots calls        // that are to be kept
	keeping   atomic.Int64 // how many that are

	ctx    context.Context // ends when the system is let go
	cancel context.CancelFunc
	wg     sync.WaitGroup // the bus's goroutines and those that catch up
	spinMu sync.Mutex     // held while wg grows and while ctx is ended

	registered *registered
	known      sync.Map     // of Behaviour, what it describes
	knownSize  atomic.Int32 // of known
	waiters    sync.Pool    // not one for all: a test's bubble keeps its channels to itself
	second     atomic.Int64 // a clock that is read often and need not be exact

	recovering chan struct{}
	calling    chan struct{}

	mu       sync.Mutex
	cells    map[string]*cell
	ending   map[string]chan struct{} // actors that are being stopped; closed when they are gone
	roots    []*Supervisor
	handed   *folded       // by Restore, to the next actor that is made live
	refusing bool          // a supervisor has failed
	stopping bool          // nothing is taken from outside any more
	over     bool          // nothing is started any more
	ended    chan struct{} // closed when Stop is done

	restarts   atomic.Uint64
	unfinished atomic.Int64
	counts     func(int) // busy, for the mailboxes
	stirMu     sync.Mutex
	stirred    chan struct{} // closed and replaced when something came to an end

	failure atomic.Pointer[error]

	watching watching
}

// Start runs a system over an open journal, which stays the caller's to close
// after Stop. It spawns nothing.
func Start(j *journal.Journal, r *Registry, opts Options) (*System, error) {
	if j == nil || r == nil {
		panic("actors: Start: a journal and a registry are needed")
	}
	if err := j.Err(); err != nil {
		return nil, fmt.Errorf("actors: %w", err)
	}
	if err := opts.Supervision.Validate(); err != nil {
		panic("actors: Start: " + err.Error())
	}
	if opts.Mailbox <= 0 {
		opts.Mailbox = 1024
	}
	if opts.Stash <= 0 {
		opts.Stash = opts.Mailbox
	}
	if opts.DigestEvery == 0 {
		opts.DigestEvery = 100
	}
	if opts.Recoveries <= 0 {
		opts.Recoveries = 64
	}
	if opts.Effects <= 0 {
		opts.Effects = 256
	}
	if opts.NewID == nil {
		opts.NewID = journal.NewID
	}
	if opts.Random == nil {
		opts.Random = rand.Uint64
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.AfterFunc == nil {
		opts.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &System{
		j: j, registry: r, opts: opts, log: opts.Logger,
		workers: &workers{dispatch: opts.Dispatch}, registered: newRegistered(opts.Logger), recovering: make(chan struct{}, opts.Recoveries), calling: make(chan struct{}, opts.Effects),
		cells: map[string]*cell{}, ending: map[string]chan struct{}{}, ended: make(chan struct{}), stirred: make(chan struct{}),
	}
	s.counts, s.waiters.New = s.busy, newWaiter
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.timers, s.catching.sys, s.watching.calls.log = newTimers(s), s, s.log
	s.snapshots.sys = s
	if err := s.timers.load(); err != nil {
		s.cancel()
		return nil, fmt.Errorf("actors: timers: %w", err)
	}
	s.bus = newBus(s)
	s.registered.add("$bus", &s.bus.box)
	s.second.Store(time.Now().UnixNano())
	s.wg.Add(2)
	go s.bus.pump(s.ctx)
	go s.bus.keep(s.ctx)
	s.timers.begin()
	return s, nil
}

// Journal returns the journal that the system runs over.
func (s *System) Journal() *journal.Journal { return s.j }

// Publish journals events of the outside world in a stream, all of them or
// nothing, and returns them when they are durable. Errors are those of
// journal.Append.
func (s *System) Publish(ctx context.Context, stream string, ds ...events.Draft) ([]events.Event, error) {
	for i := range ds {
		ds[i].Stream = stream
	}
	r, err := s.j.Append(ctx, journal.Write{Events: ds})
	return r.Events, err
}

// Publish journals one event of the outside world, encoded by codec.
func Publish[T any](ctx context.Context, s *System, stream string, codec events.Codec[T], v T) (events.Event, error) {
	d, err := codec.Encode(v)
	if err != nil {
		return events.Event{}, err
	}
	es, err := s.Publish(ctx, stream, d)
	if err != nil {
		return events.Event{}, err
	}
	return es[0], nil
}

// described returns what a behaviour describes, without asking it each time.
func (s *System) described(b Behaviour) *behaviour {
	if d, ok := s.known.Load(b); ok {
		return d.(*behaviour)
	}
	d := b.describe()
	// One that is not registered is refused; and no program has so many, but
	// one may make a new value of the same each time.
	if s.knownSize.Load() < 1024 {
		s.known.Store(b, d)
		s.knownSize.Add(1)
	}
	return d
}

// left is how many messages are not dealt with, as far as can be seen from
// outside.
func (s *System) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.cells {
		n += c.box.depth() + c.box.inHand() + int(c.waiting.Load())
		c.mu.Lock()
		n += len(c.refused)
		for _, p := range c.pending {
			n += len(p.messages)
		}
		c.mu.Unlock()
	}
	return n
}

// spawn returns the live actor of a name, making it live if it is not, and
// reviving it if it was given up.
func (s *System) spawn(b *behaviour, name string) (*cell, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.live(b, name, !s.stopping && !s.refusing)
	if err == nil && c.failed.Load() {
		s.revive(c)
	}
	return c, err
}

// reach is spawn on behalf of an actor, whose commands still go out while the
// system stops.
func (s *System) reach(b *behaviour, name string) (*cell, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live(b, name, !s.over)
}

// live does what spawn says; s.mu is held.
func (s *System) live(b *behaviour, name string, allowed bool) (*cell, error) {
	if err := checkActor(name); err != nil {
		return nil, err
	}
	if _, err := s.registry.find(b.key()); err != nil {
		return nil, fmt.Errorf("agent %q: %w", name, err)
	}
	if _, ok := s.ending[name]; ok {
		return nil, fmt.Errorf("agent %q: %w: it is being stopped", name, ErrStopped)
	}
	if c, ok := s.cells[name]; ok {
		if c.b.key() != b.key() {
			return nil, fmt.Errorf("agent %q: %w: it is live as %s", name, ErrOtherBehaviour, c.b.key())
		}
		return c, nil
	}
	if !allowed {
		return nil, fmt.Errorf("agent %q: %w: the system is stopping", name, ErrStopped)
	}
	from := uint64(0)
	if len(b.patterns) > 0 {
		var err error
		if from, err = s.resume(name); err != nil {
			return nil, fmt.Errorf("agent %q: %w", name, err)
		}
	}
	c := &cell{sys: s, name: name, b: b, runner: b.runner()}
	c.box = mailbox{owner: c, workers: s.workers, count: s.counts, clock: &s.second, capacity: s.opts.Mailbox}
	c.box.rested = s.second.Load()
	c.clean.Store(true)
	if b.name == RecorderName {
		c.answers = newAnswers(s)
	}
	if f := s.handed; f != nil {
		c.take(f)
		c.recovered = true
		c.known = true
		if len(f.requests)+len(f.open) > 0 {
			c.control(func() { c.takeUpAll(f.requests); c.finishAll(f.open) })
		}
	}
	if s.stopping {
		c.box.close()
	}
	s.registered.add(name, &c.box)
	s.cells[name] = c
	if len(b.patterns) > 0 {
		c.delivered.Store(from)
		c.handled.Store(from)
		s.catchUp(c, from)
	}
	return c, nil
}

func checkActor(name string) error {
	if err := events.CheckName("agent", name); err != nil {
		return err
	}
	if events.SystemStream(name) {
		return fmt.Errorf("%w: agent %q: names that begin with $ belong to the system", events.ErrInvalid, name)
	}
	return nil
}

// resume returns the position after which an agent has events to deal with.
func (s *System) resume(name string) (uint64, error) {
	cp, err := s.j.Checkpoint(s.ctx, checkpointName(name))
	if errors.Is(err, journal.ErrNotFound) {
		return 0, nil
	}
	if err != nil || cp.Via == "" {
		return cp.Position, err
	}
	via, err := s.j.Checkpoint(s.ctx, cp.Via)
	if errors.Is(err, journal.ErrNotFound) {
		return cp.Position, nil
	}
	return max(cp.Position, via.Position), err
}

// resolve completes references that callers gave by id only.
func (s *System) resolve(refs []events.Ref) ([]events.Ref, error) {
	var out []events.Ref
	for _, r := range refs {
		if r.Digest.IsZero() {
			e, err := s.j.ByID(s.ctx, r.ID)
			if err != nil {
				return nil, fmt.Errorf("cause: %w", err)
			}
			r = e.Ref()
		}
		out = append(out, r)
	}
	return out, nil
}

func (s *System) now() time.Time { return s.opts.Now().UTC().Round(0) }

// random feeds the jitter of backoffs, which no replay repeats.
func (s *System) random() uint64 { return s.opts.Random() }

// after calls f after d, unless the system is let go first.
func (s *System) after(d time.Duration, f func()) {
	s.opts.AfterFunc(d, func() {
		if s.ctx.Err() == nil {
			f()
		}
	})
}

// spin runs f on a goroutine of its own, which Stop waits for. Once Stop does,
// f is only called to find the system's context ended.
func (s *System) spin(f func()) {
	s.spinMu.Lock()
	defer s.spinMu.Unlock()
	if s.ctx.Err() != nil {
		go f()
		return
	}
	s.wg.Go(f)
}

// busy counts messages that are not finished.
func (s *System) busy(n int) {
	if s.unfinished.Add(int64(n)) == 0 {
		s.stir()
	}
}

// stir wakes who waits for the system to settle.
func (s *System) stir() {
	s.stirMu.Lock()
	close(s.stirred)
	s.stirred = make(chan struct{})
	s.stirMu.Unlock()
}

func (s *System) fail(err error) {
	if errors.Is(err, journal.ErrClosed) {
		return
	}
	s.failure.CompareAndSwap(nil, &err)
	s.log.Error("the bus has stopped", "err", err)
	s.stir()
}

// Settle waits until every live actor has dealt with everything that is
// durable and nothing is on its way. It is for tests, demonstrations and
// batch work; a system that is fed all the time may never settle. The error
// is the context's, or why the system cannot go on.
func (s *System) Settle(ctx context.Context) error {
	for {
		s.stirMu.Lock()
		stirred := s.stirred
		s.stirMu.Unlock()
		if err := s.j.Err(); err != nil {
			return err
		}
		if p := s.failure.Load(); p != nil {
			return *p
		}
		end := s.j.Position()
		if s.unfinished.Load() == 0 && s.bus.position.Load() >= end && s.unfinished.Load() == 0 && s.j.Position() == end {
			return nil
		}
		select {
		case <-stirred:
		case <-s.j.Failed():
		case <-s.ctx.Done():
			return fmt.Errorf("settle: %w: the system was stopped", ErrStopped)
		case <-ctx.Done():
			return fmt.Errorf("settle: %d messages unfinished: %w", s.left(), context.Cause(ctx))
		}
	}
}
