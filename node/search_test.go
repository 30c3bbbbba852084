package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/intent/static"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// noted is an event of a text.
func noted(id, text string) string {
	b, _ := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "s", "type": "a.b",
		"datacontenttype": "application/json", "data": map[string]string{"note": text, "id": "9f3a-" + id},
	})
	return string(b) + "\n"
}

func texts() string {
	return noted("1", "the customer wants a refund") + noted("2", "play some jazz music") +
		noted("3", "please refund the customer") + noted("4", "what is the weather tomorrow") +
		`{"specversion":"1.0","id":"5","source":"s","type":"a.b"}` + "\n" + noted("6", "the customer wants a refund")
}

// feed ingests lines from standard input.
func feed(t *testing.T, code int, in, data string, args ...string) result {
	t.Helper()
	r := runOn(t, nil, strings.NewReader(in), append([]string{"ingest", "--data", data, "-"}, args...)...)
	if r.code != code {
		t.Fatalf("code %d, want %d: %s%s", r.code, code, r.out, r.err)
	}
	return r
}

func TestSearch(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if r := feed(t, node.ExitDone, texts(), data, "--embed", "static"); r.out != "ingested 6, duplicates 0, rejected 0, embedded 5, without a vector 0\n" {
		t.Fatal(r)
	}
	var got []string
	last := 1.0
	for l := range strings.Lines(must(t, node.ExitDone, "search", "--data", data, "--like", "The customer wants a refund", "--limit", "3", "-o", "json").out) {
		var o struct {
			Similarity float64 `json:"similarity"`
			OutsideID  string  `json:"outside_id"`
		}
		if err := json.Unmarshal([]byte(l), &o); err != nil || o.Similarity > last+1e-9 {
			t.Fatalf("%s: %v", l, err)
		}
		last = o.Similarity
		got = append(got, o.OutsideID)
	}
	if fmt.Sprint(got) != "[1 6 3]" { // equals in their order, then the nearest
		t.Errorf("found %v", got)
	}
	ids := must(t, node.ExitDone, "search", "--data", data, "--like", "refunds for customers", "--min", "0.3", "-o", "ids").out
	if n := strings.Count(ids, "\n"); n != 3 {
		t.Errorf("%d ids, want 3:\n%s", n, ids)
	}
	if table := must(t, node.ExitDone, "search", "--data", data, "--like", "music", "--limit", "1").out; !strings.Contains(table, "play some jazz") || strings.Contains(table, "9f3a") {
		t.Error(table)
	}
	// The same events as a filter, in the order of the journal.
	logged := must(t, node.ExitDone, "log", "--data", data, "--like", "refunds for customers", "-o", "ids").out
	if len(logged) != len(ids) {
		t.Errorf("log --like lists\n%sand search found\n%s", logged, ids)
	}
	if one := must(t, node.ExitDone, "log", "--data", data, "--like", "refunds for customers", "--limit", "1", "-o", "ids").out; !strings.HasPrefix(logged, one) || strings.Count(one, "\n") != 1 {
		t.Errorf("with --limit 1: %q", one)
	}
	must(t, node.ExitDone, "verify", "--data", data)
	addLater(t, data)
	if table := must(t, node.ExitDone, "search", "--data", data, "--like", "an empty event", "--limit", "1").out; !strings.Contains(table, " 1.000 ") && !strings.Contains(table, "1.000  ") || !strings.Contains(table, " a.b ") {
		t.Error(table)
	}
	// What is there keeps its vector, and is not computed again.
	if r := feed(t, node.ExitDone, texts(), data, "--embed", "static"); r.out != "ingested 0, duplicates 6, rejected 0, embedded 0, without a vector 0\n" {
		t.Error(r)
	}
	if r := feed(t, node.ExitDone, texts(), data); r.out != "ingested 0, duplicates 6, rejected 0\n" {
		t.Error(r)
	}
}

