package server

import (
	"context"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
)

// Bounds of what the hub keeps; of each byte of a frame there may be three, with
// the event and its other form.
const (
	hubEvents = 8192
	hubBytes  = 8 << 20
)

// hub follows the journal once for all readers at its end: each event is read
// and encoded one time, and readers take it from memory. It keeps the newest
// events only; who is further behind reads from the journal by himself. It
// follows while somebody reads.
type hub struct {
	mu      sync.Mutex
	readers int
	stop    context.CancelFunc // of the pump; nil while there is none
	entries []*entry           // dense in position, oldest first
	bytes   int
	end     uint64 // position of the newest entry, or where the pump began
	changed chan struct{}
	err     error // why the pump ended

	asRecord func(*events.Event) []byte // set once
}

type entry struct {
	event  events.Event
	frame  []byte
	record func() []byte // the same as a record, made when the first reader wants it
}

// join counts a reader in and starts the pump for the first one.
func (h *hub) join(j *journal.Journal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers++
	if h.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.err = cancel, nil
	h.entries, h.bytes, h.end = nil, 0, j.Position()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	go h.pump(ctx, j, h.end)
}

// leave counts a reader out and ends the pump after the last one.
func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers--; h.readers == 0 {
		h.stop()
		h.stop = nil
	}
}

// pump takes events from the journal. Readers are woken less often the more
// there are: waking each of a thousand for each of a thousand events a second
// is more than a machine can do, and each takes all there is when it wakes.
func (h *hub) pump(ctx context.Context, j *journal.Journal, from uint64) {
	var last time.Time
	pending := false
	for e, err := range j.Subscribe(ctx, journal.Query{After: from}) {
		h.mu.Lock()
		if ctx.Err() != nil { // somebody else's pump may run by now
			h.mu.Unlock()
			return
		}
		if err != nil {
			h.err = err
			h.wake()
			h.mu.Unlock()
			return
		}
		frame := appendFrame(nil, &e)
		h.entries = append(h.entries, &entry{e, frame, sync.OnceValue(func() []byte { return h.asRecord(&e) })})
		h.bytes += len(frame)
		h.end = e.Position
		for len(h.entries) > hubEvents || h.bytes > hubBytes {
			h.bytes -= len(h.entries[0].frame)
			h.entries = h.entries[1:]
		}
		every := h.interval()
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			h.wake()
		} else if !pending {
			pending = true
			time.AfterFunc(every-now.Sub(last), func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				pending, last = false, time.Now()
				h.wake()
			})
		}
		h.mu.Unlock()
	}
}

// interval is how often readers are woken; h.mu is held.
func (h *hub) interval() time.Duration {
	return min(time.Duration(h.readers)*20*time.Microsecond, 20*time.Millisecond)
}

// wake wakes all readers; h.mu is held.
func (h *hub) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// batch is what a reader takes at a time.
type batch struct {
	frames [][]byte
	next   uint64          // how far it came
	behind bool            // the reader is behind what the hub has
	moved  <-chan struct{} // closed when there is more than this
	err    error
}

// after appends to frames what stands after a position and f selects, at most
// so many unless most is 0.
func (h *hub) after(position uint64, f *selection, most int, frames [][]byte) batch {
	h.mu.Lock()
	b := batch{frames: frames, next: position, moved: h.changed, err: h.err}
	first := h.end - uint64(len(h.entries)) // position before the oldest entry
	if position < first {
		b.behind = true
		h.mu.Unlock()
		return b
	}
	var entries []*entry
	if position < h.end {
		entries = h.entries[position-first:]
	}
	h.mu.Unlock()
	// What is in the slice does not change any more: the pump appends behind it
	// and cuts off before it, in a new array when this one is used up.
	size := 0
	for _, e := range entries {
		b.next = e.event.Position
		if f.matches(&e.event) {
			frame := e.frame
			if f.records {
				frame = e.record()
			}
			b.frames = append(b.frames, frame)
			size += len(frame)
		}
		if size >= maxChunk || most > 0 && len(b.frames) == most {
			break
		}
	}
	return b
}

// maxChunk bounds what is written to a reader before it is flushed.
const maxChunk = 64 << 10

// appendFrame encodes an event for a stream. Events have no name of their own,
// so that a browser's onmessage gets them all.
func appendFrame(dst []byte, e *events.Event) []byte {
	dst = append(append(dst, "id: "...), cursor(e)...)
	dst = append(dst, "\ndata: "...)
	dst = cloudevents.Append(dst, *e)
	return append(dst, "\n\n"...)
}
