package journal

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// The index of streams has one key for the events that a generation of the
// tail holds of a stream, named by the stream position of the first, with
// their positions packed: the first, then the difference to the one before.

// streamChunk bounds the positions behind one key, so that finding one means
// unpacking few.
const streamChunk = 512

func encodePositions(b []byte, positions []uint64) []byte {
	last := uint64(0)
	for _, p := range positions {
		b = binary.AppendUvarint(b, p-last)
		last = p
	}
	return b
}

func decodePositions(value []byte) (positions []uint64, err error) {
	last := uint64(0)
	for len(value) > 0 {
		d, w := binary.Uvarint(value)
		if w <= 0 || d == 0 || last+d < last {
			return nil, fmt.Errorf("%w: malformed positions", ErrCorrupt)
		}
		last += d
		positions = append(positions, last)
		value = value[w:]
	}
	if len(positions) == 0 {
		return nil, fmt.Errorf("%w: no positions", ErrCorrupt)
	}
	return positions, nil
}

// chunks calls f with the chunks of a stream in the index, beginning with the
// one that holds the stream position from, until f says stop. first is the
// stream position of positions[0].
func (j *Journal) chunks(stream string, from uint64, f func(first uint64, positions []uint64) (more bool)) error {
	prefix := textKey(nil, idxStream, stream)
	it, err := j.store.index.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: keyAfter(prefix)})
	if err != nil {
		return indexError(stream, err)
	}
	defer it.Close()
	ok := it.SeekLT(textPositionKey(nil, idxStream, stream, from+1))
	if !ok {
		ok = it.First()
	}
	for ; ok; ok = it.Next() {
		positions, err := decodePositions(it.Value())
		if err != nil {
			return indexError(stream, err)
		}
		if !f(tail8(it.Key()), positions) {
			break
		}
	}
	return indexError(stream, it.Error())
}

// indexedHead tells where a stream ends according to the index.
func (j *Journal) indexedHead(stream string) (h head, err error) {
	err = j.chunks(stream, ^uint64(0)-1, func(first uint64, positions []uint64) bool {
		n := len(positions)
		h = head{version: first + uint64(n) - 1, position: positions[n-1]}
		return true
	})
	if err != nil || h.version == 0 {
		return head{}, err
	}
	e, _, err := j.record(h.position)
	if err != nil {
		return head{}, err
	}
	h.last = e.ID
	return h, nil
}

// streamPositions lists at most limit positions of a stream after a stream
// position and not above most. The tail is asked first: what moves to the
// index meanwhile is then in both, never in neither.
func (j *Journal) streamPositions(stream string, after, most uint64, limit int) ([]uint64, error) {
	inTail, from := j.tail.streamPositions(stream, after, most)
	var found []uint64
	if from == 0 || from > after+1 {
		err := j.chunks(stream, after+1, func(first uint64, positions []uint64) bool {
			for i, p := range positions {
				switch version := first + uint64(i); {
				case version <= after:
				case from != 0 && version >= from, p > most, len(found) == limit:
					return false
				default:
					found = append(found, p)
				}
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	if room := limit - len(found); len(inTail) > room {
		inTail = inTail[:room]
	}
	return append(found, inTail...), nil
}

// streamPositionAfter returns the stream position of the last event of a
// stream at or below a position of the journal.
func (j *Journal) streamPositionAfter(stream string, position uint64) (uint64, error) {
	if position == 0 {
		return 0, nil
	}
	inTail, from := j.tail.streamPositions(stream, 0, ^uint64(0))
	if len(inTail) > 0 && inTail[0] <= position {
		n := sort.Search(len(inTail), func(i int) bool { return inTail[i] > position })
		return from + uint64(n) - 1, nil
	}
	// Positions grow with stream positions, so a binary search over the index
	// finds the place with few look-ups however long the stream is.
	h, err := j.indexedHead(stream)
	if err != nil {
		return 0, err
	}
	low, high := uint64(0), h.version // the answer is in [low, high]
	for low < high {
		mid := low + (high-low+1)/2
		err := j.chunks(stream, mid, func(first uint64, positions []uint64) bool {
			n := uint64(sort.Search(len(positions), func(i int) bool { return positions[i] > position }))
			switch {
			case n == 0:
				high = first - 1
			case n == uint64(len(positions)):
				low = first + n - 1
			default:
				low = first + n - 1
				high = low
			}
			return false
		})
		if err != nil {
			return 0, err
		}
	}
	return low, nil
}
