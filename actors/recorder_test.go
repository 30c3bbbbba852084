package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// answered collects what a recorder says about its drafts.
type answered struct {
	mu   sync.Mutex
	outs map[int]actors.Outcome
	errs map[int]error
	n    map[int]int
}

func newAnswered() *answered {
	return &answered{outs: map[int]actors.Outcome{}, errs: map[int]error{}, n: map[int]int{}}
}

func (a *answered) note(i int) func(actors.Outcome, error) {
	return func(out actors.Outcome, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.outs[i], a.errs[i] = out, err
		a.n[i]++
	}
}

func TestRecorderKeepsTheOrder(t *testing.T) {
	const n = 500
	j := memory(t)
	sys := start(t, j, actors.Options{Mailbox: 2})
	a := newAnswered()
	var recs []*actors.Recorder
	for i := range 5 {
		r, err := actors.SpawnRecorder(sys, fmt.Sprint("door ", i))
		must(t, err)
		recs = append(recs, r)
	}
	for i := range n {
		must(t, recs[i%5].Record(within(t), events.Draft{Kind: "guest.came", Payload: fmt.Append(nil, i), Stream: "is the recorder's"}, a.note(i)))
	}
	settle(t, sys)
	es := everything(t, j)
	if len(es) != n {
		t.Fatalf("%d events, want %d", len(es), n)
	}
	for i, e := range es {
		if string(e.Payload) != fmt.Sprint(i) || e.Stream != fmt.Sprint("door ", i%5) {
			t.Fatalf("position %d holds %s of stream %q", e.Position, e.Payload, e.Stream)
		}
		if len(e.Extensions) != 0 {
			t.Errorf("a recorder signed with %v", e.Extensions)
		}
		if out := a.outs[i]; a.n[i] != 1 || a.errs[i] != nil || len(out.Events) != 1 || out.Events[0].ID != e.ID || out.Duplicate {
			t.Errorf("draft %d was answered %d times, with %+v, %v", i, a.n[i], out, a.errs[i])
		}
	}
}

func TestRecorderAnswers(t *testing.T) {
	j := memory(t)
	sys := start(t, j, actors.Options{})
	r, err := actors.SpawnRecorder(sys, "door")
	must(t, err)
	id := events.IngestedID("test", "1")
	one := events.Draft{ID: id, Kind: "guest.came", Payload: []byte("Ada")}
	other := one
	other.Payload = []byte("Bob")
	orphan := events.Draft{Kind: "guest.left", Parents: []events.Ref{{ID: journal.NewID()}}}
	child := events.Draft{Kind: "guest.left", Parents: []events.Ref{{ID: id}}}
	bad := events.Draft{Kind: "toka.mine"}
	a := newAnswered()
	for i, d := range []events.Draft{one, one, other, orphan, child, bad} {
		// A refusal may be known before the draft counts as submitted.
		returned := r.Record(within(t), d, a.note(i))
		settle(t, sys)
		if returned != nil && !errors.Is(a.errs[i], returned) || i == 5 && returned == nil {
			t.Errorf("draft %d: %v, and its answer is %v", i, returned, a.errs[i])
		}
	}
	for i, want := range []error{nil, nil, journal.ErrIDConflict, journal.ErrUnknownParent, nil, events.ErrInvalid} {
		if !errors.Is(a.errs[i], want) || a.n[i] != 1 || (want == nil) != (len(a.outs[i].Events) == 1) {
			t.Errorf("draft %d was answered %d times, with %+v, %v; want %v", i, a.n[i], a.outs[i], a.errs[i], want)
		}
	}
	if a.outs[0].Duplicate || !a.outs[1].Duplicate || a.outs[1].Events[0].Position != a.outs[0].Events[0].Position {
		t.Errorf("the same draft twice: %+v, then %+v", a.outs[0], a.outs[1])
	}
	if j.Position() != 2 {
		t.Errorf("%d events, want 2", j.Position())
	}

	// A callback that panics harms nobody.
	must(t, r.Record(within(t), events.Draft{Kind: "guest.came"}, func(actors.Outcome, error) { panic("at the door") }))
	must(t, r.Record(within(t), events.Draft{Kind: "guest.came"}, a.note(6)))
	settle(t, sys)
	if a.n[6] != 1 || a.errs[6] != nil {
		t.Errorf("the draft behind it was answered %d times, %v", a.n[6], a.errs[6])
	}

	stopOK(t, sys)
	if err := r.Record(within(t), one, a.note(7)); !errors.Is(err, actors.ErrStopped) || !errors.Is(a.errs[7], actors.ErrStopped) || a.n[7] != 1 {
		t.Errorf("after stop: %v, answered %d times with %v", err, a.n[7], a.errs[7])
	}
}

