package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal/merkle"
)

// Report is what Verify found.
type Report struct {
	Events   uint64 `json:"events"`
	Payloads uint64 `json:"payloads"` // distinct, not counting empty ones
	Streams  uint64 `json:"streams"`
	Pruned   uint64 `json:"pruned,omitempty"` // of the payloads
	OK       bool   `json:"ok"`
	// Stubs is how many parents of imported events are known by digest only.
	Stubs uint64 `json:"stubs,omitempty"`
	// Content is the BLAKE3-256 of the sorted causal digests, in hexadecimal:
	// equal for two journals that hold the same events, in whatever order.
	Content string `json:"content"`
	// Root is the root of the tree over everything that was verified, as a head
	// has it; empty if the records are not those it was built over. Unlike
	// Content it is of this journal alone, so it is not printed with the report.
	Root     string    `json:"-"`
	Problems []Problem `json:"problems,omitempty"` // the first MaxProblems
	More     uint64    `json:"more_problems,omitempty"`
}

// MaxProblems bounds how many problems a Report lists.
const MaxProblems = 100

// Problem is one thing that is not as it should be.
type Problem struct {
	Position uint64 `json:"position"` // 0 if it is about no single event
	What     string `json:"what"`
}

// Verify reads everything up to the durable mark from the store and checks it
// against itself: every payload, causal and embedding digest is computed anew
// from the stored bytes, every parent is looked up and must stand earlier with
// the digest that is recorded, positions must be dense in the journal and in
// each stream, record times must not decrease, each payload must be stored
// once, and the index must hold each event by id, digest, stream and outside id, each
// payload, and each link from both of its ends, and nothing else, and must hide
// no event from a query that skips, and the tree must be that over the records.
// Intents must be those that a strategy makes of the log when it begins anew,
// where Options.NewIntents can make one.
// progress, if it is not nil, is called now and then.
//
// What is wrong is in the Report; the error is about what kept Verify from
// looking. It takes 64 bytes of memory for each event and 100 or so for each
// stream, payload and stub.
func (j *Journal) Verify(ctx context.Context, progress func(done, total uint64)) (Report, error) {
	return j.VerifyAgainst(ctx, nil, progress)
}

// VerifyAgainst is Verify that holds the journal against heads of it as well,
// which were kept elsewhere: what one of them stands for and is not there any
// more is a problem by its positions.
func (j *Journal) VerifyAgainst(ctx context.Context, heads []merkle.Head, progress func(done, total uint64)) (_ Report, err error) {
	v := newVerifier(j, heads)
	v.links = j.Links()
	v.links.held = true
	if v.indexed, err = j.indexedUpTo(ctx); err != nil {
		return v.report, err
	}
	if err := v.beginTree(ctx); err != nil {
		return v.report, err
	}
	if err := v.log(ctx, progress); err != nil {
		return v.report, err
	}
	for _, check := range []func() error{v.runs, v.streamIndex, v.outsideIndex, v.childIndex, func() error { return v.intents(ctx) }, v.finish} {
		if err := j.enter(ctx); err != nil {
			return v.report, err
		}
		err := check()
		j.leave()
		if err != nil {
			return v.report, err
		}
	}
	return v.report, nil
}

func newVerifier(j *Journal, heads []merkle.Head) *verifier {
	v := &verifier{j: j, total: j.mark.load(), seed: maphash.MakeSeed(), streams: map[string]uint64{}, payloads: map[[16]byte]uint64{}, pruned: map[uint64]bool{}}
	v.tree.heads = heads
	return v
}

// log reads all records.
func (v *verifier) log(ctx context.Context, progress func(done, total uint64)) error {
	for v.done < v.total {
		if err := v.j.enter(ctx); err != nil {
			return err
		}
		err := v.chunk()
		v.j.leave()
		if err != nil {
			return err
		}
		if progress != nil {
			progress(v.done, v.total)
		}
	}
	return nil
}

