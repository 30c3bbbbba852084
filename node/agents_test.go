package node_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/node"
)

// decoded reads JSON lines.
func decoded[T any](t *testing.T, out string) (all []T) {
	t.Helper()
	for l := range strings.Lines(out) {
		var v T
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%.200s: %v", l, err)
		}
		all = append(all, v)
	}
	return all
}

func TestAgents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	must(t, node.ExitDone, "demo", "--data", dir, "--events", "80", "-o", "json")
	type agent struct {
		Name, Behaviour, Failure string
		Events, Failures, Parked int
	}
	all := decoded[agent](t, must(t, node.ExitDone, "agents", "--data", dir, "-o", "json").out)
	byName := map[string]agent{}
	for _, a := range all {
		byName[a.Name] = a
	}
	if c := byName["courier"]; c.Behaviour != "demo.courier/1" || c.Parked != 1 || c.Failures < 3 || c.Failure == "" {
		t.Errorf("the courier is %+v", c)
	}
	if s := byName["stock"]; s.Behaviour != "demo.stock/1" || s.Events == 0 || s.Failures != 0 {
		t.Errorf("the stock is %+v", s)
	}
	table := must(t, node.ExitDone, "agents", "--data", dir).out
	if !strings.Contains(table, "demo.bookkeeper/1") || !strings.Contains(table, "not live here") {
		t.Error(table)
	}

	type state struct {
		Agent, Behaviour string
		Position         uint64
		State            struct{ Status string }
	}
	order := "order-1"
	now := decoded[state](t, must(t, node.ExitDone, "agent", order, "--data", dir, "-o", "json").out)[0]
	if now.Agent != order || now.Behaviour != "demo.order/1" || now.State.Status != "confirmed" {
		t.Errorf("now %+v", now)
	}
	at := decoded[struct{ Position uint64 }](t, must(t, node.ExitDone, "log", "--data", dir, "--kind", "order.placed", "--limit", "1", "-o", "json").out)[0]
	then := decoded[state](t, must(t, node.ExitDone, "agent", order, "--data", dir, "--at", json.Number(jsonOf(t, at.Position)).String(), "-o", "json").out)[0]
	if then.State.Status != "placed" || then.Position != at.Position {
		t.Errorf("at %d %+v", at.Position, then)
	}
	if out := must(t, node.ExitDone, "agent", order, "--data", dir).out; !strings.Contains(out, `"status": "confirmed"`) {
		t.Error(out)
	}
	must(t, node.ExitFailed, "agent", "nobody", "--data", dir)
	must(t, node.ExitFailed, "agent", order, "--data", dir, "--at", "1")
	must(t, node.ExitUsage, "agent", order, "--data", dir, "--at", "x")
	must(t, node.ExitUsage, "agent", order, "--data", dir, "--at", "0")
	must(t, node.ExitUsage, "agent", "--data", dir)
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parkedIn returns the id of the first entry that is parked in a journal.
func parkedIn(t *testing.T, dir string) string {
	t.Helper()
	all := decoded[struct{ ID string }](t, must(t, node.ExitDone, "parked", "list", "--data", dir, "-o", "json").out)
	if len(all) == 0 {
		t.Fatal("nothing is parked")
	}
	return all[0].ID
}

