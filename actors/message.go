package actors

import (
	"time"

	"github.com/tokaworks/toka/events"
)

type messageKind uint8

const (
	kindCommand messageKind = iota
	kindEvent
	kindQuery
	kindRecord
	kindControl // run is called on the actor's turn, gate or no gate
)

// message is what a mailbox holds.
type message struct {
	kind messageKind

	command     any
	encoded     events.Draft // the command as its codec wrote it, or a draft to record
	id          events.ID    // of the command
	given       bool         // the id is the caller's, so it may have been seen before
	always      bool         // it is journaled even if it causes nothing
	causes      []events.Ref
	correlation string

	event events.Event

	reply     func(Outcome, error) // may be nil
	wait      *waiter              // who asked; may be nil
	query     func(state any, err error)
	submitted func(error) // kindRecord: called when the journal has the draft in its queue
	run       func()      // kindControl

	effects  []effectRecord // what is on record of the reaction's effects
	begun    bool           // a command whose first effect is announced, so that it has to come to an end
	doubt    *effectDoubt   // the effect that it is parked for
	retry    events.Ref     // the request to take it up again after it was parked
	attempts int            // decisions that came too late
	at       time.Time      // when the command was decided
	recorded events.Ref     // the command's event, once a failure has journaled it
	full     WhenFull       // what to do if the mailbox is
	kept     bool           // it outlives its turn
	fault    error          // why it has to go through failure handling when it comes again
}

// name tells the message for supervision: equal for another try of the same.
func (m *message) name() string {
	if m.kind == kindEvent {
		return "event " + m.event.ID.String()
	}
	return "command " + m.id.String()
}

// cause is the event or the command as it is journaled; zero for a command that
// is not yet.
func (m *message) cause() events.Ref {
	if m.kind == kindEvent {
		return m.event.Ref()
	}
	return m.recorded
}

func (m *message) answer(out Outcome, err error) {
	switch {
	case m.query != nil:
		m.query(nil, err)
	case m.wait != nil:
		w := m.wait
		m.wait = nil
		w.answers <- answer{out, err}
	case m.reply != nil:
		m.reply(out, err)
	}
}

func (s *slot) answer(out Outcome, err error) {
	switch {
	case s.m != nil:
		s.m.answer(out, err)
	case s.wait != nil:
		s.wait.answers <- answer{out, err}
	}
}
