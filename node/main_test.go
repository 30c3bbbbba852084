package node_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/merkle"
	"github.com/tokaworks/toka/node"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	testscript.Main(m, map[string]func(){
		"toka-node": func() { node.Main(actors.NewRegistry()) },
		"exits":     exits,
	})
}

// exits is the program "exits CODE ARG...": toka-node with these arguments,
// which must end with that code.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	got := node.Run(context.Background(), actors.NewRegistry(), os.Args[2:], node.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	if got != want {
		_, _ = fmt.Fprintf(os.Stderr, "exits: code %d, want %d\n", got, want)
		os.Exit(1)
	}
}

const sample = "../internal/cloudevents/testdata/git-sample.jsonl"

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup:              scriptFiles,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// hold DIR: this process keeps the journal open to the end of the script.
			"hold": func(ts *testscript.TestScript, _ bool, args []string) {
				j, err := journal.Open(ts.MkAbs(args[0]), journal.Options{})
				ts.Check(err)
				ts.Defer(func() { ts.Check(j.Close()) })
			},
			// snapshot DIR NAME: notes what is in DIR, as environment variable NAME.
			"snapshot": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[1], snapshot(ts.MkAbs(args[0])))
			},
			// unchanged DIR NAME: DIR is as it was at that snapshot.
			"unchanged": func(ts *testscript.TestScript, _ bool, args []string) {
				if snapshot(ts.MkAbs(args[0])) != ts.Getenv(args[1]) {
					ts.Fatalf("%s has changed", args[0])
				}
			},
			// newkey SECRET PUBLIC: writes a new pair of keys to two files.
			"newkey": func(ts *testscript.TestScript, _ bool, args []string) {
				k, err := merkle.NewKey("toka.test")
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(k.Secret()+"\n"), 0o600))
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(k.Public()+"\n"), 0o600))
			},
			// json FILE: each line is one JSON object.
			"json": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(jsonLines([]byte(ts.ReadFile(args[0]))))
			},
		},
	})
}

// noRaceSleep keeps programs with the race detector from sleeping for a second
// before they exit.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// scriptFiles makes the files that cannot stand in a script.
func scriptFiles(e *testscript.Env) error {
	e.Vars = append(e.Vars, noRaceSleep)
	text, err := os.ReadFile(sample)
	if err != nil {
		return err
	}
	packed := gz(text)
	half, _, _ := bytes.Cut(packed, packed[len(packed)/2:])
	broken := bytes.Clone(packed)
	broken[len(broken)-6] ^= 1 // in the checksum
	line := func(id, rest string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"big","type":"a.b"%s}`+"\n", id, rest)
	}
	for name, b := range map[string][]byte{
		"sample.jsonl": text, "sample.jsonl.gz": packed, "cut.jsonl.gz": half, "sum.jsonl.gz": broken,
		"big.jsonl":     []byte(line("1", `,"data":"`+strings.Repeat("x", 2<<20)+`"`) + line("2", "")),
		"long.jsonl":    []byte(line("1", `,"data":"`+strings.Repeat("x", 5<<20)+`"`) + line("2", "")),
		"longid.jsonl":  []byte(line(strings.Repeat("i", 10_000), "") + line("2", "")),
		"notutf8.jsonl": []byte(line("1\xff", "") + line("2", "")),
		"garbage.bin":   {0, 1, 2, 3, '\n', 0xff, 0xfe, '\n', 0x80, '\n'},
		"header.gz":     {0x1f, 0x8b, 8},
	} {
		if name == "notutf8.jsonl" { // %q would have escaped it
			b = bytes.Replace(b, []byte(`\xff`), []byte{0xff}, 1)
		}
		if err := os.WriteFile(filepath.Join(e.WorkDir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// snapshot digests the names and contents of everything below dir; a missing
// dir has one too.
func snapshot(dir string) string {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(h, "%s %v\n", path, d.IsDir())
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(h, "%x\n", sha256.Sum256(b))
		}
		return nil
	})
	if err != nil {
		return "missing"
	}
	return hex.EncodeToString(h.Sum(nil))
}

// jsonLines checks that b is JSON objects, one a line.
func jsonLines(b []byte) error {
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return fmt.Errorf("no line, or no line break at the end: %q", b)
	}
	for line := range bytes.Lines(b) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
	}
	return nil
}

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// run runs toka-node in this process.
func run(t testing.TB, args ...string) result {
	t.Helper()
	return runOn(t, nil, strings.NewReader(""), args...)
}

func runOn(t testing.TB, change func(*journal.Options), in io.Reader, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := node.RunWith(t.Context(), actors.NewRegistry(), args, node.Streams{In: in, Out: &out, Err: &err}, change)
	return result{code, out.String(), err.String()}
}

// must is run that has to end with a code.
func must(t testing.TB, code int, args ...string) result {
	t.Helper()
	r := run(t, args...)
	if r.code != code {
		t.Fatalf("toka-node %s: code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.err)
	}
	return r
}
