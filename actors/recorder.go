package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// Recorder is the built-in behaviour of streams that were begun from outside:
// it journals drafts as they come and decides nothing.
type Recorder struct{ cell *cell }

type recorderRunner struct{}

func (recorderRunner) reset()                   {}
func (recorderRunner) apply(events.Event) error { return nil }
func (recorderRunner) snapshot() any            { return nil }
func (recorderRunner) encoded() ([]byte, error) { return []byte("null"), nil }
func (recorderRunner) stay()                    {}
func (recorderRunner) commit()                  {}
func (recorderRunner) next() ([]byte, error)    { return []byte("null"), nil }
func (recorderRunner) due(uint64, uint64) bool  { return false }
func (recorderRunner) restore([]byte) error     { return errors.New("a recorder has no state") }
func (recorderRunner) decide(*Turn, *message) error {
	return errors.New("a recorder takes neither commands nor events")
}

func (recorderRunner) encode(any) (events.Draft, error) {
	return events.Draft{}, errors.New("a recorder takes no commands")
}

func recorderBehaviour() *behaviour {
	return &behaviour{name: RecorderName, version: 1, runner: func() runner { return recorderRunner{} }}
}

// SpawnRecorder returns the recorder of a stream, making it live if it is not.
func SpawnRecorder(sys *System, name string) (*Recorder, error) {
	c, err := sys.spawn(recorderBehaviour(), name)
	if err != nil {
		return nil, err
	}
	return &Recorder{cell: c}, nil
}

// Record journals d in the recorder's stream. It returns once the journal has
// it in its queue, so that a later Record, of whatever recorder, stands behind
// it in the journal's order; done is called once with the outcome, when that
// is durable. An error means that d was refused and done was or will be called
// with it too; but when ctx ends first, what became of d is for done to say.
//
// What is called back in a stream is called one after the other, on a
// goroutine that nobody else waits for: one that is slow holds up only those
// behind it, and Record too once 4,096 wait. One that panics is logged.
func (r *Recorder) Record(ctx context.Context, d events.Draft, done func(Outcome, error)) error {
	sys, answers := r.cell.sys, r.cell.answers
	select {
	case answers.room <- struct{}{}:
	case <-ctx.Done():
		err := fmt.Errorf("recorder %q: %d answers wait for who asked for them: %w; the draft was not taken", r.cell.name, cap(answers.room), context.Cause(ctx))
		safely(sys.log, func() { done(Outcome{}, err) })
		return err
	}
	sys.busy(1)
	submitted := make(chan error, 1)
	first := func(err error) {
		select {
		case submitted <- err:
		default:
		}
	}
	m := &message{kind: kindRecord, encoded: d, submitted: first}
	m.reply = func(out Outcome, err error) {
		answers.put(func() {
			defer func() {
				if err != nil {
					first(err) // it may have been answered without ever being submitted
				}
				<-answers.room
				sys.busy(-1)
			}()
			done(out, err)
		})
	}
	if err := r.cell.post(ctx, slot{m: m}, Wait); err != nil {
		m.reply(Outcome{}, err)
	}
	select {
	case err := <-submitted:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answers are what a recorder has to tell those who recorded something.
type answers struct {
	calls
	room chan struct{}
}

// maxAnswers bounds how many answers a recorder owes.
const maxAnswers = 4096

func newAnswers(s *System) *answers {
	return &answers{calls: calls{log: s.log}, room: make(chan struct{}, maxAnswers)}
}
