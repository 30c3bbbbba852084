package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"path"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// Options say how a node is served. Describe, Find and Tokens are needed.
type Options struct {
	Version string
	Logger  *slog.Logger // default: nothing is logged

	// Tokens are those of the journal's directory.
	Tokens *auth.Tokens

	// NeedToken asks for a token on the network also while there is none.
	NeedToken bool

	// Hosts are names that requests may be for, besides loopback ones and the
	// address they come in on. See gate.go.
	Hosts []string

	// Find returns the event that a client means by an id.
	Find func(ctx context.Context, j *journal.Journal, id string) (events.Event, error)

	// Describe returns an event as it is printed for programs.
	Describe func(events.Event) any

	// Command runs a command line against the journal that is served.
	Command CommandFunc

	// Allowed says which command lines may come over the network and what
	// scope each needs; on the socket all may.
	Allowed func(args []string) (auth.Scope, bool)

	// Embed gives events that come in without a vector one, if it can, and is
	// done in a short time. Default: they stay as they are.
	Embed func(context.Context, *journal.Journal, []events.Draft)

	// Key signs heads. Nil: they are not signed.
	Key *merkle.Key

	// Space returns how much room is left below the journal, and how much is
	// kept free. Default: there is always room.
	Space func() (free, keep uint64)

	// Metrics answers who asks for numbers. Default: there are none.
	Metrics http.Handler

	// OnRequest is called after each request with the route that it was for,
	// empty if there is none. It must be quick.
	OnRequest func(route string, status int, took time.Duration)

	// RatePerToken bounds requests a second of one token, or of one address
	// without a token. Default 0: no bound.
	RatePerToken float64

	// Streams bounds how many readers follow at the same time. Default 4,096.
	Streams int

	// Connections bounds how many are open at the same time; one more is
	// closed as it comes. Default 8,192.
	Connections int

	// Heartbeat is how often a quiet stream says that it is there. Default 15 s.
	Heartbeat time.Duration

	// Patience is how long a reader may leave what was sent untaken before it
	// is let go; it comes back with its cursor. Default 10 s.
	Patience time.Duration

	// TLS is what the network is served with. Nil: in the clear.
	TLS *tls.Config
}

// Node is what a server shows: set when the journal is open.
type Node struct {
	Journal   *journal.Journal
	System    *actors.System
	Registry  *actors.Registry
	Consumers *consumer.Set
}

// Server answers requests. It serves from the start and says that it is not
// ready until Ready is called.
type Server struct {
	opts    Options
	log     *slog.Logger
	api     huma.API
	mux     *http.ServeMux
	need    map[string]auth.Scope // by route; what is missing is not served
	started time.Time

	node     atomic.Pointer[Node]
	phase    atomic.Pointer[Phase]
	jobs     jobs
	limits   limits
	counters counters
	hub      hub

	ending  chan struct{} // closed when Shutdown begins: streams end
	endOnce sync.Once

	mu      sync.Mutex
	servers []*http.Server
}

// Phase says how far a node has come on its way to be ready.
type Phase struct {
	Name  string `json:"phase"`
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

// New returns a server that is not ready yet.
func New(o Options) *Server {
	if o.Describe == nil || o.Find == nil || o.Tokens == nil {
		panic("server: New: Describe, Find and Tokens are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Streams == 0 {
		o.Streams = 4096
	}
	if o.Connections == 0 {
		o.Connections = 8192
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	s := &Server{
		opts: o, log: o.Logger, mux: http.NewServeMux(), need: map[string]auth.Scope{},
		started: time.Now(), ending: make(chan struct{}),
	}
	s.limits.init(o)
	s.hub.asRecord = s.recordFrame
	s.phase.Store(&Phase{Name: "opening"})
	s.api = humago.New(s.mux, apiConfig(o.Version))
	s.routes()
	s.counters.init(s)
	return s
}

// apiConfig keeps everything that the document shows on this server: no page
// loads anything from elsewhere.
func apiConfig(version string) huma.Config {
	c := huma.DefaultConfig("Toka node", version)
	c.Info.Description = "Events with their causes, and the agents that react to them. Events are CloudEvents 1.0; errors are problem documents (RFC 9457)."
	c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", nil
	c.OpenAPIPath = "/openapi"
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{ownProblem}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "Made by toka-node token create. On loopback none is needed while there is none."}}
	c.Security = []map[string][]string{{"token": {}}, {}}
	return c
}

// schemaName tells types of other packages from this one's by their package.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if from := path.Base(t.PkgPath()); from != "server" && from != "." && t.Name() != "" {
		name = strings.ToUpper(from[:1]) + from[1:] + name
	}
	return name
}

