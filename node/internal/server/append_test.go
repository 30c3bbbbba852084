package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
)

func TestAppend(t *testing.T) {
	r := start(t, server.Options{})
	first := r.post(cloud("order-1", "a", "order.placed", `,"data":{"n":1.0}`))
	out := first.appended(t)
	if first.status != 201 || out.Duplicate || len(out.Events) != 1 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	e, err := r.j.At(t.Context(), 1)
	got := out.Events[0]
	if err != nil || got.ID != e.ID.String() || got.Cursor != "1-1" || got.OutsideID != "a" || got.Stream != "order-1" ||
		got.StreamPosition != 1 || got.Kind != "order.placed" || got.Digest != e.Digest.String() || string(e.Payload) != `{"n":1.0}` {
		t.Errorf("%+v, %v; stored %+v", got, err, e)
	}
	if first.header.Get("Location") != "/v1/events/"+got.ID {
		t.Errorf("location %q", first.header.Get("Location"))
	}

	// The same event in binary mode is the same event.
	same := r.do("POST", "/v1/events", `{"n":1.0}`, "Ce-Specversion", "1.0", "Ce-Id", "a", "Ce-Source", "order-1", "Ce-Type", "order.placed", "Content-Type", "application/json")
	if same.status != 200 || !same.appended(t).Duplicate {
		t.Errorf("%d %s", same.status, same.body)
	}
	bin := r.do("POST", "/v1/events", "\x00\xff", "Ce-Specversion", "1.0", "Ce-Id", "b%20%22%C3%A9", "Ce-Source", "order-1", "Ce-Type", "order.packed",
		"Ce-Tokaparents", "a", "Ce-Box", "7", "Content-Type", "application/octet-stream")
	e, err = r.j.At(t.Context(), 2)
	if bin.status != 201 || err != nil || e.OutsideID() != `b "é` || string(e.Payload) != "\x00\xff" || e.ContentType != "application/octet-stream" ||
		len(e.Parents) != 1 || e.Parents[0].Position != 1 || e.Extensions["box"] != "7" {
		t.Errorf("%d %s; stored %+v, %v", bin.status, bin.body, e, err)
	}
}

// TestTraceContext takes the trace context of a request for events that bring
// none. Sent again in another trace it is the same event.
func TestTraceContext(t *testing.T) {
	r := start(t, server.Options{})
	const own, other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	both := "[" + cloud("s", "1", "a.b", "") + "," + cloud("s", "2", "a.b", `,"traceparent":"`+own+`"`) + "]"
	if a := r.post(both, "Traceparent", other); a.status != 201 {
		t.Fatal(a)
	}
	for i, want := range []string{other, own} {
		e, err := r.j.At(t.Context(), uint64(i+1))
		if err != nil || e.Trace != want {
			t.Errorf("event %d: trace %q, want %q, %v", i+1, e.Trace, want, err)
		}
	}
	if a := r.post(both, "Traceparent", own); a.status != 200 {
		t.Errorf("again: %d %s", a.status, a.body)
	}
	if a := r.post(cloud("s", "3", "a.b", ""), "Traceparent", strings.Repeat("x", 300)); a.status != 201 {
		t.Errorf("a trace context that is none: %d %s", a.status, a.body)
	}
}

func TestAppendAgain(t *testing.T) {
	r := start(t, server.Options{})
	r.post(cloud("s", "root", "a.b", ""))
	r.post(cloud("other", "x", "a.b", ""))
	text := cloud("s", "1", "a.b", `,"tokaparents":"root x"`)
	first := r.post(text)
	r.post(cloud("third", "x", "a.b", "")) // now x is the id of two events
	again := r.post(text)
	if first.status != 201 || again.status != 200 {
		t.Fatalf("%d %s\n%d %s", first.status, first.body, again.status, again.body)
	}
	a, b := first.appended(t), again.appended(t)
	if !b.Duplicate || !slices.Equal(a.Events, b.Events) {
		t.Errorf("%+v\n%+v", a, b)
	}
	r.post(cloud("s", "1", "a.b", `,"data":2`)).refusal(t, 409, "id-conflict")
	if p := r.post(cloud("s", "2", "a.b", `,"tokaparents":"x"`)).refusal(t, 422, "invalid"); !strings.Contains(p.Detail, "2 events") {
		t.Errorf("%+v", p)
	}
	if r.j.Position() != 4 {
		t.Errorf("the journal ends at %d", r.j.Position())
	}
}

func TestAppendBatch(t *testing.T) {
	r := start(t, server.Options{})
	batch := "[" + cloud("s", "1", "a.b", "") + "," + cloud("t", "2", "a.b", `,"tokaparents":"1"`) + "]"
	first := r.post(batch)
	if out := first.appended(t); first.status != 201 || len(out.Events) != 2 || out.Events[1].Position != 2 {
		t.Fatalf("%d %s", first.status, first.body)
	}
	e, err := r.j.At(t.Context(), 2)
	if err != nil || len(e.Parents) != 1 || e.Parents[0].ID != events.IngestedID("s", "1") {
		t.Errorf("%+v, %v", e, err)
	}
	if again := r.post(batch); again.status != 200 || !again.appended(t).Duplicate {
		t.Errorf("%d %s", again.status, again.body)
	}
	r.post("["+cloud("s", "1", "a.b", "")+","+cloud("s", "3", "a.b", "")+"]").refusal(t, 409, "partly-known")
	bad := r.post("["+cloud("s", "4", "a.b", "")+","+cloud("s", "5", "a.b", `,"tokaparents":"nobody"`)+"]").refusal(t, 422, "unknown-parent")
	if len(bad.Parents) != 1 || bad.Parents[0] != events.IngestedID("s", "nobody").String() {
		t.Errorf("%+v", bad)
	}
	if r.j.Position() != 2 {
		t.Errorf("a part of a batch is stored: the journal ends at %d", r.j.Position())
	}
	r.post("[]").refusal(t, 422, "invalid")
	var many strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&many, ",%s", cloud("m", fmt.Sprint(i), "a.b", ""))
	}
	r.post("["+many.String()[1:]+"]").refusal(t, 422, "invalid")
}

