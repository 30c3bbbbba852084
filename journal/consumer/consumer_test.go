package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

func TestFetchAndAck(t *testing.T) {
	d := disktest.New()
	j, s := open(t, on(d))
	add(t, j, "s", "a.b", 3)
	add(t, j, "s", "c", 3)
	c := create(t, s, consumer.Config{Name: "one", Query: kinds("a.*")})
	add(t, j, "s", "a.b", 3)
	first := fetch(t, c, 2)
	same(t, "first", tries(first), "1/1", "2/1")
	second := fetch(t, c, 10)
	same(t, "second", tries(second), "3/1", "7/1", "8/1", "9/1")
	same(t, "nothing is left", tries(fetch(t, c, 10)))
	ok(t, c.Ack(t.Context(), first[1], second[3]))
	if err := c.Ack(t.Context(), first[0], first[1]); !errors.Is(err, consumer.ErrNotInFlight) {
		t.Errorf("acknowledged twice: %v", err)
	}
	if i := c.Info(); i.Open != 3 || i.Position != 9 || i.Lag != 0 || i.Due != 0 {
		t.Errorf("it stands at %+v", i)
	}
	shut(t, j, s)
	j, s = open(t, on(d))
	c = get(t, s, "one")
	if i := c.Info(); i.Open != 3 || i.Position != 9 || i.Config.MaxDeliver != 5 || i.Config.Query.Kinds[0].String() != "a.*" {
		t.Errorf("after reopening it stands at %+v", i)
	}
	same(t, "what is in flight stays so", tries(fetch(t, c, 10)))
	for _, p := range []uint64{3, 7, 8} {
		d, err := c.InFlight(t.Context(), p)
		ok(t, err)
		ok(t, d.Ack(t.Context()))
	}
	if _, err := c.InFlight(t.Context(), 3); !errors.Is(err, consumer.ErrNotInFlight) {
		t.Errorf("in flight after its acknowledgement: %v", err)
	}
	shut(t, j, s)
}

// A fetch that waits is woken by the event it waits for, and by no other.
func TestFetchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, journal.Options{})
		c := create(t, s, consumer.Config{Name: "one", Query: journal.Query{Stream: "mine"}})
		got := make(chan []string, 1)
		go func() {
			ds, err := c.Fetch(t.Context(), 5)
			if err != nil {
				t.Error(err)
			}
			got <- tries(ds)
		}()
		add(t, j, "other", "a", 300)
		synctest.Wait()
		select {
		case ds := <-got:
			t.Fatalf("fetched %v", ds)
		default:
		}
		if i := c.Info(); i.Position != 300 || i.Lag != 0 {
			t.Errorf("it did not come forward: %+v", i)
		}
		add(t, j, "mine", "a", 1)
		same(t, "woken", <-got, "301/1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Fetch(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("fetched until the end of time: %v", err)
		}
		shut(t, j, s)
	})
}

func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, s := open(t, journal.Options{})
		add(t, j, "s", "a", 3)
		c := create(t, s, consumer.Config{Name: "one", AckWait: time.Minute, MaxDeliver: 3, Backoff: []time.Duration{time.Second, 10 * time.Second}})
		next := func(what string, after time.Duration, want string) consumer.Delivery {
			t.Helper()
			start := time.Now()
			ds, err := c.Fetch(t.Context(), 1)
			ok(t, err)
			if took := time.Since(start); took != after {
				t.Fatalf("%s: came after %v, want %v", what, took, after)
			}
			same(t, what, tries(ds), want)
			return ds[0]
		}
		ds := fetch(t, c, 3)
		ok(t, ds[2].Ack(t.Context()))
		ok(t, ds[0].Nak(t.Context(), "not now", 0))
		again := next("after the backoff", time.Second, "1/2")
		if err := ds[0].Nak(t.Context(), "late", 0); !errors.Is(err, consumer.ErrNotInFlight) {
			t.Errorf("a delivery that came again was refused under its old attempt: %v", err)
		}
		ok(t, again.Nak(t.Context(), "in a while", 7*time.Second))
		again = next("after the delay", 7*time.Second, "1/3")
		ok(t, again.Ack(t.Context()))
		again = next("after the ack wait", 52*time.Second, "2/2")
		time.Sleep(50 * time.Second)
		ok(t, again.Extend(t.Context()))
		again = next("after the extended ack wait", time.Minute, "2/3")
		ok(t, again.Nak(t.Context(), "never works", 0))
		same(t, "what was parked does not come again", tries(fetch(t, c, 1)))
		parked, err := c.Parked(t.Context())
		ok(t, err)
		if len(parked) != 1 || parked[0].Event.Position != 2 || parked[0].Attempts != 3 || parked[0].Reason != "never works" {
			t.Errorf("parked: %+v", parked)
		}
		shut(t, j, s)
	})
}