func (s *Server) routes() {
	for _, p := range []string{"GET /openapi.json", "GET /openapi.yaml", "GET /openapi-3.0.json", "GET /openapi-3.0.yaml"} {
		s.need[p] = public
	}
	s.healthRoutes()
	s.eventRoutes()
	s.liveRoutes()
	s.agentRoutes()
	s.causalRoutes()
	s.intentRoutes()
	s.parkedRoutes()
	s.consumerRoutes()
	s.proofRoutes()
	s.jobRoutes()
	s.commandRoutes()
	// What ownProblem makes of the library's own errors.
	schemas := s.api.OpenAPI().Components.Schemas
	problems := schemas.SchemaFromRef(schemas.Schema(typeOf[Problem](), true, "Problem").Ref)
	schemas.Map()[schemaName(typeOf[huma.ErrorModel](), "")] = problems
}

// public is the scope of routes that need none.
const public auth.Scope = ""

// operation registers an operation with the scope it needs.
func operation[I, O any](s *Server, scope auth.Scope, op huma.Operation, handler func(context.Context, *Node, *I) (*O, error)) {
	s.need[op.Method+" "+op.Path] = scope
	describe(&op, scope)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		n := s.node.Load()
		if n == nil {
			return nil, s.notReady()
		}
		out, err := handler(ctx, n, in)
		if err != nil {
			return nil, asProblem(err)
		}
		return out, nil
	})
}

// plain registers a handler that reads and writes by itself; op only describes
// it.
func (s *Server) plain(scope auth.Scope, op huma.Operation, handler func(http.ResponseWriter, *http.Request, *Node) error) {
	s.need[op.Method+" "+op.Path] = scope
	describe(&op, scope)
	if !op.Hidden {
		s.api.OpenAPI().AddOperation(&op)
	}
	s.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		n := s.node.Load()
		if n == nil {
			s.notReady().write(w)
			return
		}
		if err := handler(w, r, n); err != nil {
			asProblem(err).write(w)
		}
	})
}

func describe(op *huma.Operation, scope auth.Scope) {
	if scope != public {
		op.Description += "\n\nNeeds scope " + string(scope) + "."
	}
}

func (s *Server) notReady() *Problem {
	ph := s.phase.Load()
	p := problem(http.StatusServiceUnavailable, "not-ready", "the node is "+ph.Name+"; /readyz tells how far it is")
	p.retryAfter = 1
	return p
}

// Progress says what the node is doing before it is ready.
func (s *Server) Progress(p Phase) { s.phase.Store(&p) }

// Ready begins to answer from n.
func (s *Server) Ready(n Node) { s.node.Store(&n) }

// Handler answers requests from the network.
func (s *Server) Handler() http.Handler { return s.gate(s.mux) }

// Serve answers requests on ln, which it closes, until Shutdown. local is set
// for the socket: whoever can open that owns the journal.
func (s *Server) Serve(ln net.Listener, local bool) error {
	handler := s.Handler()
	if local {
		handler = s.atSocket(s.mux)
	}
	srv := s.httpServer(handler)
	s.mu.Lock()
	select {
	case <-s.ending:
		s.mu.Unlock()
		return errors.Join(http.ErrServerClosed, ln.Close())
	default:
	}
	s.servers = append(s.servers, srv)
	s.mu.Unlock()
	if local {
		return srv.Serve(ln)
	}
	ln = s.limits.listener(ln)
	if s.opts.TLS == nil {
		return srv.Serve(ln)
	}
	srv.TLSConfig = s.opts.TLS.Clone() // the server writes to it
	return srv.ServeTLS(ln, "", "")
}

// ServeProfiles serves the profiles of the process on ln until Shutdown. There
// is no check but that of the host: ln is to be on loopback.
func (s *Server) ServeProfiles(ln net.Listener) error {
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace, "/debug/pprof/symbol": pprof.Symbol,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if !s.ourHost(r) || foreignOrigin(r) {
				problem(http.StatusMisdirectedRequest, "host", "profiles are for this machine").write(w)
				return
			}
			h(w, r)
		})
	}
	srv := s.httpServer(mux)
	s.mu.Lock()
	s.servers = append(s.servers, srv)
	s.mu.Unlock()
	return srv.Serve(ln)
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ConnContext:       remember,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Shutdown takes no more requests, ends streams and jobs, and waits for the
// requests that are being answered. When ctx ends first, these are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endOnce.Do(func() { close(s.ending) })
	s.jobs.stop()
	s.mu.Lock()
	servers := s.servers
	s.mu.Unlock()
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, srv := range servers {
		wg.Go(func() {
			if errs[i] = srv.Shutdown(ctx); errs[i] != nil {
				errs[i] = errors.Join(errs[i], srv.Close())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Routes returns what each route needs; public ones need nothing.
func (s *Server) Routes() map[string]auth.Scope { return maps.Clone(s.need) }
