package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// quick retries without a pause worth noticing.
func quick(attempts int) actors.Options {
	return actors.Options{Supervision: supervisor.Policy{
		MaxAttempts: attempts, Backoff: supervisor.Backoff{Initial: time.Microsecond, Max: time.Microsecond},
	}}
}

// emitTwo emits two events and then does what goes wrong.
func emitTwo(then func() error) *actors.Agent[struct{}] {
	return actors.NewAgent("twice", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		if err := actors.Emit(t, noted, Note{"one"}); err != nil {
			return err
		}
		if err := actors.Emit(t, noted, Note{"two"}); err != nil {
			return err
		}
		return then()
	})
}

func TestReactionIsAtomic(t *testing.T) {
	for name, wrong := range map[string]func() error{
		"error": func() error { return errors.New("out of ink") },
		"panic": func() error { panic("out of ink") },
	} {
		t.Run(name, func(t *testing.T) {
			j := memory(t)
			var tries atomic.Int32
			var atSecond []string
			a := emitTwo(func() error {
				switch tries.Add(1) {
				case 1:
					return wrong()
				case 2:
					atSecond = kinds(stream(t, j, "anna"))
				}
				return nil
			})
			sys := start(t, j, quick(3), a)
			must(t, a.Spawn(sys, "anna"))
			cause := place(t, sys, "o1")
			settle(t, sys)

			if want := []string{"toka.agent.failed"}; !slices.Equal(atSecond, want) {
				t.Errorf("after a try that emitted two events and failed the stream held %v, want %v", atSecond, want)
			}
			es := stream(t, j, "anna")
			if want := []string{"toka.agent.failed", "clerk.noted", "clerk.noted"}; !slices.Equal(kinds(es), want) {
				t.Fatalf("the stream holds %v, want %v", kinds(es), want)
			}
			for i, e := range es[1:] {
				if want := events.EmittedID(cause.Digest, "anna", uint32(i)); e.ID != want {
					t.Errorf("event %d has id %s, want %s", i, e.ID, want)
				}
			}
			if n := tries.Load(); n != 2 {
				t.Errorf("%d tries, want 2", n)
			}
		})
	}
}

func TestReactionIsCausedByItsEvent(t *testing.T) {
	j := memory(t)
	var other events.Event
	a := &actors.Agent[int]{
		Name: "clerk", Version: 3, On: []string{"order.placed"},
		React: func(turn *actors.Turn, _ int, e events.Event) error {
			if turn.Now() != e.RecordTime {
				t.Errorf("now is %v, the event was recorded at %v", turn.Now(), e.RecordTime)
			}
			if turn.Agent() != "berta" {
				t.Errorf("agent %q", turn.Agent())
			}
			d, err := noted.Encode(Note{"mine"})
			if err != nil {
				return err
			}
			d.Parents = []events.Ref{{ID: other.ID}} // by id alone
			d.ID, d.Stream, d.Trigger = events.ID{1}, "elsewhere", other.ID
			if err := turn.Emit(d); err != nil {
				return err
			}
			d, err = noted.Encode(Note{"told"})
			if err != nil {
				return err
			}
			d.Correlation, d.Time = "another story", time.Unix(5, 0)
			d.Extensions = map[string]string{"colour": "red"}
			return turn.Emit(d)
		},
	}
	sys := start(t, j, actors.Options{}, a)
	other = place(t, sys, "before")
	must(t, a.Spawn(sys, "berta"))
	settle(t, sys)
	d, err := placed.Encode(Order{ID: "o1"})
	must(t, err)
	d.Correlation = "story"
	es, err := sys.Publish(within(t), "shop", d)
	must(t, err)
	settle(t, sys)

	got := stream(t, j, "berta")
	if len(got) != 4 {
		t.Fatalf("%d events, want 4", len(got))
	}
	cause, got := es[0], got[2:]
	for i, e := range got {
		if e.Trigger != cause.ID || e.ID != events.EmittedID(cause.Digest, "berta", uint32(i)) || e.Stream != "berta" {
			t.Errorf("event %d: id %s, trigger %s in %q", i, e.ID, e.Trigger, e.Stream)
		}
	}
	first, second := got[0], got[1]
	if parents := refs(first.Parents); len(parents) != 2 || !parents[cause.Ref()] || !parents[other.Ref()] {
		t.Errorf("parents %v, want the cause and the named one", first.Parents)
	}
	if first.Correlation != "story" || !first.Time.Equal(cause.RecordTime) {
		t.Errorf("correlation %q at %v, want those of the cause", first.Correlation, first.Time)
	}
	if second.Correlation != "another story" || !second.Time.Equal(time.Unix(5, 0)) || second.Extensions["colour"] != "red" {
		t.Errorf("what the draft says is gone: %q, %v, %v", second.Correlation, second.Time, second.Extensions)
	}
	if parents := refs(second.Parents); len(parents) != 1 || !parents[cause.Ref()] {
		t.Errorf("parents %v, want the cause alone", second.Parents)
	}
	for i, e := range stream(t, j, "berta") {
		want := ""
		if i == 0 {
			want = "clerk/3"
		}
		if e.Extensions[events.ExtBehaviour] != want {
			t.Errorf("event %d is signed %q, want %q", i, e.Extensions[events.ExtBehaviour], want)
		}
	}
}

