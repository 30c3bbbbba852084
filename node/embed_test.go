package node_test

import (
	"strings"
	"testing"

	"github.com/tokaworks/toka/node"
)

func TestTextOf(t *testing.T) {
	long := strings.Repeat("é", 20_000)
	for _, c := range []struct{ kind, payload, want string }{
		{"application/json", `{"subject":"Fix a race"}`, "Fix a race"},
		{"application/json", `"alone"`, "alone"},
		{"application/json", `["a b",{"c":["d",{"e":"f"}],"g":1,"h":null},"i"]`, "a b\nd\nf\ni"},
		{"application/vnd.x+json; charset=utf-8", `{"a":" x "}`, "x"},
		{"application/json", `{"id":"0193b5a4-9c1e","at":"2026-01-02T15:04:05Z","note":"paid"}`, "paid"},
		{"application/json", `{"id":"0193b5a4-9c1e"}`, "0193b5a4-9c1e"},
		{"application/json", `{"n":42,"b":true}`, ""},
		{"application/json", `{"a":"b"`, "b"},
		{"text/plain; charset=utf-8", "plain", "plain"},
		{"text/plain", "\xff\xfe", ""},
		{"text/plain", "x" + long, "x" + long[:16<<10-2]},
		{"application/octet-stream", "text", ""},
		{"", "text", ""},
		{"text/plain", "", ""},
	} {
		if got := node.TextOf(c.kind, []byte(c.payload)); got != c.want {
			t.Errorf("%s %.60s: %.60q (%d bytes), want %.60q (%d bytes)", c.kind, c.payload, got, len(got), c.want, len(c.want))
		}
	}
}
