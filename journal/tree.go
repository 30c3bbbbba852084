package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal/merkle"
)

// tree is what is kept of the tree over all record hashes, derived like the
// rest of the index and written with it: the roots of its complete subtrees on
// each eighth level, some 32 bytes for 256 events, and its right edge. Leaves
// are not kept: the records have them. What came after the index is added from
// the log when somebody asks.
type tree struct {
	mu   sync.Mutex
	edge merkle.Edge // of the events that the index holds
}

func (t *tree) load() merkle.Edge {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.edge.Clone()
}

func (t *tree) set(e merkle.Edge) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.edge = e
}

// place is what an entry knows of its event for the record hash alone.
type place struct {
	recordTime int64
	epoch      uint32
	rare       *rare // nil for most events
}

type rare struct {
	embedding events.Digest
	trace     string
}

func newPlace(e *events.Event) place {
	p := place{recordTime: e.RecordTime.UnixNano(), epoch: e.Epoch}
	if !e.EmbeddingDigest.IsZero() || e.Trace != "" {
		p.rare = &rare{e.EmbeddingDigest, e.Trace}
	}
	return p
}

func (en *entry) recordHash(position uint64) events.Digest {
	e := events.Event{
		Digest: en.digest, Position: position, StreamPosition: en.streamVersion,
		Epoch: en.place.epoch, RecordTime: time.Unix(0, en.place.recordTime),
	}
	if r := en.place.rare; r != nil {
		e.EmbeddingDigest, e.Trace = r.embedding, r.trace
	}
	return e.RecordHash()
}

func treeKey(b []byte, level int, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, idxTree, byte(level)), n)
}

// tree adds the generation to the tree and returns the new edge, to be
// published once the batch is written.
func (w *indexWriter) tree(edge merkle.Edge) merkle.Edge {
	for i := range w.g.entries {
		edge.Add(w.g.entries[i].recordHash(w.g.first+uint64(i)), func(level int, n uint64, h merkle.Hash) {
			w.set(treeKey(w.key[:0], level, n), h[:])
		})
	}
	w.set([]byte{idxTree}, edge.Append(nil))
	return edge
}

// loadEdge reads the edge that is stored; ok is false if there is none.
func (s *store) loadEdge() (edge merkle.Edge, ok bool, err error) {
	v, closer, err := s.index.Get([]byte{idxTree})
	if errors.Is(err, pebble.ErrNotFound) {
		return edge, false, nil
	}
	if err != nil {
		return edge, false, fmt.Errorf("index: tree: %w", readError(err))
	}
	defer closer.Close()
	edge, err = merkle.ParseEdge(v)
	return edge, err == nil, nil
}

// Origin is the name that the journal has in its heads. It stays when the
// journal is restored or moved.
func (j *Journal) Origin() string { return "toka.journal/" + uuid.UUID(j.store.id).String() }

// Head returns the head over everything up to the durable mark.
func (j *Journal) Head(ctx context.Context) (merkle.Head, error) {
	return j.HeadAt(ctx, j.mark.load())
}

// HeadAt returns the head over the first size events. Errors wrap ErrNotFound
// if there are fewer.
func (j *Journal) HeadAt(ctx context.Context, size uint64) (merkle.Head, error) {
	h := merkle.Head{Origin: j.Origin(), Size: size}
	err := j.withTree(ctx, size, func(edge *merkle.Edge, s merkle.Source) (err error) {
		if edge.Size() == size {
			h.Root = edge.Root()
			return nil
		}
		h.Root, err = merkle.Root(s, size)
		return err
	})
	return h, err
}

// ProveInclusion returns the proof that the event at a position is among the
// first size events.
func (j *Journal) ProveInclusion(ctx context.Context, size, position uint64) (proof []merkle.Hash, err error) {
	if position == 0 || position > size {
		return nil, fmt.Errorf("position %d: %w: it is not among the first %d events", position, ErrNotFound, size)
	}
	err = j.withTree(ctx, size, func(_ *merkle.Edge, s merkle.Source) (err error) {
		proof, err = merkle.ProveInclusion(s, size, position-1)
		return err
	})
	return proof, err
}

// ProveConsistency returns the proof that the first size events begin with the
// first older ones.
func (j *Journal) ProveConsistency(ctx context.Context, size, older uint64) (proof []merkle.Hash, err error) {
	err = j.withTree(ctx, size, func(_ *merkle.Edge, s merkle.Source) (err error) {
		proof, err = merkle.ProveConsistency(s, size, older)
		return err
	})
	return proof, err
}

// Record returns what is stored of the event at a position, its payload
// included unless it is pruned and encrypted if it is, in the form that events.CheckRecord checks: with a proof it shows
// somebody else that and how the event is in the journal.
func (j *Journal) Record(ctx context.Context, position uint64) ([]byte, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	if end := j.mark.load(); position == 0 || position > end {
		return nil, fmt.Errorf("position %d: %w: the journal ends at %d", position, ErrNotFound, end)
	}
	e, err := j.stored(position)
	if err != nil {
		return nil, err
	}
	return events.AppendRecord(nil, &e, 0), nil
}

