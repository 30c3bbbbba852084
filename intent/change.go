package intent

import (
	"fmt"

	"github.com/tokaworks/toka/events"
)

// ChangeKind says what happened to an intent.
type ChangeKind uint8

// The numbers are part of the stored format.
const (
	// Created: Intent is new. Where it has parts, Moved says which.
	Created ChangeKind = 1
	// Moved: the part Intent, or what was an intent, belongs to Into from now on.
	Moved ChangeKind = 2
	// Merged: what was left of Intent went into Into, and the name stands for
	// that from now on.
	Merged ChangeKind = 3
	// Split: Intent is new and came out of Into.
	Split ChangeKind = 4
	// Retired: nothing like Intent has come for long. It keeps its events and gets
	// no more.
	Retired ChangeKind = 5
	// Calibrated: the strategy has chosen Value as its threshold.
	Calibrated ChangeKind = 6
)

// String returns the kind in lower case.
func (k ChangeKind) String() string {
	if k >= Created && k <= Calibrated {
		return [...]string{"created", "moved", "merged", "split", "retired", "calibrated"}[k-1]
	}
	return fmt.Sprintf("change %d", uint8(k))
}

// Change is something that a strategy did on its own.
type Change struct {
	Kind   ChangeKind
	Intent events.ID
	Into   events.ID
	Value  float64 // of Calibrated
}

// Changer is a strategy whose intents change after they were founded.
type Changer interface {
	// Changes returns what the strategy did since the last call, in order. It is
	// asked after each Assign; what it returned is not part of a snapshot.
	Changes() []Change
}

// Aliases tell what names stand for after the changes that were applied. The
// zero Aliases are those of no changes.
type Aliases struct{ into map[events.ID]events.ID }

// Apply takes the next change.
func (a *Aliases) Apply(c Change) {
	if a.into == nil {
		a.into = make(map[events.ID]events.ID)
	}
	switch c.Kind {
	case Moved, Merged:
		a.into[c.Intent] = c.Into
	case Created, Split:
		delete(a.into, c.Intent)
	}
}

// Resolve returns the intent that id stands for: itself if nothing is known.
func (a *Aliases) Resolve(id events.ID) events.ID {
	// A chain is as long as there were merges on the way; a circle, which no
	// strategy makes, ends too.
	for range len(a.into) {
		next, ok := a.into[id]
		if !ok || next == id {
			break
		}
		id = next
	}
	return id
}

// Info describes an intent.
type Info struct {
	ID      events.ID
	Members uint64
	First   uint64 // position of the arrival that founded it
	Last    uint64 // position of the latest
	Parts   int
}

// Lister is a strategy that can list its intents, the oldest first.
type Lister interface{ Intents() []Info }

// Explanation says why an arrival would be assigned as it would be now.
type Explanation struct {
	Threshold float64 // cosine with which an arrival joins what there is
	Nearest   []Near  // the nearest first
}

// Near is an intent, or a part of one, and how near it is.
type Near struct {
	Intent     events.ID
	Part       events.ID // zero if the intent has no parts
	Similarity float64
	Members    uint64
}

// Explainer is a strategy that can say why. It changes nothing.
type Explainer interface {
	Explain(v Vector, most int) Explanation
}
