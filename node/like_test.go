package node_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// cursors are those of the events that a command prints.
func cursors(t *testing.T, out string) (all []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		var e struct {
			Cursor string
			Event  struct{ Cursor string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Cursor == "" {
			e = struct {
				Cursor string
				Event  struct{ Cursor string }
			}{Cursor: e.Event.Cursor}
		}
		all = append(all, e.Cursor)
	}
	return all
}

// What means the same is selected alike by a list, by a durable consumer and by
// who follows a node, from the first event on.
func TestByMeaning(t *testing.T) {
	data, _ := embedded(t)
	meaning := []string{"--like", "update the readme", "--min", "0.4", "--data", data, "-o", "json"}
	want := cursors(t, must(t, node.ExitDone, append([]string{"log"}, meaning...)...).out)
	if len(want) < 2 || len(want) > 100 {
		t.Fatalf("%d events like a text", len(want))
	}
	must(t, node.ExitDone, append([]string{"consumers", "create", "docs"}, meaning...)...)
	got := cursors(t, must(t, node.ExitDone, "consumers", "fetch", "docs", "--limit", "300", "--data", data, "-o", "json").out)
	if !slices.Equal(got, want) {
		t.Errorf("a consumer gets %v, want %v", got, want)
	}
	n := runNode(t, actors.NewRegistry(), data)
	code, out, errs := commandLine(t, "", append([]string{"tail", "--after", "0", "--limit", "2"}, meaning...)...)
	if got := cursors(t, out); code != node.ExitDone || !slices.Equal(got, want[:2]) {
		t.Errorf("following shows %v, want %v: %s", got, want[:2], errs)
	}
	if n.stop() != node.ExitDone {
		t.Error(n.errs)
	}
	if r := must(t, node.ExitUsage, "consumers", "create", "other", "--like", "x", "--min", "2", "--data", data); !strings.Contains(r.err, "min 2") {
		t.Error(r.err)
	}
}

// What is of one intent is selected alike by a list, by a durable consumer and by
// who follows a node, from the first event on.
func TestByIntent(t *testing.T) {
	data, intents := embedded(t)
	of := []string{"--intent", intents[0].ID, "--data", data, "-o", "json"}
	want := cursors(t, must(t, node.ExitDone, append([]string{"log"}, of...)...).out)
	if len(want) < 2 || len(want) != intents[0].Size {
		t.Fatalf("%d events of an intent of %d", len(want), intents[0].Size)
	}
	r := must(t, node.ExitDone, append([]string{"consumers", "create", "biggest"}, of...)...)
	if !strings.Contains(r.out, `"intent":"`+intents[0].ID+`"`) {
		t.Error(r.out)
	}
	if r := must(t, node.ExitDone, "consumers", "show", "biggest", "--data", data); !strings.Contains(r.out, "intent="+intents[0].ID) {
		t.Error(r.out)
	}
	n := runNode(t, actors.NewRegistry(), data)
	got := cursors(t, must(t, node.ExitDone, "consumers", "fetch", "biggest", "--limit", "300", "--data", data, "-o", "json").out)
	if !slices.Equal(got, want) {
		t.Errorf("a consumer gets %v, want %v", got, want)
	}
	code, out, errs := commandLine(t, "", append([]string{"tail", "--after", "0", "--limit", "2"}, of...)...)
	if got := cursors(t, out); code != node.ExitDone || !slices.Equal(got, want[:2]) {
		t.Errorf("following shows %v, want %v: %s", got, want[:2], errs)
	}
	if n.stop() != node.ExitDone {
		t.Error(n.errs)
	}
	if r := must(t, node.ExitUsage, "consumers", "create", "other", "--intent", "x", "--data", data); !strings.Contains(r.err, "intent: ") {
		t.Error(r.err)
	}
}