func TestParked(t *testing.T) {
	d := disktest.New()
	j, s := open(t, on(d))
	es := add(t, j, "s", "a", 4)
	c := create(t, s, consumer.Config{Name: "one"})
	watcher := create(t, s, consumer.Config{Name: "watcher", Query: kinds("toka.consumer.>")})
	for i, d := range fetch(t, c, 4) {
		ok(t, d.Terminate(t.Context(), fmt.Sprint("reason ", i)))
	}
	same(t, "its own parked events are not for it", tries(fetch(t, c, 10)))
	if ds := fetch(t, watcher, 10); len(ds) != 4 || ds[1].Event.Kind != "toka.consumer.parked" || ds[1].Event.Stream != "$consumer.one" ||
		len(ds[1].Event.Parents) != 1 || ds[1].Event.Parents[0].ID != es[1].ID || ds[1].Event.Trigger != es[1].ID {
		t.Errorf("who asks for parked events gets %v", tries(ds))
	}
	list := func(want ...string) []consumer.Parked {
		t.Helper()
		ps, err := c.Parked(t.Context())
		ok(t, err)
		var got []string
		for _, p := range ps {
			got = append(got, fmt.Sprintf("%d: %s", p.Event.Position, p.Reason))
		}
		same(t, "parked", got, want...)
		return ps
	}
	ps := list("1: reason 0", "2: reason 1", "3: reason 2", "4: reason 3")
	if n, err := c.Replay(t.Context(), ps[2].ID); n != 1 || err != nil {
		t.Errorf("replayed %d (%v)", n, err)
	}
	if n, err := c.Drop(t.Context(), ps[0].ID); n != 1 || err != nil {
		t.Errorf("dropped %d (%v)", n, err)
	}
	for _, id := range []events.ID{ps[2].ID, es[0].ID} {
		if _, err := c.Replay(t.Context(), id); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("replayed what is not parked: %v", err)
		}
	}
	list("2: reason 1", "4: reason 3")
	shut(t, j, s)
	j, s = open(t, on(d))
	c = get(t, s, "one")
	ds := fetch(t, c, 10)
	same(t, "what was replayed", tries(ds), "3/1")
	ok(t, ds[0].Terminate(t.Context(), "again"))
	list("2: reason 1", "4: reason 3", "3: again")
	if n, err := c.Replay(t.Context()); n != 3 || err != nil {
		t.Errorf("replayed %d (%v)", n, err)
	}
	list()
	same(t, "all of them", tries(fetch(t, c, 10)), "2/1", "3/1", "4/1")
	// Another consumer of the name begins with nothing parked.
	ok(t, fetch(t, get(t, s, "watcher"), 1)[0].Terminate(t.Context(), "x"))
	ok(t, s.Delete(t.Context(), "watcher"))
	if ps, err := create(t, s, consumer.Config{Name: "watcher"}).Parked(t.Context()); len(ps) != 0 || err != nil {
		t.Errorf("a new consumer has %d parked (%v)", len(ps), err)
	}
	shut(t, j, s)
}

// A delivery is counted before it is handed out, so that an event which ends
// the process each time is parked in the end.
func TestAttemptsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, on(d))
		add(t, j, "s", "a", 1)
		create(t, s, consumer.Config{Name: "one", MaxDeliver: 3, AckWait: time.Second})
		for attempt := 1; attempt <= 3; attempt++ {
			same(t, "delivered", tries(fetch(t, get(t, s, "one"), 1)), fmt.Sprint("1/", attempt))
			d = d.PowerCut(0, uint64(attempt))
			_ = s.Close()
			_ = j.Close()
			time.Sleep(time.Second)
			j, s = open(t, on(d))
		}
		c := get(t, s, "one")
		same(t, "after the last attempt", tries(fetch(t, c, 1)))
		parked, err := c.Parked(t.Context())
		ok(t, err)
		if len(parked) != 1 || parked[0].Attempts != 3 || !strings.Contains(parked[0].Reason, "3 times") {
			t.Errorf("parked: %+v", parked)
		}
		shut(t, j, s)
	})
}

