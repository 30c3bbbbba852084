package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

func TestNodeWithItsOwnAgent(t *testing.T) {
	var out, errs bytes.Buffer
	code := node.Run(t.Context(), actors.NewRegistry(greeter), []string{"version"}, node.Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	if code != node.ExitDone || !strings.HasPrefix(out.String(), "toka-node ") || errs.Len() > 0 {
		t.Errorf("code %d, output %q, errors %q", code, &out, &errs)
	}
}
