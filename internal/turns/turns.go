// Package turns runs the turns of a system's actors, and what waits for a time, one
// after the other, in an order that a seed decides. The testing kit's World and
// that of the simulations stand on it.
package turns

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Clock is the name under which Step reports that it was not an actor's turn but
// somebody's time.
const Clock = "$clock"

// Queue holds what can be run. It is used by one goroutine of a testing/synctest
// bubble; only Dispatch and AfterFunc, which are for actors.Options, may be called
// by any.
type Queue struct {
	// Delay, if it is not nil, is asked before each turn of an actor: one that is
	// to wait is put off for as long.
	Delay func(actor string) time.Duration

	rest func()
	rng  *rand.Rand

	mu     sync.Mutex
	ready  []turn
	timers timers
	count  uint64        // of timers
	wake   chan struct{} // holds something if a turn has become ready
}

// turn is one that can be run.
type turn struct {
	actor string
	run   func()
	late  bool // it was put off
}

// New returns an empty Queue. rest has to wait until everything else in the bubble
// has come to rest: synctest.Wait.
func New(seed uint64, rest func()) *Queue {
	return &Queue{rest: rest, rng: rand.New(rand.NewPCG(seed, 0)), wake: make(chan struct{}, 1)}
}

// Next returns an empty Queue that goes on with the same random numbers, for a
// system that takes the place of one that crashed.
func (q *Queue) Next() *Queue {
	return &Queue{Delay: q.Delay, rest: q.rest, rng: q.rng, wake: make(chan struct{}, 1)}
}

// Dispatch takes a turn that is to be run.
func (q *Queue) Dispatch(actor string, run func()) { q.add(turn{actor: actor, run: run}) }

func (q *Queue) add(t turn) {
	q.mu.Lock()
	q.ready = append(q.ready, t)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// AfterFunc has f called when d has passed, unless what it returns is called
// before, and Step comes to it.
func (q *Queue) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count++
	t := &timer{due: time.Now().Add(max(d, 0)), number: q.count, f: f}
	heap.Push(&q.timers, t)
	return func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		if t.index < 0 {
			return false
		}
		heap.Remove(&q.timers, t.index)
		return true
	}
}

// Step runs one turn, or calls what waited for a time that has come, and returns
// whose it was, or false if there is nothing to run. It returns when all that it
// set off has come to rest.
func (q *Queue) Step() (who string, ok bool) {
	q.rest()
	for {
		t, ok := q.draw()
		if !ok {
			return "", false
		}
		if !t.late && t.actor != Clock && q.Delay != nil {
			if d := q.Delay(t.actor); d > 0 {
				q.AfterFunc(d, func() { t.late = true; q.add(t) })
				continue
			}
		}
		go t.run() // a handler may end its goroutine, or wait
		q.rest()
		return t.actor, true
	}
}

// draw takes out what is run next.
func (q *Queue) draw() (turn, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.ready)
	if len(q.timers) > 0 && !q.timers[0].due.After(time.Now()) {
		n++
	}
	if n == 0 {
		return turn{}, false
	}
	i := q.rng.IntN(n)
	if i == len(q.ready) {
		t := heap.Pop(&q.timers).(*timer)
		return turn{actor: Clock, run: t.f}, true
	}
	// In what order they became ready is not decided here; that each actor has
	// one turn at a time is the system's promise.
	slices.SortStableFunc(q.ready, func(a, b turn) int { return cmp.Compare(a.actor, b.actor) })
	t := q.ready[i]
	q.ready = slices.Delete(q.ready, i, i+1)
	return t, true
}

// Idle lets time pass, where there is nothing to run: until something is due or
// becomes ready, done is closed, or the end has come.
func (q *Queue) Idle(done <-chan struct{}, end time.Time) {
	q.mu.Lock()
	if len(q.ready) > 0 {
		q.mu.Unlock()
		return
	}
	select {
	case <-q.wake: // of a turn that was run meanwhile
	default:
	}
	if len(q.timers) > 0 && q.timers[0].due.Before(end) {
		end = q.timers[0].due
	}
	q.mu.Unlock()
	t := time.NewTimer(time.Until(end))
	defer t.Stop()
	select {
	case <-done:
	case <-q.wake:
	case <-t.C:
	}
}

// timer is somebody who waits for a time.
type timer struct {
	due    time.Time
	number uint64
	f      func()
	index  int // in the heap, negative when it is not there
}

// timers is a heap: what is due first, and then what came first.
type timers []*timer

func (h timers) Len() int { return len(h) }
func (h timers) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	t := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	t.index = -1
	return t
}
