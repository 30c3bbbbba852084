package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type fetchInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
	Limit    int    `query:"limit" doc:"At most so many" minimum:"1" maximum:"1000" default:"1"`
	Wait     string `query:"wait" doc:"How long to wait for the first, up to 20s" example:"10s" maxLength:"32"`
}

// Delivery is an event that a worker is to deal with.
type Delivery struct {
	Position uint64          `json:"position" doc:"What it is settled by"`
	Attempt  int             `json:"attempt" doc:"From 1"`
	Event    json.RawMessage `json:"event" doc:"A CloudEvent"`
}

type fetchOutput struct {
	Body struct {
		Deliveries []Delivery `json:"deliveries" doc:"In flight until they are settled; those first that come again"`
	}
}

type settleInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
	Body     struct {
		Positions []uint64 `json:"positions" doc:"Of deliveries" minItems:"1" maxItems:"10000"`
	}
}

type nakInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
	Body     struct {
		Positions []uint64 `json:"positions" doc:"Of deliveries" minItems:"1" maxItems:"10000"`
		Reason    string   `json:"reason,omitempty" doc:"Why, for when it is parked" maxLength:"4096"`
		Delay     string   `json:"delay,omitempty" doc:"When it comes again; without it, after the consumer's backoff" example:"30s" maxLength:"32"`
	}
}

type terminateInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
	Body     struct {
		Positions []uint64 `json:"positions" doc:"Of deliveries" minItems:"1" maxItems:"10000"`
		Reason    string   `json:"reason,omitempty" doc:"Why" maxLength:"4096"`
	}
}

// workerRoutes are what a worker does again and again.
func (s *Server) workerRoutes() {
	op := func(path, id, summary, doc string) huma.Operation {
		return huma.Operation{Method: http.MethodPost, Path: "/v1/consumers/{consumer}/" + path, OperationID: id, Tags: []string{"consumers"}, Summary: summary, Description: doc}
	}
	operation(s, auth.Append, op("fetch", "fetch", "Take deliveries",
		"Each comes again when it is not settled within the consumer's ack wait. Needs scope read as well."), s.fetch)
	operation(s, auth.Append, op("ack", "ack", "Say that deliveries are dealt with",
		"Answers when that is durable: none of them comes again. Of several it settles those it can; 409 tells that some were settled before."),
		func(ctx context.Context, n *Node, in *settleInput) (*countOutput, error) {
			return settle(ctx, n, in.Consumer, in.Body.Positions, func(d consumer.Delivery) error { return d.Ack(ctx) })
		})
	operation(s, auth.Append, op("extend", "extend", "Say that deliveries are being dealt with", "Their ack wait begins anew."),
		func(ctx context.Context, n *Node, in *settleInput) (*countOutput, error) {
			return settle(ctx, n, in.Consumer, in.Body.Positions, func(d consumer.Delivery) error { return d.Extend(ctx) })
		})
	operation(s, auth.Append, op("nak", "nak", "Refuse deliveries", "They come again after the delay, or are parked with the reason when they came too often."),
		func(ctx context.Context, n *Node, in *nakInput) (*countOutput, error) {
			delay, err := duration("delay", in.Body.Delay)
			if err != nil {
				return nil, err
			}
			return settle(ctx, n, in.Consumer, in.Body.Positions, func(d consumer.Delivery) error { return d.Nak(ctx, in.Body.Reason, delay) })
		})
	operation(s, auth.Append, op("terminate", "terminate", "Refuse deliveries for good", "They are parked with the reason."),
		func(ctx context.Context, n *Node, in *terminateInput) (*countOutput, error) {
			return settle(ctx, n, in.Consumer, in.Body.Positions, func(d consumer.Delivery) error { return d.Terminate(ctx, in.Body.Reason) })
		})
	s.commitRoute()
}

func (s *Server) fetch(ctx context.Context, n *Node, in *fetchInput) (*fetchOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	wait, err := duration("wait", in.Wait)
	if err != nil {
		return nil, err
	}
	c, err := consumerOf(ctx, n, in.Consumer)
	if err != nil {
		return nil, err
	}
	if who := principal(ctx); !who.May(auth.Read) {
		return nil, problem(http.StatusForbidden, "scope", "token "+who.Name+" does not have scope read")
	}
	ds, err := fetchWithin(ctx, c, in.Limit, min(wait, maxWait), s.ending)
	if err != nil {
		return nil, err
	}
	var out fetchOutput
	out.Body.Deliveries = make([]Delivery, len(ds))
	for i := range ds {
		out.Body.Deliveries[i] = Delivery{ds[i].Event.Position, ds[i].Attempt, cloudevents.Append(nil, ds[i].Event)}
	}
	return &out, nil
}

