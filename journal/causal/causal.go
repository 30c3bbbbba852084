package causal

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/tokaworks/toka/journal"
)

// step gives the neighbours of a position, all on one side of it.
type step func(ctx context.Context, position uint64) ([]uint64, error)

// Ancestors yields the positions of all events that led to the given ones, the
// newest first and without those themselves. hops bounds how many links away
// they may be; 0 is no bound. Of several ways to an ancestor the shortest
// counts.
func Ancestors(ctx context.Context, j *journal.Journal, hops int, of ...uint64) iter.Seq2[uint64, error] {
	return ask(hops, func(yield func(uint64, error) bool) {
		walk(ctx, j.Links().Parents, &queue{}, hops, of, yield)
	})
}

// Descendants yields the positions of all events that the given ones led to,
// the oldest first and without those themselves; hops is as for Ancestors.
func Descendants(ctx context.Context, j *journal.Journal, hops int, of ...uint64) iter.Seq2[uint64, error] {
	return ask(hops, func(yield func(uint64, error) bool) {
		walk(ctx, j.Links().Children, &queue{up: true}, hops, of, yield)
	})
}

// Cone yields the positions of the given events and of all their ancestors and
// descendants, the oldest first; hops is as for Ancestors. It begins to yield
// when it knows them all.
func Cone(ctx context.Context, j *journal.Journal, hops int, of ...uint64) iter.Seq2[uint64, error] {
	return ask(hops, func(yield func(uint64, error) bool) {
		l, found := j.Links(), set{}
		for _, way := range []struct {
			next step
			q    queue
		}{{l.Parents, queue{}}, {l.Children, queue{up: true}}} {
			if !walk(ctx, way.next, &way.q, hops, of, gather(found, yield)) {
				return
			}
		}
		for _, p := range of {
			found.add(p)
		}
		emit(ctx, found, yield)
	})
}

// Between yields the positions of the events that are both descendants of a
// and ancestors of b, the oldest first: every way from a to b. There are none
// unless a is an ancestor of b.
func Between(ctx context.Context, j *journal.Journal, a, b uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		l := j.Links()
		if _, err := l.Parents(ctx, a); err != nil {
			yield(0, err)
			return
		}
		// The ancestors of b that could be descendants of a: no cause is
		// younger than its effect.
		after := func(ctx context.Context, position uint64) ([]uint64, error) {
			parents, err := l.Parents(ctx, position)
			for len(parents) > 0 && parents[0] <= a {
				parents = parents[1:]
			}
			return parents, err
		}
		candidates, reached := set{}, set{}
		if !walk(ctx, after, &queue{}, 0, []uint64{b}, gather(candidates, yield)) {
			return
		}
		reached.add(a)
		n := 0
		for p := range candidates.up() {
			parents, err := l.Parents(ctx, p)
			if err == nil {
				err = poll(ctx, &n)
			}
			if err != nil {
				yield(0, err)
				return
			}
			for _, parent := range parents {
				if reached.has(parent) {
					reached.add(p)
					if !yield(p, nil) {
						return
					}
					break
				}
			}
		}
	}
}

// What Common notes of an event that waits.
const (
	leadsToA = 1 << iota
	leadsToB
	leadsToCommon // it is an ancestor of a common ancestor, so not a nearest one
)

