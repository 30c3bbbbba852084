package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/journal"
)

// Exit codes; see the package comment.
const (
	ExitDone    = 0
	ExitFailed  = 1
	ExitUsage   = 2
	ExitDamage  = 3
	ExitStorage = 70
	ExitFull    = 74
	ExitRefused = 78
)

// Main runs the command line of this process over r and the built-in
// behaviours, and exits with the code that the package comment lists.
//
// A node holds little memory and makes much garbage, so it lets the heap grow
// further than Go does by default before it collects, unless GOGC says
// otherwise. One of its threads nearly always waits for the disk and for some
// time keeps a processor of Go's scheduler from the others, so it has one more
// than Go would give it, unless GOMAXPROCS says otherwise.
func Main(r *actors.Registry, options ...Option) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	keepPrivate()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := Run(ctx, r, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, options...)
	stop()
	os.Exit(code)
}

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs one command line and returns its exit code. It is what Main does,
// without the process.
func Run(ctx context.Context, r *actors.Registry, args []string, s Streams, options ...Option) int {
	a := &app{registry: r, streams: s}
	for _, o := range options {
		o(a)
	}
	return a.run(ctx, args)
}

// Option says more about a program that is a node.
type Option func(*app)

// Beside has f run beside the agents while the program serves a journal: from
// when that is open and its agents are back until ctx ends. f is to return then,
// and the journal is open until it has. An error of f's stops the node.
func Beside(f func(ctx context.Context, j *journal.Journal) error) Option {
	if f == nil {
		panic("node: Beside: there is nothing to run")
	}
	return func(a *app) { a.beside = append(a.beside, f) }
}

func (a *app) run(ctx context.Context, args []string) int {
	s := a.streams
	a.registry, a.builtin = withBuiltins(a.registry)
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitDone
	}
	if f, ok := errors.AsType[*forwarded](err); ok {
		return f.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(s.Err, "toka-node: %s\n", text)
	}
	return exitCode(err)
}

// exit is an error with an exit code. Its text may be empty when everything
// was said already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exit{ExitUsage, fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var e *exit
	switch {
	case errors.Is(err, journal.ErrFatal) && errors.Is(err, syscall.ENOSPC), errors.Is(err, journal.ErrFull):
		return ExitFull
	case errors.Is(err, journal.ErrFatal):
		return ExitStorage
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, journal.ErrCorrupt):
		return ExitDamage
	}
	return ExitFailed
}

// app is one run of the command line.
type app struct {
	registry *actors.Registry
	builtin  map[string]bool // behaviours of the registry that nobody asked for
	streams  Streams

	data   string
	output string

	// Where the command line runs, if not on a journal of its own; see held.go.
	held   *held
	remote remote

	from map[string]string // where settings are from; see config.go

	beside []func(context.Context, *journal.Journal) error // see Beside

	intents string // the strategy of --intents; empty: as before

	// change varies how journals are opened. It is for tests; nil does nothing.
	change func(*journal.Options)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "toka-node",
		Short: "Journal, follow, verify and replay what agents did",
		Long: `toka-node works on a journal of events: a directory that holds what agents did,
each event with links to the events that caused it.

Exit codes: 0 done; 1 failed, or some input was rejected; 2 usage; 3 damage or a
divergence was found; 70 the storage failed; 74 the disk is full; 78 the journal
was not opened.`,
		Example: `  toka-node demo
  toka-node log --data ./data --limit 20`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; run toka-node --help for a list", args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; run %s --help", err, c.CommandPath())
	})
	a.withRemote(root)
	root.AddCommand(a.configCommand(), a.manCommand())
	root.AddCommand(a.runCommand(), a.tailCommand(), a.tokenCommand(), a.checkCommand(), a.doctorCommand())
	root.AddCommand(a.agentsCommand(), a.agentCommand(), a.parkedCommand())
	root.AddCommand(a.logCommand(), a.searchCommand(), a.showCommand(), a.verifyCommand(), a.versionCommand(), a.ingestCommand(),
		a.demoCommand(), a.replayCommand(), a.benchCommand())
	root.AddCommand(a.causalCommands()...)
	root.AddCommand(a.statsCommand(), a.consumersCommand())
	root.AddCommand(a.intentsCommand())
	root.AddCommand(a.headCommand(), a.proveCommand(), a.backupCommand(), a.restoreCommand(),
		a.pruneCommand(), a.eraseCommand())
	a.withCompletion(root)
	return root
}

// withData gives a command the flags that name a journal and an output; more
// names outputs besides table and json.
func (a *app) withData(c *cobra.Command, more ...string) *cobra.Command {
	// Not StringVar: commands with another default would set each other's.
	c.Flags().String("data", "./data", "directory of the journal")
	annotate(c, "data")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if a.data, err = c.Flags().GetString("data"); err != nil {
			return err
		}
		return run(c, args)
	}
	return a.withOutput(c, more...)
}

// asNames is the output of lists as one name a line: the text by which other
// commands know a thing. For events it was ids once.
const asNames = "names"

func (a *app) withOutput(c *cobra.Command, more ...string) *cobra.Command {
	known := append([]string{"table", "json"}, more...)
	said := strings.Join(known[:len(known)-1], ", ") + " or " + known[len(known)-1]
	c.Flags().StringVarP(&a.output, "output", "o", "table", "output: "+said)
	annotate(c, "output")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if a.output == "ids" && slices.Contains(known, asNames) {
			a.output = asNames
		}
		if !slices.Contains(known, a.output) {
			return usage("output %q: use %s", a.output, said)
		}
		return run(c, args)
	}
	return c
}

func (a *app) json() bool { return a.output == "json" }

// args checks the number of arguments; what names them in the error.
func args(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if len(given) != n {
			return usage("%s takes %s; run %s --help", c.CommandPath(), what, c.CommandPath())
		}
		return nil
	}
}

// open opens the journal of --data. Reading commands set MustExist. What it
// returns is the caller's to close, so it refuses where a node runs the
// command on the journal that it serves; see borrow.
func (a *app) open(o journal.Options) (*journal.Journal, error) {
	if a.held != nil {
		return nil, &exit{ExitRefused, errors.New("this command needs the journal to itself, and a node serves it; stop the node first")}
	}
	if a.change != nil {
		a.change(&o)
	}
	if o.Intents == nil && o.NewIntents == nil {
		o.NewIntents = newIntents(a.intents)
	}
	j, err := journal.Open(a.data, o)
	if err != nil {
		return nil, &exit{ExitRefused, err}
	}
	if w := j.Window(); w.Last > 0 {
		fmt.Fprintf(a.streams.Err, "toka-node: positions %d to %d lie beyond the outside mark, as a process leaves them that was killed; they are kept\n", w.First, w.Last)
	}
	return j, nil
}

// read opens an existing journal for a command that changes nothing.
func (a *app) read(f func(j *journal.Journal) error) error {
	if a.held != nil {
		return f(a.held.node.Journal)
	}
	j, err := a.open(journal.Options{MustExist: true})
	if err != nil {
		return err
	}
	err = f(j)
	if closeErr := j.Close(); err == nil {
		err = closeErr
	}
	return err
}

// lines joins lines of help text.
func lines(ls ...string) string { return "  " + strings.Join(ls, "\n  ") }
