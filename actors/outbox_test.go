package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// brake holds up every sync of the journal's log while it is on.
type brake struct {
	mu      sync.Mutex
	on      bool
	release chan struct{}
	reached chan struct{} // a sync is being held up
}

func newBrake(d *disktest.Disk) *brake {
	b := &brake{}
	d.Before(func(op disktest.Op) {
		if !op.Is(disktest.Sync, ".log") {
			return
		}
		b.mu.Lock()
		on, release, reached := b.on, b.release, b.reached
		b.mu.Unlock()
		if on {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-release
		}
	})
	return b
}

func (b *brake) pull() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on, b.release, b.reached = true, make(chan struct{}), make(chan struct{}, 1)
}

func (b *brake) letGo() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on {
		b.on = false
		close(b.release)
	}
}

// outcome is one answer to one question.
type outcome struct {
	n   int
	out actors.Outcome
	err error
}

func TestNothingUndurableEscapes(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	decided := make(chan stockCommand, 16)
	hold := make(chan struct{})
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		decided <- c
		if _, ok := c.(Reserve); ok {
			<-hold
		}
	})
	var apples, pears *stockRef
	reacted := make(chan struct{}, 16)
	seller := actors.NewAgent("seller", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		defer func() { reacted <- struct{}{} }()
		if err := pears.Send(t, Add{1}); err != nil {
			return err
		}
		return actors.Emit(t, noted, Note{"sold"})
	})
	quiet := actors.NewAgent("quiet", 1, "order.placed", func(*actors.Turn, events.Event) error {
		reacted <- struct{}{}
		return nil
	})
	// Its second reaction journals nothing and rests on the first.
	courier := actors.NewAgent("courier", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		defer func() { reacted <- struct{}{} }()
		if e.StreamPosition == 1 {
			return actors.Emit(t, noted, Note{"on my way"})
		}
		return pears.Send(t, Add{2})
	})
	sys := start(t, j, actors.Options{}, stock, seller, quiet, courier)
	apples, pears = spawnStock(t, sys, stock, "apples"), spawnStock(t, sys, stock, "pears")
	ask(t, apples, Add{1})
	<-decided
	place(t, sys, "o1")
	place(t, sys, "o2")
	settle(t, sys)

	b.pull()
	answers := make(chan string, 16)
	seen := make(chan events.Event, 16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	mark := j.Position()
	go func() {
		for e, err := range j.Subscribe(ctx, journal.Query{After: mark}) {
			if err == nil {
				seen <- e
			}
		}
	}()
	// The first write is held up by the disk; all that follows rests on it.
	go func() {
		_, err := apples.Ask(ctx, Add{41})
		answers <- fmt.Sprint("the command: ", err)
	}()
	if c := soon(t, "the first decision", decided); c != (Add{41}) {
		t.Fatalf("%v was decided", c)
	}
	soon(t, "the sync", b.reached)
	// The rejection and the query see the state that is not durable yet, so
	// they have to wait with it.
	go func() {
		_, err := apples.Ask(ctx, Reserve{"o9", 43})
		answers <- fmt.Sprint("the rejection: ", err)
	}()
	soon(t, "the second decision", decided)
	go func() {
		s, err := apples.State(ctx)
		answers <- fmt.Sprint("the query: ", s.Free, err)
	}()
	waiting(t, sys, "apples", 1)
	go func() {
		out, err := apples.Ask(ctx, Release{"o9"})
		answers <- fmt.Sprint("nothing: ", len(out.Events), err)
	}()
	waiting(t, sys, "apples", 2)
	close(hold)
	soon(t, "the third decision", decided) // the query was before it
	// A reaction that is decided and not durable sends nothing.
	must(t, seller.Spawn(sys, "seller"))
	must(t, quiet.Spawn(sys, "quiet"))
	must(t, courier.Spawn(sys, "courier"))
	for range 6 {
		soon(t, "a reaction", reacted)
	}
	waiting(t, sys, "pears", 0)
	select {
	case a := <-answers:
		t.Errorf("%s was answered while the disk was busy", a)
	case e := <-seen:
		t.Errorf("a subscriber saw %s while the disk was busy", e.Kind)
	case c := <-decided:
		t.Errorf("%v was sent and decided while the disk was busy", c)
	default:
	}
	if got := j.Position(); got != mark {
		t.Errorf("the durable mark moved from %d to %d", mark, got)
	}
	held, stop := context.WithCancel(t.Context())
	stop()
	if err := sys.Settle(held); !errors.Is(err, context.Canceled) {
		t.Errorf("settled while the disk was busy: %v", err)
	}

	b.letGo()
	var got []string
	for range 4 {
		got = append(got, soon(t, "an answer", answers))
	}
	slices.Sort(got)
	if want := []string{"nothing: 0 <nil>", "the command: <nil>", "the query: 42 <nil>", "the rejection: 43 wanted, 42 free"}; !slices.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	settle(t, sys)
	if s := state(t, pears); s.Free != 1+1+2 {
		t.Errorf("the other stock is %+v after what was sent", s)
	}
}

