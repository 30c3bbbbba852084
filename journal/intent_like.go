package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
)

// alike reports whether stored bytes are of a vector that q.Like is near to.
// Only dividing and the root round, and those once.
func (r *reader) alike(value []byte) bool {
	if len(value) != 2*len(r.q.Like) {
		return false
	}
	if len(r.vector) != len(r.q.Like) {
		r.vector = make(intent.Vector, len(r.q.Like))
		r.norm = int64(kernel.Dot16(r.q.Like, r.q.Like))
	}
	for i := range r.vector {
		r.vector[i] = int16(binary.LittleEndian.Uint16(value[2*i:]))
	}
	norm := int64(kernel.Dot16(r.vector, r.vector))
	if norm == 0 || r.norm == 0 {
		return false
	}
	product := float64(kernel.Dot16(r.vector, r.q.Like))
	return product/math.Sqrt(float64(r.norm)*float64(norm)) >= r.q.Min
}

// like reports whether the event at a position passes the filter by meaning.
func (r *reader) like(position uint64) (bool, error) {
	if r.q.Like == nil {
		return true, nil
	}
	if !r.j.intent.of(position).Is(r.q.Model) {
		return false, nil
	}
	value, closer, err := r.j.store.log.Get(positionKey(logVector, position))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("position %d: embedding: %w", position, readError(err))
	}
	defer closer.Close()
	return r.alike(value), nil
}

// likeChunk reads one chunk of what is near, from where vectors lie: events
// without one are not looked at.
func (r *reader) likeChunk(left stretch) (chunk []events.Event, rest stretch, err error) {
	var positions []uint64
	rest = left
	seen := 0
	err = walk(r.j.store.log, positionKey(logVector, left.first), positionKey(logVector, left.last+1), r.q.Backwards, func(key, value []byte) error {
		p := tail8(key)
		if r.j.intent.of(p).Is(r.q.Model) && r.alike(value) {
			positions = append(positions, p)
		}
		rest = r.q.past(rest, p)
		if seen++; len(positions) >= chunkEvents || seen >= 64*chunkEvents {
			return errFull
		}
		return nil
	})
	return r.loaded(positions, left, rest, err)
}
