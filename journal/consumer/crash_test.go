package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// TestCrashesLoseNothing lets consumers work at random while the power goes at
// random changes on disk, and holds what they are handed against what they
// have settled: nothing that was settled comes again, and in the end everything
// that their filters select was settled. TOKA_CONSUMER_RUNS is how many
// histories are played.
func TestCrashesLoseNothing(t *testing.T) {
	runs := 40
	if n, err := strconv.Atoi(os.Getenv("TOKA_CONSUMER_RUNS")); err == nil {
		runs = n
	}
	defer consumer.Small(5)()
	var crashes, delivered, settled int
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(t, uint64(seed))
			h.play(120)
			h.drain()
			crashes, delivered, settled = crashes+h.crashes, delivered+h.delivered, settled+h.settledCount()
			shut(t, h.j, h.s)
		})
		if t.Failed() {
			t.Fatalf("history %d", seed)
		}
	}
	t.Logf("%d histories, %d crashes, %d deliveries, %d of them settled, none lost, none settled twice", runs, crashes, delivered, settled)
	if crashes < runs || settled < 10*runs {
		t.Errorf("too little happened: %d crashes, %d settled", crashes, settled)
	}
}

var crashConsumers = map[string]consumer.Config{
	"all":    {AckWait: 10 * time.Second, MaxInFlight: 7, MaxDeliver: 4},
	"some":   {AckWait: 10 * time.Second, Query: kinds("a.*"), MaxDeliver: 50},
	"rare":   {AckWait: 10 * time.Second, Query: kinds("rare")},
	"none":   {AckWait: 10 * time.Second, Query: kinds("none")},
	"stream": {AckWait: 10 * time.Second, Query: journal.Query{Stream: "s2", After: 3}, MaxDeliver: 50},
}

// places are positions by consumer.
type places map[string]map[uint64]bool

func (p places) clone() places {
	out := places{}
	for name, m := range p {
		out[name] = maps.Clone(m)
	}
	return out
}

func (p places) set(name string, position uint64) {
	if p[name] == nil {
		p[name] = map[uint64]bool{}
	}
	p[name][position] = true
}

// history is one run and what is known in it.
type history struct {
	t   *testing.T
	rng *rand.Rand

	disk *disktest.Disk
	j    *journal.Journal
	s    *consumer.Set
	held map[string][]consumer.Delivery

	mu      sync.Mutex
	settled places     // what returned
	tried   places     // what was begun, and may or may not be on disk after a crash
	luck    *rand.Rand // of power cuts
	// When the power goes: a copy of the disk, and of what was known then.
	cutIn                int // changes from now; 0 is never
	cut                  *disktest.Disk
	cutSettled, cutTried places

	crashes, delivered int
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), luck: rand.New(rand.NewPCG(seed, 8)), disk: disktest.New(),
		held: map[string][]consumer.Delivery{}, settled: places{}, tried: places{},
	}
	h.open()
	for _, name := range slices.Sorted(maps.Keys(crashConsumers)) {
		config := crashConsumers[name]
		config.Name = name
		create(t, h.s, config)
	}
	return h
}

func (h *history) open() {
	h.j, h.s = open(h.t, on(h.disk))
	d := h.disk
	d.Before(func(disktest.Op) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.disk != d || h.cutIn == 0 {
			return
		}
		if h.cutIn--; h.cutIn == 0 {
			h.cut = d.PowerCut(h.luck.IntN(3)*50, h.luck.Uint64())
			h.cutSettled, h.cutTried = h.settled.clone(), h.tried.clone()
		}
	})
}

func (h *history) play(steps int) {
	for range steps {
		h.mu.Lock()
		if h.cutIn == 0 && h.rng.IntN(8) == 0 {
			h.cutIn = 1 + h.rng.IntN(6)
		}
		h.mu.Unlock()
		h.step()
		if h.rng.IntN(2) == 0 {
			synctest.Wait()
		}
		h.mu.Lock()
		cut := h.cut != nil
		h.mu.Unlock()
		if cut {
			h.crash()
		}
	}
}

// crash goes on with the disk as it was when the power went.
func (h *history) crash() {
	_ = h.s.Close()
	_ = h.j.Close()
	h.mu.Lock()
	h.disk, h.settled, h.tried, h.cut = h.cut, h.cutSettled, h.cutTried, nil
	h.mu.Unlock()
	h.held = map[string][]consumer.Delivery{}
	h.crashes++
	h.open()
}