func refs(rs []events.Ref) map[events.Ref]bool {
	out := map[events.Ref]bool{}
	for _, r := range rs {
		out[r] = true
	}
	return out
}

func TestPatterns(t *testing.T) {
	published := []string{"order.placed", "order.item.changed", "order.item.line.changed", "stock.added", "order"}
	for _, tt := range []struct {
		on   []string
		want []string
	}{
		{[]string{"order.placed"}, []string{"order.placed"}},
		{[]string{"order.*"}, []string{"order.placed"}},
		{[]string{"order.>"}, []string{"order.placed", "order.item.changed", "order.item.line.changed"}},
		{[]string{">"}, published},
		{[]string{"*"}, []string{"order"}},
		{[]string{"stock.added", "order.placed", "stock.added"}, []string{"order.placed", "stock.added"}},
		{[]string{"order.*", "order.placed", "*.added"}, []string{"order.placed", "stock.added"}},
		{[]string{"toka.>"}, []string{"toka.agent.failed", "toka.agent.parked"}},
		{[]string{"toka.agent.failed"}, []string{"toka.agent.failed"}},
	} {
		t.Run(fmt.Sprint(tt.on), func(t *testing.T) {
			j := memory(t)
			var seen []string
			a := &actors.Agent[struct{}]{
				Name: "listener", Version: 1, On: tt.on,
				React: func(turn *actors.Turn, _ struct{}, e events.Event) error {
					seen = append(seen, e.Kind)
					if e.Stream == "early" || e.Stream == "late" || events.SystemKind(e.Kind) {
						return actors.Emit(turn, placed, Order{ID: "its own is not for it"})
					}
					t.Errorf("was handed %s of stream %q", e.Kind, e.Stream)
					return nil
				},
			}
			broken := actors.NewAgent("broken", 1, "stock.added", func(*actors.Turn, events.Event) error { return errors.New("as planned") })
			sys := start(t, j, quick(2), a, broken)
			publish := func(stream, skip string) {
				for _, k := range published {
					if k == skip {
						continue
					}
					_, err := sys.Publish(within(t), stream, events.Draft{Kind: k})
					must(t, err)
				}
			}
			publish("early", "")
			must(t, broken.Spawn(sys, "broken"))
			settle(t, sys)
			must(t, a.Spawn(sys, "listener")) // catches up
			settle(t, sys)
			early := seen
			seen = nil
			publish("late", "stock.added") // and is handed the rest
			settle(t, sys)

			if !slices.Equal(early, tt.want) {
				t.Errorf("caught up with %v, want %v", early, tt.want)
			}
			want := slices.DeleteFunc(slices.Clone(tt.want), func(k string) bool { return k == "stock.added" || events.SystemKind(k) })
			if !slices.Equal(seen, want) {
				t.Errorf("was handed %v, want %v", seen, want)
			}
		})
	}
}