// addLater gives the event without a text the vector of one.
func addLater(t *testing.T, data string) {
	t.Helper()
	j, err := journal.Open(data, journal.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	es, err := j.ByOutsideID(t.Context(), "5")
	if err != nil || len(es) != 1 {
		t.Fatal(es, err)
	}
	vs, err := static.Embedder{}.Embed(t.Context(), []string{"an empty event"})
	if err == nil {
		_, err = j.EmbedEvent(t.Context(), es[0].Position, vs[0])
	}
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSearchRefuses(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	feed(t, node.ExitDone, texts(), data)
	for args, want := range map[string]string{
		"search":                           "--like is missing",
		"search --like a --limit 0":        "limit 0",
		"search --like a --min 2":          "min 2",
		"search --like a --embed none":     "needs the vector",
		"search --like a --embed good":     `embed "good"`,
		"search --like a --embed http://x": "no model",
		"log --like a --min -7":            "min -7",
		"ingest --embed good " + sample:    `embed "good"`,
	} {
		if r := must(t, node.ExitUsage, append(strings.Fields(args), "--data", data)...); !strings.Contains(r.err, want) {
			t.Errorf("%s: %s", args, r.err)
		}
	}
	if r := must(t, node.ExitUsage, "search", "--data", data, "--like", "  "); !strings.Contains(r.err, "makes nothing of it") {
		t.Error(r.err)
	}
	if r := must(t, node.ExitDone, "search", "--data", data, "--like", "a"); !strings.Contains(r.err, "no event has a vector") {
		t.Error(r)
	}
}

// A server that fails in every way takes no event with it.
func TestIngestEmbedServer(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var in struct {
			Input []string `json:"input"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		var out []string
		for i, text := range in.Input {
			if strings.Contains(text, "jazz") { // too long, say
				http.Error(w, `{"error":{"message":"no jazz"}}`, http.StatusBadRequest)
				return
			}
			out = append(out, fmt.Sprintf(`{"index":%d,"embedding":[1,%d,3]}`, i, len(text)))
		}
		fmt.Fprintf(w, `{"data":[%s]}`, strings.Join(out, ","))
	}))
	defer s.Close()
	data := filepath.Join(t.TempDir(), "data")
	r := feed(t, node.ExitDone, texts(), data, "--embed", s.URL+"/v1", "--embed-model", "m", "--embed-dimension", "3")
	if r.out != "ingested 6, duplicates 0, rejected 0, embedded 4, without a vector 1\n" || !strings.Contains(r.err, "no jazz") {
		t.Error(r)
	}
	before := asked.Load()
	if r := feed(t, node.ExitDone, texts(), data, "--embed", s.URL+"/v1", "--embed-model", "m", "--embed-dimension", "3"); !strings.HasPrefix(r.out, "ingested 0, duplicates 6") || asked.Load() != before {
		t.Errorf("%v after %d requests more", r, asked.Load()-before)
	}
	if r := must(t, node.ExitUsage, "search", "--data", data, "--like", "x"); !strings.Contains(r.err, "are of openai:m") {
		t.Error(r.err)
	}
	if r := feed(t, node.ExitRefused, texts(), data, "--embed", "static"); !strings.Contains(r.err, "embeddings of another model") {
		t.Error(r.err)
	}
	must(t, node.ExitDone, "search", "--data", data, "--like", "x", "--embed", s.URL+"/v1", "--embed-model", "m", "--embed-dimension", "3")

	// Another dimension than was said: as many events, none with a vector.
	data = filepath.Join(t.TempDir(), "data")
	r = feed(t, node.ExitDone, texts(), data, "--embed", s.URL+"/v1", "--embed-model", "m", "-o", "json")
	if r.out != `{"ingested":6,"duplicates":0,"rejected":0,"embedded":0,"unembedded":5}`+"\n" || !strings.Contains(r.err, "3 dimensions, want 768") {
		t.Error(r)
	}
	must(t, node.ExitDone, "verify", "--data", data)
}
