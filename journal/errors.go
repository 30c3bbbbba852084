package journal

import (
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// Errors that a caller can act on. Each is wrapped by an error that names the
// event, stream, position or file.
var (
	// ErrClosed: the journal was closed; nothing was written.
	ErrClosed = errors.New("journal is closed")
	// ErrFull: Options.Room says that the disk is nearly full; nothing was
	// written. Reads go on.
	ErrFull = errors.New("the disk is nearly full")
	// ErrTooLarge: the write has more than MaxWriteEvents or MaxWriteBytes;
	// nothing was stored. Divide it.
	ErrTooLarge = errors.New("the write is too large")
	// ErrFatal: the storage failed. Nothing more will be acknowledged; close
	// the journal and open it again. Whether a write that waited was stored
	// is found out by retrying the same value there.
	ErrFatal = errors.New("journal has failed")
	// ErrOutcomeUnknown: the context ended before the outcome was known.
	// Retry the same value, ids included: it is stored once.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrIDConflict: another event is already stored under this id.
	ErrIDConflict = errors.New("event id is taken by another event")
	// ErrPartlyKnown: some events of the write are stored and some are not,
	// so it is no retry of one write.
	ErrPartlyKnown = errors.New("only a part of the write is known")
	// ErrUnknownParent: a parent is not in the journal.
	ErrUnknownParent = errors.New("unknown parent")
	// ErrWrongVersion: the stream is not where the writer expected it.
	ErrWrongVersion = errors.New("wrong expected version")
	// ErrNotFound: there is no such event, payload or checkpoint.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous: a digest prefix fits several events.
	ErrAmbiguous = errors.New("ambiguous prefix")
	// ErrCursor: a cursor from another epoch or from beyond the end.
	ErrCursor = errors.New("cursor is not of this journal")
	// ErrCorrupt: stored bytes are damaged. Run verify; restore from a backup.
	ErrCorrupt = errors.New("stored data is damaged")

	// ErrLost: the store ends before its outside mark, or is not what the mark
	// stands for: events that were acknowledged are missing.
	ErrLost = errors.New("stored events are missing")

	// ErrErased: the key of the subject was destroyed, and with it what was
	// encrypted for it. Nothing is stored under it again.
	ErrErased = errors.New("subject is erased")
	// ErrPruned: the payload was removed.
	ErrPruned = errors.New("payload is pruned")
	// ErrNotBackup: the directory is not a backup.
	ErrNotBackup = errors.New("not a backup")

	// ErrHeld: another process, or this one, has the journal open.
	ErrHeld = errors.New("journal is held")
	// ErrNotJournal: the directory is not a journal.
	ErrNotJournal = errors.New("not a journal")
	// ErrFormat: the journal was written by a newer version.
	ErrFormat = errors.New("journal format is newer than this program")
	// ErrNoJournal: there is nothing at the path and Options.MustExist is set.
	ErrNoJournal = errors.New("no journal")
)

// WrongVersionError says what was expected of a stream and what is there. It
// wraps ErrWrongVersion.
type WrongVersionError struct {
	Stream   string
	Expected Expected
	Actual   uint64 // the stream's version; 0 means that it has no events
}

func (e *WrongVersionError) Error() string {
	return fmt.Sprintf("stream %q: %v: expected %v, it is at version %d", e.Stream, ErrWrongVersion, e.Expected, e.Actual)
}

// Unwrap returns ErrWrongVersion.
func (e *WrongVersionError) Unwrap() error { return ErrWrongVersion }

// UnknownParentError names the parents that are not there. It wraps
// ErrUnknownParent.
type UnknownParentError struct {
	Event   events.ID
	Parents []events.ID
}

func (e *UnknownParentError) Error() string {
	return fmt.Sprintf("event %s: %v: %v", e.Event, ErrUnknownParent, e.Parents)
}

// Unwrap returns ErrUnknownParent.
func (e *UnknownParentError) Unwrap() error { return ErrUnknownParent }

// OutcomeError says that the caller stopped waiting for a write; IDs are the
// ids that its events have, so that the same value can be retried. It wraps
// ErrOutcomeUnknown and the cause.
type OutcomeError struct {
	IDs   []events.ID
	Cause error
}

func (e *OutcomeError) Error() string {
	ids, more := e.IDs, ""
	if len(ids) > 8 {
		ids, more = ids[:8], fmt.Sprintf(" and %d more", len(ids)-8)
	}
	return fmt.Sprintf("%v for events %v%s: %v; retry the same write with these ids", ErrOutcomeUnknown, ids, more, e.Cause)
}

// Unwrap returns ErrOutcomeUnknown and the cause.
func (e *OutcomeError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.Cause} }
