package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// maxPage bounds the bytes of payload in one answer; the rest is at the next
// cursor.
const maxPage = 8 << 20

// CloudEvent describes events on the wire; they are written by package
// cloudevents.
type CloudEvent struct {
	_ struct{} `json:"-" additionalProperties:"true"`

	SpecVersion     string `json:"specversion" enum:"1.0"`
	ID              string `json:"id"`
	Source          string `json:"source" doc:"The stream"`
	Type            string `json:"type" doc:"The kind: tokens separated by dots" example:"order.placed"`
	Time            string `json:"time,omitempty" format:"date-time"`
	DataContentType string `json:"datacontenttype,omitempty"`
	Data            any    `json:"data,omitempty"`
	DataBase64      string `json:"data_base64,omitempty"`
	CorrelationID   string `json:"correlationid,omitempty"`
	TraceParent     string `json:"traceparent,omitempty"`
	TokaParents     string `json:"tokaparents,omitempty" doc:"Causes, separated by spaces"`
	TokaEmbedding   string `json:"tokaembedding,omitempty" doc:"Only on the way in"`
	TokaID          string `json:"tokaid,omitempty" doc:"The event's own id, where id is the one it came with"`
	TokaHash        string `json:"tokahash,omitempty" doc:"The causal digest"`
	TokaIntent      string `json:"tokaintent,omitempty"`
	Sequence        string `json:"sequence,omitempty" doc:"The position, as 20 digits"`
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// Filter selects events. All that is given must hold.
type Filter struct {
	Stream      string    `query:"stream" doc:"Only this stream" maxLength:"256"`
	Agent       string    `query:"agent" doc:"Only events of this agent" maxLength:"256"`
	Kind        []string  `query:"kind,explode" doc:"Only kinds that one of these matches: dot tokens, * for one, > for the rest" maxItems:"64"`
	Intent      string    `query:"intent" doc:"Only events of this intent; ends where intents are assigned up to" maxLength:"36" format:"uuid"`
	Correlation string    `query:"correlation" doc:"Only events with this correlation id" maxLength:"256"`
	Like        string    `query:"like" doc:"Only events that mean the like: base64url of a vector of the events' model, at unit length, 16 bits a component as a journal stores it" maxLength:"12000"`
	Model       string    `query:"model" doc:"What made the vector of like, if it is not the events' model now: events by other models are not compared" maxLength:"256"`
	Min         float64   `query:"min" doc:"Least cosine to the vector of like" minimum:"-1" maximum:"1"`
	Since       time.Time `query:"since" doc:"Only events recorded at this time or later"`
	Until       time.Time `query:"until" doc:"Only events recorded before this time"`
	After       string    `query:"after" doc:"Only events after this cursor: EPOCH-POSITION, or a bare position" example:"1-42" maxLength:"64"`
}

// LikeModel is what Query.Model calls the model of a name: the one that the journal
// has now if there is none. It refuses one that the journal never had.
func LikeModel(j *journal.Journal, name string) (string, error) {
	models := j.Models()
	now := models[len(models)-1]
	if name == "" || now.Name == "" {
		return cmp.Or(now.Name, journal.UnnamedModel), nil
	}
	for i := range models {
		if models[i].Is(name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: those of this journal are of %s, which those of %q cannot be compared with", journal.ErrModel, now.Name, name)
}

func (f *Filter) query(ctx context.Context, j *journal.Journal) (q journal.Query, err error) {
	for field, name := range map[string]string{"stream": f.Stream, "agent": f.Agent, "correlation": f.Correlation} {
		if name == "" {
			continue
		}
		if err := events.CheckName(field, name); err != nil {
			return q, err
		}
	}
	q.Stream, q.Agent, q.Correlation, q.Since, q.Until = f.Stream, f.Agent, f.Correlation, f.Since, f.Until
	if f.Intent != "" {
		if q.Intent, err = events.ParseID(f.Intent); err != nil {
			return q, err
		}
	}
	if f.Like != "" {
		b, err := base64.RawURLEncoding.DecodeString(f.Like)
		if err == nil {
			q.Like, err = intent.ParseVector(b, len(b)/2)
		}
		if err != nil {
			return q, problem(http.StatusBadRequest, "like-malformed", "like: "+err.Error())
		}
		q.Min = f.Min
		if q.Model, err = LikeModel(j, f.Model); err != nil {
			return q, err
		}
	}
	for _, k := range f.Kind {
		p, err := events.ParsePattern(k)
		if err != nil {
			return q, err
		}
		q.Kinds = append(q.Kinds, p)
	}
	if q.After, err = position(j, f.After); err != nil {
		return q, err
	}
	// To search a stream that the token does not cover would find nothing.
	who := principal(ctx)
	for _, name := range []string{f.Stream, f.Agent} {
		if name != "" && !who.CoversStream(name) {
			return q, problem(http.StatusForbidden, "scope", "token "+who.Name+" does not cover this stream")
		}
	}
	return q, nil
}

// position reads a cursor; none is 0.
func position(j *journal.Journal, cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	p, err := j.ParseCursor(cursor)
	if err != nil && !errors.Is(err, journal.ErrCursor) {
		return 0, problem(http.StatusBadRequest, "cursor-malformed", err.Error())
	}
	return p, err
}

type listInput struct {
	Filter
	Before string `query:"before" doc:"Only events before this cursor" maxLength:"64"`
	Order  string `query:"order" doc:"desc: the newest first; next is then for before" enum:"asc,desc" default:"asc"`
	Limit  int    `query:"limit" doc:"At most so many" minimum:"1" maximum:"1000" default:"100"`
	Accept string `header:"Accept" doc:"application/cloudevents-batch+json for a bare batch, with the next page in Link" required:"false"`
}

// page is one answer of a list, already encoded.
type page struct {
	ContentType string `header:"Content-Type"`
	Link        string `header:"Link"`
	Cursor      string `header:"Toka-Cursor"`
	Body        []byte
}

func (s *Server) eventRoutes() {
	s.appendRoute()
	r := s.api.OpenAPI().Components.Schemas
	event := r.Schema(typeOf[CloudEvent](), true, "CloudEvent")
	array := &huma.Schema{Type: "array", Items: event}
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/events", OperationID: "list-events", Tags: []string{"events"},
		Summary:     "Read events in the order of the journal",
		Description: "Reads durable events. Go on with after=next; while more is true there is more at once. Polling with the last next sees every event once.",
		Responses: map[string]*huma.Response{"200": {Description: "Events", Content: map[string]*huma.MediaType{
			"application/json": {Schema: listSchema(array)},
			typeBatch:          {Schema: array},
		}}},
	}, s.list)
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/events/{id}", OperationID: "get-event", Tags: []string{"events"},
		Summary:     "One event with its payload",
		Description: "As a CloudEvent; with Accept: application/json, as the command line prints it, with digests, parents and place. The id is an event id, the id that an event came with, or the beginning of a digest.",
		Responses: map[string]*huma.Response{"200": {Description: "The event", Content: map[string]*huma.MediaType{
			typeEvent: {Schema: event}, "application/json": {Schema: &huma.Schema{Type: "object", AdditionalProperties: true}},
		}}},
	}, s.one)
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/streams/{stream}", OperationID: "get-stream", Tags: []string{"events"},
		Summary:     "Where a stream is",
		Description: "The version is what the next append expects. Read the events with /v1/events?stream=. Slashes in the name are written %2F.",
	}, s.stream)
}

