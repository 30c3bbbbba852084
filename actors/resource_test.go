package actors_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func TestAsk(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	now := time.Unix(1_700_000_000, 5).UTC()
	sys := start(t, j, actors.Options{Now: func() time.Time { return now }}, stock)
	cause := place(t, sys, "o1")
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{3})
	out := ask(t, ref, Reserve{"o1", 3}, actors.WithCause(cause.Ref()), actors.WithCorrelation("story"))

	es := stream(t, j, "apples")
	want := []string{"toka.command.stock.add", "stock.added", "toka.command.stock.reserve", "stock.reserved", "stock.emptied"}
	if !slices.Equal(kinds(es), want) {
		t.Fatalf("the stream holds %v, want %v", kinds(es), want)
	}
	if !slices.Equal(ids(out.Events), ids(es[3:])) || out.Duplicate {
		t.Errorf("the outcome is %v (duplicate: %v), want the command's events", kinds(out.Events), out.Duplicate)
	}
	command := es[2]
	if refs := refs(command.Parents); len(refs) != 1 || !refs[cause.Ref()] || !command.Trigger.IsZero() {
		t.Errorf("the command's parents are %v and its trigger is %s", command.Parents, command.Trigger)
	}
	if string(command.Payload) != `{"Order":"o1","N":3}` || command.SchemaVersion != 1 || !command.Time.Equal(now) {
		t.Errorf("the command is %s, schema version %d, at %v", command.Payload, command.SchemaVersion, command.Time)
	}
	for i, e := range es[3:] {
		if e.Trigger != command.ID || len(e.Parents) != 1 || e.Parents[0].ID != command.ID || e.Correlation != "story" {
			t.Errorf("event %d: trigger %s, parents %v, correlation %q", i, e.Trigger, e.Parents, e.Correlation)
		}
		if want := events.EmittedID(command.Digest, "apples", uint32(i)); e.ID != want {
			t.Errorf("event %d has id %s, want %s", i, e.ID, want)
		}
	}
	for i, e := range es {
		want := ""
		if i == 0 {
			want = "stock/1"
		}
		if got := e.Extensions[events.ExtBehaviour]; got != want {
			t.Errorf("event %d is signed %q, want %q", i, got, want)
		}
	}
	if got, want := state(t, ref), (Stock{Held: map[string]int{"o1": 3}}); !sameStock(got, want) {
		t.Errorf("state %v, want %v", got, want)
	}
	if ref.Name() != "apples" {
		t.Errorf("name %q", ref.Name())
	}
}

func TestRejection(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	_, err := ref.Ask(within(t), Reserve{"o1", 2})
	var s *shortage
	if !errors.As(err, &s) || s.Want != 2 || s.Free != 0 || err != error(s) { //nolint:errorlint // the very error is wanted
		t.Errorf("%#v, want the error that Decide returned", err)
	}
	if _, err := ref.Ask(within(t), Reserve{"", 2}); !errors.Is(err, errNoOrder) {
		t.Errorf("%v, want %v", err, errNoOrder)
	}
	if out := ask(t, ref, Release{"o1"}); len(out.Events) != 0 || out.Duplicate {
		t.Errorf("a command that causes nothing gave %+v", out)
	}
	if j.Position() != 0 {
		t.Errorf("commands that caused no events left %v", kinds(everything(t, j)))
	}
	// The same id again is decided again: there is no record of it.
	id := journal.NewID()
	if _, err := ref.Ask(within(t), Reserve{"o1", 2}, actors.WithCommandID(id)); !errors.As(err, &s) {
		t.Errorf("%v", err)
	}
	ask(t, ref, Add{2})
	if out := ask(t, ref, Reserve{"o1", 2}, actors.WithCommandID(id)); out.Duplicate || len(out.Events) != 2 {
		t.Errorf("a command that was rejected at first gave %+v", out)
	}
}

