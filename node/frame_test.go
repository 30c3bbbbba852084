package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// commands walks the tree, without what cobra adds by itself.
func commands(c *cobra.Command, visit func(c *cobra.Command)) {
	if name := c.Name(); name == "help" || name == "completion" {
		return
	}
	visit(c)
	for _, sub := range c.Commands() {
		commands(sub, visit)
	}
}

func TestHelp(t *testing.T) {
	commands(node.Root(), func(c *cobra.Command) {
		path := c.CommandPath()
		examples := 0
		for l := range strings.Lines(c.Example) {
			l = strings.TrimSpace(l)
			switch _, piped, _ := strings.Cut(l, "| "); {
			case strings.HasPrefix(l, "toka-node "), strings.HasPrefix(piped, "toka-node "):
				examples++
			default:
				t.Errorf("%s: example %q is no invocation", path, l)
			}
			if c.HasParent() && !strings.Contains(l, path) {
				t.Errorf("%s: example %q is of another command", path, l)
			}
		}
		if examples < 2 {
			t.Errorf("%s: %d examples, want two", path, examples)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.ToUpper(c.Short[:1]) != c.Short[:1] {
			t.Errorf("%s: short help %q: a phrase with a capital and no stop is wanted", path, c.Short)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: flag --%s has no text", path, f.Name)
			}
		})
	})
}

// Every flag of an example is one that its command has.
func TestExamplesParse(t *testing.T) {
	commands(node.Root(), func(c *cobra.Command) {
		for l := range strings.Lines(c.Example) {
			_, line, _ := strings.Cut(l, "toka-node ")
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " > ")
			named, rest, err := node.Root().Find(strings.Fields(strings.ReplaceAll(line, "'", "")))
			if err == nil {
				err = named.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), strings.TrimSpace(l), err)
			}
		}
	})
}

// ingested returns a journal that holds the sample.
func ingested(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	must(t, node.ExitDone, "ingest", "--data", data, sample)
	return data
}

