package bundle

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
)

// Summary is what a bundle holds.
type Summary struct {
	Events uint64 `json:"events"`
	Bytes  int64  `json:"bytes"`
	// Embeddings is how many of the events are there with their embedding.
	Embeddings uint64 `json:"embeddings,omitempty"`
	// Stubs is how many parents of the events are not in the bundle.
	Stubs uint64 `json:"stubs"`
	// Origin and Size are of the head that the proofs are against, if there
	// are proofs.
	Origin string `json:"origin,omitempty"`
	Size   uint64 `json:"size,omitempty"`
	// Signed says that a given key has signed the head.
	Signed bool `json:"signed"`
}

// ExportOptions say what a bundle holds besides events.
type ExportOptions struct {
	// Proofs adds the journal's head and a proof for each event.
	Proofs bool
	// Key signs the head. It means Proofs.
	Key *merkle.Key
}

// Export writes the events at the given positions, which ascend, to w. Events
// that are appended after it began are not in it. Errors are those of
// positions, of reading the journal and of writing.
func Export(ctx context.Context, w io.Writer, j *journal.Journal, positions iter.Seq2[uint64, error], o ExportOptions) (Summary, error) {
	counted := &counter{w: w}
	f := newFrameWriter(counted)
	seen := newSeen()
	var s Summary
	end := j.Position()
	if o.Proofs || o.Key != nil {
		h, err := j.HeadAt(ctx, end)
		if err != nil {
			return s, err
		}
		text := []byte(h.Text())
		if o.Key != nil {
			if text, err = o.Key.Sign(h); err != nil {
				return s, err
			}
			s.Signed = true
		}
		s.Origin, s.Size = h.Origin, h.Size
		f.frame(frameHead, text)
	}
	last := uint64(0)
	var body []byte
	var model journal.Model // of the embeddings before
	for e, err := range j.Each(ctx, upTo(end, positions)) {
		if err != nil {
			return s, err
		}
		if e.Position <= last {
			return s, fmt.Errorf("bundle: position %d after %d: positions must ascend", e.Position, last)
		}
		last = e.Position
		record, err := j.Record(ctx, e.Position)
		if err != nil {
			return s, err
		}
		body = appendEvent(body[:0], e.Position, record)
		if _, err := parseEvent(body); err != nil {
			return s, fmt.Errorf("bundle: %w: %w", journal.ErrCorrupt, err)
		}
		if !e.EmbeddingDigest.IsZero() {
			if model, err = writeVector(ctx, f, j, &e, model); err != nil {
				return s, err
			}
			s.Embeddings++
		}
		f.frame(frameEvent, body)
		if s.Size > 0 {
			proof, err := j.ProveInclusion(ctx, s.Size, e.Position)
			if err != nil {
				return s, err
			}
			body = appendProof(body[:0], proof)
			f.frame(frameProof, body)
		}
		if err := seen.add(&e); err != nil {
			return s, fmt.Errorf("bundle: %w: %w", journal.ErrCorrupt, err)
		}
		s.Events++
	}
	err := f.end(s.Events)
	s.Bytes, s.Stubs = counted.n, seen.stubs()
	return s, err
}

// writeVector writes the embedding of an event, after its model if that is not
// the one of those before, and returns the model.
func writeVector(ctx context.Context, f *frameWriter, j *journal.Journal, e *events.Event, model journal.Model) (journal.Model, error) {
	x, err := j.Embedding(ctx, e.Position)
	if err != nil {
		return model, err
	}
	stored := x.Vector.Bytes()
	if got := events.EmbeddingDigest(stored); got != e.EmbeddingDigest {
		return model, fmt.Errorf("bundle: event %s, position %d: %w: embedding digest %s, recomputed %s",
			e.ID, e.Position, journal.ErrCorrupt, e.EmbeddingDigest.Short(), got.Short())
	}
	if m := (journal.Model{Name: x.Model.Name, Dimension: len(x.Vector)}); m != model {
		f.frame(frameModel, appendModel(nil, m))
		model = m
	}
	f.frame(frameVector, stored)
	return model, nil
}

func upTo(end uint64, positions iter.Seq2[uint64, error]) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for p, err := range positions {
			if p > end || !yield(p, err) {
				return
			}
		}
	}
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// seen counts parents that are not among the events before.
type seen struct {
	events map[events.Digest]events.ID
	absent map[events.Digest]struct{}
}

func newSeen() *seen {
	return &seen{map[events.Digest]events.ID{}, map[events.Digest]struct{}{}}
}