func TestCommitIsOneWrite(t *testing.T) {
	d := disktest.New()
	j, s := open(t, on(d))
	es := add(t, j, "s", "a", 4)
	c := create(t, s, consumer.Config{Name: "one", Query: kinds("a")})
	ds := fetch(t, c, 4)
	result := func(i int) journal.Write {
		return journal.Write{Events: []events.Draft{{
			ID: events.EmittedID(es[i].Digest, "one", 0), Stream: "results", Kind: "done", Parents: []events.Ref{es[i].Ref()},
		}}}
	}
	w := result(0)
	w.Expect = map[string]journal.Expected{"results": journal.Version(7)}
	if _, err := c.Commit(t.Context(), w, ds[0]); !errors.Is(err, journal.ErrWrongVersion) {
		t.Errorf("committed: %v", err)
	}
	for _, bad := range []journal.Write{
		{Events: []events.Draft{{Stream: "$x", Kind: "done"}}},
		{Checkpoints: []journal.Checkpoint{{Name: "$x"}}},
	} {
		if _, err := c.Commit(t.Context(), bad, ds[0]); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("committed as the system: %v", err)
		}
	}
	if c.Info().Open != 4 {
		t.Fatal("a refused commit settled something")
	}
	if _, err := c.Commit(t.Context(), result(0), ds[0], ds[2]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Commit(t.Context(), result(2), ds[2]); !errors.Is(err, consumer.ErrNotInFlight) {
		t.Errorf("committed what somebody else has: %v", err)
	}
	// The result is there, under the same id, by another way.
	if _, err := j.Append(t.Context(), result(1)); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Commit(t.Context(), result(1), ds[1]); err != nil || !r.Duplicate {
		t.Errorf("committed again: %v", err)
	}
	// At whatever moment the power goes, both are there or neither.
	cut := make(chan *disktest.Disk, 64)
	d.Before(func(op disktest.Op) {
		if op.Kind == disktest.Sync && strings.Contains(op.Path, ".log") {
			select {
			case cut <- d.PowerCut(50, uint64(len(cut))):
			default:
			}
		}
	})
	if _, err := c.Commit(t.Context(), result(3), ds[3]); err != nil {
		t.Fatal(err)
	}
	cut <- d.PowerCut(0, 9)
	shut(t, j, s)
	close(cut)
	seen := map[bool]int{}
	for d := range cut {
		j, s := open(t, on(d))
		_, err := j.ByID(t.Context(), result(3).Events[0].ID)
		stored := err == nil
		if open := get(t, s, "one").Info().Open; stored != (open == 0) {
			t.Errorf("stored: %v, and %d deliveries open", stored, open)
		}
		seen[stored]++
		shut(t, j, s)
	}
	if seen[true] == 0 {
		t.Errorf("found stored or not: %v", seen)
	}
}

func TestMaxInFlight(t *testing.T) {
	j, s := open(t, journal.Options{})
	add(t, j, "s", "a", 10)
	c := create(t, s, consumer.Config{Name: "one", MaxInFlight: 3})
	ds := fetch(t, c, 10)
	same(t, "at first", tries(ds), "1/1", "2/1", "3/1")
	same(t, "full", tries(fetch(t, c, 10)))
	ok(t, ds[1].Ack(t.Context()))
	same(t, "with room", tries(fetch(t, c, 10)), "4/1")
	shut(t, j, s)
}