func TestTell(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	for range 100 {
		must(t, ref.Tell(within(t), Add{1}))
	}
	must(t, ref.Tell(within(t), Reserve{"o1", 1000})) // nobody hears the rejection
	settle(t, sys)
	if s := state(t, ref); s.Free != 100 {
		t.Errorf("state %+v after 100 commands", s)
	}
}

func TestCommandTwice(t *testing.T) {
	d := disktest.New()
	var decided atomic.Int32
	stock := newStock(func(*actors.Turn, Stock, stockCommand) { decided.Add(1) })
	id := journal.NewID()
	var first actors.Outcome

	b := newBrake(d)
	defer b.letGo()
	j := onDisk(t, d)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{10})
	decided.Store(0)
	// At the same time: one of them decides, all get its outcome, and those
	// that come while it is on its way to the disk wait for it.
	outs := make([]actors.Outcome, 32)
	var wg sync.WaitGroup
	reserve := func(i int) {
		wg.Go(func() {
			out, err := ref.Ask(within(t), Reserve{"o1", 10}, actors.WithCommandID(id))
			if err != nil {
				t.Error(err)
			}
			outs[i] = out
		})
	}
	b.pull()
	reserve(0)
	soon(t, "the sync", b.reached)
	must(t, ref.Tell(within(t), Reserve{"o1", 10}, actors.WithCommandID(id)))
	must(t, ref.Tell(within(t), Release{"nobody"}))
	for decided.Load() < 2 { // so the one before it was seen to
		must(t, within(t).Err())
	}
	decided.Add(-1)
	for i := range outs[1:] {
		reserve(i + 1)
	}
	b.letGo()
	wg.Wait()
	fresh := 0
	for _, out := range outs {
		if !out.Duplicate {
			fresh++
			first = out
		}
	}
	if fresh != 1 || decided.Load() != 1 || len(first.Events) != 2 {
		t.Fatalf("%d outcomes are first ones, %d times decided, events %v", fresh, decided.Load(), kinds(first.Events))
	}
	ask(t, ref, Add{1}) // what comes later is no part of the outcome
	check := func(when string) {
		t.Helper()
		for i, out := range append(outs, ask(t, ref, Reserve{"o1", 10}, actors.WithCommandID(id))) {
			if !slices.Equal(ids(out.Events), ids(first.Events)) {
				t.Errorf("%s: outcome %d is %v, want %v", when, i, ids(out.Events), ids(first.Events))
			}
		}
	}
	check("later")
	stopOK(t, sys)
	closeOK(t, j)

	j = onDisk(t, d)
	sys = start(t, j, actors.Options{}, stock)
	ref = spawnStock(t, sys, stock, "apples")
	decided.Store(0)
	position := j.Position()
	check("after a reopen")
	if decided.Load() != 0 || j.Position() != position {
		t.Errorf("a known command was decided %d times and the journal went from %d to %d", decided.Load(), position, j.Position())
	}

	// The id of something else is refused.
	for name, send := range map[string]func() error{
		"another command": func() error { _, err := ref.Ask(within(t), Add{1}, actors.WithCommandID(id)); return err },
		"another stream": func() error {
			_, err := spawnStock(t, sys, stock, "pears").Ask(within(t), Reserve{"o1", 0}, actors.WithCommandID(id))
			return err
		},
		"an event": func() error {
			_, err := ref.Ask(within(t), Reserve{"o1", 10}, actors.WithCommandID(first.Events[0].ID))
			return err
		},
	} {
		if err := send(); !errors.Is(err, journal.ErrIDConflict) {
			t.Errorf("the id of %s: %v, want %v", name, err, journal.ErrIDConflict)
		}
	}
}

func TestUnknownCause(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{1})
	for _, r := range []events.Ref{{ID: journal.NewID()}, {ID: journal.NewID(), Digest: events.Digest{1}}} {
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := ref.Ask(within(t), Add{1}, actors.WithCause(r)); !errors.Is(err, journal.ErrNotFound) && !errors.Is(err, journal.ErrUnknownParent) {
				t.Errorf("a cause that is not there: %v", err)
			}
		})
		for range 20 { // these rest on it for a while, and have no part in it
			wg.Go(func() { ask(t, ref, Add{1}) })
		}
		wg.Wait()
	}
	if s := state(t, ref); s.Free != 41 || !sameStock(s, foldStock(t, j, "apples")) {
		t.Errorf("state %+v, want 41 free", s)
	}
}

