package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A shell completes names with what a list of them prints, so it sees what the
// user would: of a journal, of the node that holds it, or of one on the network.

// listsOf are the command lines that list what an argument or a flag names.
var listsOf = map[string]string{
	"agent":        "agents -o names",
	"parked show":  "parked list -o names",
	"parked retry": "parked list -o names",
	"token revoke": "token list -o names",

	"intents show":  "intents --all -o names",
	"intents merge": "intents --all -o names",
	"intents split": "intents --all -o names",

	"consumers show": "consumers list -o names", "consumers fetch": "consumers list -o names", "consumers ack": "consumers list -o names",
	"consumers nak": "consumers list -o names", "consumers park": "consumers list -o names", "consumers parked": "consumers list -o names",
	"consumers replay": "consumers list -o names", "consumers drop": "consumers list -o names", "consumers delete": "consumers list -o names",

	"--agent":  "agents -o names",
	"--intent": "intents --all -o names",
	// There may be more streams than anybody can choose from, so the latest.
	"--stream": "log --backwards --limit 200 -o json",
}

// wordsOf are the values of flags that have few.
var wordsOf = map[string][]string{
	"durability": {"fsync", "os", "memory"},
	"log-format": {"auto", "pretty", "json"},
	"log-level":  {"debug", "info", "warn", "error"},
	"intents":    {"twophase", "strict", "budgeted", "leader", noIntents},
	"scope":      {"read", "append", "admin"},
}

// withCompletion lets shells complete names and values all over the tree.
func (a *app) withCompletion(c *cobra.Command) {
	_, name := placeOf(c)
	if line, ok := listsOf[name]; ok {
		c.ValidArgsFunction = func(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 && name != "intents merge" {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.listed(c, line), cobra.ShellCompDirectiveNoFileComp
		}
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		words := wordsOf[f.Name]
		if _, said, ok := strings.Cut(f.Usage, "output: "); ok && f.Name == "output" {
			words = strings.FieldsFunc(strings.ReplaceAll(said, " or ", ", "), func(r rune) bool { return r == ',' || r == ' ' })
		}
		line := listsOf["--"+f.Name]
		if len(words) == 0 && (line == "" || name == "run" || name == "config print") {
			return
		}
		// It fails only for a flag that is not there.
		_ = c.RegisterFlagCompletionFunc(f.Name, func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(words) > 0 {
				return words, cobra.ShellCompDirectiveNoFileComp
			}
			return a.listed(c, line), cobra.ShellCompDirectiveNoFileComp
		})
	})
	for _, sub := range c.Commands() {
		a.withCompletion(sub)
	}
}

// listed runs a list on the journal or the node that the command line names so
// far. What fails has nothing to offer: a shell shows no errors.
func (a *app) listed(c *cobra.Command, line string) []string {
	ctx, cancel := context.WithTimeout(c.Context(), 3*time.Second)
	defer cancel()
	args := strings.Fields(line)
	c.Flags().Visit(func(f *pflag.Flag) {
		if _, shared := remoteFlags[f.Name]; shared || f.Name == "data" {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	var out bytes.Buffer
	list := &app{registry: a.registry, streams: Streams{In: strings.NewReader(""), Out: &out, Err: io.Discard}, change: a.change}
	if list.run(ctx, args) != ExitDone {
		return nil
	}
	var found []string
	for l := range strings.Lines(out.String()) {
		name := strings.TrimSpace(l)
		var e struct {
			Stream string `json:"stream"`
		}
		if strings.HasSuffix(line, "json") && json.Unmarshal([]byte(l), &e) == nil {
			name = e.Stream
		}
		if name != "" && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}
