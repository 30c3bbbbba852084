package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// httpBench measures a node over HTTP.
type httpBench struct {
	connections, batch, readers, rate int
	stuck                             int
	duration                          time.Duration
	level                             journal.Level
	dir                               string
}

func (a *app) benchHTTPCommand() *cobra.Command {
	var o httpBench
	var durability string
	c := &cobra.Command{
		Use:   "http",
		Short: "Measure a node over HTTP",
		Long: `Measures a node that this process serves on loopback, with clients in the same
process, and a bare net/http handler beside it.

First, each of the connections appends one event a request and waits for the
answer before the next; then batches; each answer comes when the events are as
durable as --durability says. The yardstick is the same requests, of one event, to a
handler that reads the body and answers with as many bytes as the node does, and
keeps nothing. The ratio is the node's requests a second over its.

Then readers follow the stream while --rate events a second are appended, and the
time from before each append to each reader's having the event is taken. With --stuck,
it goes on with so many readers besides that take nothing, without them, and with them
again, and what that does to appends and to memory is told. Clients
are as thin as they can be, but they take their share of the machine.`,
		Example: lines(
			"toka-node bench http",
			"toka-node bench http --stuck 1",
			"toka-node bench http --readers 100 --rate 500 --duration 10s -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.level, err = journal.ParseLevel(durability); err != nil {
				return usage("%w", err)
			}
			switch {
			case o.connections < 1 || o.connections > maxBenchWriters:
				return usage("connections %d: use 1 to %d", o.connections, maxBenchWriters)
			case o.batch < 2 || o.batch > 10_000:
				return usage("batch %d: use 2 to 10000", o.batch)
			case o.readers < 0 || o.readers > maxBenchWriters:
				return usage("readers %d: use 0 to %d", o.readers, maxBenchWriters)
			case o.stuck < 0 || o.stuck > maxBenchWriters || o.stuck > 0 && o.readers == 0:
				return usage("stuck %d: use 0 to %d, beside --readers", o.stuck, maxBenchWriters)
			case o.rate < 1 || o.rate > 1_000_000:
				return usage("rate %d: use 1 to 1000000", o.rate)
			case o.duration <= 0 || o.duration > maxBenchDuration:
				return usage("duration %v: use more than 0s, at most %v", o.duration, maxBenchDuration)
			}
			return a.inBenchDir(o.level, func(dir string) error {
				o.dir = dir
				return a.benchHTTP(c.Context(), &o)
			})
		},
	}
	c.Flags().IntVar(&o.connections, "connections", 64, "how many append at the same time")
	c.Flags().IntVar(&o.batch, "batch", 100, "events in a batch")
	c.Flags().IntVar(&o.readers, "readers", 1000, "how many follow; 0 leaves that out")
	c.Flags().IntVar(&o.stuck, "stuck", 0, "how many more follow and take nothing")
	c.Flags().IntVar(&o.rate, "rate", 1000, "events a second that readers follow")
	c.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure each")
	c.Flags().StringVar(&durability, "durability", journal.LevelFsync.String(), "fsync, os or memory")
	c.Flags().StringVar(&a.data, "data", "", "an empty or new directory to work in; default a temporary one, removed at the end")
	return a.withOutput(c)
}

// httpResult is what bench http prints.
type httpResult struct {
	Benchmark   string  `json:"benchmark"`
	Connections int     `json:"connections"`
	Durability  string  `json:"durability"`
	CPUs        int     `json:"cpus"`
	Dir         string  `json:"dir,omitempty"`
	Singles     measure `json:"singles"`
	Bare        measure `json:"bare"`
	Ratio       float64 `json:"ratio"`
	Batch       int     `json:"batch"`
	Batches     measure `json:"batches"`
	EventsPerS  float64 `json:"batched_events_per_s"`
	Live        *live   `json:"live,omitempty"`
}

