package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
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

	// Supervision answers failures. See supervisor.Policy for its defaults.
	Supervision supervisor.Policy

	// DigestEvery is after how many events of its stream an actor stores the
	// digest of its state, for replays to compare. Default 100.
	DigestEvery uint64

	// Recoveries is how many actors read their streams at the same time.
	// Default 64.
	Recoveries int

	// Now is the clock of commands. Default time.Now.
	Now func() time.Time

	// Logger gets what an operator should know. Default: nothing is logged.
	Logger *slog.Logger
}

// System runs actors over one journal. It is safe for concurrent use.
type System struct {
	j        *journal.Journal
	registry *Registry
	opts     Options
	log      *slog.Logger
	runtime  *runtime
	bus      *bus

	ctx    context.Context // ends when the system is let go
	cancel context.CancelFunc
	wg     sync.WaitGroup // the bus's goroutines and those that catch up

	recovering chan struct{}

	mu       sync.Mutex
	cells    map[string]*cell
	stopping bool

	unfinished atomic.Int64
	stirMu     sync.Mutex
	stirred    chan struct{} // closed and replaced when something came to an end

	failure atomic.Pointer[error]
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
	if opts.Mailbox <= 0 {
		opts.Mailbox = 1024
	}
	if opts.DigestEvery == 0 {
		opts.DigestEvery = 100
	}
	if opts.Recoveries <= 0 {
		opts.Recoveries = 64
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &System{
		j: j, registry: r, opts: opts, log: opts.Logger,
		runtime: newRuntime(opts.Logger), recovering: make(chan struct{}, opts.Recoveries),
		cells: map[string]*cell{}, stirred: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.bus = newBus(s)
	s.bus.stop = s.runtime.spawn(s.bus, s.bus.box)
	s.wg.Add(2)
	go s.bus.pump(s.ctx)
	go s.bus.keep(s.ctx)
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

// spawn returns the live actor of a name, making it live if it is not.
func (s *System) spawn(b behaviour, name string) (*cell, error) {
	if err := events.CheckName("agent", name); err != nil {
		return nil, err
	}
	if events.SystemStream(name) {
		return nil, fmt.Errorf("%w: agent %q: names that begin with $ belong to the system", events.ErrInvalid, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.cells[name]; ok {
		if c.b.key() != b.key() {
			return nil, fmt.Errorf("agent %q: %w: it is live as %s", name, ErrOtherBehaviour, c.b.key())
		}
		return c, nil
	}
	if s.stopping {
		return nil, fmt.Errorf("agent %q: %w: the system is stopping", name, ErrStopped)
	}
	from := uint64(0)
	if len(b.patterns) > 0 {
		var err error
		if from, err = s.resume(name); err != nil {
			return nil, fmt.Errorf("agent %q: %w", name, err)
		}
	}
	c := &cell{sys: s, name: name, b: b, box: newMailbox(s.opts.Mailbox), runner: b.runner()}
	c.stop = s.runtime.spawn(c, c.box)
	s.cells[name] = c
	if len(b.patterns) > 0 {
		c.delivered.Store(from)
		c.handled.Store(from)
		s.catchUp(c, from)
	}
	return c, nil
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
func (s *System) random() uint64 { return rand.Uint64() }

// after calls f after d, unless the system is let go first.
func (s *System) after(d time.Duration, f func()) {
	s.wg.Add(1)
	t := time.NewTimer(d)
	go func() {
		defer s.wg.Done()
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-s.ctx.Done():
		}
	}()
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
		case <-ctx.Done():
			return fmt.Errorf("settle: %d messages unfinished: %w", s.unfinished.Load(), context.Cause(ctx))
		}
	}
}

// Info describes one live actor.
type Info struct {
	Name      string `json:"name"`
	Behaviour string `json:"behaviour"`
	Mailbox   int    `json:"mailbox"`  // messages that wait
	Restarts  uint64 `json:"restarts"` // failures since it was spawned
	Failure   string `json:"failure,omitempty"`
}

// Agents lists the live actors, by name.
func (s *System) Agents() []Info {
	s.mu.Lock()
	cells := make([]*cell, 0, len(s.cells))
	for _, c := range s.cells {
		cells = append(cells, c)
	}
	s.mu.Unlock()
	slices.SortFunc(cells, func(a, b *cell) int { return strings.Compare(a.name, b.name) })
	out := make([]Info, len(cells))
	for i, c := range cells {
		out[i] = Info{Name: c.name, Behaviour: c.b.key(), Mailbox: c.box.depth(), Restarts: c.restarts.Load()}
		if p := c.lastFailure.Load(); p != nil {
			out[i].Failure = *p
		}
	}
	return out
}

// Stop ends the system: no new messages are taken, what was taken is handled
// and made durable, and each actor stores the digest of its state. When ctx
// ends first, what is left is answered with ErrStopped and the error says how
// much that was. The journal stays open.
func (s *System) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return nil
	}
	s.stopping = true
	cells := make([]*cell, 0, len(s.cells))
	for _, c := range s.cells {
		cells = append(cells, c)
	}
	s.mu.Unlock()

	var ended sync.WaitGroup
	for _, c := range cells {
		ended.Add(1)
		s.busy(1)
		c.box.close(&message{kind: kindControl, run: func() {
			c.whenQuiet(func() { c.rest(); ended.Done() })
		}})
	}
	done := make(chan struct{})
	go func() { ended.Wait(); close(done) }()
	var err error
	select {
	case <-done:
	case <-s.j.Failed():
		err = s.j.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil {
		saved := make(chan struct{})
		if s.bus.do(ctx, func() { s.bus.save(); close(saved) }) == nil {
			<-saved
		}
	}
	left := 0
	for _, c := range cells {
		for _, m := range c.box.drain() {
			if m.kind != kindControl {
				m.answer(Outcome{}, c.stopped())
				left++
			}
		}
	}
	s.cancel()
	s.wg.Wait()
	s.bus.stop()
	for _, c := range cells {
		c.stop()
	}
	s.runtime.shutdown()
	if err != nil {
		return fmt.Errorf("stop: %d messages were not handled: %w", left, err)
	}
	return nil
}

// rest stores the digest of the actor's state for replays to compare.
func (c *cell) rest() {
	if !c.recovered || c.version == 0 || c.b.name == RecorderName {
		return
	}
	d, err := c.stateDigest(c.runner.encoded, c.version)
	if err != nil {
		return
	}
	_ = c.sys.j.Submit(c.sys.ctx, journal.Write{StateDigests: []journal.StateDigest{d}}, func(journal.Receipt, error) {})
}
