package node_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/tokaworks/toka/node"
)

func TestBenchHTTP(t *testing.T) {
	t.Chdir(t.TempDir())
	duration := "200ms"
	if d := os.Getenv("TOKA_BENCH"); d != "" {
		duration = d
	}
	code, out, errs := commandLine(t, "", "bench", "http", "--duration", duration, "--connections", "8", "--readers", "20", "--stuck", "2", "-o", "json")
	var r struct {
		Singles, Bare struct {
			PerS float64 `json:"per_s"`
		}
		Ratio float64 `json:"ratio"`
		Batch float64 `json:"batched_events_per_s"`
		Live  struct {
			Delivered uint64 `json:"delivered"`
			Missing   uint64 `json:"missing"`
			Stuck     struct {
				P99  float64 `json:"append_p99_ms"`
				Heap float64 `json:"heap_after_mib"`
			} `json:"stuck"`
		} `json:"live"`
	}
	if err := json.Unmarshal([]byte(out), &r); code != node.ExitDone || err != nil {
		t.Fatalf("%d %s %s, %v", code, out, errs, err)
	}
	if r.Singles.PerS <= 0 || r.Bare.PerS <= 0 || r.Ratio <= 0 || r.Batch <= 0 || r.Live.Delivered == 0 || r.Live.Missing != 0 || r.Live.Stuck.P99 <= 0 || r.Live.Stuck.Heap <= 0 {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, args := range [][]string{{"--connections", "0"}, {"--batch", "1"}, {"--readers", "-1"}, {"--rate", "0"}, {"--stuck", "1", "--readers", "0"}, {"--duration", "0s"}, {"--durability", "x"}} {
		if code, _, _ := commandLine(t, "", append([]string{"bench", "http"}, args...)...); code != node.ExitUsage {
			t.Errorf("%v: code %d", args, code)
		}
	}
}