// shopkeeper reserves what is ordered.
func shopkeeper(ref func() *stockRef, then func() error) *actors.Agent[struct{}] {
	return actors.NewAgent("shopkeeper", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		for range 2 {
			if err := ref().Send(t, Reserve{o.ID, 1}); err != nil {
				return err
			}
		}
		if err := actors.Emit(t, noted, Note{o.ID}); err != nil {
			return err
		}
		return then()
	})
}

func TestSend(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	var ref *stockRef
	var tries atomic.Int32
	keeper := shopkeeper(func() *stockRef { return ref }, func() error {
		if tries.Add(1)%3 != 0 {
			return errors.New("again")
		}
		return nil
	})
	sys := start(t, j, quick(5), stock, keeper)
	ref = spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{10})
	must(t, keeper.Spawn(sys, "keeper"))
	d, err := placed.Encode(Order{ID: "o1"})
	must(t, err)
	d.Correlation = "story"
	es, err := sys.Publish(within(t), "shop", d)
	must(t, err)
	settle(t, sys)

	check := func(when string) {
		t.Helper()
		if s := state(t, ref); s.Held["o1"] != 2 || s.Free != 8 {
			t.Fatalf("%s: state %+v, want two commands to have come, each once", when, s)
		}
	}
	check("after a reaction that failed twice")
	for i, e := range stream(t, j, "apples") {
		if e.Kind != "toka.command.stock.reserve" {
			continue
		}
		if len(e.Parents) != 1 || e.Parents[0].ID != es[0].ID || e.Correlation != "story" {
			t.Errorf("event %d: parents %v, correlation %q; want those of the event in hand", i, e.Parents, e.Correlation)
		}
	}
	// The reaction is on record and the agent's checkpoint is not.
	stopOK(t, sys)
	rewind(t, j, "keeper")
	sys = start(t, j, actors.Options{}, stock, keeper)
	ref = spawnStock(t, sys, stock, "apples")
	must(t, keeper.Spawn(sys, "keeper"))
	settle(t, sys)
	check("after a lost checkpoint")
}

// A reaction that only sends leaves no trace but the command, so that a lost
// checkpoint repeats it; the command's id makes that harmless.
func TestSendAgain(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	var reacted atomic.Int32
	quiet := actors.NewAgent("quiet", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		reacted.Add(1)
		return stock.Send(t, "apples", Add{1})
	})
	for run := range 3 {
		rewind(t, j, "quiet")
		sys := start(t, j, actors.Options{}, stock, quiet)
		if run == 0 {
			place(t, sys, "o1")
		}
		must(t, quiet.Spawn(sys, "quiet"))
		settle(t, sys)
		stopOK(t, sys)
	}
	if n := reacted.Load(); n != 3 {
		t.Errorf("%d reactions, want 3: the test shows nothing", n)
	}
	if s := foldStock(t, j, "apples"); s.Free != 1 {
		t.Errorf("state %+v after the same command three times", s)
	}
}

// A command may send too, to whoever it likes, itself included.
func TestSendFromACommand(t *testing.T) {
	j := memory(t)
	var ref *stockRef
	stock := newStock(nil)
	honest := stock.Decide
	stock.Decide = func(turn *actors.Turn, s Stock, c stockCommand) ([]stockEvent, error) {
		if a, ok := c.(Add); ok && a.N > 1 {
			if err := ref.Send(turn, Add{a.N - 1}); err != nil {
				return nil, err
			}
		}
		if r, ok := c.(Release); ok { // causes no events, but a command
			return nil, ref.Send(turn, Add{r.count()})
		}
		return honest(turn, s, c)
	}
	sys := start(t, j, actors.Options{Mailbox: 1}, stock)
	ref = spawnStock(t, sys, stock, "apples")
	ask(t, ref, Add{4})
	settle(t, sys)
	if s := state(t, ref); s.Free != 4+3+2+1 {
		t.Errorf("state %+v, want 10 free", s)
	}
	ask(t, ref, Release{"xx"})
	settle(t, sys)
	if s := state(t, ref); s.Free != 10+2+1 {
		t.Errorf("state %+v, want 13 free", s)
	}
}

