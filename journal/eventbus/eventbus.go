package eventbus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/journal"
)

// Options say how a bus is opened. The zero value is fine.
type Options struct {
	// Journal says how Open opens the journal.
	Journal journal.Options

	// OnError is called with whatever goes wrong in a subscriber, on its
	// goroutine.
	OnError func(subscriber string, m bus.Message, err error)
}

// Bus is a journal as a bus. It implements bus.Store.
type Bus struct {
	*bus.Handlers
	j   *journal.Journal
	own bool // Close closes the journal

	open context.Context // until Close
	shut context.CancelFunc
}

var _ bus.Store = (*Bus)(nil)

// Open opens the journal in dir as a bus, which Close closes. With an empty
// dir the journal is in memory.
func Open(dir string, opts Options) (*Bus, error) {
	if dir == "" {
		opts.Journal.Level = journal.LevelMemory
	}
	j, err := journal.Open(dir, opts.Journal)
	if err != nil {
		return nil, err
	}
	b := Over(j, opts)
	b.own = true
	return b, nil
}

// Over returns an open journal as a bus. The journal stays the caller's to
// close after the bus.
func Over(j *journal.Journal, opts Options) *Bus {
	b := &Bus{j: j}
	b.open, b.shut = context.WithCancel(context.Background())
	b.Handlers = bus.NewHandlers(b.Receive, opts.OnError)
	return b
}

// Journal returns the journal below the bus.
func (b *Bus) Journal() *journal.Journal { return b.j }

// Emit implements bus.Bus.
func (b *Bus) Emit(ctx context.Context, source, kind string, v events.DomainEvent) error {
	_, err := bus.Commit(ctx, b, source, kind, v, nil, nil)
	return err
}

// Publish implements bus.Bus. Errors are those of journal.Append.
func (b *Bus) Publish(ctx context.Context, d events.Draft) (events.Event, error) {
	if b.open.Err() != nil {
		return events.Event{}, bus.ErrClosed
	}
	receipt, err := b.j.Append(ctx, journal.Write{Events: []events.Draft{d}})
	if err != nil {
		return events.Event{}, ended(err)
	}
	return receipt.Events[0], nil
}

// ended lets a caller that knows only buses see that this one is closed.
func ended(err error) error {
	if errors.Is(err, journal.ErrClosed) {
		return fmt.Errorf("%w: %w", bus.ErrClosed, err)
	}
	return err
}

// Event implements bus.Store.
func (b *Bus) Event(ctx context.Context, id events.ID) (events.Event, error) {
	return b.j.ByID(ctx, id)
}

// Payload implements bus.Store.
func (b *Bus) Payload(ctx context.Context, d events.Digest) ([]byte, error) {
	return b.j.Payload(ctx, d)
}

// Counts implements bus.Store.
func (b *Bus) Counts() bus.Counts {
	s := b.j.Stats()
	return bus.Counts{Events: s.Position, Payloads: s.Payloads, Intents: s.Intents}
}

// Close implements bus.Bus.
func (b *Bus) Close(ctx context.Context) error {
	b.shut()
	err := b.Drain(ctx)
	if b.own {
		err = errors.Join(err, b.j.Close())
	}
	return err
}

// Receive implements bus.Bus.
func (b *Bus) Receive(f bus.Filter) (bus.Receiver, error) {
	if b.open.Err() != nil {
		return nil, bus.ErrClosed
	}
	r := &receiver{
		bus:   b,
		query: journal.Query{Stream: f.Source, Kinds: slices.Clone(f.Kinds), After: b.j.Position(), Limit: batch},
	}
	r.open, r.shut = context.WithCancel(b.open)
	r.system = slices.ContainsFunc(f.Kinds, func(p events.Pattern) bool { return strings.HasPrefix(p.String(), "toka.") })
	return r, nil
}

// batch is how many events a receiver reads at a time.
const batch = 256

// receiver reads the journal in batches.
type receiver struct {
	bus    *Bus
	open   context.Context // until Close, its own or the bus's
	shut   context.CancelFunc
	closed atomic.Bool // by its own Close

	// Owned by whoever receives.
	query  journal.Query // After: everything up to there was read
	system bool          // kinds of the system are wanted
	read   []events.Event
}

// Close implements bus.Receiver.
func (r *receiver) Close() {
	r.closed.Store(true)
	r.shut()
}

// All implements bus.Receiver.
func (r *receiver) All(ctx context.Context) iter.Seq2[bus.Message, error] {
	return bus.Pull(ctx, r.Next)
}

// Next implements bus.Receiver.
func (r *receiver) Next(ctx context.Context) (bus.Message, error) {
	for {
		switch {
		case r.closed.Load():
			return bus.Message{}, bus.ErrClosed
		case ctx.Err() != nil:
			return bus.Message{}, context.Cause(ctx)
		case len(r.read) > 0:
			e := r.read[0]
			r.read = r.read[1:]
			return bus.FromEvent(e), nil
		}
		if err := r.fill(ctx); err != nil {
			return bus.Message{}, ended(err)
		}
	}
}

// fill reads what is there, and waits if that is nothing.
func (r *receiver) fill(ctx context.Context) error {
	closed := r.open.Err() != nil // nothing is emitted after that
	mark := r.bus.j.Position()
	after := r.query.After
	for e, err := range r.bus.j.Read(ctx, r.query) {
		if err != nil {
			return err
		}
		r.take(e)
	}
	switch {
	case r.query.After > after:
		return nil
	case closed:
		return bus.ErrClosed
	}
	r.query.After = max(after, mark)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.open, func() { cancel(errShut) })()
	q := r.query
	q.Limit = 1
	for e, err := range r.bus.j.Subscribe(ctx, q) {
		switch {
		case errors.Is(err, errShut):
			return nil // Next, or the next fill, sees what is shut
		case err != nil:
			return err
		}
		r.take(e)
	}
	return nil
}

var errShut = errors.New("shut")

func (r *receiver) take(e events.Event) {
	r.query.After = e.Position
	if r.system || !events.SystemKind(e.Kind) {
		r.read = append(r.read, e)
	}
}
