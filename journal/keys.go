package journal

import "encoding/binary"

// Format is the version of the stored format that this program writes, and the
// newest that it reads.
const Format = 1

// Key prefixes; part of the stored format (doc.go draws the keys).
const (
	logRecord     = 'e'
	logVector     = 'v'
	logCheckpoint = 'c'
	logState      = 'g'
	logMeta       = 'm'

	idxID      = 'i'
	idxDigest  = 'd'
	idxPayload = 'p'
	idxStream  = 's'
	idxOutside = 'o'
	idxIntent  = 't'
	idxIntents = 'n'
	idxChange  = 'u'
	idxBlock   = 'k'
	idxMark    = 'm'
	idxRun     = 'r'
	idxFilter  = 'f'
	idxTree    = 'h'

	idxSnapshot = 'z'

	idxParents  = 'l'
	idxChildren = 'b'

	indexVersion = 6
)

func positionKey(prefix byte, position uint64) []byte {
	b := make([]byte, 1, 9)
	b[0] = prefix
	return binary.BigEndian.AppendUint64(b, position)
}

func putPositionKey(b *[9]byte, prefix byte, position uint64) []byte {
	b[0] = prefix
	binary.BigEndian.PutUint64(b[1:], position)
	return b[:]
}

// textKey is prefix, length and text; keys that go on after it stay within it.
func textKey(b []byte, prefix byte, text string) []byte {
	b = append(b, prefix)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func textPositionKey(b []byte, prefix byte, text string, position uint64) []byte {
	return binary.BigEndian.AppendUint64(textKey(b, prefix, text), position)
}

// tail8 reads the position that ends a key.
func tail8(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// keyAfter returns the smallest key that is greater than every key with the
// given prefix.
func keyAfter(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}
