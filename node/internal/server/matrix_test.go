package server_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// TestMatrix asks for every route with every kind of token, for our host and a
// foreign one, from our origin, none and a foreign one. Only the right token
// for our host from no foreign origin gets through.
func TestMatrix(t *testing.T) {
	r := start(t, server.Options{Hosts: []string{"toka.example"}})
	past := time.Now().Add(-time.Minute)
	all := []auth.Scope{auth.Read, auth.Append, auth.Admin}
	tokens := map[auth.Scope]string{}
	for _, s := range all {
		_, tokens[s] = r.token(auth.Token{Name: string(s), Scopes: []auth.Scope{s}})
	}
	_, expired := r.token(auth.Token{Name: "expired", Scopes: []auth.Scope{auth.Admin}, Expires: &past})
	revoked := func() string {
		_, text := r.token(auth.Token{Name: "revoked", Scopes: []auth.Scope{auth.Admin}})
		if _, err := r.tokens.Revoke("revoked"); err != nil {
			t.Fatal(err)
		}
		return text
	}()

	asked, through := 0, 0
	for _, route := range slices.Sorted(maps.Keys(r.s.Routes())) {
		need := r.s.Routes()[route]
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer("{id}", "x", "{agent}", "x", "{stream}", "x", "{consumer}", "x", "{intent}", "x").Replace(path)
		if path == "/v1/events/stream" {
			path += "?after=9-9" // one that gets through ends at once
		}
		// Whom the route is for gets past the gate, whatever it is told then.
		holders := map[string]bool{"": need == "", "nonsense": need == "", expired: need == "", revoked: need == ""}
		for _, s := range all {
			holders[tokens[s]] = need == "" || s == need || s == auth.Admin
		}
		for token, may := range holders {
			for host, ours := range map[string]bool{"": true, "toka.example": true, "TOKA.example:80": true, "localhost:7": true, "[::1]": true, "evil.example": false, "127.0.0.1.evil.example": false, "toka.example.": false} {
				for origin, near := range map[string]bool{"": true, "own": true, "http://evil.example": false, "null": false, "http://localhost:1": host == "localhost:1"} {
					headers := []string{"Accept", "*/*"}
					if token != "" {
						headers = append(headers, "Authorization", "Bearer "+token)
					}
					if host != "" {
						headers = append(headers, "Host", host)
					}
					switch origin {
					case "":
					case "own":
						name := host
						if name == "" {
							name = strings.TrimPrefix(r.url, "http://")
						}
						headers = append(headers, "Origin", "http://"+name)
					default:
						headers = append(headers, "Origin", origin)
					}
					a := r.do(method, path, "", headers...)
					asked++
					var want []int
					switch {
					case !ours:
						want = []int{421}
					case !near:
						want = []int{403}
					case may:
						through++
						if slices.Contains([]int{401, 403, 421}, a.status) {
							t.Errorf("%s as %.12q, host %q, origin %q: %d %s", route, token, host, origin, a.status, a.body)
						}
						continue
					default:
						want = []int{401, 403}
					}
					if !slices.Contains(want, a.status) {
						t.Errorf("%s as %.12q, host %q, origin %q: %d, want %v", route, token, host, origin, a.status, want)
					}
				}
			}
		}
	}
	t.Logf("%d requests, %d through", asked, through)
	if through == 0 || through > asked/2 {
		t.Errorf("%d of %d requests got through", through, asked)
	}
	// A browser says where a page is from also without Origin.
	r.do("GET", "/v1/stats", "", "Authorization", "Bearer "+tokens[auth.Read], "Sec-Fetch-Site", "cross-site").refusal(t, 403, "cross-origin")
	r.do("GET", "/v1/stats", "", "Authorization", "Basic eA==").refusal(t, 401, "token")
	r.do("GET", "/v1/stats", "", "Authorization", "Bearer "+tokens[auth.Read], "Authorization", "Bearer x").refusal(t, 401, "token")
	r.do("GET", "/v1/stats", "", "Authorization", "Bearer "+expired).refusal(t, 401, "token-expired")
	if a := r.do("GET", "/v1/stats", ""); a.header.Get("WWW-Authenticate") == "" {
		t.Error("it does not say how to authenticate")
	}
}

