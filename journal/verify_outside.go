package journal

import (
	"encoding/binary"
	"errors"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// outsideVerifier holds the index of outside ids against the log by sums: of
// what the records have and of what the index has, as far as the index went
// when Verify began. Only where they differ is looked for what it is.
type outsideVerifier struct {
	outsideSum   uint64
	outsideCount uint64
}

func (v *verifier) outsideHash(id string, position uint64) uint64 {
	return spread(maphash.String(v.seed, id) ^ spread(position))
}

// outside notes the outside id of a record.
func (v *verifier) outside(e *events.Event) {
	if id := e.OutsideID(); id != "" && e.Position <= v.indexed {
		v.outsideSum += v.outsideHash(id, e.Position)
		v.outsideCount++
	}
}

func (v *verifier) outsideIndex() error {
	sum, count := uint64(0), uint64(0)
	err := v.eachOutside(func(id string, position uint64) {
		sum += v.outsideHash(id, position)
		count++
	})
	if err != nil || sum == v.outsideSum && count == v.outsideCount {
		return err
	}
	err = v.eachOutside(func(id string, position uint64) {
		if e, _, err := v.j.record(position); err == nil && e.OutsideID() != id {
			v.problem(position, "the index has it under outside id %q, the log under %q", id, e.OutsideID())
		}
	})
	if err != nil {
		return err
	}
	for position := uint64(1); position <= v.indexed; position++ {
		e, _, err := v.j.record(position)
		id := e.OutsideID()
		if err != nil || id == "" {
			continue // one that cannot be read was named before
		}
		_, closer, err := v.j.store.index.Get(textPositionKey(nil, idxOutside, id, position))
		switch {
		case errors.Is(err, pebble.ErrNotFound):
			v.problem(position, "the index does not hold it under its outside id %q", id)
		case err != nil:
			return readError(err)
		default:
			_ = closer.Close()
		}
	}
	return nil
}

// eachOutside calls f for what the index had when Verify began.
func (v *verifier) eachOutside(f func(id string, position uint64)) error {
	return v.j.eachIndexKey([]byte{idxOutside}, []byte{idxOutside + 1}, func(key, value []byte) (bool, error) {
		n, w := binary.Uvarint(key[1:])
		if w <= 0 || uint64(len(key)) != 1+uint64(w)+n+8 || len(value) != 0 {
			v.problem(0, "the index of outside ids holds a malformed entry %x", key)
			return true, nil
		}
		if position := tail8(key); position <= v.indexed {
			f(string(key[1+w:len(key)-8]), position)
		}
		return true, nil
	})
}
