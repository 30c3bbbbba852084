package node_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// childEnv makes the test binary a node that runs its arguments. A number
// kills it after the commit that brings so many events, before anybody hears
// of them; "tell" makes it print how many events are committed instead; "serve"
// leaves it alone.
const childEnv = "TOKA_NODE_TEST_CHILD"

func child() int {
	mode := os.Getenv(childEnv)
	if mode == "serve" {
		return node.Run(context.Background(), actors.NewRegistry(), os.Args[1:], node.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	}
	limit, err := strconv.Atoi(mode)
	if err != nil && mode != "tell" {
		panic(childEnv + "=" + mode)
	}
	n := 0
	change := func(o *journal.Options) {
		o.OnCommit = func(c journal.Commit) {
			n += c.Events
			if mode == "tell" {
				fmt.Println("committed", n)
				return
			}
			if n >= limit {
				self, err := os.FindProcess(os.Getpid())
				if err == nil {
					err = self.Kill()
				}
				if err != nil {
					panic(err)
				}
				select {} // until the signal is here
			}
		}
	}
	return node.RunWith(context.Background(), actors.NewRegistry(), os.Args[1:],
		node.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, change)
}

// killItself runs a child that ingests until limit events are committed.
func killItself(t *testing.T, limit int, data, input string) {
	t.Helper()
	c := childCommand(t, strconv.Itoa(limit), data, input)
	out, err := c.CombinedOutput()
	// Who was killed before is told what was found, and nothing else.
	if line, rest, ok := strings.Cut(string(out), "\n"); ok && strings.Contains(line, "lie beyond the outside mark") {
		out = []byte(rest)
	}
	if c.ProcessState == nil || c.ProcessState.Exited() {
		t.Fatalf("the child was not killed: %v\n%s", err, out)
	}
	if len(out) > 0 {
		t.Fatalf("killed, and yet it says\n%s", out)
	}
}

// killChild runs a child that ingests and kills it once it has committed limit
// events, wherever it is then.
func killChild(t *testing.T, limit int, data, input string) {
	t.Helper()
	c := childCommand(t, "tell", data, input)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n := 0
		if _, err := fmt.Sscanf(lines.Text(), "committed %d", &n); err == nil && n >= limit {
			break
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ingested") {
			t.Log("the child was quicker than the kill")
		}
	}
	_ = c.Wait()
}

func childCommand(t *testing.T, mode, data, input string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self, "ingest", "--data", data, input)
	c.Env = append(os.Environ(), childEnv+"="+mode, noRaceSleep)
	return c
}

func TestIngestKilled(t *testing.T) {
	n := 20_000
	if testing.Short() || raceEnabled {
		n = 1_000
	}
	dir := t.TempDir()
	input := filepath.Join(dir, "input.jsonl")
	if err := os.WriteFile(input, generated(n), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(dir, "whole")
	must(t, node.ExitDone, "ingest", "--data", whole, input)
	want := history(t, whole)
	if len(want) != n {
		t.Fatalf("%d events of %d", len(want), n)
	}
	for _, c := range []struct {
		name string
		kill func(t *testing.T, limit int, data, input string)
	}{{"itself", killItself}, {"from outside", killChild}} {
		for _, percent := range []int{0, 20, 50, 90} {
			t.Run(fmt.Sprintf("%s at %d percent", c.name, percent), func(t *testing.T) {
				data := filepath.Join(t.TempDir(), "data")
				c.kill(t, 1+n*percent/100, data, input)
				resumed(t, data, input, want)
			})
		}
	}
	t.Run("twice", func(t *testing.T) {
		data := filepath.Join(t.TempDir(), "data")
		killItself(t, n/5, data, input)
		killItself(t, n/5, data, input)
		resumed(t, data, input, want)
	})
}

// resumed ingests what is there in part already and holds the result against
// the history of an undisturbed run.
func resumed(t *testing.T, data, input string, want []string) {
	t.Helper()
	var ingested, duplicates, rejected int
	r := must(t, node.ExitDone, "ingest", "--data", data, input)
	if _, err := fmt.Sscanf(r.out, "ingested %d, duplicates %d, rejected %d\n", &ingested, &duplicates, &rejected); err != nil {
		t.Fatalf("%q: %v", r.out, err)
	}
	t.Logf("%d of %d were there", duplicates, len(want))
	if ingested+duplicates != len(want) || rejected != 0 || duplicates == 0 {
		t.Fatal(r.out)
	}
	got := history(t, data)
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("position %d: %s, want %s", i+1, got[i], want[i])
		}
	}
	if text := must(t, node.ExitDone, "verify", "--data", data).out; !strings.HasPrefix(text, fmt.Sprintf("ok: %d events", len(want))) {
		t.Fatal(text)
	}
}

// history lists the causal digests of a journal's events in its order.
func history(t *testing.T, data string) (digests []string) {
	t.Helper()
	j, err := journal.Open(data, journal.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, e.Digest.String())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return digests
}

// generated is a file of n events of many sources, each with up to three
// parents out of the last hundred, written in all the ways there are.
func generated(n int) []byte {
	rng := newRand(7)
	var b strings.Builder
	b.Grow(200 * n)
	for i := range n {
		fmt.Fprintf(&b, `{"specversion":"1.0","id":"%d","source":"agent/%d","type":"step.done","data":{"i":%d}`, i, sourceOf(i), rng.IntN(n))
		if parents := rng.IntN(4); parents > 0 && i > 0 {
			var tokens []string
			for range parents {
				tokens = append(tokens, token(i-1-rng.IntN(min(i, 100)), rng.IntN(3) == 0))
			}
			fmt.Fprintf(&b, `,"tokaparents":%q`, strings.Join(tokens, " "))
		}
		b.WriteString("}\n")
	}
	return []byte(b.String())
}