func (h *history) step() {
	ctx := h.t.Context()
	name := slices.Sorted(maps.Keys(crashConsumers))[h.rng.IntN(len(crashConsumers))]
	c := get(h.t, h.s, name)
	switch h.rng.IntN(8) {
	case 0, 1:
		for range 1 + h.rng.IntN(6) {
			kind := []string{"a.b", "a.c", "b", "rare"}[min(h.rng.IntN(30)/9, 3)]
			add(h.t, h.j, fmt.Sprint("s", h.rng.IntN(3)), kind, 1)
		}
	case 2, 3, 4:
		h.fetch(c, 1+h.rng.IntN(5))
	case 5, 6:
		if len(h.held[name]) == 0 {
			return
		}
		i := h.rng.IntN(len(h.held[name]))
		d := h.held[name][i]
		h.held[name] = slices.Delete(h.held[name], i, i+1)
		how := h.rng.IntN(6)
		if how > 0 {
			h.mu.Lock()
			h.tried.set(name, d.Event.Position)
			h.mu.Unlock()
		}
		var err error
		switch how {
		case 0:
			err = d.Nak(ctx, "not now", time.Duration(h.rng.IntN(20))*time.Second)
		case 1:
			err = d.Terminate(ctx, "no")
		case 2:
			_, err = c.Commit(ctx, journal.Write{Events: []events.Draft{{Stream: "result", Kind: "done." + name, Payload: fmt.Append(nil, d.Event.Position)}}}, d)
		default:
			err = d.Ack(ctx)
		}
		if err == nil && how > 0 {
			h.mu.Lock()
			h.settled.set(name, d.Event.Position)
			h.mu.Unlock()
		}
	case 7:
		time.Sleep(time.Duration(h.rng.IntN(15)) * time.Second)
	}
}

func (h *history) fetch(c *consumer.Consumer, n int) int {
	var ds []consumer.Delivery
	if h.rng.IntN(2) == 0 {
		ds = fetch(h.t, c, n)
	} else {
		// In the bubble time passes only when there is nothing to do.
		ctx, cancel := context.WithTimeout(h.t.Context(), time.Millisecond)
		defer cancel()
		var err error
		if ds, err = c.Fetch(ctx, n); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			h.t.Fatal(err)
		}
	}
	for _, d := range ds {
		if h.settled[c.Name()][d.Event.Position] {
			h.t.Errorf("consumer %s: event %d comes again after it was settled", c.Name(), d.Event.Position)
		}
	}
	h.delivered += len(ds)
	h.held[c.Name()] = append(h.held[c.Name()], ds...)
	return len(ds)
}

// drain deals with all that is left and checks that nothing is missing. An
// event whose settling had begun and not returned when the power went may have
// been settled too.
func (h *history) drain() {
	h.mu.Lock()
	h.cutIn = 0
	h.mu.Unlock()
	for name := range crashConsumers {
		c := get(h.t, h.s, name)
		for idle := 0; idle < 3; {
			if h.fetch(c, 3) == 0 {
				idle++
				time.Sleep(3 * time.Minute)
			}
			for _, d := range h.held[name] {
				if d.Ack(h.t.Context()) == nil {
					h.settled.set(name, d.Event.Position)
				}
			}
			h.held[name] = nil
		}
		if i := c.Info(); i.Open != 0 || i.Lag != 0 {
			h.t.Errorf("consumer %s stands at %+v", name, i)
		}
		parked, err := c.Parked(h.t.Context())
		ok(h.t, err)
		for _, p := range parked {
			h.settled.set(name, p.Event.Position)
		}
	}
	q := map[string]func(e events.Event) bool{
		"all":    func(e events.Event) bool { return true },
		"some":   func(e events.Event) bool { return e.Kind == "a.b" || e.Kind == "a.c" },
		"rare":   func(e events.Event) bool { return e.Kind == "rare" },
		"none":   func(events.Event) bool { return false },
		"stream": func(e events.Event) bool { return e.Stream == "s2" && e.Position > 3 },
	}
	results := map[string]bool{}
	for e, err := range h.j.Read(h.t.Context(), journal.Query{}) {
		ok(h.t, err)
		if events.SystemKind(e.Kind) {
			continue
		}
		if result := e.Kind + " " + string(e.Payload); e.Stream == "result" {
			if results[result] {
				h.t.Errorf("%s is there twice", result)
			}
			results[result] = true
		}
		for name, selects := range q {
			switch got := h.settled[name][e.Position]; {
			case got && !selects(e):
				h.t.Errorf("consumer %s was handed event %d (%s), which it did not ask for", name, e.Position, e.Kind)
			case !got && !h.tried[name][e.Position] && selects(e):
				h.t.Errorf("consumer %s was not handed event %d (%s)", name, e.Position, e.Kind)
			}
		}
	}
}

