package server

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
)

// Problem is an error as clients get it (RFC 9457). Code is stable; Detail is
// for people.
type Problem struct {
	Type    string   `json:"type" doc:"urn:toka:problem:CODE"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail,omitempty"`
	Code    string   `json:"code" doc:"Stable name of the problem" example:"wrong-version"`
	Actual  *uint64  `json:"actual_version,omitempty" doc:"wrong-version: the version that the stream is at"`
	Parents []string `json:"unknown_parents,omitempty" doc:"unknown-parent: ids of the parents that are not here"`
	IDs     []string `json:"ids,omitempty" doc:"outcome-unknown: ids to look for, or to send again"`

	retryAfter int // seconds; 0: no such header
}

// ownProblem gives errors of the routing library, such as a parameter out of
// its range, the form of all others.
func ownProblem(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := map[int]string{
		http.StatusBadRequest: "malformed", http.StatusUnprocessableEntity: "invalid", http.StatusRequestEntityTooLarge: "too-large",
		http.StatusUnsupportedMediaType: "content-type", http.StatusNotAcceptable: "accept", http.StatusRequestTimeout: "timeout",
	}[e.Status]
	if code == "" {
		code = "internal"
	}
	texts := []string{e.Detail}
	for _, d := range e.Errors {
		texts = append(texts, strings.TrimPrefix(d.Location+": ", ": ")+d.Message)
	}
	return problem(e.Status, code, strings.Join(texts, "; ")), nil
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the status. The library that routes asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns that of problems.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns headers to be sent with the problem.
func (p *Problem) GetHeaders() http.Header {
	if p.retryAfter == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.Itoa(p.retryAfter)}}
}

func problem(status int, code, detail string) *Problem {
	return &Problem{Type: "urn:toka:problem:" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// asProblem says how err is reported. Errors that it does not know are the
// server's own fault.
func asProblem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	text := err.Error()
	for _, known := range [...]struct {
		err    error
		status int
		code   string
	}{
		{journal.ErrIDConflict, http.StatusConflict, "id-conflict"},
		{journal.ErrPartlyKnown, http.StatusConflict, "partly-known"},
		{journal.ErrUnknownParent, http.StatusUnprocessableEntity, "unknown-parent"},
		{journal.ErrWrongVersion, http.StatusPreconditionFailed, "wrong-version"},
		{journal.ErrCursor, http.StatusGone, "cursor"},
		{journal.ErrNotFound, http.StatusNotFound, "not-found"},
		{consumer.ErrNotFound, http.StatusNotFound, "not-found"},
		{consumer.ErrExists, http.StatusConflict, "exists"},
		{consumer.ErrNotInFlight, http.StatusConflict, "not-in-flight"},
		{actors.ErrNotParked, http.StatusConflict, "not-parked"},
		{journal.ErrAmbiguous, http.StatusConflict, "ambiguous"},
		{journal.ErrOutcomeUnknown, http.StatusGatewayTimeout, "outcome-unknown"},
		{cloudevents.ErrLineTooLong, http.StatusRequestEntityTooLarge, "too-large"},
		{journal.ErrModel, http.StatusConflict, "model"},
		{intent.ErrEmbedding, http.StatusUnprocessableEntity, "embedding"},
		{actors.ErrUnknownBehaviour, http.StatusUnprocessableEntity, "unknown-behaviour"},
		{actors.ErrOtherBehaviour, http.StatusConflict, "other-behaviour"},
		{actors.ErrContended, http.StatusServiceUnavailable, "contended"},
		{actors.ErrFailed, http.StatusUnprocessableEntity, "parked"},
		{actors.ErrStopped, http.StatusServiceUnavailable, "stopping"},
		{journal.ErrClosed, http.StatusServiceUnavailable, "stopping"},
		{journal.ErrFull, http.StatusInsufficientStorage, "disk-full"},
		{syscall.ENOSPC, http.StatusInsufficientStorage, "disk-full"},
		{journal.ErrFatal, http.StatusServiceUnavailable, "storage-failed"},
		{journal.ErrCorrupt, http.StatusInternalServerError, "damaged"},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, "timeout"},
		{context.Canceled, 499, "gone"}, // nobody reads it
	} {
		if !errors.Is(err, known.err) {
			continue
		}
		p := problem(known.status, known.code, text)
		p.more(err)
		return p
	}
	if e, ok := errors.AsType[*events.InvalidError](err); ok {
		if e.Field == "line" {
			return problem(http.StatusBadRequest, "malformed", e.Reason)
		}
	}
	if errors.Is(err, events.ErrInvalid) {
		return problem(http.StatusUnprocessableEntity, "invalid", text)
	}
	return problem(http.StatusInternalServerError, "internal", text)
}

// more adds what programs want to know without reading the text.
func (p *Problem) more(err error) {
	if e, ok := errors.AsType[*journal.WrongVersionError](err); ok {
		p.Actual = &e.Actual
	}
	if e, ok := errors.AsType[*journal.UnknownParentError](err); ok {
		for _, id := range e.Parents {
			p.Parents = append(p.Parents, id.String())
		}
	}
	if e, ok := errors.AsType[*journal.OutcomeError](err); ok {
		for _, id := range e.IDs {
			p.IDs = append(p.IDs, id.String())
		}
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusInsufficientStorage {
		p.retryAfter = 5
	}
}

// write answers a request with the problem, outside of the routing library.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, p.GetHeaders())
	h.Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}
