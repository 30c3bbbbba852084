package actors

import (
	"log/slog"
	"sync"
)

// calls does one thing after the other, in order, on a goroutine that exists
// only while there is something to do. What is called may be a program's own:
// if it panics or ends the goroutine, the next is called all the same.
type calls struct {
	sys *System      // waits for it before it is stopped; nil if it need not
	log *slog.Logger // of panics; nil if nothing of a program's is called

	mu      sync.Mutex
	queue   []func()
	running bool
}

func (q *calls) put(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, f)
	if !q.running {
		q.running = true
		q.start()
	}
}

func (q *calls) start() {
	if q.sys != nil {
		q.sys.spin(q.run)
	} else {
		go q.run()
	}
}

func (q *calls) run() {
	done := false
	defer func() {
		if !done {
			q.start()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.queue, q.running, done = nil, false, true
			q.mu.Unlock()
			return
		}
		f := q.queue[0]
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.mu.Unlock()
		if q.log != nil {
			safely(q.log, f)
		} else {
			f()
		}
	}
}

// safely keeps a program's panic from whoever calls it.
func safely(log *slog.Logger, f func()) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a callback panicked", "panic", p)
		}
	}()
	f()
}
