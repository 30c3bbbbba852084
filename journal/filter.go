package journal

import (
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/tokaworks/toka/events"
)

// Nearly every id and payload that comes in is new, and to find that out in
// the index takes several look-ups on disk. A filter in memory answers it in
// most cases; where it does not, the index is asked.

// filter is a growing set of Bloom filters over 64-bit hashes, blocked so that
// one look-up touches one cache line of each (Putze, Sanders, Singler: "Cache-,
// Hash- and Space-Efficient Bloom Filters", 2007). It takes two bytes a key
// and says yes to about one in a thousand keys that are not in it.
type filter struct {
	layers [][][8]uint64 // each twice as large as the one before
	room   int           // keys that the last layer still takes
}

const (
	bloomFirst    = 1 << 16 // keys of the first layer
	bloomPerBlock = 32      // keys in a block of 512 bits
	bloomBits     = 6       // bits set for a key
)

func (b *filter) add(h uint64) {
	if b.room == 0 {
		keys := bloomFirst << len(b.layers)
		b.layers = append(b.layers, make([][8]uint64, keys/bloomPerBlock))
		b.room = keys
	}
	b.room--
	block := bloomBlock(b.layers[len(b.layers)-1], h)
	for range bloomBits {
		h *= bloomMix
		block[h>>61] |= 1 << (h >> 55 & 63)
	}
}

func (b *filter) has(h uint64) bool {
layers:
	for _, layer := range b.layers {
		block, h := bloomBlock(layer, h), h
		for range bloomBits {
			h *= bloomMix
			if block[h>>61]&(1<<(h>>55&63)) == 0 {
				continue layers
			}
		}
		return true
	}
	return false
}

// bloomMix is odd, so multiplying by it loses nothing of the hash, and its
// bits are those of the golden ratio.
const bloomMix = 0x9e3779b97f4a7c15

// bloomBlock takes the middle bits of the hash: the first step of the bits
// above takes the high ones.
func bloomBlock(layer [][8]uint64, h uint64) *[8]uint64 {
	return &layer[uint64(uint32(h>>16))*uint64(len(layer))>>32]
}

// familiar is what the committer has seen of ids and payloads: what this journal
// wrote since it was opened, and, once it is read, what was there before.
type familiar struct {
	ids, payloads filter // the committer's
	before        atomic.Pointer[familiar]
}

func (k *familiar) add(en *entry) {
	k.ids.add(idHash(en.id))
	if !en.payload.IsZero() {
		k.payloads.add(digestHash(en.payload))
	}
}

func (k *familiar) mayHaveID(id events.ID) bool {
	b := k.before.Load()
	return b == nil || b.ids.has(idHash(id)) || k.ids.has(idHash(id))
}

func (k *familiar) mayHavePayload(d events.Digest) bool {
	b := k.before.Load()
	return b == nil || b.payloads.has(digestHash(d)) || k.payloads.has(digestHash(d))
}

// learn reads ids and payloads of the index as it was found. Until it is done
// the committer asks the index itself.
func (j *Journal) learn() {
	defer j.committed.Done()
	b := &familiar{}
	err := errors.Join(
		j.eachIndexKey([]byte{idxID}, []byte{idxID + 1}, func(key, _ []byte) (bool, error) {
			b.ids.add(tail8(key))
			return j.stop() == nil, nil
		}),
		j.eachIndexKey([]byte{idxPayload}, []byte{idxPayload + 1}, func(key, _ []byte) (bool, error) {
			b.payloads.add(binary.BigEndian.Uint64(key[1:]))
			return j.stop() == nil, nil
		}),
	)
	if err != nil {
		j.log.Warn("reading the index ahead failed; appends stay right and are slower", "err", err)
		return
	}
	if j.stop() == nil {
		j.familiar.before.Store(b)
	}
}
