package server

import (
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// counters are what the server counts about itself.
type counters struct {
	streams atomic.Int64
}

func (c *counters) init(*Server) {}

// counted counts the requests of a gate by route and status. A handler that
// panics is answered for: it must not look as if the network had failed.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
