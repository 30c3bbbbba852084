package node_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// configFile writes a file of settings, and takes those of the environment
// away.
func configFile(t *testing.T, text string) string {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "TOKA_") {
			t.Setenv(name, "")
		}
	}
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type printed struct{ Name, Value, From string }

// configPrinted is what config print says, by name.
func configPrinted(t *testing.T, args ...string) map[string]printed {
	t.Helper()
	out := map[string]printed{}
	r := must(t, node.ExitDone, append([]string{"config", "print", "-o", "json"}, args...)...)
	for l := range strings.Lines(r.out) {
		var p printed
		if err := json.Unmarshal([]byte(l), &p); err != nil {
			t.Fatal(err)
		}
		out[p.Name] = p
	}
	return out
}

// TestConfig takes settings from the command line over the environment over
// the file, and shows where each is from.
func TestConfig(t *testing.T) {
	path := configFile(t, "listen: 127.0.0.1:1\nkeep-free: 1\nrate: 1\nallow-host: [toka.example, 'a,b']\ntoken: toka_secret_of_file\nstop-within: 5s\n")
	t.Setenv("TOKA_KEEP_FREE", "2")
	t.Setenv("TOKA_RATE", "2")
	t.Setenv("TOKA_CLIENT_KEY", "key.pem")
	got := configPrinted(t, "--config", path, "--rate", "3")
	for name, want := range map[string]printed{
		"listen":      {Value: "127.0.0.1:1", From: path},
		"keep-free":   {Value: "2", From: "TOKA_KEEP_FREE"},
		"rate":        {Value: "3", From: "the command line"},
		"allow-host":  {Value: "toka.example,a,b", From: path},
		"stop-within": {Value: "5s", From: path},
		"client-key":  {Value: "key.pem", From: "TOKA_CLIENT_KEY"},
		"durability":  {Value: "fsync", From: "default"},
		"data":        {Value: "./data", From: "default"},
		"token":       {Value: "(not shown)", From: path},
	} {
		if want.Name = name; got[name] != want {
			t.Errorf("%s is %+v, want %+v", name, got[name], want)
		}
	}
	// By the environment too, and no output shows the secret.
	t.Setenv("TOKA_CONFIG", path)
	t.Setenv("TOKA_TOKEN", "toka_secret_of_variable")
	for _, output := range []string{"table", "json", "names"} {
		r := must(t, node.ExitDone, "config", "print", "-o", output)
		if strings.Contains(r.out+r.err, "secret") {
			t.Errorf("-o %s shows the token: %s", output, r.out)
		}
		if !strings.Contains(r.out, "keep-free") {
			t.Errorf("-o %s: %s", output, r.out)
		}
	}
	if got := configPrinted(t)["token"]; got.From != "TOKA_TOKEN" || got.Value != "(not shown)" {
		t.Errorf("the token is %+v", got)
	}
	t.Setenv("TOKA_LISTNE", "x")
	if r := must(t, node.ExitDone, "config", "print"); !strings.Contains(r.err, "TOKA_LISTNE") {
		t.Errorf("a variable that stands for nothing is not named: %q", r.err)
	}
}

// TestConfigRefuses names what is wrong, and where.
func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"listen: a:1\nlissten: b:1\n":         `line 2: there is no setting "lissten"`,
		"keep_free: 3\n":                      "there is keep-free",
		"config: other.yaml\n":                `there is no setting "config"`,
		"rate: fast\n":                        `rate: strconv.ParseFloat: parsing "fast"`,
		"rate: [1, 2]\n":                      "rate: give one value, not a list",
		"allow-host: {a: b}\n":                "line 1: allow-host: give a value, or a list",
		"listen:\n":                           "listen: give a value",
		"rate: 1\nrate: 2\n":                  "rate stands there twice",
		"- listen\n":                          "write settings as NAME: VALUE",
		"rate: 1\n---\nrate: 2\n":             "more than one document",
		"rate: 'unclosed\n":                   "yaml",
		"a: &x 1\nlisten: *x\n":               `there is no setting "a"`,
		"token: t\nserver: [http://a, b]\n":   "server: give one value",
		"insecure-no-tls-no-token: perhaps\n": `invalid syntax`,
	} {
		path := configFile(t, text)
		for _, command := range []string{"config print", "log"} {
			r := run(t, append(strings.Fields(command), "--config", path)...)
			// What only run has is looked at where it counts.
			if r.code == node.ExitRefused && command == "log" && !strings.Contains(want, "line") {
				continue
			}
			if r.code != node.ExitUsage || !strings.Contains(r.err, want) || !strings.Contains(r.err, path) {
				t.Errorf("%s with %q: code %d, %q; want %q of %s", command, text, r.code, r.err, want, path)
			}
		}
	}
	path := configFile(t, "")
	t.Setenv("TOKA_KEEP_FREE", "-1")
	if r := must(t, node.ExitUsage, "run", "--config", path); !strings.Contains(r.err, "TOKA_KEEP_FREE: keep-free") {
		t.Error(r.err)
	}
	must(t, node.ExitUsage, "log", "--config", path+".missing")
}

// TestConfigServes holds run and what asks it to the settings of one file.
func TestConfigServes(t *testing.T) {
	dir := t.TempDir()
	path := configFile(t, "data: "+dir+"\noutput: json\nrate: 0.001\n")
	n := runNode(t, actors.NewRegistry(greeter), dir, "--config", path)
	for i, want := range []int{http.StatusTooManyRequests, http.StatusTooManyRequests} { // a thousandth at once
		res, err := http.Get(n.url + "/v1/head")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, res.StatusCode, want)
		}
	}
	// Over the socket: data and output are of the file.
	if code, _, errs := commandLine(t, guest, "ingest", "--config", path, "-"); code != node.ExitDone {
		t.Fatal(errs)
	}
	code, out, errs := commandLine(t, "", "log", "--config", path)
	if code != node.ExitDone || jsonLines([]byte(out)) != nil || out == "" {
		t.Errorf("code %d, %q, %s", code, out, errs)
	}
	if code, out, _ = commandLine(t, "", "log", "--config", path, "-o", "names"); code != node.ExitDone || strings.Contains(out, "{") || out == "" {
		t.Errorf("code %d, %q", code, out)
	}
	if r := must(t, node.ExitDone, "config", "print", "--config", path); !strings.Contains(r.out, dir) {
		t.Errorf("config print was asked of the node: %s", r.out)
	}
}