// settle does the same to deliveries, all it can.
func settle(ctx context.Context, n *Node, name string, positions []uint64, f func(consumer.Delivery) error) (*countOutput, error) {
	c, err := consumerOf(ctx, n, name)
	if err != nil {
		return nil, err
	}
	var out countOutput
	var failed error
	for _, p := range positions {
		d, err := c.InFlight(ctx, p)
		if err == nil {
			err = f(d)
		}
		switch {
		case err == nil:
			out.Body.Count++
		case !errors.Is(err, consumer.ErrNotInFlight):
			return nil, err
		case failed == nil:
			failed = err
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("%d of %d were settled: %w", out.Body.Count, len(positions), failed)
	}
	return &out, nil
}

// maxCommit bounds the deliveries of one commit: their positions stand in the
// request's line, which is bounded with the headers.
const maxCommit = 500

func (s *Server) commitRoute() {
	op := s.api.OpenAPI().Paths["/v1/events"].Post
	r := s.api.OpenAPI().Components.Schemas
	responses := maps.Clone(op.Responses)
	responses["404"] = badResponse(r, "There is no such consumer")
	responses["409"] = badResponse(r, "A delivery is not in flight, an id is taken by another event, or only a part of the batch is known; nothing was stored")
	one := 1
	most := maxCommit
	s.plain(auth.Append, huma.Operation{
		Method: http.MethodPost, Path: "/v1/consumers/{consumer}/commit", OperationID: "commit", Tags: []string{"consumers"},
		Summary: "Append events and acknowledge deliveries in one write",
		Description: "The body is that of an append. Both are stored or neither, so work that ends in events is done once, however often it is begun: " +
			"give an event that comes of a delivery an id that is made from it. Sent again after a lost answer, it is answered with 200. " +
			"Events without tokaparents get the deliveries for causes.",
		Parameters: []*huma.Param{
			{Name: "consumer", In: "path", Required: true, Schema: &huma.Schema{Type: "string"}},
			{Name: "position", In: "query", Required: true, Explode: new(true), Description: "Of deliveries", Schema: &huma.Schema{
				Type: "array", Items: &huma.Schema{Type: "integer", Format: "int64", Minimum: new(1.0)}, MinItems: &one, MaxItems: &most,
			}},
			op.Parameters[0],
		},
		RequestBody: op.RequestBody, Responses: responses,
	}, s.commit)
}

func badResponse(r huma.Registry, what string) *huma.Response {
	return &huma.Response{Description: what, Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: r.Schema(typeOf[Problem](), true, "Problem")},
	}}
}

func (s *Server) commit(w http.ResponseWriter, r *http.Request, n *Node) error {
	if err := s.room(); err != nil {
		return err
	}
	ctx := r.Context()
	c, err := consumerOf(ctx, n, r.PathValue("consumer"))
	if err != nil {
		return err
	}
	at, err := committed(r)
	if err != nil {
		return err
	}
	write, single, release, err := s.readWrite(w, r, n)
	if err != nil {
		return err
	}
	defer release()
	causes := make([]events.Ref, len(at))
	for i, p := range at {
		e, err := n.Journal.At(ctx, p)
		if err != nil {
			return err
		}
		causes[i] = e.Ref()
	}
	for i := range write.Events {
		if d := &write.Events[i]; len(d.Parents) == 0 {
			d.Parents = causes
		}
	}
	receipt, err := n.commit(ctx, c, at, write)
	if err != nil {
		return err
	}
	s.warnSecrets(receipt)
	return answerAppended(w, single, receipt)
}

// commit stores both in one write. Where a delivery was settled by an earlier
// try whose answer was lost, its events are here, and appending them again
// changes nothing.
func (n *Node) commit(ctx context.Context, c *consumer.Consumer, at []uint64, write journal.Write) (journal.Receipt, error) {
	ds := make([]consumer.Delivery, len(at))
	var settled error
	for i, p := range at {
		var err error
		if ds[i], err = c.InFlight(ctx, p); errors.Is(err, consumer.ErrNotInFlight) {
			settled = err
		} else if err != nil {
			return journal.Receipt{}, err
		}
	}
	if settled == nil {
		receipt, err := c.Commit(ctx, write, ds...)
		if !errors.Is(err, consumer.ErrNotInFlight) {
			return receipt, err
		}
		settled = err
	}
	for i := range write.Events {
		if _, err := n.Journal.ByID(ctx, write.Events[i].ID); errors.Is(err, journal.ErrNotFound) {
			return journal.Receipt{}, settled
		} else if err != nil {
			return journal.Receipt{}, err
		}
	}
	return n.Journal.Append(ctx, write)
}

// committed reads the positions of the deliveries that a commit is about.
func committed(r *http.Request) ([]uint64, error) {
	texts := r.URL.Query()["position"]
	if len(texts) == 0 || len(texts) > maxCommit {
		return nil, problem(http.StatusUnprocessableEntity, "invalid", fmt.Sprintf("position: give those of 1 to %d deliveries", maxCommit))
	}
	at := make([]uint64, len(texts))
	for i, text := range texts {
		p, err := strconv.ParseUint(text, 10, 63)
		if err != nil || p == 0 || slices.Contains(at[:i], p) {
			return nil, problem(http.StatusUnprocessableEntity, "invalid", "position "+clip(text)+": give positions that fetch gave, each once")
		}
		at[i] = p
	}
	return at, nil
}
