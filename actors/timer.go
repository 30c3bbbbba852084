package actors

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Timers live in a stream of their own, so that those which are still to fire
// are found without reading everything.
const (
	timersStream    = "$timers"
	timersMark      = "toka.timers" // checkpoint: no open timer was set up to there
	kindTimerSet    = "toka.timer.set"
	kindTimerCancel = "toka.timer.cancelled"
	kindTimerFired  = "toka.timer.fired"
	extAgent        = "tokaagent" // whose timer it is
)

// timerPayload is the payload of events about timers.
type timerPayload struct {
	Key       string    `json:"key"`
	Due       time.Time `json:"due,omitzero"`
	Behaviour string    `json:"behaviour,omitempty"`

	// What is to come of it.
	Kind          string `json:"kind,omitempty"`
	SchemaVersion uint32 `json:"schema_version,omitempty"`
	ContentType   string `json:"content_type,omitempty"`
	Input         []byte `json:"input,omitempty"`
}

// SetTimer sets a timer of the actor in whose turn it is called. When the turn
// is durable, so is the timer: it fires at or after the given time, once, also
// if the process was ended meanwhile. If the actor is not live then, it is made
// live with the behaviour that the registry holds, so that has to be one that
// can work.
//
// For an agent it fires as an event of the kind that codec gives v, handed to
// this agent alone; the kind must match one of its patterns. For a resource it
// fires as a command, so codec must be the codec of its commands. The event or
// command is caused by the event that the setting is.
//
// key names the timer within its actor: setting it again replaces it.
func SetTimer[T any](t *Turn, codec events.Codec[T], key string, at time.Time, v T) error {
	d, err := codec.Encode(v)
	if err != nil {
		return err
	}
	if t.b != nil && !t.b.takes(d.Kind) {
		return fmt.Errorf("agent %q: timer %q: %w: %s does not take %s", t.agent, key, events.ErrInvalid, t.b.key(), d.Kind)
	}
	p := timerPayload{
		Key: key, Due: at.UTC().Round(0), Kind: d.Kind, SchemaVersion: d.SchemaVersion, ContentType: d.ContentType, Input: d.Payload,
	}
	if t.b != nil {
		p.Behaviour = t.b.key()
	}
	return t.timer(kindTimerSet, p)
}

// CancelTimer takes a timer back; one that is due already may still fire. To
// cancel a timer that is not set changes nothing.
func CancelTimer(t *Turn, key string) error {
	return t.timer(kindTimerCancel, timerPayload{Key: key})
}

func (t *Turn) timer(kind string, p timerPayload) error {
	if err := events.CheckName("timer", p.Key); err != nil {
		return err
	}
	cause, err := t.cause()
	if err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("timer %q: %w", p.Key, err)
	}
	d := events.Draft{
		ID:     events.EmittedID(cause.Digest, t.agent+"#timer", uint32(len(t.timers))),
		Stream: timersStream, Kind: kind, SchemaVersion: 1, Time: t.Now(), ContentType: events.ContentTypeJSON, Payload: b,
		Parents: []events.Ref{cause}, Trigger: cause.ID, Correlation: t.correlation,
		Extensions: map[string]string{extAgent: t.agent},
	}
	if err := d.Validate(); err != nil {
		return err
	}
	t.timers = append(t.timers, d)
	return nil
}

// takes reports whether actors of the behaviour are handed a kind: as an event
// or as a command.
func (b *behaviour) takes(kind string) bool {
	if len(b.patterns) == 0 {
		return slices.Contains(b.commands, kind)
	}
	return slices.ContainsFunc(b.patterns, func(p events.Pattern) bool { return p.Match(kind) })
}

// timer is one that has not fired.
type timer struct {
	agent string
	set   events.Event // the event that set it
	timerPayload
	index int // in the heap
}

// timers fires what is due. It holds what is open in memory, as the timers'
// stream says.
type timers struct {
	sys *System

	mu     sync.Mutex
	byKey  map[[2]string]*timer // by agent and key
	byID   map[events.ID]*timer // by the event that set it
	due    timerHeap
	read   uint64 // position of the last event about timers
	disarm func() bool
	over   bool // nothing fires: not yet, or not any more
}

func newTimers(sys *System) *timers {
	return &timers{sys: sys, over: true, byKey: map[[2]string]*timer{}, byID: map[events.ID]*timer{}}
}

// load reads the timers that are open, before anything else runs.
func (ts *timers) load() error {
	q := journal.Query{Stream: timersStream}
	cp, err := ts.sys.j.Checkpoint(ts.sys.ctx, timersMark)
	if err == nil {
		q.After = cp.Position
	} else if !errors.Is(err, journal.ErrNotFound) {
		return err
	}
	var found []events.Event
	for e, err := range ts.sys.j.Read(ts.sys.ctx, q) {
		if err != nil {
			return err
		}
		found = append(found, e)
		if len(found) == batchEvents {
			ts.note(found)
			found = found[:0]
		}
	}
	ts.note(found)
	return nil
}

// begin lets timers fire, from now on.
func (ts *timers) begin() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.over = false
	ts.arm()
}

// note takes in durable events, in order, and arms what comes next.
func (ts *timers) note(es []events.Event) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for i := range es {
		if es[i].Stream == timersStream {
			ts.noteOne(&es[i])
		}
	}
	ts.arm()
}