func TestReactionsKeepTheOrder(t *testing.T) {
	j := memory(t)
	a := clerk(nil)
	sys := start(t, j, actors.Options{}, a)
	before := orders(t, sys, 700) // more than the bus takes in one turn
	must(t, a.Spawn(sys, "clerk"))
	after := orders(t, sys, 700)
	settle(t, sys)
	var want []events.ID
	for _, e := range slices.Concat(before, after) {
		want = append(want, events.EmittedID(e.Digest, "clerk", 0))
	}
	if got := ids(stream(t, j, "clerk")); !slices.Equal(got, want) {
		t.Errorf("%d reactions to %d events, or in another order", len(got), len(want))
	}
}

func TestAgentState(t *testing.T) {
	j := memory(t)
	a := counter()
	a.Initial = func() int { return 10 }
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "counter"))
	es := orders(t, sys, 50)
	settle(t, sys)
	// Somebody else's word in the agent's stream is folded too.
	d, err := noted.Encode(Note{"from outside"})
	must(t, err)
	_, err = sys.Publish(within(t), "counter", d)
	must(t, err)
	es = append(es, orders(t, sys, 5)...)
	settle(t, sys)
	var want []string
	for i, e := range es {
		n := 10 + i
		if i >= 50 {
			n++
		}
		want = append(want, fmt.Sprintf("%d before %s", n, e.ID))
		if i == 49 {
			want = append(want, "from outside")
		}
	}
	if got := notes(t, j, "counter"); !slices.Equal(got, want) {
		t.Errorf("notes %v, want %v", got, want)
	}
}

// Ada and Bob answer each other until the ball has been over the net often
// enough.
func TestAgentsReactToEachOther(t *testing.T) {
	type ball struct{ N int }
	const rounds = 200
	j := memory(t)
	ping, pong := events.NewType[ball]("ball.ping", 1), events.NewType[ball]("ball.pong", 1)
	player := func(name string, on, out *events.Type[ball]) *actors.Agent[struct{}] {
		return actors.NewAgent(name, 1, on.Kind(), func(t *actors.Turn, e events.Event) error {
			b, err := on.Decode(e)
			if err != nil || b.N == rounds {
				return err
			}
			return actors.Emit(t, out, ball{b.N + 1})
		})
	}
	ada, bob := player("ada", ping, pong), player("bob", pong, ping)
	sys := start(t, j, actors.Options{Mailbox: 1}, ada, bob)
	must(t, ada.Spawn(sys, "ada"))
	must(t, bob.Spawn(sys, "bob"))
	_, err := actors.Publish(within(t), sys, "table", ping, ball{0})
	must(t, err)
	settle(t, sys)
	es := everything(t, j)
	if len(es) != rounds+1 {
		t.Fatalf("%d events, want %d", len(es), rounds+1)
	}
	for i, e := range es[1:] {
		if e.Trigger != es[i].ID {
			t.Fatalf("event %d reacts to %s, want the one before it", i+2, e.Trigger)
		}
	}
}

