package journal

// filter is a Bloom filter over 64-bit hashes, blocked so that one look-up
// touches one cache line (Putze, Sanders, Singler: "Cache-, Hash- and
// Space-Efficient Bloom Filters", 2007). It takes two bytes a key and says yes
// to about one in a thousand keys that are not in it.
type filter [][8]uint64

const (
	bloomPerBlock = 32 // keys in a block of 512 bits
	bloomBits     = 6  // bits set for a key
)

// newFilter returns an empty filter for n keys.
func newFilter(n int) filter { return make(filter, n/bloomPerBlock+1) }

func (b filter) add(h uint64) {
	block := b.block(h)
	for range bloomBits {
		h *= bloomMix
		block[h>>61] |= 1 << (h >> 55 & 63)
	}
}

func (b filter) has(h uint64) bool {
	block := b.block(h)
	for range bloomBits {
		h *= bloomMix
		if block[h>>61]&(1<<(h>>55&63)) == 0 {
			return false
		}
	}
	return true
}

// bloomMix is odd, so multiplying by it loses nothing of the hash, and its
// bits are those of the golden ratio.
const bloomMix = 0x9e3779b97f4a7c15

// block takes the middle bits of the hash: the first step of the bits above
// takes the high ones.
func (b filter) block(h uint64) *[8]uint64 {
	return &b[uint64(uint32(h>>16))*uint64(len(b))>>32]
}