// withTree calls f with a source for the first size events, and with the edge
// of the tree after them or after more.
func (j *Journal) withTree(ctx context.Context, size uint64, f func(*merkle.Edge, merkle.Source) error) error {
	if end := j.mark.load(); size > end {
		return fmt.Errorf("head of %d events: %w: the journal ends at %d", size, ErrNotFound, end)
	}
	// What the index has not got to yet is added from the log.
	edge := j.tree.load()
	type subtree struct {
		level int
		n     uint64
	}
	added := map[subtree]merkle.Hash{}
	for edge.Size() < size {
		last := min(edge.Size()+4096, size)
		leaves, err := j.recordHashes(ctx, edge.Size()+1, last)
		if err != nil {
			return err
		}
		for i := range leaves {
			edge.Add(leaves[i], func(level int, n uint64, h merkle.Hash) { added[subtree{level, n}] = h })
		}
	}
	return f(&edge, func(level int, first uint64, count int) ([]merkle.Hash, error) {
		out := make([]merkle.Hash, 0, count)
		if level == 0 {
			leaves, err := j.recordHashes(ctx, first+1, first+uint64(count))
			for i := range leaves {
				out = append(out, merkle.Leaf(leaves[i]))
			}
			return out, err
		}
		if err := j.enter(ctx); err != nil {
			return nil, err
		}
		defer j.leave()
		for n := first; n < first+uint64(count); n++ {
			h, ok := added[subtree{level, n}]
			if !ok {
				var err error
				if h, err = j.store.subtree(level, n); err != nil {
					return nil, err
				}
			}
			out = append(out, h)
		}
		return out, nil
	})
}

// subtree reads the root of a complete subtree.
func (s *store) subtree(level int, n uint64) (h merkle.Hash, err error) {
	what := func() string {
		width := uint64(1) << level
		return fmt.Sprintf("tree: events %d to %d", n*width+1, (n+1)*width)
	}
	v, closer, err := s.index.Get(treeKey(nil, level, n))
	if errors.Is(err, pebble.ErrNotFound) {
		return h, fmt.Errorf("%s: %w: the index does not hold them; delete its directory, and it is built again", what(), ErrCorrupt)
	}
	if err != nil {
		return h, fmt.Errorf("%s: index: %w", what(), readError(err))
	}
	defer closer.Close()
	if len(v) != len(h) {
		return h, fmt.Errorf("%s: %w: %d bytes where a hash was expected", what(), ErrCorrupt, len(v))
	}
	return merkle.Hash(v), nil
}

// recordHashes makes the record hashes from first to last from the records.
func (j *Journal) recordHashes(ctx context.Context, first, last uint64) ([]events.Digest, error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	out := make([]events.Digest, 0, last-first+1)
	err := j.eachRecord(first, last, func(e events.Event, _ uint64) error {
		if want := first + uint64(len(out)); e.Position != want {
			return missing(want)
		}
		out = append(out, e.RecordHash())
		return nil
	})
	if err == nil && uint64(len(out)) != last-first+1 {
		err = missing(first + uint64(len(out)))
	}
	return out, err
}

// treeVerifier holds the stored tree, and heads that were kept elsewhere,
// against the log.
type treeVerifier struct {
	edge   merkle.Edge // over the records as they are read
	stored merkle.Edge // as it was stored when Verify began
	heads  []merkle.Head
	broken bool // a record is missing or damaged: what follows it says nothing
	other  bool // the stored tree is another
}

func (v *verifier) beginTree(ctx context.Context) error {
	if err := v.j.enter(ctx); err != nil {
		return err
	}
	defer v.j.leave()
	written := v.j.tree.load() // before what is stored: that may only grow meanwhile
	edge, ok, err := v.j.store.loadEdge()
	if err != nil {
		return err
	}
	if !ok && written.Size() > 0 {
		v.problem(0, "the index holds no tree")
	}
	if edge.Size() <= v.total {
		v.tree.stored = edge
	}
	return nil
}

// leaf adds a record that was read, or one that could not be if e is nil.
func (v *verifier) leaf(e *events.Event) {
	t := &v.tree
	if t.broken = t.broken || e == nil; t.broken {
		return
	}
	t.edge.Add(e.RecordHash(), func(level int, n uint64, h merkle.Hash) {
		last := (n + 1) << level
		if last > t.stored.Size() || t.other {
			return
		}
		got, err := v.j.store.subtree(level, n)
		if err != nil {
			v.problem(last, "%v", err)
			return
		}
		if got != h {
			t.other = true
			v.problem(last, "the tree was built over other records for the events %d to %d: it has %s, the log gives %s", n<<level+1, last, got, h)
		}
	})
	if t.edge.Size() == t.stored.Size() && !t.other {
		if a, b := t.edge.Append(nil), t.stored.Append(nil); !bytes.Equal(a, b) {
			v.problem(t.edge.Size(), "the tree over the first %d events has the root %s, the log gives %s", t.edge.Size(), t.stored.Root(), t.edge.Root())
		}
	}
	for _, h := range t.heads {
		if h.Size == t.edge.Size() && h.Root != t.edge.Root() {
			v.problem(h.Size, "the first %d events are not those that the head stands for: its root is %s, the log gives %s", h.Size, h.Root, t.edge.Root())
		}
	}
}

// finishTree says what of the heads is not there at all.
func (v *verifier) finishTree() {
	t := &v.tree
	for _, h := range t.heads {
		switch {
		case h.Origin != v.j.Origin():
			v.problem(0, "the head is of another journal, %s; this one is %s", h.Origin, v.j.Origin())
		case h.Size > v.total:
			v.problem(0, "positions %d to %d are missing, which a head stands for: the journal ends at %d", v.total+1, h.Size, v.total)
		case h.Size > t.edge.Size():
			v.problem(0, "the head of %d events cannot be checked: the record at position %d is damaged or missing", h.Size, t.edge.Size()+1)
		}
	}
	if t.edge.Size() == v.total && !t.other {
		v.report.Root = t.edge.Root().String()
	}
}
