package merkle

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof is wrapped by every error about a proof that does not hold.
var ErrProof = errors.New("proof does not hold")

// Hash is a hash of the tree: SHA-256, 32 bytes.
type Hash [32]byte

// String returns the hash in base64, as heads hold it.
func (h Hash) String() string { return base64.StdEncoding.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes what MarshalText
// writes and nothing else.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("hash %.64q: want %d bytes in base64", text, len(h))
	}
	*h = Hash(b)
	return nil
}

// Leaf returns the leaf that stands for a record hash.
func Leaf(record [32]byte) Hash { return Hash(tlog.RecordHash(record[:])) }

func node(left, right Hash) Hash { return Hash(tlog.NodeHash(tlog.Hash(left), tlog.Hash(right))) }

// TileHeight is how many levels lie between two that are stored: a store of
// the tree keeps the hashes of level 8, 16 and so on, and makes those of level
// 0 again from its records.
const TileHeight = 8

// Edge is the right edge of a tree, all that is needed to add to it and to
// know its root: the roots of its complete subtrees, the largest first. The
// zero value is the edge of the empty tree.
type Edge struct {
	size   uint64
	hashes []Hash // one for each bit that is set in size
}

// Size returns the number of leaves.
func (e *Edge) Size() uint64 { return e.size }

// Clone returns a copy that shares no memory with e.
func (e *Edge) Clone() Edge { return Edge{e.size, slices.Clone(e.hashes)} }

// Add adds the leaf of a record hash. done, if it is not nil, is called for
// each subtree of a stored level that this leaf completes: its level and its
// number on that level.
func (e *Edge) Add(record [32]byte, done func(level int, n uint64, h Hash)) {
	h, level := Leaf(record), 0
	for n := e.size; n&1 == 1; n >>= 1 {
		last := len(e.hashes) - 1
		h = node(e.hashes[last], h)
		e.hashes = e.hashes[:last]
		if level++; level%TileHeight == 0 && done != nil {
			done(level, n>>1, h)
		}
	}
	e.hashes = append(e.hashes, h)
	e.size++
}

// Root returns the root of the tree. That of the empty tree is SHA-256 of
// nothing.
func (e *Edge) Root() Hash {
	if e.size == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return Hash(h)
	}
	h := e.hashes[len(e.hashes)-1]
	for _, left := range slices.Backward(e.hashes[:len(e.hashes)-1]) {
		h = node(left, h)
	}
	return h
}

// Append appends e to b in the form that ParseEdge reads: the size, 8 bytes,
// and the hashes.
func (e *Edge) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, e.size)
	for i := range e.hashes {
		b = append(b, e.hashes[i][:]...)
	}
	return b
}

// ParseEdge reads what Append wrote.
func ParseEdge(b []byte) (Edge, error) {
	if len(b) < 8 {
		return Edge{}, fmt.Errorf("edge of a tree: %d bytes", len(b))
	}
	e := Edge{size: binary.BigEndian.Uint64(b)}
	if want := 8 + 32*bits.OnesCount64(e.size); len(b) != want {
		return Edge{}, fmt.Errorf("edge of a tree of %d leaves: %d bytes where %d were expected", e.size, len(b), want)
	}
	for b = b[8:]; len(b) > 0; b = b[32:] {
		e.hashes = append(e.hashes, Hash(b[:32]))
	}
	return e, nil
}

// Source gives the roots of complete subtrees: count of them, from number
// first, on a level that is a multiple of TileHeight. On level 0 these are
// leaves. It is asked for at most 128 at once.
type Source func(level int, first uint64, count int) ([]Hash, error)

