package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type agentsOutput struct {
	Body struct {
		Agents     []actors.Info      `json:"agents" doc:"Live agents and resources, by name"`
		Behaviours []actors.Described `json:"behaviours" doc:"What this program can run"`
	}
}

type stateInput struct {
	Agent string `path:"agent" maxLength:"256"`
	At    string `query:"at" doc:"State after the events up to this cursor; without it, now" maxLength:"64"`
}

type stateOutput struct{ Body actors.Folded }

type commandInput struct {
	Agent string `path:"agent" maxLength:"256"`
	Body  struct {
		Behaviour   string          `json:"behaviour,omitempty" doc:"NAME/VERSION of the resource; may be left out where its stream says it or one fits" maxLength:"256"`
		Kind        string          `json:"kind" doc:"Of the command" maxLength:"256" example:"order.place"`
		Version     uint32          `json:"schema_version,omitempty" doc:"Of the command; 1 if left out"`
		Data        json.RawMessage `json:"data,omitempty" doc:"The command, as its codec reads it"`
		ID          string          `json:"id,omitempty" doc:"Sent again with the same id (a UUID), it returns its first outcome" maxLength:"36" format:"uuid"`
		Correlation string          `json:"correlation,omitempty" maxLength:"256"`
		Causes      []string        `json:"causes,omitempty" doc:"Ids of events that led to it" maxItems:"64"`
	}
}

type commandOutput struct{ Body Outcome }

// Outcome is what came of a command.
type Outcome struct {
	Duplicate bool     `json:"duplicate" doc:"Its id was seen before; these are its first events"`
	Events    []Stored `json:"events" doc:"That it caused, durable"`
}

func (s *Server) agentRoutes() {
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/agents", OperationID: "list-agents", Tags: []string{"agents"},
		Summary: "Live agents and resources",
	}, s.agents)
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/agents/{agent}/state", OperationID: "get-state", Tags: []string{"agents"},
		Summary:     "The state of an agent, now or at a position",
		Description: "Folded from the durable events of its stream; the live agent is not disturbed. Slashes in the name are written %2F.",
	}, s.state)
	operation(s, auth.Append, huma.Operation{
		Method: http.MethodPost, Path: "/v1/agents/{agent}/commands", OperationID: "send-command", Tags: []string{"agents"},
		Summary:     "Send a command to a resource",
		Description: "Answers with the events that the command caused when they are durable. A command that the resource rejects is answered with 422 and code rejected, and changes nothing.",
	}, s.command)
}

func (s *Server) agents(ctx context.Context, n *Node, _ *struct{}) (*agentsOutput, error) {
	var out agentsOutput
	out.Body.Agents, out.Body.Behaviours = []actors.Info{}, n.Registry.Describe()
	who := principal(ctx)
	for _, i := range n.System.Agents() {
		if who.CoversStream(i.Name) {
			out.Body.Agents = append(out.Body.Agents, i)
		}
	}
	return &out, nil
}

func (s *Server) state(ctx context.Context, n *Node, in *stateInput) (*stateOutput, error) {
	if err := events.CheckStream(in.Agent); err != nil {
		return nil, err
	}
	if err := coversWhole(ctx, in.Agent); err != nil {
		return nil, err
	}
	at := n.Journal.Position()
	if in.At != "" {
		var err error
		if at, err = position(n.Journal, in.At); err != nil {
			return nil, err
		}
	}
	f, err := actors.StateAt(ctx, n.Journal, n.Registry, in.Agent, at)
	if err != nil {
		return nil, err
	}
	return &stateOutput{f}, nil
}

// coversWhole asks for a token that covers every kind of a stream: a state is
// made of all of them.
func coversWhole(ctx context.Context, stream string) error {
	if who := principal(ctx); !who.CoversStream(stream) || !who.EveryKind() {
		return problem(http.StatusForbidden, "scope", "token "+who.Name+" does not cover all of this stream")
	}
	return nil
}

func (s *Server) command(ctx context.Context, n *Node, in *commandInput) (*commandOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	if err := events.CheckKind(in.Body.Kind); err != nil {
		return nil, err
	}
	if who := principal(ctx); !who.Covers(in.Agent, in.Body.Kind) {
		return nil, problem(http.StatusForbidden, "scope", "token "+who.Name+" does not cover this resource and kind")
	}
	if n.System == nil {
		return nil, problem(http.StatusServiceUnavailable, "stopping", "this node runs no agents")
	}
	key, err := n.behaviour(ctx, in)
	if err != nil {
		return nil, err
	}
	var opts []actors.CommandOption
	if in.Body.ID != "" {
		id, err := events.ParseID(in.Body.ID)
		if err != nil {
			return nil, err
		}
		opts = append(opts, actors.WithCommandID(id))
	}
	if in.Body.Correlation != "" {
		opts = append(opts, actors.WithCorrelation(in.Body.Correlation))
	}
	for _, c := range in.Body.Causes {
		e, err := s.opts.Find(ctx, n.Journal, c)
		if err != nil {
			return nil, err
		}
		opts = append(opts, actors.WithCause(e.Ref()))
	}
	out, err := n.System.Command(ctx, key, in.Agent, events.Draft{
		Kind: in.Body.Kind, SchemaVersion: in.Body.Version, ContentType: events.ContentTypeJSON, Payload: in.Body.Data,
	}, opts...)
	if err != nil {
		return nil, asRejection(err)
	}
	answer := Outcome{Duplicate: out.Duplicate, Events: []Stored{}}
	for i := range out.Events {
		answer.Events = append(answer.Events, asStored(&out.Events[i]))
	}
	return &commandOutput{answer}, nil
}

// asRejection takes an error that says nothing of the node for the resource's
// own word.
func asRejection(err error) error {
	if p := asProblem(err); p.Code != "internal" {
		return p
	}
	return problem(http.StatusUnprocessableEntity, "rejected", err.Error())
}

// behaviour returns the key of the resource that a command is for.
func (n *Node) behaviour(ctx context.Context, in *commandInput) (string, error) {
	if in.Body.Behaviour != "" {
		return in.Body.Behaviour, nil
	}
	for _, i := range n.System.Agents() {
		if i.Name == in.Agent {
			return i.Behaviour, nil
		}
	}
	key, err := actors.BehaviourOf(ctx, n.Journal, in.Agent)
	if err == nil && !strings.HasPrefix(key, actors.RecorderName+"/") {
		return key, nil
	}
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		return "", err
	}
	var fits []string
	for _, d := range n.Registry.Describe() {
		if len(d.Reacts) == 0 && d.Name != actors.RecorderName {
			fits = append(fits, d.Behaviour)
		}
	}
	if len(fits) == 1 {
		return fits[0], nil
	}
	return "", problem(http.StatusUnprocessableEntity, "unknown-behaviour",
		"nothing says what this resource is; give behaviour, one of: "+strings.Join(fits, ", "))
}
