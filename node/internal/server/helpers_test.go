package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
	"github.com/tokaworks/toka/supervisor"
)

// running is a served journal in memory.
type running struct {
	t         testing.TB
	j         *journal.Journal
	sys       *actors.System
	consumers *consumer.Set
	clerk     *clerk
	spawn     func() error // the clerk
	s         *server.Server
	tokens    *auth.Tokens
	url       string
	options   server.Options
	bearer    string // sent with every request, if not empty
	done      bool
}

// token makes a token.
func (r *running) token(spec auth.Token) (auth.Token, string) {
	r.t.Helper()
	made, text, err := r.tokens.Create(spec, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return made, text
}

// withToken returns the same server for a client with a token.
func (r *running) withToken(text string) *running {
	c := *r
	c.bearer = text
	return &c
}

func start(t testing.TB, o server.Options) *running {
	t.Helper()
	return startOn(t, o, journal.Options{})
}

func startOn(t testing.TB, o server.Options, store journal.Options) *running {
	t.Helper()
	store.Level = journal.LevelMemory
	j, err := journal.Open("", store)
	if err != nil {
		t.Fatal(err)
	}
	c := &clerk{}
	b := c.behaviour()
	registry := actors.NewRegistry(light, b)
	sys, err := actors.Start(j, registry, actors.Options{Supervision: supervisor.Policy{MaxAttempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if o.Tokens == nil {
		if o.Tokens, err = auth.Open(t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	o.Find = func(ctx context.Context, j *journal.Journal, id string) (events.Event, error) {
		u, err := events.ParseID(id)
		if err != nil {
			es, err := j.ByOutsideID(ctx, id)
			if err != nil || len(es) == 0 {
				return events.Event{}, errors.Join(err, journal.ErrNotFound)
			}
			return es[0], nil
		}
		return j.ByID(ctx, u)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	o.Describe = func(e events.Event) any { return map[string]any{"id": e.ID, "position": e.Position} }
	if o.Metrics == nil {
		o.Metrics = http.NotFoundHandler()
	}
	set, err := consumer.Open(j)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, j: j, clerk: c, spawn: func() error { return b.Spawn(sys, "clerk") }, sys: sys, consumers: set, s: server.New(o), tokens: o.Tokens, options: o}
	r.url = "http://" + r.listen().String()
	r.s.Ready(server.Node{Journal: j, System: sys, Registry: registry, Consumers: set})
	t.Cleanup(r.stop)
	return r
}

func (r *running) listen() net.Addr {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		if err := r.s.Serve(ln, false); !errors.Is(err, http.ErrServerClosed) {
			r.t.Error(err)
		}
	}()
	return ln.Addr()
}

func (r *running) stop() {
	if r.done {
		return
	}
	r.done = true
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(r.s.Shutdown(ctx), r.sys.Stop(ctx), r.consumers.Close(), r.j.Close()); err != nil {
		r.t.Error(err)
	}
}

// client has connections of its own, so that a test can count goroutines.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second}

type answer struct {
	status int
	header http.Header
	body   string
}

func (r *running) do(method, path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

// post appends one structured event or a batch.
func (r *running) post(body string, header ...string) answer {
	r.t.Helper()
	kind := structured
	if strings.HasPrefix(strings.TrimSpace(body), "[") {
		kind = batched
	}
	return r.do("POST", "/v1/events", body, append([]string{"Content-Type", kind}, header...)...)
}

// cloud returns an event's text; rest is more members.
func cloud(source, id, kind, rest string) string {
	return fmt.Sprintf(`{"specversion":"1.0","source":%q,"id":%q,"type":%q%s}`, source, id, kind, rest)
}

func (a answer) appended(t testing.TB) (out server.Appended) {
	t.Helper()
	a.decode(t, &out)
	return out
}

func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v in %d %s", err, a.status, a.body)
	}
}

// refusal checks an error and returns it.
func (a answer) refusal(t testing.TB, status int, code string) (p server.Problem) {
	t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d %s, want %d; %s", a.status, a.header.Get("Content-Type"), status, a.body)
		return p
	}
	a.decode(t, &p)
	if p.Code != code || p.Status != status || p.Detail == "" || p.Type != "urn:toka:problem:"+code {
		t.Errorf("problem %+v, want code %s", p, code)
	}
	return p
}

// follow reads a stream until f returns false or it ends.
func (r *running) follow(ctx context.Context, query, lastID string, f func(id, name, data string) bool) error {
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+"/v1/events/stream"+query, http.NoBody)
	if err != nil {
		return err
	}
	if r.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := (&http.Client{Transport: client.Transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(res.Body)
		return fmt.Errorf("status %d: %s %w", res.StatusCode, bytes.TrimSpace(b), err)
	}
	var id, name, data string
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if data != "" && !f(id, name, data) {
				return nil
			}
			name, data = "", ""
		}
	}
}

// light is a resource with one command.
var light = &actors.Resource[int, Turn, Turned]{
	Name: "light", Version: 1, Commands: turn, Events: turned,
	Decide: func(_ *actors.Turn, state int, c Turn) ([]Turned, error) {
		if c.By == 0 {
			return nil, errors.New("turn it by something")
		}
		return []Turned{{c.By}}, nil
	},
	Evolve: func(state int, e Turned) int { return state + e.By },
}

type (
	Turn   struct{ By int }
	Turned struct{ By int }
)

var (
	turn   = events.NewType[Turn]("light.turn", 1)
	turned = events.NewType[Turned]("light.turned", 1)
)

// clerk is an agent that fails on every event of work until it is mended.
type clerk struct{ mended atomic.Bool }

func (c *clerk) behaviour() *actors.Agent[struct{}] {
	return actors.NewAgent("clerk", 1, "work.*", func(t *actors.Turn, _ events.Event) error {
		if !c.mended.Load() {
			return errors.New("no ink")
		}
		return actors.Emit(t, turned, Turned{1})
	})
}
