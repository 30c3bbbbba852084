package node_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node"
)

// smallSets writes a set of three topics with vectors of 16 dimensions.
func smallSets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	var texts bytes.Buffer
	z := gzip.NewWriter(&texts)
	var vectors []byte
	words := []string{"refund the money", "weather in the morning", "play some music"}
	for i := range 90 {
		topic := i % 3
		fmt.Fprintf(z, "{\"text\":%q,\"label\":\"topic %d\"}\n", fmt.Sprint(words[topic], " ", i), topic)
		for j := range 16 {
			x := float32(r.NormFloat64()) * 0.1
			if j%3 == topic {
				x++
			}
			vectors, _ = binary.Append(vectors, binary.LittleEndian, x)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "small.jsonl.gz"), texts.Bytes())
	write(t, filepath.Join(dir, "small.made.f32"), vectors)
	return dir
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBenchIntent(t *testing.T) {
	dir := smallSets(t)
	out := must(t, node.ExitDone, "bench", "intent", "--no-speed", "--orders", "3", "--data", dir, "-o", "json").out
	seen := map[string]bool{}
	builtin := 0
	for line := range strings.Lines(out) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r["vectors"] == "builtin" {
			builtin++
			if ari := r["ari"].(float64); r["strategy"] == "k-means" && ari < 0.9 {
				t.Errorf("three topics of few words each: ARI %v", ari)
			}
		}
		if r["vectors"] != "file" {
			continue
		}
		strategy := r["strategy"].(string)
		seen[strategy] = true
		if r["set"] != "small" || r["k_true"] != 3.0 || r["events"] != 90.0 {
			t.Errorf("%s: %s", strategy, line)
		}
		for _, field := range []string{
			"ari", "v", "b3", "purity", "k", "k3", "pair_precision", "pair_recall",
			"ari_sd", "v_sd", "b3_sd", "purity_sd", "k_sd", "k3_sd", "pair_precision_sd", "pair_recall_sd", "ari_ratio",
		} {
			if _, ok := r[field].(float64); !ok {
				t.Errorf("%s: %s is %v", strategy, field, r[field])
			}
		}
		// The topics are far from each other.
		if want := map[string]float64{"k-means": 1, "two-phase": 1, "leader-swept": 1}[strategy]; r["ari"].(float64) < want {
			t.Errorf("%s: ARI %v", strategy, r["ari"])
		}
	}
	if builtin != len(seen) {
		t.Errorf("%d rows of the built-in embedder, want %d", builtin, len(seen))
	}
	for _, strategy := range []string{"k-means", "two-phase", "strict", "calibrated", "budgeted", "leader", "leader-swept"} {
		if !seen[strategy] {
			t.Errorf("no row of %s:\n%s", strategy, out)
		}
	}
	if text := must(t, node.ExitDone, "bench", "intent", "--no-speed", "--orders", "1", "--strategy", "leader", "--data", dir).out; !strings.Contains(text, "leader") || strings.Contains(text, "budgeted") {
		t.Error(text)
	}
}

func TestBenchIntentRefuses(t *testing.T) {
	dir := smallSets(t)
	for line, want := range map[string]string{
		"bench intent": "--data is missing", "bench intent --orders 0 --data " + dir: "orders 0",
		"bench intent --strategy good --data " + dir: `strategy "good"`,
	} {
		if r := must(t, node.ExitUsage, strings.Fields(line)...); !strings.Contains(r.err, want) {
			t.Errorf("%s: %s", line, r.err)
		}
	}
	empty := t.TempDir()
	if r := must(t, node.ExitFailed, "bench", "intent", "--data", empty); !strings.Contains(r.err, "holds no set") {
		t.Error(r.err)
	}
	for name, f := range map[string]func(dir string){
		"float32": func(dir string) { write(t, filepath.Join(dir, "small.made.f32"), make([]byte, 77)) },
		"zero":    func(dir string) { write(t, filepath.Join(dir, "small.made.f32"), make([]byte, 90*4)) },
		"gzip":    func(dir string) { write(t, filepath.Join(dir, "small.jsonl.gz"), []byte("{}")) },
	} {
		dir := smallSets(t)
		f(dir)
		if r := must(t, node.ExitFailed, "bench", "intent", "--data", dir); !strings.Contains(r.err, name) {
			t.Errorf("%s: %s", name, r.err)
		}
	}
}

func TestBenchJournalWithIntents(t *testing.T) {
	for _, strategy := range []string{"two-phase", "leader"} {
		row, err := node.BenchJournal(t.Context(), t.TempDir(), strategy, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"events_per_s", "assigned_per_s", "cpu_us", "replay_per_s", "events"} {
			if x, ok := row[field].(float64); !ok || x <= 0 {
				t.Errorf("%s: %s is %v", strategy, field, row[field])
			}
		}
		// How many two-phase has depends on where the moment ended.
		if n, ok := row["intents"].(float64); !ok || n < 1 || n > 64 || strategy == "leader" && n != 64 {
			t.Errorf("%s: %v intents of 64 topics that are far from each other", strategy, row["intents"])
		}
	}
}