type verifier struct {
	j        *Journal
	report   Report
	total    uint64
	done     uint64
	streams  map[string]uint64
	payloads map[[16]byte]uint64
	pruned   map[uint64]bool // records whose payload is gone
	digests  []events.Digest // by position - 1
	hashes   [2][]uint64     // likewise: of ids, and of the payloads that records hold
	places   []uint64        // likewise: hash of stream and stream position
	indexed  uint64          // what the index covered when Verify began
	block    summary         // of the last position that was looked at
	time     time.Time       // record time of the position before
	seed     maphash.Seed
	linkVerifier
	outsideVerifier
	tree    treeVerifier
	logOnly bool // there is no index, as in a backup
}

func (v *verifier) problem(position uint64, format string, args ...any) {
	if len(v.report.Problems) >= MaxProblems {
		v.report.More++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{Position: position, What: fmt.Sprintf(format, args...)})
}

// chunk verifies some thousand records. Damage is a problem to report; a
// chunk that cannot be read at all is skipped, so that one bad block does not
// hide the rest.
func (v *verifier) chunk() error {
	first, last := v.done+1, min(v.done+4096, v.total)
	next := first
	it, err := v.j.store.log.NewIter(&pebble.IterOptions{LowerBound: positionKey(logRecord, first), UpperBound: positionKey(logRecord, last+1)})
	if err != nil {
		return fmt.Errorf("verify: %w", readError(err))
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			break
		}
		position := tail8(it.Key())
		v.gap(next, position)
		next = position + 1
		v.record(position, value)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		v.problem(next, "the log cannot be read from here: %v", readError(err))
	}
	v.gap(next, last+1)
	v.done = last
	return nil
}

func (v *verifier) gap(next, position uint64) {
	for ; next < position; next++ {
		v.problem(next, "the record is missing")
		v.note(&events.Event{}, 0)
		v.leaf(nil)
		v.unread = true
	}
}

// note keeps what later checks need to know of the next record.
func (v *verifier) note(e *events.Event, payload uint64) {
	v.digests = append(v.digests, e.Digest)
	v.places = append(v.places, v.place(e.Stream, e.StreamPosition))
	v.hashes[0] = append(v.hashes[0], idHash(e.ID))
	v.hashes[1] = append(v.hashes[1], payload)
	v.children = append(v.children, 0)
}

func (v *verifier) record(position uint64, value []byte) {
	e, payloadAt, err := events.CheckRecord(position, value)
	payload := uint64(0)
	if payloadAt == 0 && (len(e.Payload) > 0 || e.PayloadState == events.PayloadPruned) {
		payload = digestHash(e.PayloadDigest)
	}
	v.note(&e, payload)
	if err != nil {
		v.unread = true
		v.leaf(nil)
		// The problem names the position already.
		v.problem(position, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("position %d: ", position)))
		return
	}
	v.leaf(&e)
	v.report.Events++
	if e.Epoch == 0 || e.Epoch > v.j.store.epoch {
		v.problem(position, "epoch %d; the journal is in epoch %d", e.Epoch, v.j.store.epoch)
	}
	v.checkEpoch(&e)
	if want := v.streams[e.Stream] + 1; e.StreamPosition != want {
		v.problem(position, "stream %q: stream position %d where %d was expected", e.Stream, e.StreamPosition, want)
	}
	v.streams[e.Stream] = e.StreamPosition
	for _, p := range e.Parents {
		switch {
		case p.Position == 0:
			v.absent(&e, p)
		case p.Position >= position:
			v.problem(position, "parent %s is recorded at position %d, which is not earlier", p.ID, p.Position)
		case v.digests[p.Position-1] != p.Digest:
			v.problem(position, "parent %s at position %d has digest %s, recorded %s", p.ID, p.Position, v.digests[p.Position-1].Short(), p.Digest.Short())
		case v.hashes[0][p.Position-1] != idHash(p.ID):
			v.problem(position, "parent %s is recorded at position %d, where another event is", p.ID, p.Position)
		}
	}
	if e.RecordTime.Before(v.time) {
		v.problem(position, "record time %v is before that of the position before, %v", e.RecordTime, v.time)
	}
	v.time = e.RecordTime
	v.payload(&e, payloadAt)
	if !e.EmbeddingDigest.IsZero() {
		v.embedding(&e)
	}
	if v.logOnly {
		return
	}
	v.parents(&e)
	v.summary(&e)
	v.outside(&e)
	if at, _ := v.j.tail.byID(e.ID); at != 0 && at != position {
		v.problem(position, "event %s is at position %d in memory", e.ID, at)
	}
}

