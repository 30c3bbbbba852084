package server

import (
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

// counters are what the server counts about itself.
type counters struct {
	streams atomic.Int64

	mu      sync.Mutex
	readers map[*reader]struct{}
}

func (c *counters) init(*Server) { c.readers = map[*reader]struct{}{} }

func (c *counters) join(l *reader) {
	c.streams.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[l] = struct{}{}
}

func (c *counters) leave(l *reader) {
	c.streams.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.readers, l)
}

// Readers returns how many follow now.
func (s *Server) Readers() int { return int(s.counters.streams.Load()) }

// Lag returns how many events the one of them that is furthest behind was not
// sent yet. Those who follow an intent are not looked at: they wait for it to
// be assigned.
func (s *Server) Lag() (lag uint64) {
	node := s.node.Load()
	if node == nil {
		return 0
	}
	end := node.Journal.Position()
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	for l := range s.counters.readers {
		if at := l.came.Load(); at < end && l.sel.q.Intent.IsZero() {
			lag = max(lag, end-at)
		}
	}
	return lag
}

// metricsRoute serves the numbers from the start, also before the node is
// ready.
func (s *Server) metricsRoute() {
	if s.opts.Metrics == nil {
		return
	}
	op := &huma.Operation{
		Method: http.MethodGet, Path: "/metrics", OperationID: "metrics", Tags: []string{"health"},
		Summary:   "Numbers in the text format of Prometheus",
		Responses: map[string]*huma.Response{"200": {Description: "Numbers", Content: map[string]*huma.MediaType{"text/plain": {}}}},
	}
	describe(op, auth.Read)
	s.need["GET /metrics"] = auth.Read
	s.api.OpenAPI().AddOperation(op)
	s.mux.Handle("GET /metrics", s.opts.Metrics)
}

// counted counts the requests of a gate by route and status. A handler that
// panics is answered for: it must not look as if the network had failed.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.opts.OnRequest != nil {
			start, seen := time.Now(), &answered{ResponseWriter: w, status: http.StatusOK}
			w = seen
			defer func() { s.opts.OnRequest(r.Pattern, seen.status, time.Since(start)) }()
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint,err113 // it is the very value
					panic(p)
				}
				s.log.Error("a request panicked", "method", r.Method, "path", clip(r.URL.Path), "panic", p, "stack", string(debug.Stack()))
				problem(http.StatusInternalServerError, "internal", "the node has a fault; its log tells more").write(w)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// answered remembers the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets deadlines and flushes through.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
