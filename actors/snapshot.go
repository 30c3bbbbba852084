package actors

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// Snapshots say when the state of an actor is kept beside the journal, so that
// the actor need not read its whole stream when it is made live. The zero value
// keeps none.
//
// A snapshot is the state as JSON, so nothing of a state may be lost in that;
// package actorstest checks it. It may be gone at any time: one that is not
// there, is damaged, is of another version of the behaviour or of S, or cannot
// be read, is as good as none, and the stream is read from its beginning.
type Snapshots[S any] struct {
	// Version is of what S looks like as JSON, from 1. It has to be another
	// when a snapshot as it was written would be read wrongly.
	Version int

	// Every is after how many events of the stream one is taken. 0: not for
	// their number.
	Every uint64

	// If, where it is not nil, has one taken when it says so of the state after
	// a turn. It must be pure.
	If func(state S) bool

	// AtRest has one taken when the actor is stopped, as it is when it was
	// passivated.
	AtRest bool
}

// schema returns how snapshots are called in the journal, and panics if what
// is asked for makes no sense.
func (s *Snapshots[S]) schema(b *behaviour) string {
	when := s.Every > 0 || s.If != nil || s.AtRest
	if s.Version == 0 && !when {
		return ""
	}
	if s.Version < 1 || !when {
		panic(fmt.Sprintf("actors: behaviour %q: snapshots need a Version from 1, and one of Every, If and AtRest", b.name))
	}
	return fmt.Sprintf("%s/%d/%d", b.name, b.version, s.Version)
}

// due reports whether to take one after the events from one version of the
// stream to another.
func (s *Snapshots[S]) due(from, to uint64, state S) bool {
	return s.Every > 0 && to/s.Every > from/s.Every || s.If != nil && s.If(state)
}

// picture is what a snapshot holds.
type picture struct {
	Head    events.ID       `json:"head"`
	Begun   bool            `json:"begun,omitempty"`
	Reacted uint64          `json:"reacted,omitempty"`
	State   json.RawMessage `json:"state"`
}

// snapshot returns what to keep of a state; nil if that cannot be.
func (c *cell) snapshot(encode func() ([]byte, error), version uint64, head events.ID) *journal.Snapshot {
	for _, open := range c.retrying {
		if open {
			return nil // what is to be taken up again stands before it
		}
	}
	for _, m := range c.backlog {
		if m.kind == kindCommand && !m.recorded.ID.IsZero() {
			return nil // likewise
		}
	}
	state, err := safeBytes(encode)
	if err == nil {
		state, err = json.Marshal(picture{Head: head, Begun: c.begun || version > c.version, Reacted: c.reacted, State: state})
	}
	if err != nil || len(state) > journal.MaxSnapshot {
		c.sys.log.Warn("a state cannot be kept as a snapshot", "agent", c.name, "bytes", len(state), "err", err)
		return nil
	}
	return &journal.Snapshot{Stream: c.name, StreamPosition: version, Schema: c.b.schema, State: state}
}

func safeBytes(encode func() ([]byte, error)) (b []byte, err error) {
	defer panicAsError(&err)
	return encode()
}

// isDue asks the behaviour whether to take a snapshot of the state that was
// decided last.
func (c *cell) isDue(version uint64) (due bool) {
	if c.b.schema == "" {
		return false
	}
	var err error
	func() {
		defer panicAsError(&err)
		due = c.runner.due(c.version, version)
	}()
	if err != nil {
		c.sys.log.Warn("whether to take a snapshot is not known", "agent", c.name, "err", err)
	}
	return due
}

// restSnapshot returns what to keep of an actor that comes to rest.
func (c *cell) restSnapshot() *journal.Snapshot {
	if !c.b.atRest || c.failure != nil || !c.recovered || c.version == 0 || c.version == c.pictured {
		return nil
	}
	return c.snapshot(c.runner.encoded, c.version, c.head)
}

// maxSnapshots bounds how many wait to be kept while more are taken.
const maxSnapshots = 64

// keepSnapshot keeps one that stands on what is durable, and calls done. While
// too many wait, those that are taken on the way are let go: the next one will
// do.
func (s *System) keepSnapshot(snap *journal.Snapshot, done func()) {
	if snap == nil || done == nil && s.keeping.Load() >= maxSnapshots {
		if done != nil {
			done()
		}
		return
	}
	s.keeping.Add(1)
	s.busy(1)
	s.snapshots.put(func() {
		err := s.j.SaveSnapshot(s.ctx, *snap)
		if err != nil && s.ctx.Err() == nil && !errors.Is(err, journal.ErrClosed) {
			s.log.Warn("a snapshot could not be kept", "agent", snap.Stream, "err", err)
		}
		if done != nil {
			done()
		}
		s.keeping.Add(-1)
		s.busy(-1)
	})
}

// fromSnapshot begins to fold where the newest snapshot stands. It answers
// false if there is none that can be used.
func (c *cell) fromSnapshot(f *folded) bool {
	if c.b.schema == "" {
		return false
	}
	snap, err := c.sys.j.LatestSnapshot(c.sys.ctx, c.name, c.b.schema)
	if errors.Is(err, journal.ErrNotFound) {
		return false
	}
	var p picture
	if err == nil {
		err = json.Unmarshal(snap.State, &p)
	}
	if err == nil {
		err = restoreSafely(f.runner, p.State)
	}
	if err != nil {
		c.sys.log.Warn("a snapshot cannot be used; the stream is read from its beginning", "agent", c.name, "err", err)
		f.runner.reset()
		return false
	}
	f.version, f.head, f.begun, f.reacted = snap.StreamPosition, p.Head, p.Begun, p.Reacted
	return true
}

func restoreSafely(r runner, state []byte) (err error) {
	defer panicAsError(&err)
	return r.restore(state)
}
