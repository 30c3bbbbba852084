package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

func open(t testing.TB, o journal.Options) (*journal.Journal, *consumer.Set) {
	t.Helper()
	dir := "/data"
	if o.Volume == nil {
		o.Level, dir = journal.LevelMemory, ""
	}
	j, err := journal.Open(dir, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, openSet(t, j)
}

func openSet(t testing.TB, j *journal.Journal) *consumer.Set {
	t.Helper()
	s, err := consumer.Open(j)
	if err != nil {
		t.Fatalf("open consumers: %v", err)
	}
	return s
}

func on(d *disktest.Disk) journal.Options { return journal.Options{Volume: d.Volume()} }

func shut(t testing.TB, j *journal.Journal, s *consumer.Set) {
	t.Helper()
	if err := errors.Join(s.Close(), j.Close()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func create(t testing.TB, s *consumer.Set, c consumer.Config) *consumer.Consumer {
	t.Helper()
	out, err := s.Create(t.Context(), c)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return out
}

func get(t testing.TB, s *consumer.Set, name string) *consumer.Consumer {
	t.Helper()
	c, err := s.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func kinds(ps ...string) (q journal.Query) {
	for _, p := range ps {
		q.Kinds = append(q.Kinds, events.MustPattern(p))
	}
	return q
}

func add(t testing.TB, j *journal.Journal, stream, kind string, n int) (out []events.Event) {
	t.Helper()
	for i := range n {
		r, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: stream, Kind: kind, Payload: fmt.Append(nil, i)}}})
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		out = append(out, r.Events...)
	}
	return out
}

// fetch takes what is there.
func fetch(t testing.TB, c *consumer.Consumer, n int) []consumer.Delivery {
	t.Helper()
	ds, err := c.FetchNow(t.Context(), n)
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	return ds
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tries describes deliveries as POSITION/ATTEMPT.
func tries(ds []consumer.Delivery) (out []string) {
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%d/%d", d.Event.Position, d.Attempt))
	}
	return out
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// within waits for a channel to be closed or to yield.
func within[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case v = <-c:
	case <-ctx.Done():
		t.Fatalf("%s did not come", what)
	}
	return v
}
