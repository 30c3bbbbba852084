package server_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

func (r *running) page(path string) (l listed) {
	r.t.Helper()
	a := r.do("GET", path, "")
	if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != 200 {
		r.t.Fatalf("%s: %d %s, %v", path, a.status, a.body, err)
	}
	return l
}

// diamond appends a < b, c < d < e, and f that has nothing to do with them.
func (r *running) diamond() {
	r.t.Helper()
	for _, e := range [][3]string{{"mine", "a", ""}, {"mine", "b", "a"}, {"theirs", "c", "a"}, {"mine", "d", "b c"}, {"mine", "e", "d"}, {"mine", "f", ""}} {
		rest := ""
		if e[2] != "" {
			rest = `,"tokaparents":"` + e[2] + `"`
		}
		if a := r.post(cloud(e[0], e[1], "x.y", rest)); a.status != 201 {
			r.t.Fatalf("%d %s", a.status, a.body)
		}
	}
}

func TestCausalQueries(t *testing.T) {
	r := start(t, server.Options{})
	r.diamond()
	questions := map[string]string{
		"/v1/events/d/parents":           "cb",
		"/v1/events/a/parents":           "",
		"/v1/events/a/children":          "bc",
		"/v1/events/e/ancestors":         "dcba",
		"/v1/events/e/ancestors?depth=2": "dcb",
		"/v1/events/a/descendants":       "bcde",
		"/v1/events/b/descendants":       "de",
		"/v1/causal/between?a=a&b=d":     "bc",
		"/v1/causal/between?a=d&b=a":     "",
		"/v1/causal/common?a=b&b=c":      "a",
		"/v1/causal/common?a=e&b=f":      "",
		"/v1/causal/heads":               "fe",
		"/v1/causal/heads?at=3":          "cb",
	}
	for path, want := range questions {
		if l := r.page(path); l.ids() != want || l.More {
			t.Errorf("%s: %q, more %v; want %q", path, l.ids(), l.More, want)
		}
	}
	// Any page size gives the same answer in pieces.
	for _, path := range []string{"/v1/events/e/ancestors", "/v1/events/a/descendants"} {
		got := ""
		l := r.page(path + "?limit=1")
		for got += l.ids(); l.More; got += l.ids() {
			l = r.page(path + "?limit=1&after=" + l.Next)
		}
		if got != questions[path] {
			t.Errorf("%s by one: %q", path, got)
		}
	}
	r.do("GET", "/v1/events/nobody/parents", "").refusal(t, 404, "not-found")
	r.do("GET", "/v1/causal/common?a=a", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/events/a/ancestors?depth=-1", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/causal/heads?at=1-99", "").refusal(t, 410, "cursor")

	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read}, Streams: []string{"mine"}})
	some := r.withToken(text)
	if got := some.page("/v1/events/e/ancestors").ids(); got != "dba" {
		t.Errorf("the token saw %q", got)
	}
	some.do("GET", "/v1/events/c/parents", "").refusal(t, 404, "not-found")
	some.do("GET", "/v1/causal/common?a=a&b=c", "").refusal(t, 404, "not-found")
}

func TestEveryRouteIsDescribed(t *testing.T) {
	r := start(t, server.Options{})
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(r.do("GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, methods := range doc.Paths {
		for m := range methods {
			described = append(described, strings.ToUpper(m)+" "+path)
		}
	}
	missing := 0
	for route := range r.s.Routes() {
		if slices.Contains(described, route) {
			continue
		}
		missing++
		if !slices.Contains([]string{"GET /openapi.json", "GET /openapi.yaml", "GET /openapi-3.0.json", "GET /openapi-3.0.yaml", "GET /metrics", "POST " + server.CommandPath}, route) {
			t.Errorf("%s is in no description", route)
		}
	}
	if len(described)+missing != len(r.s.Routes()) {
		t.Errorf("%d routes are described and %d are not, of %d", len(described), missing, len(r.s.Routes()))
	}
}
