package merkle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"slices"
	"testing"

	"github.com/tokaworks/toka/journal/merkle"
)

// record returns a record hash.
func record(n uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
}

// mth is the Merkle Tree Hash as section 2.1 of RFC 6962 defines it.
func mth(records [][32]byte) merkle.Hash {
	switch n := len(records); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, records[0][:]...))
	default:
		k := 1 << (bits.Len(uint(n-1)) - 1)
		left, right := mth(records[:k]), mth(records[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

// grown is a tree with what a store of it keeps.
type grown struct {
	edge    merkle.Edge
	records [][32]byte
	roots   []merkle.Hash // by size
	stored  map[int][]merkle.Hash
	asked   map[int]int // hashes by level
}

func grow(t *testing.T, size uint64) *grown {
	t.Helper()
	g := &grown{stored: map[int][]merkle.Hash{}, asked: map[int]int{}}
	g.roots = append(g.roots, g.edge.Root())
	for n := range size {
		g.records = append(g.records, record(n))
		g.edge.Add(record(n), func(level int, n uint64, h merkle.Hash) {
			if level%merkle.TileHeight != 0 || n != uint64(len(g.stored[level])) {
				t.Fatalf("subtree %d of level %d was completed after %d", n, level, len(g.stored[level]))
			}
			g.stored[level] = append(g.stored[level], h)
		})
		g.roots = append(g.roots, g.edge.Root())
	}
	return g
}

// source is strict: it has the leaves, and what was completed.
func (g *grown) source(level int, first uint64, count int) ([]merkle.Hash, error) {
	if level%merkle.TileHeight != 0 || count > 128 {
		panic("not a stored level, or too much of it")
	}
	g.asked[level] += count
	if level > 0 {
		return g.stored[level][first : first+uint64(count)], nil
	}
	var out []merkle.Hash
	for _, r := range g.records[first : first+uint64(count)] {
		out = append(out, merkle.Leaf(r))
	}
	return out, nil
}

func TestRootsAreThoseOfRFC6962(t *testing.T) {
	g := grow(t, 600)
	for size := range g.roots {
		want := mth(g.records[:size])
		got, err := merkle.Root(g.source, uint64(size))
		if err != nil || got != want || g.roots[size] != want {
			t.Fatalf("root of %d leaves: %s and %s, %v; want %s", size, got, g.roots[size], err, want)
		}
	}
	// The empty tree's is in the RFC.
	if got := hex.EncodeToString(g.roots[0][:]); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("root of nothing: %s", got)
	}
}

func TestProofs(t *testing.T) {
	const most = 70
	g := grow(t, most)
	n := 0
	for size := uint64(1); size <= most; size++ {
		for index := range size {
			p, err := merkle.ProveInclusion(g.source, size, index)
			if err == nil {
				err = merkle.CheckInclusion(p, size, g.roots[size], index, g.records[index])
			}
			if err != nil {
				t.Fatalf("leaf %d of %d: %v", index, size, err)
			}
			older := index + 1
			p, err = merkle.ProveConsistency(g.source, size, older)
			if err == nil {
				err = merkle.CheckConsistency(p, size, g.roots[size], older, g.roots[older])
			}
			if err != nil {
				t.Fatalf("%d in %d: %v", older, size, err)
			}
			n += 2
		}
	}
	t.Logf("%d proofs", n)
}

func TestProofsAreRefused(t *testing.T) {
	const size = 37
	g := grow(t, size)
	root := g.roots[size]
	refused := 0
	wrong := func(what string, err error) {
		t.Helper()
		refused++
		if !errors.Is(err, merkle.ErrProof) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for index := range uint64(size) {
		p, err := merkle.ProveInclusion(g.source, size, index)
		if err != nil {
			t.Fatal(err)
		}
		check := func(p []merkle.Hash) error {
			return merkle.CheckInclusion(p, size, root, index, g.records[index])
		}
		wrong("another record", merkle.CheckInclusion(p, size, root, index, record(1000)))
		wrong("another index", merkle.CheckInclusion(p, size, root, (index+1)%size, g.records[index]))
		wrong("beyond the end", merkle.CheckInclusion(p, size, root, size, g.records[index]))
		wrong("another root", merkle.CheckInclusion(p, size, g.roots[size-1], index, g.records[index]))
		wrong("a size out of range", merkle.CheckInclusion(p, 1<<63, root, index, g.records[index]))
		mangled(p, check, wrong)

		older := index + 1
		if p, err = merkle.ProveConsistency(g.source, size, older); err != nil {
			t.Fatal(err)
		}
		check = func(p []merkle.Hash) error {
			return merkle.CheckConsistency(p, size, root, older, g.roots[older])
		}
		wrong("another older root", merkle.CheckConsistency(p, size, root, older, g.roots[older-1]))
		wrong("another newer root", merkle.CheckConsistency(p, size, g.roots[0], older, g.roots[older]))
		wrong("older than nothing", merkle.CheckConsistency(p, size, root, 0, g.roots[0]))
		wrong("the newer in the older", merkle.CheckConsistency(p, older, g.roots[older], size+1, root))
		mangled(p, check, wrong)
	}
	t.Logf("%d proofs refused", refused)
	if _, err := merkle.ProveInclusion(g.source, size, size); err == nil {
		t.Error("a leaf that is not there was proved")
	}
	if _, err := merkle.ProveConsistency(g.source, size, size+1); err == nil {
		t.Error("a tree in a smaller one was proved")
	}
}

// mangled tries every change of one hash of a proof.
func mangled(p []merkle.Hash, check func([]merkle.Hash) error, wrong func(string, error)) {
	for i := range p {
		q := slices.Clone(p)
		q[i][i%32] ^= 1
		wrong("a changed hash", check(q))
		wrong("a missing hash", check(slices.Delete(slices.Clone(p), i, i+1)))
	}
	wrong("an added hash", check(append(slices.Clone(p), merkle.Hash{})))
}

func TestEdge(t *testing.T) {
	var whole, edge merkle.Edge
	for n := range uint64(1000) {
		whole.Add(record(n), nil)
		edge.Add(record(n), nil)
		if n%7 != 0 {
			continue
		}
		// Stored and read again, it goes on as if nothing had happened.
		var err error
		if edge, err = merkle.ParseEdge(edge.Append(nil)); err != nil || edge.Size() != n+1 || edge.Root() != whole.Root() {
			t.Fatalf("edge of %d leaves: %d, %v", n+1, edge.Size(), err)
		}
	}
	before := edge.Clone()
	edge.Add(record(1), nil)
	if before.Size() != 1000 || before.Root() != whole.Root() {
		t.Error("a copy changed with the edge it was taken of")
	}
	b := edge.Append(nil)
	for _, bad := range [][]byte{nil, b[:7], b[:len(b)-1], append(slices.Clone(b), 0)} {
		if _, err := merkle.ParseEdge(bad); err == nil {
			t.Errorf("an edge of %d bytes was read", len(bad))
		}
	}
}

// However large the tree, a proof reads less than two tiles of each level.
func TestProofCost(t *testing.T) {
	g := grow(t, 3*65536+300)
	size := uint64(len(g.records))
	for _, index := range []uint64{0, 255, 65535, 65536, 100_000, size - 1} {
		clear(g.asked)
		p, err := merkle.ProveInclusion(g.source, size, index)
		if err == nil {
			err = merkle.CheckInclusion(p, size, g.roots[size], index, g.records[index])
		}
		if err != nil {
			t.Fatal(err)
		}
		for level, n := range g.asked {
			if n > 2*255 {
				t.Errorf("the proof of leaf %d read %d hashes of level %d", index, n, level)
			}
		}
	}
}

func FuzzParseEdge(f *testing.F) {
	g := merkle.Edge{}
	for n := range uint64(11) {
		f.Add(g.Append(nil))
		g.Add(record(n), nil)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := merkle.ParseEdge(b)
		if err == nil && string(e.Append(nil)) != string(b) {
			t.Errorf("%x reads as an edge that is written %x", b, e.Append(nil))
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var e merkle.Edge
	r := record(1)
	for b.Loop() {
		e.Add(r, nil)
	}
}
