package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tokaworks/toka/node/internal/server"
)

// countedWrites counts what its connections hand to the system.
type countedWrites struct {
	net.Listener
	n atomic.Int64
}

func (l *countedWrites) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countedConn{c, &l.n}, err
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// TestStreamLeavesTogether reads 40 KB of a stream, which is one chunk, and
// counts the writes that it took: net/http and TLS would each make a dozen of it.
func TestStreamLeavesTogether(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	for _, c := range []struct {
		name, scheme string
		options      server.Options
	}{
		{"plain", "http://", server.Options{}},
		{"TLS", "https://", server.Options{TLS: secure.TLS}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.options)
			r.feed("s", 40, 500)
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ln := &countedWrites{Listener: inner}
			go func() {
				if err := r.s.Serve(ln, false); !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			}()
			get := func(path string) (string, int64) {
				before := ln.n.Load()
				res, err := secure.Client().Get(c.scheme + ln.Addr().String() + path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if err = errors.Join(err, res.Body.Close()); err != nil {
					t.Fatal(err)
				}
				return string(body), ln.n.Load() - before
			}
			get("/livez") // the handshake is done
			body, writes := get("/v1/events/stream?after=0&limit=40")
			if n := strings.Count(body, "\ndata: "); len(body) < 25_000 || n != 40+2 {
				t.Fatalf("%d bytes with %d events", len(body), n)
			}
			// The header with the first word, the events, the last word, the end.
			if writes > 4 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

// TestManyReadersInTurns has more readers than are woken at once, and an event
// after which nothing comes that could wake the rest.
func TestManyReadersInTurns(t *testing.T) {
	const readers = 120
	r := start(t, server.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var opened, all sync.WaitGroup
	opened.Add(readers)
	for range readers {
		all.Go(func() {
			once := sync.OnceFunc(opened.Done)
			defer once()
			got := 0
			err := r.follow(ctx, "", "", func(_, name, _ string) bool {
				if name != "" {
					once()
					return true
				}
				got++
				return got < 3
			})
			if err != nil || got != 3 {
				t.Errorf("%d events: %v", got, err)
			}
		})
	}
	opened.Wait()
	for range 3 {
		r.feed("s", 1, 10)
	}
	all.Wait()
}
