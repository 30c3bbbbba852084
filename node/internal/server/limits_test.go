package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server"
)

// Who asks too often is refused.
func TestRate(t *testing.T) {
	r := start(t, server.Options{RatePerToken: 5})
	var refused int
	for range 20 {
		if a := r.do("GET", "/v1/stats", ""); a.status == 429 {
			refused++
		} else if a.status != 200 {
			t.Errorf("%d", a.status)
		}
	}
	if refused < 10 {
		t.Errorf("only %d of 20 requests at once were refused", refused)
	}
}

// A reader too many is told so, and when to come back; a place that becomes free
// is given away again.
func TestStreamsAreBounded(t *testing.T) {
	r := start(t, server.Options{Streams: 1})
	ctx, stop := context.WithCancel(t.Context())
	follows, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.follow(ctx, "?after=0", "", func(string, string, string) bool {
			close(follows)
			<-ctx.Done()
			return false
		})
	}()
	r.post(cloud("s", "1", "x.y", "")).appended(t)
	<-follows
	a := r.do("GET", "/v1/events/stream?after=0&limit=1", "")
	a.refusal(t, http.StatusServiceUnavailable, "busy")
	if a.header.Get("Retry-After") != "5" {
		t.Errorf("come back after %q", a.header.Get("Retry-After"))
	}
	if a := r.do("GET", "/v1/events", ""); a.status != http.StatusOK {
		t.Errorf("other requests: %d", a.status)
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for begun := time.Now(); time.Since(begun) < 20*time.Second; { // the server learns of it a moment later
		if a = r.do("GET", "/v1/events/stream?after=0&limit=1", ""); a.status == http.StatusOK {
			return
		}
	}
	t.Errorf("the place is not free again: %d", a.status)
}

// A connection too many is closed as it comes, those that are there go on, and
// when one of them ends there is room again.
func TestConnectionsAreBounded(t *testing.T) {
	r := start(t, server.Options{Connections: 2})
	request := "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	ask := func(c net.Conn) error {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return errors.Join(err, res.Body.Close())
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := dial(), dial()
	if err := errors.Join(ask(first), ask(second)); err != nil {
		t.Fatal(err)
	}
	if err := ask(dial()); err == nil {
		t.Error("a third connection is served")
	}
	if err := errors.Join(ask(first), ask(second)); err != nil {
		t.Errorf("those that are there: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 20*time.Second; {
		c := dial()
		if ask(c) == nil {
			return
		}
		_ = c.Close()
	}
	t.Error("the place is not free again")
}
