package journal

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tokaworks/toka/events"
)

// At returns the event at a position, or an error that wraps ErrNotFound.
func (j *Journal) At(ctx context.Context, position uint64) (events.Event, error) {
	if err := j.enter(ctx); err != nil {
		return events.Event{}, err
	}
	defer j.leave()
	if end := j.mark.load(); position == 0 || position > end {
		return events.Event{}, fmt.Errorf("position %d: %w: the journal ends at %d", position, ErrNotFound, end)
	}
	return j.at(position)
}

// ByID returns the event with an id, or an error that wraps ErrNotFound.
func (j *Journal) ByID(ctx context.Context, id events.ID) (events.Event, error) {
	if err := j.enter(ctx); err != nil {
		return events.Event{}, err
	}
	defer j.leave()
	position, err := j.find(id)
	if err != nil {
		return events.Event{}, err
	}
	if position == 0 || position > j.mark.load() {
		return events.Event{}, fmt.Errorf("event %s: %w", id, ErrNotFound)
	}
	return j.at(position)
}

// find returns the position of an event, durable or not; 0 if there is none.
func (j *Journal) find(id events.ID) (uint64, error) {
	if p, _ := j.tail.byID(id); p != 0 {
		return p, nil
	}
	p, _, err := j.indexedID(id)
	return p, err
}

// ByDigest returns the event with a causal digest, or an error that wraps
// ErrNotFound.
func (j *Journal) ByDigest(ctx context.Context, d events.Digest) (events.Event, error) {
	return j.ByDigestPrefix(ctx, d.String())
}

// MinDigestPrefix is the shortest prefix that ByDigestPrefix takes, in
// hexadecimal digits.
const MinDigestPrefix = 4

// ByDigestPrefix returns the event whose causal digest begins with prefix, in
// lower-case hexadecimal. Errors wrap ErrNotFound, or ErrAmbiguous if several
// begin so.
func (j *Journal) ByDigestPrefix(ctx context.Context, prefix string) (events.Event, error) {
	if err := j.enter(ctx); err != nil {
		return events.Event{}, err
	}
	defer j.leave()
	whole := prefix[:len(prefix)&^1]
	head, err := hex.DecodeString(whole)
	if err != nil || len(prefix) < MinDigestPrefix || len(prefix) > 64 || strings.ToLower(prefix) != prefix {
		return events.Event{}, fmt.Errorf("digest prefix %.64q: %w: give %d to 64 lower-case hexadecimal digits", prefix, ErrNotFound, MinDigestPrefix)
	}
	match := func(d events.Digest) bool { return strings.HasPrefix(d.String(), prefix) }
	most := j.mark.load()
	found := map[uint64]events.Event{}
	add := func(p uint64) error {
		e, err := j.at(p)
		if err == nil && match(e.Digest) {
			found[p] = e
		}
		return err
	}
	for _, p := range j.tail.byDigest(match, most) {
		if err := add(p); err != nil {
			return events.Event{}, err
		}
	}
	low, high := [8]byte{}, [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	copy(low[:], head)
	copy(high[:], head)
	err = j.runs.find(hashDigest, binary.BigEndian.Uint64(low[:]), binary.BigEndian.Uint64(high[:]), func(p uint64) (bool, error) {
		if p > most {
			return false, nil
		}
		return len(found) >= 2, add(p)
	})
	if err != nil {
		return events.Event{}, err
	}
	switch len(found) {
	case 0:
		return events.Event{}, fmt.Errorf("digest %s…: %w", prefix, ErrNotFound)
	case 1:
		for _, e := range found {
			return e, nil
		}
	}
	return events.Event{}, fmt.Errorf("digest %s…: %w: give more digits", prefix, ErrAmbiguous)
}

// ByOutsideID returns the events that came in under an outside id, in order of
// position; several sources may use the same one.
func (j *Journal) ByOutsideID(ctx context.Context, outsideID string) ([]events.Event, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	most := j.mark.load()
	inTail := j.tail.byOutside(outsideID, most)
	var positions []uint64
	prefix := textKey(nil, idxOutside, outsideID)
	err := j.eachIndexKey(prefix, keyAfter(prefix), func(key, _ []byte) (bool, error) {
		if p := tail8(key); p <= most && (len(inTail) == 0 || p < inTail[0]) {
			positions = append(positions, p)
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("outside id %q: %w", outsideID, err)
	}
	var out []events.Event
	for _, p := range append(positions, inTail...) {
		e, err := j.at(p)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// Payload returns the payload with a digest as it is stored, encrypted where it
// is, or an error that wraps ErrNotFound or ErrPruned. An empty payload is
// never stored and never found.
func (j *Journal) Payload(ctx context.Context, d events.Digest) ([]byte, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	position := j.tail.byPayload(d, nil)
	if position == 0 {
		var err error
		if position, err = j.indexedPayload(d); err != nil {
			return nil, err
		}
	}
	if position == 0 || position > j.mark.load() {
		return nil, fmt.Errorf("payload %s: %w", d.Short(), ErrNotFound)
	}
	e, err := j.stored(position)
	if err == nil && e.PayloadState == events.PayloadPruned {
		err = fmt.Errorf("payload %s: %w", d.Short(), ErrPruned)
	}
	return e.Payload, err
}
