package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func TestStorageFailureReachesCallers(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	decided := make(chan struct{}, 100)
	stock := newStock(func(*actors.Turn, Stock, stockCommand) { decided <- struct{}{} })
	a := clerk(nil)
	sys := start(t, j, actors.Options{}, stock, a)
	ref, other := spawnStock(t, sys, stock, "apples"), spawnStock(t, sys, stock, "pears")
	must(t, a.Spawn(sys, "clerk"))
	rec, err := actors.SpawnRecorder(sys, "log")
	must(t, err)
	ask(t, ref, Add{1})
	<-decided
	settle(t, sys)

	fault := d.Fail(1, true, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Sync, ".log") })
	defer fault.Repair()
	b.pull()
	answers := make(chan error, 100)
	waiting := 0
	put := func(f func() error) {
		waiting++
		go func() { answers <- f() }()
	}
	// These wait for the sync that is going to fail, in every way there is.
	put(func() error { _, err := ref.Ask(t.Context(), Add{1}); return err })
	soon(t, "the first decision", decided)
	soon(t, "the sync", b.reached)
	for range 20 {
		put(func() error { _, err := ref.Ask(t.Context(), Add{1}); return err })
		soon(t, "a decision", decided)
	}
	put(func() error { _, err := ref.State(t.Context()); return err })
	put(func() error { _, err := ref.Ask(t.Context(), Reserve{"o1", 1000}); return err })
	soon(t, "a rejection", decided)
	put(func() error { _, err := other.Ask(t.Context(), Add{1}); return err })
	soon(t, "the other's decision", decided)
	put(func() error {
		_, err := sys.Publish(t.Context(), "shop", events.Draft{Kind: "order.placed"})
		return err
	})
	recorded := make(chan error, 1)
	put(func() error {
		if err := rec.Record(t.Context(), events.Draft{Kind: "line"}, func(_ actors.Outcome, err error) { recorded <- err }); err != nil {
			return err
		}
		return <-recorded
	})
	put(func() error { return sys.Settle(t.Context()) })
	b.letGo()
	soon(t, "the failure", fault.Fired())
	for range waiting {
		if err := soon(t, "an answer", answers); !errors.Is(err, journal.ErrFatal) {
			t.Errorf("%v, want %v", err, journal.ErrFatal)
		}
	}
	// And so do all who come later.
	for name, f := range map[string]func() error{
		"ask":    func() error { _, err := ref.Ask(within(t), Add{1}); return err },
		"state":  func() error { _, err := ref.State(within(t)); return err },
		"reject": func() error { _, err := ref.Ask(within(t), Reserve{"o", 9}); return err },
		"twice": func() error {
			_, err := other.Ask(within(t), Add{1}, actors.WithCommandID(journal.NewID()))
			return err
		},
		"publish": func() error { _, err := sys.Publish(within(t), "shop", events.Draft{Kind: "a"}); return err },
		"settle":  func() error { return sys.Settle(within(t)) },
		"record": func() error {
			return rec.Record(within(t), events.Draft{Kind: "line"}, func(_ actors.Outcome, err error) {
				if !errors.Is(err, journal.ErrFatal) {
					t.Errorf("a draft was answered %v", err)
				}
			})
		},
		"start": func() error { _, err := actors.Start(j, actors.NewRegistry(), actors.Options{}); return err },
		"stop":  func() error { return sys.Stop(within(t)) },
	} {
		if name != "stop" {
			if err := f(); !errors.Is(err, journal.ErrFatal) {
				t.Errorf("%s: %v, want %v", name, err, journal.ErrFatal)
			}
		}
	}
	if err := sys.Stop(within(t)); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("stop: %v, want %v", err, journal.ErrFatal)
	}
	if err := j.Close(); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("close: %v", err)
	}
	fault.Repair()
	j = onDisk(t, d)
	sys = start(t, j, actors.Options{}, stock)
	ref = spawnStock(t, sys, stock, "apples")
	if s := state(t, ref); s.Free < 1 {
		t.Errorf("state %+v after the disk was mended: what was acknowledged is gone", s)
	}
}

// A command that is being decided while the storage fails is told so too.
func TestStorageFailureDuringADecision(t *testing.T) {
	d := disktest.New()
	b := newBrake(d)
	j := onDisk(t, d)
	defer b.letGo()
	hold, held := make(chan struct{}), make(chan struct{})
	stock := newStock(func(_ *actors.Turn, _ Stock, c stockCommand) {
		if c == (Add{2}) {
			close(held)
			<-hold
		}
	})
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{1})
	fault := d.Fail(1, true, syscall.EIO, func(op disktest.Op) bool { return op.Is(disktest.Sync, ".log") })
	defer fault.Repair()
	b.pull()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := ref.Ask(t.Context(), Add{1})
		first <- err
	}()
	soon(t, "the sync", b.reached)
	go func() {
		_, err := ref.Ask(t.Context(), Add{2})
		second <- err
	}()
	soon(t, "the decision", held)
	b.letGo()
	if err := soon(t, "the first answer", first); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("%v, want %v", err, journal.ErrFatal)
	}
	close(hold)
	if err := soon(t, "the second answer", second); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("%v, want %v", err, journal.ErrFatal)
	}
	if err := sys.Stop(within(t)); !errors.Is(err, journal.ErrFatal) {
		t.Errorf("stop: %v, want %v", err, journal.ErrFatal)
	}
}

