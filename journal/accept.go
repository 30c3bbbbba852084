package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tokaworks/toka/events"
)

// What the committer does with one write: everything is looked up and checked
// before anything is added to the group.

// accept decides on r and, if it is new and fits, adds it to the group.
// Everything is checked before anything is added.
func (j *Journal) accept(g *group, r *request) (outcome, error) {
	base := j.accepted
	for i := range r.sealed {
		if err := j.link(r, i, base); err != nil {
			return outcome{}, err
		}
	}
	known, err := j.known(r)
	if err != nil || known != nil {
		return outcome{known: known, receipt: Receipt{Duplicate: true}}, err
	}
	if r.embeds {
		j.leaveOut(r)
		if err := j.intent.fits(r); err != nil {
			return outcome{}, err
		}
	}
	// Whatever may have to be read is read now: from place on nothing may
	// fail, or a part of the write would be accepted.
	for i := range r.sealed {
		if r.slots[i].head, err = j.head(r.sealed[i].Stream); err != nil {
			return outcome{}, err
		}
	}
	for _, want := range r.expect {
		var h head
		if len(r.sealed) > 0 && r.sealed[0].Stream == want.stream {
			h = r.slots[0].head // nearly always the only one
		} else if h, err = j.head(want.stream); err != nil {
			return outcome{}, err
		}
		if !want.holds(h) {
			return outcome{}, &WrongVersionError{Stream: want.stream, Expected: want.Expected, Actual: h.version}
		}
	}
	for i := range r.sealed {
		if len(r.sealed[i].Payload) > 0 {
			d := r.sealed[i].PayloadDigest
			if r.slots[i].holder = j.tail.byPayload(d, j.sparing()); r.slots[i].holder == 0 {
				if r.slots[i].holder, err = j.indexedPayload(d); err != nil {
					return outcome{}, err
				}
			}
		}
	}
	places, err := j.places(r)
	if err != nil {
		return outcome{}, err
	}
	for i := range r.sealed {
		j.place(g, r, i)
	}
	g.operational = g.operational || len(r.checkpoints)+len(r.stateDigests) > 0
	for _, c := range r.checkpoints {
		key := textKey(nil, logCheckpoint, c.Name)
		if c.Delete {
			g.remove(key)
			continue
		}
		g.set(key, encodeCheckpoint(c, j.store.epoch))
	}
	for i, d := range r.stateDigests {
		d.Position = places[i]
		for k := range r.sealed {
			if e := &r.sealed[k]; e.Stream == d.Stream && e.StreamPosition == d.StreamPosition {
				d.Position = e.Position
			}
		}
		g.set(textPositionKey(nil, logState, d.Stream, d.StreamPosition),
			binary.BigEndian.AppendUint64(bytes.Clone(d.Digest[:]), d.Position))
	}
	return outcome{receipt: Receipt{Events: r.sealed}}, nil
}

// places finds the positions of the events that r's state digests stand after,
// as far as they are not r's own.
func (j *Journal) places(r *request) ([]uint64, error) {
	places := make([]uint64, len(r.stateDigests))
	for i, d := range r.stateDigests {
		h, err := j.head(d.Stream)
		if err != nil {
			return nil, err
		}
		if d.StreamPosition == h.version {
			places[i] = h.position
		} else if d.StreamPosition < h.version {
			found, err := j.streamPositions(d.Stream, d.StreamPosition-1, ^uint64(0), 1)
			if err != nil {
				return nil, err
			}
			if len(found) > 0 {
				places[i] = found[0]
			}
		}
	}
	return places, nil
}

// link finds the parents of the i-th event and completes its digest.
func (j *Journal) link(r *request, i int, base uint64) error {
	e := &r.sealed[i]
	if r.slots[i].hashed && len(e.Parents) == 0 {
		return nil
	}
	refs := e.Parents
	var missing []events.ID
next:
	for k := range refs {
		p := &refs[k]
		found := events.Ref{ID: p.ID}
		if n, ok := r.earlier(p.ID, i); ok {
			found.Digest, found.Position = r.sealed[n].Digest, base+uint64(n)+1
		} else {
			var err error
			found.Position, found.Digest, err = j.parent(p)
			if err != nil {
				return err
			}
		}
		if found.Position == 0 {
			if p.Position = 0; !r.slots[i].foreign {
				missing = append(missing, p.ID)
			}
			continue next
		}
		if !p.Digest.IsZero() && p.Digest != found.Digest {
			return fmt.Errorf("event %s: parent %s: %w: it is stored with digest %s, not %s",
				e.ID, p.ID, events.ErrInvalid, found.Digest.Short(), p.Digest.Short())
		}
		*p = found
	}
	if missing != nil {
		return &UnknownParentError{Event: e.ID, Parents: missing}
	}
	if r.slots[i].hashed {
		return nil
	}
	return e.SetParents(refs)
}

