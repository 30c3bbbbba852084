package actors_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// bound is how long anything may take that has to end: an order of magnitude
// more than it needs on a busy machine.
const bound = time.Minute

// The world of these tests is a shop: a stock that is reserved and released by
// commands, orders that are placed outside, and agents that go between.

// Stock is the state of a stock: what is free and who holds how much.
type Stock struct {
	Free int            `json:"free"`
	Held map[string]int `json:"held,omitempty"`
}

type stockCommand interface{ stockCommand() }

type (
	// Add puts goods in.
	Add struct{ N int }
	// Reserve holds goods for an order, and is rejected if there are too few.
	Reserve struct {
		Order string
		N     int
	}
	// Release gives back what an order holds; if it holds nothing, nothing happens.
	Release struct{ Order string }
)

func (Add) stockCommand()     {}
func (Reserve) stockCommand() {}
func (Release) stockCommand() {}

type stockEvent interface{ stockEvent() }

type (
	Added    struct{ N int }
	Reserved struct {
		Order string
		N     int
	}
	Emptied  struct{ At time.Time }
	Released struct {
		Order string
		N     int
	}
)

func (Added) stockEvent()    {}
func (Reserved) stockEvent() {}
func (Emptied) stockEvent()  {}
func (Released) stockEvent() {}

var (
	stockCommands = events.NewUnion(
		events.Case[stockCommand, Add]("stock.add", 1),
		events.Case[stockCommand, Reserve]("stock.reserve", 1),
		events.Case[stockCommand, Release]("stock.release", 1),
	)
	stockEvents = events.NewUnion(
		events.Case[stockEvent, Added]("stock.added", 1),
		events.Case[stockEvent, Reserved]("stock.reserved", 1),
		events.Case[stockEvent, Emptied]("stock.emptied", 1),
		events.Case[stockEvent, Released]("stock.released", 1),
	)
)

var errNoOrder = errors.New("an order is needed")

// shortage is a rejection that says how much is missing.
type shortage struct{ Want, Free int }

func (e *shortage) Error() string { return fmt.Sprintf("%d wanted, %d free", e.Want, e.Free) }

type (
	stockResource = actors.Resource[Stock, stockCommand, stockEvent]
	stockRef      = actors.Ref[Stock, stockCommand]
)

// newStock returns the behaviour of stocks. before, if it is not nil, is called
// at the beginning of Decide: it is where tests put what goes wrong.
func newStock(before func(t *actors.Turn, s Stock, c stockCommand)) *stockResource {
	return &stockResource{
		Name: "stock", Version: 1, Commands: stockCommands, Events: stockEvents,
		Decide: func(t *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
			if before != nil {
				before(t, s, c)
			}
			return decideStock(t.Now(), s, c)
		},
		Evolve: evolveStock,
	}
}

func decideStock(now time.Time, s Stock, c stockCommand) ([]stockEvent, error) {
	switch c := c.(type) {
	case Add:
		return []stockEvent{Added(c)}, nil
	case Reserve:
		switch {
		case c.Order == "":
			return nil, fmt.Errorf("reserve %d: %w", c.N, errNoOrder)
		case c.N > s.Free:
			return nil, &shortage{Want: c.N, Free: s.Free}
		case c.N == s.Free:
			return []stockEvent{Reserved(c), Emptied{At: now}}, nil
		}
		return []stockEvent{Reserved(c)}, nil
	case Release:
		if n := s.Held[c.Order]; n > 0 {
			return []stockEvent{Released{Order: c.Order, N: n}}, nil
		}
		return nil, nil
	}
	return nil, fmt.Errorf("unknown command %T", c)
}

func evolveStock(s Stock, e stockEvent) Stock {
	held := maps.Clone(s.Held)
	if held == nil {
		held = map[string]int{}
	}
	switch e := e.(type) {
	case Added:
		s.Free += e.N
	case Reserved:
		s.Free -= e.N
		held[e.Order] += e.N
	case Released:
		s.Free += e.N
		delete(held, e.Order)
	}
	if s.Held = held; len(held) == 0 {
		s.Held = nil
	}
	return s
}

// foldStock folds what a journal holds of a stock, as if there were no actors.
func foldStock(t testing.TB, j *journal.Journal, name string) (s Stock) {
	t.Helper()
	for _, e := range stream(t, j, name) {
		v, err := stockEvents.Decode(e)
		if errors.Is(err, events.ErrOtherKind) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s = evolveStock(s, v)
	}
	return s
}

func sameStock(a, b Stock) bool { return a.Free == b.Free && maps.Equal(a.Held, b.Held) }

// Order is the payload of the events that come from outside.
type Order struct {
	ID    string
	Items int
}

// Note is the payload of whatever an agent of these tests has to say.
type Note struct{ Text string }

var (
	placed = events.NewType[Order]("order.placed", 1)
	noted  = events.NewType[Note]("clerk.noted", 1)
	filed  = events.NewType[Note]("clerk.filed", 1)
)

// clerk is an agent that notes every placed order: "order ID".
func clerk(before func(t *actors.Turn, e events.Event) error) *actors.Agent[struct{}] {
	return actors.NewAgent("clerk", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		if before != nil {
			if err := before(t, e); err != nil {
				return err
			}
		}
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		return actors.Emit(t, noted, Note{"order " + o.ID})
	})
}

