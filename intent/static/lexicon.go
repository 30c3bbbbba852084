package static

// lexical is how many numbers stand for the letters of a text.
const lexical = 512

// lexicon sums a text's words, pairs of neighbouring words and runs of 3 and 4
// bytes inside a word, each in a place and with a sign that its hash decides.
type lexicon struct {
	sum  [lexical]int64
	last uint64 // hash of the word before; 0: none
}

// What a word, a pair and a run count.
const (
	wordWeight = 16
	pairWeight = 6
	runWeight  = 2
)

func (l *lexicon) word(w []byte) {
	h := hash(offset, w)
	l.count(h, wordWeight)
	if l.last != 0 {
		l.count(mix(l.last*prime^h), pairWeight)
	}
	l.last = h
	// A mark before and after, so that beginnings and ends differ from the
	// middle.
	for n := 3; n <= 4; n++ {
		for i := -1; i+n <= len(w)+1; i++ {
			h := offset + uint64(n)
			for j := i; j < i+n; j++ {
				c := byte(' ')
				if j >= 0 && j < len(w) {
					c = w[j]
				}
				h = (h ^ uint64(c)) * prime
			}
			l.count(mix(h), runWeight)
		}
	}
}

func (l *lexicon) count(h uint64, weight int64) {
	if h>>63 != 0 {
		weight = -weight
	}
	l.sum[h%lexical] += weight
}

const (
	offset = uint64(14695981039346656037)
	prime  = uint64(1099511628211)
)

// hash is FNV-1a, mixed.
func hash(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * prime
	}
	return mix(h)
}

// mix spreads every bit of h over all of them.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
