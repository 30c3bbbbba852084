package node_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// realFile is a large history of a public repository, if the environment names
// a directory that holds it.
func realFile(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TOKA_DATA")
	if dir == "" {
		t.Skip("TOKA_DATA names no directory with git-prometheus.jsonl.gz")
	}
	file, err := filepath.Abs(filepath.Join(dir, "git-prometheus.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// given is what a line of that file says.
type given struct {
	ID, Source, Type, Time string
	TokaParents            string
	Data                   json.RawMessage
}

func TestIngestRealFile(t *testing.T) {
	file := realFile(t)
	data := filepath.Join(t.TempDir(), "data")
	lines := readGiven(t, file)
	timed := func(args ...string) string {
		start := time.Now()
		r := must(t, node.ExitDone, args...)
		d := time.Since(start)
		t.Logf("%-8s %8v  %6.0f events/s", args[0], d.Round(time.Millisecond), float64(len(lines))/d.Seconds())
		return r.out
	}
	if out := timed("ingest", "--data", data, file); out != fmt.Sprintf("ingested %d, duplicates 0, rejected 0\n", len(lines)) {
		t.Fatal(out)
	}
	verified := timed("verify", "--data", data, "-o", "json")
	if out := timed("ingest", "--data", data, file); out != fmt.Sprintf("ingested 0, duplicates %d, rejected 0\n", len(lines)) {
		t.Fatal(out)
	}
	if again := timed("verify", "--data", data, "-o", "json"); again != verified {
		t.Fatalf("verify says\n%swas\n%s", again, verified)
	}
	if c, _, err := node.Root().Find([]string{"replay"}); err == nil && c.HasParent() {
		timed("replay", "--data", data)
	}
	check(t, data, lines)
}

func readGiven(t *testing.T, file string) (out []given) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(z); dec.More(); {
		var g given
		if err := dec.Decode(&g); err != nil {
			t.Fatal(err)
		}
		out = append(out, g)
	}
	return out
}

// check holds a journal against the lines that it came from: order, streams,
// payloads and every link.
func check(t *testing.T, data string, lines []given) {
	t.Helper()
	j, err := journal.Open(data, journal.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	at := map[string]uint64{}
	streams := map[string]uint64{}
	merges, n := 0, 0
	for e, err := range j.Read(context.Background(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n == len(lines) {
			t.Fatalf("more than %d events", n)
		}
		l := lines[n]
		n++
		at[l.ID] = e.Position
		streams[l.Source]++
		when, err := time.Parse(time.RFC3339, l.Time)
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != uint64(n) || e.OutsideID() != l.ID || e.Stream != l.Source || e.StreamPosition != streams[l.Source] ||
			e.Kind != l.Type || string(e.Payload) != string(l.Data) || !e.Time.Equal(when) {
			t.Fatalf("position %d: %+v, given %+v", n, e, l)
		}
		var want, got []uint64
		for token := range strings.FieldsSeq(l.TokaParents) {
			want = append(want, at[token])
		}
		for _, p := range e.Parents {
			got = append(got, p.Position)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("position %d: parents %v, want %v", n, got, want)
		}
		if len(got) > 1 {
			merges++
		}
	}
	if n != len(lines) || j.Stats().Streams != uint64(len(streams)) {
		t.Fatalf("%d events in %d streams, want %d in %d", n, j.Stats().Streams, len(lines), len(streams))
	}
	t.Logf("%d events, %d streams, %d with several parents", n, len(streams), merges)
}

func TestIngestRealFileKilled(t *testing.T) {
	file := realFile(t)
	n := len(readGiven(t, file))
	whole := filepath.Join(t.TempDir(), "whole")
	must(t, node.ExitDone, "ingest", "--data", whole, file)
	want := history(t, whole)
	for _, percent := range []int{0, 30, 70} {
		data := filepath.Join(t.TempDir(), "data")
		killItself(t, 1+n*percent/100, data, file)
		resumed(t, data, file, want)
		data = filepath.Join(t.TempDir(), "data")
		killChild(t, 1+n*percent/100, data, file)
		resumed(t, data, file, want)
	}
}