// TestTokenPatterns holds every route to the streams and kinds of a token.
func TestTokenPatterns(t *testing.T) {
	r := start(t, server.Options{})
	r.post(cloud("mine/1", "a", "x.one", ""))
	r.post(cloud("mine/1", "b", "y.one", ""))
	r.post(cloud("theirs", "c", "x.one", ""))
	r.post(cloud("mine/2", "d", "x.one", `,"tokaparents":"c"`))
	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read, auth.Append}, Streams: []string{"mine/*"}, Kinds: []string{"x.*"}})
	some := r.withToken(text)
	if got := some.list("").ids(); got != "ad" {
		t.Errorf("listed %q", got)
	}
	if got := some.list("?order=desc").ids(); got != "da" {
		t.Errorf("listed backwards %q", got)
	}
	for _, id := range []string{"b", "c"} {
		some.do("GET", "/v1/events/"+id, "").refusal(t, 404, "not-found")
	}
	if a := some.do("GET", "/v1/events/a", ""); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	some.do("GET", "/v1/events?stream=theirs", "").refusal(t, 403, "scope")
	some.do("GET", "/v1/events/stream?stream=theirs", "").refusal(t, 403, "scope")
	some.do("GET", "/v1/streams/theirs", "").refusal(t, 403, "scope")
	some.do("GET", "/v1/agents/mine%2F1/state", "").refusal(t, 403, "scope")
	some.post(cloud("theirs", "e", "x.one", "")).refusal(t, 403, "scope")
	some.post(cloud("mine/1", "e", "y.one", "")).refusal(t, 403, "scope")
	some.post("["+cloud("mine/1", "e", "x.one", "")+","+cloud("theirs", "f", "x.one", "")+"]").refusal(t, 403, "scope")
	some.do("POST", "/v1/agents/theirs/commands", `{"kind":"light.turn"}`).refusal(t, 403, "scope")
	if a := some.post(cloud("mine/1", "e", "x.one", "")); a.status != 201 {
		t.Errorf("%d %s", a.status, a.body)
	}
	var seen string
	err := some.follow(t.Context(), "?after=0&limit=3", "", func(_, name, data string) bool {
		if name == "" {
			_, rest, _ := strings.Cut(data, `"id":"`)
			seen += rest[:1]
		}
		return name != "toka.end"
	})
	if err != nil || seen != "ade" {
		t.Errorf("followed %q, %v", seen, err)
	}
	if r.j.Position() != 5 {
		t.Errorf("the journal ends at %d", r.j.Position())
	}
}

// TestVagueParameters refuses what could be read in two ways, or says nothing.
func TestVagueParameters(t *testing.T) {
	r := start(t, server.Options{})
	r.post(cloud("a", "1", "x.one", ""))
	r.do("GET", "/v1/events?stream=a&stream=b", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/events?until=", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/events/stream?after=0&limit=1&after=1", "").refusal(t, 422, "invalid")
	if got := r.list("?kind=x.*&kind=y.*").ids(); got != "1" {
		t.Errorf("two kinds: %q", got)
	}
	var stats map[string]any
	r.do("GET", "/v1/stats", "").decode(t, &stats)
	if stats["streams"] != 1.0 || stats["readers"] != 0.0 {
		t.Errorf("%v", stats)
	}
}

func TestNotReady(t *testing.T) {
	tokens, err := auth.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, server.Options{Tokens: tokens})
	if a := r.do("GET", "/readyz", ""); a.status != 200 || !strings.Contains(a.body, `"ready":true`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	fresh := *r
	fresh.s = server.New(r.options)
	fresh.url = "http://" + fresh.listen().String()
	defer func() {
		if err := fresh.s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	fresh.s.Progress(server.Phase{Name: "recovering agents", Done: 3, Total: 7})
	if a := fresh.do("GET", "/readyz", ""); a.status != 503 || a.body != `{"ready":false,"phase":"recovering agents","done":3,"total":7}`+"\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := fresh.do("GET", "/livez", ""); a.status != 200 {
		t.Errorf("%d", a.status)
	}
	fresh.do("GET", "/v1/stats", "").refusal(t, 503, "not-ready")
	fresh.post(cloud("s", "1", "a.b", "")).refusal(t, 503, "not-ready")
}
