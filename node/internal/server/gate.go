package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tokaworks/toka/node/internal/server/auth"
)

// maxHeader bounds a request's line and headers. What may stand in a query is
// bounded to fit.
const maxHeader = 16 << 10

type principalKey struct{}

// principal returns on whose behalf a request is made.
func principal(ctx context.Context) *auth.Principal {
	if p, ok := ctx.Value(principalKey{}).(*auth.Principal); ok {
		return p
	}
	return &auth.Principal{}
}

func withPrincipal(r *http.Request, p *auth.Principal) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
}

// atSocket is the gate of the unix socket: who can open it may do everything.
func (s *Server) atSocket(next *http.ServeMux) http.Handler {
	owner := auth.Local("socket")
	return s.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, _, ok := s.route(next, r)
		if !ok {
			s.unknownRoute(next, w, r)
			return
		}
		handler.ServeHTTP(w, withPrincipal(r, &owner))
	}))
}

// Values of headers that every answer has; adding to one copies it.
var noSniff, noStore = []string{"nosniff"}[:1:1], []string{"no-store"}[:1:1]

// gate checks in this order, and nothing looks at a request before: the host
// it is for (a name that was made to point here is not ours), the origin it
// comes from, that there is such a route, the token, its rate and its scope.
func (s *Server) gate(next *http.ServeMux) http.Handler {
	cross := http.NewCrossOriginProtection()
	return s.counted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["X-Content-Type-Options"], h["Cache-Control"] = noSniff, noStore
		if !s.ourHost(r) {
			problem(http.StatusMisdirectedRequest, "host", "this node does not answer for host "+clip(r.Host)+"; allow it with --allow-host").write(w)
			return
		}
		if err := cross.Check(r); err != nil || foreignOrigin(r) {
			problem(http.StatusForbidden, "cross-origin", "requests from pages of other origins are not answered").write(w)
			return
		}
		handler, scope, ok := s.route(next, r)
		if !ok {
			s.unknownRoute(next, w, r)
			return
		}
		p, refused := s.identify(r)
		if refused == nil && scope != public && !p.May(scope) {
			refused = problem(http.StatusForbidden, "scope", "token "+p.Name+" does not have scope "+string(scope))
		}
		if refused != nil && scope == public {
			refused = nil
		}
		if refused == nil {
			refused = s.limits.admit(r, p)
		}
		if refused == nil {
			refused = vague(r)
		}
		if refused != nil {
			if refused.Status == http.StatusUnauthorized {
				h.Set("WWW-Authenticate", `Bearer realm="toka"`)
			}
			refused.write(w)
			return
		}
		handler.ServeHTTP(w, withPrincipal(r, p))
	}))
}

// vague refuses a parameter that stands there twice and is no list, and one
// without a value: it would be passed over, and with it what somebody meant.
func vague(r *http.Request) *Problem {
	if r.URL.RawQuery == "" {
		return nil
	}
	for name, values := range r.URL.Query() {
		if len(values) > 1 && name != "kind" && name != "position" {
			return problem(http.StatusUnprocessableEntity, "invalid", "query."+clip(name)+" stands there twice")
		}
		if slices.Contains(values, "") {
			return problem(http.StatusUnprocessableEntity, "invalid", "query."+clip(name)+" has no value; give one, or leave it out")
		}
	}
	return nil
}

// route returns what answers r and the scope that it needs; it is not ok if
// there is no such route.
func (s *Server) route(mux *http.ServeMux, r *http.Request) (handler http.Handler, scope auth.Scope, ok bool) {
	if at := r.URL.EscapedPath(); path.Clean(at) != at {
		return nil, "", false // the multiplexer would redirect to where it means
	}
	handler, pattern := mux.Handler(r)
	if strings.Contains(pattern, "{") {
		handler = mux // which takes the path apart
	}
	scope, ok = s.need[pattern]
	if ok {
		r.Pattern = pattern // for who counts
	}
	return handler, scope, ok
}

// unknownRoute answers where there is no route: the multiplexer knows whether
// another method would have one.
func (s *Server) unknownRoute(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	handler, pattern := mux.Handler(r)
	if pattern == "" {
		seen := &statusOnly{header: http.Header{}}
		handler.ServeHTTP(seen, r)
		if seen.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", seen.header.Get("Allow"))
			problem(http.StatusMethodNotAllowed, "method", r.Method+" is not for this path; use "+seen.header.Get("Allow")).write(w)
			return
		}
	}
	problem(http.StatusNotFound, "no-route", "there is nothing at this path; /openapi.json lists what there is").write(w)
}

// statusOnly keeps what a handler would have answered.
type statusOnly struct {
	header http.Header
	status int
}

func (o *statusOnly) Header() http.Header         { return o.header }
func (o *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (o *statusOnly) WriteHeader(status int)      { o.status = status }

// ourHost reports whether a request is for this node: by an address of
// loopback, by the very address that it came in on, or by a name that was
// allowed. Any other name may have been made to point here by a page that
// wants a browser to think it is of the same origin.
func (s *Server) ourHost(r *http.Request) bool {
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if name == "localhost" || slices.Contains(s.opts.Hosts, name) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	if addr.IsLoopback() {
		return true
	}
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	local, err := netip.ParseAddrPort(at.String())
	return err == nil && local.Addr().Unmap() == addr.Unmap()
}

// foreignOrigin holds every method to what CrossOriginProtection asks of those
// that change something: a page elsewhere has nothing to read here either.
func foreignOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none", "":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	_, host, ok := strings.Cut(origin, "://")
	return !ok || host != r.Host
}

// identify returns who makes a request, or why nobody may.
func (s *Server) identify(r *http.Request) (*auth.Principal, *Problem) {
	header, given := r.Header["Authorization"]
	if given {
		scheme, token, _ := strings.Cut(header[0], " ")
		if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
			return nil, problem(http.StatusUnauthorized, "token", "give one header Authorization: Bearer TOKEN")
		}
		p, err := s.opts.Tokens.Check(strings.TrimSpace(token), time.Now())
		switch {
		case errors.Is(err, auth.ErrExpired):
			return nil, problem(http.StatusUnauthorized, "token-expired", err.Error())
		case err != nil:
			return nil, problem(http.StatusUnauthorized, "token", err.Error())
		}
		return &p, nil
	}
	if name, ok := certified(r.TLS); ok {
		p := auth.Local("certificate of " + name)
		return &p, nil
	}
	if s.opts.NeedToken || s.opts.Tokens.Any() {
		return nil, problem(http.StatusUnauthorized, "token", "a token is needed: Authorization: Bearer TOKEN; toka-node token create makes one")
	}
	p := auth.Local("anybody on loopback")
	return &p, nil
}

// certified returns the name in a client certificate that the listener has
// verified against the operator's own authority.
func certified(state *tls.ConnectionState) (string, bool) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", false
	}
	return clip(state.PeerCertificates[0].Subject.CommonName), true
}

// clip keeps errors short whatever the request was.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
