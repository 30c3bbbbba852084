package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type parkedListInput struct {
	Agent string `query:"agent" doc:"Only what this agent parked" maxLength:"256"`
}

type parkedListOutput struct {
	Body struct {
		Parked []actors.Parked `json:"parked" doc:"Messages that were set aside and not dealt with since, by position"`
	}
}

type parkedInput struct {
	ID string `path:"id" doc:"Of the toka.agent.parked event" maxLength:"36" format:"uuid"`
}

type parkedOutput struct{ Body actors.Parked }

type retryInput struct {
	ID   string `path:"id" doc:"Of the toka.agent.parked event" maxLength:"36" format:"uuid"`
	Body *struct {
		Result json.RawMessage `json:"result,omitempty" doc:"Where an effect is in doubt: what it returned"`
		Failed string          `json:"failed,omitempty" doc:"Where an effect is in doubt: why it failed" maxLength:"4096"`
	} `required:"false"`
}

type retryOutput struct {
	Body struct {
		Request Stored `json:"request" doc:"The event that asks for it"`
	}
}

func (s *Server) parkedRoutes() {
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/parked", OperationID: "list-parked", Tags: []string{"agents"},
		Summary: "Messages that agents have set aside after the last try",
	}, s.listParked)
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/parked/{id}", OperationID: "get-parked", Tags: []string{"agents"},
		Summary: "One parked message, with its reason",
	}, func(ctx context.Context, n *Node, in *parkedInput) (*parkedOutput, error) {
		p, err := parkedEntry(ctx, n, in.ID)
		return &parkedOutput{p}, err
	})
	operation(s, auth.Append, huma.Operation{
		Method: http.MethodPost, Path: "/v1/parked/{id}/retry", OperationID: "retry-parked", Tags: []string{"agents"},
		Summary: "Ask for a parked message to be tried again",
		Description: "Answers when the request is durable; the agent takes it up from there. Asking twice is asking once. " +
			"Where the message is in doubt about an effect, result or failed puts on record what became of it; the first word counts.",
	}, s.retryParked)
}

func (s *Server) listParked(ctx context.Context, n *Node, in *parkedListInput) (*parkedListOutput, error) {
	if in.Agent != "" {
		if err := events.CheckStream(in.Agent); err != nil {
			return nil, err
		}
		if err := coversWhole(ctx, in.Agent); err != nil {
			return nil, err
		}
	}
	all, err := actors.ListParked(ctx, n.Journal, in.Agent)
	if err != nil {
		return nil, err
	}
	var out parkedListOutput
	out.Body.Parked = []actors.Parked{}
	for i := range all {
		if coversWhole(ctx, all[i].Agent) == nil {
			out.Body.Parked = append(out.Body.Parked, all[i])
		}
	}
	return &out, nil
}

func parkedEntry(ctx context.Context, n *Node, text string) (actors.Parked, error) {
	id, err := events.ParseID(text)
	if err != nil {
		return actors.Parked{}, err
	}
	p, err := actors.FindParked(ctx, n.Journal, id)
	if err == nil && coversWhole(ctx, p.Agent) != nil {
		err = problem(http.StatusNotFound, "not-found", "there is no such event, or the token does not cover it")
	}
	return p, err
}

func (s *Server) retryParked(ctx context.Context, n *Node, in *retryInput) (*retryOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	p, err := parkedEntry(ctx, n, in.ID)
	if err != nil {
		return nil, err
	}
	if b := in.Body; b != nil && (b.Failed != "" || len(b.Result) > 0) {
		if b.Failed != "" && len(b.Result) > 0 {
			return nil, problem(http.StatusUnprocessableEntity, "invalid", "give result or failed, not both")
		}
		if err := actors.ResolveEffect(ctx, n.Journal, p.ID, actors.Resolution{Result: b.Result, Failed: b.Failed}); err != nil {
			return nil, err
		}
	}
	e, err := actors.RetryParked(ctx, n.Journal, p.ID)
	if err != nil {
		return nil, err
	}
	var out retryOutput
	out.Body.Request = asStored(&e)
	return &out, nil
}
