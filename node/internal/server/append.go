package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// Content types of events, and what one request may hold of them.
const (
	typeEvent = "application/cloudevents+json"
	typeBatch = "application/cloudevents-batch+json"

	maxBatch      = 10_000
	maxBatchBytes = 16 << 20

	headerExpected = "Toka-Expected-Version"

	maxTrace = 64 // a trace context is 55 characters
)

// Appended is what an append answers.
type Appended struct {
	Duplicate bool     `json:"duplicate" doc:"The events were here already; nothing was stored"`
	Events    []Stored `json:"events" doc:"In the order of the request"`
}

// Stored says where an event stands.
type Stored struct {
	Cursor         string `json:"cursor" doc:"EPOCH-POSITION: everything after it is newer" example:"1-42"`
	Position       uint64 `json:"position"`
	ID             string `json:"id" doc:"The event's own id, derived from source and id"`
	OutsideID      string `json:"outside_id,omitempty" doc:"The id it came with"`
	Kind           string `json:"kind"`
	Stream         string `json:"stream"`
	StreamPosition uint64 `json:"stream_position" doc:"Its place in the stream; the expected version of the next append"`
	Digest         string `json:"digest"`
	Intent         string `json:"intent,omitempty"`
	IntentPending  bool   `json:"intent_pending,omitempty"`
}

func (s *Server) appendRoute() {
	body := func(name string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Ref: "#/components/schemas/" + name}}
	}
	r := s.api.OpenAPI().Components.Schemas
	r.Schema(typeOf[CloudEvent](), true, "CloudEvent")
	answer := r.Schema(typeOf[Appended](), true, "Appended")
	ok := func(what string) *huma.Response {
		return &huma.Response{Description: what, Content: map[string]*huma.MediaType{"application/json": {Schema: answer}}}
	}
	bad := func(what string) *huma.Response { return badResponse(r, what) }
	s.plain(auth.Append, huma.Operation{
		Method: http.MethodPost, Path: "/v1/events", OperationID: "append-events", Tags: []string{"events"},
		Summary: "Append events",
		Description: "Appends CloudEvents 1.0: one in structured mode, one in binary mode (attributes as ce- headers, data as the body), or a batch, which is stored whole or not at all. " +
			"The answer comes when they are durable. The source of an event names its stream. The same source and id again is the same event: it is answered with 200 and stored once. " +
			"tokaparents lists causes, separated by spaces: event ids, or ids that events came with; tokaembedding is base64 of little-endian 32-bit floats.",
		Parameters: []*huma.Param{{
			Name: headerExpected, In: "header", Schema: &huma.Schema{Type: "string"},
			Description: "Where the writer believes the stream to be: the number of its events, none, or exists. All events of the request must then be of one stream.",
		}},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			typeEvent: body("CloudEvent"),
			typeBatch: {Schema: &huma.Schema{Type: "array", Items: &huma.Schema{Ref: "#/components/schemas/CloudEvent"}}},
			"*/*":     {Schema: &huma.Schema{Type: "string", Format: "binary", Description: "binary mode: the data"}},
		}},
		Responses: map[string]*huma.Response{
			"200": ok("They were here already"), "201": ok("Stored"),
			"400": bad("Not CloudEvents"), "409": bad("An id is taken by another event, or only a part of the batch is known"),
			"412": bad("The stream is at another version"), "413": bad("Too large"), "415": bad("Content type is not that of CloudEvents"),
			"422": bad("An attribute breaks a rule, or a parent is not here"), "507": bad("The disk is nearly full"), "503": bad("Not ready, or stopping"),
		},
	}, s.append)
}

func (s *Server) append(w http.ResponseWriter, r *http.Request, n *Node) error {
	if err := s.room(); err != nil {
		return err
	}
	write, single, release, err := s.readWrite(w, r, n)
	if err != nil {
		return err
	}
	defer release()
	receipt, err := n.Journal.Append(r.Context(), write)
	if err != nil {
		return err
	}
	s.warnSecrets(receipt)
	return answerAppended(w, single, receipt)
}