// A shop at work, whose disk loses power before one change or another. Orders
// come from outside; a keeper reserves for each and files what it did; a clerk
// notes what was filed.
type shop struct {
	stock  *stockResource
	keeper *actors.Agent[struct{}]
	clerk  *actors.Agent[struct{}]
}

func newShop() *shop {
	s := &shop{stock: newStock(nil)}
	s.keeper = actors.NewAgent("keeper", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		if err := s.stock.Send(t, "apples", Reserve{o.ID, o.Items}); err != nil {
			return err
		}
		return actors.Emit(t, filed, Note{o.ID})
	})
	s.clerk = actors.NewAgent("clerk", 1, "clerk.filed", func(t *actors.Turn, e events.Event) error {
		n, err := filed.Decode(e)
		if err != nil {
			return err
		}
		return actors.Emit(t, noted, n)
	})
	return s
}

// open starts the shop over a disk.
func (s *shop) open(t testing.TB, d *disktest.Disk) (*journal.Journal, *actors.System, *stockRef, error) {
	j, err := journal.Open(diskDir, journal.Options{Volume: d.Volume()})
	if err != nil {
		return nil, nil, nil, err
	}
	sys, err := actors.Start(j, actors.NewRegistry(s.stock, s.keeper, s.clerk), actors.Options{Mailbox: 4})
	if err != nil {
		return nil, nil, nil, err
	}
	ref, err := s.stock.Spawn(sys, "apples")
	return j, sys, ref, errors.Join(err, s.keeper.Spawn(sys, "keeper"), s.clerk.Spawn(sys, "clerk"))
}

func (s *shop) close(ctx context.Context, j *journal.Journal, sys *actors.System) error {
	return errors.Join(sys.Stop(ctx), j.Close())
}

const shopOrders = 12

func shopOrder(n int) (events.Draft, error) {
	d, err := placed.Encode(Order{ID: fmt.Sprint("o", n), Items: 1})
	d.ID = events.IngestedID("crash", fmt.Sprint(n))
	return d, err
}

func shopCommand(n int) events.ID { return events.IngestedID("crash command", fmt.Sprint(n)) }

// acknowledged is what somebody was told.
type acknowledged struct {
	mu  sync.Mutex
	ids []events.ID
}

func (a *acknowledged) note(es []events.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, ids(es)...)
}

func (a *acknowledged) all() []events.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clip(a.ids)
}

// day is a day's work: orders and deliveries, in turns. Each has its id, so
// that the day can be done again from the beginning.
func day(ctx context.Context, sys *actors.System, ref *stockRef, acked *acknowledged) error {
	for n := range shopOrders {
		out, err := ref.Ask(ctx, Add{1}, actors.WithCommandID(shopCommand(n)))
		if err != nil {
			return err
		}
		acked.note(out.Events)
		d, err := shopOrder(n)
		if err != nil {
			return err
		}
		es, err := sys.Publish(ctx, "shop", d)
		if err != nil {
			return err
		}
		acked.note(es)
	}
	return nil
}