// summary checks that the block's summary does not hide the event.
func (v *verifier) summary(e *events.Event) {
	if e.Position > v.indexed {
		return
	}
	if e.Position < v.block.first || e.Position > v.block.last {
		s, err := v.j.summaryOf(e.Position)
		if err != nil || s.empty() {
			v.problem(e.Position, "the index has no summary of it (%v)", err)
			return
		}
		v.block = s
	}
	hidden := false
	kindHashes(e.Kind, func(h uint64) { hidden = hidden || !v.block.has(h) })
	if e.Correlation != "" {
		hidden = hidden || !v.block.has(hashText(saltCo, 0, e.Correlation))
	}
	if hidden {
		v.problem(e.Position, "the index's summary of positions %d to %d hides it", v.block.first, v.block.last)
	}
}

func (v *verifier) payload(e *events.Event, payloadAt uint64) {
	pruned := e.PayloadState == events.PayloadPruned
	if len(e.Payload) == 0 && payloadAt == 0 && !pruned {
		return
	}
	// Half a digest tells payloads apart well enough to count them; what is
	// wrong with one is found by its whole digest.
	key := [16]byte(e.PayloadDigest[:16])
	holder, seen := v.payloads[key]
	switch {
	case payloadAt == 0 && seen && !v.pruned[holder]:
		v.problem(e.Position, "payload %s is stored again; position %d holds it", e.PayloadDigest.Short(), holder)
	case payloadAt == 0:
		v.payloads[key] = e.Position
		v.report.Payloads++
		if pruned {
			v.pruned[e.Position] = true
			v.report.Pruned++
		}
	case v.pruned[payloadAt] && seen:
	case !seen || holder != payloadAt:
		v.problem(e.Position, "payload %s should lie at position %d and does not", e.PayloadDigest.Short(), payloadAt)
	}
}

func (v *verifier) embedding(e *events.Event) {
	value, closer, err := v.j.store.log.Get(positionKey(logVector, e.Position))
	if err != nil {
		v.problem(e.Position, "the embedding is missing: %v", readError(err))
		return
	}
	defer closer.Close()
	if got := events.EmbeddingDigest(value); got != e.EmbeddingDigest {
		v.problem(e.Position, "embedding digest %s, recomputed %s", e.EmbeddingDigest.Short(), got.Short())
	}
}

// place stands for a stream and a position in it.
func (v *verifier) place(stream string, streamPosition uint64) uint64 {
	return maphash.String(v.seed, stream) ^ streamPosition*0x9e3779b97f4a7c15
}

// indexedUpTo is the position of the index's mark.
func (j *Journal) indexedUpTo(ctx context.Context) (uint64, error) {
	if err := j.enter(ctx); err != nil {
		return 0, err
	}
	defer j.leave()
	m, _, err := j.store.loadMark()
	return m.position, err
}

// covered is up to where the index can be held against the log.
func (v *verifier) covered() (uint64, error) {
	m, _, err := v.j.store.loadMark()
	return min(m.position, v.total), err
}

// runs holds the runs of the index against the log, entry by entry.
func (v *verifier) runs() error {
	list, snapshot := v.j.runs.snapshot()
	defer func() { _ = snapshot.Close() }()
	next := uint64(1)
	for _, r := range list {
		if r.first != next {
			v.problem(next, "the index has no run from here; the next begins at position %d", r.first)
		}
		next = r.last + 1
		if r.first > v.total {
			return nil // came while Verify ran
		}
		for kind := range hashKinds {
			v.run(snapshot, r, kind)
		}
	}
	return nil
}