func TestConfig(t *testing.T) {
	j, s := open(t, journal.Options{})
	base := consumer.Config{Name: "one", Query: kinds("a.>")}
	c := create(t, s, base)
	if again := create(t, s, base); again != c {
		t.Error("the same configuration made another consumer")
	}
	other := base
	other.MaxDeliver = 9
	if _, err := s.Create(t.Context(), other); !errors.Is(err, consumer.ErrExists) {
		t.Errorf("created with another configuration: %v", err)
	}
	for name, change := range map[string]func(*consumer.Config){
		"no name":     func(c *consumer.Config) { c.Name = "" },
		"system name": func(c *consumer.Config) { c.Name = "$x" },
		"long name":   func(c *consumer.Config) { c.Name = strings.Repeat("x", 201) },
		"backwards":   func(c *consumer.Config) { c.Query.Backwards = true },
		"an end":      func(c *consumer.Config) { c.Query.Before = 7 },
		"a limit":     func(c *consumer.Config) { c.Query.Limit = 7 },
		"ack wait":    func(c *consumer.Config) { c.AckWait = -1 },
		"in flight":   func(c *consumer.Config) { c.MaxInFlight = consumer.MaxInFlight + 1 },
		"deliver":     func(c *consumer.Config) { c.MaxDeliver = -1 },
		"backoff":     func(c *consumer.Config) { c.Backoff = []time.Duration{-1} },
	} {
		bad := consumer.Config{Name: "bad"}
		change(&bad)
		if _, err := s.Create(t.Context(), bad); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Fetch(t.Context(), 1)
		waiting <- err
	}()
	ok(t, s.Delete(t.Context(), "one"))
	if err := within(t, "the end of a fetch", waiting); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("fetching from a deleted consumer: %v", err)
	}
	if _, err := s.Get("one"); !errors.Is(err, consumer.ErrNotFound) || len(s.List()) != 0 {
		t.Errorf("got a deleted consumer (%v)", err)
	}
	create(t, s, other)
	shut(t, j, s)
	if _, err := s.Get("one"); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestStarts(t *testing.T) {
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	j, s := open(t, journal.Options{Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	es := add(t, j, "s", "a", 5)
	same(t, "after a position", tries(fetch(t, create(t, s, consumer.Config{Name: "p", Query: journal.Query{After: 3}}), 9)), "4/1", "5/1")
	same(t, "since a time", tries(fetch(t, create(t, s, consumer.Config{Name: "t", Query: journal.Query{Since: es[3].RecordTime}}), 9)), "4/1", "5/1")
	end := create(t, s, consumer.Config{Name: "e", Query: journal.Query{After: j.Position()}})
	same(t, "at the end", tries(fetch(t, end, 9)))
	add(t, j, "s", "a", 1)
	same(t, "at the end, later", tries(fetch(t, end, 9)), "6/1")
	shut(t, j, s)
}

func TestOpenIsShared(t *testing.T) {
	j, s := open(t, journal.Options{})
	again := openSet(t, j)
	if s != again {
		t.Fatal("two sets of one journal")
	}
	c := create(t, s, consumer.Config{Name: "one"})
	ok(t, again.Close())
	add(t, j, "s", "a", 1)
	same(t, "after one of two users closed", tries(fetch(t, c, 1)), "1/1")
	shut(t, j, s)
	if _, err := c.Fetch(t.Context(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("fetch after Close: %v", err)
	}
	// A journal that is closed first takes its consumers with it.
	j, s = open(t, journal.Options{})
	c = create(t, s, consumer.Config{Name: "one"})
	ok(t, j.Close())
	if _, err := c.Fetch(t.Context(), 1); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("fetch after the journal was closed: %v", err)
	}
	ok(t, s.Close())
}

func TestRun(t *testing.T) {
	for _, workers := range []int{0, 4} {
		synctest.Test(t, func(t *testing.T) {
			j, s := open(t, journal.Options{})
			c := create(t, s, consumer.Config{Name: "one", MaxDeliver: 2, Backoff: []time.Duration{time.Second}})
			ctx, cancel := context.WithCancelCause(t.Context())
			var mu sync.Mutex
			seen := map[uint64]int{}
			ended := make(chan error, 1)
			go func() {
				ended <- c.Run(ctx, workers, func(ctx context.Context, d consumer.Delivery) error {
					mu.Lock()
					defer mu.Unlock()
					seen[d.Event.Position]++
					switch d.Event.Kind {
					case "bad":
						return errors.New("bad")
					case "hopeless":
						return consumer.Permanent(errors.New("hopeless"))
					case "panics":
						panic("oh")
					case "settled":
						return d.Ack(ctx)
					}
					return nil
				})
			}()
			var es []events.Event
			for _, kind := range []string{"good", "bad", "good", "hopeless", "panics", "settled", "good"} {
				es = append(es, add(t, j, "s", kind, 1)...)
			}
			es = append(es, add(t, j, "s", "good", 500)...)
			time.Sleep(time.Minute)
			synctest.Wait()
			mu.Lock()
			for _, e := range es {
				if want := map[string]int{"bad": 2, "panics": 2}[e.Kind]; seen[e.Position] != max(want, 1) {
					t.Errorf("%d workers: event %d was handled %d times", workers, e.Position, seen[e.Position])
				}
			}
			mu.Unlock()
			parked, err := c.Parked(t.Context())
			ok(t, err)
			reasons := map[events.ID]string{}
			for _, p := range parked {
				reasons[p.Event.ID] = p.Reason
			}
			if len(parked) != 3 || reasons[es[1].ID] != "bad" || reasons[es[3].ID] != "hopeless" || reasons[es[4].ID] != "panic: oh" {
				t.Errorf("parked %v", reasons)
			}
			if i := c.Info(); i.Open != 0 {
				t.Errorf("%d deliveries are open", i.Open)
			}
			why := errors.New("enough")
			cancel(why)
			if err := <-ended; !errors.Is(err, why) {
				t.Errorf("run ended with %v", err)
			}
			shut(t, j, s)
		})
	}
}
