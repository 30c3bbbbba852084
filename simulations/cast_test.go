package simulations_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
	"github.com/tokaworks/toka/supervisor"
)

// bound is how long anything here may take that has to end.
const bound = 30 * time.Second

type (
	orderCommand interface{ orderCommand() }
	place        struct{ Items map[string]int }
	pay          struct{ Cents int }
	orderEvent   interface{ orderEvent() }
	placed       struct{ Items []string }
	paid         struct {
		Cents int
		At    time.Time
		Token events.ID
		Luck  uint64
	}
	closed struct{}
	order  struct {
		Items  []string
		Cents  int
		Closed bool
	}

	invoice  struct{ Number, Items int }
	invoices struct{ Sent int }
)

func (place) orderCommand() {}
func (pay) orderCommand()   {}
func (placed) orderEvent()  {}
func (paid) orderEvent()    {}
func (closed) orderEvent()  {}

var (
	orderCommands = events.NewUnion(
		events.Case[orderCommand, place]("order.place", 1),
		events.Case[orderCommand, pay]("order.pay", 1),
	)
	orderEvents = events.NewUnion(
		events.Case[orderEvent, placed]("order.placed", 1),
		events.Case[orderEvent, paid]("order.paid", 1),
		events.Case[orderEvent, closed]("order.closed", 1),
	)
	invoiceSent = events.NewType[invoice]("invoice.sent", 1)
)

// cast are the behaviours of these tests, the faults that can be planted in
// them, and how often they are still to fail for no reason that is recorded.
type cast struct {
	order  *actors.Resource[order, orderCommand, orderEvent]
	biller *actors.Agent[invoices]

	mu      sync.Mutex
	faults  map[string]bool
	breaks  map[string]int
	reacted int // how often React was called
}

// The faults.
const (
	mapOrder      = "map-order"
	wallClock     = "wall-clock"
	globalRandom  = "global-random"
	evolveChanged = "evolve"
	decidePayload = "decide-payload"
	decideKind    = "decide-kind"
	decideMore    = "decide-more"
	decideLess    = "decide-less"
	decideRejects = "decide-rejects"
	decidePanics  = "decide-panics"
	evolvePanics  = "evolve-panics"
	reactPayload  = "react-payload"
	reactMore     = "react-more"
	reactPanics   = "react-panics"
)

func (c *cast) has(fault string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults[fault]
}

func (c *cast) plant(fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[fault] = true
}

// breakDown panics if the key is still to fail.
func (c *cast) breakDown(key string) {
	c.mu.Lock()
	n := c.breaks[key]
	c.breaks[key] = max(n-1, 0)
	c.mu.Unlock()
	if n > 0 {
		panic("broke down at " + key)
	}
}

func (c *cast) breaksAt(key string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaks[key] = times
}

// repair ends all breakdowns.
func (c *cast) repair() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.breaks)
}

func newCast() *cast {
	c := &cast{faults: map[string]bool{}, breaks: map[string]int{}}
	c.order = &actors.Resource[order, orderCommand, orderEvent]{
		Name: "order", Version: 1, Commands: orderCommands, Events: orderEvents,
		Decide: c.decide, Evolve: c.evolve,
	}
	c.biller = &actors.Agent[invoices]{
		Name: "biller", Version: 1, On: []string{"order.placed"},
		React: c.react,
		Evolve: func(s invoices, e events.Event) invoices {
			if e.Kind == invoiceSent.Kind() {
				s.Sent++
			}
			return s
		},
	}
	return c
}

func (c *cast) decide(t *actors.Turn, s order, command orderCommand) ([]orderEvent, error) {
	if c.has(decidePanics) {
		panic("planted")
	}
	switch v := command.(type) {
	case place:
		for key := range v.Items {
			c.breakDown(key)
		}
		// Copied, so that each decision has a map with an order of its own.
		items := slices.Collect(maps.Keys(maps.Clone(v.Items)))
		if !c.has(mapOrder) {
			slices.Sort(items)
		}
		if len(items) == 0 {
			return nil, nil
		}
		return []orderEvent{placed{items}}, nil
	case pay:
		c.breakDown("pay")
		if s.Closed || c.has(decideRejects) {
			return nil, fmt.Errorf("order %s is closed", t.Agent())
		}
		return c.pay(t, s, v), nil
	}
	return nil, fmt.Errorf("unknown command %T", command)
}

