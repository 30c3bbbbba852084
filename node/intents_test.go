package node_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/intent/static"
	"github.com/tokaworks/toka/node"
)

// listedIntent is an intent as intents -o json prints it.
type listedIntent struct {
	ID                       string
	Size, Parts, First, Last int
	Drift                    float64
	Typical                  []string
}

func listIntents(t *testing.T, args ...string) (out []listedIntent) {
	t.Helper()
	r := must(t, node.ExitDone, append(args, "-o", "json")...)
	for line := range strings.Lines(r.out) {
		var i listedIntent
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			t.Fatal(err)
		}
		out = append(out, i)
	}
	return out
}

// embedded ingests the sample with vectors of what its events say.
func embedded(t *testing.T) (data string, intents []listedIntent) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	var in strings.Builder
	for line := range strings.Lines(string(text)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		vs, err := static.Embedder{}.Embed(t.Context(), []string{fmt.Sprint(e["data"].(map[string]any)["subject"])})
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		for _, x := range vs[0] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		e["tokaembedding"] = base64.StdEncoding.EncodeToString(b)
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(out, '\n'))
	}
	r := runOn(t, nil, strings.NewReader(in.String()), "ingest", "--data", data, "--durability", "os", "-")
	if r.code != node.ExitDone {
		t.Fatal(r.err)
	}
	intents = listIntents(t, "intents", "--all", "--data", data)
	if len(intents) < 3 {
		t.Fatalf("%d intents", len(intents))
	}
	return data, intents
}

func total(is []listedIntent) (n int) {
	for _, i := range is {
		n += i.Size
	}
	return n
}

func TestIntents(t *testing.T) {
	data, all := embedded(t)
	if total(all) != 300 {
		t.Errorf("%d of 300 events have an intent", total(all))
	}
	for i, in := range all {
		if in.Size == 0 || len(in.Typical) == 0 || in.First > in.Last || in.Drift < 0 || in.Drift > 1 || i > 0 && in.Size > all[i-1].Size {
			t.Errorf("%+v", in)
		}
	}
	text := must(t, node.ExitDone, "intents", "--data", data, "--limit", "2").out
	if !strings.Contains(text, "TYPICAL") || !strings.Contains(text, all[0].ID) || !strings.Contains(text, "2 of ") {
		t.Error(text)
	}
	if r := must(t, node.ExitDone, "verify", "--data", data); !strings.Contains(r.out, "ok") && !strings.Contains(r.out, "OK") {
		t.Error(r.out)
	}
}

func TestIntentsMergeSplitAsOf(t *testing.T) {
	data, before := embedded(t)
	a, b := before[1], before[0]
	must(t, node.ExitDone, "intents", "merge", "--data", data, a.ID, b.ID[:13])
	now := listIntents(t, "intents", "--all", "--data", data)
	if len(now) != len(before)-1 || now[0].ID != b.ID || now[0].Size != a.Size+b.Size {
		t.Errorf("after the merge %d intents, the largest %+v", len(now), now[0])
	}
	if then := listIntents(t, "intents", "as-of", "300", "--all", "--data", data); len(then) != len(before) || then[1].Size != a.Size {
		t.Errorf("as of before the merge: %d intents", len(then))
	}
	if r := must(t, node.ExitDone, "intents", "show", a.ID, "--data", data); !strings.Contains(r.out, b.ID) || !strings.Contains(r.out, "merged into "+b.ID+", by hand") {
		t.Error(r.out)
	}
	if n := strings.Count(must(t, node.ExitDone, "log", "--data", data, "--intent", a.ID).out, "vcs."); n != a.Size+b.Size {
		t.Errorf("the merged name finds %d events, want %d and %d", n, a.Size, b.Size)
	}
	must(t, node.ExitFailed, "intents", "merge", "--data", data, a.ID, b.ID)
	must(t, node.ExitDone, "intents", "split", "--data", data, b.ID)
	if split := listIntents(t, "intents", "--all", "--data", data); len(split) != len(now)+1 || total(split) != 300 {
		t.Errorf("after the split %d intents, before %d", len(split), len(now))
	}
	if r := must(t, node.ExitUsage, "intents", "show", "ab", "--data", data); !strings.Contains(r.err, "4 characters") {
		t.Error(r.err)
	}
	must(t, node.ExitFailed, "intents", "show", "zzzz", "--data", data)
	must(t, node.ExitUsage, "intents", "as-of", "9999", "--data", data)
}

func TestIntentsExplain(t *testing.T) {
	data, _ := embedded(t)
	var x struct {
		Intent, Part string
		Assigned     string
		Strategy     string
		Similarity   float64
		Threshold    float64
		Nearest      []struct {
			Intent     string
			Similarity float64
			Members    int
		}
		Now struct {
			Threshold float64
			Nearest   []struct{ Members int }
		}
	}
	const id = "35706efabd6b055fbd8c2fcf71a504fd1e395291"
	if err := json.Unmarshal([]byte(must(t, node.ExitDone, "intents", "explain", id, "--data", data, "-o", "json").out), &x); err != nil {
		t.Fatal(err)
	}
	if x.Intent == "" || x.Part == "" || x.Similarity <= 0 || x.Threshold <= 0 || x.Assigned == "" || !strings.HasPrefix(x.Strategy, "two-phase/") || len(x.Nearest) == 0 || x.Nearest[0].Members == 0 ||
		x.Now.Threshold <= 0 || len(x.Now.Nearest) != 5 || x.Now.Nearest[0].Members == 0 {
		t.Errorf("%+v", x)
	}
	if r := must(t, node.ExitDone, "intents", "explain", id, "--data", data); !strings.Contains(r.out, x.Intent) || !strings.Contains(r.out, "nearest") {
		t.Error(r.out)
	}
	plain := ingested(t)
	if r := must(t, node.ExitFailed, "intents", "explain", id, "--data", plain); !strings.Contains(r.err, "intent") {
		t.Error(r.err)
	}
}

func TestIntentsMap(t *testing.T) {
	data, _ := embedded(t)
	svg := must(t, node.ExitDone, "intents", "map", "--data", data, "-o", "svg").out
	if again := must(t, node.ExitDone, "intents", "map", "--data", data, "-o", "svg").out; again != svg {
		t.Error("another picture of the same journal")
	}
	dec := xml.NewDecoder(strings.NewReader(svg))
	circles := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles < 300 {
		t.Errorf("%d circles for 300 events", circles)
	}
	points := 0
	for line := range strings.Lines(must(t, node.ExitDone, "intents", "map", "--data", data, "-o", "json", "--points", "50").out) {
		var p struct{ X, Y float64 }
		if err := json.Unmarshal([]byte(line), &p); err != nil || p.X < -1 || p.X > 1 || p.Y < -1 || p.Y > 1 {
			t.Errorf("%s: %v", line, err)
		}
		points++
	}
	if points != 50 {
		t.Errorf("%d points", points)
	}
	if r := must(t, node.ExitFailed, "intents", "map", "--data", ingested(t)); !strings.Contains(r.err, "3 at least") {
		t.Error(r.err)
	}
}
