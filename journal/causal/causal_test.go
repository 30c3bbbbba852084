package causal_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
)

func memory(t rapid.TB) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := t.(interface{ Cleanup(func()) }); ok {
		c.Cleanup(func() { _ = j.Close() })
	}
	return j
}

// grow appends one event for each list of parents' positions, in one write.
func grow(t rapid.TB, j *journal.Journal, parents ...[]uint64) {
	t.Helper()
	base := j.Position()
	ids := make([]events.ID, len(parents))
	var w journal.Write
	for i, ps := range parents {
		ids[i] = journal.NewID()
		d := events.Draft{ID: ids[i], Stream: "s", Kind: "test.happened"}
		for _, p := range ps {
			if p > base {
				d.Parents = append(d.Parents, events.Ref{ID: ids[p-base-1]})
				continue
			}
			e, err := j.At(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			d.Parents = append(d.Parents, e.Ref())
		}
		w.Events = append(w.Events, d)
	}
	if _, err := j.Append(context.Background(), w); err != nil {
		t.Fatal(err)
	}
}

func collect(t rapid.TB, seq iter.Seq2[uint64, error]) (out []uint64) {
	t.Helper()
	for p, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// model is a graph whose answers are found by asking the definitions of every
// event. hops[a][b] is how many links lead from a to its effect b, 0 for none.
type model struct {
	parents [][]uint64
	hops    [][]int
}

func newModel(parents [][]uint64) *model {
	n := len(parents)
	m := &model{parents, make([][]int, n+1)}
	for a := range m.hops {
		m.hops[a] = make([]int, n+1)
	}
	for b := 1; b <= n; b++ {
		for a := 1; a < b; a++ {
			for _, p := range parents[b-1] {
				far := 0
				if p == uint64(a) {
					far = 1
				} else if m.hops[a][p] > 0 {
					far = m.hops[a][p] + 1
				}
				if far > 0 && (m.hops[a][b] == 0 || far < m.hops[a][b]) {
					m.hops[a][b] = far
				}
			}
		}
	}
	return m
}

func (m *model) leads(a, b uint64) bool { return a == b || m.hops[a][b] > 0 }

// where lists the positions that f says yes to, ascending.
func (m *model) where(f func(p uint64) bool) (out []uint64) {
	for p := uint64(1); p <= uint64(len(m.parents)); p++ {
		if f(p) {
			out = append(out, p)
		}
	}
	return out
}

func down(ps []uint64) []uint64 {
	ps = slices.Clone(ps)
	slices.Reverse(ps)
	return ps
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := memory(rt)
		parents := make([][]uint64, rapid.IntRange(1, 40).Draw(rt, "events"))
		wide := rapid.IntRange(1, 40).Draw(rt, "how far back links go")
		for i := range parents {
			if i > 0 {
				parents[i] = rapid.SliceOfNDistinct(rapid.Uint64Range(uint64(max(1, i-wide+1)), uint64(i)), 0, min(i, 4, wide), rapid.ID[uint64]).Draw(rt, "parents")
			}
		}
		grow(rt, j, parents...)
		m := newModel(parents)
		n := uint64(len(parents))
		position := rapid.Uint64Range(1, n)
		a, b := position.Draw(rt, "a"), position.Draw(rt, "b")
		of := rapid.SliceOfN(position, 1, 3).Draw(rt, "of")
		hops := rapid.IntRange(0, 4).Draw(rt, "hops")
		ctx := t.Context()
		same := func(what string, got, want []uint64) {
			rt.Helper()
			if !slices.Equal(got, want) {
				rt.Fatalf("%s: %v, want %v", what, got, want)
			}
		}

		near := func(h int) bool { return h > 0 && (hops == 0 || h <= hops) }
		isAncestor := func(p uint64) bool {
			return slices.ContainsFunc(of, func(o uint64) bool { return near(m.hops[p][o]) })
		}
		isDescendant := func(p uint64) bool {
			return slices.ContainsFunc(of, func(o uint64) bool { return near(m.hops[o][p]) })
		}
		asked := func(p uint64) bool { return slices.Contains(of, p) }
		same("ancestors", collect(rt, causal.Ancestors(ctx, j, hops, of...)),
			down(m.where(func(p uint64) bool { return isAncestor(p) && !asked(p) })))
		same("descendants", collect(rt, causal.Descendants(ctx, j, hops, of...)),
			m.where(func(p uint64) bool { return isDescendant(p) && !asked(p) }))
		same("cone", collect(rt, causal.Cone(ctx, j, hops, of...)),
			m.where(func(p uint64) bool { return isAncestor(p) || isDescendant(p) || asked(p) }))
		same("since", collect(rt, causal.Since(ctx, j, of...)),
			m.where(func(p uint64) bool {
				return !slices.ContainsFunc(of, func(o uint64) bool { return m.leads(p, o) })
			}))
		same("between", collect(rt, causal.Between(ctx, j, a, b)),
			m.where(func(p uint64) bool { return p != a && p != b && m.leads(a, p) && m.leads(p, b) }))
		common := m.where(func(p uint64) bool { return m.leads(p, a) && m.leads(p, b) })
		nearest, err := causal.Common(ctx, j, a, b)
		if err != nil {
			rt.Fatal(err)
		}
		same("common", nearest, slices.DeleteFunc(slices.Clone(common), func(p uint64) bool {
			return slices.ContainsFunc(common, func(c uint64) bool { return m.hops[p][c] > 0 })
		}))
		at := rapid.Uint64Range(0, n).Draw(rt, "at")
		last := at
		if at == 0 {
			last = n
		}
		same("heads", collect(rt, causal.Heads(ctx, j, at)),
			down(m.where(func(p uint64) bool {
				return p <= last && len(m.where(func(c uint64) bool { return c <= last && m.hops[p][c] > 0 })) == 0
			})))
	})
}

