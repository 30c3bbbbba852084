package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server"
)

type listed struct {
	Events []struct {
		ID       string `json:"id"`
		Source   string `json:"source"`
		Sequence string `json:"sequence"`
	} `json:"events"`
	Next string `json:"next"`
	More bool   `json:"more"`
}

func (r *running) list(query string) (l listed) {
	r.t.Helper()
	a := r.do("GET", "/v1/events"+query, "")
	if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != 200 {
		r.t.Fatalf("%s: %d %s, %v", query, a.status, a.body, err)
	}
	return l
}

func (l listed) ids() (out string) {
	for _, e := range l.Events {
		out += e.ID
	}
	return out
}

func TestListEvents(t *testing.T) {
	r := start(t, server.Options{})
	for i, id := range strings.Split("abcdefghi", "") {
		r.post(cloud(fmt.Sprintf("s%d", i%2), id, []string{"x.one", "x.two.deep", "y.one"}[i%3], fmt.Sprintf(`,"correlationid":"c%d"`, i%4)))
	}
	for query, want := range map[string]string{
		"":                                "abcdefghi",
		"?stream=s0":                      "acegi",
		"?agent=s1":                       "bdfh",
		"?kind=x.*":                       "adg",
		"?kind=x.>&stream=s0":             "aeg",
		"?kind=x.one&kind=y.one":          "acdfgi",
		"?correlation=c1":                 "bf",
		"?after=1-7":                      "hi",
		"?after=7":                        "hi",
		"?before=3":                       "ab",
		"?order=desc&limit=3":             "ihg",
		"?order=desc&before=3":            "ba",
		"?since=2001-01-01T00:00:00Z":     "abcdefghi",
		"?until=2001-01-01T00:00:00Z":     "",
		"?stream=nobody":                  "",
		"?stream=s0&order=desc&after=1-3": "ige",
	} {
		if got := r.list(query).ids(); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	// Pages, by cursor and by link, come to the whole.
	var pages string
	for query, n := "?limit=2&stream=s0", 0; ; n++ {
		l := r.list(query)
		pages += l.ids()
		query = "?limit=2&stream=s0&after=" + l.Next
		if !l.More {
			if l.Next != "1-9" {
				t.Errorf("the end is %s", l.Next)
			}
			break
		}
	}
	if pages != "acegi" {
		t.Errorf("pages: %q", pages)
	}
	var linked int
	for at := "/v1/events?limit=4&kind=x.>"; at != ""; linked++ {
		a := r.do("GET", at, "", "Accept", batched)
		var l []json.RawMessage
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.header.Get("Content-Type") != batched {
			t.Fatalf("%s: %s %v", at, a.body, err)
		}
		at, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if linked != 2 {
		t.Errorf("%d pages", linked)
	}
	for query, want := range map[string]string{
		"?after=2-1": "cursor", "?after=1-99": "cursor", "?before=2-1": "cursor",
	} {
		r.do("GET", "/v1/events"+query, "").refusal(t, 410, want)
	}
	if l := r.list("?since=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))); len(l.Events) != 0 {
		t.Errorf("the future holds %v", l)
	}
}

func TestGetEvent(t *testing.T) {
	r := start(t, server.Options{})
	id := r.post(cloud("s", "a", "x.one", `,"data":[1]`)).appended(t).Events[0].ID
	for _, name := range []string{id, "a"} {
		a := r.do("GET", "/v1/events/"+name, "")
		if a.status != 200 || a.header.Get("Content-Type") != structured || !strings.Contains(a.body, `"data":[1]`) {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if a := r.do("GET", "/v1/events/"+id, "", "Accept", "application/json"); a.body != fmt.Sprintf(`{"id":%q,"position":1}`+"\n", id) {
		t.Errorf("%s", a.body)
	}
	r.do("GET", "/v1/events/b", "").refusal(t, 404, "not-found")
}

func TestVerifyJob(t *testing.T) {
	r := start(t, server.Options{})
	for i := range 20 {
		r.post(cloud("s", fmt.Sprint(i), "x.one", ""))
	}
	a := r.do("POST", "/v1/verify", "")
	if a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var j server.Job
	for range 1000 {
		r.do("GET", a.header.Get("Location"), "").decode(t, &j)
		if j.Status != "running" {
			break
		}
	}
	if j.Status != "done" || !j.Report.OK || j.Report.Events != 20 || j.Done != 20 || j.Total != 20 {
		t.Errorf("%+v", j)
	}
	r.do("GET", "/v1/jobs/x", "").refusal(t, 404, "not-found")
}

func TestOpenAPI(t *testing.T) {
	r := start(t, server.Options{Version: "v9"})
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(r.do("GET", "/openapi.json", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for route := range r.s.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if strings.HasPrefix(path, "/openapi") || path == server.CommandPath {
			continue
		}
		if doc.Paths[path][strings.ToLower(method)] == nil {
			t.Errorf("%s is not described", route)
		}
	}
	text := r.do("GET", "/openapi.json", "").body
	if strings.Contains(text, "http://") || strings.Contains(text, "https://") {
		t.Error("the document refers to another host")
	}
	if a := r.do("GET", "/openapi.yaml", ""); a.status != 200 || !strings.Contains(a.body, "openapi: 3.1") {
		t.Errorf("%d", a.status)
	}
}
