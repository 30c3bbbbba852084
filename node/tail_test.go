package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// cutter passes connections on to an address and cuts each off after so many
// bytes.
type cutter struct {
	net.Listener
	to    string
	bytes int64
	cuts  atomic.Int64
}

func newCutter(t *testing.T, url string, bytes int64) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: ln, to: strings.TrimPrefix(url, "http://"), bytes: bytes}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.pass(conn)
		}
	}()
	return c
}

func (c *cutter) pass(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = io.Copy(to, from) }()
	if n, _ := io.CopyN(from, to, c.bytes); n == c.bytes {
		c.cuts.Add(1)
	}
}

// send appends events 1 to n over HTTP, in batches.
func send(t *testing.T, url string, n int) {
	t.Helper()
	for i := 0; i < n; {
		var b strings.Builder
		for end := min(n, i+100); i < end; i++ {
			fmt.Fprintf(&b, `,{"specversion":"1.0","source":"s","id":"%d","type":"a.b"}`, i+1)
		}
		res, err := http.Post(url+"/v1/events", "application/cloudevents-batch+json", strings.NewReader("["+b.String()[1:]+"]"))
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Errorf("status %d", res.StatusCode)
			return
		}
	}
}

// TestTail follows a node over connections that are cut all the time, and
// holds what is shown to be every event once, in order. TOKA_EVENTS sets how
// many there are.
func TestTail(t *testing.T) {
	n := 5_000
	if v, err := strconv.Atoi(os.Getenv("TOKA_EVENTS")); err == nil {
		n = v
	}
	run := runNode(t, nil, t.TempDir(), "--durability", "memory")
	// Somewhere in the middle of an event, about a hundred times.
	cut := newCutter(t, run.url, int64(n)*6+12_345/10)
	go send(t, run.url, n)
	code, out, errs := commandLine(t, "", "tail", "--server", "http://"+cut.Addr().String(), "--after", "0", "--limit", strconv.Itoa(n), "-o", "json")
	if code != node.ExitDone {
		t.Fatalf("code %d: %.2000s", code, errs)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	wrong := 0
	for i, line := range lines {
		var e struct {
			Position int `json:"position"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Position != i+1 {
			wrong++
		}
	}
	t.Logf("%d events over %d cut connections", len(lines), cut.cuts.Load())
	if len(lines) != n || wrong > 0 {
		t.Errorf("%d of %d events, %d out of place", len(lines), n, wrong)
	}
	if cut.cuts.Load() < 50 || strings.Count(errs, "the connection was lost") < 50 {
		t.Errorf("only %d connections were cut", cut.cuts.Load())
	}
}

func TestTailTable(t *testing.T) {
	run := runNode(t, nil, t.TempDir())
	send(t, run.url, 2)
	code, out, errs := commandLine(t, "", "tail", "--data", run.dir, "--after", "0", "--limit", "2")
	rows := strings.Split(out, "\n")
	if code != 0 || errs != "" || len(rows) != 4 || !strings.HasPrefix(rows[0], "CURSOR") || !strings.HasPrefix(rows[2], "1-2 ") {
		t.Errorf("%d %q %s", code, out, errs)
	}
	if _, same, _ := commandLine(t, "", "subscribe", "--data", run.dir, "--after", "0", "--limit", "2"); same != out {
		t.Errorf("subscribe shows\n%stail shows\n%s", same, out)
	}
	_, listed, _ := commandLine(t, "", "log", "--data", run.dir)
	if listed != out {
		t.Errorf("log shows\n%stail shows\n%s", listed, out)
	}
	if code, _, errs := commandLine(t, "", "tail", "--data", run.dir, "--kind", ".."); code != node.ExitRefused || !strings.Contains(errs, "pattern") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := commandLine(t, "", "tail", "--data", t.TempDir()); code != node.ExitRefused || !strings.Contains(errs, "toka-node run") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestTokens makes tokens for a node that runs, and asks it with them.
func TestTokens(t *testing.T) {
	run := runNode(t, nil, t.TempDir())
	send(t, run.url, 3)
	ask := func(token string, args ...string) (int, string, string) {
		t.Helper()
		t.Setenv("TOKA_TOKEN", token)
		t.Setenv("TOKA_SERVER", run.url)
		defer func() { t.Setenv("TOKA_SERVER", ""); t.Setenv("TOKA_TOKEN", "") }()
		return commandLine(t, "", args...)
	}
	create := func(args ...string) string {
		t.Helper()
		code, out, errs := commandLine(t, "", append([]string{"token", "create", "--data", run.dir}, args...)...)
		if code != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	if code, out, errs := ask("", "log"); code != 0 || strings.Count(out, "\n") != 4 {
		t.Errorf("without any token: %d %s%s", code, out, errs)
	}
	reader := create("--name", "reader", "--scope", "read")
	some := create("--name", "some", "--scope", "read", "--kind", "x.*")
	writer := create("--name", "writer", "--scope", "append", "--expires", "0")
	if _, out, _ := ask(reader, "log"); strings.Count(out, "\n") != 4 {
		t.Errorf("a reader sees %s", out)
	}
	for name, c := range map[string]struct {
		token string
		args  []string
	}{
		"no token": {"", []string{"log"}}, "wrong scope": {writer, []string{"log"}}, "not everything": {some, []string{"log"}},
		"reader ingests": {reader, []string{"ingest", "-"}}, "reader verifies": {reader, []string{"verify"}}, "reader makes tokens": {reader, []string{"token", "create", "--name", "x", "--scope", "admin"}},
	} {
		if code, out, errs := ask(c.token, c.args...); code != node.ExitRefused || out != "" || !strings.Contains(errs, "the node refuses: ") {
			t.Errorf("%s: %d %s%s", name, code, out, errs)
		}
	}
	if code, _, errs := ask(reader, "run"); code != node.ExitUsage || !strings.Contains(errs, "does not run over the network") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := commandLine(t, "", "token", "revoke", "--data", run.dir, "reader"); code != 0 {
		t.Error(errs)
	}
	if code, _, _ := ask(reader, "log"); code != node.ExitRefused {
		t.Errorf("a revoked token: code %d", code)
	}
	if run.stop() != 0 {
		t.Error(run.errs)
	}
	_, out, _ := commandLine(t, "", "token", "list", "--data", run.dir, "-o", "json")
	if strings.Count(out, "\n") != 2 || strings.Contains(out, "sha256") || !strings.Contains(out, `"name":"some"`) {
		t.Errorf("%s", out)
	}
	for _, args := range [][]string{{"--scope", "read"}, {"--name", "a"}, {"--name", "a", "--scope", "x"}, {"--name", "a", "--scope", "admin", "--kind", "a"}, {"--name", "a", "--scope", "read", "--expires", "-1s"}} {
		if code, _, _ := commandLine(t, "", append([]string{"token", "create", "--data", run.dir}, args...)...); code != node.ExitUsage {
			t.Errorf("%v: code %d", args, code)
		}
	}
}

// TestRunAgain holds that a second node says who holds the journal.
func TestRunAgain(t *testing.T) {
	run := runNode(t, nil, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs strings.Builder
	code := node.Run(ctx, actors.NewRegistry(), []string{"run", "--data", run.dir, "--listen", "127.0.0.1:0"}, node.Streams{In: strings.NewReader(""), Out: io.Discard, Err: &errs})
	if code != node.ExitRefused || !strings.Contains(errs.String(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("code %d, %s", code, errs.String())
	}
}