func TestAnswersAreOfOneMoment(t *testing.T) {
	j := memory(t)
	grow(t, j, nil, []uint64{1}, []uint64{1})
	ctx := t.Context()
	for name, c := range map[string]struct {
		seq  iter.Seq2[uint64, error]
		want int
	}{
		"descendants": {causal.Descendants(ctx, j, 0, 1), 2},
		"since":       {causal.Since(ctx, j), 3},
	} {
		end, n := j.Position(), 0
		for p, err := range c.seq {
			if err != nil || p > end {
				t.Fatalf("%s: %d, %v", name, p, err)
			}
			n++
			grow(t, j, []uint64{1, p})
		}
		if want := c.want + int(end) - 3; n != want {
			t.Errorf("%s: %d events, want %d", name, n, want)
		}
	}
}

// A long chain with a shortcut for every link, so that there are more ways
// than could ever be walked one by one.
func TestDeepHistory(t *testing.T) {
	j := memory(t)
	const n = 30_000
	parents := make([][]uint64, n)
	for i := range parents {
		for back := 1; back <= min(i, 2); back++ {
			parents[i] = append(parents[i], uint64(i+1-back))
		}
	}
	for part := range slices.Chunk(parents, 1000) {
		grow(t, j, part...)
	}
	ctx := t.Context()
	if got := len(collect(t, causal.Ancestors(ctx, j, 0, n))); got != n-1 {
		t.Errorf("%d ancestors", got)
	}
	if got := len(collect(t, causal.Ancestors(ctx, j, 100, n))); got != 200 {
		t.Errorf("%d ancestors within 100 hops", got)
	}
	if got := len(collect(t, causal.Descendants(ctx, j, 0, 1))); got != n-1 {
		t.Errorf("%d descendants", got)
	}
	if got := len(collect(t, causal.Between(ctx, j, 1, n))); got != n-2 {
		t.Errorf("%d between", got)
	}
	if got := collect(t, causal.Heads(ctx, j, 0)); !slices.Equal(got, []uint64{n}) {
		t.Errorf("heads %v", got)
	}
}

