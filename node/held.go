package node

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// A journal is held by one process. While a node holds it, other command lines
// on the same directory are sent to that node, which runs them on the journal
// that it has open: through the socket in the directory, or with --server over
// the network.

// held is what a command line that runs inside of a node works on.
type held struct {
	node   *server.Node
	tokens *auth.Tokens
	dir    string                     // of the journal
	space  func() (free, keep uint64) // nil: there is always room

	incoming *incoming // nil: events come with their vectors or without
}

// socketName is the file of the socket in the directory of a journal.
const socketName = "toka.sock"

// place says where a command may run when a node holds the journal.
type place struct {
	scope auth.Scope // over the network; empty: not over the network
	file  bool       // its argument names a file that is read: it is sent as standard input
	paths []string   // flags that name files of the machine, made absolute; with ?, if there is such a file
	files bool       // so do its arguments
	asks  bool       // it asks the node by itself
	here  bool       // it is about this machine, and runs on it
	alone string     // why it cannot run on a held journal, and what to do
}

// places lists commands by name, with those above them. What is missing runs
// on a held journal by the socket, and not over the network.
var places = map[string]place{
	"log": {scope: auth.Read}, "search": {scope: auth.Read}, "show": {scope: auth.Read}, "version": {scope: auth.Read},
	"verify": {scope: auth.Admin}, "replay": {scope: auth.Admin},
	"ingest": {scope: auth.Append, file: true},
	"tail":   {asks: true},

	"config": {here: true}, "config print": {here: true}, "man": {here: true},

	"ancestors": {scope: auth.Read}, "descendants": {scope: auth.Read}, "parents": {scope: auth.Read}, "children": {scope: auth.Read},
	"common": {scope: auth.Read}, "between": {scope: auth.Read}, "heads": {scope: auth.Read}, "why": {scope: auth.Read}, "graph": {scope: auth.Read},
	"bundle export": {paths: []string{"out", "key"}}, "bundle import": {paths: []string{"key"}, files: true},

	"head":    {paths: []string{"key"}},
	"prove":   {paths: []string{"check", "head", "key", "public?"}},
	"backup":  {files: true},
	"restore": {alone: "it changes what is there; stop the node first, or restore to another --data"},

	"token create": {scope: auth.Admin}, "token list": {scope: auth.Admin}, "token revoke": {scope: auth.Admin},

	"run":          {alone: "one node serves a journal; stop it first, or give another --data"},
	"demo":         {alone: "the demonstration runs agents of its own; give another --data, or none"},
	"bench append": {alone: "a benchmark measures a journal of its own; give another --data, or none"},
	"bench intent": {alone: "its --data is a directory of vectors and no journal"},
	"bench http":   {alone: "a benchmark measures a journal of its own; give another --data, or none"},
	"bench replay": {alone: "a benchmark opens the journal that it measures; give another --journal, or none"},

	"bench tell":    {alone: "a benchmark measures a journal of its own"},
	"bench ask":     {alone: "a benchmark measures a journal of its own"},
	"bench spawn":   {alone: "a benchmark measures a journal of its own"},
	"bench command": {alone: "a benchmark measures a journal of its own; give another --data, or none"},

	"agents": {scope: auth.Read}, "agent": {scope: auth.Read},
	"parked list": {scope: auth.Read}, "parked show": {scope: auth.Read}, "parked retry": {scope: auth.Append},

	"check": {scope: auth.Read}, "doctor": {asks: true},
	"intents": {scope: auth.Read}, "intents as-of": {scope: auth.Read}, "intents show": {scope: auth.Read},
	"intents explain": {scope: auth.Read}, "intents map": {scope: auth.Read},

	"stats":            {scope: auth.Read},
	"consumers list":   {scope: auth.Read},
	"consumers show":   {scope: auth.Read},
	"consumers parked": {scope: auth.Read},
}

// placeOf returns where c may run, and its name in places.
func placeOf(c *cobra.Command) (place, string) {
	name := c.Name()
	for p := c.Parent(); p != nil && p.HasParent(); p = p.Parent() {
		name = p.Name() + " " + name
	}
	return places[name], name
}

// forwarded ends a command line that ran elsewhere.
type forwarded struct{ code int }

func (*forwarded) Error() string { return "" }

// withRemote gives all commands the flags that name a node, and sends them
// there.
func (a *app) withRemote(root *cobra.Command) {
	a.remote.flags(root.PersistentFlags())
	root.PersistentPreRunE = func(c *cobra.Command, args []string) error {
		p, name := placeOf(c)
		if a.held != nil {
			if p.asks || p.here {
				return usage("%s is not for a node to run", name)
			}
			if p.alone != "" {
				return &exit{ExitRefused, fmt.Errorf("%s does not run on a journal that a node serves: %s", name, p.alone)}
			}
			return nil
		}
		if err := a.settings(c); err != nil {
			return err
		}
		if p.asks || p.here {
			return nil
		}
		// From the environment, it stands for --data where that is not given.
		data := c.Flags().Lookup("data")
		if a.remote.server != "" && (c.Flags().Changed("server") || data != nil && !data.Changed) {
			return a.forwardTo(c, args, p, name)
		}
		return a.forwardHeld(c, args, p)
	}
}