func TestParked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	must(t, node.ExitDone, "demo", "--data", dir, "--events", "60", "-o", "json")
	type entry struct {
		ID, Agent, Message, Reason, Stack, Retry string
		Attempts                                 int
		Event                                    struct{ Kind string }
	}
	list := func() []entry {
		t.Helper()
		return decoded[entry](t, must(t, node.ExitDone, "parked", "list", "--data", dir, "-o", "json").out)
	}
	all := list()
	if len(all) != 1 || all[0].Agent != "courier" || all[0].Attempts != 3 || all[0].Reason == "" || all[0].Retry != "" {
		t.Fatalf("parked are %+v", all)
	}
	p := all[0]
	if none := must(t, node.ExitDone, "parked", "list", "--data", dir, "--agent", "stock", "-o", "json").out; none != "" {
		t.Errorf("of the stock: %s", none)
	}
	if out := must(t, node.ExitDone, "parked", "list", "--data", dir).out; !strings.Contains(out, p.ID) || !strings.Contains(out, "courier") {
		t.Error(out)
	}
	shown := decoded[entry](t, must(t, node.ExitDone, "parked", "show", p.ID, "--data", dir, "-o", "json").out)[0]
	if shown.Event.Kind != "order.confirmed" || !strings.Contains(shown.Stack, "shop/courier.go:") {
		t.Errorf("shown is %+v", shown)
	}
	if out := must(t, node.ExitDone, "parked", "show", p.ID, "--data", dir).out; !strings.Contains(out, "nowhere") || !strings.Contains(out, "stack") {
		t.Error(out)
	}
	if out := must(t, node.ExitDone, "parked", "retry", p.ID, "--data", dir).out; !strings.Contains(out, "courier") {
		t.Error(out)
	}
	if all = list(); len(all) != 1 || all[0].Retry == "" {
		t.Errorf("asked for, parked are %+v", all)
	}
	// The next run of the shop takes it up, in vain: it is parked anew.
	must(t, node.ExitDone, "demo", "--data", dir, "--events", "10", "-o", "json")
	if all = list(); len(all) != 1 || all[0].ID == p.ID || all[0].Message != p.Message || all[0].Retry != "" {
		t.Errorf("taken up, parked are %+v", all)
	}
	must(t, node.ExitFailed, "parked", "retry", p.ID, "--data", dir)
	must(t, node.ExitFailed, "parked", "show", p.Message, "--data", dir)
	must(t, node.ExitUsage, "parked", "retry", p.ID, "--data", dir, "--result", "{")
	must(t, node.ExitUsage, "parked", "retry", p.ID, "--data", dir, "--result", "1", "--failed", "x")
	must(t, node.ExitFailed, "parked", "retry", all[0].ID, "--data", dir, "--result", "1") // no effect is in doubt
	must(t, node.ExitUsage, "parked", "mend")
	must(t, node.ExitDone, "replay", "--data", dir)
}

func TestBenchActors(t *testing.T) {
	for _, name := range []string{"tell", "ask", "spawn", "command --callers 8 --resources 20", "command --callers 1 --durability memory"} {
		t.Chdir(t.TempDir())
		args := append(append([]string{"bench"}, strings.Fields(name)...), "--duration", "150ms", "-o", "json")
		r := decoded[struct {
			Benchmark  string
			NS         float64 `json:"ns_per_op"`
			PerS       float64 `json:"per_s"`
			P50        float64 `json:"p50_us"`
			Bytes      float64 `json:"bytes_per_agent"`
			Operations int
			Yardsticks map[string]float64
			Ratio      float64
		}](t, must(t, node.ExitDone, args...).out)[0]
		kind, _, _ := strings.Cut(name, " ")
		if r.Benchmark != kind || r.Operations < 1 || r.Ratio <= 0 || r.Yardsticks["protoactor"] <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
		switch kind {
		case "tell", "ask":
			if r.NS <= 0 || r.Yardsticks["channel"] <= 0 || r.Ratio != r.Yardsticks["protoactor"]/r.NS {
				t.Errorf("%s: %+v", name, r)
			}
		case "spawn":
			if r.PerS <= 0 || r.Bytes <= 0 || r.Yardsticks["channel"] <= 0 {
				t.Errorf("%s: %+v", name, r)
			}
		case "command":
			if r.PerS <= 0 || r.P50 <= 0 || r.Yardsticks["append"] <= 0 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	must(t, node.ExitUsage, "bench", "tell", "--duration", "0s")
	must(t, node.ExitUsage, "bench", "command", "--callers", "0")
	must(t, node.ExitUsage, "bench", "command", "--resources", "0")
	must(t, node.ExitUsage, "bench", "command", "--durability", "none")
	if out := must(t, node.ExitDone, "bench", "tell", "--duration", "100ms").out; !strings.Contains(out, "yardstick protoactor") {
		t.Error(out)
	}
}
