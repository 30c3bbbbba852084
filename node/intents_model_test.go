package node_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// TestIntentsModel changes the model of a journal that a node serves: from there on
// events have no vectors by the model before, wherever they come in, and none is
// lost; questions by meaning are answered of one model at a time and say so.
func TestIntentsModel(t *testing.T) {
	dir := t.TempDir()
	n := runNode(t, actors.NewRegistry(), dir, "--embed", "static")
	said(t, http.StatusCreated, n.url, "one", "")
	said(t, http.StatusCreated, n.url, "two", "")
	model := []string{"intents", "model", "--data", dir}
	code, out, errs := commandLine(t, "", append(model, "--to", "other", "--dimension", "3", "-o", "json")...)
	if code != node.ExitDone || !strings.HasSuffix(out, `{"after":"1-4","model":"other","dimension":3}`+"\n") || strings.Count(out, "\n") != 2 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	for args, want := range map[string]int{
		"--to other --dimension 3":  node.ExitRefused, // it is
		"--to other --dimension -3": node.ExitUsage,
		"--to other --embed static": node.ExitUsage,
		"--embed nonsense":          node.ExitUsage,
		"":                          node.ExitDone,
	} {
		if code, _, errs := commandLine(t, "", append(model, strings.Fields(args)...)...); code != want {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}

	said(t, http.StatusCreated, n.url, "three", "")
	n.errs.until(t, "the journal's model is")
	said(t, http.StatusCreated, n.url, "own", `,"tokaembedding":"AACAPwAAAAAAAAAA"`)
	line := `{"specversion":"1.0","source":"talk","id":"four","type":"said","data":{"text":"a refund please"}}` + "\n"
	if code, out, errs := commandLine(t, line, "ingest", "--data", dir, "-"); code != node.ExitRefused || !strings.Contains(errs, "another model") {
		t.Errorf("ingest with the model before: %d %s%s", code, out, errs)
	}
	if code, _, errs := commandLine(t, "", "intents", "embed", "--data", dir); code != node.ExitRefused || !strings.Contains(errs, "another model") {
		t.Errorf("embedding later with the model before: %d %s", code, errs)
	}
	like := []string{"--like", "the customer wants a refund, says one", "--min", "0.2", "--data", dir, "-o", "json"}
	for _, c := range []string{"log", "search"} {
		code, out, errs := commandLine(t, "", append([]string{c}, like...)...)
		if got := cursors(t, out); code != node.ExitDone || len(got) != 2 || !strings.Contains(errs, "none that were by other") {
			t.Errorf("%s: %d %v %s", c, code, got, errs)
		}
	}
	if code, out, errs := commandLine(t, "", append([]string{"tail", "--after", "0", "--limit", "2"}, like...)...); code != node.ExitDone || len(cursors(t, out)) != 2 {
		t.Errorf("tail: %d %s%s", code, out, errs)
	}
	if code, out, errs := commandLine(t, "", append([]string{"consumers", "create", "refunds"}, like...)...); code != node.ExitDone || !strings.Contains(out, `"model":"toka-static`) {
		t.Errorf("consumer: %d %s%s", code, out, errs)
	}
	listed := listIntents(t, "intents", "--all", "--data", dir)
	if len(listed) != 2 {
		t.Errorf("%d intents, want one of each model: %+v", len(listed), listed)
	}
	if n.stop() != node.ExitDone {
		t.Error(n.errs)
	}
	must(t, node.ExitDone, "verify", "--data", dir)
	if code, _, errs := commandLine(t, "", "run", "--data", dir, "--listen", "127.0.0.1:0", "--embed", "static"); code != node.ExitRefused || !strings.Contains(errs, "another model") {
		t.Errorf("a node with the model before: %d %s", code, errs)
	}
	must(t, node.ExitDone, "intents", "model", "--embed", "static", "--data", dir)
	must(t, node.ExitDone, "intents", "embed", "--data", dir)
	if got := meantBy(t, "--data", dir); !got["three"] || !got["own"] {
		t.Errorf("events with an intent: %v", got)
	}
	must(t, node.ExitDone, "verify", "--data", dir)
}
