package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// embeddings is a server of embeddings that can be switched off.
func embeddings(t *testing.T) (url string, off *atomic.Bool, asked *atomic.Int64) {
	t.Helper()
	off, asked = new(atomic.Bool), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if off.Load() {
			http.Error(w, "not now", http.StatusUnauthorized) // which is not tried again
			return
		}
		var in struct {
			Input []string `json:"input"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var out []string
		for i, text := range in.Input {
			out = append(out, fmt.Sprintf(`{"index":%d,"embedding":[1,%d,3]}`, i, len(text)))
		}
		_, _ = fmt.Fprintf(w, `{"data":[%s]}`, strings.Join(out, ","))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1", off, asked
}

// said posts an event with a text.
func said(t *testing.T, want int, url, id, rest string) {
	t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","source":"talk","id":%q,"type":"said","data":{"text":"the customer wants a refund, says %s"}%s}`, id, id, rest)
	res, err := http.Post(url+"/v1/events", "application/cloudevents+json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != want {
		t.Fatalf("event %s: %d, want %d", id, res.StatusCode, want)
	}
}

// meantBy are the ids of events with an intent, of a node's journal.
func meantBy(t *testing.T, args ...string) map[string]bool {
	t.Helper()
	_, out, _ := commandLine(t, "", append([]string{"log", "--stream", "talk", "-o", "json"}, args...)...)
	got := map[string]bool{}
	for l := range strings.Lines(out) {
		var e struct {
			OutsideID string `json:"outside_id"`
			Intent    any    `json:"intent"`
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		got[e.OutsideID] = e.Intent != nil
	}
	return got
}

// TestRunEmbeds gives events that come into a node vectors of their texts. No
// event is lost when a vector cannot be had, and it gets it later.
func TestRunEmbeds(t *testing.T) {
	url, off, asked := embeddings(t)
	dir := t.TempDir()
	with := []string{"--embed", url, "--embed-model", "m", "--embed-dimension", "3"}
	n := runNode(t, actors.NewRegistry(), dir, with...)
	said(t, http.StatusCreated, n.url, "one", "")
	said(t, http.StatusOK, n.url, "one", "")                                         // it keeps the vector it has
	said(t, http.StatusCreated, n.url, "own", `,"tokaembedding":"AACAPwAAAAAAAAAA"`) // has one already
	if asked.Load() != 1 {
		t.Errorf("%d requests for one event without a vector", asked.Load())
	}
	// Over the socket it is the same, without a word.
	ingest := `{"specversion":"1.0","source":"talk","id":"two","type":"said","data":{"text":"a refund please"}}` + "\n"
	if code, out, errs := commandLine(t, ingest, "ingest", "--data", dir, "-"); code != node.ExitDone || !strings.Contains(out, "embedded 1") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	off.Store(true)
	for _, id := range []string{"three", "four"} {
		said(t, http.StatusCreated, n.url, id, "")
	}
	if asked.Load() != 3 {
		t.Errorf("%d requests; after a failure there should be a while without", asked.Load())
	}
	n.errs.until(t, "events are journaled without vectors")
	got := meantBy(t, "--data", dir)
	if want := map[string]bool{"one": true, "own": true, "two": true, "three": false, "four": false}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events with an intent: %v, want %v", got, want)
	}

	// Later, through the node, by its own server and no other.
	if code, _, errs := commandLine(t, "", "intents", "embed", "--data", dir, "--embed", "http://127.0.0.1:1/v1", "--embed-model", "m"); code != node.ExitUsage {
		t.Errorf("the node asks any server: %d %s", code, errs)
	}
	later := append([]string{"intents", "embed", "--data", dir}, with...)
	if code, _, errs := commandLine(t, "", later...); code != node.ExitFailed || !strings.Contains(errs, "run it again") {
		t.Errorf("while there is none: %d %s", code, errs)
	}
	off.Store(false)
	for _, want := range []string{"embedded 2, without 0\n", "embedded 0, without 0\n"} {
		code, out, errs := commandLine(t, "", later...)
		if code != node.ExitDone || out != want {
			t.Errorf("code %d, %q%s, want %q", code, out, errs, want)
		}
	}
	for id, meant := range meantBy(t, "--data", dir) {
		if !meant {
			t.Errorf("event %s has no intent", id)
		}
	}
	if n.stop() != node.ExitDone {
		t.Error(n.errs)
	}
	must(t, node.ExitDone, "verify", "--data", dir)
	if code, _, errs := commandLine(t, "", "run", "--data", dir, "--listen", "127.0.0.1:0", "--embed", "static"); code != node.ExitRefused || !strings.Contains(errs, "another model") {
		t.Errorf("another model: %d %s", code, errs)
	}
}