// earlier finds the event with an id among the first n of r.
func (r *request) earlier(id events.ID, n int) (i int, ok bool) {
	if r.byID != nil {
		i, ok = r.byID[id]
		return i, ok && i < n
	}
	for i := range n {
		if r.sealed[i].ID == id {
			return i, true
		}
	}
	return 0, false
}

// known returns the positions of r's events if all of them are stored, and
// nil if none is.
func (j *Journal) known(r *request) ([]uint64, error) {
	var positions []uint64
	for i := range r.sealed {
		e := &r.sealed[i]
		if _, ok := r.earlier(e.ID, i); ok {
			return nil, fmt.Errorf("event %s: %w: it stands twice in one write", e.ID, ErrIDConflict)
		}
		if r.slots[i].minted {
			continue
		}
		position, digest, err := j.lookup(e.ID)
		if err != nil {
			return nil, err
		}
		if position == 0 {
			continue
		}
		if digest != e.Digest {
			return nil, fmt.Errorf("event %s: %w: position %d holds digest %s, this one is %s",
				e.ID, ErrIDConflict, position, digest.Short(), e.Digest.Short())
		}
		positions = append(positions, position)
	}
	if len(positions) > 0 && len(positions) < len(r.sealed) {
		return nil, fmt.Errorf("%w: %d of %d events, the first at position %d",
			ErrPartlyKnown, len(positions), len(r.sealed), positions[0])
	}
	return positions, nil
}

// place gives the i-th event of r the next position and adds it to the group.
func (j *Journal) place(g *group, r *request, i int) {
	e, holder, vector := &r.sealed[i], r.slots[i].holder, r.slots[i].vector
	h := r.slots[i].head
	if i > 0 {
		h, _ = j.tail.head(e.Stream) // an earlier event of this write may be in it
	}
	if holder == 0 && i > 0 && len(e.Payload) > 0 {
		holder = j.tail.byPayload(e.PayloadDigest, j.sparing()) // an earlier event of this write may hold it
	}
	e.Position = j.accepted + 1
	e.StreamPosition = h.version + 1
	e.Epoch = j.store.epoch
	e.RecordTime = j.clock.next()
	j.scratch = events.AppendRecord(j.scratch[:0], e, holder)
	var key [9]byte
	g.set(putPositionKey(&key, logRecord, e.Position), j.scratch)
	if vector != nil {
		g.set(putPositionKey(&key, logVector, e.Position), vector.Bytes())
		j.intent.embeds(vector)
		e.Intent.Pending = j.intent.active()
	}
	if in, ok := newIntentInput(e, vector); ok {
		g.intents = append(g.intents, in)
		if in.order != nil {
			if m, ok := in.order.changesModel(); ok {
				j.intent.changed(e.Position, m)
			}
		}
	}
	en := newEntry(e)
	if holder != 0 {
		en.payload = events.Digest{}
	}
	if !en.payload.IsZero() {
		g.payloads++
	}
	if h.version == 0 {
		g.streams++
	}
	g.events++
	j.accepted++
	j.tail.add(en, e.Parents)
}

// head tells where a stream stands, durable or not. Only the committer may
// act on it.
func (j *Journal) head(stream string) (head, error) {
	if h, ok := j.tail.head(stream); ok {
		return h, nil
	}
	h, err := j.indexedHead(stream)
	if err == nil {
		j.tail.remember(stream, h)
	}
	return h, err
}

// lookup finds an event by id, durable or not; position 0 means none. Only the
// committer calls it.
func (j *Journal) lookup(id events.ID) (position uint64, digest events.Digest, err error) {
	if position, digest = j.tail.byID(id); position != 0 {
		return position, digest, nil
	}
	return j.indexedID(id)
}

// parent is lookup that tries first the position that the writer named.
func (j *Journal) parent(p *events.Ref) (position uint64, digest events.Digest, err error) {
	if p.Position != 0 {
		if id, digest := j.tail.at(p.Position); id == p.ID {
			return p.Position, digest, nil
		}
	}
	return j.lookup(p.ID)
}