func (ts *timers) noteOne(e *events.Event) {
	ts.read = max(ts.read, e.Position)
	agent := e.Extensions[extAgent]
	if e.Kind != kindTimerSet && e.Kind != kindTimerCancel {
		if t, ok := ts.byID[e.Trigger]; ok { // it has fired
			ts.drop(t)
		}
		return
	}
	var p timerPayload
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		ts.sys.log.Error("an event about a timer cannot be read", "event", e.ID, "position", e.Position, "err", err)
		return
	}
	if old, ok := ts.byKey[[2]string{agent, p.Key}]; ok {
		if old.set.Position >= e.Position {
			return // two turns' answers came out of order
		}
		ts.drop(old)
	}
	if e.Kind == kindTimerSet {
		t := &timer{agent: agent, set: *e, timerPayload: p}
		t.set.Payload = nil
		ts.byKey[[2]string{agent, p.Key}], ts.byID[e.ID] = t, t
		heap.Push(&ts.due, t)
	}
}

// Timers returns how many timers are set and have not fired.
func (s *System) Timers() int {
	s.timers.mu.Lock()
	defer s.timers.mu.Unlock()
	return len(s.timers.byID)
}

// drop forgets a timer that is open; ts.mu is held.
func (ts *timers) drop(t *timer) {
	delete(ts.byID, t.set.ID)
	if ts.byKey[[2]string{t.agent, t.Key}] == t {
		delete(ts.byKey, [2]string{t.agent, t.Key})
	}
	if t.index >= 0 {
		heap.Remove(&ts.due, t.index)
	}
}

// arm has the first one fire when it is due; ts.mu is held.
func (ts *timers) arm() {
	if ts.disarm != nil {
		ts.disarm()
		ts.disarm = nil
	}
	if len(ts.due) > 0 && !ts.over {
		ts.disarm = ts.sys.opts.AfterFunc(max(ts.due[0].Due.Sub(ts.sys.now()), 0), ts.ring)
	}
}

// ring fires what is due. A timer stays open until the journal says that it
// has fired.
func (ts *timers) ring() {
	ts.mu.Lock()
	var now []*timer
	for len(ts.due) > 0 && !ts.over && !ts.due[0].Due.After(ts.sys.now()) {
		t := heap.Pop(&ts.due).(*timer)
		now = append(now, t)
	}
	ts.arm()
	ts.mu.Unlock()
	for _, t := range now {
		if err := ts.fire(t); err != nil {
			ts.sys.log.Error("a timer cannot fire; it will when the system is started again", "agent", t.agent, "timer", t.Key, "err", err)
		}
	}
}

func (ts *timers) fire(t *timer) error {
	b, err := ts.sys.registry.find(t.Behaviour)
	if err != nil {
		return err
	}
	c, err := ts.sys.spawn(b, t.agent)
	if err != nil {
		return err
	}
	fired := events.EmittedID(t.set.Digest, t.agent+"#fired", 0)
	ref := t.set.Ref()
	note := events.Draft{
		ID: fired, Stream: timersStream, Kind: t.Kind, SchemaVersion: t.SchemaVersion, Time: t.Due,
		ContentType: t.ContentType, Payload: t.Input, Parents: []events.Ref{ref}, Trigger: ref.ID,
		Correlation: t.set.Correlation, Extensions: map[string]string{extAgent: t.agent},
	}
	if len(b.patterns) > 0 { // the bus hands it over
		return ts.close(note)
	}
	m := &message{
		kind: kindCommand, id: fired, given: true, always: true, causes: []events.Ref{ref}, correlation: t.set.Correlation,
		encoded: events.Draft{Kind: t.Kind, SchemaVersion: t.SchemaVersion, ContentType: t.ContentType, Payload: t.Input},
	}
	m.reply = func(_ Outcome, err error) {
		if errors.Is(err, ErrStopped) || errors.Is(err, journal.ErrFatal) || errors.Is(err, journal.ErrClosed) {
			return // it is still open
		}
		note.ID, note.Kind = events.EmittedID(t.set.Digest, t.agent+"#closed", 0), kindTimerFired
		note.SchemaVersion, note.ContentType, note.Payload = 1, "", nil
		_ = ts.close(note) // if the journal takes nothing more, the command's id says that it was done
	}
	c.force(m)
	return nil
}

// close journals that a timer has fired.
func (ts *timers) close(d events.Draft) error {
	w := journal.Write{Events: []events.Draft{d}, Authority: authority.System()}
	ts.sys.busy(1)
	err := ts.sys.j.Submit(ts.sys.ctx, w, func(r journal.Receipt, err error) {
		if err != nil {
			ts.sys.log.Error("a timer could not be journaled as fired", "event", d.ID, "err", err)
		} else {
			ts.note(r.Events)
		}
		ts.sys.busy(-1)
	})
	if err != nil {
		ts.sys.busy(-1)
	}
	return err
}

// stop lets nothing fire any more and returns the position up to which no open
// timer was set.
func (ts *timers) stop() uint64 {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.over = true
	ts.arm()
	low := ts.read
	for _, t := range ts.byID {
		low = min(low, t.set.Position-1)
	}
	return low
}

// save stores where the next start has to begin to read.
func (ts *timers) save() {
	low := ts.stop()
	if low == 0 {
		return
	}
	ts.sys.busy(1)
	w := journal.Write{Checkpoints: []journal.Checkpoint{{Name: timersMark, Position: low}}}
	if ts.sys.j.Submit(ts.sys.ctx, w, func(journal.Receipt, error) { ts.sys.busy(-1) }) != nil {
		ts.sys.busy(-1)
	}
}

// timerHeap is ordered by when timers are due, then by when they were set.
type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if !h[i].Due.Equal(h[j].Due) {
		return h[i].Due.Before(h[j].Due)
	}
	return h[i].set.Position < h[j].set.Position
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
