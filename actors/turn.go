package actors

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/tokaworks/toka/events"
)

// Turn is what a handler has in hand while it deals with one message: the
// world as values, and the place to put what comes of it. It is the handler's
// until it returns. Now, Rand and NewID give a replay the same values again;
// time.Now and the global random numbers do not, and a replay reports that as
// a divergence.
type Turn struct {
	agent string
	b     *behaviour
	now   time.Time  // of a command: zero until somebody asks
	about events.Ref // the event in hand
	c     *cell      // of a command that is not journaled yet: who decides
	m     *message
	draft *events.Draft // of the command, once it is the cause of something

	correlation string // of the cause, for what comes of it

	rng     *rand.Rand
	ids     uint32
	emitted []events.Draft
	timers  []events.Draft
	sends   []send
	effects *effects // nil where the turn may have none
	err     error    // from a method that cannot return one

	stash, unstash bool
}

// send is a command to another actor, handed on once the turn is durable.
type send struct {
	to      func(*System) (*cell, error)
	message *message
}

// reuse makes t as good as new after a command that put nothing on it.
func (t *Turn) reuse() {
	t.m = nil
	if !t.now.IsZero() {
		t.now = time.Time{}
	}
	if t.draft != nil || !t.about.ID.IsZero() || t.rng != nil || t.ids > 0 || t.err != nil || t.effects != nil || t.stash || t.unstash {
		*t = Turn{}
	}
}

// Agent returns the name of the actor, which is its stream.
func (t *Turn) Agent() string { return t.agent }

// Now returns the time of the turn: for a reaction, the record time of the
// event in hand; for a command, the time at which it is decided, which is
// recorded with it.
func (t *Turn) Now() time.Time {
	if t.now.IsZero() && t.c != nil {
		t.now = t.c.sys.now()
	}
	return t.now
}

// cause returns the event or command in hand. A command becomes an event only
// when it is the cause of something.
func (t *Turn) cause() (events.Ref, error) {
	if !t.about.ID.IsZero() || t.c == nil {
		return t.about, nil
	}
	d, err := t.c.commandDraft(t.m, t.Now())
	if err != nil {
		return events.Ref{}, err
	}
	e, err := d.Seal(t.m.id, d.Parents)
	if err != nil {
		return events.Ref{}, err
	}
	t.draft, t.about = &d, e.Ref()
	return t.about, nil
}

// Rand returns random numbers that are seeded by the cause of the turn, so
// that they are different for each cause and the same each time.
func (t *Turn) Rand() *rand.Rand {
	if t.rng == nil {
		c := t.causeRef()
		t.rng = rand.New(rand.NewPCG(binary.BigEndian.Uint64(c.Digest[:]), binary.BigEndian.Uint64(c.Digest[8:])))
	}
	return t.rng
}

// NewID returns an id that is derived from the cause of the turn, the actor
// and how many ids the turn has asked for.
func (t *Turn) NewID() events.ID {
	t.ids++
	return events.EmittedID(t.causeRef().Digest, t.agent+"#id", t.ids)
}

func (t *Turn) causeRef() events.Ref {
	ref, err := t.cause()
	if err != nil && t.err == nil {
		t.err = err
	}
	return ref
}

// Emit adds an event to what the turn will journal. Its stream is the agent's
// own; the event in hand is its trigger and one of its parents, and d may name
// more. Its id derives from the cause and from how many events came before it
// in this turn. An error names what is wrong with d.
func (t *Turn) Emit(d events.Draft) error {
	c, err := t.cause()
	if err != nil {
		return err
	}
	d.Stream = t.agent
	d.ID = events.EmittedID(c.Digest, t.agent, uint32(len(t.emitted)))
	d.Parents = append([]events.Ref{c}, d.Parents...)
	d.Trigger = c.ID
	if d.Time.IsZero() {
		d.Time = t.Now()
	}
	if d.Correlation == "" {
		d.Correlation = t.correlation
	}
	if err := d.CheckOutside(); err != nil {
		return err
	}
	if err := d.Validate(); err != nil {
		return err
	}
	t.emitted = append(t.emitted, d)
	return nil
}

// Emit emits v as codec encodes it.
func Emit[T any](t *Turn, codec events.Codec[T], v T) error {
	d, err := codec.Encode(v)
	if err != nil {
		return err
	}
	return t.Emit(d)
}