func (s *Server) list(ctx context.Context, n *Node, in *listInput) (*page, error) {
	q, err := in.query(ctx, n.Journal)
	if err != nil {
		return nil, err
	}
	if q.Before, err = position(n.Journal, in.Before); err != nil {
		return nil, err
	}
	q.Backwards = in.Order == "desc"
	end, from := n.Journal.Position(), q.After
	if q.Backwards {
		from = q.Before
	}
	body, next, more, err := collect(ctx, n.Journal.Read(ctx, q), from, in.Limit)
	if err != nil {
		return nil, err
	}
	if !more && !q.Backwards && q.Before == 0 && q.Intent.IsZero() && q.Until.IsZero() {
		next = max(next, end) // what was passed over need not be read again
	}
	at := journal.Cursor{Epoch: n.Journal.Epoch(), Position: next}.String()
	out := &page{Cursor: at}
	if strings.Contains(in.Accept, "cloudevents-batch") {
		out.ContentType = typeBatch
		out.Body = append(append([]byte{'['}, body...), ']')
		if more {
			out.Link = "</v1/events?" + in.again(at).Encode() + `>; rel="next"`
		}
		return out, nil
	}
	return asPage(body, at, more), nil
}

// collect encodes the events of one page, separated, as far as the caller's
// token covers them. next is the position of the last that was looked at, from
// if there was none; more says that something was left.
func collect(ctx context.Context, es iter.Seq2[events.Event, error], from uint64, limit int) (body []byte, next uint64, more bool, err error) {
	who, count := principal(ctx), 0
	next = from
	for e, err := range es {
		if err != nil {
			return nil, next, false, err
		}
		if count >= limit || len(body) >= maxPage {
			return body, next, true, nil
		}
		next = e.Position
		if !who.Covers(e.Stream, e.Kind) {
			continue
		}
		if count > 0 {
			body = append(body, ',')
		}
		body = cloudevents.Append(body, e)
		count++
	}
	return body, next, false, nil
}