// add notes an event. The error is about a parent that has another id.
func (s *seen) add(e *events.Event) error {
	for _, p := range e.Parents {
		id, ok := s.events[p.Digest]
		switch {
		case !ok:
			s.absent[p.Digest] = struct{}{}
		case id != p.ID:
			return fmt.Errorf("event %s names parent %s by id %s; it has id %s", e.ID, p.Digest.Short(), p.ID, id)
		}
	}
	if _, twice := s.events[e.Digest]; twice {
		return fmt.Errorf("event %s stands twice", e.ID)
	}
	s.events[e.Digest] = e.ID
	return nil
}

func (s *seen) stubs() uint64 { return uint64(len(s.absent)) }

// VerifyOptions say what a bundle has to show.
type VerifyOptions struct {
	// Keys are public keys, as merkle.Key.Public returns them: if there are
	// any, the head must be signed by one.
	Keys []string
	// Head, if its size is not 0, is a head that is trusted already: the
	// bundle's proofs must be against this very one.
	Head merkle.Head
}

// Verify reads a bundle to its end and checks everything in it. Errors wrap
// ErrBundle, merkle.ErrProof or merkle.ErrSignature, or are the reader's.
func Verify(r io.Reader, o VerifyOptions) (Summary, error) {
	return read(r, o, func(events.Event, journal.ImportedVector) error { return nil })
}

// read calls f for each event, in order, when it is verified as far as it can
// be without what comes after it, with its embedding if the bundle has it. An
// error of f ends it.
func read(r io.Reader, o VerifyOptions, f func(events.Event, journal.ImportedVector) error) (s Summary, err error) {
	frames, err := newFrameReader(r)
	if err != nil {
		return s, err
	}
	var head merkle.Head
	var e events.Event // the one that waits for its proof, if proved is false
	var vectors vectorReader
	proved, ids := true, newSeen()
	for first := true; ; first = false {
		kind, body, err := frames.frame()
		if err != nil {
			return s, err
		}
		switch {
		case kind == frameHead && first:
			if head, s.Signed, err = openHead(body, o); err != nil {
				return s, err
			}
			s.Origin, s.Size = head.Origin, head.Size
		case (kind == frameModel || kind == frameVector) && proved && !frames.old:
			if err := vectors.frame(kind, body); err != nil {
				return s, frames.bad("%v", err)
			}
		case kind == frameEvent && proved:
			last := e.Position
			if e, err = parseEvent(body); err != nil {
				return s, frames.bad("%v", err)
			}
			if e.Position <= last {
				return s, frames.bad("position %d after %d", e.Position, last)
			}
			if err := ids.add(&e); err != nil {
				return s, frames.bad("%v", err)
			}
			if !frames.old {
				if err := vectors.belongs(&e); err != nil {
					return s, frames.bad("%v", err)
				}
			}
			s.Events++
			if len(vectors.at.Vector) > 0 {
				s.Embeddings++
			}
			if proved = s.Size == 0; !proved {
				continue
			}
			if err := f(e, vectors.take()); err != nil {
				return s, err
			}
		case kind == frameProof && !proved:
			if err := prove(body, head, &e); err != nil {
				return s, err
			}
			proved = true
			if err := f(e, vectors.take()); err != nil {
				return s, err
			}
		case kind == frameEnd && proved && len(vectors.at.Vector) == 0:
			if want := appendEnd(nil, s.Events, frames.before); string(body) != string(want) {
				return s, frames.bad("its end does not fit what comes before it: bytes or events are missing or changed")
			}
			s.Bytes, s.Stubs = frames.next, ids.stubs()
			if s.Size == 0 && (len(o.Keys) > 0 || o.Head.Size > 0) {
				return s, bad("it has no head and no proofs")
			}
			return s, frames.ended()
		default:
			return s, frames.bad("a frame %q out of place", kind)
		}
	}
}

func openHead(text []byte, o VerifyOptions) (h merkle.Head, signed bool, err error) {
	if signed = len(o.Keys) > 0; signed {
		h, err = merkle.Open(text, o.Keys...)
	} else {
		h, err = merkle.ParseHead(string(text))
	}
	switch {
	case err != nil:
		return h, false, fmt.Errorf("%w: %w", ErrBundle, err)
	case h.Size == 0:
		return h, false, bad("its head is that of an empty journal")
	case o.Head.Size > 0 && h != o.Head:
		return h, false, bad("its head is of %d events of %s with root %s, not the one given", h.Size, h.Origin, h.Root)
	}
	return h, signed, nil
}

func prove(body []byte, h merkle.Head, e *events.Event) error {
	proof, err := parseProof(body)
	if err == nil {
		err = merkle.CheckInclusion(proof, h.Size, h.Root, e.Position-1, e.RecordHash())
	}
	if err != nil {
		return fmt.Errorf("%w: event %s, position %d: %w", ErrBundle, e.ID, e.Position, err)
	}
	return nil
}
