package node_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node"
)

func TestBenchBus(t *testing.T) {
	for _, subscribers := range []string{"1", "20"} {
		out := must(t, node.ExitDone, "bench", "bus", "--duration", "50ms", "--subscribers", subscribers, "-o", "json").out
		var r struct {
			Benchmark                             string
			Subscribers, Events, Deliveries, Lost int
			PerS                                  float64 `json:"per_s"`
			P50                                   float64 `json:"p50_ns"`
			P99                                   float64 `json:"p99_ns"`
			Yardsticks                            map[string]float64
			Ratio                                 float64
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if r.Benchmark != "bus" || r.Events < 1 || r.Deliveries != r.Events*r.Subscribers || r.Lost != 0 || r.PerS <= 0 || r.P50 <= 0 || r.P99 < r.P50 {
			t.Error(out)
		}
		if r.Yardsticks["channel"] <= 0 || r.Yardsticks["protoactor"] <= 0 || r.Ratio != r.PerS/r.Yardsticks["protoactor"] {
			t.Error(out)
		}
	}
	if r := must(t, node.ExitDone, "bench", "bus", "--duration", "10ms"); !strings.Contains(r.out, "protoactor") || !strings.Contains(r.out, "0 lost") {
		t.Error(r)
	}
	for _, line := range []string{"--subscribers 0", "--subscribers 10001", "--duration 0s", "--duration 61m", "7"} {
		if r := must(t, node.ExitUsage, append([]string{"bench", "bus"}, strings.Fields(line)...)...); r.out != "" || r.err == "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}
