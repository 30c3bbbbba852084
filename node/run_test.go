package node_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// syncBuffer is a buffer that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	// wrote is closed and replaced when something was written.
	wrote chan struct{}
}

func newSyncBuffer() *syncBuffer { return &syncBuffer{wrote: make(chan struct{})} }

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.wrote)
	s.wrote = make(chan struct{})
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// until waits for text and returns what follows it on its line.
func (s *syncBuffer) until(t testing.TB, text string) string {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		s.mu.Lock()
		_, rest, found := strings.Cut(s.b.String(), text)
		wrote := s.wrote
		s.mu.Unlock()
		if line, _, whole := strings.Cut(rest, "\n"); found && whole {
			return line
		}
		select {
		case <-wrote:
		case <-deadline:
			t.Fatalf("%q was not written; there is: %s", text, s)
		}
	}
}

// nodeRun is a node that runs in this process.
type nodeRun struct {
	dir, url  string
	out, errs *syncBuffer
	stop      func() int
}

func runNode(t testing.TB, r *actors.Registry, dir string, args ...string) *nodeRun {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := &nodeRun{dir: dir, out: newSyncBuffer(), errs: newSyncBuffer()}
	ended := make(chan int, 1)
	args = append([]string{"run", "--data", dir, "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)
	go func() {
		ended <- node.Run(ctx, r, args, node.Streams{In: strings.NewReader(""), Out: n.out, Err: n.errs})
	}()
	n.stop = sync.OnceValue(func() int { cancel(); return <-ended })
	t.Cleanup(func() { n.stop() })
	n.url = n.out.until(t, " at ")
	n.errs.until(t, "the node is ready")
	return n
}

// commandLine runs a command line and returns its exit code and output.
func commandLine(t testing.TB, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = node.Run(t.Context(), actors.NewRegistry(), args, node.Streams{In: strings.NewReader(in), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

var greeter = actors.NewAgent("greeter", 1, "guest.arrived", func(t *actors.Turn, e events.Event) error {
	return t.Emit(events.Draft{Kind: "guest.greeted", Payload: []byte("Hello, " + e.Stream + "!")})
})

const guest = `{"specversion":"1.0","source":"ada","id":"1","type":"guest.arrived"}` + "\n"

// TestRun holds a node with an agent of its own to let it react to what comes
// in over HTTP, to stop cleanly, and to go on where it was.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	n := runNode(t, actors.NewRegistry(greeter), dir)
	res, err := http.Post(n.url+"/v1/events", "application/cloudevents+json", strings.NewReader(guest))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusCreated || err != nil {
		t.Fatalf("%d %s, %v", res.StatusCode, body, err)
	}
	greeted := func(url string) {
		t.Helper()
		res, err := http.Get(url + "/v1/events/stream?after=0&kind=guest.greeted&limit=1")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || !strings.Contains(string(body), `"source":"greeter"`) {
			t.Errorf("%s, %v", body, err)
		}
	}
	greeted(n.url)
	for name, mode := range map[string]os.FileMode{"toka.sock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if code := n.stop(); code != node.ExitDone {
		t.Errorf("code %d: %s", code, n.errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "toka.sock")); err == nil {
		t.Error("the socket is still there")
	}
	n = runNode(t, actors.NewRegistry(greeter), dir)
	greeted(n.url)
	if code, out, errs := commandLine(t, "", "log", "--data", dir, "-o", "json"); code != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

// heldArgs are arguments with which each command works on a store that a node
// holds. One that is not here must be refused there, by name.
var heldArgs = map[string][]string{
	"log": {}, "search": {"--like", "guests"},
	"show":   {"1"},
	"verify": {},
	"replay": {},
	"ingest": {"-"},

	"ancestors": {"1"}, "descendants": {"1"}, "parents": {"1"}, "children": {"1"}, "common": {"1", "1"}, "between": {"1", "1"}, "heads": {},
	"head": {}, "prove": {"1"},
	"stats": {}, "consumers list": {}, "consumers create": {"another"}, "consumers delete": {"gone"}, "consumers show": {"parks"},
	"consumers fetch": {"parks"}, "consumers ack": {"acks", "1"}, "consumers nak": {"naks", "1"}, "consumers park": {"parks", "1"},
	"consumers parked": {"parks"}, "consumers replay": {"parks"}, "consumers drop": {"parks"},

	"prune": {"--stream", "nobody"}, "erase": {"ada"},

	"check": {"--max-parked", "9", "--keep-free", "0"}, "doctor": {},

	"agents": {}, "agent": {"sulker"}, "parked list": {}, "parked show": {"PARKED"}, "parked retry": {"PARKED"},

	"why": {"1"}, "graph": {"1"}, "bundle export": {"1", "--out", "-"}, "bundle import": {"BUNDLE"},

	"intents": {}, "intents as-of": {"1"}, "intents show": {"INTENT"}, "intents explain": {"meant-1"}, "intents map": {}, "intents embed": {},
	"intents model": {}, "intents merge": {"OTHER", "INTENT"}, "intents split": {"INTENT"},

	"config print": {},
	"tail":         {"--after", "0", "--limit", "1"},
	"token create": {"--name", "x", "--scope", "read"}, "token list": {}, "token revoke": {"x"},
}

// sulk has an agent park a message in a journal, and returns its behaviour and
// the id of the entry.
func sulk(t *testing.T, dir string) (actors.Behaviour, string) {
	t.Helper()
	sulker := actors.NewAgent("sulker", 1, "sulk", func(*actors.Turn, events.Event) error { return errors.New("no") })
	err := actors.Run(t.Context(), dir, actors.NewRegistry(sulker), func(sys *actors.System) error {
		_, err := sys.Publish(t.Context(), "moods", events.Draft{Kind: "sulk"}, events.Draft{Kind: "told", Payload: []byte("why"), SubjectKey: "ada"})
		return errors.Join(err, sulker.Spawn(sys, "sulker"), sys.Settle(t.Context()))
	})
	if err != nil {
		t.Fatal(err)
	}
	return sulker, parkedIn(t, dir)
}

// meaning ingests events with vectors in two directions.
func meaning(t *testing.T, dir string) []listedIntent {
	t.Helper()
	var in strings.Builder
	for i := range 6 {
		v := make([]byte, 16)
		binary.LittleEndian.PutUint32(v[4*(i%2):], math.Float32bits(1))
		binary.LittleEndian.PutUint32(v[8:], math.Float32bits(float32(i)/3))
		fmt.Fprintf(&in, `{"specversion":"1.0","id":"meant-%d","source":"m","type":"a.b","tokaembedding":%q}`+"\n", i, base64.StdEncoding.EncodeToString(v))
	}
	if code, _, errs := commandLine(t, in.String(), "ingest", "--data", dir, "-"); code != 0 {
		t.Fatal(errs)
	}
	all := listIntents(t, "intents", "--all", "--data", dir)
	if len(all) < 2 || all[0].Parts < 2 {
		t.Fatalf("%+v", all)
	}
	return all
}

// TestHeldStore runs every command on a store that a node holds.
func TestHeldStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 9)) // longer than a socket's path may be
	if code, _, errs := commandLine(t, guest, "ingest", "--data", dir, "-"); code != 0 {
		t.Fatal(errs)
	}
	exported := filepath.Join(t.TempDir(), "ada.bundle")
	if code, _, errs := commandLine(t, "", "bundle", "export", "--data", dir, "1", "--out", exported); code != 0 {
		t.Fatal(errs)
	}
	for _, name := range []string{"acks", "naks", "parks", "gone"} {
		for _, verb := range []string{"create", "fetch"} {
			if code, _, errs := commandLine(t, "", "consumers", verb, name, "--data", dir); code != 0 {
				t.Fatal(errs)
			}
		}
	}
	intents := meaning(t, dir)
	sulking, parked := sulk(t, dir)
	n := runNode(t, actors.NewRegistry(greeter, sulking), dir)
	var walk func(c *cobra.Command, path []string)
	seen := 0
	walk = func(c *cobra.Command, path []string) {
		for _, sub := range c.Commands() {
			walk(sub, append(slices.Clip(path), sub.Name()))
		}
		// What has no journal has none that could be held.
		if len(path) == 0 || !c.Runnable() || c.HasSubCommands() || c.Flags().Lookup("data") == nil {
			return
		}
		name := strings.Join(path, " ")
		seen++
		args, works := heldArgs[name]
		args = slices.Clone(args)
		if i := slices.Index(args, "BUNDLE"); i >= 0 {
			args[i] = exported
		}
		if i := slices.Index(args, "PARKED"); i >= 0 {
			args[i] = parked
		}
		for n, name := range []string{"INTENT", "OTHER"} {
			if i := slices.Index(args, name); i >= 0 {
				args[i] = intents[n].ID
			}
		}
		code, out, errs := commandLine(t, guest, append(append(path, "--data", dir), args...)...)
		switch {
		case works && code != node.ExitDone:
			t.Errorf("%s: code %d, %s%s", name, code, out, errs)
		case !works && (code != node.ExitRefused || !strings.Contains(errs, "held by a node (process ") || !strings.Contains(errs, dir)):
			t.Errorf("%s: code %d, %s; it should work, with arguments in heldArgs, or be refused by name", name, code, errs)
		}
	}
	walk(node.Root(), nil)
	if seen < 8 {
		t.Errorf("only %d commands were tried", seen)
	}

	// What comes back is what the command says of a store of its own.
	_, held, _ := commandLine(t, "", "log", "--data", dir, "--kind", "guest.*,x", "--kind", "y", "-o", "json")
	if code, _, errs := commandLine(t, `{"specversion":"1.0"}`+"\n", "ingest", "--data", dir, "-"); code != node.ExitFailed || !strings.Contains(errs, "line 1: ") {
		t.Errorf("%d %s", code, errs)
	}
	file := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(file, []byte(strings.Replace(guest, `"1"`, `"2"`, 1)+"not JSON\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := commandLine(t, "", "ingest", "--data", dir, file); code != node.ExitFailed || !strings.HasPrefix(out, "ingested 1, duplicates 0, rejected 1") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	if code, _, errs := commandLine(t, "", "show", "--data", dir, "nobody"); code != node.ExitFailed || !strings.Contains(errs, "nobody") {
		t.Errorf("%d %s", code, errs)
	}
	if n.stop() != node.ExitDone {
		t.Errorf("%s", n.errs)
	}
	if _, own, _ := commandLine(t, "", "log", "--data", dir, "--kind", "guest.*,x", "--kind", "y", "-o", "json"); !strings.HasPrefix(own, held) || held == "" {
		t.Errorf("of a held store %s\nof its own %s", held, own)
	}
}

// TestBeside runs something of a program's own beside its agents, and waits for
// it; when that fails, the node stops.
func TestBeside(t *testing.T) {
	for _, fails := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var seen string
		ended := false
		beside := node.Beside(func(ctx context.Context, j *journal.Journal) error {
			defer func() { ended = true }()
			for e, err := range j.Subscribe(ctx, journal.Query{}) {
				if err != nil {
					return err
				}
				if seen = e.Kind; fails {
					return errors.New("no more")
				}
				cancel()
			}
			return nil
		})
		dir := t.TempDir()
		if code, _, errs := commandLine(t, guest, "ingest", "--data", dir, "-"); code != node.ExitDone {
			t.Fatal(errs)
		}
		errs := newSyncBuffer()
		code := node.Run(ctx, actors.NewRegistry(), []string{"run", "--data", dir, "--listen", "127.0.0.1:0", "--log-format", "json"},
			node.Streams{In: strings.NewReader(""), Out: newSyncBuffer(), Err: errs}, beside)
		if want := map[bool]int{false: node.ExitDone, true: node.ExitFailed}[fails]; code != want || seen != "guest.arrived" || !ended {
			t.Errorf("fails %v: code %d, saw %q, ended %v: %s", fails, code, seen, ended, errs)
		}
		if fails && !strings.Contains(errs.String(), "no more") {
			t.Error(errs)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, node.ExitUsage, "--tls-cert"},
		{[]string{"--listen", ":0"}, node.ExitUsage, "--tls-cert"},
		{[]string{"--listen", "nonsense"}, node.ExitUsage, "ADDRESS:PORT"},
		{[]string{"--tls-cert", "x"}, node.ExitUsage, "--tls-key"},
		{[]string{"--client-ca", "x"}, node.ExitUsage, "--tls-cert"},
		{[]string{"--agent", "x"}, node.ExitUsage, "NAME=BEHAVIOUR/VERSION"},
		{[]string{"--log-level", "loud"}, node.ExitUsage, "debug"},
		{[]string{"--durability", "hope"}, node.ExitUsage, "fsync"},
		{[]string{"--pprof", "0.0.0.0:0"}, node.ExitUsage, "loopback"},
		{[]string{"--listen", "127.0.0.1:0", "--data", "/dev/null"}, node.ExitRefused, "/dev/null"},
	} {
		code, _, errs := commandLine(t, "", append([]string{"run", "--data", dir, "--log-format", "json", "--listen", "127.0.0.1:0"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: code %d, %s", c.args, code, errs)
		}
	}
}