// again is the query for the next page.
func (in *listInput) again(at string) url.Values {
	v := url.Values{"limit": {strconv.Itoa(in.Limit)}, "kind": in.Kind}
	for name, text := range map[string]string{
		"stream": in.Stream, "agent": in.Agent, "intent": in.Intent, "correlation": in.Correlation,
		"after": in.After, "before": in.Before, "like": in.Like, "model": in.Model,
	} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, t := range map[string]time.Time{"since": in.Since, "until": in.Until} {
		if !t.IsZero() {
			v.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	if in.Like != "" {
		v.Set("min", strconv.FormatFloat(in.Min, 'g', -1, 64))
	}
	if in.Order == "desc" {
		v.Set("order", "desc")
		v.Set("before", at)
	} else {
		v.Set("after", at)
	}
	return v
}

type idInput struct {
	ID     string `path:"id" maxLength:"256"`
	Accept string `header:"Accept" required:"false"`
}

func (s *Server) one(ctx context.Context, n *Node, in *idInput) (*page, error) {
	e, err := s.visible(ctx, n, in.ID)
	if err != nil {
		return nil, err
	}
	out := &page{Cursor: cursor(&e)}
	if strings.Contains(in.Accept, "application/json") {
		out.ContentType = "application/json"
		out.Body, err = encode(s.opts.Describe(e))
		return out, err
	}
	out.ContentType = typeEvent
	out.Body = append(cloudevents.Append(nil, e), '\n')
	return out, nil
}

// StreamInfo says where a stream is.
type StreamInfo struct {
	Stream  string `json:"stream"`
	Version uint64 `json:"version" doc:"How many events it has"`
	Last    string `json:"last" doc:"Id of the last one"`
}

type streamInput struct {
	Stream string `path:"stream" maxLength:"256"`
}

type streamOutput struct{ Body StreamInfo }

func (s *Server) stream(ctx context.Context, n *Node, in *streamInput) (*streamOutput, error) {
	if err := events.CheckStream(in.Stream); err != nil {
		return nil, err
	}
	if who := principal(ctx); !who.CoversStream(in.Stream) {
		return nil, problem(http.StatusForbidden, "scope", "token "+who.Name+" does not cover this stream")
	}
	version, last, err := n.Journal.StreamVersion(in.Stream)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, problem(http.StatusNotFound, "not-found", "the stream has no events")
	}
	return &streamOutput{StreamInfo{Stream: in.Stream, Version: version, Last: last.String()}}, nil
}