// readWrite reads what a request asks to append, if its token may. release is
// that of readEvents.
func (s *Server) readWrite(w http.ResponseWriter, r *http.Request, n *Node) (write journal.Write, single bool, release func(), err error) {
	ins, release, err := s.readEvents(w, r)
	if err != nil {
		return write, false, nil, err
	}
	who := principal(r.Context())
	for i := range ins {
		if d := &ins[i].Draft; err == nil && !who.Covers(d.Stream, d.Kind) {
			err = problem(http.StatusForbidden, "scope", fmt.Sprintf("token %s does not cover stream %q, kind %q", who.Name, clip(d.Stream), clip(d.Kind)))
		}
	}
	if err == nil {
		write, err = n.write(r.Context(), ins, r.Header[headerExpected])
	}
	if err != nil {
		release()
		return write, false, nil, err
	}
	if s.opts.Embed != nil {
		s.opts.Embed(r.Context(), n.Journal, write.Events)
	}
	return write, len(ins) == 1, release, nil
}

// readEvents reads what a request brings. What it holds of the node's memory
// is let go with release.
func (s *Server) readEvents(w http.ResponseWriter, r *http.Request) (ins []cloudevents.Incoming, release func(), err error) {
	if r.Header.Get("Content-Encoding") != "" {
		return nil, nil, problem(http.StatusUnsupportedMediaType, "encoding", "compressed bodies are not read; send it plain")
	}
	kind, params, err := mediaType(r.Header.Get("Content-Type"))
	binary := len(r.Header["Ce-Specversion"]) > 0
	switch {
	case binary:
	case err != nil || kind != typeEvent && kind != typeBatch:
		return nil, nil, problem(http.StatusUnsupportedMediaType, "content-type", "give Content-Type "+typeEvent+" or "+typeBatch+", or ce- headers with the data as the body")
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"):
		return nil, nil, problem(http.StatusUnsupportedMediaType, "content-type", "charset "+clip(params["charset"])+"; only UTF-8 is read")
	}
	limit := int64(cloudevents.MaxLine)
	switch {
	case binary:
		limit = events.MaxPayload
	case kind == typeBatch:
		limit = maxBatchBytes
	}
	release = func() {}
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		var ok bool
		if release, ok = hold(s.limits.large); !ok {
			p := problem(http.StatusServiceUnavailable, "busy", "too many large requests at the same time; try again")
			p.retryAfter = 1
			return nil, nil, p
		}
	}
	body, err := readBody(w, r, limit)
	if err == nil {
		ins, err = parseBody(r.Header, kind, binary, body)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	if trace := r.Header["Traceparent"]; len(trace) == 1 && len(trace[0]) <= maxTrace {
		for i := range ins {
			if ins[i].Draft.Trace == "" {
				ins[i].Draft.Trace = trace[0]
			}
		}
	}
	return ins, release, nil
}

// mediaType parses a content type, those that nearly all requests have by
// looking at them.
func mediaType(header string) (kind string, params map[string]string, err error) {
	if header == typeEvent || header == typeBatch {
		return header, nil, nil
	}
	return mime.ParseMediaType(header)
}

func parseBody(h http.Header, kind string, binary bool, body []byte) (ins []cloudevents.Incoming, err error) {
	switch {
	case binary:
		ins = make([]cloudevents.Incoming, 1)
		ins[0], err = parseBinary(h, body)
	case kind == typeBatch:
		if ins, err = cloudevents.ParseBatch(body, maxBatch); err == nil && len(ins) == 0 {
			err = problem(http.StatusUnprocessableEntity, "invalid", "the batch is empty")
		}
	default:
		ins = make([]cloudevents.Incoming, 1)
		ins[0], err = cloudevents.Parse(body)
	}
	return ins, err
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than to read it to its end
		return nil, tooLarge(limit)
	}
	reader := http.MaxBytesReader(w, r.Body, limit)
	var body []byte
	var err error
	if r.ContentLength > 0 {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(reader, body)
	} else {
		body, err = io.ReadAll(reader)
	}
	if err == nil {
		return body, nil
	}
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge(limit)
	}
	return nil, problem(http.StatusBadRequest, "body", "the body could not be read: "+err.Error())
}

func tooLarge(limit int64) *Problem {
	return problem(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("the body is larger than %d bytes", limit))
}