// forwardHeld sends the command line to the node that holds the journal of
// --data, if one does.
func (a *app) forwardHeld(c *cobra.Command, args []string, p place) error {
	f := c.Flags().Lookup("data")
	if f == nil || f.Value.String() == "" {
		return nil
	}
	socket := filepath.Join(f.Value.String(), socketName)
	if _, err := os.Lstat(socket); err != nil {
		return nil
	}
	client, err := dialSocket(c.Context(), socket)
	if err != nil {
		return nil // left behind by a node that was killed; the lock decides
	}
	defer client.close()
	if p.alone != "" {
		return &exit{ExitRefused, fmt.Errorf("%s: %w by a node (process %s); %s", f.Value, journal.ErrHeld, holder(f.Value.String()), p.alone)}
	}
	return a.forward(c, args, p, func(ctx context.Context, body io.Reader) (int, error) {
		return client.run(ctx, body, a.streams)
	})
}

func (a *app) forwardTo(c *cobra.Command, args []string, p place, name string) error {
	if p.alone != "" || p.scope == "" {
		return usage("%s does not run over the network; run it on the machine of the node, with --data", name)
	}
	client, err := a.remote.client()
	if err != nil {
		return err
	}
	defer client.close()
	return a.forward(c, args, p, func(ctx context.Context, body io.Reader) (int, error) {
		return client.run(ctx, body, a.streams)
	})
}

// forward puts a command line together again and has it run.
func (a *app) forward(c *cobra.Command, args []string, p place, run func(context.Context, io.Reader) (int, error)) error {
	input := a.streams.In
	args = slices.Clone(args)
	if p.file && len(args) == 1 && args[0] != "-" {
		f, _, err := a.input(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		input, args[0] = f, "-"
	}
	for i := range args {
		if !p.files || args[i] == "-" {
			continue
		}
		abs, err := filepath.Abs(args[i])
		if err != nil {
			return err
		}
		args[i] = abs
	}
	line := strings.Fields(c.CommandPath())[1:]
	var wrong error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		// What is not changed may come from the environment or the file.
		if !f.Changed && f.Value.String() == f.DefValue {
			return
		}
		if _, ours := remoteFlags[f.Name]; ours || f.Name == "data" {
			return
		}
		words, err := flagWords(f, p.paths)
		line, wrong = append(line, words...), errors.Join(wrong, err)
	})
	if wrong != nil {
		return wrong
	}
	line = append(append(line, "--"), args...)
	head, err := json.Marshal(line)
	if err != nil {
		return err
	}
	code, err := run(c.Context(), io.MultiReader(bytes.NewReader(append(head, '\n')), input))
	if err != nil {
		return err
	}
	return &forwarded{code}
}

// flagWords writes a flag as it could have been given.
func flagWords(f *pflag.Flag, paths []string) ([]string, error) {
	values := []string{f.Value.String()}
	if s, ok := f.Value.(pflag.SliceValue); ok {
		values = s.GetSlice()
	}
	var out []string
	for _, v := range values {
		_, missing := os.Lstat(v)
		path := slices.Contains(paths, f.Name) || slices.Contains(paths, f.Name+"?") && missing == nil
		if path && v != "" && v != "-" {
			abs, err := filepath.Abs(v)
			if err != nil {
				return nil, err
			}
			v = abs
		}
		if f.Value.Type() == "stringSlice" { // reads its value as a line of CSV
			var b strings.Builder
			w := csv.NewWriter(&b)
			if err := w.Write([]string{v}); err != nil {
				return nil, err
			}
			w.Flush()
			v = strings.TrimSuffix(b.String(), "\n")
		}
		out = append(out, "--"+f.Name+"="+v)
	}
	return out, nil
}

func holder(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "HOLDER"))
	if err != nil {
		return "unknown"
	}
	return printable(strings.TrimSpace(string(b)))
}

// borrow opens the journal of --data for a command that writes, or takes the
// one that is held. It is let go with letGo and not closed.
func (a *app) borrow(o journal.Options) (j *journal.Journal, letGo func() error, err error) {
	if a.held != nil {
		if a.held.space != nil {
			// What comes to be full meanwhile is waited for.
			if free, keep := a.held.space(); free < keep {
				return nil, nil, fmt.Errorf("%w: %d MiB are left and %d MiB are kept free; make room and try again", journal.ErrFull, free>>20, keep>>20)
			}
		}
		return a.held.node.Journal, func() error { return nil }, nil
	}
	if j, err = a.open(o); err != nil {
		return nil, nil, err
	}
	return j, j.Close, nil
}

// serveCommand runs a command line on the journal of a node.
func (a *app) serveCommand(tokens *auth.Tokens, space func() (free, keep uint64), in *incoming) server.CommandFunc {
	return func(ctx context.Context, n *server.Node, args []string, input io.Reader, out, errs io.Writer) int {
		inside := &app{registry: a.registry, streams: Streams{In: input, Out: out, Err: errs}, held: &held{n, tokens, a.data, space, in}}
		return inside.run(ctx, args)
	}
}

// networkScope says which command lines may come over the network.
func (a *app) networkScope(args []string) (auth.Scope, bool) {
	c, _, err := (&app{registry: a.registry}).root().Find(args)
	if err != nil {
		return "", false
	}
	p, _ := placeOf(c)
	if p.alone != "" || p.asks || p.here || p.scope == "" {
		return "", false
	}
	return p.scope, true
}
