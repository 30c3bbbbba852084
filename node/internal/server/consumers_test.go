package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

type deliveries struct {
	Deliveries []struct {
		Position uint64
		Attempt  int
		Event    server.CloudEvent
	}
}

func (r *running) fetch(name, query string) (d deliveries) {
	r.t.Helper()
	a := r.do("POST", "/v1/consumers/"+name+"/fetch"+query, "")
	if a.status != 200 {
		r.t.Fatalf("fetch: %d %s", a.status, a.body)
	}
	a.decode(r.t, &d)
	return d
}

func (d deliveries) String() (out string) {
	for _, d := range d.Deliveries {
		out += fmt.Sprintf("%d/%d ", d.Position, d.Attempt)
	}
	return strings.TrimSpace(out)
}

// count posts JSON and returns to how many something was done.
func (r *running) count(path, body string) int {
	r.t.Helper()
	var out struct{ Count int }
	r.do("POST", path, body, "Content-Type", "application/json").decode(r.t, &out)
	return out.Count
}

func (r *running) create(body string) server.ConsumerInfo {
	r.t.Helper()
	var info server.ConsumerInfo
	a := r.do("POST", "/v1/consumers", body, "Content-Type", "application/json")
	if a.status != 201 {
		r.t.Fatalf("create: %d %s", a.status, a.body)
	}
	a.decode(r.t, &info)
	return info
}

