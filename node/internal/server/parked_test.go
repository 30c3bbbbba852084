package server_test

import (
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

func (r *running) settle() {
	r.t.Helper()
	if err := r.sys.Settle(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) parked(query string) []actors.Parked {
	r.t.Helper()
	var out struct{ Parked []actors.Parked }
	r.do("GET", "/v1/parked"+query, "").decode(r.t, &out)
	return out.Parked
}

func TestParkedOverHTTP(t *testing.T) {
	r := start(t, server.Options{})
	if err := r.spawn(); err != nil {
		t.Fatal(err)
	}
	e := r.post(cloud("s", "1", "work.do", "")).appended(t).Events[0]
	r.settle()
	ps := r.parked("")
	if len(ps) != 1 || ps[0].Agent != "clerk" || ps[0].Message.String() != e.ID || ps[0].Reason != "no ink" {
		t.Fatalf("parked are %+v", ps)
	}
	if got := r.parked("?agent=other"); len(got) != 0 {
		t.Errorf("another agent parked %+v", got)
	}
	at := "/v1/parked/" + ps[0].ID.String()
	var one actors.Parked
	r.do("GET", at, "").decode(t, &one)
	if one.ID != ps[0].ID || one.Attempts != 1 {
		t.Errorf("shown is %+v", one)
	}
	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read, auth.Append}, Streams: []string{"s"}})
	some := r.withToken(text)
	_, text = r.token(auth.Token{Name: "all", Scopes: []auth.Scope{auth.Admin}})
	r = r.withToken(text)
	if got := some.parked(""); len(got) != 0 {
		t.Errorf("the token saw %+v", got)
	}
	some.do("GET", at, "").refusal(t, 404, "not-found")
	some.do("POST", at+"/retry", "").refusal(t, 404, "not-found")
	some.do("GET", "/v1/parked?agent=clerk", "").refusal(t, 403, "scope")

	r.do("GET", "/v1/parked/x", "").refusal(t, 422, "invalid")
	r.do("GET", "/v1/parked/"+e.ID, "").refusal(t, 409, "not-parked")
	r.do("POST", at+"/retry", `{"failed":"x","result":1}`).refusal(t, 422, "invalid")
	r.do("POST", at+"/retry", `{"failed":"x"}`).refusal(t, 409, "not-parked") // no effect is in doubt

	r.clerk.mended.Store(true)
	var out struct{ Request server.Stored }
	r.do("POST", at+"/retry", "").decode(t, &out)
	if out.Request.Kind != "toka.agent.retry" {
		t.Errorf("asked by %+v", out.Request)
	}
	r.settle()
	if ps := r.parked(""); len(ps) != 0 {
		t.Errorf("parked are %+v", ps)
	}
	r.do("GET", at, "").refusal(t, 409, "not-parked")
}
