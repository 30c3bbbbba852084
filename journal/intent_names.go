package journal

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// IntentChange is something that happened to an intent: what the strategy did
// on its own is derived, what was done by hand follows from an event.
type IntentChange struct {
	Position uint64 // of the event that it came with
	intent.Change
	ByHand bool
}

const changeBytes = 42

func (c *IntentChange) encode(b []byte) []byte {
	hand := byte(0)
	if c.ByHand {
		hand = 1
	}
	b = append(b, byte(c.Kind), hand)
	b = append(b, c.Intent[:]...)
	b = append(b, c.Into[:]...)
	return binary.BigEndian.AppendUint64(b, math.Float64bits(c.Value))
}

func decodeChange(position uint64, v []byte) (c IntentChange, err error) {
	if len(v) != changeBytes || v[0] == 0 || v[1] > 1 {
		return c, fmt.Errorf("position %d: a change of intents: %w: %x; delete the directory index, it is built anew", position, ErrCorrupt, v)
	}
	c.Position, c.Kind, c.ByHand = position, intent.ChangeKind(v[0]), v[1] == 1
	copy(c.Intent[:], v[2:])
	copy(c.Into[:], v[18:])
	c.Value = math.Float64frombits(binary.BigEndian.Uint64(v[34:]))
	return c, nil
}

// names tell what the name of a part or of an intent stands for: what the
// strategy says, and above that what was merged and split by hand.
type names struct {
	mu        sync.RWMutex // readers resolve while the stage applies
	own, hand map[events.ID]events.ID
}

func newNames() *names {
	return &names{own: make(map[events.ID]events.ID), hand: make(map[events.ID]events.ID)}
}

// standsFor is resolve for readers.
func (n *names) standsFor(id events.ID) events.ID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.resolve(id)
}

// resolve returns the intent that id stands for: itself if nothing is known.
func (n *names) resolve(id events.ID) events.ID {
	for range len(n.own) + len(n.hand) {
		next, ok := n.hand[id]
		if !ok {
			next, ok = n.own[id]
		}
		if !ok {
			break
		}
		id = next
	}
	return id
}

// apply takes the next change. Changes come in order, and no circle is ever
// made.
func (n *names) apply(c *IntentChange) {
	switch {
	case c.Kind == intent.Moved || c.Kind == intent.Merged:
		if c.Intent == c.Into {
			return
		}
		if c.ByHand {
			n.hand[c.Intent] = c.Into
			return
		}
		n.part(c.Into, c.Intent)
		n.own[c.Intent] = c.Into
	case !c.ByHand && (c.Kind == intent.Created || c.Kind == intent.Split):
		delete(n.own, c.Intent)
	}
}

// part sees to it that from does not lead to id, which is about to lead to
// from. Where it does, somebody has merged by hand what the strategy merges now
// the other way round: that merge has come true and is forgotten.
func (n *names) part(from, id events.ID) {
	if len(n.hand) == 0 || n.resolve(from) != n.resolve(id) {
		return
	}
	var byHand events.ID
	for range len(n.own) + len(n.hand) {
		next, ok := n.hand[from]
		if ok && byHand.IsZero() {
			byHand = from
		}
		if !ok {
			if next, ok = n.own[from]; !ok {
				return
			}
		}
		if from = next; from == id {
			delete(n.hand, byHand)
			return
		}
	}
}
