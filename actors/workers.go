package actors

import "sync"

// workers deliver. A goroutine that has nothing to deliver waits for a while
// for something, since a new one would have to grow its stack again.
type workers struct {
	// dispatch, if it is not nil, is given every turn instead, and each is of
	// one message.
	dispatch func(actor string, turn func())

	mu   sync.Mutex
	idle []*worker
	over bool
}

type worker struct{ next chan *mailbox }

// maxIdle bounds how many goroutines wait for work.
const maxIdle = 256

func (w *workers) start(b *mailbox) {
	if w.dispatch != nil {
		w.dispatch(b.owner.(interface{ id() string }).id(), func() {
			if b.run(&scratch{}) {
				w.start(b)
			}
		})
		return
	}
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		k := w.idle[n-1]
		w.idle[n-1] = nil
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		k.next <- b
		return
	}
	w.mu.Unlock()
	go w.work(b)
}

func (w *workers) work(b *mailbox) {
	k := &worker{next: make(chan *mailbox, 1)}
	sc := &scratch{}
	for b != nil {
		b.run(sc)
		b = nil
		w.mu.Lock()
		if w.over || len(w.idle) >= maxIdle {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, k)
		w.mu.Unlock()
		b = <-k.next
	}
}

// stop lets the goroutines that wait go. What is started later has one that
// does not wait.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, k := range w.idle {
		k.next <- nil
	}
	w.idle = nil
}