func (h *history) settledCount() (n int) {
	for _, m := range h.settled {
		n += len(m)
	}
	return n
}

// A consumer that is idle leaves it to the shared checkpoint to say how far it
// is. In a crash before that was ever stored it stands where it said itself.
func TestCrashBeforeTheSharedCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, on(d))
		c := create(t, s, consumer.Config{Name: "rare", Query: kinds("rare")})
		add(t, j, "s", "rare", 1)
		ok(t, c.Ack(t.Context(), fetch(t, c, 1)...)) // now it is idle, and that is on disk
		add(t, j, "s", "often", 2)
		add(t, j, "s", "rare", 2)
		synctest.Wait()
		at := d.PowerCut(0, 1)
		shut(t, j, s)
		j, s = open(t, on(at))
		synctest.Wait()
		same(t, "after a crash", tries(fetch(t, get(t, s, "rare"), 5)), "4/1", "5/1")
		shut(t, j, s)
	})
}

// A delivery that is about to be parked is not lost when a commit of another
// comes before the write that parks it, and the power goes between the two.
func TestCrashBetweenCommitAndParking(t *testing.T) {
	defer consumer.Small(1000)() // one consumer with a write: parking has to wait for its turn
	between := 0
	for range 10 { // whose turn comes when is chance
		if between += commitBeforeParking(t); between > 0 {
			return
		}
	}
	t.Error("no power cut came between the two")
}

// commitBeforeParking cuts the power at every change from a commit on, and
// returns how often what was to be parked was not parked yet.
func commitBeforeParking(t *testing.T) (between int) {
	synctest.Test(t, func(t *testing.T) {
		d := disktest.New()
		j, s := open(t, on(d))
		c := create(t, s, consumer.Config{Name: "c", Query: kinds("work")})
		var others []consumer.Delivery
		for i := range 20 {
			o := create(t, s, consumer.Config{Name: fmt.Sprint("other ", i), Query: kinds("else")})
			if i == 0 {
				add(t, j, "s", "else", 1)
			}
			others = append(others, fetch(t, o, 1)...)
		}
		add(t, j, "s", "work", 2)
		ds := fetch(t, c, 2)

		// All wait for one write that does not come back.
		var held atomic.Bool
		stuck, release := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		var cuts []*disktest.Disk
		d.Before(func(op disktest.Op) {
			if held.CompareAndSwap(false, true) { // others must not wait for a lock: that is not idle in a bubble
				close(stuck)
				<-release
			}
			mu.Lock()
			defer mu.Unlock()
			cuts = append(cuts, d.PowerCut(0, uint64(len(cuts))))
		})
		var done sync.WaitGroup
		for i, o := range others {
			done.Go(func() { ok(t, o.Ack(t.Context())) })
			if i == 0 {
				<-stuck
			}
		}
		done.Go(func() { ok(t, ds[0].Terminate(t.Context(), "no")) })
		synctest.Wait()
		done.Go(func() {
			_, err := c.Commit(t.Context(), journal.Write{Events: []events.Draft{{Stream: "result", Kind: "done"}}}, ds[1])
			ok(t, err)
		})
		synctest.Wait()
		close(release)
		done.Wait()
		shut(t, j, s)

		for _, at := range cuts {
			j, s := open(t, on(at))
			results := 0
			for _, err := range j.Read(t.Context(), journal.Query{Stream: "result"}) {
				ok(t, err)
				results++
			}
			parked, err := get(t, s, "c").Parked(t.Context())
			ok(t, err)
			open := get(t, s, "c").Info().Open
			if len(parked)+open != 2-results {
				t.Errorf("%d results, %d parked, %d in flight", results, len(parked), open)
			}
			if results == 1 && len(parked) == 0 {
				between++
			}
			shut(t, j, s)
		}
		t.Logf("%d power cuts, %d of them between the two", len(cuts), between)
	})
	return between
}
