package journal

import (
	"context"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// Small makes the engine's memory tables and the generations of the tail so
// small that some hundred events cross every seam between them and the disk.
func (o Options) Small(generation int, memTable uint64) Options {
	o.sizes = sizes{generation: generation, block: 5, memTable: memTable, snapshot: 20}
	return o
}

// EarlyReader is a reader with the bug that the durable mark is there to
// prevent: it takes what the engine shows it. It returns the last position
// and digest, or zeroes.
func (j *Journal) EarlyReader() (uint64, events.Digest) {
	if j.enter(context.Background()) != nil {
		return 0, events.Digest{}
	}
	defer j.leave()
	position, err := j.lastPosition()
	if err != nil || position == 0 {
		return 0, events.Digest{}
	}
	e, _, err := j.record(position)
	if err != nil {
		return 0, events.Digest{}
	}
	return position, e.Digest
}

// LogDB and IndexDB are the engines below a journal, for planting damage.
func (j *Journal) LogDB() *pebble.DB { return j.store.log }

// IndexDB is the engine of the index.
func (j *Journal) IndexDB() *pebble.DB { return j.store.index }

// Keys of the two engines, by the letters that doc.go draws them with.
func PositionKey(prefix byte, position uint64) []byte { return positionKey(prefix, position) }

// TextPositionKey is the key of a stream's or an outside id's entry.
func TextPositionKey(prefix byte, text string, position uint64) []byte {
	return textPositionKey(nil, prefix, text, position)
}

// FailStorage fails the journal as a failing disk would.
func (j *Journal) FailStorage(err error) { j.store.guard.Fail(err) }

// Indexed returns the position up to which the index holds everything.
func (j *Journal) Indexed() (uint64, error) {
	m, _, err := j.store.loadMark()
	return m.position, err
}

// NewFilter returns the two operations of an empty filter for n keys.
func NewFilter(n int) (add func(uint64), has func(uint64) bool) {
	f := newFilter(n)
	return f.add, f.has
}

// RecodeParents decodes parents and encodes them again.
func RecodeParents(b []byte, first uint64) ([]byte, bool) {
	ends, parents, err := decodeParents(b, first, nil, nil)
	if err != nil {
		return nil, false
	}
	out := binary.AppendUvarint(nil, uint64(len(ends)))
	for n := range ends {
		out = appendParents(out, first+uint64(n), span(ends, parents, uint64(n)))
	}
	return out, true
}

// RecodeChildren decodes children and encodes them again.
func RecodeChildren(b []byte, base, first uint64) ([]byte, bool) {
	pairs, err := decodeChildren(b, base, first, nil)
	return appendChildren(nil, base, first, pairs), err == nil
}

// IDHash is the hash that the index finds ids by.
func IDHash(id events.ID) uint64 { return idHash(id) }

// IDWithHash returns an id that begins with high and has the hash h.
func IDWithHash(high, h uint64) events.ID {
	// spread is a bijection; this is the way back.
	unspread := func(h uint64) uint64 {
		h = (h ^ h>>33) * 0x9cb4b2f8129337db
		h = (h ^ h>>33) * 0x4f74430c22a54005
		return h ^ h>>33
	}
	var id events.ID
	binary.BigEndian.PutUint64(id[:8], high)
	binary.BigEndian.PutUint64(id[8:], unspread(h)^spread(high))
	return id
}

// RunLevels are the levels of the runs of the index, the oldest first.
func (j *Journal) RunLevels() (levels []int) {
	for _, r := range j.runs.load() {
		levels = append(levels, int(r.level))
	}
	return levels
}