// A recorder is for streams that no other behaviour began.
func TestRecorderOnAnActorsStream(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	ask(t, spawnStock(t, sys, stock, "apples"), Add{1})
	stopOK(t, sys)
	sys = start(t, j, actors.Options{}, stock)
	r, err := actors.SpawnRecorder(sys, "apples")
	must(t, err)
	a := newAnswered()
	for i := range 2 {
		if err := r.Record(within(t), events.Draft{Kind: "x"}, a.note(i)); !errors.Is(err, actors.ErrOtherBehaviour) || !errors.Is(a.errs[i], actors.ErrOtherBehaviour) {
			t.Errorf("record: %v, answered %v; want %v", err, a.errs[i], actors.ErrOtherBehaviour)
		}
	}
	// The other way round is how an outside stream gets an owner.
	out, err := actors.SpawnRecorder(sys, "pears")
	must(t, err)
	d, err := stockEvents.Encode(Added{3})
	must(t, err)
	must(t, out.Record(within(t), d, a.note(2)))
	settle(t, sys)
	stopOK(t, sys)
	sys = start(t, j, actors.Options{}, stock)
	ref := spawnStock(t, sys, stock, "pears")
	ask(t, ref, Add{1})
	if s := state(t, ref); s.Free != 4 {
		t.Errorf("state %+v", s)
	}
	if e := stream(t, j, "pears")[1]; e.Extensions[events.ExtBehaviour] != "stock/1" {
		t.Errorf("the first event of its own is signed %v", e.Extensions)
	}
}

// Waiting for room ends with the context, and the draft was not taken.
func TestRecorderBackpressure(t *testing.T) {
	j := memory(t)
	sys := start(t, j, actors.Options{Mailbox: 1})
	r, err := actors.SpawnRecorder(sys, "door")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := newAnswered()
	taken := 0
	for i := range 100 {
		if err := r.Record(ctx, events.Draft{Kind: "guest.came"}, a.note(i)); err == nil {
			taken++
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("record: %v", err)
		}
	}
	settle(t, sys)
	stored := 0
	for i := range 100 {
		if a.n[i] != 1 {
			t.Errorf("draft %d was answered %d times", i, a.n[i])
		}
		if a.errs[i] == nil {
			stored++
		}
	}
	if uint64(stored) != j.Position() || stored < taken {
		t.Errorf("%d drafts were taken, %d were answered well, %d are stored", taken, stored, j.Position())
	}
}

// A callback that hangs holds up neither the journal nor anybody else, and one
// that ends its goroutine not even those behind it.
func TestSlowCallbackHarmsNobody(t *testing.T) {
	j := memory(t)
	stock := newStock(nil)
	sys := start(t, j, actors.Options{}, stock)
	door, err := actors.SpawnRecorder(sys, "door")
	must(t, err)
	gate, err := actors.SpawnRecorder(sys, "gate")
	must(t, err)
	hanging, release := make(chan struct{}), make(chan struct{})
	must(t, door.Record(within(t), events.Draft{Kind: "guest.came"}, func(actors.Outcome, error) { close(hanging); <-release }))
	soon(t, "the callback", hanging)
	must(t, door.Record(within(t), events.Draft{Kind: "guest.came"}, func(actors.Outcome, error) { runtime.Goexit() }))
	a := newAnswered()
	must(t, door.Record(within(t), events.Draft{Kind: "guest.came"}, a.note(1)))

	told := make(chan struct{})
	must(t, gate.Record(within(t), events.Draft{Kind: "guest.came"}, func(actors.Outcome, error) { close(told) }))
	soon(t, "the other recorder's callback", told)
	ask(t, spawnStock(t, sys, stock, "apples"), Add{1})
	if _, err := j.Append(within(t), journal.Write{Events: []events.Draft{{Stream: "elsewhere", Kind: "x"}}}); err != nil {
		t.Errorf("append while a callback hangs: %v", err)
	}
	a.mu.Lock()
	if a.n[1] != 0 {
		t.Error("an answer overtook one of the same recorder")
	}
	a.mu.Unlock()
	close(release)
	settle(t, sys)
	if a.n[1] != 1 || a.errs[1] != nil {
		t.Errorf("behind the callback that hung: answered %d times, %v", a.n[1], a.errs[1])
	}
}

// What is owed in answers is bounded too.
func TestStuckCallbackIsBounded(t *testing.T) {
	sys := start(t, memory(t), actors.Options{})
	door, err := actors.SpawnRecorder(sys, "door")
	must(t, err)
	release, calls := make(chan struct{}), 0
	record := func(ctx context.Context) error {
		return door.Record(ctx, events.Draft{Kind: "guest.came"}, func(actors.Outcome, error) { <-release; calls++ })
	}
	for range 4096 {
		must(t, record(within(t)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	go func() {
		refused <- door.Record(ctx, events.Draft{Kind: "guest.came"}, func(_ actors.Outcome, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the one too many was answered %v", err)
			}
		})
	}()
	cancel()
	if err := soon(t, "the refusal", refused); !errors.Is(err, context.Canceled) {
		t.Errorf("the one too many: %v", err)
	}
	close(release)
	settle(t, sys)
	if n := sys.Journal().Position(); calls != 4096 || n != 4096 {
		t.Errorf("%d answers, %d events", calls, n)
	}
}
