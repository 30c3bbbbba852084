package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

func TestBenchAppend(t *testing.T) {
	for _, line := range []string{
		"--writers 1 --durability fsync", "--writers 1 --durability memory", "--writers 2 --durability os",
		"--writers 9 --size 5000 --durability fsync", "--writers 9 --size 16 --durability memory",
	} {
		t.Chdir(t.TempDir())
		out := must(t, node.ExitDone, append(strings.Fields("bench append --duration 150ms -o json"), strings.Fields(line)...)...).out
		var r struct {
			Benchmark, Durability, Dir     string
			Writers, Size, Events, Commits int
			CPUs                           int     `json:"cpus"`
			PerS                           float64 `json:"events_per_s"`
			P50                            float64 `json:"p50_us"`
			P99                            float64 `json:"p99_us"`
			YardstickPerS                  float64 `json:"yardstick_events_per_s"`
			Ratio                          float64 `json:"ratio"`
			PerCommit                      float64 `json:"events_per_commit"`
			Bytes                          float64 `json:"bytes_per_event"`
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		if !strings.Contains(line, r.Durability) || r.Events < 1 || r.Commits < 1 || r.Commits > r.Events || r.CPUs < 1 || r.PerCommit < 1 {
			t.Errorf("%s: %s", line, out)
		}
		if r.PerS <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.YardstickPerS <= 0 || r.Ratio != r.PerS/r.YardstickPerS {
			t.Errorf("%s: %s", line, out)
		}
		if onDisk := r.Durability != "memory"; onDisk != (r.Dir != "") || onDisk && r.Bytes < float64(r.Size) {
			t.Errorf("%s: %s", line, out)
		}
		if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", line, left, err)
		}
	}
}

// A journal that is kept holds what was measured.
func TestBenchAppendKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	r := must(t, node.ExitDone, "bench", "append", "--duration", "100ms", "--writers", "5", "--size", "64", "--data", dir)
	if !strings.Contains(r.out, "yardstick") || !strings.Contains(r.err, dir) {
		t.Error(r)
	}
	must(t, node.ExitDone, "verify", "--data", filepath.Join(dir, "journal"))
	out := must(t, node.ExitDone, "log", "--data", filepath.Join(dir, "journal"), "--after", "20", "--limit", "20", "-o", "json").out
	for l := range strings.Lines(out) {
		var e struct {
			Stream  string
			Parents []struct{ Position uint64 }
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil || len(e.Parents) != 2 || !strings.HasPrefix(e.Stream, "writer-") {
			t.Errorf("%v: %s", err, l)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
	must(t, node.ExitRefused, "bench", "append", "--data", dir)
}

func TestBenchRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"append --writers 0", "append --writers -1", "append --writers 4097", "append --size 15", "append --size 1048577",
		"append --duration 0s", "append --duration 61m", "append --duration soon", "append --durability never",
		"append --durability memory --data here", "append 7", "apend", "append -o csv",
	} {
		if r := must(t, node.ExitUsage, append([]string{"bench"}, strings.Fields(line)...)...); r.out != "" || r.err == "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	must(t, node.ExitDone, "bench")
}

func TestBenchInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	code := node.Run(ctx, actors.NewRegistry(), strings.Fields("bench append --duration 1h"), node.Streams{Out: &out, Err: &errs})
	if code != node.ExitFailed || out.Len() > 0 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("code %d, %s%s", code, &out, &errs)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestBenchReplay(t *testing.T) {
	t.Chdir(t.TempDir())
	out := must(t, node.ExitDone, "bench", "replay", "--duration", "100ms", "-o", "json").out
	var r struct {
		Benchmark string
		Events    int
		Bare      float64 `json:"yardstick_events_per_s"`
		Read      float64 `json:"read_events_per_s"`
		Backwards float64 `json:"read_backwards_events_per_s"`
		Verify    float64 `json:"verify_events_per_s"`
		Replay    float64 `json:"replay_events_per_s"`
		ReadRatio float64 `json:"read_ratio"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Benchmark != "replay" || r.Events < 1 || r.Bare <= 0 || r.Read <= 0 || r.Backwards <= 0 || r.Verify <= 0 || r.Replay <= 0 || r.ReadRatio != r.Read/r.Bare {
		t.Error(out)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	// A journal that is there is measured and left as it was.
	must(t, node.ExitDone, "bench", "append", "--duration", "100ms", "--data", "kept")
	r2 := must(t, node.ExitDone, "bench", "replay", "--journal", "kept/journal")
	if !strings.Contains(r2.out, "read backwards") {
		t.Error(r2)
	}
	must(t, node.ExitDone, "verify", "--data", "kept/journal")
	must(t, node.ExitRefused, "bench", "replay", "--journal", "absent")
	must(t, node.ExitUsage, "bench", "replay", "--size", "1")
}
