package cluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/kernel"
)

// layered makes each of the strategies of two phases, small enough that a short
// stream crosses every seam.
var layered = map[string]func(dim int) intent.Strategy{
	"two-phase": func(dim int) intent.Strategy { return cluster.NewTwoPhase(cluster.Layered{Dimension: dim, Parts: 64}) },
	"strict":    func(dim int) intent.Strategy { return cluster.NewStrict(cluster.Layered{Dimension: dim, Parts: 64}) },
	"calibrated": func(dim int) intent.Strategy {
		return cluster.NewCalibrated(cluster.Layered{Dimension: dim, Parts: 64})
	},
	"budgeted": func(dim int) intent.Strategy { return cluster.NewBudgeted(5, cluster.Layered{Dimension: dim}) },
}

// history is what a strategy said, with what it did on its own.
func history(s intent.Strategy, first int, stream []intent.Vector) (as []intent.Assignment, changes []intent.Change) {
	for i, v := range stream {
		as = append(as, s.Assign(arrival(first+i, v)))
		changes = append(changes, s.(intent.Changer).Changes()...)
	}
	return as, changes
}

func drawStream(t *rapid.T, most int) (dim int, stream []intent.Vector) {
	s := shapes[rapid.IntRange(0, len(shapes)-1).Draw(t, "shape")]
	dim = s.dims[0]
	if s.name == "topics" {
		dim = rapid.SampledFrom([]int{2, 24, 64}).Draw(t, "dim")
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	return dim, s.make(r, dim, rapid.IntRange(1, most).Draw(t, "arrivals"))
}

// The same arrivals give the same answers, changes and snapshots, with the
// kernels in assembly and without, from the start and from any snapshot.
func TestLayersAreRepeatable(t *testing.T) {
	defer kernel.Pure(kernel.Pure(false))
	for name, make := range layered {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				dim, stream := drawStream(t, 400)
				cut := rapid.IntRange(0, len(stream)).Draw(t, "cut")
				kernel.Pure(false)
				full := make(dim)
				want, changed := history(full, 1, stream)

				kernel.Pure(true)
				before, after := make(dim), make(dim)
				as, changes := history(before, 1, stream[:cut])
				history(after, 1, stream[:rapid.IntRange(0, cut).Draw(t, "known")])
				if err := after.Restore(before.Snapshot()); err != nil {
					t.Fatal(err)
				}
				tail, more := history(after, cut+1, stream[cut:])
				if got := append(as, tail...); !slices.Equal(got, want) {
					t.Fatal("other answers")
				}
				if !slices.Equal(append(changes, more...), changed) {
					t.Fatal("other changes")
				}
				if !bytes.Equal(after.Snapshot(), full.Snapshot()) {
					t.Fatal("another snapshot at the end")
				}
			})
		})
	}
}

// What the changes say agrees with what the strategy says, at every step.
func TestChangesTellAll(t *testing.T) {
	for name, make := range layered {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				dim, stream := drawStream(t, 300)
				s := make(dim)
				var aliases intent.Aliases
				alive := map[events.ID]bool{}
				of := []events.ID{}
				for i, v := range stream {
					a := s.Assign(arrival(i+1, v))
					for _, c := range s.(intent.Changer).Changes() {
						aliases.Apply(c)
						switch c.Kind {
						case intent.Created, intent.Split:
							if alive[c.Intent] {
								t.Fatalf("arrival %d: %v is new twice", i, c.Intent)
							}
							alive[c.Intent] = true
						case intent.Merged, intent.Retired:
							if !alive[c.Intent] {
								t.Fatalf("arrival %d: %v ends and was not there", i, c.Intent)
							}
							delete(alive, c.Intent)
						}
					}
					of = append(of, a.Of())
					listed := s.(intent.Lister).Intents()
					if len(alive) != s.Count() || len(listed) != s.Count() {
						t.Fatalf("arrival %d: %d intents by the changes, %d counted, %d listed", i, len(alive), s.Count(), len(listed))
					}
					members := uint64(0)
					sizes := map[events.ID]uint64{}
					for _, id := range of {
						sizes[aliases.Resolve(id)]++
					}
					for _, info := range listed {
						members += info.Members
						if !alive[info.ID] {
							t.Fatalf("arrival %d: %v is listed and not alive", i, info.ID)
						}
						if sizes[info.ID] != info.Members {
							t.Fatalf("arrival %d: %v has %d members, %d events resolve to it", i, info.ID, info.Members, sizes[info.ID])
						}
					}
					if members != uint64(i+1) {
						t.Fatalf("arrival %d: %d members", i, members)
					}
				}
			})
		})
	}
}

