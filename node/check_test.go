package node_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// noRoom is more than there is on any disk, in MiB.
const noRoom = "1000000000000"

func TestCheck(t *testing.T) {
	data, damaged, sulking := ingested(t), ingested(t), filepath.Join(t.TempDir(), "sulking")
	flip(t, damaged, 250)
	must(t, node.ExitDone, "consumers", "create", "mailer", "--data", data)
	sulk(t, sulking)
	for _, c := range []struct {
		code, nagios int
		args         string
		line         string // begins with it
		also         string
	}{
		{node.ExitDone, 0, "--data " + data, "OK: position 1-300; ", "1 consumers, the furthest (mailer) 300 events behind"},
		{node.ExitDone, 0, "--data " + data + " --max-lag 300 --tail 5", "OK: ", "the newest 5 events are sound"},
		{node.ExitFailed, 1, "--data " + data + " --max-lag 299", "WARNING: 1 consumers, the furthest (mailer) 300 events behind", ""},
		{node.ExitFull, 2, "--data " + data + " --max-lag 299 --keep-free " + noRoom, "CRITICAL: ", " are kept; 1 consumers, "},
		{node.ExitDamage, 2, "--data " + damaged, "CRITICAL: position 250: ", "recomputed"},
		{node.ExitDone, 0, "--data " + damaged + " --tail 20", "OK: ", ""},
		{node.ExitFailed, 1, "--data " + sulking, "WARNING: 1 messages of agents and 0 events of consumers are parked", ""},
		{node.ExitDone, 0, "--data " + sulking + " --max-parked 1", "OK: ", ""},
		{node.ExitRefused, 2, "--data " + data + "/missing", "CRITICAL: ", "no journal"},
	} {
		args := append([]string{"check"}, strings.Fields(c.args)...)
		if !strings.Contains(c.args, "--keep-free") {
			args = append(args, "--keep-free", "0")
		}
		r := run(t, args...)
		if r.code != c.code || !strings.HasPrefix(r.out, c.line) || !strings.Contains(r.out, c.also) || strings.Count(r.out, "\n") != 1 {
			t.Errorf("%v: code %d, want %d: %s%s", args, r.code, c.code, r.out, r.err)
		}
		if r := run(t, append(args, "--nagios")...); r.code != c.nagios {
			t.Errorf("%v --nagios: code %d, want %d", args, r.code, c.nagios)
		}
		var out struct {
			State    string
			Code     int
			Findings []struct{ Name, State, Detail string }
		}
		r = run(t, append(args, "-o", "json")...)
		if err := json.Unmarshal([]byte(r.out), &out); err != nil || out.Code != c.code || r.code != c.code || len(out.Findings) == 0 || !strings.HasPrefix(strings.ToUpper(out.State), strings.SplitN(c.line, ":", 2)[0]) {
			t.Errorf("%v -o json: %d %s %v", args, r.code, r.out, err)
		}
	}
}

// A node is asked about the journal that it holds, and about its agents.
func TestCheckHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	sulking, _ := sulk(t, dir)
	n := runNode(t, actors.NewRegistry(sulking), dir)
	if code, out, errs := commandLine(t, "", "check", "--data", dir, "--keep-free", "0", "--max-parked", "9"); code != node.ExitDone || !strings.Contains(out, "1 agents live") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, out, errs := commandLine(t, "", "check", "--data", dir, "--keep-free", "0"); code != node.ExitFailed || !strings.HasPrefix(out, "WARNING: 1 messages") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, out, errs := commandLine(t, "", "check", "--server", n.url, "--keep-free", noRoom); code != node.ExitFull || !strings.Contains(out, " are kept") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// A clock behind the newest event is told of.
func TestCheckClock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	j, err := journal.Open(dir, journal.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: "k"}}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "check", "--data", dir, "--keep-free", "0"); r.code != node.ExitFailed || !strings.HasPrefix(r.out, "WARNING: the clock is ") {
		t.Errorf("%d %s", r.code, r.out)
	}
}

