package node_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// completed is what a shell would offer for the end of a command line.
func completed(t *testing.T, line ...string) (words []string) {
	t.Helper()
	code, out, errs := commandLine(t, "", append([]string{"__complete"}, line...)...)
	if code != node.ExitDone {
		t.Fatal(errs)
	}
	for l := range strings.Lines(out) {
		if l = strings.TrimSpace(l); !strings.HasPrefix(l, ":") {
			word, _, _ := strings.Cut(l, "\t")
			words = append(words, word)
		}
	}
	return words
}

// TestCompletion completes commands, values, and the names of what is in a
// journal, one that a node serves too; and there are scripts for four shells.
func TestCompletion(t *testing.T) {
	n := runNode(t, actors.NewRegistry(greeter), t.TempDir())
	if code, _, errs := commandLine(t, guest, "ingest", "--data", n.dir, "-"); code != node.ExitDone {
		t.Fatal(errs)
	}
	idle := ingested(t)
	must(t, node.ExitDone, "consumers", "create", "mailer", "--data", idle)
	must(t, node.ExitDone, "token", "create", "--name", "guest", "--scope", "read", "--data", idle)
	for _, c := range []struct {
		line string
		want string
	}{
		{"conf|", "config"},
		{"log -o |", "names"},
		{"run --durability |", "memory"},
		{"log --stream | --data " + n.dir, "ada"},
		{"log --agent | --data " + n.dir, "greeter"},
		{"agent | --data " + n.dir, "greeter"},
		{"agent | --server " + n.url, "greeter"},
		{"consumers ack | --data " + idle, "mailer"},
		{"token revoke g| --data " + idle, "guest"},
	} {
		line, rest, _ := strings.Cut(c.line, "|")
		given := strings.Fields(rest)
		fields := strings.Split(line, " ")
		words := completed(t, slices.Concat(fields[:1:1], given, fields[1:])...)
		if len(fields) == 1 {
			words = completed(t, fields...)
		}
		if strings.HasPrefix(line, "consumers") || strings.HasPrefix(line, "token") {
			words = completed(t, slices.Concat(fields[:2:2], given, fields[2:])...)
		}
		if !slices.Contains(words, c.want) {
			t.Errorf("%s is completed to %q, not to %q", c.line, words, c.want)
		}
	}
	if words := completed(t, "agent", "--data", filepath.Join(idle, "missing"), ""); len(words) > 0 {
		t.Errorf("a missing journal offers %q", words)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := must(t, node.ExitDone, "completion", shell); !strings.Contains(r.out, "toka-node") {
			t.Errorf("completion %s: %.200s", shell, r.out)
		}
	}
}

// TestMan writes a page for each command, with its options and examples.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	must(t, node.ExitDone, "man", dir)
	n := 0
	commands(node.Root(), func(c *cobra.Command) {
		n++
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		example := strings.TrimSpace(strings.Split(c.Example, "\n")[0])
		for _, want := range []string{".TH", ".SH NAME", ".SH EXAMPLE", strings.Fields(example)[0]} {
			if !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), want) {
				t.Errorf("the page of %s has no %q", c.CommandPath(), want)
			}
		}
		if c.HasAvailableLocalFlags() && !strings.Contains(string(page), ".SH OPTIONS") {
			t.Errorf("the page of %s has no options", c.CommandPath())
		}
	})
	t.Logf("%d pages", n)
}
