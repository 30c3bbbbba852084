package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// maxWait is how long a fetch may wait: less than the server gives a request.
const maxWait = 20 * time.Second

// ConsumerInfo is a consumer as programs read it.
type ConsumerInfo struct {
	Name        string     `json:"name"`
	Position    uint64     `json:"position" doc:"Everything selected up to here was delivered"`
	Lag         uint64     `json:"lag" doc:"Durable events after it, selected or not"`
	Open        int        `json:"open" doc:"Deliveries that are not settled"`
	Due         int        `json:"due" doc:"Of these, those that come again at the next fetch"`
	Stream      string     `json:"stream,omitempty"`
	Agent       string     `json:"agent,omitempty"`
	Kinds       []string   `json:"kinds,omitempty"`
	Correlation string     `json:"correlation,omitempty"`
	Intent      string     `json:"intent,omitempty"`
	Like        string     `json:"like,omitempty" doc:"A vector, as base64url"`
	Min         float64    `json:"min,omitempty" doc:"Least cosine to it"`
	Model       string     `json:"model,omitempty" doc:"What made it; events by other models are not compared"`
	After       uint64     `json:"after,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	AckWait     string     `json:"ack_wait"`
	MaxInFlight int        `json:"max_in_flight"`
	MaxDeliver  int        `json:"max_deliver"`
	Backoff     []string   `json:"backoff"`
}

// DescribeConsumer returns a consumer as programs read it.
func DescribeConsumer(i consumer.Info) ConsumerInfo {
	q := i.Config.Query
	out := ConsumerInfo{
		Name: i.Config.Name, Position: i.Position, Lag: i.Lag, Open: i.Open, Due: i.Due,
		Stream: q.Stream, Agent: q.Agent, Correlation: q.Correlation, After: q.After,
		AckWait: i.Config.AckWait.String(), MaxInFlight: i.Config.MaxInFlight, MaxDeliver: i.Config.MaxDeliver,
	}
	if !q.Intent.IsZero() {
		out.Intent = q.Intent.String()
	}
	if q.Like != nil {
		out.Like, out.Min, out.Model = base64.RawURLEncoding.EncodeToString(q.Like.Bytes()), q.Min, q.Model
	}
	for _, p := range q.Kinds {
		out.Kinds = append(out.Kinds, p.String())
	}
	if !q.Since.IsZero() {
		out.Since = &q.Since
	}
	for _, d := range i.Config.Backoff {
		out.Backoff = append(out.Backoff, d.String())
	}
	return out
}

// ConsumerParked is an event that a consumer has given up, as programs read it.
type ConsumerParked struct {
	ID       events.ID `json:"id" doc:"Of the event that says so"`
	Event    events.ID `json:"event" doc:"The one that could not be dealt with"`
	Position uint64    `json:"position" doc:"Of that"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	Recorded time.Time `json:"recorded"`
}

// DescribeParked returns a parked event as programs read it.
func DescribeParked(p consumer.Parked) ConsumerParked {
	return ConsumerParked{p.ID, p.Event.ID, p.Event.Position, p.Attempts, p.Reason, p.At}
}

type consumerConfig struct {
	Name        string    `json:"name" minLength:"1" maxLength:"200"`
	Stream      string    `json:"stream,omitempty" nullable:"true" doc:"Only this stream" maxLength:"256"`
	Agent       string    `json:"agent,omitempty" nullable:"true" doc:"Only events of this agent" maxLength:"256"`
	Kinds       []string  `json:"kinds,omitempty" doc:"Only kinds that one of these matches" maxItems:"64"`
	Correlation string    `json:"correlation,omitempty" nullable:"true" maxLength:"256"`
	Intent      string    `json:"intent,omitempty" nullable:"true" doc:"Only events of this intent, under any name that it has or had" maxLength:"36"`
	Like        string    `json:"like,omitempty" nullable:"true" doc:"Only events that mean the like: base64url of a vector of the events' model, at unit length, 16 bits a component as a journal stores it" maxLength:"12000"`
	Model       string    `json:"model,omitempty" nullable:"true" doc:"What made the vector of like, if it is not the events' model now: events by other models are not compared" maxLength:"256"`
	Min         float64   `json:"min,omitempty" nullable:"true" doc:"Least cosine to the vector of like" minimum:"-1" maximum:"1"`
	After       string    `json:"after,omitempty" nullable:"true" doc:"Begin after this cursor; without it, with the first event of the journal" maxLength:"64"`
	Since       time.Time `json:"since,omitzero" nullable:"true" doc:"Begin with what was recorded at this time"`
	AckWait     string    `json:"ack_wait,omitempty" nullable:"true" doc:"How long a delivery may take before it comes again" example:"30s" maxLength:"32"`
	MaxInFlight int       `json:"max_in_flight,omitempty" nullable:"true" doc:"How many deliveries may be open; 256 if left out" minimum:"0" maximum:"100000"`
	MaxDeliver  int       `json:"max_deliver,omitempty" nullable:"true" doc:"How often an event is delivered before it is parked; 5 if left out" minimum:"0"`
	Backoff     []string  `json:"backoff,omitempty" doc:"How long a refused delivery waits, by how often it came" maxItems:"64"`
}

