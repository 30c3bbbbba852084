package node_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// TestSchemathesis holds a node to its own description, with requests that
// schemathesis makes of it. TOKA_SCHEMATHESIS names the program; make clients
// installs it.
func TestSchemathesis(t *testing.T) {
	program := os.Getenv("TOKA_SCHEMATHESIS")
	if program == "" {
		t.Skip("TOKA_SCHEMATHESIS names no program; make clients installs it")
	}
	n := runNode(t, actors.NewRegistry(greeter), t.TempDir())
	if code, _, errs := commandLine(t, guest, "ingest", "--data", n.dir, "-"); code != node.ExitDone {
		t.Fatal(errs)
	}
	// The stream does not end. That what the description allows is accepted is not
	// asked: whether a cursor or a stream is there, no description can say.
	c := exec.CommandContext(t.Context(), program, "run", n.url+"/openapi.json", "--exclude-path", "/v1/events/stream",
		"--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--max-examples", "25",
		"--request-timeout", "30", "--warnings", "off", "--no-color", "--seed", "1")
	c.Dir = t.TempDir() // for what it keeps
	out, err := c.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	_, summary, _ := strings.Cut(text, "SUMMARY")
	t.Log(summary)
}
