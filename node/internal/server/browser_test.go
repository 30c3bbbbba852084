package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/node/internal/server"
)

// page follows the stream as any page would, and says what it saw.
const page = `<!doctype html><title>follower</title><script>
let seen = 0, wrong = 0, opened = 0;
const source = new EventSource("/v1/events/stream?after=0");
source.onopen = () => opened++;
source.onmessage = e => {
  seen++;
  if (e.lastEventId !== "1-" + seen || JSON.parse(e.data).sequence * 1 !== seen) wrong++;
  if (seen === %d) {
    source.close();
    fetch("/result", {method: "POST", body: JSON.stringify({seen, wrong, opened})});
  }
};
</script>`

// TestBrowser has a browser's own EventSource follow the stream over connections
// that are cut, and holds it to see every event once. TOKA_BROWSER names the
// browser, a Chromium; make clients sets it.
func TestBrowser(t *testing.T) {
	browser := os.Getenv("TOKA_BROWSER")
	if browser == "" {
		t.Skip("TOKA_BROWSER names no Chromium; make clients does")
	}
	const n, cuts = 20_000, 5
	r := start(t, server.Options{})
	r.feed("s", n, 20)
	type result struct{ Seen, Wrong, Opened int }
	results := make(chan result, 1)
	var cut atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, page, n) })
	mux.HandleFunc("POST /result", func(_ http.ResponseWriter, req *http.Request) {
		var got result
		if err := json.NewDecoder(req.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		results <- got
	})
	// As a proxy that loses connections, in the middle of whatever is sent.
	mux.HandleFunc("GET /v1/events/stream", func(w http.ResponseWriter, req *http.Request) {
		out, err := http.NewRequestWithContext(req.Context(), req.Method, r.url+req.URL.RequestURI(), http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		out.Header, out.Host = req.Header.Clone(), req.Host
		res, err := (&http.Client{Transport: client.Transport}).Do(out)
		if err != nil {
			return // the browser is gone
		}
		defer func() { _ = res.Body.Close() }()
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		body := io.Reader(res.Body)
		if cut.Load() < cuts {
			body = io.LimitReader(body, 300_000+7*cut.Load())
		}
		_, err = io.Copy(flushing{w, http.NewResponseController(w)}, body)
		if err == nil && cut.Add(1) <= cuts {
			panic(http.ErrAbortHandler)
		}
	})
	front := httptest.NewServer(mux)
	defer front.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", front.URL+"/page")
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = c.Wait() // it was ended
	}()
	select {
	case got := <-results:
		t.Logf("%d events over %d connections, %d of them cut", got.Seen, got.Opened, cut.Load())
		if got.Seen != n || got.Wrong > 0 || got.Opened <= cuts || cut.Load() < cuts {
			t.Errorf("%+v, %d cut", got, cut.Load())
		}
	case <-ctx.Done():
		t.Errorf("the browser says nothing; %d connections were cut", cut.Load())
	}
}

// flushing passes on what it gets at once.
type flushing struct {
	io.Writer
	rc *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