type createInput struct{ Body consumerConfig }

type consumerOutput struct{ Body ConsumerInfo }

type consumersOutput struct {
	Body struct {
		Consumers []ConsumerInfo `json:"consumers" doc:"By name"`
	}
}

type consumerInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
}

type replayInput struct {
	Consumer string `path:"consumer" maxLength:"200"`
	Body     struct {
		IDs []events.ID `json:"ids,omitempty" doc:"As parked lists them; none is all" maxItems:"10000"`
	}
}

type countOutput struct {
	Body struct {
		Count int `json:"count" doc:"To how many it was done"`
	}
}

type consumerParkedOutput struct {
	Body struct {
		Parked []ConsumerParked `json:"parked" doc:"In order"`
	}
}

func (s *Server) consumerRoutes() {
	op := func(method, path, id, summary, doc string) huma.Operation {
		return huma.Operation{Method: method, Path: "/v1/consumers" + path, OperationID: id, Tags: []string{"consumers"}, Summary: summary, Description: doc}
	}
	operation(s, auth.Read, op(http.MethodGet, "", "list-consumers", "Durable readers", ""), s.consumers)
	create := op(http.MethodPost, "", "create-consumer", "Create a durable reader",
		"It is handed the events that its filter selects, each until it is acknowledged, again after a while where that does not come. "+
			"What came too often is parked with the reason. If there is one of this name it must be configured alike. "+
			"A token that patterns limit to streams makes consumers of a single stream or agent.")
	create.DefaultStatus = http.StatusCreated
	operation(s, auth.Append, create, s.createConsumer)
	operation(s, auth.Read, op(http.MethodGet, "/{consumer}", "get-consumer", "Where a consumer stands", ""),
		func(ctx context.Context, n *Node, in *consumerInput) (*consumerOutput, error) {
			c, err := consumerOf(ctx, n, in.Consumer)
			if err != nil {
				return nil, err
			}
			return &consumerOutput{DescribeConsumer(c.Info())}, nil
		})
	operation(s, auth.Admin, op(http.MethodDelete, "/{consumer}", "delete-consumer", "Take a consumer away", "What it parked stays in the journal."),
		func(ctx context.Context, n *Node, in *consumerInput) (*struct{}, error) {
			if _, err := consumerOf(ctx, n, in.Consumer); err != nil {
				return nil, err
			}
			return nil, n.Consumers.Delete(ctx, in.Consumer)
		})
	operation(s, auth.Read, op(http.MethodGet, "/{consumer}/parked", "list-consumer-parked", "What a consumer has given up", ""),
		func(ctx context.Context, n *Node, in *consumerInput) (*consumerParkedOutput, error) {
			c, err := consumerOf(ctx, n, in.Consumer)
			if err != nil {
				return nil, err
			}
			all, err := c.Parked(ctx)
			var out consumerParkedOutput
			out.Body.Parked = make([]ConsumerParked, len(all))
			for i, p := range all {
				out.Body.Parked[i] = DescribeParked(p)
			}
			return &out, err
		})
	operation(s, auth.Append, op(http.MethodPost, "/{consumer}/replay", "replay-parked", "Deliver parked events again", "As far as there is room for deliveries in flight."),
		s.resolved((*consumer.Consumer).Replay))
	operation(s, auth.Append, op(http.MethodPost, "/{consumer}/drop", "drop-parked", "Take parked events off the list for good", "They stay in the journal."),
		s.resolved((*consumer.Consumer).Drop))
	s.workerRoutes()
}