// What a handler may ask of its turn besides emitting gives the same again for
// the same cause, and something else for another.
func TestReactionTwiceIsOneEvent(t *testing.T) {
	random := actors.NewAgent("random", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		if err := actors.Emit(t, noted, Note{fmt.Sprint(t.Rand().Uint64(), t.NewID(), t.NewID(), t.Now().UnixNano())}); err != nil {
			return err
		}
		return actors.Emit(t, filed, Note{"done"})
	})
	clock := func() func() time.Time {
		now := time.Unix(1_700_000_000, 0)
		return func() time.Time { now = now.Add(time.Second); return now }
	}
	// The same work in two journals that know nothing of each other.
	var runs [2][]events.Event
	for i := range runs {
		j := open(t, "", journal.Options{Level: journal.LevelMemory, Now: clock()})
		sys := start(t, j, actors.Options{}, random)
		for n := range 3 {
			d, err := placed.Encode(Order{ID: fmt.Sprint(n)})
			must(t, err)
			d.ID = events.IngestedID("test", fmt.Sprint(n))
			_, err = sys.Publish(within(t), "shop", d)
			must(t, err)
		}
		must(t, random.Spawn(sys, "r"))
		settle(t, sys)
		runs[i] = stream(t, j, "r")
		stopOK(t, sys)

		// The same work again in the same journal: its checkpoint is lost.
		rewind(t, j, "r")
		position := j.Position()
		again := start(t, j, actors.Options{}, random)
		must(t, random.Spawn(again, "r"))
		settle(t, again)
		if j.Position() != position {
			t.Errorf("reacting again changed the journal: %v", kinds(everything(t, j)[position:]))
		}
	}
	if len(runs[0]) != 6 {
		t.Fatalf("%d events, want 6", len(runs[0]))
	}
	seen := map[string]bool{}
	for i, e := range runs[0] {
		if e.Digest != runs[1][i].Digest || e.ID != runs[1][i].ID {
			t.Errorf("event %d is %s %q in one run and %s %q in the other", i, e.ID, e.Payload, runs[1][i].ID, runs[1][i].Payload)
		}
		if e.Kind == noted.Kind() && seen[string(e.Payload)] {
			t.Errorf("two causes gave the same values: %s", e.Payload)
		}
		seen[string(e.Payload)] = true
	}
}

func TestEmitRefuses(t *testing.T) {
	j := memory(t)
	var errs []error
	a := actors.NewAgent("a", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		for _, d := range []events.Draft{
			{Kind: "toka.made.up"},
			{Kind: "no kind"},
			{Kind: "ok", Extensions: map[string]string{"tokabehaviour": "x"}},
			{Kind: "ok", Parents: []events.Ref{{}}},
		} {
			errs = append(errs, t.Emit(d))
		}
		return actors.Emit(t, noted, Note{"still here"})
	})
	sys := start(t, j, actors.Options{}, a)
	must(t, a.Spawn(sys, "a"))
	place(t, sys, "o1")
	settle(t, sys)
	for i, err := range errs {
		if !errors.Is(err, events.ErrInvalid) {
			t.Errorf("draft %d: %v, want %v", i, err, events.ErrInvalid)
		}
	}
	if len(errs) != 4 || !slices.Equal(notes(t, j, "a"), []string{"still here"}) {
		t.Errorf("%d refusals, then %v", len(errs), notes(t, j, "a"))
	}
}

// An agent that names a parent which is not in the journal gets its event
// again and is rid of it in the end.
func TestUnknownParentFailsTheReaction(t *testing.T) {
	j := memory(t)
	a := actors.NewAgent("a", 1, "order.placed", func(t *actors.Turn, e events.Event) error {
		o, err := placed.Decode(e)
		if err != nil {
			return err
		}
		d, err := noted.Encode(Note{o.ID})
		if err != nil {
			return err
		}
		if o.ID == "bad" {
			d.Parents = []events.Ref{{ID: journal.NewID()}}
		}
		return t.Emit(d)
	})
	sys := start(t, j, quick(3), a)
	must(t, a.Spawn(sys, "a"))
	for _, id := range []string{"o1", "bad", "o2"} {
		place(t, sys, id)
	}
	settle(t, sys)
	want := []string{"clerk.noted", "toka.agent.failed", "toka.agent.failed", "toka.agent.parked", "clerk.noted"}
	if got := kinds(stream(t, j, "a")); !slices.Equal(got, want) {
		t.Errorf("the stream holds %v, want %v", got, want)
	}
}

func TestPublishRefusal(t *testing.T) {
	sys := start(t, memory(t), actors.Options{})
	if _, err := sys.Publish(context.Background(), "$system", events.Draft{Kind: "a"}); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("publishing to a system stream: %v", err)
	}
	if _, err := actors.Publish(context.Background(), sys, "a", events.NewType[chan int]("a", 1), nil); err == nil {
		t.Error("a value that cannot be encoded was published")
	}
}