func TestExitCodes(t *testing.T) {
	data, damaged := ingested(t), ingested(t)
	flip(t, damaged, 7)
	missing := filepath.Join(t.TempDir(), "missing")
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const first, seventh = "734d28b515026ca9f429eba0a7d09954bceb6387", "2bbdaa579047ee0b200ab53dcf7110a83bb5f6ce"
	for _, c := range []struct {
		code int
		args string
	}{
		{node.ExitDone, ""},
		{node.ExitDone, "version"},
		{node.ExitDone, "log --data " + data},
		{node.ExitDone, "show --data " + data + " " + first},
		{node.ExitDone, "verify --data " + data},
		{node.ExitDone, "ingest --data " + data + " " + sample},

		{node.ExitFailed, "show --data " + data + " nobody"},
		{node.ExitFailed, "ingest --data " + data + " " + filepath.Join(foreign, "none")},
		{node.ExitFailed, "ingest --data " + data + " main_test.go"},

		{node.ExitUsage, "what"},
		{node.ExitUsage, "log --data " + data + " --after 301"},
		{node.ExitUsage, "show --data " + data},
		{node.ExitUsage, "verify --output html --data " + data},
		{node.ExitUsage, "ingest --durability memory --data " + data + " " + sample},

		{node.ExitDamage, "verify --data " + damaged},
		{node.ExitDamage, "log --data " + damaged},
		{node.ExitDamage, "show --data " + damaged + " " + seventh},

		{node.ExitRefused, "log --data " + missing},
		{node.ExitRefused, "show --data " + foreign + " x"},
		{node.ExitRefused, "verify --data " + foreign},
		{node.ExitRefused, "ingest --data " + foreign + " " + sample},
	} {
		r := run(t, strings.Fields(c.args)...)
		if r.code != c.code {
			t.Errorf("toka-node %s: code %d, want %d\n%.300s%s", c.args, r.code, c.code, r.out, r.err)
		}
		// What went wrong is said on standard error, but for what a report or
		// single lines have said already.
		if said := r.err != ""; said != (c.code != node.ExitDone) && !strings.HasPrefix(c.args, "verify") {
			t.Errorf("toka-node %s: code %d and %q on standard error", c.args, r.code, r.err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused journal was created")
	}
}

// flip changes a byte in the middle of a stored record and brings the change
// to the store's own files, so that no checksum of the store's tells.
func flip(t *testing.T, data string, position uint64) {
	t.Helper()
	db, err := pebble.Open(filepath.Join(data, "log"), &pebble.Options{FormatMajorVersion: pebble.FormatValueSeparation, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte{'e', 0, 0, 0, 0, 0, 0, 0, byte(position)}
	v, closer, err := db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(v)
	_ = closer.Close()
	changed[len(changed)/2] ^= 0x20
	if err := errors.Join(db.Set(key, changed, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)             {}
func (quiet) Errorf(string, ...any)            {}
func (f quiet) Fatalf(format string, _ ...any) { panic(format) }

// A changed byte is found, at its position, and all is well when it is back.
func TestVerifyFindsDamage(t *testing.T) {
	data := ingested(t)
	for _, position := range []uint64{1, 150, 255} {
		flip(t, data, position)
		r := must(t, node.ExitDamage, "verify", "--data", data, "-o", "json")
		var report journal.Report
		if err := json.Unmarshal([]byte(r.out), &report); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, p := range report.Problems {
			found = found || p.Position == position
		}
		if report.OK || !found {
			t.Fatalf("position %d: %s", position, r.out)
		}
		if text := must(t, node.ExitDamage, "verify", "--data", data); !strings.HasPrefix(text.out, "DAMAGED: ") {
			t.Fatal(text.out)
		}
		flip(t, data, position) // back
		must(t, node.ExitDone, "verify", "--data", data)
	}
}

// withSubject is the directory of a journal with an event under a subject key.
func withSubject(t *testing.T, subject string) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	j, err := journal.Open(data, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := events.Draft{Stream: "s", Kind: "a.b", Payload: []byte("about " + subject), SubjectKey: subject}
	_, err = j.Append(t.Context(), journal.Write{Events: []events.Draft{d}})
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestErase(t *testing.T) {
	data := withSubject(t, "somebody")
	if r := must(t, node.ExitDone, "log", "--data", data, "-o", "json"); !strings.Contains(r.out, `"subject_key":"somebody"`) || strings.Contains(r.out, "payload_state") {
		t.Error(r.out)
	}
	must(t, node.ExitDone, "erase", "--data", data, "somebody")
	if r := must(t, node.ExitDone, "log", "--data", data, "--limit", "1", "-o", "json"); !strings.Contains(r.out, `"payload_state":"erased"`) {
		t.Error(r.out)
	}
	must(t, node.ExitDone, "verify", "--data", data)
}

// unnamed print several objects that are no list of things with names.
var unnamed = map[string]bool{
	"toka-node bench intent": true, "toka-node demo": true, "toka-node doctor": true, // what was found
	"toka-node ingest":      true,                        // why lines are rejected
	"toka-node intents map": true, "toka-node why": true, // a picture, and a tree
}

func TestJSONOutput(t *testing.T) {
	data := ingested(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if r := runOn(t, nil, strings.NewReader(""), "ingest", "--data", empty, "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	carried := filepath.Join(t.TempDir(), "carried.bundle")
	work := ingested(t)
	must(t, node.ExitDone, "consumers", "create", "one", "--data", work)
	must(t, node.ExitDone, "consumers", "fetch", "one", "--limit", "3", "--data", work)
	backedUp := filepath.Join(t.TempDir(), "backup")
	must(t, node.ExitDone, "backup", "--data", data, backedUp)
	shop := filepath.Join(t.TempDir(), "shop")
	must(t, node.ExitDone, "demo", "--data", shop, "--events", "60", "-o", "json")
	parked := parkedIn(t, shop)
	meant, intents := embedded(t)
	embedded := filepath.Join(t.TempDir(), "embedded")
	must(t, node.ExitDone, "ingest", "--embed", "static", "--data", embedded, sample)
	invocations := map[string][]string{
		"toka-node config print": {"config print"},

		"toka-node intents":         {"intents --data " + meant},
		"toka-node intents embed":   {"intents embed --data " + ingested(t)},
		"toka-node intents as-of":   {"intents as-of 100 --data " + meant},
		"toka-node intents explain": {"intents explain --data " + meant + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node intents map":     {"intents map --data " + meant},
		"toka-node intents merge":   {"intents merge --data " + meant + " " + intents[1].ID + " " + intents[0].ID},
		"toka-node intents model":   {"intents model --data " + meant},
		"toka-node intents show":    {"intents show --data " + meant + " " + intents[0].ID},
		"toka-node intents split":   {"intents split --data " + meant + " " + intents[0].ID},

		"toka-node agents":       {"agents --data " + shop},
		"toka-node agent":        {"agent stock --data " + shop},
		"toka-node parked list":  {"parked list --data " + shop},
		"toka-node parked show":  {"parked show --data " + shop + " " + parked},
		"toka-node parked retry": {"parked retry --data " + shop + " " + parked},
		// In the order of their names.
		"toka-node token create": {"token create --name guest --scope read --data " + work},
		"toka-node token list":   {"token list --data " + work},
		"toka-node token revoke": {"token revoke guest --data " + work},

		"toka-node bench http":    {"bench http --durability memory --connections 2 --batch 5 --readers 0 --duration 50ms"},
		"toka-node bench tell":    {"bench tell --duration 50ms"},
		"toka-node bench ask":     {"bench ask --duration 50ms"},
		"toka-node bench spawn":   {"bench spawn --duration 50ms"},
		"toka-node bench command": {"bench command --durability memory --callers 4 --duration 50ms"},

		"toka-node version": {"version"},
		"toka-node log":     {"log --data " + data, "log --limit 3 --data " + data},
		"toka-node search":  {"search --like refund --data " + embedded},
		"toka-node show":    {"show --data " + data + " 734d28b515026ca9f429eba0a7d09954bceb6387"},
		"toka-node verify":  {"verify --data " + data, "verify --data " + empty},
		"toka-node ingest":  {"ingest --data " + data + " " + sample, "ingest --data " + data + " main_test.go"},
		"toka-node replay":  {"replay --data " + data},
		"toka-node demo":    {"demo --events 10"},

		"toka-node ancestors":     {"ancestors --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node descendants":   {"descendants --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node parents":       {"parents --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node children":      {"children --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node common":        {"common --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291 11ec53f1b5a466407231fdbc67c0cb177062ac00"},
		"toka-node between":       {"between --data " + data + " 11ec53f1b5a466407231fdbc67c0cb177062ac00 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node heads":         {"heads --data " + data},
		"toka-node why":           {"why --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},
		"toka-node bundle export": {"bundle export --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291 --out " + carried},
		"toka-node bundle import": {"bundle import --data " + carried + ".data " + carried},
		"toka-node bundle verify": {"bundle verify " + carried},
		"toka-node graph":         {"graph --data " + data + " 35706efabd6b055fbd8c2fcf71a504fd1e395291"},

		"toka-node head":          {"head --data " + data, "head --data " + empty},
		"toka-node prove":         {"prove --data " + data + " 734d28b515026ca9f429eba0a7d09954bceb6387", "prove --data " + data + " --from 3"},
		"toka-node backup":        {"backup --data " + data + " " + filepath.Join(t.TempDir(), "backup")},
		"toka-node backup verify": {"backup verify " + backedUp},
		"toka-node restore":       {"restore --accept-loss --data " + data},
		"toka-node prune":         {"prune --kind none.such --data " + data},
		"toka-node erase":         {"erase somebody --data " + withSubject(t, "somebody")},

		"toka-node bench append": {"bench append --durability memory --duration 100ms"},
		"toka-node bench bus":    {"bench bus --duration 50ms"},
		"toka-node bench replay": {"bench replay --journal " + data},
		"toka-node check":        {"check --data " + data, "check --data " + empty + "/missing"},
		"toka-node doctor":       {"doctor --data " + data, "doctor --data " + empty + "/missing"},
		"toka-node stats":        {"stats --data " + data, "stats --payloads --data " + empty},

		// In the order of their names, each with a delivery of its own.
		"toka-node consumers ack":    {"consumers ack one 1 --data " + work},
		"toka-node consumers create": {"consumers create one --data " + work, "consumers create two --kind a.> --data " + work},
		"toka-node consumers delete": {"consumers delete two --data " + work},
		"toka-node consumers drop":   {"consumers drop one --data " + work},
		"toka-node consumers fetch":  {"consumers fetch one --limit 5 --data " + work},
		"toka-node consumers list":   {"consumers list --data " + work},
		"toka-node consumers nak":    {"consumers nak one 2 --data " + work},
		"toka-node consumers park":   {"consumers park one 3 --data " + work},
		"toka-node consumers parked": {"consumers parked one --data " + work},
		"toka-node consumers replay": {"consumers replay one --data " + work},
		"toka-node consumers show":   {"consumers show one --data " + work},
		"toka-node bench intent":     {"bench intent --no-speed --orders 1 --data " + smallSets(t)},
	}
	commands(node.Root(), func(c *cobra.Command) {
		if c.Flags().Lookup("output") == nil || c.CommandPath() == "toka-node run" || c.CommandPath() == "toka-node tail" { // which end when they are told to; see TestTail
			return
		}
		if invocations[c.CommandPath()] == nil {
			t.Errorf("%s has --output and no invocation here", c.CommandPath())
		}
		for _, line := range invocations[c.CommandPath()] {
			r := run(t, append(strings.Fields(line), "-o", "json")...)
			if err := jsonLines([]byte(r.out)); err != nil {
				t.Errorf("%s -o json: %v\n%s", line, err, r.err)
			}
			// A list can be printed by its names, in a pipe to what takes them.
			if n := strings.Count(r.out, "\n"); n > 1 && !unnamed[c.CommandPath()] {
				named := run(t, append(strings.Fields(line), "-o", "names")...)
				if named.code != r.code || strings.Count(named.out, "\n") != n && c.CommandPath() != "toka-node consumers fetch" {
					t.Errorf("%s -o names: code %d, %d names of %d\n%s", line, named.code, strings.Count(named.out, "\n"), n, named.err)
				}
			}
		}
	})
	r := must(t, node.ExitDone, "log", "--data", data, "-o", "json")
	if n := strings.Count(r.out, "\n"); n != 300 {
		t.Errorf("log printed %d lines for 300 events", n)
	}
	if r := must(t, node.ExitDone, "log", "--data", empty, "-o", "json"); r.out != "" {
		t.Errorf("an empty list is printed as %q", r.out)
	}
	// Reasons are objects too.
	r = must(t, node.ExitFailed, "ingest", "--data", data, "main_test.go", "-o", "json")
	if err := jsonLines([]byte(r.err)); err != nil {
		t.Error(err)
	}
}

// failing is an output that nobody takes.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReadersCreateNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := snapshot(dir)
	for _, name := range []string{"empty", "none", "none/below"} {
		for _, line := range []string{"log", "show x", "verify", "replay"} {
			if c, _, err := node.Root().Find(strings.Fields(line)); err != nil || !c.HasParent() {
				continue
			}
			must(t, node.ExitRefused, append(strings.Fields(line), "--data", filepath.Join(dir, name))...)
			if snapshot(dir) != before {
				t.Fatalf("%s has created something for %s", line, name)
			}
		}
	}
	// On a journal that is there, the events stay as they are.
	data := ingested(t)
	want := history(t, data)
	for range 3 {
		must(t, node.ExitDone, "log", "--data", data)
		must(t, node.ExitDone, "verify", "--data", data)
	}
	if got := history(t, data); len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
		t.Fatal("reading has changed the history")
	}
}

// An output that cannot be written is an error, not silence.
func TestOutputFails(t *testing.T) {
	data := ingested(t)
	for _, line := range []string{"log -o json", "log", "heads", "heads -o ids", "verify -o json", "ingest " + sample} {
		var errs bytes.Buffer
		code := node.RunWith(t.Context(), actors.NewRegistry(), append(strings.Fields(line), "--data", data), node.Streams{Out: failing{}, Err: &errs}, nil)
		if code != node.ExitFailed || !strings.Contains(errs.String(), io.ErrClosedPipe.Error()) {
			t.Errorf("%s: code %d, %q", line, code, errs.String())
		}
	}
}

// A disk that fails before the journal is open is a refusal.
func TestStorageFailureWhileOpening(t *testing.T) {
	disk := disktest.New()
	disk.Fail(1, true, os.ErrPermission, func(op disktest.Op) bool { return op.Is(disktest.Write, "MANIFEST") })
	r := runOn(t, func(o *journal.Options) { o.Volume = disk.Volume() }, strings.NewReader(""), "ingest", "--data", "/d", "-")
	if r.code != node.ExitRefused || r.out != "" {
		t.Fatal(r)
	}
}
