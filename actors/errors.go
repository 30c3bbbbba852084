package actors

import (
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// Errors that a caller can act on; each is wrapped by one that names the
// actor.
var (
	// ErrStopped: the actor or its system no longer takes messages. The
	// message was not handled.
	ErrStopped = errors.New("actor is stopped")
	// ErrFailed: handling the message panicked every time it was tried, and it
	// was set aside. See FailedError.
	ErrFailed = errors.New("message was parked")
	// ErrUnknownBehaviour: the stream was begun by a behaviour that is not
	// registered, under that name or in that version.
	ErrUnknownBehaviour = errors.New("unknown behaviour")
	// ErrOtherBehaviour: the stream was begun by another behaviour than the
	// one that is being spawned on it.
	ErrOtherBehaviour = errors.New("stream belongs to another behaviour")
	// ErrMailboxFull: the mailbox was full, and the sender did not want to wait.
	ErrMailboxFull = errors.New("mailbox is full")
	// ErrDropped: the mailbox was full, and the command was dropped as its
	// sender, or another one, wanted. It was not decided.
	ErrDropped = errors.New("command was dropped")
	// ErrStashFull: the actor put the command aside where there was no room.
	// It was not decided.
	ErrStashFull = errors.New("stash is full")
	// ErrContended: others kept writing to the stream and each decision came
	// too late. Try again.
	ErrContended = errors.New("stream is contended")
)

// FailedError says which failure ended a message. It wraps ErrFailed.
type FailedError struct {
	Agent    string
	Event    events.ID // the toka.agent.parked event
	Attempts int
	Reason   string
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("agent %q: %v after %d tries: %s (event %s)", e.Agent, ErrFailed, e.Attempts, e.Reason, e.Event)
}

// Unwrap returns ErrFailed.
func (e *FailedError) Unwrap() error { return ErrFailed }
