package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// keptStock is a stock with snapshots that counts what it folds.
func keptStock(s actors.Snapshots[Stock], folds *atomic.Int64) *stockResource {
	r := newStock(nil)
	r.Snapshots = s
	r.Evolve = func(s Stock, e stockEvent) Stock {
		folds.Add(1)
		return evolveStock(s, e)
	}
	return r
}

// refolded restarts a system with a stock and returns what it took to know the
// state again, which has to be what the stream says.
func refolded(t *testing.T, j *journal.Journal, r *stockResource, folds *atomic.Int64) int64 {
	t.Helper()
	sys := start(t, j, actors.Options{}, r)
	folds.Store(0)
	got := state(t, spawnStock(t, sys, r, "apples"))
	n := folds.Load()
	if want := foldStock(t, j, "apples"); !sameStock(got, want) {
		t.Errorf("the state is %+v, want %+v", got, want)
	}
	stopOK(t, sys)
	return n
}

func adds(t *testing.T, j *journal.Journal, r *stockResource, n int) {
	t.Helper()
	sys := start(t, j, actors.Options{}, r)
	ref := spawnStock(t, sys, r, "apples")
	for i := range n {
		ask(t, ref, Add{i + 1})
	}
	settle(t, sys)
	stopOK(t, sys)
}

// Each command is two events of the stream, itself and what it causes.
func TestSnapshotEvery(t *testing.T) {
	var folds atomic.Int64
	j := memory(t)
	r := keptStock(actors.Snapshots[Stock]{Version: 1, Every: 10}, &folds)
	adds(t, j, r, 12)
	if n := refolded(t, j, r, &folds); n != 2 {
		t.Errorf("folded %d events behind the snapshot, want 2", n)
	}
	adds(t, j, r, 4) // goes on from there
	if n := refolded(t, j, r, &folds); n != 1 {
		t.Errorf("folded %d events, want 1", n)
	}
}

func TestSnapshotIf(t *testing.T) {
	var folds atomic.Int64
	j := memory(t)
	r := keptStock(actors.Snapshots[Stock]{Version: 1, If: func(s Stock) bool {
		if s.Free == 10 {
			panic("as planned")
		}
		return s.Free == 3 // after the second
	}}, &folds)
	adds(t, j, r, 5)
	if n := refolded(t, j, r, &folds); n != 3 {
		t.Errorf("folded %d events, want 3", n)
	}
}

func TestSnapshotAtRest(t *testing.T) {
	var folds atomic.Int64
	j := memory(t)
	r := keptStock(actors.Snapshots[Stock]{Version: 1, AtRest: true}, &folds)
	adds(t, j, r, 3) // the system is stopped
	if n := refolded(t, j, r, &folds); n != 0 {
		t.Errorf("folded %d events after a stop", n)
	}
	sys := start(t, j, actors.Options{}, r)
	ref := spawnStock(t, sys, r, "apples")
	ask(t, ref, Add{1})
	must(t, sys.StopActor(within(t), "apples"))
	folds.Store(0)
	if s := state(t, ref); s.Free != 7 || folds.Load() != 0 {
		t.Errorf("after the actor was stopped: %+v, folded %d events", s, folds.Load())
	}
	// Somebody else wrote meanwhile.
	must(t, sys.StopActor(within(t), "apples"))
	d, err := stockEvents.Encode(Added{5})
	must(t, err)
	_, err = sys.Publish(within(t), "apples", d)
	must(t, err)
	if s := state(t, ref); s.Free != 12 || folds.Load() != 1 {
		t.Errorf("after an append from outside: %+v, folded %d events", s, folds.Load())
	}
}

func TestSnapshotThatDoesNotServe(t *testing.T) {
	keep := actors.Snapshots[Stock]{Version: 1, AtRest: true}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, j *journal.Journal, r *stockResource)
		folds int64
	}{
		"as it is": {func(*testing.T, *journal.Journal, *stockResource) {}, 0},
		"absent": {func(t *testing.T, j *journal.Journal, _ *stockResource) {
			must(t, j.DropSnapshots(within(t), "apples"))
		}, 3},
		"of another schema": {func(_ *testing.T, _ *journal.Journal, r *stockResource) { r.Snapshots.Version = 2 }, 3},
		"not asked for":     {func(_ *testing.T, _ *journal.Journal, r *stockResource) { r.Snapshots = actors.Snapshots[Stock]{} }, 3},
		"not JSON":          {overwrite(`{`), 3},
		"another's":         {overwrite(`{"state":"apples"}`), 3},
	} {
		t.Run(name, func(t *testing.T) {
			var folds atomic.Int64
			j := memory(t)
			r := keptStock(keep, &folds)
			adds(t, j, r, 3)
			r = keptStock(keep, &folds)
			c.spoil(t, j, r)
			if n := refolded(t, j, r, &folds); n != c.folds {
				t.Errorf("folded %d events, want %d", n, c.folds)
			}
		})
	}
	t.Run("what comes after cannot be folded on it", func(t *testing.T) {
		var folds atomic.Int64
		j := memory(t)
		adds(t, j, keptStock(keep, &folds), 3)
		b, err := json.Marshal(map[string]any{"state": Stock{Free: 666}})
		must(t, err)
		overwrite(string(b))(t, j, nil)
		d, err := stockEvents.Encode(Added{1})
		must(t, err)
		_, err = j.Append(within(t), journal.Write{Events: []events.Draft{{Stream: "apples", Kind: d.Kind, SchemaVersion: d.SchemaVersion, ContentType: d.ContentType, Payload: d.Payload}}})
		must(t, err)
		r := keptStock(actors.Snapshots[Stock]{Version: 1, Every: 1000}, &folds)
		evolve := r.Evolve
		r.Evolve = func(s Stock, e stockEvent) Stock {
			if s.Free >= 666 {
				panic("there were never that many")
			}
			return evolve(s, e)
		}
		if n := refolded(t, j, r, &folds); n != 4 {
			t.Errorf("folded %d events, want 4", n)
		}
	})
}