// counter is an agent whose state is how many orders it has noted.
func counter() *actors.Agent[int] {
	return &actors.Agent[int]{
		Name: "counter", Version: 1, On: []string{"order.placed"},
		React: func(t *actors.Turn, n int, e events.Event) error {
			return actors.Emit(t, noted, Note{fmt.Sprintf("%d before %s", n, e.ID)})
		},
		Evolve: func(n int, e events.Event) int {
			if e.Kind == noted.Kind() {
				n++
			}
			return n
		},
	}
}

func open(t testing.TB, dir string, opts journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func memory(t testing.TB) *journal.Journal {
	t.Helper()
	return open(t, "", journal.Options{Level: journal.LevelMemory})
}

const diskDir = "/data"

func onDisk(t testing.TB, d *disktest.Disk) *journal.Journal {
	t.Helper()
	return open(t, diskDir, journal.Options{Volume: d.Volume()})
}

func start(t testing.TB, j *journal.Journal, opts actors.Options, bs ...actors.Behaviour) *actors.System {
	t.Helper()
	sys, err := actors.Start(j, actors.NewRegistry(bs...), opts)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		_ = sys.Stop(ctx)
	})
	return sys
}

// within bounds what the test is about to wait for.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stopOK(t testing.TB, sys *actors.System) {
	t.Helper()
	must(t, sys.Stop(within(t)))
}

func closeOK(t testing.TB, j *journal.Journal) {
	t.Helper()
	must(t, j.Close())
}

func settle(t testing.TB, sys *actors.System) {
	t.Helper()
	must(t, sys.Settle(within(t)))
}

func spawnStock(t testing.TB, sys *actors.System, r *stockResource, name string) *stockRef {
	t.Helper()
	ref, err := r.Spawn(sys, name)
	must(t, err)
	return ref
}

func ask(t testing.TB, r *stockRef, c stockCommand, opts ...actors.CommandOption) actors.Outcome {
	t.Helper()
	out, err := r.Ask(within(t), c, opts...)
	if err != nil {
		t.Fatalf("ask %#v: %v", c, err)
	}
	return out
}

func state(t testing.TB, r *stockRef) Stock {
	t.Helper()
	s, err := r.State(within(t))
	must(t, err)
	return s
}

// place publishes an order and returns the event.
func place(t testing.TB, sys *actors.System, id string) events.Event {
	t.Helper()
	e, err := actors.Publish(within(t), sys, "shop", placed, Order{ID: id})
	must(t, err)
	return e
}

// orders publishes n orders, o0, o1 and so on, in writes of a hundred.
func orders(t testing.TB, sys *actors.System, n int) (out []events.Event) {
	t.Helper()
	var ds []events.Draft
	for i := range n {
		d, err := placed.Encode(Order{ID: fmt.Sprint("o", i)})
		must(t, err)
		if ds = append(ds, d); len(ds) == 100 || i == n-1 {
			es, err := sys.Publish(within(t), "shop", ds...)
			must(t, err)
			out, ds = append(out, es...), nil
		}
	}
	return out
}

func collect(t testing.TB, seq iter.Seq2[events.Event, error]) (out []events.Event) {
	t.Helper()
	for e, err := range seq {
		must(t, err)
		out = append(out, e)
	}
	return out
}

func everything(t testing.TB, j *journal.Journal) []events.Event {
	t.Helper()
	return collect(t, j.Read(t.Context(), journal.Query{}))
}

func stream(t testing.TB, j *journal.Journal, name string) []events.Event {
	t.Helper()
	return collect(t, j.ReadStream(t.Context(), name, 0))
}

func kinds(es []events.Event) []string {
	out := make([]string, len(es))
	for i := range es {
		out[i] = es[i].Kind
	}
	return out
}

func ids(es []events.Event) []events.ID {
	out := make([]events.ID, len(es))
	for i := range es {
		out[i] = es[i].ID
	}
	return out
}

// notes are the texts of the notes in a stream.
func notes(t testing.TB, j *journal.Journal, name string) (out []string) {
	t.Helper()
	for _, e := range stream(t, j, name) {
		if n, err := noted.Decode(e); err == nil {
			out = append(out, n.Text)
		}
	}
	return out
}

// soon waits for a channel to be closed or to yield, within bound.
func soon[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatalf("%s did not come within %v", what, bound)
	}
	return v
}

// rewind sets an agent's checkpoint back to the beginning, as if it had been
// lost.
func rewind(t testing.TB, j *journal.Journal, agent string) {
	t.Helper()
	_, err := j.Append(within(t), journal.Write{Checkpoints: []journal.Checkpoint{{Name: agent}}})
	must(t, err)
}

// waiting returns when n messages wait in an actor's mailbox.
func waiting(t testing.TB, sys *actors.System, name string, n int) {
	t.Helper()
	for ctx := within(t); ; runtime.Gosched() {
		for _, i := range sys.Agents() {
			if i.Name == name && i.Mailbox == n {
				return
			}
		}
		must(t, ctx.Err())
	}
}

// slowIntents is a strategy that is held up until hold is closed.
type slowIntents struct {
	intent.Strategy
	hold chan struct{}
}

func newSlowIntents() *slowIntents {
	return &slowIntents{Strategy: intent.Nil{}, hold: make(chan struct{})}
}

func (*slowIntents) Name() string   { return "slow" }
func (*slowIntents) Dimension() int { return 2 }
func (s *slowIntents) Assign(a intent.Arrival) intent.Assignment {
	<-s.hold
	return intent.Assignment{}
}
