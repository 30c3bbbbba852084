package eventbus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/events/bus/bustest"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/eventbus"
)

const bound = 30 * time.Second

func open(t *testing.T, dir string, opts eventbus.Options) *eventbus.Bus {
	t.Helper()
	b, err := eventbus.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.WithoutCancel(t.Context())) })
	return b
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	return ctx
}

func TestConforms(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) bus.Bus { return open(t, "", eventbus.Options{}) })
	})
	t.Run("os", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) bus.Bus {
			return open(t, t.TempDir(), eventbus.Options{Journal: journal.Options{Level: journal.LevelOS}})
		})
	})
	t.Run("over", func(t *testing.T) {
		bustest.Run(t, func(t *testing.T) bus.Bus {
			j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = j.Close() })
			return eventbus.Over(j, eventbus.Options{})
		})
	})
}

var numbered = events.NewType[int]("test.numbered", 1)

func publish(t *testing.T, b bus.Bus, n int) {
	t.Helper()
	for i := range n {
		d, err := numbered.Encode(i)
		if err != nil {
			t.Error(err)
		}
		d.Stream = "s"
		if _, err := b.Publish(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
}

func TestReceivedIsDurable(t *testing.T) {
	ctx := within(t)
	b := open(t, t.TempDir(), eventbus.Options{})
	r, err := b.Receive(bus.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	go publish(t, b, 50)
	for want := uint64(1); want <= 50; want++ {
		m, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// The mark is what the journal's own tests hold to the disk.
		if mark := b.Journal().Position(); m.Sequence != want || m.Sequence > mark {
			t.Fatalf("received %d, want %d; the durable mark is %d", m.Sequence, want, mark)
		}
	}
}

func TestSlowReceiverMissesNothing(t *testing.T) {
	ctx := within(t)
	b := open(t, "", eventbus.Options{})
	r, err := b.Receive(bus.Filter{NoWait: true, Kinds: []events.Pattern{events.MustPattern("test.*")}})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, 1500)
	for i := range 1500 {
		m, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e, err := m.Event()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := numbered.Decode(e); err != nil || n != i {
			t.Fatalf("got %d, %v; want %d", n, err, i)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, eventbus.Options{})
	parent, err := bus.Commit(t.Context(), b, "files", "resource.created", events.System{Component: "a", Payload: []byte("1")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	child, err := bus.Commit(t.Context(), b, "files", "resource.updated", events.System{Component: "a", Payload: []byte("2")}, []events.Event{parent}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, eventbus.Options{})
	got, err := b.Event(t.Context(), child.ID)
	if err != nil || got.Digest != child.Digest || len(got.Parents) != 1 || got.Parents[0].ID != parent.ID {
		t.Errorf("got %+v, %v", got, err)
	}
	if c := b.Counts(); c.Events != 2 || c.Payloads != 2 || c.Intents != 0 {
		t.Errorf("%+v", c)
	}
}

// Events with embeddings that point the same way share an intent, and who
// commits one is told which.
func TestIntents(t *testing.T) {
	b := open(t, "", eventbus.Options{Journal: journal.Options{Intents: cluster.NewLeader(cluster.Options{Dimension: 3})}})
	commit := func(embedding ...float32) events.ID {
		t.Helper()
		e, err := bus.Commit(t.Context(), b, "chat", "user.message", events.Custom{EventType: "m", Payload: []byte("1")}, nil, embedding)
		if err != nil {
			t.Fatal(err)
		}
		return e.Intent.ID
	}
	one, same, other := commit(1, 0, 0), commit(2, 0.1, 0), commit(0, 1, 0)
	if one.IsZero() || one != same || one == other || b.Counts().Intents != 2 {
		t.Errorf("intents %s, %s, %s; %d counted", one, same, other, b.Counts().Intents)
	}
}

func TestUnknownParent(t *testing.T) {
	b := open(t, "", eventbus.Options{})
	stranger := events.Event{ID: events.IngestedID("elsewhere", "1")}
	_, err := bus.Commit(t.Context(), b, "s", "some.kind", events.System{Payload: []byte("1")}, []events.Event{stranger}, nil)
	if !errors.Is(err, journal.ErrUnknownParent) {
		t.Error(err)
	}
}

// A subscriber's failure is reported with the message that caused it.
func TestFailuresAreReported(t *testing.T) {
	reported := make(chan string, 10)
	b := open(t, "", eventbus.Options{OnError: func(id string, m bus.Message, err error) {
		reported <- fmt.Sprint(id, " ", m.Sequence, ": ", err)
	}})
	if err := b.Subscribe(bus.On("picky", func(_ context.Context, m bus.Message) error {
		if m.Sequence == 2 {
			return errors.New("not this one")
		}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	publish(t, b, 3)
	if err := b.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if len(reported) != 1 || <-reported != "picky 2: not this one" {
		t.Error("the failure was not reported, or more than that")
	}
}
