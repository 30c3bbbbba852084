package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/metrics"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// runFlags are those of run.
type runFlags struct {
	listen, durability         string
	cert, key, clientCA        string
	insecure                   bool
	hosts, agents              []string
	within                     time.Duration
	keepFree                   uint64
	rate                       float64
	logFormat, logLevel, pprof string
	headKey                    string
	embed                      embedFlags
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run",
		Short: "Serve a journal and its agents over HTTP",
		Long: `Opens the journal, brings its agents back to where they were, and serves both over
HTTP until it is told to stop. /openapi.json describes the interface. Other command
lines on the same directory go on to work: they ask this process, through a socket
in the directory.

It listens on loopback, where requests need no token until there is one; see
toka-node token. It refuses to listen elsewhere without a certificate and tokens.

With --embed, events that come in without a vector get that of their text, and so an
intent. One whose vector cannot be had in time is journaled without, and toka-node
intents embed gives it one later. Events that agents emit get none of themselves.

The agents of this program live under the names of their behaviours, and what has
lived in the journal before lives again. --agent adds one: NAME=BEHAVIOUR/VERSION.

SIGTERM stops it: no more requests are taken, what was taken is answered, readers
are told where to come back, agents finish what they have in hand. What is not done
when --stop-within is over is cut off; nothing that was acknowledged is lost.`,
		Example: lines(
			"toka-node run --data ./data",
			"toka-node run --data ./data --listen 0.0.0.0:7171 --tls-cert node.pem --tls-key node.key"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), &f) },
	}
	a.runFlags(c, &f)
	return withRunSettings(a.withData(c))
}

// runFlags gives c the flags of run.
func (a *app) runFlags(c *cobra.Command, f *runFlags) {
	a.withIntents(c)
	s := c.Flags()
	s.StringVar(&f.listen, "listen", "127.0.0.1:7171", "address to serve at; port 0 takes a free one")
	s.StringVar(&f.durability, "durability", journal.LevelFsync.String(), "when an append is answered: fsync (on the disk), os (handed to the system) or memory (nothing is kept)")
	s.StringVar(&f.cert, "tls-cert", "", "file with the certificate to serve with")
	s.StringVar(&f.key, "tls-key", "", "file with the key of --tls-cert")
	s.StringVar(&f.clientCA, "client-ca", "", "file with an authority; a client with a certificate of its own needs no token")
	s.BoolVar(&f.insecure, "insecure-no-tls-no-token", false, "listen beyond loopback without TLS and without tokens: anybody who can reach it can read and write")
	s.StringSliceVar(&f.hosts, "allow-host", nil, "names by which clients reach this node, besides its address")
	s.StringSliceVar(&f.agents, "agent", nil, "agents to run as well: NAME=BEHAVIOUR/VERSION")
	s.DurationVar(&f.within, "stop-within", 30*time.Second, "how long stopping may take")
	s.Uint64Var(&f.keepFree, "keep-free", 512, "MiB to keep free on the disk: below that, appends are refused")
	s.Float64Var(&f.rate, "rate", 0, "requests a second of one token or address; 0 is no bound")
	s.StringVar(&f.logFormat, "log-format", "auto", "log on standard error: pretty, json, or auto (pretty on a terminal)")
	s.StringVar(&f.logLevel, "log-level", "info", "what is logged: debug, info, warn or error")
	keyFlag(c, &f.headKey)
	f.embed.flags(c, "none")
	s.StringVar(&f.pprof, "pprof", "", "loopback address to serve profiles of this process at; none by default")
}

// check reads the flags that are not yet what they stand for.
func (f *runFlags) check() (journal.Level, error) {
	level, err := journal.ParseLevel(f.durability)
	switch {
	case err != nil:
		return level, usage("%w", err)
	case (f.cert == "") != (f.key == ""):
		return level, usage("--tls-cert and --tls-key go together")
	case f.clientCA != "" && f.cert == "":
		return level, usage("--client-ca needs --tls-cert")
	case f.within <= 0:
		return level, usage("--stop-within %s: give a positive time", f.within)
	}
	for _, spec := range f.agents {
		if name, key, ok := strings.Cut(spec, "="); !ok || name == "" || !strings.Contains(key, "/") {
			return level, usage("--agent %q: give NAME=BEHAVIOUR/VERSION", spec)
		}
	}
	return level, nil
}

