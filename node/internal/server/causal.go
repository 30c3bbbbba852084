package server

import (
	"context"
	"iter"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/causal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// Found is how much of the answer to a causal question is wanted.
type Found struct {
	After string `query:"after" doc:"Go on behind this cursor, in the order of the answer" maxLength:"64"`
	Limit int    `query:"limit" doc:"At most so many" minimum:"1" maximum:"1000" default:"100"`
}

type ofInput struct {
	ID string `path:"id" maxLength:"256"`
	Found
}

type deepInput struct {
	ID    string `path:"id" maxLength:"256"`
	Depth int    `query:"depth" doc:"Only events at most so many links away; 0 is no limit" minimum:"0"`
	Found
}

type pairInput struct {
	A string `query:"a" doc:"An event, named as in /v1/events/{id}" required:"true" minLength:"1" maxLength:"256"`
	B string `query:"b" doc:"Another one" required:"true" minLength:"1" maxLength:"256"`
	Found
}

type headsInput struct {
	At string `query:"at" doc:"As the history stood at this cursor; without it, now" maxLength:"64"`
	Found
}

type positionsSeq = iter.Seq2[uint64, error]

func (s *Server) causalRoutes() {
	of := func(name, id, summary, doc string, ask func(ctx context.Context, j *journal.Journal, of uint64) positionsSeq, down bool) {
		operation(s, auth.Read, s.causalOperation("/v1/events/{id}/"+name, id, summary, doc),
			func(ctx context.Context, n *Node, in *ofInput) (*page, error) {
				e, err := s.visible(ctx, n, in.ID)
				if err != nil {
					return nil, err
				}
				return s.causalPage(ctx, n, &in.Found, down, ask(ctx, n.Journal, e.Position))
			})
	}
	deep := func(name, id, summary, doc string, ask func(ctx context.Context, j *journal.Journal, hops int, of ...uint64) positionsSeq, down bool) {
		operation(s, auth.Read, s.causalOperation("/v1/events/{id}/"+name, id, summary, doc),
			func(ctx context.Context, n *Node, in *deepInput) (*page, error) {
				e, err := s.visible(ctx, n, in.ID)
				if err != nil {
					return nil, err
				}
				return s.causalPage(ctx, n, &in.Found, down, ask(ctx, n.Journal, in.Depth, e.Position))
			})
	}
	pair := func(name, id, summary, doc string, ask func(ctx context.Context, j *journal.Journal, a, b uint64) positionsSeq, down bool) {
		operation(s, auth.Read, s.causalOperation("/v1/causal/"+name, id, summary, doc),
			func(ctx context.Context, n *Node, in *pairInput) (*page, error) {
				a, err := s.visible(ctx, n, in.A)
				if err != nil {
					return nil, err
				}
				b, err := s.visible(ctx, n, in.B)
				if err != nil {
					return nil, err
				}
				return s.causalPage(ctx, n, &in.Found, down, ask(ctx, n.Journal, a.Position, b.Position))
			})
	}
	of("parents", "get-parents", "The direct causes of an event", "The newest first.",
		func(ctx context.Context, j *journal.Journal, of uint64) positionsSeq {
			return causal.Ancestors(ctx, j, 1, of)
		}, true)
	of("children", "get-children", "The direct effects of an event", "The oldest first.",
		func(ctx context.Context, j *journal.Journal, of uint64) positionsSeq {
			return causal.Descendants(ctx, j, 1, of)
		}, false)
	deep("ancestors", "get-ancestors", "The events that led to one", "Directly or through others, the newest first and without the event itself.", causal.Ancestors, true)
	deep("descendants", "get-descendants", "The events that one led to", "Directly or through others, the oldest first and without the event itself.", causal.Descendants, false)
	pair("between", "get-between", "The events on every way from a to b", "The oldest first, without a and b; none unless a led to b.", causal.Between, false)
	pair("common", "get-common", "The nearest common causes of a and b",
		"The common ancestors that are not ancestors of another one, the newest first. Here an event counts as an ancestor of itself.", nearestCommon, true)
	operation(s, auth.Read, s.causalOperation("/v1/causal/heads", "get-heads", "The events that led to nothing yet", "The newest first."),
		func(ctx context.Context, n *Node, in *headsInput) (*page, error) {
			at, err := position(n.Journal, in.At)
			if err != nil {
				return nil, err
			}
			return s.causalPage(ctx, n, &in.Found, true, causal.Heads(ctx, n.Journal, at))
		})
}

func nearestCommon(ctx context.Context, j *journal.Journal, a, b uint64) positionsSeq {
	return func(yield func(uint64, error) bool) {
		all, err := causal.Common(ctx, j, a, b)
		for _, p := range all {
			if !yield(p, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

func (s *Server) causalOperation(path, id, summary, doc string) huma.Operation {
	r := s.api.OpenAPI().Components.Schemas
	return huma.Operation{
		Method: http.MethodGet, Path: path, OperationID: id, Tags: []string{"causes"}, Summary: summary,
		Description: doc + " While more is true, go on with after=next. Events that the token does not cover are left out, and ways that lead through them are not.",
		Responses: map[string]*huma.Response{"200": {Description: "Events", Content: map[string]*huma.MediaType{
			"application/json": {Schema: listSchema(&huma.Schema{Type: "array", Items: r.Schema(typeOf[CloudEvent](), true, "CloudEvent")})},
		}}},
	}
}

// listSchema is that of a page of events.
func listSchema(events *huma.Schema) *huma.Schema {
	return &huma.Schema{Type: "object", Required: []string{"events", "next", "more"}, Properties: map[string]*huma.Schema{
		"events": events, "next": {Type: "string", Description: "Cursor to go on after"}, "more": {Type: "boolean"},
	}}
}

// visible finds an event that the token covers.
func (s *Server) visible(ctx context.Context, n *Node, id string) (events.Event, error) {
	e, err := s.opts.Find(ctx, n.Journal, id)
	if err != nil {
		return e, err
	}
	if who := principal(ctx); !who.Covers(e.Stream, e.Kind) {
		return e, problem(http.StatusNotFound, "not-found", "there is no such event, or the token does not cover it")
	}
	return e, nil
}

// causalPage answers with the events of a sequence, which goes down or up in
// position.
func (s *Server) causalPage(ctx context.Context, n *Node, in *Found, down bool, seq positionsSeq) (*page, error) {
	after, err := position(n.Journal, in.After)
	if err != nil {
		return nil, err
	}
	rest := func(yield func(uint64, error) bool) {
		for p, err := range seq {
			if err == nil && after > 0 && (down && p >= after || !down && p <= after) {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
	body, next, more, err := collect(ctx, n.Journal.Each(ctx, rest), after, in.Limit)
	if err != nil {
		return nil, err
	}
	return asPage(body, journal.Cursor{Epoch: n.Journal.Epoch(), Position: next}.String(), more), nil
}

// asPage encloses events, which are encoded and separated.
func asPage(list []byte, next string, more bool) *page {
	out := &page{Cursor: next, ContentType: "application/json"}
	out.Body = append(append([]byte(`{"events":[`), list...), `],"next":"`...)
	out.Body = append(append(out.Body, next...), `","more":`...)
	if more {
		out.Body = append(out.Body, "true}\n"...)
	} else {
		out.Body = append(out.Body, "false}\n"...)
	}
	return out
}
