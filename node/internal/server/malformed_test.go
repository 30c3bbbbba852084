package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server"
)

// corpus is requests that are wrong, as they go over the wire.
func corpus() map[string]string {
	c := map[string]string{}
	raw := func(name, text string) { c[name] = text }
	post := func(name, headers, body string) {
		raw(name, fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body))
	}
	one := func(name, body string) { post("one: "+name, "Content-Type: application/cloudevents+json\r\n", body) }
	many := func(name, body string) {
		post("batch: "+name, "Content-Type: application/cloudevents-batch+json\r\n", body)
	}
	bin := func(name, headers string) {
		post("binary: "+name, "Ce-Specversion: 1.0\r\nContent-Type: text/plain\r\n"+headers, "x")
	}
	get := func(name, target string) {
		raw("get: "+name, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	good := map[string]string{"specversion": `"1.0"`, "id": `"1"`, "source": `"s"`, "type": `"a.b"`}
	with := func(name, value string) string {
		var b strings.Builder
		for _, k := range []string{"specversion", "id", "source", "type"} {
			v := good[k]
			if k == name {
				v = value
			}
			if v != "" {
				fmt.Fprintf(&b, `,%q:%s`, k, v)
			}
		}
		if good[name] == "" {
			fmt.Fprintf(&b, `,%q:%s`, name, value)
		}
		return "{" + b.String()[1:] + "}"
	}
	long := strings.Repeat("n", 257)
	values := map[string]string{
		"number": "1", "null": "null", "object": "{}", "array": "[]", "true": "true", "empty": `""`, "missing": "", "NaN": "NaN", "Infinity": "-Infinity",
		"control": `"a\u0000b"`, "newline": `"a\nb"`, "surrogate": `"\ud800"`, "long": `"` + long + `"`, "bare": "a", "single quotes": "'a'",
		"leading zero": "01", "bad escape": `"\x"`, "cut escape": `"\u12"`, "hex": "0x1", "plus": "+1", "bad UTF-8": "\"\xff\xfe\"", "overlong": "\"\xc0\xaf\"",
	}
	for _, attribute := range []string{"specversion", "id", "source", "type"} {
		for what, v := range values {
			one(attribute+" "+what, with(attribute, v))
		}
	}
	for attribute, vs := range map[string][]string{
		"type":            {`"a..b"`, `".a"`, `"a."`, `"a b"`, `"*"`, `"a.*"`, `"a.>"`, `"toka.agent.failed"`},
		"source":          {`"$system"`, `"$"`},
		"time":            {`"yesterday"`, `"2026-13-01T00:00:00Z"`, `"2026-01-01"`, `"2026-01-01T00:00:00"`, `"2026-01-01T25:00:00Z"`, `1`, `""`, `"0001-01-01T00:00:00Z"`},
		"tokaparents":     {`"nobody"`, `"a  \u0007"`, `1`, `["a"]`, `"` + strings.Repeat("p ", 65) + `"`, `"00000000-0000-0000-0000-000000000000"`},
		"tokaembedding":   {`"AAAA"`, `"!!!!"`, `""`, `[1,2]`, `"AADAfw=="`, `"AACAfw=="`, `"AACA/w=="`, `"AAAAAA=="`},
		"datacontenttype": {`""`, `1`, `"a\u0001"`},
		"data_base64":     {`"!"`, `1`, `"YQ="`, `"Y"`},
		"correlationid":   {`{}`, `"a\u0000"`, `"` + long + `"`},
		"traceparent":     {`[]`, `"a\u0000"`, `"` + long + `"`},
		"outsideid":       {`"x"`}, "tokabehaviour": {`"x/1"`}, "tokanew": {`"x"`}, "Big": {`"x"`}, "under_score": {`"x"`}, "": {`"x"`}, "é": {`"x"`},
		"ext":  {`{}`, `[]`, `null`, `"` + strings.Repeat("e", 5000) + `"`},
		"data": {"", "NaN", "[1,]", "{", `{"a":1,}`, strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("[", 100_000), `{"a":}`, "\"\x01\"", "tru", "1.", "1e", "-", "--1", ".5"},
	} {
		for i, v := range vs {
			one(fmt.Sprintf("%s %d", attribute, i), with(attribute, v))
		}
	}
	whole := with("x", `"1"`)
	for i, text := range []string{
		"", " ", "null", "1", `"a"`, "true", "[", "{", "}", "{}", "{]", "[" + whole + "]", whole + whole, whole + "x", "{,}", `{"a"}`, `{"a":}`, `{a:1}`,
		strings.TrimSuffix(whole, "}"), "\xef\xbb\xbf" + whole, "\x00", "<xml/>", strings.Replace(whole, `"id"`, `"id":"2","id"`, 1),
		strings.Replace(whole, `"id"`, `"\u0069d":"2","id"`, 1), strings.Replace(whole, ":", "=", 1), whole[1:], "// " + whole, strings.ReplaceAll(whole, `"`, "'"),
		with("data", `"`+strings.Repeat("x", 2<<20)+`"`), strings.Repeat(" ", 5<<20) + whole,
	} {
		one(fmt.Sprintf("text %d", i), text)
	}
	for i, text := range []string{
		"", "{}", "[", "]", "[]", "[,]", "[1]", "[null]", "[" + whole, "[" + whole + ",]", "[" + whole + whole + "]", "[[" + whole + "]]", "[" + whole + "]x",
		"[" + whole + ",{}]", "[" + strings.Repeat("{},", 20_000) + "{}]", strings.Repeat("[", 100_000), "[" + whole + "," + strings.Replace(whole, `"x":"1"`, `"x":"2"`, 1) + "]",
		strings.Repeat(" ", 17<<20),
	} {
		many(fmt.Sprintf("text %d", i), text)
	}
	for i, headers := range []string{
		"", "Ce-Id: 1\r\n", "Ce-Id: 1\r\nCe-Source: s\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a..b\r\n", "Ce-Id: 1\r\nCe-Id: 2\r\nCe-Source: s\r\nCe-Type: a.b\r\n",
		"Ce-Id: %\r\nCe-Source: s\r\nCe-Type: a.b\r\n", "Ce-Id: %ff\r\nCe-Source: s\r\nCe-Type: a.b\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Data: x\r\n",
		"Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Data_base64: eA==\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Datacontenttype: a/b\r\n",
		"Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Toka-Parents: x\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Time: now\r\n",
		"Ce-Id: %00\r\nCe-Source: s\r\nCe-Type: a.b\r\n", "Ce-Id: " + long + "\r\nCe-Source: s\r\nCe-Type: a.b\r\n", "Ce-Specversion: 1.0\r\n", "Ce-Id: 1\r\nCe-Source: $s\r\nCe-Type: a.b\r\n",
		"Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: toka.x\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Tokaparents: nobody\r\n", "Ce-Id: 1\r\nCe-Source: s\r\nCe-Type: a.b\r\nCe-Tokabehaviour: x/1\r\n",
		"Ce-: 1\r\n", "Ce-Id: a b\x01\r\n",
	} {
		bin(fmt.Sprint(i), headers)
	}
	for name, headers := range map[string]string{
		"no type": "", "form": "Content-Type: application/x-www-form-urlencoded\r\n", "json": "Content-Type: application/json\r\n", "bad type": "Content-Type: ;;\r\n",
		"latin": "Content-Type: application/cloudevents+json; charset=latin1\r\n", "gzip": "Content-Type: application/cloudevents+json\r\nContent-Encoding: gzip\r\n",
		"xml": "Content-Type: application/cloudevents+xml\r\n", "many types": "Content-Type: text/plain, application/cloudevents+json\r\n",
	} {
		post("type: "+name, headers, whole)
	}
	for name, expect := range map[string]string{"negative": "-1", "word": "x", "huge": "99999999999999999999", "float": "1.0", "list": "1,2", "wrong": "7", "missing": "exists"} {
		post("expected: "+name, "Content-Type: application/cloudevents+json\r\nToka-Expected-Version: "+expect+"\r\n", with("source", `"other"`))
	}
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v1/events/", "/v1/events/x/y", "/v2/events", "/v1/events/..%2f..%2fetc%2fpasswd", "/v1/streams/..%2f..%2fTOKENS", "/../../etc/passwd",
		"/v1/events/%00", "/v1/events/%ff", "/v1/events/" + long, "/v1/streams/" + long, "/v1/streams/%00", "/v1/agents/%ff/state", "/v1/agents/nobody/state?at=x",
		"/v1/agents/" + long + "/state", "/v1/jobs/nobody", "/debug/pprof/", "/.git/config", "/v1/events/*", "//v1/events/x", "/v1/./events/x", "/openapi.exe", "/docs", "/schemas/Problem.json",
	} {
		get("path "+path, path)
	}
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=1001", "limit=x", "limit=1e3", "limit=99999999999999999999", "after=x", "after=-1", "after=1-", "after=-", "after=1-1-1", "after=9-9", "after=99999999999999999999",
		"after=" + long, "before=x", "order=up", "kind=..", "kind=a.>.b", "kind=a*", "kind=%00", "stream=%00", "stream=%ff", "stream=" + long, "agent=" + long, "agent=%0a",
		"intent=x", "since=yesterday", "until=1", "correlation=%00", "correlation=" + long, "nonsense=1", "Limit=1", "kind=" + long, "since=2026-01-01",
	} {
		get("query "+query, "/v1/events?"+query)
		if !strings.Contains(strings.ToLower(query), "limit") && !strings.HasPrefix(query, "before") && !strings.HasPrefix(query, "order") {
			get("stream query "+query, "/v1/events/stream?"+query)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "get"} {
		raw("method "+method, method+" /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for i, body := range []string{
		"", "{", "null", "[]", `{"kind":1}`, `{"kind":"a..b"}`, `{}`, `{"kind":"light.turn","id":"x"}`, `{"kind":"light.turn","causes":["x"]}`, `{"kind":"light.turn","causes":7}`,
		`{"kind":"light.turn","behaviour":"x/1"}`, `{"kind":"light.turn","more":1}`, `{"kind":"light.turn","schema_version":-1}`, `{"kind":"light.turn","data":"x"}`, `{"kind":"light.off","data":{}}`, `{"kind":"light.turn","data":{"By":1e99}}`,
	} {
		raw(fmt.Sprintf("command %d", i), fmt.Sprintf("POST /v1/agents/a/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	for name, text := range map[string]string{
		"no host": "GET /v1/stats HTTP/1.1\r\n\r\n", "two hosts": "GET /v1/stats HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "foreign host": "GET /v1/stats HTTP/1.1\r\nHost: evil\r\n\r\n",
		"version": "GET /v1/stats HTTP/9.9\r\nHost: localhost\r\n\r\n", "nonsense": "nonsense\r\n\r\n", "binary": "\x16\x03\x01\x00\x00\r\n\r\n", "bad header": "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nA B: c\r\n\r\n",
		"large header": "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "many headers": "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\n",
		"long path": "GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", "negative length": "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
		"two lengths": "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "length and chunks": "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: nonsense\r\nContent-Length: 1\r\n\r\nx",
		"bad chunk":          "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cloudevents+json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"huge length":        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/cloudevents+json\r\nContent-Length: 9999999999\r\n\r\n",
		"command not a line": "POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]", "expectation": "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: more\r\nContent-Length: 1\r\n\r\nx",
		"unended header": "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nA: b\n c\r\n d\x00\r\n\r\n",
	} {
		raw("wire: "+name, text)
	}
	return c
}

// TestMalformed sends requests that are wrong and holds each to be answered
// with 4xx within a second (501 or 505 where the protocol itself is not ours),
// to change nothing, and to leave no goroutine behind.
func TestMalformed(t *testing.T) {
	r := start(t, server.Options{})
	requests := corpus()
	if len(requests) < 300 {
		t.Errorf("the corpus has only %d requests", len(requests))
	}
	before := goroutines()
	var slowest time.Duration
	for name, text := range requests {
		start := time.Now()
		status, err := exchange(r.url, text)
		took := time.Since(start)
		slowest = max(slowest, took)
		ok := status/100 == 4 || status == 501 || status == 505
		if err != nil || !ok || took > time.Second && !raceEnabled {
			t.Errorf("%s: status %d, %v, in %v; %.200q", name, status, err, took, text)
		}
	}
	t.Logf("%d requests, the slowest took %v", len(requests), slowest)
	if p := r.j.Position(); p != 0 {
		t.Errorf("the journal has come to %d", p)
	}
	for range 400 { // connections end a little after their answers
		if len(goroutines()) <= len(before) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, after:\n%s", len(before), strings.Join(goroutines(), "\n\n"))
}

// goroutines returns the stacks of all goroutines but the workers that come and
// go as actors have something to do.
func goroutines() []string {
	buf := make([]byte, 1<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(all, func(s string) bool { return strings.Contains(s, "actors.(*workers).") })
}

// exchange sends text over a connection of its own and returns the status of
// the answer.
func exchange(url, text string) (int, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, text) // it may be answered before it is whole
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close()
	_ = conn.Close()
	<-sent
	return res.StatusCode, nil
}

// TestSlowHeader holds that a request that never ends its header is let go.
func TestSlowHeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the node waits for a header")
	}
	r := start(t, server.Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nX: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