func (r Release) count() int { return len(r.Order) }

func TestStateSurvivesReopen(t *testing.T) {
	d := disktest.New()
	stock, agent := newStock(nil), counter()
	var want Stock
	var first []string
	for run := range 3 {
		j := onDisk(t, d)
		sys := start(t, j, actors.Options{DigestEvery: 3}, stock, agent)
		ref := spawnStock(t, sys, stock, "apples")
		must(t, agent.Spawn(sys, "counter"))
		if got := state(t, ref); !sameStock(got, want) {
			t.Fatalf("run %d: state %+v, want %+v", run, got, want)
		}
		ask(t, ref, Add{10})
		ask(t, ref, Reserve{"o1", 2})
		place(t, sys, "o1")
		settle(t, sys)
		want = state(t, ref)
		first = notes(t, j, "counter")
		stopOK(t, sys)
		closeOK(t, j)
	}
	if want.Free != 24 || want.Held["o1"] != 6 {
		t.Errorf("state %+v after three runs", want)
	}
	for i, n := range first {
		if n[0] != byte('0'+i) {
			t.Errorf("note %d of the agent is %q: it forgot what it had counted", i, n)
		}
	}
	if len(first) != 3 {
		t.Errorf("%d notes, want 3", len(first))
	}
}

// Each actor stores digests of its state for replays to compare.
func TestStateDigests(t *testing.T) {
	j := memory(t)
	stock, agent := newStock(nil), counter()
	sys := start(t, j, actors.Options{DigestEvery: 4}, stock, agent)
	ref := spawnStock(t, sys, stock, "apples")
	must(t, agent.Spawn(sys, "counter"))
	for range 5 { // two events each
		ask(t, ref, Add{1})
		place(t, sys, "o")
	}
	settle(t, sys)
	stopOK(t, sys)
	var got []uint64
	for d, err := range j.StateDigests(t.Context(), "apples") {
		must(t, err)
		got = append(got, d.StreamPosition)
		if want := actors.StateDigest([]byte(`{"free":` + string(rune('0'+d.StreamPosition/2)) + `}`)); d.Digest != want {
			t.Errorf("the digest at %d is %s, want %s", d.StreamPosition, d.Digest.Short(), want.Short())
		}
	}
	if want := []uint64{4, 8, 10}; !slices.Equal(got, want) {
		t.Errorf("digests of the resource at %v, want %v", got, want)
	}
	got = nil
	for d, err := range j.StateDigests(t.Context(), "counter") {
		must(t, err)
		got = append(got, d.StreamPosition)
	}
	if want := []uint64{4, 5}; !slices.Equal(got, want) {
		t.Errorf("digests of the agent at %v, want %v", got, want)
	}
}

// A command that has no type of its own needs no union.
func TestResourceOfOneKind(t *testing.T) {
	j := memory(t)
	tally := &actors.Resource[int, Note, Note]{
		Name: "tally", Version: 1,
		Commands: events.NewType[Note]("tally.say", 1), Events: events.NewType[Note]("tally.said", 1),
		Initial: func() int { return 100 },
		Decide:  func(_ *actors.Turn, _ int, c Note) ([]Note, error) { return []Note{c}, nil },
		Evolve:  func(n int, e Note) int { return n + len(e.Text) },
	}
	sys := start(t, j, actors.Options{}, tally)
	ref, err := tally.Spawn(sys, "tally")
	must(t, err)
	_, err = ref.Ask(within(t), Note{"abc"})
	must(t, err)
	if n, err := ref.State(within(t)); n != 103 || err != nil {
		t.Errorf("state %d, %v", n, err)
	}
}