func TestPowerCut(t *testing.T) {
	type shot struct {
		disk  *disktest.Disk
		acked []events.ID
		what  string
	}
	d, s := disktest.New(), newShop()
	acked := &acknowledged{}
	var mu sync.Mutex
	var shots []shot
	changes, stride := 0, 3
	if underRace || testing.Short() {
		stride = 11
	}
	d.Before(func(op disktest.Op) {
		mu.Lock()
		defer mu.Unlock()
		if changes++; changes%stride != 0 {
			return
		}
		told := acked.all() // before the cut: what was told by then is there
		for _, percent := range []int{0, 50} {
			shots = append(shots, shot{
				disk: d.PowerCut(percent, uint64(changes)), acked: told,
				what: fmt.Sprintf("change %d, before %v, %d%% of the unsynced kept", changes, op, percent),
			})
		}
	})
	work := func(d *disktest.Disk) (es []events.Event, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		j, sys, ref, err := s.open(t, d)
		if err != nil {
			return nil, err
		}
		err = errors.Join(day(ctx, sys, ref, acked), sys.Settle(ctx))
		for e, rerr := range j.Read(ctx, journal.Query{}) {
			es, err = append(es, e), errors.Join(err, rerr)
		}
		return es, errors.Join(err, s.close(ctx, j, sys))
	}
	want, err := work(d)
	must(t, err)
	checkShop(t, "undisturbed", want)

	mu.Lock()
	all := shots
	mu.Unlock()
	todo := make(chan shot)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for shot := range todo {
				acked := shot.acked
				got, err := again(t.Context(), s, shot.disk, func(es []events.Event) {
					there := map[events.ID]bool{}
					for _, e := range es {
						there[e.ID] = true
					}
					for _, id := range acked {
						if !there[id] {
							t.Errorf("%s: event %s was acknowledged and is gone", shot.what, id)
							return
						}
					}
				})
				if err != nil {
					t.Errorf("%s: %v", shot.what, err)
					continue
				}
				checkShop(t, shot.what, got)
			}
		})
	}
	for _, shot := range all {
		todo <- shot
	}
	close(todo)
	workers.Wait()
	if len(all) < 20 || len(acked.all()) == 0 {
		t.Errorf("only %d power cuts over %d changes: the run is too small to show anything", len(all), changes)
	}
	t.Logf("%d events, %d changes of the disk, %d power cuts", len(want), changes, len(all))
}

// again reopens what a power cut left, shows what is there, and does the day
// again.
func again(ctx context.Context, s *shop, d *disktest.Disk, found func([]events.Event)) (es []events.Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	j, sys, ref, err := s.open(nil, d)
	if err != nil {
		return nil, err
	}
	read := func() (es []events.Event) {
		for e, rerr := range j.Read(ctx, journal.Query{}) {
			es, err = append(es, e), errors.Join(err, rerr)
		}
		return es
	}
	found(read())
	err = errors.Join(err, sys.Settle(ctx), day(ctx, sys, ref, &acknowledged{}), sys.Settle(ctx))
	es = read()
	return es, errors.Join(err, s.close(ctx, j, sys))
}

// checkShop holds a whole day's journal against what it has to hold, once
// each: every order, what the keeper filed about it, what the clerk noted
// about that, and every delivery. A reservation is a command, so a power cut
// may lose one; none may be there twice.
func checkShop(t testing.TB, what string, es []events.Event) {
	t.Helper()
	byID := map[events.ID]events.Event{}
	count := map[string]int{}
	reserved := map[string]int{}
	for _, e := range es {
		if _, twice := byID[e.ID]; twice {
			t.Errorf("%s: event %s is there twice", what, e.ID)
		}
		byID[e.ID] = e
		count[e.Kind]++
		if v, err := stockEvents.Decode(e); err == nil {
			if r, ok := v.(Reserved); ok {
				reserved[r.Order]++
			}
		}
	}
	for n := range shopOrders {
		order, ok := byID[events.IngestedID("crash", fmt.Sprint(n))]
		if !ok {
			t.Errorf("%s: order %d is missing", what, n)
			continue
		}
		f, ok := byID[events.EmittedID(order.Digest, "keeper", 0)]
		if !ok {
			t.Errorf("%s: the keeper filed nothing about order %d", what, n)
			continue
		}
		if _, ok := byID[events.EmittedID(f.Digest, "clerk", 0)]; !ok {
			t.Errorf("%s: the clerk noted nothing about order %d", what, n)
		}
		if _, ok := byID[shopCommand(n)]; !ok {
			t.Errorf("%s: delivery %d is missing", what, n)
		}
	}
	for order, n := range reserved {
		if n != 1 {
			t.Errorf("%s: order %s was reserved %d times", what, order, n)
		}
	}
	if what == "undisturbed" && len(reserved) != shopOrders {
		t.Errorf("%d orders were reserved, want %d", len(reserved), shopOrders)
	}
	for kind, want := range map[string]int{
		"order.placed": shopOrders, "clerk.filed": shopOrders, "clerk.noted": shopOrders,
		"stock.added": shopOrders, "toka.command.stock.add": shopOrders,
		"toka.agent.failed": 0, "toka.agent.parked": 0,
	} {
		if count[kind] != want {
			t.Errorf("%s: %d events of kind %s, want %d", what, count[kind], kind, want)
		}
	}
}

// A journal that its owner closes too early is no reason to hang.
func TestJournalClosedUnderTheSystem(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	a := clerk(nil)
	sys := start(t, j, actors.Options{}, stock, a)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, a.Spawn(sys, "clerk"))
	ask(t, ref, Add{1})
	orders(t, sys, 3)
	closeOK(t, j)
	if _, err := ref.Ask(within(t), Add{1}); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("%v, want %v", err, journal.ErrClosed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := sys.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}