// write makes one write of what came in, with the parents that the tokens
// mean.
func (n *Node) write(ctx context.Context, ins []cloudevents.Incoming, expected []string) (journal.Write, error) {
	write := journal.Write{Events: make([]events.Draft, len(ins))}
	for i := range ins {
		if err := n.parents(ctx, ins[:i], &ins[i]); err != nil {
			return write, err
		}
		write.Events[i] = ins[i].Draft
	}
	if len(expected) == 0 {
		return write, nil
	}
	for i := range ins {
		if ins[i].Source != ins[0].Source {
			return write, problem(http.StatusBadRequest, "expected-version", "with "+headerExpected+" all events must be of one stream")
		}
	}
	e, err := parseExpected(expected)
	if err != nil {
		return write, err
	}
	write.Expect = map[string]journal.Expected{ins[0].Source: e}
	return write, nil
}

func parseExpected(header []string) (journal.Expected, error) {
	if len(header) == 1 {
		switch text := strings.TrimSpace(header[0]); text {
		case "none", "0":
			return journal.NoStream(), nil
		case "exists":
			return journal.StreamExists(), nil
		default:
			if v, err := strconv.ParseUint(text, 10, 63); err == nil {
				return journal.Version(v), nil
			}
		}
	}
	return journal.Expected{}, problem(http.StatusBadRequest, "expected-version", headerExpected+": give a number of events, none, or exists")
}

// parents puts the causes of in into its draft. A token is the id of an event,
// the id that one of the same source came with, or one that only one event of
// any source came with. For an event that is known, only what stood before it
// counts, so that sending it again stays the same event.
func (n *Node) parents(ctx context.Context, before []cloudevents.Incoming, in *cloudevents.Incoming) error {
	if len(in.Parents) == 0 {
		return nil
	}
	limit := ^uint64(0)
	switch known, err := n.Journal.ByID(ctx, in.Draft.ID); {
	case err == nil:
		limit = known.Position
	case !errors.Is(err, journal.ErrNotFound):
		return err
	}
	for _, token := range in.Parents {
		id, err := n.parent(ctx, before, token, in.Source, limit)
		if err != nil {
			return err
		}
		in.Draft.Parents = append(in.Draft.Parents, events.Ref{ID: id})
	}
	return nil
}

func (n *Node) parent(ctx context.Context, before []cloudevents.Incoming, token, source string, limit uint64) (events.ID, error) {
	own := events.IngestedID(source, token)
	id, err := events.ParseID(token)
	if err != nil {
		id = own
	}
	for _, id := range []events.ID{id, own} {
		for i := range before {
			if before[i].Draft.ID == id {
				return id, nil
			}
		}
		e, err := n.Journal.ByID(ctx, id)
		switch {
		case err == nil && e.Position < limit:
			return id, nil
		case err != nil && !errors.Is(err, journal.ErrNotFound):
			return events.ID{}, err
		}
	}
	found := map[events.ID]bool{}
	for i := range before {
		if before[i].OutsideID == token {
			found[before[i].Draft.ID] = true
		}
	}
	same, err := n.Journal.ByOutsideID(ctx, token)
	if err != nil {
		return events.ID{}, err
	}
	for _, e := range same {
		if e.Position < limit {
			found[e.ID] = true
		}
	}
	switch len(found) {
	case 0:
		// It may be on its way; the journal knows, and says so if it is not.
		return id, nil
	case 1:
		for id := range found {
			return id, nil
		}
	}
	return events.ID{}, &events.InvalidError{Field: "tokaparents", Reason: fmt.Sprintf("%q is the id of %d events; name one by its event id", clip(token), len(found))}
}

func asStored(e *events.Event) Stored {
	s := Stored{
		Cursor: cursor(e), Position: e.Position, ID: e.ID.String(), OutsideID: e.OutsideID(), Kind: e.Kind,
		Stream: e.Stream, StreamPosition: e.StreamPosition, Digest: e.Digest.String(), IntentPending: e.Intent.Pending,
	}
	if !e.Intent.ID.IsZero() {
		s.Intent = e.Intent.ID.String()
	}
	return s
}

func cursor(e *events.Event) string {
	return journal.Cursor{Epoch: e.Epoch, Position: e.Position}.String()
}