// topics makes streams of unrelated directions with noise.
type topics struct {
	r       *rand.Rand
	dim     int
	centres [][]float32
}

func newTopics(seed uint64, dim, n int) *topics {
	t := &topics{r: rand.New(rand.NewPCG(seed, 1)), dim: dim}
	for range n {
		t.centres = append(t.centres, gaussian(t.r, dim))
	}
	return t
}

func (t *topics) next(topic int, noise float32) intent.Vector {
	x := gaussian(t.r, t.dim)
	for j, c := range t.centres[topic] {
		x[j] = c + noise*x[j]
	}
	return quantize(x)
}

// Merging must not chain everything into one, however unequal and noisy topics
// are, and however many come.
func TestMergeNeverChains(t *testing.T) {
	const n, events_ = 20, 3000
	ts := newTopics(1, 96, n)
	s := cluster.NewTwoPhase(cluster.Layered{Dimension: 96, Parts: 256})
	var aliases intent.Aliases
	var of []events.ID
	var topic []int
	for i := range events_ {
		// Topic 0 has every second event, the others ever fewer.
		k := min(n-1, int(ts.r.ExpFloat64()*4))
		if i%2 == 0 {
			k = 0
		}
		a := s.Assign(arrival(i+1, ts.next(k, 0.9)))
		for _, c := range s.(intent.Changer).Changes() {
			aliases.Apply(c)
		}
		of, topic = append(of, a.Of()), append(topic, k)
	}
	together, same, wrong := map[[2]any]int{}, 0, 0
	most := map[events.ID]int{}
	for i := range of {
		together[[2]any{aliases.Resolve(of[i]), topic[i]}]++
	}
	for k, c := range together {
		most[k[0].(events.ID)] = max(most[k[0].(events.ID)], c)
	}
	for _, c := range most {
		same += c
	}
	wrong = events_ - same
	if wrong > events_/20 || s.Count() > 2*n {
		t.Errorf("%d of %d events lie with another topic; %d intents for %d topics", wrong, events_, s.Count(), n)
	}
}

// A topic that was never seen is an intent of its own within five events.
func TestDriftIsSeen(t *testing.T) {
	for name, make := range layered {
		ts := newTopics(2, 64, 5)
		s := make(64)
		known := map[events.ID]bool{}
		var aliases intent.Aliases
		see := func(i, topic int) events.ID {
			a := s.Assign(arrival(i, ts.next(topic, 0.5)))
			for _, c := range s.(intent.Changer).Changes() {
				aliases.Apply(c)
			}
			return a.Of()
		}
		for i := range 600 {
			known[see(i+1, i%4)] = true
		}
		before := map[events.ID]bool{}
		for id := range known {
			before[aliases.Resolve(id)] = true
		}
		var last events.ID
		for i := range 5 {
			last = see(601+i, 4)
		}
		if id := aliases.Resolve(last); before[id] {
			t.Errorf("%s: the fifth event of a new topic lies in %v, which was there before", name, id)
		}
	}
}

// What does not come any more fades, by arrivals and by no clock.
// Topics that come in turn: after the first round each is a single event, which says
// little of which belong together. What comes later says it, though every part that
// there will be is there by then.
func TestManyTopicsInTurn(t *testing.T) {
	const topics = 40
	for name, make := range layered {
		ts := newTopics(6, 768, topics)
		s := make(768)
		var aliases intent.Aliases
		of := map[int]events.ID{}
		for i := range 16 * topics {
			a := s.Assign(arrival(i+1, ts.next(i%topics, 0.25)))
			for _, c := range s.(intent.Changer).Changes() {
				aliases.Apply(c)
			}
			if i >= 15*topics {
				of[i%topics] = a.Of()
			}
		}
		all := map[events.ID]bool{}
		for _, id := range of {
			all[aliases.Resolve(id)] = true
		}
		want := topics
		if name == "budgeted" {
			want = min(want, s.Count())
		}
		if len(all) != want {
			t.Errorf("%s: %d topics that are far from each other are in %d intents", name, topics, len(all))
		}
	}
}

func TestStaleIntentsRetire(t *testing.T) {
	ts := newTopics(3, 16, 3)
	s := cluster.NewTwoPhase(cluster.Layered{Dimension: 16, Parts: 64})
	retired := 0
	var aliases intent.Aliases
	var old events.ID
	for i := range 8 << 15 {
		topic := i % 2
		if i < 4 {
			topic = 2
		}
		a := s.Assign(arrival(i+1, ts.next(topic, 0.05)))
		for _, c := range s.(intent.Changer).Changes() {
			aliases.Apply(c)
			if c.Kind == intent.Retired && c.Intent == aliases.Resolve(old) {
				retired++
			}
		}
		if i == 3 {
			old = a.Of()
		}
	}
	if retired != 1 || s.Count() != 2 {
		t.Errorf("the stale intent retired %d times; %d intents are left", retired, s.Count())
	}
}

func TestBudgetHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	s := cluster.NewBudgeted(5, cluster.Layered{Dimension: 32})
	for i := range 2000 {
		s.Assign(arrival(i+1, quantize(gaussian(r, 32))))
		if s.Count() > 5 {
			t.Fatalf("arrival %d: %d intents", i+1, s.Count())
		}
	}
	if n := len(s.Snapshot()); n > 64*(32*5+100)+5*200+500 {
		t.Errorf("a snapshot of %d bytes", n)
	}
}

func TestLayersExplain(t *testing.T) {
	ts := newTopics(5, 64, 3)
	for name, make := range layered {
		s := make(64)
		for i := range 200 {
			s.Assign(arrival(i+1, ts.next(i%3, 0.4)))
			s.(intent.Changer).Changes()
		}
		before := s.Snapshot()
		v := ts.next(1, 0.4)
		e := s.(intent.Explainer).Explain(v, 4)
		if len(e.Nearest) != 4 || e.Threshold <= 0 || e.Threshold > 1 {
			t.Fatalf("%s: %+v", name, e)
		}
		for i := range 3 {
			if e.Nearest[i].Similarity < e.Nearest[i+1].Similarity {
				t.Errorf("%s: not in order: %+v", name, e.Nearest)
			}
		}
		if !bytes.Equal(s.Snapshot(), before) {
			t.Errorf("%s: explaining changed the state", name)
		}
		a := s.Assign(arrival(201, v))
		if !a.Created && a.Similarity < 1 && a.Part == e.Nearest[0].Part && a.Similarity != e.Nearest[0].Similarity {
			t.Errorf("%s: joined %v at %v, explained as %+v", name, a.Part, a.Similarity, e.Nearest[0])
		}
	}
}

func TestLayersRestoreRefuses(t *testing.T) {
	ts := newTopics(6, 16, 3)
	for name, make := range layered {
		s := make(16)
		for i := range 150 {
			s.Assign(arrival(i+1, ts.next(i%3, 0.6)))
		}
		good := s.Snapshot()
		fresh := make(16)
		empty := fresh.Snapshot()
		r := rand.New(rand.NewPCG(7, 7))
		for i := range 300 {
			bad := bytes.Clone(good)
			switch {
			case i < 20:
				bad = bad[:r.IntN(len(bad))]
			default: // anything, under a digest that fits
				body := bad[:len(bad)-32]
				body[16+r.IntN(len(body)-16)] ^= 1 << r.IntN(8)
				bad = sealed(body)
			}
			if err := fresh.Restore(bad); err == nil {
				// Some bits are just another state; it has to be a whole one.
				if !bytes.Equal(fresh.Snapshot(), bad) {
					t.Fatalf("%s: restored to something else", name)
				}
				if err := fresh.Restore(empty); err != nil {
					t.Fatal(err)
				}
			} else if !strings.HasPrefix(err.Error(), "cluster: ") {
				t.Errorf("%s: %v", name, err)
			} else if !bytes.Equal(fresh.Snapshot(), empty) {
				t.Fatalf("%s: a refused snapshot changed the state", name)
			}
		}
		for other, make := range layered {
			if err := make(16).Restore(good); (err == nil) != (other == name) {
				t.Errorf("%s restored from %s: %v", other, name, err)
			}
		}
		if err := make(24).Restore(good); err == nil {
			t.Errorf("%s: restored from another dimension", name)
		}
	}
}

func TestLayeredMisusePanics(t *testing.T) {
	for name, f := range map[string]func(){
		"dimension":   func() { cluster.NewTwoPhase(cluster.Layered{Dimension: -1}) },
		"parts":       func() { cluster.NewStrict(cluster.Layered{Parts: 63}) },
		"many parts":  func() { cluster.NewCalibrated(cluster.Layered{Parts: 8193}) },
		"no intents":  func() { cluster.NewBudgeted(1, cluster.Layered{}) },
		"bad arrival": func() { layered["two-phase"](3).Assign(intent.Arrival{Vector: intent.Vector{1, 2, 3}}) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "cluster: ") {
					t.Errorf("%s: panic %q", name, text)
				}
			}()
			f()
		}()
	}
}