// overwrite puts another state in place of the snapshot of three commands.
func overwrite(state string) func(*testing.T, *journal.Journal, *stockResource) {
	return func(t *testing.T, j *journal.Journal, _ *stockResource) {
		t.Helper()
		must(t, j.SaveSnapshot(within(t), journal.Snapshot{Stream: "apples", StreamPosition: 6, Schema: "stock/1/1", State: []byte(state)}))
	}
}

// An agent with a snapshot knows what it has reacted to, checkpoint or not, and
// what was parked before it can still be taken up.
func TestSnapshotOfAnAgent(t *testing.T) {
	j := memory(t)
	a := counter()
	a.Snapshots = actors.Snapshots[int]{Version: 1, AtRest: true}
	broken := true
	react := a.React
	a.React = func(t *actors.Turn, n int, e events.Event) error {
		if o, err := placed.Decode(e); err != nil || o.ID == "bad" && broken {
			return errors.New("no ink")
		}
		return react(t, n, e)
	}
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "counter"))
	place(t, sys, "bad")
	place(t, sys, "o1")
	settle(t, sys)
	stopOK(t, sys)
	rewind(t, j, "counter")
	broken = false
	sys = start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "counter"))
	all, err := actors.ListParked(within(t), j, "counter")
	if err != nil || len(all) != 1 {
		t.Fatalf("parked: %+v, %v", all, err)
	}
	_, err = actors.RetryParked(within(t), j, all[0].ID)
	must(t, err)
	place(t, sys, "o2")
	settle(t, sys)
	stopOK(t, sys)
	sys = start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "counter"))
	place(t, sys, "o3")
	settle(t, sys)
	got := notes(t, j, "counter")
	for i, n := range got {
		if want := fmt.Sprintf("%d before", i); n[:len(want)] != want {
			t.Errorf("note %d is %q", i, n)
		}
	}
	if len(got) != 4 {
		t.Errorf("notes are %v", got)
	}
}

// Whatever is done, and wherever a stream is picked up, an actor with snapshots
// comes to the same as one without.
func TestSnapshotsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
		if err != nil {
			t.Fatal(err)
		}
		stock := newStock(nil)
		stock.Snapshots = actors.Snapshots[Stock]{
			Version: 1, Every: uint64(rapid.IntRange(0, 5).Draw(t, "every")), AtRest: rapid.Bool().Draw(t, "at rest"),
			If: func(s Stock) bool { return s.Free%7 == 3 },
		}
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		for range rapid.IntRange(1, 4).Draw(t, "lives") {
			sys, err := actors.Start(j, actors.NewRegistry(stock), quick(2))
			if err != nil {
				t.Fatal(err)
			}
			ref, err := stock.Spawn(sys, "apples")
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 12).Draw(t, "commands") {
				switch n := rapid.IntRange(0, 9).Draw(t, "n"); {
				case n == 0:
					err = sys.StopActor(ctx, "apples")
				case n == 1:
					var d events.Draft
					if d, err = stockEvents.Encode(Added{2}); err == nil {
						_, err = sys.Publish(ctx, "apples", d)
					}
				case n < 5:
					_, err = ref.Ask(ctx, Add{n})
				default:
					_, err = ref.Ask(ctx, Reserve{fmt.Sprint("o", n%3), n - 4})
					if _, short := errors.AsType[*shortage](err); short {
						err = nil
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			got, err := ref.State(ctx)
			if err != nil {
				t.Fatal(err)
			}
			all, err := actors.StateAt(ctx, j, actors.NewRegistry(newStock(nil)), "apples", j.Position())
			var want Stock
			if err == nil {
				err = json.Unmarshal(all.State, &want)
			} else if errors.Is(err, journal.ErrNotFound) {
				err = nil
			}
			if err != nil || all.Behaviour == "stock/1" && !sameStock(got, want) {
				t.Errorf("the state is %+v, without snapshots it is %+v (%v)", got, want, err)
			}
			if err := sys.Stop(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSnapshotsThatMakeNoSense(t *testing.T) {
	for _, s := range []actors.Snapshots[Stock]{{Version: 1}, {Every: 3}, {Version: -1, AtRest: true}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was taken", s)
				}
			}()
			actors.NewRegistry(keptStock(s, new(atomic.Int64)))
		}()
	}
	if got := actors.NewRegistry(newStock(nil)).Behaviours(); !slices.Contains(got, "stock/1") {
		t.Errorf("without snapshots: %v", got)
	}
}
