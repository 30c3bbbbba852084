package server

import (
	"net/http"
	"sync/atomic"
)

// counters are what the server counts about itself.
type counters struct {
	streams atomic.Int64
}

func (c *counters) init(*Server) {}

// counted counts the requests of a gate by route and status.
func (s *Server) counted(next http.Handler) http.Handler { return next }