func TestActorDoesNotBlockOnTheDisk(t *testing.T) {
	const n = 100
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	var count atomic.Int32
	all := make(chan struct{})
	stock := newStock(func(_ *actors.Turn, s Stock, c stockCommand) {
		if _, ok := c.(Reserve); ok && count.Add(1) == n {
			close(all)
		}
	})
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{n - 10})

	b.pull()
	answers := make(chan outcome, n)
	var order []int
	var mu sync.Mutex
	for i := range n {
		// One after the other into the mailbox, so that the order is known.
		go func() {
			out, err := ref.Ask(t.Context(), Reserve{fmt.Sprint(i), 1})
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			answers <- outcome{i, out, err}
		}()
		if i == 0 {
			soon(t, "the first sync", b.reached)
		}
	}
	soon(t, "the last decision", all)
	select {
	case a := <-answers:
		t.Errorf("command %d was answered while the first sync was blocked: %v", a.n, a.err)
	default:
	}
	if j.Position() != 2 {
		t.Errorf("the durable mark is at %d, want 2", j.Position())
	}

	b.letGo()
	won, lost := map[uint64]int{}, 0
	for range n {
		a := soon(t, "an answer", answers)
		var s *shortage
		switch {
		case a.err == nil:
			last := a.out.Events[len(a.out.Events)-1]
			won[a.out.Events[0].Position] = a.n
			if len(a.out.Events) == 2 && last.Kind != "stock.emptied" {
				t.Errorf("the outcome of %d is %v", a.n, kinds(a.out.Events))
			}
		case errors.As(a.err, &s) && s.Free == 0:
			lost++
		default:
			t.Errorf("command %d: %v", a.n, a.err)
		}
	}
	if len(won) != n-10 || lost != 10 {
		t.Errorf("%d commands got goods and %d did not, want %d and 10", len(won), lost, n-10)
	}
	for _, e := range stream(t, j, "apples") {
		if e.Kind != "stock.reserved" {
			continue
		}
		v, err := stockEvents.Decode(e)
		must(t, err)
		if r := v.(Reserved); r.Order != fmt.Sprint(won[e.Position]) {
			t.Errorf("position %d holds the goods of order %s, and %d was told that it is its", e.Position, r.Order, won[e.Position])
		}
	}
	if s := state(t, ref); !sameStock(s, foldStock(t, j, "apples")) || s.Free != 0 {
		t.Errorf("state %+v, the stream folds to %+v", s, foldStock(t, j, "apples"))
	}
}

// A sender that does not wait for answers hears them in the order in which it
// asked.
func TestAnswersComeInOrder(t *testing.T) {
	const n = 200
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	sys := start(t, j, actors.Options{})
	rec, err := actors.SpawnRecorder(sys, "log")
	must(t, err)
	b.pull()
	got := make(chan int, n)
	for i := range n {
		must(t, rec.Record(within(t), events.Draft{Kind: "line"}, func(_ actors.Outcome, err error) {
			if err != nil {
				t.Error(err)
			}
			got <- i
		}))
	}
	if len(got) != 0 {
		t.Errorf("%d answers while the disk was busy", len(got))
	}
	b.letGo()
	for i := range n {
		if g := soon(t, "an answer", got); g != i {
			t.Fatalf("answer %d is to draft %d", i, g)
		}
	}
}

// Agents see events when they are durable, not before.
func TestAgentsSeeOnlyWhatIsDurable(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	reacted := make(chan struct{}, 2)
	a := clerk(func(*actors.Turn, events.Event) error { reacted <- struct{}{}; return nil })
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "clerk"))
	settle(t, sys)
	b.pull()
	go func() {
		d, err := placed.Encode(Order{ID: "o1"})
		if err == nil {
			_, err = sys.Publish(t.Context(), "shop", d)
		}
		if err != nil {
			t.Error(err)
		}
	}()
	soon(t, "the sync", b.reached)
	settle(t, sys) // nothing durable is left to do
	if len(reacted) != 0 {
		t.Error("an agent was handed an event that is not durable")
	}
	b.letGo()
	soon(t, "the reaction", reacted)
}