func (a *app) serve(ctx context.Context, f *runFlags) (err error) {
	level, err := f.check()
	if err == nil {
		err = a.checkIntents()
	}
	if err != nil {
		return err
	}
	log, err := a.logger(f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	tokens, err := auth.Open(a.data)
	if err != nil {
		return &exit{ExitRefused, err}
	}
	config, err := f.tls()
	if err != nil {
		return err
	}
	beyond, err := f.beyondLoopback()
	if err != nil {
		return err
	}
	if beyond && !f.insecure {
		switch {
		case config == nil:
			return usage("--listen %s can be reached from other machines: give --tls-cert and --tls-key, or listen on 127.0.0.1", f.listen)
		case !tokens.Any() && f.clientCA == "":
			return usage("--listen %s can be reached from other machines and there is no token: make one with toka-node token create --data %s, or give --client-ca", f.listen, a.data)
		}
	}
	key, err := signingKey(f.headKey)
	if err != nil {
		return usage("--key: %w", err)
	}
	in, err := a.incoming(&f.embed, log)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		return &exit{ExitRefused, fmt.Errorf("listen: %w; another node may serve there, give another --listen", err)}
	}
	defer func() { _ = ln.Close() }() // the server has closed it, unless it never ran
	space := a.space(level, f.keepFree<<20)
	numbers := metrics.New(versionNow().Version)
	o := server.Options{
		Version: versionNow().Version, Logger: log, Tokens: tokens,
		NeedToken: beyond && !f.insecure, Hosts: f.hosts, TLS: config,
		Find: find, Describe: func(e events.Event) any { return toJSON(e) },
		Command: a.serveCommand(tokens, space, in), Allowed: a.networkScope, Key: key,
		Metrics: numbers.Handler(), OnRequest: numbers.Request,
		Space: space, RatePerToken: f.rate,
	}
	if in != nil {
		o.Embed = in.embed
	}
	n := &node{a: a, f: f, log: log, server: server.New(o), numbers: numbers, space: space, incoming: in, failed: make(chan error, 4)}
	n.serve(ln, false)
	err = n.run(ctx, level)
	// Whatever the reason to stop, the requests that came in are answered.
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.within)
	defer cancel()
	return errors.Join(err, n.stop(stop))
}

// beyondLoopback reports whether other machines can reach the listener.
func (f *runFlags) beyondLoopback() (bool, error) {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return false, usage("--listen %q: give ADDRESS:PORT", f.listen)
	}
	if host == "localhost" {
		return false, nil
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback(), nil
}

// node is a run of the command.
type node struct {
	a       *app
	f       *runFlags
	log     *slog.Logger
	server  *server.Server
	numbers *metrics.Metrics
	space   func() (free, keep uint64) // nil: there is always room
	failed  chan error                 // a listener ended

	incoming *incoming // nil: events come with their vectors or without

	journal   *journal.Journal
	system    *actors.System
	roster    *roster
	consumers *consumer.Set
	socket    string
}

func (n *node) serve(ln net.Listener, local bool) {
	go func() {
		if err := n.server.Serve(ln, local); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- err
		}
	}()
	if !local {
		// Also where nothing is logged: programs that start a node on port 0
		// read where it is.
		fmt.Fprintf(n.a.streams.Out, "serving %s at %s\n", n.a.data, n.url(ln))
	}
}

func (n *node) url(ln net.Listener) string {
	if n.f.cert != "" {
		return "https://" + ln.Addr().String()
	}
	return "http://" + ln.Addr().String()
}

