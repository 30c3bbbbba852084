package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

func TestSubscribeSeam(t *testing.T) {
	j := memory(t)
	const before, writers, each = 700, 4, 150
	crowd(t, j, before)
	total := uint64(before + writers*each)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	var wg sync.WaitGroup
	for s := range 6 {
		wg.Go(func() {
			after := uint64(s * 100)
			next := after + 1
			for e, err := range j.Subscribe(ctx, journal.Query{After: after}) {
				if err != nil {
					t.Errorf("subscriber %d at %d: %v", s, next, err)
					return
				}
				if e.Position != next {
					t.Errorf("subscriber %d got %d after %d", s, e.Position, next-1)
					return
				}
				if next++; next > total {
					return
				}
			}
		})
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := j.Append(ctx, write(draft(fmt.Sprintf("w/%d", w), "test.happened", fmt.Sprint(i)))); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSubscribeFilters(t *testing.T) {
	j := memory(t)
	const n = 900
	var wg sync.WaitGroup
	follow := func(q journal.Query, want func(events.Event) bool) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			var got []uint64
			for e, err := range j.Subscribe(ctx, q) {
				if err != nil {
					t.Errorf("%+v: %v after %d events", q, err, len(got))
					return
				}
				if !want(e) || (len(got) > 0 && e.Position <= got[len(got)-1]) {
					t.Errorf("%+v: %s at %d after %v", q, e.Kind, e.Position, got)
					return
				}
				got = append(got, e.Position)
			}
			if len(got) != q.Limit {
				t.Errorf("%+v: %d events", q, len(got))
			}
		})
	}
	follow(journal.Query{Kinds: []events.Pattern{events.MustPattern("d.>")}, Limit: n / 3}, func(e events.Event) bool { return e.Kind == "d.e.f" })
	follow(journal.Query{Stream: "stream/2", Limit: n / 5}, func(e events.Event) bool { return e.Stream == "stream/2" })
	follow(journal.Query{Stream: "stream/2", Kinds: []events.Pattern{events.MustPattern("a.b")}, After: 30, Limit: 20}, func(e events.Event) bool {
		return e.Stream == "stream/2" && e.Kind == "a.b" && e.Position > 30
	})
	follow(journal.Query{Limit: 1}, func(e events.Event) bool { return e.Position == 1 })
	crowd(t, j, n)
	wg.Wait()
}

func TestSubscribeEnds(t *testing.T) {
	// Each subscriber waits for an event that does not come; in the bubble
	// that can be waited for.
	synctest.Test(t, func(t *testing.T) {
		j := memory(t)
		addN(t, j, "s", 2)
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		wait := func(ctx context.Context) chan error {
			c := make(chan error, 1)
			go func() {
				for _, err := range j.Subscribe(ctx, journal.Query{}) {
					if err != nil {
						c <- err
						return
					}
				}
				c <- nil
			}()
			synctest.Wait()
			return c
		}
		cancelled, closed := wait(ctx), wait(t.Context())
		cancel(why)
		if err := <-cancelled; !errors.Is(err, why) {
			t.Errorf("cancelled: %v", err)
		}
		select {
		case err := <-closed:
			t.Errorf("the other subscriber ended with it: %v", err)
		default:
		}
		closeOK(t, j)
		if err := <-closed; !errors.Is(err, journal.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		for _, err := range j.Subscribe(t.Context(), journal.Query{After: 2}) {
			if !errors.Is(err, journal.ErrClosed) {
				t.Errorf("subscribed after Close: %v", err)
			}
		}
	})
}

func TestSlowSubscriberHoldsNobodyUp(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 1)
	got, release := make(chan struct{}), make(chan struct{})
	var read []uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range j.Subscribe(t.Context(), journal.Query{Limit: 801}) {
			if err != nil {
				t.Errorf("slow subscriber: %v", err)
				return
			}
			if read = append(read, e.Position); len(read) == 1 {
				close(got)
				<-release
			}
		}
	}()
	soon(t, "the first event", got)
	crowd(t, j, 800) // with the subscriber in the middle of its first event
	if n := len(everything(t, j)); n != 801 {
		t.Errorf("%d events", n)
	}
	close(release)
	soon(t, "the slow subscriber's end", done)
	for i, p := range read {
		if p != uint64(i)+1 {
			t.Fatalf("the slow subscriber read %d as its event %d", p, i+1)
		}
	}
}

// Streams are read from the index and from memory, while the indexer moves
// events from one to the other.
func TestStreamSeam(t *testing.T) {
	j := open(t, "", journal.Options{Level: journal.LevelMemory}.Small(2, 0))
	const total = 800
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			next := uint64(1)
			for e, err := range j.Subscribe(ctx, journal.Query{Stream: "s", Limit: total / 2}) {
				if err != nil || e.StreamPosition != next {
					t.Errorf("subscriber got %d of the stream, want %d (%v)", e.StreamPosition, next, err)
					return
				}
				next++
			}
		})
		wg.Go(func() {
			for done := uint64(0); done < total/2; {
				from := done - min(done, 20)
				next := from + 1
				for e, err := range j.ReadStream(ctx, "s", from) {
					if err != nil || e.StreamPosition != next {
						t.Errorf("read %d of the stream after %d, want %d (%v)", e.StreamPosition, from, next, err)
						return
					}
					next++
				}
				if done = next - 1; done < from {
					t.Errorf("the stream ended at %d, it was at %d before", done, from)
					return
				}
				v, _, err := j.StreamVersion("s")
				if err != nil || v < done {
					t.Errorf("the stream is at %d after %d was read (%v)", v, done, err)
					return
				}
			}
		})
	}
	for i := range total {
		if _, err := j.Append(ctx, write(draft([]string{"s", "other"}[i%2], "test.happened", fmt.Sprint(i)))); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}