func (s *Server) consumers(ctx context.Context, n *Node, _ *struct{}) (*consumersOutput, error) {
	var out consumersOutput
	out.Body.Consumers = []ConsumerInfo{}
	for _, c := range n.Consumers.List() {
		if i := c.Info(); coversFilter(ctx, i.Config.Query) == nil {
			out.Body.Consumers = append(out.Body.Consumers, DescribeConsumer(i))
		}
	}
	return &out, nil
}

func (s *Server) createConsumer(ctx context.Context, n *Node, in *createInput) (*consumerOutput, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	b := &in.Body
	f := Filter{Stream: b.Stream, Agent: b.Agent, Kind: b.Kinds, Correlation: b.Correlation, Intent: b.Intent, Like: b.Like, Min: b.Min, Model: b.Model, Since: b.Since, After: b.After}
	config := consumer.Config{Name: b.Name, MaxInFlight: b.MaxInFlight, MaxDeliver: b.MaxDeliver}
	var err error
	if config.Query, err = f.query(ctx, n.Journal); err != nil {
		return nil, err
	}
	config.Query.Min = b.Min // which, as a model, means nothing without like, and is refused then
	config.Query.Model = cmp.Or(config.Query.Model, b.Model)
	if err := coversFilter(ctx, config.Query); err != nil {
		return nil, err
	}
	if config.AckWait, err = duration("ack_wait", b.AckWait); err != nil {
		return nil, err
	}
	for _, text := range b.Backoff {
		d, err := duration("backoff", text)
		if err != nil {
			return nil, err
		}
		config.Backoff = append(config.Backoff, d)
	}
	c, err := n.Consumers.Create(ctx, config)
	if err != nil {
		return nil, err
	}
	return &consumerOutput{DescribeConsumer(c.Info())}, nil
}

// duration reads one as Go writes them; none is 0.
func duration(field, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, problem(http.StatusUnprocessableEntity, "invalid", field+": give a positive time such as 500ms, 30s or 5m")
	}
	return d, nil
}

// coversFilter asks for a token that covers whatever a filter may select: a
// consumer hands out and settles all of it.
func coversFilter(ctx context.Context, q journal.Query) error {
	who := principal(ctx)
	if who.Everything() {
		return nil
	}
	for _, name := range []string{q.Stream, q.Agent} {
		if name != "" && who.EveryKind() && who.CoversStream(name) {
			return nil
		}
	}
	return problem(http.StatusForbidden, "scope", "token "+who.Name+" does not cover all that the consumer's filter may select")
}

// consumerOf returns a consumer whose events the token covers.
func consumerOf(ctx context.Context, n *Node, name string) (*consumer.Consumer, error) {
	c, err := n.Consumers.Get(name)
	if err != nil {
		return nil, err
	}
	return c, coversFilter(ctx, c.Info().Config.Query)
}

// resolved does something to parked events.
func (s *Server) resolved(f func(*consumer.Consumer, context.Context, ...events.ID) (int, error)) func(context.Context, *Node, *replayInput) (*countOutput, error) {
	return func(ctx context.Context, n *Node, in *replayInput) (*countOutput, error) {
		c, err := consumerOf(ctx, n, in.Consumer)
		if err != nil {
			return nil, err
		}
		var out countOutput
		out.Body.Count, err = f(c, ctx, in.Body.IDs...)
		return &out, err
	}
}

// fetchWithin waits for deliveries, and gives none where none came in time.
func fetchWithin(ctx context.Context, c *consumer.Consumer, limit int, wait time.Duration, ending <-chan struct{}) ([]consumer.Delivery, error) {
	ds, err := c.FetchNow(ctx, limit)
	if err != nil || len(ds) > 0 || wait == 0 {
		return ds, err
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	go func() {
		select {
		case <-ending:
			cancel()
		case <-within.Done():
		}
	}()
	ds, err = c.Fetch(within, limit)
	if err != nil && within.Err() != nil && ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return nil, nil
	}
	return ds, err
}