// measure is what requests came to.
type measure struct {
	PerS float64 `json:"per_s"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
}

// live is what readers saw.
type live struct {
	Readers   int     `json:"readers"`
	Rate      int     `json:"rate"` // asked for
	Events    uint64  `json:"events"`
	PerS      float64 `json:"events_per_s"`
	Delivered uint64  `json:"delivered"`
	Missing   uint64  `json:"missing"` // deliveries that did not come
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	AppendP99 float64 `json:"append_p99_ms"`
	Stuck     *stuck  `json:"stuck,omitempty"`
}

// stuck is what readers that take nothing do to the others.
type stuck struct {
	Readers    int     `json:"readers"`
	AppendP99  float64 `json:"append_p99_ms"` // with them
	Ratio      float64 `json:"ratio"`         // of that to the one without
	HeapBefore float64 `json:"heap_before_mib"`
	HeapAfter  float64 `json:"heap_after_mib"` // with them, at the end
}

func (a *app) benchHTTP(ctx context.Context, o *httpBench) error {
	if !a.json() {
		fmt.Fprintf(a.streams.Err, "measuring for %v each: single appends, a bare handler, batches, readers\n", o.duration)
	}
	r, err := o.run(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing was measured")
	}
	if err != nil {
		return err
	}
	if a.json() {
		return a.object(r)
	}
	t := a.table()
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("conditions", "%d connections, durability %s, %d CPUs, clients in the same process", r.Connections, r.Durability, r.CPUs)
	row("one event a request", "%.0f requests/s\tp50 %.0f µs\tp99 %.0f µs", r.Singles.PerS, r.Singles.P50, r.Singles.P99)
	row("bare handler", "%.0f requests/s\tp50 %.0f µs\tp99 %.0f µs", r.Bare.PerS, r.Bare.P50, r.Bare.P99)
	row("ratio", "%.2f", r.Ratio)
	row(fmt.Sprintf("batches of %d", r.Batch), "%.0f events/s\tp50 %.0f µs\tp99 %.0f µs", r.EventsPerS, r.Batches.P50, r.Batches.P99)
	if l := r.Live; l != nil {
		row("readers", "%d at %.0f events/s\tp50 %.1f ms\tp99 %.1f ms, %d of %d deliveries missing", l.Readers, l.PerS, l.P50, l.P99, l.Missing, l.Delivered+l.Missing)
		row("appends meanwhile", "p99 %.2f ms", l.AppendP99)
		if s := l.Stuck; s != nil {
			row("with stuck readers", "%d: p99 %.2f ms, %.2f of that without\theap %.0f MiB before, %.0f MiB with them", s.Readers, s.AppendP99, s.Ratio, s.HeapBefore, s.HeapAfter)
		}
	}
	return t.Flush()
}

func (o *httpBench) run(ctx context.Context) (_ *httpResult, err error) {
	r := &httpResult{Benchmark: "http", Connections: o.connections, Durability: o.level.String(), CPUs: runtime.GOMAXPROCS(0), Dir: o.dir, Batch: o.batch}
	n, err := o.serve()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	single := func(writer, i int) []byte { return request("application/cloudevents+json", benchEvent(writer, i)) }
	if r.Singles, err = o.load(ctx, n.addr, single); err != nil {
		return nil, err
	}
	bare, err := serveBare(o, n.addr)
	if err != nil {
		return nil, err
	}
	r.Bare, err = o.load(ctx, bare.addr, single)
	if err = errors.Join(err, bare.stop()); err != nil {
		return nil, err
	}
	r.Ratio = r.Singles.PerS / r.Bare.PerS
	r.Batches, err = o.load(ctx, n.addr, func(writer, i int) []byte {
		texts := make([]string, o.batch)
		for k := range texts {
			texts[k] = benchEvent(writer, 1<<40+i*o.batch+k)
		}
		return request("application/cloudevents-batch+json", "["+strings.Join(texts, ",")+"]")
	})
	if err != nil {
		return nil, err
	}
	r.EventsPerS = r.Batches.PerS * float64(o.batch)
	if o.readers > 0 {
		r.Live, err = o.follow(ctx, n)
	}
	return r, err
}

// benchEvent is an event with 64 bytes of data.
func benchEvent(writer, i int) string {
	return fmt.Sprintf(`{"specversion":"1.0","source":"writer-%04d","id":"%d","type":"bench.appended","data":{"n":%d,"filling":%q}}`, writer, i, i, strings.Repeat("x", 40))
}

func request(kind, body string) []byte {
	return fmt.Appendf(nil, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(body), body)
}

// benchNode is a node in this process, or a bare handler.
type benchNode struct {
	addr string
	j    *journal.Journal
	stop func() error
}

func (o *httpBench) serve() (*benchNode, error) {
	dir := ""
	if o.dir != "" {
		dir = filepath.Join(o.dir, "journal")
	}
	j, err := journal.Open(dir, journal.Options{Level: o.level})
	if err != nil {
		return nil, &exit{ExitRefused, err}
	}
	registry := actors.NewRegistry()
	sys, err := actors.Start(j, registry, actors.Options{})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	here := dir
	if here == "" {
		here = os.TempDir()
	}
	tokens, err := auth.Open(here)
	if err != nil {
		return nil, errors.Join(err, sys.Stop(context.Background()), j.Close())
	}
	s := server.New(server.Options{Tokens: tokens, Find: find, Describe: func(e events.Event) any { return toJSON(e) }})
	s.Ready(server.Node{Journal: j, System: sys, Registry: registry})
	n := &benchNode{j: j}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		n.addr = ln.Addr().String()
		go func() { _ = s.Serve(ln, false) }() // until stop
	}
	n.stop = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return errors.Join(s.Shutdown(ctx), sys.Stop(ctx), j.Close())
	}
	if err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

// serveBare serves a handler that answers as the node at like does and does
// nothing for it.
func serveBare(o *httpBench, like string) (*benchNode, error) {
	c, err := dialBench(like)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	answer, err := c.exchange(request("application/cloudevents+json", benchEvent(o.connections, 0)))
	if err != nil {
		return nil, err
	}
	answer = bytes.Clone(answer)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(answer)
	})}
	go func() { _ = srv.Serve(ln) }() // until it is closed
	return &benchNode{addr: ln.Addr().String(), stop: srv.Close}, nil
}
