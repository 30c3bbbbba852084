package journal

import (
	"encoding/binary"
	"encoding/json"
	"math"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// intentInput is an event that intents follow from: one with an embedding, or
// one that says what was done by hand.
type intentInput struct {
	intent.Arrival // Vector is nil if the event brought none
	order          *intentOrder
}

// intentOrder is what an event of StreamIntents says. What it does not say is
// zero; what cannot be read says nothing.
type intentOrder struct {
	kind string

	Intent events.ID   `json:"intent,omitzero"` // of a merge and a split
	Into   events.ID   `json:"into,omitzero"`   // of a merge
	Parts  []events.ID `json:"parts,omitempty"` // of a split: those that go

	Event    events.ID     `json:"event,omitzero"` // that is embedded
	Digest   events.Digest `json:"digest,omitzero"`
	Position uint64        `json:"position,omitempty"`

	Model     string `json:"model,omitempty"`
	Dimension int    `json:"dimension,omitempty"`
	// What it was before, if the model changes.
	Was          string `json:"was,omitempty"`
	WasDimension int    `json:"was_dimension,omitempty"`
}

// newIntentInput makes an input of an event, if it is one.
func newIntentInput(e *events.Event, vector intent.Vector) (in intentInput, ok bool) {
	in.Arrival = intent.Arrival{Position: e.Position, ID: e.ID, Digest: e.Digest, Vector: vector}
	if e.Stream == StreamIntents {
		in.order = &intentOrder{}
		if json.Unmarshal(e.Payload, in.order) != nil {
			in.order = &intentOrder{}
		}
		in.order.kind = e.Kind
	}
	return in, vector != nil || in.order != nil
}

// intentMachine turns inputs, in order of position, into what is stored of
// intents. It depends on nothing else, so that Verify can do it again.
type intentMachine struct {
	strategy  intent.Strategy // nil until there is something to assign
	dimension int
	names     *names

	// make is Options.NewIntents, for when the model changes; nil if the strategy is
	// the only one there will be.
	make  func(last string, dimension int) intent.Strategy
	last  string // the strategy that assigned before, where strategy is nil
	since uint64 // where the strategy began

	position uint64 // of the input in hand
	changes  uint32 // that it has brought
	set      func(key, value []byte)
}

// step takes the next input.
func (m *intentMachine) step(in *intentInput, set func(key, value []byte)) error {
	m.position, m.changes, m.set = in.Position, 0, set
	if in.order != nil {
		if to, ok := in.order.changesModel(); ok {
			if err := m.remodel(in.Position, to); err != nil {
				return err
			}
		}
		m.obey(in)
	}
	if len(in.Vector) != m.dimension || m.dimension == 0 {
		return nil
	}
	a := in.Arrival
	target := uint64(0)
	if in.order != nil && in.order.kind == KindIntentEmbedded && in.order.Position > 0 && in.order.Position < in.Position {
		a.ID, a.Digest, target = in.order.Event, in.order.Digest, in.order.Position
	}
	as := m.strategy.Assign(a)
	part := as.Of()
	var changes []intent.Change
	if changer, ok := m.strategy.(intent.Changer); ok {
		changes = changer.Changes()
	} else {
		if as.Created {
			changes = append(changes, intent.Change{Kind: intent.Created, Intent: as.Intent})
		}
		if part != as.Intent && m.names.own[part] != as.Intent {
			changes = append(changes, intent.Change{Kind: intent.Moved, Intent: part, Into: as.Intent})
		}
	}
	m.apply(changes)
	v := assignment{part: part, similarity: as.Similarity, since: in.Position}
	if target > 0 {
		m.set(positionKey(idxIntent, target), v.encode(target))
		v.since = 0
	}
	m.set(positionKey(idxIntent, in.Position), v.encode(in.Position))
	return nil
}

// apply takes what the strategy did. Readers see all of it or nothing.
func (m *intentMachine) apply(changes []intent.Change) {
	if len(changes) == 0 {
		return
	}
	m.names.mu.Lock()
	defer m.names.mu.Unlock()
	for _, c := range changes {
		m.change(c, false)
	}
}

// obey does what an event says.
func (m *intentMachine) obey(in *intentInput) {
	m.names.mu.Lock()
	defer m.names.mu.Unlock()
	from, into := m.names.resolve(in.order.Intent), m.names.resolve(in.order.Into)
	switch in.order.kind {
	case KindIntentMerged:
		if from != into && !from.IsZero() && !into.IsZero() {
			m.change(intent.Change{Kind: intent.Merged, Intent: from, Into: into}, true)
		}
	case KindIntentSplit:
		id := events.IntentID("split", in.Digest)
		m.change(intent.Change{Kind: intent.Split, Intent: id, Into: from}, true)
		for _, p := range in.order.Parts {
			if p != from && m.names.resolve(p) == from {
				m.change(intent.Change{Kind: intent.Moved, Intent: p, Into: id}, true)
			}
		}
	}
}

// change applies a change and stores it. The caller holds the names.
func (m *intentMachine) change(c intent.Change, byHand bool) {
	// What was merged by hand goes where the strategy merges it.
	kept, joined := events.ID{}, false
	if c.Kind == intent.Merged && !byHand {
		if _, ok := m.names.hand[c.Intent]; ok {
			kept, joined = m.names.resolve(c.Intent), true
		}
	}
	out := IntentChange{Position: m.position, Change: c, ByHand: byHand}
	m.names.apply(&out)
	key := binary.BigEndian.AppendUint32(positionKey(idxChange, m.position), m.changes)
	m.changes++
	m.set(key, out.encode(nil))
	if into := m.names.resolve(c.Into); joined && into != m.names.resolve(kept) {
		m.change(intent.Change{Kind: intent.Merged, Intent: into, Into: m.names.resolve(kept)}, true)
	}
}

// assignment is what is stored beside an event.
type assignment struct {
	part       events.ID // or the intent, if that has no parts
	similarity float64
	// since is the position of the event that brought the embedding, if that
	// was another one; 0 says that this event brought it for another one.
	since uint64
}

func (a *assignment) encode(position uint64) []byte {
	v := binary.BigEndian.AppendUint64(append([]byte(nil), a.part[:]...), math.Float64bits(a.similarity))
	if a.since != position {
		v = binary.BigEndian.AppendUint64(v, a.since)
	}
	return v
}

func decodeAssignment(position uint64, v []byte) (a assignment, ok bool) {
	if len(v) != 24 && len(v) != 32 {
		return a, false
	}
	copy(a.part[:], v)
	a.similarity = math.Float64frombits(binary.BigEndian.Uint64(v[16:]))
	a.since = position
	if len(v) == 32 {
		a.since = binary.BigEndian.Uint64(v[24:])
	}
	return a, true
}