func TestContext(t *testing.T) {
	j := memory(t)
	grow(t, j, nil, []uint64{1}, []uint64{2}, []uint64{3})
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, seq := range map[string]iter.Seq2[uint64, error]{
		"ancestors": causal.Ancestors(ctx, j, 0, 4), "descendants": causal.Descendants(ctx, j, 0, 1),
		"cone": causal.Cone(ctx, j, 0, 2), "between": causal.Between(ctx, j, 1, 4),
		"heads": causal.Heads(ctx, j, 0), "since": causal.Since(ctx, j, 1),
	} {
		n := 0
		for _, err := range seq {
			if n++; n > 1 || !errors.Is(err, why) {
				t.Errorf("%s yields %v", name, err)
			}
		}
		if n != 1 {
			t.Errorf("%s yields nothing", name)
		}
	}
	if _, err := causal.Common(ctx, j, 1, 4); !errors.Is(err, why) {
		t.Errorf("common: %v", err)
	}
}

func TestNoSuchPosition(t *testing.T) {
	j := memory(t)
	grow(t, j, nil, []uint64{1})
	ctx := t.Context()
	for _, p := range []uint64{0, 3} {
		for name, seq := range map[string]iter.Seq2[uint64, error]{
			"ancestors": causal.Ancestors(ctx, j, 0, 1, p), "descendants": causal.Descendants(ctx, j, 2, p),
			"cone": causal.Cone(ctx, j, 0, p), "between a": causal.Between(ctx, j, p, 1),
			"between b": causal.Between(ctx, j, 1, p), "since": causal.Since(ctx, j, p),
		} {
			n := 0
			for _, err := range seq {
				if n++; n > 1 || !errors.Is(err, journal.ErrNotFound) {
					t.Errorf("%s of %d yields %v", name, p, err)
				}
			}
			if n != 1 {
				t.Errorf("%s of %d yields nothing", name, p)
			}
		}
		if _, err := causal.Common(ctx, j, 1, p); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("common of 1 and %d: %v", p, err)
		}
	}
	for p, err := range causal.Heads(ctx, memory(t), 0) {
		t.Errorf("an empty journal has a head: %d (%v)", p, err)
	}
	defer func() {
		if r := recover(); r == nil {
			t.Error("a negative number of hops is taken")
		}
	}()
	causal.Ancestors(ctx, j, -1, 1)
}

// However positions come, a queue holds a block for each 4,096 positions that
// it spans or for each position that waits, whichever is less, and one more:
// the one that it takes from.
func TestMemoryIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		up, notes := rapid.Bool().Draw(rt, "up"), rapid.Bool().Draw(rt, "notes")
		q := causal.NewQueue(up, notes)
		waits := map[uint64]uint32{}
		low, high := uint64(1), uint64(1)<<rapid.IntRange(8, 40).Draw(rt, "bits")
		for range rapid.IntRange(0, 300).Draw(rt, "steps") {
			if low > high {
				break
			}
			if rapid.Bool().Draw(rt, "add") {
				p, note := rapid.Uint64Range(low, high).Draw(rt, "position"), rapid.Uint32Max(9).Draw(rt, "note")
				q.Add(p, note)
				if old, ok := waits[p]; ok {
					note = min(note, old)
				}
				waits[p] = note
			} else {
				want := uint64(0)
				for p := range waits {
					if want == 0 || (p < want) == up {
						want = p
					}
				}
				got, note := q.Take()
				if got != want || notes && note != waits[want] {
					rt.Fatalf("took %d with note %d, want %d with %d", got, note, want, waits[want])
				}
				delete(waits, want)
				if want != 0 && up {
					low = want + 1
				} else if want != 0 {
					high = want - 1
				}
			}
			if most := min(uint64(len(waits)), (high-low)/causal.BlockBits+2) + 1; uint64(q.Blocks()) > most {
				rt.Fatalf("%d blocks for %d positions between %d and %d", q.Blocks(), len(waits), low, high)
			}
		}
	})
}