// run checks that a run holds exactly the hashes of its events, in order.
func (v *verifier) run(from pebble.Reader, r *run, kind hashKind) {
	what := [hashKinds]string{"ids", "digests", "payloads"}[kind]
	want := func(p uint64) uint64 {
		switch kind {
		case hashDigest:
			return digestHash(v.digests[p-1])
		case hashPayload:
			return v.hashes[1][p-1]
		}
		return v.hashes[0][p-1]
	}
	seen := make([]bool, min(r.last, v.total)-r.first+1)
	var last pair
	filter, made := r.tables[kind].filter.Load(), newFilter(r.tables[kind].pairs)
	c := cursor{from: from, r: r, kind: kind}
	c.mismatch = func(err error) {
		v.problem(r.first, "the index of %s from here to position %d: %v", what, r.last, err)
	}
	for {
		ok, err := c.next()
		if err != nil {
			v.problem(r.first, "the index of %s from here to position %d: %v", what, r.last, err)
			return
		}
		if !ok {
			break
		}
		made.add(c.hash)
		switch {
		case c.position <= r.last && c.position > v.total: // came while Verify ran
			continue
		case c.position > r.last || seen[c.position-r.first]:
			v.problem(c.position, "the index of %s from position %d to %d lists it out of place", what, r.first, r.last)
			continue
		case want(c.position) != c.hash:
			v.problem(c.position, "the index of %s has %016x for it, the log %016x", what, c.hash, want(c.position))
		case comparePairs(c.pair, last) < 0:
			v.problem(c.position, "the index of %s is out of order", what)
		case filter != nil && !filter.has(c.hash):
			v.problem(c.position, "the filter of %s denies it", what)
		}
		seen[c.position-r.first] = true
		last = c.pair
	}
	v.filter(from, r, kind, what, made)
	for i := range seen {
		if p := r.first + uint64(i); !seen[i] && (kind != hashPayload || want(p) != 0) {
			v.problem(p, "the index of %s does not hold it", what)
		}
	}
}

// streamIndex holds the index of streams against the log.
func (v *verifier) streamIndex() error {
	most, err := v.covered()
	if err != nil {
		return err
	}
	seen := make([]bool, most+1)
	err = v.j.eachIndexKey([]byte{idxStream}, []byte{idxStream + 1}, func(key, value []byte) (bool, error) {
		n, w := binary.Uvarint(key[1:])
		positions, err := decodePositions(value)
		if w <= 0 || uint64(len(key)) != 1+uint64(w)+n+8 || err != nil {
			v.problem(0, "the index of streams holds a malformed entry %x", key)
			return true, nil
		}
		stream := string(key[1+w : len(key)-8])
		for i, position := range positions {
			version := tail8(key) + uint64(i)
			switch {
			case position > most: // came while Verify ran
			case v.places[position-1] != v.place(stream, version):
				v.problem(position, "the index takes it for event %d of stream %q", version, stream)
			default:
				seen[position] = true
			}
		}
		return true, nil
	})
	for p := uint64(1); p <= most && err == nil; p++ {
		if !seen[p] {
			v.problem(p, "the index of streams does not hold it")
		}
	}
	return err
}

func (v *verifier) finish() error {
	v.report.Streams = uint64(len(v.streams))
	v.report.Stubs = uint64(len(v.stubs))
	if !v.logOnly {
		v.counts()
	}
	if p := v.j.store.corrupt.Load(); p != nil && len(v.report.Problems) == 0 {
		v.problem(0, "%v", *p)
	}
	v.finishTree()
	v.report.OK = len(v.report.Problems) == 0
	v.report.Content = contentDigest(v.digests)
	return nil
}

// counts holds what the index counts and where it says that streams end
// against the log.
func (v *verifier) counts() {
	stats := v.j.Stats()
	if stats.Position == v.total && stats.Payloads != v.report.Payloads {
		v.problem(0, "the index counts %d payloads, the log holds %d", stats.Payloads, v.report.Payloads)
	}
	if stats.Position == v.total && stats.Streams != v.report.Streams {
		v.problem(0, "the index counts %d streams, the log holds %d", stats.Streams, v.report.Streams)
	}
	for stream, version := range v.streams {
		h, ok := v.j.tail.head(stream)
		if !ok {
			var err error
			if h, err = v.j.indexedHead(stream); err != nil {
				v.problem(0, "stream %q: %v", stream, err)
				continue
			}
		}
		if h.position <= v.total && h.version != version {
			v.problem(0, "stream %q: the index ends at stream position %d, the log at %d", stream, h.version, version)
		}
	}
}

// contentDigest sorts its argument.
func contentDigest(digests []events.Digest) string {
	slices.SortFunc(digests, func(a, b events.Digest) int { return bytes.Compare(a[:], b[:]) })
	h := blake3.New()
	for i := range digests {
		_, _ = h.Write(digests[i][:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
