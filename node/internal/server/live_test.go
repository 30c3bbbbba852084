package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
	"github.com/tokaworks/toka/node/internal/server/auth"
)

// feed appends n events to a stream of the journal.
func (r *running) feed(stream string, n, size int) {
	r.t.Helper()
	const group = 100
	for done := 0; done < n; done += group {
		ds := make([]events.Draft, min(group, n-done))
		for i := range ds {
			ds[i] = events.Draft{Stream: stream, Kind: "tick." + []string{"even", "odd"}[i%2], Payload: make([]byte, size)}
		}
		if _, err := r.j.Append(context.Background(), journal.Write{Events: ds}); err != nil {
			r.t.Error(err)
			return
		}
	}
}

func position(t testing.TB, id string) uint64 {
	t.Helper()
	_, p, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(p, 10, 64)
	if err != nil {
		t.Errorf("id %q", id)
	}
	return n
}

// TestStreamResumes cuts a reader's connection again and again while events
// come in, and holds what it saw to be every event once. TOKA_EVENTS sets how
// many events there are.
func TestStreamResumes(t *testing.T) {
	n, cuts := 20_000, 100
	if v, err := strconv.Atoi(os.Getenv("TOKA_EVENTS")); err == nil {
		n = v
	}
	r := start(t, server.Options{})
	go r.feed("s", n, 20)
	seen, last, connections := 0, "", 0
	wrong := 0
	for seen < n && t.Context().Err() == nil {
		connections++
		until := seen + n/cuts + 1 // and what is on its way is lost with the connection
		query := ""
		if last == "" {
			query = "?after=0"
		}
		err := r.follow(t.Context(), query, last, func(id, name, _ string) bool {
			if name != "" {
				return true
			}
			seen++
			if int(position(t, id)) != seen {
				wrong++
			}
			last = id
			return seen < until && seen < n
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d events over %d connections", seen, connections)
	if seen != n || wrong > 0 || connections < cuts {
		t.Errorf("saw %d of %d events, %d out of place, over %d connections", seen, n, wrong, connections)
	}
}

func TestStreamFilters(t *testing.T) {
	r := start(t, server.Options{Heartbeat: 10 * time.Millisecond})
	r.feed("a", 10, 1)
	r.feed("b", 10, 1)
	count := func(query string) (n int) {
		t.Helper()
		err := r.follow(t.Context(), query, "", func(_, name, data string) bool {
			switch name {
			case "":
				n++
			case "toka.end":
				if !strings.Contains(data, `"limit"`) {
					t.Errorf("%s: %s", query, data)
				}
				return false
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
		return n
	}
	if n := count("?after=0&limit=7&kind=tick.even"); n != 7 {
		t.Errorf("%d events", n)
	}
	// At the end of the journal, where the hub selects.
	for _, c := range []struct {
		query string
		want  int
	}{{"?stream=b&limit=5", 5}, {"?kind=tick.odd&limit=5", 5}, {"?agent=a&limit=3", 3}} {
		ctx, cancel := context.WithCancel(t.Context())
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for ctx.Err() == nil {
				r.feed("a", 4, 1)
				r.feed("b", 4, 1)
			}
		})
		if n := count(c.query); n != c.want {
			t.Errorf("%s: %d events", c.query, n)
		}
		cancel()
		feeding.Wait()
	}
	for query, want := range map[string]string{"?after=9-1": "status 410", "?after=x": "status 400", "?kind=..": "status 422", "?color=red": "status 422"} {
		if err := r.follow(t.Context(), query, "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// TestSlowReader holds that a reader that takes nothing costs nobody anything
// but itself, is let go, and misses nothing when it comes back.
func TestSlowReader(t *testing.T) {
	r := start(t, server.Options{Patience: 200 * time.Millisecond})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(1 << 16); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	const n, size = 400, 100_000 // more than any socket's buffers hold
	r.feed("s", n, size)
	// The node lets go of it by itself: nothing is read here until then.
	deadline := time.Now().Add(15 * time.Second)
	for r.s.Readers() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if r.s.Readers() > 0 {
		t.Fatal("the reader is still held")
	}
	text, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Logf("the connection ended with %v", err)
	}
	// What arrived whole counts; it comes back after that.
	last := uint64(0)
	for _, frame := range strings.SplitAfter(string(text), "\n\n") {
		if id, _, ok := strings.Cut(strings.TrimPrefix(frame, "id: "), "\n"); ok && strings.HasSuffix(frame, "\n\n") && !strings.Contains(frame, "event:") && strings.HasPrefix(frame, "id: ") {
			last = position(t, id)
		}
	}
	if last >= n {
		t.Fatalf("it was not slow: all %d events arrived", last)
	}
	err = r.follow(t.Context(), fmt.Sprintf("?limit=%d", n-last), fmt.Sprintf("1-%d", last), func(id, name, _ string) bool {
		if name == "" {
			if last++; position(t, id) != last {
				t.Errorf("event %s, want %d", id, last)
			}
		}
		return name != "toka.end"
	})
	if err != nil || last != n {
		t.Errorf("it came to %d of %d, %v", last, n, err)
	}
}

func TestStreamGap(t *testing.T) {
	r := start(t, server.Options{})
	r.feed("s", 50, 1)
	var gap string
	err := r.follow(t.Context(), "?after=5&gap=10", "", func(_, name, data string) bool {
		gap = data
		return name != "toka.gap"
	})
	if err != nil || gap != `{"after":"1-5","cursor":"1-50","until":"1-50"}` {
		t.Errorf("%s, %v", gap, err)
	}
}

func TestStreamEndsWithToken(t *testing.T) {
	r := start(t, server.Options{Heartbeat: 10 * time.Millisecond})
	_, text := r.token(auth.Token{Scopes: []auth.Scope{auth.Read}, Name: "reader"})
	var end string
	client := r.withToken(text)
	err := client.follow(t.Context(), "", "", func(_, name, data string) bool {
		if name == "toka.start" {
			if _, err := r.tokens.Revoke("reader"); err != nil {
				t.Error(err)
			}
			// With another one, so that a token is needed still.
			r.token(auth.Token{Scopes: []auth.Scope{auth.Read}, Name: "other"})
		}
		end = data
		return name != "toka.end"
	})
	if err != nil || !strings.Contains(end, `"token"`) {
		t.Errorf("%s, %v", end, err)
	}
}

func TestStreamEndsWithTheNode(t *testing.T) {
	r := start(t, server.Options{})
	var end string
	err := r.follow(t.Context(), "", "", func(_, name, data string) bool {
		if name == "toka.start" {
			go r.stop()
		}
		end = data
		return name != "toka.end"
	})
	if err != nil || end != `{"cursor":"1-0","reason":"stopping"}` {
		t.Errorf("%s, %v", end, err)
	}
}
