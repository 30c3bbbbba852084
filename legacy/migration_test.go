package legacy_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigration takes the program in testdata/migration through the steps of
// MIGRATING.md: before, after go fix, on the bus, on the journal. It passes its
// own test at each of them.
func TestMigration(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(path string, b []byte) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}

	// A module of its own that requires what this one does.
	const module = "module github.com/tokaworks/toka\n"
	_, requires, ok := strings.Cut(string(read(filepath.Join(root, "go.mod"))), module)
	if !ok {
		t.Fatal("go.mod does not begin with the module's path")
	}
	write(filepath.Join(dir, "go.mod"), []byte("module example.com/app\n"+requires+
		"\nrequire github.com/tokaworks/toka v0.0.0\n\nreplace github.com/tokaworks/toka => "+root+"\n"))
	write(filepath.Join(dir, "go.sum"), read(filepath.Join(root, "go.sum")))
	test := read("testdata/migration/before/app_test.go")
	for _, step := range []string{"before", "fixed", "onbus", "onjournal"} {
		write(filepath.Join(dir, step, "app.go"), read(filepath.Join("testdata/migration", step, "app.go")))
		write(filepath.Join(dir, step, "app_test.go"), test)
	}
	run("vet", "./...")
	run("test", "./...")

	run("fix", "./before")
	got := read(filepath.Join(dir, "before", "app.go"))
	if want := read("testdata/migration/fixed/app.go"); !bytes.Equal(got, want) {
		if os.Getenv("TOKA_UPDATE") != "" {
			write("testdata/migration/fixed/app.go", got)
		} else {
			t.Errorf("go fix wrote something else than testdata/migration/fixed/app.go (TOKA_UPDATE=1 replaces it):\n%s", got)
		}
	}
	for step, old := range map[string]bool{"before": true, "fixed": true, "onbus": false, "onjournal": false} {
		if uses := bytes.Contains(read(filepath.Join("testdata/migration", step, "app.go")), []byte("toka/legacy")); uses != old {
			t.Errorf("%s uses the legacy package: %v", step, uses)
		}
	}
}

// TestNobodyImportsLegacy holds the module to stand without this package.
func TestNobodyImportsLegacy(t *testing.T) {
	cmd := exec.Command("go", "list", "-e", "-buildvcs=false", "-f", `{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}`, "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if importer, imported, _ := strings.Cut(strings.TrimSpace(line), " "); imported == "github.com/tokaworks/toka/legacy" {
			t.Errorf("%s imports the legacy package", importer)
		}
		n++
	}
	if n < 100 {
		t.Errorf("looked at %d imports only", n)
	}
}