// readHashes is a tlog.HashReaderFunc.
func (s Source) readHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		base := level / TileHeight * TileHeight
		width := 1 << (level - base)
		hashes, err := s(base, uint64(n)*uint64(width), width)
		if err != nil {
			return nil, err
		}
		if len(hashes) != width {
			return nil, fmt.Errorf("tree: %d hashes of level %d where %d were asked for", len(hashes), base, width)
		}
		hashes = slices.Clone(hashes)
		for ; len(hashes) > 1; hashes = hashes[:len(hashes)/2] {
			for k := range len(hashes) / 2 {
				hashes[k] = node(hashes[2*k], hashes[2*k+1])
			}
		}
		out[i] = tlog.Hash(hashes[0])
	}
	return out, nil
}

// Root returns the root of the first size leaves.
func Root(s Source, size uint64) (Hash, error) {
	n, err := number("size", size)
	if err != nil {
		return Hash{}, err
	}
	h, err := tlog.TreeHash(n, tlog.HashReaderFunc(s.readHashes))
	return Hash(h), err
}

// ProveInclusion returns the proof that leaf index is in the tree of the first
// size leaves.
func ProveInclusion(s Source, size, index uint64) ([]Hash, error) {
	if index >= size {
		return nil, fmt.Errorf("prove leaf %d: the tree has %d", index, size)
	}
	n, err := number("size", size)
	if err != nil {
		return nil, err
	}
	p, err := tlog.ProveRecord(n, int64(index), tlog.HashReaderFunc(s.readHashes))
	return fromTlog(p), err
}

// ProveConsistency returns the proof that the first older leaves of the tree
// of the first size leaves are the tree of size older.
func ProveConsistency(s Source, size, older uint64) ([]Hash, error) {
	if older == 0 || older > size {
		return nil, fmt.Errorf("prove that a tree of %d leaves holds one of %d: sizes go from 1 up", size, older)
	}
	n, err := number("size", size)
	if err != nil {
		return nil, err
	}
	p, err := tlog.ProveTree(n, int64(older), tlog.HashReaderFunc(s.readHashes))
	return fromTlog(p), err
}

// CheckInclusion returns nil if proof shows that record is leaf index of the
// tree with a size and root, and otherwise an error that wraps ErrProof.
func CheckInclusion(proof []Hash, size uint64, root Hash, index uint64, record [32]byte) error {
	n, err := number("size", size)
	if err != nil {
		return err
	}
	if index >= size {
		return fmt.Errorf("%w: leaf %d of a tree of %d", ErrProof, index, size)
	}
	if tlog.CheckRecord(toTlog(proof), n, tlog.Hash(root), int64(index), tlog.Hash(Leaf(record))) != nil {
		return fmt.Errorf("%w: the record is not leaf %d of the tree of %d leaves with root %s", ErrProof, index, size, root)
	}
	return nil
}

// CheckConsistency returns nil if proof shows that the tree with a size and
// root begins with the older one, and otherwise an error that wraps ErrProof.
func CheckConsistency(proof []Hash, size uint64, root Hash, older uint64, olderRoot Hash) error {
	n, err := number("size", size)
	if err != nil {
		return err
	}
	if older == 0 || older > size {
		return fmt.Errorf("%w: a tree of %d leaves in one of %d", ErrProof, older, size)
	}
	if tlog.CheckTree(toTlog(proof), n, tlog.Hash(root), int64(older), tlog.Hash(olderRoot)) != nil {
		return fmt.Errorf("%w: the tree of %d leaves with root %s does not begin with that of %d leaves with root %s", ErrProof, size, root, older, olderRoot)
	}
	return nil
}

// maxSize keeps the numbers of stored hashes, about twice the size, in range.
const maxSize = 1 << 61

func number(what string, n uint64) (int64, error) {
	if n > maxSize {
		return 0, fmt.Errorf("%w: %s %d is over %d", ErrProof, what, n, uint64(maxSize))
	}
	return int64(n), nil
}

func fromTlog(hs []tlog.Hash) []Hash {
	out := make([]Hash, len(hs))
	for i := range hs {
		out[i] = Hash(hs[i])
	}
	return out
}

func toTlog(hs []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(hs))
	for i := range hs {
		out[i] = tlog.Hash(hs[i])
	}
	return out
}
