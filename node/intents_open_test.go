package node_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// A journal keeps its strategy until another one is asked for by name, and one
// that another program has made is left alone.
func TestChoiceOfStrategy(t *testing.T) {
	data, two := embedded(t)
	ids := func() string {
		t.Helper()
		return must(t, node.ExitDone, "intents", "--all", "-o", "ids", "--data", data).out
	}
	asIDs := func(list []listedIntent) string {
		var b strings.Builder
		for _, i := range list {
			b.WriteString(i.ID + "\n")
		}
		return b.String()
	}
	before := ids()
	if before != asIDs(two) || before == "" {
		t.Fatalf("ids %s, of %v", before, two)
	}
	var seen []string
	for _, name := range []string{"strict", "budgeted", "leader"} {
		must(t, node.ExitDone, "ingest", "--intents", name, "--data", data, "-")
		now := ids()
		if now == before {
			t.Errorf("%s: the intents of twophase", name)
		}
		must(t, node.ExitDone, "ingest", "--intents", "none", "--data", data, "-")
		must(t, node.ExitDone, "verify", "--data", data)
		if ids() != now {
			t.Errorf("%s: reading has changed the intents", name)
		}
		seen = append(seen, now)
	}
	if seen[0] == seen[2] {
		t.Error("strict and leader say the same")
	}
	must(t, node.ExitDone, "ingest", "--intents", "twophase", "--data", data, "-")
	if ids() != before {
		t.Error("twophase says something else than before")
	}
	j, err := journal.Open(data, journal.Options{NewIntents: func(_ string, d int) intent.Strategy {
		return cluster.NewTwoPhase(cluster.Layered{Dimension: d, Parts: 99})
	}})
	if err != nil {
		t.Fatal(err)
	}
	now, err := j.IntentsAt(t.Context(), j.Position())
	if err != nil || len(now) == 0 {
		t.Fatal(now, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ids(); !strings.Contains(got, now[0].ID.String()) {
		t.Errorf("the intents of another program were replaced: %s", got)
	}
	for _, command := range [][]string{{"ingest", sample}, {"run"}} {
		r := must(t, node.ExitUsage, append(command, "--intents", "magic", "--data", filepath.Join(t.TempDir(), "no"))...)
		if !strings.Contains(r.err, "twophase, strict, budgeted, leader or none") {
			t.Error(r.err)
		}
	}
}
