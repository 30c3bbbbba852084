package journal

import (
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/authority"
)

// What one write may hold: it is checked, and stored or refused, as a whole,
// while every other one waits.
const (
	MaxWriteEvents = 8192
	MaxWriteBytes  = 64 << 20 // payloads, embeddings and states, and some hundred for each event and checkpoint
)

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("append: %w: %w: "+format+"; nothing was stored, divide it", append([]any{events.ErrInvalid, ErrTooLarge}, args...)...)
}

// Write is what one append stores, all of it or nothing.
type Write struct {
	// Events are stored in this order. A draft without an id is given one.
	Events []events.Draft

	// Expect says, by stream, where the writer believes a stream to be. A
	// stream that is not named may be anywhere.
	Expect map[string]Expected

	// Checkpoints and StateDigests are stored with the events.
	Checkpoints  []Checkpoint
	StateDigests []StateDigest

	// Imported are events that another journal holds, in place of Events. They
	// keep their ids and digests and are given places here; parents that are
	// not in this journal stay references by digest. It takes authority.
	Imported []events.Event
	// ImportedVectors are the embeddings of Imported, in the same order, empty
	// for an event without; or none at all. One that is not of the model that
	// the journal has by then is left out, as no part of its event's identity.
	// In a journal without any, those of one write are of one dimension.
	ImportedVectors []ImportedVector

	// Authority is for this module's own packages; see internal/authority.
	Authority authority.Token
}

// ImportedVector is an embedding in its stored form, and the model that made it:
// without a name if that is not known.
type ImportedVector struct {
	Vector intent.Vector
	Model  string
}

// Receipt is the answer to a Write.
type Receipt struct {
	// Events are the stored events, in the order of the write.
	Events []events.Event
	// Duplicate says that they were there before this write.
	Duplicate bool
}

// Expected is what a writer believes about a stream. The zero value is Any.
type Expected struct {
	mode    expectMode
	version uint64
	head    events.ID
}

type expectMode uint8

const (
	expectAny expectMode = iota
	expectNone
	expectExists
	expectExact
)

// Any expects nothing.
func Any() Expected { return Expected{} }

// NoStream expects that the stream has no events.
func NoStream() Expected { return Expected{mode: expectNone} }

// StreamExists expects that the stream has at least one event.
func StreamExists() Expected { return Expected{mode: expectExists} }

// Version expects that the stream has exactly n events.
func Version(n uint64) Expected { return Expected{mode: expectExact, version: n} }

// VersionAt is Version(n) and expects the n-th event to be id. It is for a
// writer that appends again before its last append was acknowledged: if that
// one was refused because somebody else wrote, this one is refused too, even
// if the numbers happen to fit.
func VersionAt(n uint64, id events.ID) Expected {
	return Expected{mode: expectExact, version: n, head: id}
}

// String returns the expectation in words.
func (x Expected) String() string {
	switch x.mode {
	case expectNone:
		return "no stream"
	case expectExists:
		return "an existing stream"
	case expectExact:
		if !x.head.IsZero() {
			return fmt.Sprintf("version %d with event %s", x.version, x.head)
		}
		return fmt.Sprintf("version %d", x.version)
	}
	return "any version"
}

func (x Expected) holds(h head) bool {
	switch x.mode {
	case expectNone:
		return h.version == 0
	case expectExists:
		return h.version > 0
	case expectExact:
		return h.version == x.version && (x.head.IsZero() || h.version == 0 || h.last == x.head)
	}
	return true
}

// head is where a stream stands: how many events it has and which is the last.
type head struct {
	version  uint64
	position uint64
	last     events.ID
}

// Checkpoint is how far a named consumer has come. It is operational state:
// it is not derived from events, and every backup holds it.
type Checkpoint struct {
	Name     string
	Position uint64 // of the last event that was dealt with
	// Via, if it is not empty, names another checkpoint that stands for this
	// one too: the consumer had nothing of its own to do up to there. It is how
	// one dispatcher's checkpoint serves thousands of quiet consumers.
	Via string
	// State is whatever else the consumer wants to find again, at most
	// MaxCheckpointState bytes.
	State string
	// Delete takes the checkpoint away instead.
	Delete bool
}

// MaxCheckpointState is the most bytes that the state of a checkpoint may have.
const MaxCheckpointState = 64 << 10

// StateDigest is the digest of an agent's state after the event at a stream
// position, stored beside the journal so that a replay can compare.
type StateDigest struct {
	Stream         string
	StreamPosition uint64
	Digest         events.Digest
	Position       uint64 // in the journal; set when read
}

func (w *Write) empty() bool {
	return len(w.Events) == 0 && len(w.Imported) == 0 && len(w.Checkpoints) == 0 && len(w.StateDigests) == 0
}
