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
	hubTurns  = 8
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
	err     error  // why the pump ended

	// Readers are woken in turns, see came.
	turns  [hubTurns]turn
	next   int
	waking bool

	asRecord func(*events.Event) []byte // set once
}

// turn is a part of the readers.
type turn struct {
	readers int
	stale   bool          // more came since they were woken
	changed chan struct{} // closed to wake them
}

type entry struct {
	event  events.Event
	frame  []byte
	record func() []byte // the same as a record, made when the first reader wants it
}

// join counts a reader in and starts the pump for the first one. It returns the
// reader's turn.
func (h *hub) join(j *journal.Journal) *turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers++
	t := &h.turns[0]
	for i := range h.turns {
		if h.turns[i].readers < t.readers {
			t = &h.turns[i]
		}
	}
	t.readers++
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	if h.stop != nil {
		return t
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.err = cancel, nil
	h.entries, h.bytes, h.end = nil, 0, j.Position()
	go h.pump(ctx, j, h.end)
	return t
}

// leave counts a reader out and ends the pump after the last one.
func (h *hub) leave(t *turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.readers--
	if h.readers--; h.readers == 0 {
		h.stop()
		h.stop = nil
	}
}

// pump takes events from the journal.
func (h *hub) pump(ctx context.Context, j *journal.Journal, from uint64) {
	for e, err := range j.Subscribe(ctx, journal.Query{After: from}) {
		h.mu.Lock()
		if ctx.Err() != nil { // somebody else's pump may run by now
			h.mu.Unlock()
			return
		}
		if err != nil {
			h.err = err
			for i := range h.turns {
				h.turns[i].wake()
			}
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
		h.came()
		h.mu.Unlock()
	}
}

// came has readers woken, less often the more there are: waking each of a
// thousand for each of a thousand events a second is more than a machine can do,
// and each takes all there is when it wakes. Many are not woken at once but in
// turns: as long as a thousand are at work, nothing else is, appends neither.
// h.mu is held.
func (h *hub) came() {
	for i := range h.turns {
		h.turns[i].stale = true
	}
	if !h.waking {
		h.waking = true
		h.wake()
	}
}

// wake wakes the readers whose turn it is, and goes on until none has missed
// anything. h.mu is held.
func (h *hub) wake() {
	pause, woken := min(time.Duration(h.readers)*20*time.Microsecond, 20*time.Millisecond), hubTurns
	if pause >= time.Millisecond {
		pause, woken = pause/hubTurns, 1
	}
	for i := 0; i < hubTurns && woken > 0; i++ {
		t := &h.turns[h.next]
		h.next = (h.next + 1) % hubTurns
		if t.stale && t.readers > 0 {
			t.wake()
			woken--
		}
		t.stale = false
	}
	time.AfterFunc(pause, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waking = false
		for i := range h.turns {
			h.waking = h.waking || h.turns[i].stale
		}
		if h.waking {
			h.wake()
		}
	})
}

// wake wakes everybody whose turn it is; h.mu is held.
func (t *turn) wake() {
	if t.readers == 0 {
		return
	}
	close(t.changed)
	t.changed = make(chan struct{})
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
// so many unless most is 0. The batch's moved is that of the turn.
func (h *hub) after(t *turn, position uint64, f *selection, most int, frames [][]byte) batch {
	h.mu.Lock()
	b := batch{frames: frames, next: position, moved: t.changed, err: h.err}
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