func TestConsumersOverHTTP(t *testing.T) {
	r := start(t, server.Options{})
	info := r.create(`{"name":"mailer","kinds":["order.*"],"ack_wait":"1m","max_deliver":2,"backoff":["1ms"]}`)
	if info.Name != "mailer" || info.AckWait != "1m0s" || info.MaxDeliver != 2 || info.MaxInFlight != 256 || len(info.Kinds) != 1 {
		t.Errorf("created %+v", info)
	}
	again := r.create(`{"name":"mailer","kinds":["order.*"],"ack_wait":"60s","max_deliver":2,"backoff":["1ms"]}`)
	if again.Name != "mailer" {
		t.Errorf("%+v", again)
	}
	for body, want := range map[string]string{
		`{"name":"mailer"}`:                            "409 exists",
		`{"name":"$x"}`:                                "422 invalid",
		`{"name":"x","ack_wait":"soon"}`:               "422 invalid",
		`{"name":"x","kinds":["a.>.b"]}`:               "422 invalid",
		`{"name":"x","after":"1-99"}`:                  "410 cursor",
		`{"name":"x","unknown":1}`:                     "422 invalid",
		`{"name":"x","backoff":["-1s"]}`:               "422 invalid",
		`{"name":"x","stream":"a\u0000b"}`:             "422 invalid",
		`{"name":"x","since":"yesterday"}`:             "422 invalid",
		`{"name":"x","max_in_flight":"many"}`:          "422 invalid",
		`{"name":"x","agent":"a","ack_wait":"-0.5ms"}`: "422 invalid",
	} {
		a := r.do("POST", "/v1/consumers", body, "Content-Type", "application/json")
		status, code, _ := strings.Cut(want, " ")
		if p := a.refusal(t, a.status, code); fmt.Sprint(p.Status) != status {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}

	r.post("[" + cloud("s", "1", "order.a", "") + "," + cloud("s", "2", "other", "") + "," + cloud("s", "3", "order.b", "") + "," + cloud("s", "4", "order.c", "") + "]")
	d := r.fetch("mailer", "?limit=10&wait=5s")
	if d.String() != "1/1 3/1 4/1" || d.Deliveries[0].Event.ID != "1" || d.Deliveries[0].Event.SpecVersion != "1.0" {
		t.Fatalf("fetched %s, %+v", d, d)
	}
	if got := r.fetch("mailer", "?wait=1ms"); len(got.Deliveries) != 0 {
		t.Errorf("fetched %s again", got)
	}
	if n := r.count("/v1/consumers/mailer/ack", `{"positions":[1]}`); n != 1 {
		t.Errorf("acknowledged %d", n)
	}
	r.do("POST", "/v1/consumers/mailer/ack", `{"positions":[1]}`).refusal(t, 409, "not-in-flight")
	if n := r.count("/v1/consumers/mailer/extend", `{"positions":[3,4]}`); n != 2 {
		t.Errorf("extended %d", n)
	}
	if n := r.count("/v1/consumers/mailer/nak", `{"positions":[3],"delay":"1ms","reason":"later"}`); n != 1 {
		t.Errorf("refused %d", n)
	}
	if got := r.fetch("mailer", "?wait=10s"); got.String() != "3/2" {
		t.Errorf("fetched %s", got)
	}
	if n := r.count("/v1/consumers/mailer/terminate", `{"positions":[3],"reason":"no such customer"}`); n != 1 {
		t.Errorf("given up %d", n)
	}
	var parked struct{ Parked []server.ConsumerParked }
	r.do("GET", "/v1/consumers/mailer/parked", "").decode(t, &parked)
	if len(parked.Parked) != 1 || parked.Parked[0].Position != 3 || parked.Parked[0].Reason != "no such customer" {
		t.Fatalf("parked are %+v", parked)
	}
	if n := r.count("/v1/consumers/mailer/replay", fmt.Sprintf(`{"ids":[%q]}`, parked.Parked[0].ID)); n != 1 {
		t.Errorf("replayed %d", n)
	}
	if got := r.fetch("mailer", "?wait=10s"); got.String() != "3/1" {
		t.Errorf("fetched %s", got)
	}
	if n := r.count("/v1/consumers/mailer/terminate", `{"positions":[3]}`); n != 1 {
		t.Errorf("given up %d", n)
	}
	if n := r.count("/v1/consumers/mailer/drop", `{}`); n != 1 {
		t.Errorf("dropped %d", n)
	}
	var all struct{ Consumers []server.ConsumerInfo }
	r.do("GET", "/v1/consumers", "").decode(t, &all)
	r.do("GET", "/v1/consumers/mailer", "").decode(t, &info)
	if len(all.Consumers) != 1 || info.Open != 1 || all.Consumers[0].Open != 1 {
		t.Errorf("%+v, %+v", info, all)
	}
	for path, body := range map[string]string{
		"fetch": "", "ack": `{"positions":[1]}`, "nak": `{"positions":[1]}`, "terminate": `{"positions":[1]}`, "replay": "{}", "commit?position=1": "",
	} {
		r.do("POST", "/v1/consumers/nobody/"+path, body).refusal(t, 404, "not-found")
	}
	if a := r.do("DELETE", "/v1/consumers/mailer", ""); a.status != http.StatusNoContent {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.do("GET", "/v1/consumers/mailer", "").refusal(t, 404, "not-found")
}

// TestCommitOverHTTP holds a worker to do its work once: its events and its
// acknowledgement are one write, and a request whose answer was lost can be
// sent again.
func TestCommitOverHTTP(t *testing.T) {
	r := start(t, server.Options{})
	r.create(`{"name":"clerk","kinds":["order.placed"]}`)
	placed := r.post("[" + cloud("orders", "1", "order.placed", "") + "," + cloud("orders", "2", "order.placed", "") + "]").appended(t).Events
	d := r.fetch("clerk", "?limit=2")
	if d.String() != "1/1 2/1" {
		t.Fatalf("fetched %s", d)
	}
	commit := func(query, body string, header ...string) answer {
		return r.do("POST", "/v1/consumers/clerk/commit"+query, body, append([]string{"Content-Type", structured}, header...)...)
	}
	noted := cloud("clerk", "noted-1", "order.noted", "")
	a := commit("?position=1", noted)
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	first := a.appended(t)
	if l := r.page("/v1/events/noted-1/parents"); l.ids() != "1" {
		t.Errorf("its causes are %q", l.ids())
	}
	a = commit("?position=1", noted)
	if out := a.appended(t); a.status != 200 || !out.Duplicate || out.Events[0].Position != first.Events[0].Position {
		t.Errorf("sent again: %d %s", a.status, a.body)
	}
	end := r.j.Position()
	// Other work for what was settled is not stored, nor is work that is
	// refused settled.
	commit("?position=1", cloud("clerk", "noted-other", "order.noted", "")).refusal(t, 409, "not-in-flight")
	commit("?position=2", noted).refusal(t, 409, "id-conflict") // its causes are others now
	commit("?position=2", cloud("clerk", "noted-2", "order.noted", ""), "Toka-Expected-Version", "7").refusal(t, 412, "wrong-version")
	commit("?position=2", cloud("clerk", "noted-2", "order.noted", `,"tokaparents":"nobody"`)).refusal(t, 422, "unknown-parent")
	for _, query := range []string{"", "?position=x", "?position=0", "?position=2&position=2"} {
		commit(query, noted).refusal(t, 422, "invalid")
	}
	commit("?position=99", noted).refusal(t, 404, "not-found")
	if r.j.Position() != end {
		t.Errorf("the journal grew from %d to %d", end, r.j.Position())
	}
	a = commit("?position=2", cloud("clerk", "noted-2", "order.noted", fmt.Sprintf(`,"tokaparents":%q`, placed[0].ID)), "Toka-Expected-Version", "1")
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if l := r.page("/v1/events/noted-2/parents"); l.ids() != "1" {
		t.Errorf("its causes are %q", l.ids())
	}
	var info server.ConsumerInfo
	r.do("GET", "/v1/consumers/clerk", "").decode(t, &info)
	if info.Open != 0 {
		t.Errorf("%d are open", info.Open)
	}
}

// TestConsumersHoldTokensToPatterns: a consumer hands out all that its filter
// selects, so its token has to cover all of that.
func TestConsumersHoldTokensToPatterns(t *testing.T) {
	r := start(t, server.Options{})
	r.create(`{"name":"all"}`)
	r.post(cloud("mine", "1", "x.y", ""))
	_, text := r.token(auth.Token{Name: "some", Scopes: []auth.Scope{auth.Read, auth.Append}, Streams: []string{"mine"}})
	some := r.withToken(text)
	_, text = r.token(auth.Token{Name: "kinds", Scopes: []auth.Scope{auth.Read, auth.Append}, Kinds: []string{"x.*"}})
	kinds := r.withToken(text)
	_, text = r.token(auth.Token{Name: "writer", Scopes: []auth.Scope{auth.Append}})
	writer := r.withToken(text)
	for _, c := range []*running{some, kinds} {
		c.do("POST", "/v1/consumers", `{"name":"mine2"}`).refusal(t, 403, "scope")
		c.do("GET", "/v1/consumers/all", "").refusal(t, 403, "scope")
		c.do("POST", "/v1/consumers/all/fetch", "").refusal(t, 403, "scope")
		c.do("POST", "/v1/consumers/all/ack", `{"positions":[1]}`).refusal(t, 403, "scope")
		c.do("POST", "/v1/consumers/all/commit?position=1", "{}").refusal(t, 403, "scope")
		var out struct{ Consumers []server.ConsumerInfo }
		c.do("GET", "/v1/consumers", "").decode(t, &out)
		if len(out.Consumers) != 0 {
			t.Errorf("saw %+v", out)
		}
	}
	writer.do("POST", "/v1/consumers/all/fetch", "").refusal(t, 403, "scope")
	some.create(`{"name":"mine","stream":"mine"}`)
	if got := some.fetch("mine", ""); got.String() != "1/1" {
		t.Errorf("fetched %s", got)
	}
	some.do("POST", "/v1/consumers/mine/commit?position=1", cloud("theirs", "a", "x.y", ""), "Content-Type", structured).refusal(t, 403, "scope")
	some.do("DELETE", "/v1/consumers/mine", "").refusal(t, 403, "scope")
}
