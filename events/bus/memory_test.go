package bus_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/events/bus"
	"github.com/tokaworks/toka/events/bus/bustest"
)

func TestMemoryConforms(t *testing.T) {
	for _, capacity := range []int{0, 256} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			bustest.Run(t, func(*testing.T) bus.Bus { return bus.NewMemory(bus.Options{Capacity: capacity}) })
		})
	}
}

var something = events.Custom{EventType: "something", Payload: []byte("1")}

func emit(t *testing.T, b bus.Bus, n int) {
	t.Helper()
	for range n {
		if err := b.Emit(t.Context(), "source", "some.kind", something); err != nil {
			t.Fatal(err)
		}
	}
}

func receive(t *testing.T, b bus.Bus, f bus.Filter) bus.Receiver {
	t.Helper()
	r, err := b.Receive(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFullRingMakesTheEmitterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.NewMemory(bus.Options{Capacity: 16})
		slow, idle := receive(t, b, bus.Filter{}), receive(t, b, bus.Filter{})
		emit(t, b, 16)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Emit(ctx, "source", "some.kind", something); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the 17th emission into a ring of 16: %v", err)
		}
		emitted := make(chan int)
		go func() {
			for i := range 16 {
				emit(t, b, 1)
				emitted <- i
			}
			close(emitted)
		}()
		// Until both have received, nobody can emit.
		if m, err := slow.Next(t.Context()); err != nil || m.Sequence != 1 {
			t.Fatal(m, err)
		}
		synctest.Wait()
		select {
		case <-emitted:
			t.Fatal("the emitter did not wait for the receiver that is idle")
		default:
		}
		idle.Close()
		want := uint64(2)
		for range emitted {
			if m, err := slow.Next(t.Context()); err != nil || m.Sequence != want {
				t.Fatal(m, err, want)
			}
			want++
		}
		for ; want <= 32; want++ {
			if m, err := slow.Next(t.Context()); err != nil || m.Sequence != want {
				t.Fatal(m, err, want)
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Emitters that wait are let go by Close.
func TestCloseEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bus.NewMemory(bus.Options{Capacity: 16})
		receive(t, b, bus.Filter{})
		emit(t, b, 16)
		errs := make(chan error, 3)
		for range 3 {
			go func() { errs <- b.Emit(t.Context(), "source", "some.kind", something) }()
		}
		synctest.Wait()
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, bus.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

func TestNoWaitIsToldWhatItMissed(t *testing.T) {
	b := bus.NewMemory(bus.Options{Capacity: 16})
	r, keepsUp := receive(t, b, bus.Filter{NoWait: true}), receive(t, b, bus.Filter{NoWait: true})
	got, missed, next := 0, uint64(0), uint64(1)
	for range 10 {
		for range 10 {
			emit(t, b, 1)
			if _, err := keepsUp.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			m, err := r.Next(t.Context())
			if lag, ok := errors.AsType[*bus.LagError](err); ok {
				missed += lag.Missed
				if lag.Missed == 0 || lag.Next != next+lag.Missed {
					t.Fatalf("after %d: %v", next-1, err)
				}
				next = lag.Next
				continue
			}
			if err != nil || m.Sequence != next {
				t.Fatalf("got %d, %v; want %d", m.Sequence, err, next)
			}
			got++
			next++
		}
	}
	if missed == 0 {
		t.Error("a receiver that is behind by more than the ring missed nothing")
	}
	_ = b.Close(t.Context())
	for _, err := range r.All(t.Context()) {
		var lag *bus.LagError
		switch {
		case errors.As(err, &lag):
			missed += lag.Missed
		case err == nil:
			got++
		}
	}
	if uint64(got)+missed != 100 {
		t.Errorf("received %d and missed %d of 100", got, missed)
	}
}

// A slow subscriber is told too, and counts what it missed.
func TestStuckSubscriberHoldsNoMemory(t *testing.T) {
	const n, size = 50_000, 4 << 10
	stuck := make(chan struct{})
	var reported sync.Map
	b := bus.NewMemory(bus.Options{Capacity: 256, OnError: func(id string, _ bus.Message, err error) { reported.Store(id, err) }})
	if err := b.Subscribe(bus.On("stuck", func(context.Context, bus.Message) error { <-stuck; return nil })); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for range n {
		if err := b.Emit(t.Context(), "source", "some.kind", events.Custom{Payload: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	// The ring, and what one reader copied of it.
	if grown := int64(heap()) - int64(before); grown > 512*size {
		t.Errorf("%d messages of %d bytes with a stuck subscriber hold %d bytes", n, size, grown)
	}
	close(stuck)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := b.Subscribers()[0]
	var lag *bus.LagError
	if st.Handled+st.Missed != n || st.Missed == 0 || !errors.As(st.Err, &lag) {
		t.Errorf("%+v of %d", st, n)
	}
	if err, ok := reported.Load("stuck"); !ok || !errors.As(err.(error), &lag) {
		t.Errorf("reported %v", err)
	}
}

// With a thousand receivers asleep an emission may take no longer than with
// one. To wake or to write to each would take it hundreds of times as long.
func TestEmissionIsConstant(t *testing.T) {
	median := func(receivers int) time.Duration {
		b := bus.NewMemory(bus.Options{})
		var wg sync.WaitGroup
		for range receivers {
			r := receive(t, b, bus.Filter{})
			wg.Go(func() {
				for _, err := range r.All(t.Context()) {
					if err != nil && !errors.Is(err, bus.ErrClosed) && t.Context().Err() == nil {
						t.Errorf("receive: %v", err)
					}
				}
			})
		}
		took := make([]time.Duration, 2000)
		for i := range took {
			began := time.Now()
			emit(t, b, 1)
			took[i] = time.Since(began)
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // they may go to sleep
			}
		}
		_ = b.Close(t.Context())
		wg.Wait()
		slices.Sort(took)
		return took[len(took)/2]
	}
	one, thousand := median(1), median(1000)
	if thousand > 10*one+5*time.Microsecond {
		t.Errorf("an emission takes %v with 1,000 receivers and %v with one", thousand, one)
	}
}

func TestLazyEventIsTheSameForAll(t *testing.T) {
	b := bus.NewMemory(bus.Options{})
	one, other := receive(t, b, bus.Filter{}), receive(t, b, bus.Filter{})
	ids := map[events.ID]bool{}
	for i := range 1000 {
		emit(t, b, 1)
		published, err := b.Publish(t.Context(), events.Draft{Stream: "source", Kind: "some.kind"})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m, err := one.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			twin, err := other.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			e, err := m.Event()
			if err != nil {
				t.Fatal(err)
			}
			again, err := twin.Event()
			if err != nil || e.Digest != again.Digest || e.ID != again.ID {
				t.Fatalf("%d: %v and %v, %v", i, e, again, err)
			}
			ids[e.ID] = true
			if parsed, err := events.ParseID(e.ID.String()); err != nil || parsed[6]>>4 != 7 || parsed[8]>>6 != 2 {
				t.Fatalf("%s is no UUIDv7: %v", e.ID, err)
			}
		}
		if !ids[published.ID] {
			t.Fatalf("nobody received %s", published.ID)
		}
	}
	if len(ids) != 2000 {
		t.Errorf("%d ids of 2000 events", len(ids))
	}
	// What cannot be encoded is found out by who asks.
	if err := b.Emit(t.Context(), "source", "some.kind", events.Custom{Payload: []byte("no JSON")}); err != nil {
		t.Fatal(err)
	}
	m, err := one.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := m.Event(); err == nil {
		t.Errorf("encoded %q", e.Payload)
	}
}

// Everybody gets everything while emitters, receivers, subscribers and closers
// are at it together and the ring is small.
func TestStorm(t *testing.T) {
	const emitters, each = 4, 3000
	b := bus.NewMemory(bus.Options{Capacity: 64})
	var receiving, emitting, others sync.WaitGroup
	for range 8 {
		r := receive(t, b, bus.Filter{})
		receiving.Go(func() {
			next := uint64(1)
			for m, err := range r.All(t.Context()) {
				if errors.Is(err, bus.ErrClosed) {
					break
				}
				if err != nil || m.Sequence != next {
					t.Errorf("got %d, %v; want %d", m.Sequence, err, next)
					r.Close()
					return
				}
				next++
			}
			if next != emitters*each+1 {
				t.Errorf("got %d of %d", next-1, emitters*each)
			}
		})
	}
	stop := make(chan struct{})
	for i := range 2 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := b.Receive(bus.Filter{NoWait: i == 0})
				if err != nil {
					t.Error(err)
					return
				}
				for k := range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					if _, err := r.Next(ctx); err == nil && k == 9 {
						_ = b.Subscribe(bus.On("passing", func(context.Context, bus.Message) error { return nil }))
						b.Unsubscribe("passing")
					}
					cancel()
				}
				r.Close()
			}
		})
	}
	for i := range emitters {
		emitting.Go(func() {
			for range each {
				if err := b.Emit(t.Context(), fmt.Sprint("emitter-", i), "some.kind", something); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	emitting.Wait()
	close(stop)
	others.Wait()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	receiving.Wait()
}

func TestNewMemoryRefuses(t *testing.T) {
	for _, capacity := range []int{-1, 1<<24 + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("capacity %d was taken", capacity)
				}
			}()
			bus.NewMemory(bus.Options{Capacity: capacity})
		}()
	}
}