func (c *cast) pay(t *actors.Turn, s order, v pay) []orderEvent {
	p := paid{Cents: v.Cents, At: t.Now(), Token: t.NewID(), Luck: t.Rand().Uint64()}
	if c.has(wallClock) {
		p.At = time.Now()
	}
	if c.has(globalRandom) {
		p.Luck = rand.Uint64()
	}
	if c.has(decidePayload) {
		p.Cents++
	}
	out := []orderEvent{p}
	if c.has(decideKind) {
		out[0] = closed{}
	}
	if (s.Cents+v.Cents >= 100 && !c.has(decideLess)) || c.has(decideMore) {
		out = append(out, closed{})
	}
	return out
}

func (c *cast) evolve(s order, e orderEvent) order {
	if c.has(evolvePanics) {
		panic("planted")
	}
	switch v := e.(type) {
	case placed:
		s.Items = slices.Concat(s.Items, v.Items)
	case paid:
		s.Cents += v.Cents
		if c.has(evolveChanged) {
			s.Cents++
		}
	case closed:
		s.Closed = true
	}
	return s
}

func (c *cast) react(t *actors.Turn, s invoices, e events.Event) error {
	c.mu.Lock()
	c.reacted++
	c.mu.Unlock()
	if c.has(reactPanics) {
		panic("planted")
	}
	c.breakDown("react")
	p, err := orderEvents.Decode(e)
	if err != nil {
		return err
	}
	v := invoice{Number: s.Sent + 1, Items: len(p.(placed).Items)}
	if c.has(reactPayload) {
		v.Items++
	}
	if err := actors.Emit(t, invoiceSent, v); err != nil {
		return err
	}
	if c.has(reactMore) {
		return actors.Emit(t, invoiceSent, v)
	}
	return nil
}

func (c *cast) registry() *actors.Registry { return actors.NewRegistry(c.order, c.biller) }

// memory opens a journal in memory.
func memory(t testing.TB) *journal.Journal {
	t.Helper()
	return memoryAt(t, time.Now)
}

func memoryAt(t testing.TB, now func() time.Time) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// stage is a system that runs for one test.
type stage struct {
	t   testing.TB
	ctx context.Context
	c   *cast
	j   *journal.Journal
	sys *actors.System
}

// begin starts the cast over a journal. Who is done calls end.
func begin(t testing.TB, j *journal.Journal, c *cast) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	sys, err := actors.Start(j, c.registry(), actors.Options{
		DigestEvery: 2,
		Supervision: supervisor.Policy{MaxRestarts: 1 << 20, Backoff: supervisor.Backoff{Initial: time.Microsecond, Factor: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &stage{t, ctx, c, j, sys}
}

func (s *stage) end() {
	s.t.Helper()
	s.settle()
	if err := s.sys.Stop(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	// Stop does not wait until the last state digests are stored; a write of
	// our own stands behind them.
	if _, err := s.j.Append(s.ctx, journal.Write{Checkpoints: []journal.Checkpoint{{Name: "test.end", Position: 1}}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) settle() {
	s.t.Helper()
	if err := s.sys.Settle(s.ctx); err != nil {
		s.t.Fatal(err)
	}
}

// ask asks an order, under a command id that derives from the command's name.
func (s *stage) ask(name string, c orderCommand, command string) (actors.Outcome, error) {
	s.t.Helper()
	ref, err := s.c.order.Spawn(s.sys, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref.Ask(s.ctx, c, actors.WithCommandID(named(command)))
}

func (s *stage) mustAsk(name string, c orderCommand, command string) []events.Event {
	s.t.Helper()
	out, err := s.ask(name, c, command)
	if err != nil {
		s.t.Fatal(err)
	}
	return out.Events
}

func named(name string) events.ID { return events.IngestedID("test", name) }

func items(n int) place {
	p := place{Items: map[string]int{}}
	for i := range n {
		p.Items[fmt.Sprintf("item-%03d", i)] = i
	}
	return p
}

func replay(t testing.TB, j *journal.Journal, c *cast) simulations.Report {
	t.Helper()
	r, err := simulations.Replay(t.Context(), j, c.registry(), simulations.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// clean replays and fails the test on any divergence.
func clean(t testing.TB, j *journal.Journal, c *cast) simulations.Report {
	t.Helper()
	r := replay(t, j, c)
	if !r.OK {
		t.Fatalf("an honest run diverges: %v (and %d more)", r.Divergences, r.More)
	}
	return r
}

// first replays and returns the first divergence.
func first(t testing.TB, j *journal.Journal, c *cast) actors.Divergence {
	t.Helper()
	r := replay(t, j, c)
	d, _ := r.First()
	return d
}
