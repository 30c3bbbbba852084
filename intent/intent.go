package intent

import (
	"errors"

	"github.com/tokaworks/toka/events"
)

// DefaultDimension is the dimension of embeddings where nothing else is said.
const DefaultDimension = 768

// ErrEmbedding is wrapped by every error that refuses an embedding.
var ErrEmbedding = errors.New("invalid embedding")

// Vector is an embedding scaled to unit length and quantised: component i is
// round(32767 x_i / |x|). It is not changed after it was made.
type Vector []int16

// Arrival is an event as a strategy sees it.
type Arrival struct {
	Position uint64
	ID       events.ID
	Digest   events.Digest // the causal digest; the id of a new intent derives from it
	Vector   Vector        // of the strategy's dimension
}

// Assignment is what a strategy answers. The zero Assignment means no intent.
type Assignment struct {
	Intent     events.ID
	Similarity float64 // cosine to the centroid before this arrival joined it; 1 for a founder
	Created    bool    // this arrival founded the intent

	// Part is the part of the intent that the arrival joined, and the centroid
	// of Similarity is that of the part. What an intent is made of can change;
	// an arrival stays in its part for ever, and [Aliases] tells what intent that
	// belongs to. Zero: the intent has no parts and never changes.
	Part events.ID
}

// Of returns what an arrival was assigned to, for ever: its part, or the intent
// if that has none.
func (a Assignment) Of() events.ID {
	if a.Part.IsZero() {
		return a.Intent
	}
	return a.Part
}

// Strategy assigns arrivals to intents, online. It is a deterministic state
// machine: the same arrivals in the same order give the same assignments and
// the same snapshots, on any machine. It is used by one goroutine at a time.
type Strategy interface {
	// Name tells the strategy and every setting that its answers depend on,
	// in a form that is equal for equal behaviour. A journal rebuilds its
	// intents when the name has changed.
	Name() string

	// Dimension is the length of the vectors that Assign takes, or 0 for a
	// strategy that takes none.
	Dimension() int

	// Assign takes the next arrival. It may keep a.Vector, which nobody
	// changes.
	Assign(a Arrival) Assignment

	// Count is the number of intents so far.
	Count() int

	// Snapshot returns the whole state; Restore of it into a fresh strategy
	// of the same name continues as if nothing had happened. Restore refuses
	// bytes that Snapshot did not write and then leaves the strategy as it
	// was.
	Snapshot() []byte
	Restore(snapshot []byte) error
}

// Nil is the strategy that assigns nothing.
type Nil struct{}

// Name implements Strategy.
func (Nil) Name() string { return "nil" }

// Dimension implements Strategy.
func (Nil) Dimension() int { return 0 }

// Assign implements Strategy.
func (Nil) Assign(Arrival) Assignment { return Assignment{} }

// Count implements Strategy.
func (Nil) Count() int { return 0 }

// Snapshot implements Strategy.
func (Nil) Snapshot() []byte { return nil }

// Restore implements Strategy.
func (Nil) Restore(snapshot []byte) error {
	if len(snapshot) != 0 {
		return errors.New("intent: a snapshot of another strategy")
	}
	return nil
}
