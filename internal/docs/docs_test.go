package docs_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// documents lists the Markdown files that people read.
func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		m, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m...)
	}
	if len(out) < 3 {
		t.Fatalf("found only %v", out)
	}
	return out
}

type block struct{ file, lang, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

func blocks(t *testing.T, lang string) []block {
	t.Helper()
	var out []block
	for _, file := range documents(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(b), -1) {
			switch m[1] {
			case lang:
				out = append(out, block{file, m[1], m[2]})
			case "go", "sh", "text":
			default:
				t.Errorf("%s: a block of %q: this test knows go, sh and text", file, m[1])
			}
		}
	}
	return out
}

// TestGoBlocks holds every Go block to a program under examples/, which is
// built, vetted and run by its own test.
func TestGoBlocks(t *testing.T) {
	programs := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "examples/*/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for strings.HasPrefix(text, "//") {
			_, text, _ = strings.Cut(text, "\n")
		}
		programs[text] = true
	}
	found := blocks(t, "go")
	if len(found) == 0 {
		t.Error("no Go blocks found")
	}
	for _, b := range found {
		if !programs[b.text] {
			t.Errorf("%s: this block is no file of examples/, so nothing compiles it:\n%s", b.file, b.text)
		}
	}
}

// TestNamedTestsExist holds every test that a document names to be there.
func TestNamedTestsExist(t *testing.T) {
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range documents(t) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(b), -1) {
			if !have[name] {
				t.Errorf("%s names %s, which no test file has", file, name)
			}
		}
	}
}

// TestFirstProgramIsShort holds the README's promise of a first program on
// one screen.
func TestFirstProgramIsShort(t *testing.T) {
	n := 0
	for line := range strings.SplitSeq(blocks(t, "go")[0].text, "\n") {
		if strings.TrimSpace(line) != "" {
			n++
		}
	}
	if n > 25 {
		t.Errorf("the first program has %d lines; it should have at most 25", n)
	}
}

// script is the document whose sh blocks are one script.
const script = root + "/docs/http.md"

// built returns the program.
func built(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "toka-node")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/toka-node")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// TestCommands runs every command line of the documents, in order, each
// document in a directory of its own.
func TestCommands(t *testing.T) {
	bin := built(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{}
	for _, b := range blocks(t, "sh") {
		if b.file == script {
			continue
		}
		dir, ok := dirs[b.file]
		if !ok {
			dir = t.TempDir()
			dirs[b.file] = dir
			if err := os.Symlink(filepath.Join(tree, "internal"), filepath.Join(dir, "internal")); err != nil {
				t.Skipf("no symbolic links here: %v", err)
			}
		}
		for line := range strings.SplitSeq(strings.TrimSpace(b.text), "\n") {
			words := strings.Fields(line)
			switch {
			case len(words) == 0 || words[0] == "#":
			case words[0] == "make" && len(words) == 2:
				if !bytes.Contains(makefile, []byte("\n"+words[1]+":")) {
					t.Errorf("%s: %q: the Makefile has no such target", b.file, line)
				}
			case words[0] == "toka-node":
				cmd := exec.Command(bin, words[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %q: %v\n%s", b.file, line, err, out)
				}
			default:
				t.Errorf("%s: %q: this test runs toka-node and knows make", b.file, line)
			}
		}
	}
}

// TestHTTPScript runs the blocks of the document about HTTP as the script that
// it says they are, with a node at a free port. Every request has to succeed.
func TestHTTPScript(t *testing.T) {
	for _, program := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	const address = "127.0.0.1:7171"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	// A script that fails ends its node too.
	text := `set -eux
node=
trap 'test -z "$node" || kill "$node" 2>/dev/null || :' EXIT
`
	for _, b := range blocks(t, "sh") {
		if b.file == script {
			text += b.text
		}
	}
	if n := strings.Count(text, address); n != 2 {
		t.Fatalf("%s is there %d times; the node and its clients need it once each", address, n)
	}
	bin, dir := built(t), t.TempDir()
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(text, address, free))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"), "http_proxy=", "no_proxy=*")
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "node.log"))
		t.Fatalf("%v\n%s\nthe node:\n%s", err, out, log)
	}
	// The node has stopped, and left what the script is about.
	list := exec.Command(bin, "log", "-o", "json", "--data", filepath.Join(dir, "data"))
	log, err := list.Output()
	if n := strings.Count(string(log), "\n"); err != nil || n != 7 { // three of orders, three of tickets, and which model there is
		t.Errorf("the journal has %d events, %v:\n%s", n, err, log)
	}
}