// Common returns the positions of the nearest common ancestors of a and b,
// ascending: those common ancestors that are not ancestors of another one.
// Here an event counts as an ancestor of itself.
func Common(ctx context.Context, j *journal.Journal, a, b uint64) ([]uint64, error) {
	l := j.Links()
	var found []uint64
	q := &queue{merge: func(old, new uint32) uint32 { return old | new }}
	open := 0 // how many wait that may still be, or lead to, a nearest one
	add := func(position uint64, note uint32) {
		if old, waits := q.note(position); waits && old&leadsToCommon == 0 {
			open--
		}
		q.add(position, note)
		if now, _ := q.note(position); now&leadsToCommon == 0 {
			open++
		}
	}
	for _, given := range [...]struct {
		position uint64
		note     uint32
	}{{a, leadsToA}, {b, leadsToB}} {
		if _, err := l.Parents(ctx, given.position); err != nil {
			return nil, err
		}
		add(given.position, given.note)
	}
	for n := 0; open > 0; {
		// All effects of this event that lead to a or b were visited: their
		// positions are greater. So its note is complete.
		position, note := q.take()
		if note&leadsToCommon == 0 {
			open--
			if note == leadsToA|leadsToB {
				found = append(found, position)
				note |= leadsToCommon
			}
		}
		parents, err := l.Parents(ctx, position)
		if err == nil {
			err = poll(ctx, &n)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range parents {
			add(p, note)
		}
	}
	slices.Reverse(found)
	return found, nil
}

// Heads yields the positions of the events up to the position at that led to
// no other of them, the newest first; at 0 means the end of the journal. It
// reads the links of all events from there down to where its consumer stops.
func Heads(ctx context.Context, j *journal.Journal, at uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		l := j.Links()
		if at == 0 {
			at = l.End()
		}
		causes := set{}
		n := 0
		for p := at; p > 0; p-- {
			parents, err := l.Parents(ctx, p)
			if err == nil {
				err = poll(ctx, &n)
			}
			if err != nil {
				yield(0, err)
				return
			}
			for _, parent := range parents {
				causes.add(parent)
			}
			if !causes.has(p) && !yield(p, nil) {
				return
			}
			if p%blockBits == 0 {
				delete(causes, p/blockBits)
			}
		}
	}
}

// Since yields the positions of all events that the given ones have not seen,
// the oldest first: those that are neither among them nor their ancestors. The
// given events stand for a cut of the history; the whole journal comes after
// the empty one.
func Since(ctx context.Context, j *journal.Journal, cut ...uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		l, seen := j.Links(), set{}
		if !walk(ctx, l.Parents, &queue{}, 0, cut, gather(seen, yield)) {
			return
		}
		for _, p := range cut {
			seen.add(p)
		}
		n := 0
		for p := uint64(1); p <= l.End(); p++ {
			if err := poll(ctx, &n); err != nil {
				yield(0, err)
				return
			}
			if !seen.has(p) && !yield(p, nil) {
				return
			}
		}
	}
}

// ask refuses what is no question.
func ask(hops int, seq iter.Seq2[uint64, error]) iter.Seq2[uint64, error] {
	if hops < 0 {
		panic(fmt.Sprintf("causal: %d hops", hops))
	}
	return seq
}

// walk yields what next leads to from the given positions, in the order of q
// and without those themselves. It returns whether it came to the end.
func walk(ctx context.Context, next step, q *queue, hops int, of []uint64, yield func(uint64, error) bool) bool {
	if hops > 0 {
		q.merge = func(old, new uint32) uint32 { return min(old, new) }
	}
	asked := set{}
	for _, p := range of {
		if _, err := next(ctx, p); err != nil {
			yield(0, err)
			return false
		}
		asked.add(p)
		q.add(p, 0)
	}
	for n := 0; ; {
		p, far := q.take()
		if p == 0 {
			return true
		}
		if err := poll(ctx, &n); err != nil {
			yield(0, err)
			return false
		}
		if !asked.has(p) && !yield(p, nil) {
			return false
		}
		// Whatever leads to p on a shorter way was visited before, because
		// all ways go the same direction: far is final.
		if hops > 0 && uint64(far) >= uint64(hops) {
			continue
		}
		neighbours, err := next(ctx, p)
		if err != nil {
			yield(0, err)
			return false
		}
		for _, to := range neighbours {
			q.add(to, far+1)
		}
	}
}

// gather adds positions to a set and hands errors on.
func gather(s set, yield func(uint64, error) bool) func(uint64, error) bool {
	return func(p uint64, err error) bool {
		if err != nil {
			return yield(0, err)
		}
		s.add(p)
		return true
	}
}

func emit(ctx context.Context, s set, yield func(uint64, error) bool) {
	n := 0
	for p := range s.up() {
		if err := poll(ctx, &n); err != nil {
			yield(0, err)
			return
		}
		if !yield(p, nil) {
			return
		}
	}
}

// poll looks at the context now and then; n counts the calls.
func poll(ctx context.Context, n *int) error {
	if *n++; *n%1024 == 1 && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
