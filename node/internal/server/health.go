package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type statsOutput struct {
	Body struct {
		journal.Stats
		Cursor  string `json:"cursor" doc:"Of the last durable event"`
		Agents  int    `json:"agents"`
		Readers int64  `json:"readers" doc:"Who follow now"`
		Version string `json:"version"`
	}
}

func (s *Server) healthRoutes() {
	// Health is asked for by machines that have no token.
	s.need["GET /livez"], s.need["GET /readyz"] = public, public
	s.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok")
	})
	s.mux.HandleFunc("GET /readyz", s.readyz)
	op := func(path, id, what string) *huma.Operation {
		return &huma.Operation{
			Method: http.MethodGet, Path: path, OperationID: id, Tags: []string{"health"}, Summary: what, Security: []map[string][]string{},
			Responses: map[string]*huma.Response{"200": {Description: "Yes"}, "503": {Description: "No"}},
		}
	}
	s.api.OpenAPI().AddOperation(op("/livez", "live", "Whether the process answers"))
	s.api.OpenAPI().AddOperation(op("/readyz", "ready", "Whether the node answers requests, and how far it is"))
	s.metricsRoute()
	operation(s, auth.Read, huma.Operation{
		Method: http.MethodGet, Path: "/v1/stats", OperationID: "get-stats", Tags: []string{"health"}, Summary: "Counts as of the last durable event",
	}, func(_ context.Context, n *Node, _ *struct{}) (*statsOutput, error) {
		var out statsOutput
		out.Body.Stats = n.Journal.Stats()
		out.Body.Cursor = journal.Cursor{Epoch: out.Body.Epoch, Position: out.Body.Position}.String()
		out.Body.Agents = len(n.System.Agents())
		out.Body.Readers, out.Body.Version = s.counters.streams.Load(), s.opts.Version
		return &out, nil
	})
}

// readiness is what /readyz says.
type readiness struct {
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
	Phase
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	out := readiness{Ready: true, Phase: Phase{Name: "serving"}}
	n := s.node.Load()
	select {
	case <-s.ending:
		out.Ready, out.Phase = false, Phase{Name: "stopping"}
	default:
		if n == nil {
			out.Ready, out.Phase = false, *s.phase.Load()
		} else if err := n.Journal.Err(); err != nil {
			out.Ready, out.Why, out.Phase = false, err.Error(), Phase{Name: "failed"}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if !out.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(out) // the client may be gone
}

// room refuses what would be written to a disk that is nearly full: the store
// does not survive one that is.
func (s *Server) room() error {
	if s.opts.Space == nil {
		return nil
	}
	free, keep := s.opts.Space()
	if free >= keep {
		return nil
	}
	p := problem(http.StatusInsufficientStorage, "disk-full",
		fmt.Sprintf("%d MiB are left on the disk and %d MiB are kept free; reads go on, and appends when there is room again", free>>20, keep>>20))
	p.retryAfter = 10
	return p
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}