func TestExpectedVersion(t *testing.T) {
	r := start(t, server.Options{})
	const header = "Toka-Expected-Version"
	for _, step := range []struct {
		id, expect string
		status     int
	}{
		{"1", "exists", 412}, {"1", "1", 412}, {"1", "none", 201}, {"1", "none", 200}, // the id goes before the version
		{"2", "0", 412}, {"2", "1", 201}, {"3", "1", 412}, {"3", "exists", 201}, {"4", "-1", 400}, {"4", "", 400}, {"4", "x", 400},
	} {
		a := r.post(cloud("s", step.id, "a.b", ""), header, step.expect)
		if a.status != step.status {
			t.Errorf("%+v: %d %s", step, a.status, a.body)
		}
	}
	p := r.post(cloud("s", "4", "a.b", ""), header, "2").refusal(t, 412, "wrong-version")
	if p.Actual == nil || *p.Actual != 3 {
		t.Errorf("%+v", p)
	}
	r.post("["+cloud("s", "4", "a.b", "")+","+cloud("t", "4", "a.b", "")+"]", header, "3").refusal(t, 400, "expected-version")
	var info server.StreamInfo
	r.do("GET", "/v1/streams/s", "").decode(t, &info)
	if info.Version != 3 || info.Last != events.IngestedID("s", "3").String() {
		t.Errorf("%+v", info)
	}
	r.do("GET", "/v1/streams/nobody", "").refusal(t, 404, "not-found")
}

func TestLowSpace(t *testing.T) {
	free := uint64(100)
	r := start(t, server.Options{Space: func() (uint64, uint64) { return free, 100 }})
	if a := r.post(cloud("s", "1", "a.b", "")); a.status != 201 {
		t.Fatal(a)
	}
	free = 99
	a := r.post(cloud("s", "2", "a.b", ""))
	a.refusal(t, 507, "disk-full")
	if a.header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	r.do("POST", "/v1/agents/l/commands", `{"kind":"light.turn","data":{"By":1}}`).refusal(t, 507, "disk-full")
	if a := r.do("GET", "/v1/events", ""); a.status != 200 || !strings.Contains(a.body, `"id":"1"`) {
		t.Errorf("reads do not go on: %d %s", a.status, a.body)
	}
	free = 100
	if a := r.post(cloud("s", "2", "a.b", "")); a.status != 201 {
		t.Errorf("appends do not go on: %d %s", a.status, a.body)
	}
}

func TestAgentsOverHTTP(t *testing.T) {
	r := start(t, server.Options{})
	send := func(body string) answer {
		return r.do("POST", "/v1/agents/lamp%2F1/commands", body, "Content-Type", "application/json")
	}
	id := journal.NewID().String()
	var out server.Outcome
	send(`{"kind":"light.turn","data":{"By":2},"id":"`+id+`"}`).decode(t, &out)
	if len(out.Events) != 1 || out.Events[0].Kind != "light.turned" || out.Duplicate {
		t.Errorf("%+v", out)
	}
	send(`{"kind":"light.turn","data":{"By":2},"id":"`+id+`"}`).decode(t, &out)
	if !out.Duplicate || len(out.Events) != 1 {
		t.Errorf("the same command again: %+v", out)
	}
	send(`{"kind":"light.turn","data":{"By":3},"behaviour":"light/1"}`).decode(t, &out)
	send(`{"kind":"light.turn","data":{"By":0}}`).refusal(t, 422, "rejected")
	send(`{"kind":"light.turn","data":7}`).refusal(t, 422, "invalid")
	send(`{"kind":"light.turn","data":{},"behaviour":"light/2"}`).refusal(t, 422, "unknown-behaviour")
	send(`{"kind":"light.turn","data":{},"causes":["nobody"]}`).refusal(t, 404, "not-found")

	state := func(query string) string { return r.do("GET", "/v1/agents/lamp%2F1/state"+query, "").body }
	if now := state(""); !strings.Contains(now, `"state":5`) || !strings.Contains(now, `"behaviour":"light/1"`) {
		t.Errorf("now: %s", now)
	}
	if then := state("?at=1-2"); !strings.Contains(then, `"state":2`) {
		t.Errorf("then: %s", then)
	}
	r.do("GET", "/v1/agents/nobody/state", "").refusal(t, 404, "not-found")
	if list := r.do("GET", "/v1/agents", "").body; !strings.Contains(list, `"name":"lamp/1"`) {
		t.Errorf("agents: %s", list)
	}
}
