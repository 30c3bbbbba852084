package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// Proof is all that is needed to check a proof elsewhere.
type Proof struct {
	Proof    string        `json:"toka_proof" enum:"inclusion,consistency"`
	Head     string        `json:"head" doc:"A C2SP checkpoint, signed if the node has a key"`
	Older    string        `json:"older,omitempty" doc:"consistency: the head that this one continues"`
	Position uint64        `json:"position,omitempty" doc:"inclusion: of the event"`
	Record   []byte        `json:"record,omitempty" doc:"inclusion: the event as stored, with its payload, in base64"`
	Path     []merkle.Hash `json:"path"`
}

// Head is a head as programs read it.
type Head struct {
	Origin string      `json:"origin"`
	Epoch  uint32      `json:"epoch"`
	Size   uint64      `json:"size" doc:"How many events it commits to"`
	Root   merkle.Hash `json:"root"`
	Note   string      `json:"note" doc:"A C2SP checkpoint, signed if the node has a key"`
	Public string      `json:"public_key,omitempty" doc:"Of the key that signed it"`
}

// note is the text of a head, signed if there is a key.
func note(ctx context.Context, j *journal.Journal, k *merkle.Key, size uint64) (merkle.Head, string, error) {
	h, err := j.HeadAt(ctx, size)
	if err != nil || k == nil {
		return h, h.Text(), err
	}
	b, err := k.Sign(h)
	return h, string(b), err
}

// NewHead returns the head over the first size events.
func NewHead(ctx context.Context, j *journal.Journal, k *merkle.Key, size uint64) (Head, error) {
	h, text, err := note(ctx, j, k, size)
	out := Head{Origin: h.Origin, Epoch: j.Epoch(), Size: h.Size, Root: h.Root, Note: text}
	if k != nil {
		out.Public = k.Public()
	}
	return out, err
}

// ProveInclusion proves that what is stored at a position is under the head of
// size events.
func ProveInclusion(ctx context.Context, j *journal.Journal, k *merkle.Key, at, size uint64) (p Proof, err error) {
	p = Proof{Proof: "inclusion", Position: at}
	if _, p.Head, err = note(ctx, j, k, size); err != nil {
		return p, err
	}
	if p.Record, err = j.Record(ctx, at); err != nil {
		return p, err
	}
	p.Path, err = j.ProveInclusion(ctx, size, at)
	return p, err
}

// ProveConsistency proves that the journal of size events begins with that of
// older.
func ProveConsistency(ctx context.Context, j *journal.Journal, k *merkle.Key, older, size uint64) (p Proof, err error) {
	p = Proof{Proof: "consistency"}
	if _, p.Head, err = note(ctx, j, k, size); err != nil {
		return p, err
	}
	if _, p.Older, err = note(ctx, j, k, older); err != nil {
		return p, err
	}
	p.Path, err = j.ProveConsistency(ctx, size, older)
	return p, err
}

type headInput struct {
	Size uint64 `query:"size" doc:"The head over so many events; without it, over all"`
}

type headOutput struct{ Body Head }

type inclusionInput struct {
	ID   string `path:"id" maxLength:"256"`
	Size uint64 `query:"size" doc:"Under the head of so many events; without it, of all"`
}

type consistencyInput struct {
	From uint64 `query:"from" doc:"Size of the older head" minimum:"1" required:"true"`
	To   uint64 `query:"to" doc:"Size of the newer one; without it, all events"`
}

type proofOutput struct{ Body Proof }

func (s *Server) proofRoutes() {
	op := func(path, id, summary, doc string) huma.Operation {
		return huma.Operation{Method: http.MethodGet, Path: path, OperationID: id, Tags: []string{"proofs"}, Summary: summary, Description: doc}
	}
	operation(s, auth.Read, op("/v1/head", "get-head", "One hash over all events and their order",
		"Keep heads where the journal is not: a journal that was rewritten as a whole is told by one."),
		func(ctx context.Context, n *Node, in *headInput) (*headOutput, error) {
			size, err := sizeOf(n.Journal, in.Size)
			if err != nil {
				return nil, err
			}
			h, err := NewHead(ctx, n.Journal, s.opts.Key, size)
			return &headOutput{h}, err
		})
	operation(s, auth.Read, op("/v1/events/{id}/proof", "prove-inclusion", "Prove that an event is in the journal",
		"The answer is checked without a journal by toka-node prove --check FILE. It holds the event with its payload."),
		func(ctx context.Context, n *Node, in *inclusionInput) (*proofOutput, error) {
			e, err := s.visible(ctx, n, in.ID)
			if err != nil {
				return nil, err
			}
			size, err := sizeOf(n.Journal, in.Size)
			if err != nil {
				return nil, err
			}
			if e.Position > size {
				return nil, problem(http.StatusUnprocessableEntity, "invalid", "size: the event stands behind the head of so many events")
			}
			p, err := ProveInclusion(ctx, n.Journal, s.opts.Key, e.Position, size)
			return &proofOutput{p}, err
		})
	operation(s, auth.Read, op("/v1/proofs/consistency", "prove-consistency", "Prove that a head continues an older one",
		"The answer is checked without a journal by toka-node prove --check FILE."),
		func(ctx context.Context, n *Node, in *consistencyInput) (*proofOutput, error) {
			to, err := sizeOf(n.Journal, in.To)
			if err != nil {
				return nil, err
			}
			if in.From > to {
				return nil, problem(http.StatusUnprocessableEntity, "invalid", "from is after to")
			}
			p, err := ProveConsistency(ctx, n.Journal, s.opts.Key, in.From, to)
			return &proofOutput{p}, err
		})
}

// sizeOf is the size that a client means; 0 is all there is.
func sizeOf(j *journal.Journal, size uint64) (uint64, error) {
	end := j.Position()
	if size > end {
		return 0, problem(http.StatusUnprocessableEntity, "invalid", "size: the journal has fewer events")
	}
	if size == 0 {
		size = end
	}
	return size, nil
}