// run serves until ctx ends or something fails.
func (n *node) run(ctx context.Context, level journal.Level) (err error) {
	start := time.Now()
	if n.journal, err = n.a.open(journal.Options{Level: level, Logger: n.log, OnCommit: n.numbers.Commit, Room: n.room()}); err != nil {
		return err
	}
	if err := n.incoming.use(ctx, n.journal); err != nil {
		return &exit{ExitRefused, fmt.Errorf("embed: %w", err)}
	}
	if level != journal.LevelMemory {
		if err := n.listenSocket(); err != nil {
			return &exit{ExitRefused, err}
		}
	}
	n.system, err = actors.Start(n.journal, n.a.registry, actors.Options{Logger: n.log})
	if err != nil {
		return err
	}
	n.roster, err = n.recoverAgents(ctx)
	if err != nil {
		return err
	}
	if n.consumers, err = consumer.Open(n.journal); err != nil {
		return err
	}
	n.numbers.Attach(metrics.Source{
		Journal: n.journal, System: n.system, Consumers: n.consumers, Readers: n.server.Readers, Lag: n.server.Lag,
		Space: func() (free, keep uint64, ok bool) {
			free, err := freeBytes(n.a.data)
			return free, n.f.keepFree << 20, err == nil && level != journal.LevelMemory
		},
	})
	n.server.Ready(server.Node{Journal: n.journal, System: n.system, Registry: n.a.registry, Consumers: n.consumers})
	n.log.Info("the node is ready", "data", n.a.data, "position", n.journal.Position(), "agents", len(n.system.Agents()),
		"durability", level.String(), "took", time.Since(start).Round(time.Millisecond).String())
	if n.f.pprof != "" {
		if err := n.profiles(); err != nil {
			return err
		}
	}
	stopBeside := n.runBeside(ctx)
	defer stopBeside()
	n.tell("READY=1")
	defer n.tell("STOPPING=1")
	select {
	case <-ctx.Done():
		n.log.Info("stopping", "within", n.f.within.String())
		return nil
	case <-n.journal.Failed():
		return n.journal.Err()
	case err := <-n.failed:
		return err
	}
}

// tell says to the service manager how it is.
func (n *node) tell(state string) {
	if err := notify(state); err != nil {
		n.log.Warn("the service manager does not hear", "state", state, "err", err)
	}
}

// runBeside runs what the program has of its own. What it returns ends that, and
// waits for it.
func (n *node) runBeside(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, f := range n.a.beside {
		all.Go(func() {
			if err := f(ctx, n.journal); err != nil && ctx.Err() == nil {
				select {
				case n.failed <- fmt.Errorf("beside the agents: %w", err):
				default: // it stops already
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// room reports whether the watermark lets events through.
func (n *node) room() func() bool {
	if n.space == nil {
		return nil
	}
	return func() bool {
		free, keep := n.space()
		return free >= keep
	}
}

// listenSocket serves at the socket in the directory, which the journal's lock
// has made ours: one that is there already was left behind.
func (n *node) listenSocket() error {
	path := filepath.Join(n.a.data, socketName)
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	addr, release, err := socketAddr(path)
	if err != nil {
		return err
	}
	defer release()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // by its long name, below
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("socket: %w", err), ln.Close())
	}
	n.socket = path
	n.serve(ln, true)
	return nil
}

// stop ends what run has begun, the newest first.
func (n *node) stop(ctx context.Context) error {
	var errs []error
	if err := n.server.Shutdown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("some requests were cut off: %w", err))
	}
	if n.system != nil {
		errs = append(errs, n.system.Stop(ctx))
	}
	if n.roster != nil {
		if err := n.roster.save(n.a.data); err != nil {
			n.log.Warn("the list of agents was not kept; the next start reads the journal for it", "err", err)
		}
	}
	if n.socket != "" {
		_ = os.Remove(n.socket) // the next start removes it otherwise
	}
	if n.consumers != nil {
		if err := n.consumers.Close(); !errors.Is(err, journal.ErrFatal) {
			errs = append(errs, err)
		}
	}
	if n.journal != nil {
		// What it failed with is known already.
		if err := n.journal.Close(); !errors.Is(err, journal.ErrFatal) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// profiles serves the profiles of the process, on loopback and nowhere else.
func (n *node) profiles() error {
	host, _, err := net.SplitHostPort(n.f.pprof)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage("--pprof %q: give a loopback ADDRESS:PORT", n.f.pprof)
	}
	ln, err := net.Listen("tcp", n.f.pprof)
	if err != nil {
		return &exit{ExitRefused, fmt.Errorf("pprof: %w", err)}
	}
	fmt.Fprintf(n.a.streams.Out, "profiles at http://%s/debug/pprof/\n", ln.Addr())
	go func() {
		if err := n.server.ServeProfiles(ln); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- err
		}
	}()
	return nil
}

func (f *runFlags) tls() (*tls.Config, error) {
	if f.cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, usage("--tls-cert, --tls-key: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	if f.clientCA == "" {
		return c, nil
	}
	c.ClientCAs, err = authority(f.clientCA)
	c.ClientAuth = tls.VerifyClientCertIfGiven
	return c, err
}