func TestDoctor(t *testing.T) {
	private := func(dir string) string {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			mode := fs.FileMode(0o600)
			if d.IsDir() {
				mode = 0o700
			}
			return os.Chmod(path, mode)
		})
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	type found struct{ Name, State, Detail, Remedy string }
	doctor := func(code int, dir string) map[string]found {
		t.Helper()
		r := must(t, code, "doctor", "--data", dir, "-o", "json")
		out := map[string]found{}
		for _, f := range decoded[found](t, r.out) {
			if f.State != "ok" && f.Remedy == "" && f.Name != "journal" {
				t.Errorf("%+v: no remedy", f)
			}
			out[f.Name] = f
		}
		return out
	}
	expect := func(f found, state, detail string) {
		t.Helper()
		if f.State != state || !strings.Contains(f.Detail, detail) {
			t.Errorf("%+v, want %s: %s", f, state, detail)
		}
	}
	dir := private(ingested(t))
	all := doctor(node.ExitDone, dir)
	expect(all["format"], "ok", "format 1")
	expect(all["node"], "ok", "no node serves it")
	expect(all["mark"], "ok", "position 300 of epoch 1, the journal is closed")
	if runtime.GOOS != "windows" {
		expect(all["permissions"], "ok", "only the owner")
	}
	expect(all["tokens"], "ok", "no tokens")
	expect(all["journal"], "ok", "position 1-300")
	expect(all["events"], "ok", "100 events are sound")
	if text := must(t, node.ExitDone, "doctor", "--data", private(dir)).out; strings.Count(text, " ok ") != len(all) {
		t.Errorf("%d findings: %s", len(all), text)
	}

	// What others can read, tokens that have expired, and no mark.
	if err := os.Chmod(filepath.Join(dir, "TOKA"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + ".mark"); err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if _, _, err = tokens.Create(auth.Token{Name: "old", Scopes: []auth.Scope{auth.Read}, Expires: &past}, past); err != nil {
		t.Fatal(err)
	}
	all = doctor(node.ExitDone, dir)
	if runtime.GOOS != "windows" {
		expect(all["permissions"], "warning", filepath.Join(dir, "TOKA"))
	}
	expect(all["mark"], "warning", "no outside mark")
	expect(all["tokens"], "warning", "1 tokens, 1 of them expired")

	// Who holds it.
	j, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(doctor(node.ExitRefused, dir)["journal"], "critical", "journal is held by process ")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	n := runNode(t, actors.NewRegistry(), dir)
	all = doctor(node.ExitDone, dir)
	expect(all["node"], "ok", "serves it and is ready")
	expect(all["agents"], "ok", "0 agents live")
	if n.stop() != node.ExitDone {
		t.Error(n.errs)
	}

	// Damage, another format, no journal.
	flip(t, dir, 230)
	expect(doctor(node.ExitDamage, dir)["events"], "critical", "position 230: ")
	if err := os.WriteFile(filepath.Join(dir, "TOKA"), []byte("toka journal format 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(doctor(node.ExitRefused, dir)["format"], "critical", "format 99, this program reads up to")
	expect(doctor(node.ExitRefused, t.TempDir())["format"], "critical", "no journal")
	expect(doctor(node.ExitRefused, filepath.Join(dir, "none"))["directory"], "critical", "none")
}

// TestHeldFull holds what comes by the socket to the watermark of the node.
func TestHeldFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	must(t, node.ExitDone, "ingest", "--data", dir, sample)
	runNode(t, actors.NewRegistry(), dir, "--keep-free", noRoom)
	if code, _, errs := commandLine(t, guest, "ingest", "--data", dir, "-"); code != node.ExitFull || !strings.Contains(errs, "the disk is nearly full") {
		t.Errorf("ingest: code %d, %s", code, errs)
	}
	if code, out, errs := commandLine(t, "", "log", "--data", dir, "-o", "json"); code != node.ExitDone || strings.Count(out, "\n") != 300 {
		t.Errorf("log: code %d, %s", code, errs)
	}
}
