package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// output is what the node prints, read while it is written.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	line chan string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	for bytes.Contains(o.b.Bytes(), []byte("\n")) {
		text, _ := o.b.ReadString('\n')
		select {
		case o.line <- strings.TrimSpace(text):
		default: // nobody wants to know more
		}
	}
	return n, err
}

// serve runs a node until the end of the test, and returns its URL.
func serve(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &output{line: make(chan string, 1)}
	ended := make(chan int, 1)
	go func() {
		ended <- node.Run(ctx, actors.NewRegistry(), []string{"run", "--data", t.TempDir(), "--listen", "127.0.0.1:0"},
			node.Streams{In: strings.NewReader(""), Out: out, Err: io.Discard})
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != node.ExitDone {
			t.Errorf("the node ended with %d", code)
		}
	})
	_, url, _ := strings.Cut(<-out.line, " at ")
	for wait := time.Now().Add(20 * time.Second); time.Now().Before(wait); {
		res, err := http.Get(url + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return url
			}
		}
	}
	t.Fatal("the node is not ready")
	return ""
}

func made(id, data string) event.Event {
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop/orders?of=münchen")
	e.SetType("order.placed")
	e.SetTime(time.Date(2026, 11, 23, 8, 0, 0, 123_000_000, time.UTC))
	e.SetExtension("correlationid", "talk-7")
	e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if err := e.SetData(cloudevents.ApplicationJSON, json.RawMessage(data)); err != nil {
		panic(err)
	}
	return e
}

// same holds what came back to what was sent.
func same(t *testing.T, how string, got *event.Event, want event.Event) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Errorf("%s: %v", how, err)
	}
	if got.ID() != want.ID() || got.Source() != want.Source() || got.Type() != want.Type() || !got.Time().Equal(want.Time()) ||
		got.DataContentType() != want.DataContentType() || string(got.Data()) != string(want.Data()) {
		t.Errorf("%s: got\n%s\nwant\n%s", how, got, want)
	}
	for name, v := range want.Extensions() {
		if got.Extensions()[name] != v {
			t.Errorf("%s: extension %s is %v, want %v", how, name, got.Extensions()[name], v)
		}
	}
	if got.Extensions()["tokahash"] == nil || got.Extensions()["sequence"] == nil {
		t.Errorf("%s: extensions %v", how, got.Extensions())
	}
}

// TestCloudEventsSDK has the Go SDK of CloudEvents send events, structured,
// binary and in a batch, and read them: one, a list, and the stream.
func TestCloudEventsSDK(t *testing.T) {
	url := serve(t)
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(url + "/v1/events"))
	if err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	for how, ctx := range map[string]context.Context{
		"binary":     binding.WithForceBinary(t.Context()),
		"structured": binding.WithForceStructured(t.Context()),
	} {
		e := made(how, `{"item":"Stuhl ü \" ","n":12345678901234567890}`)
		for _, want := range []int{http.StatusCreated, http.StatusOK} { // again is once
			var result *cehttp.Result
			if err := client.Send(ctx, e); !cloudevents.ResultAs(err, &result) || result.StatusCode != want {
				t.Errorf("%s: %v, want %d", how, err, want)
			}
		}
		all = append(all, e)
	}
	batch := []event.Event{made("b-1", `{"a":1}`), made("b-2", `[1,2]`)}
	req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), url+"/v1/events", batch)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Errorf("a batch: %d", res.StatusCode)
	}
	all = append(all, batch...)
	if err := client.Send(t.Context(), func() event.Event { e := made("structured", `{}`); return e }()); cloudevents.IsACK(err) {
		t.Errorf("another event of the same id: %v", err)
	}

	get := func(path, accept string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	for _, e := range all {
		got, err := cehttp.NewEventFromHTTPResponse(get("/v1/events/"+e.ID(), ""))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "one", got, e)
	}
	listed, err := cehttp.NewEventsFromHTTPResponse(get("/v1/events", event.ApplicationCloudEventsBatchJSON))
	if err != nil || len(listed) != len(all) {
		t.Fatalf("%d events, %v", len(listed), err)
	}
	for i := range listed {
		same(t, "list", &listed[i], all[i])
	}
	i := 0
	for lines := bufio.NewScanner(get("/v1/events/stream?after=0&limit=4", "").Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || i == len(all) || strings.HasPrefix(data, `{"cursor"`) {
			continue
		}
		var got event.Event
		if err := json.Unmarshal([]byte(data), &got); err != nil {
			t.Fatal(err)
		}
		same(t, "stream", &got, all[i])
		i++
	}
	if i != len(all) {
		t.Errorf("%d events of %d on the stream", i, len(all))
	}
}
