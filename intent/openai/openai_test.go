package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/openai"
)

var _ intent.Embedder = (*openai.Embedder)(nil)

// asked is a request as a server sees it.
type asked struct {
	Model  string   `json:"model"`
	Input  []string `json:"input"`
	Format string   `json:"encoding_format"`
}

// serve starts a server on loopback that counts requests, and returns an
// embedder of 4 dimensions that asks it.
func serve(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int, a asked), change ...func(*openai.Options)) (*openai.Embedder, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a asked
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil || r.URL.Path != "/v1/embeddings" || r.Method != http.MethodPost || a.Model != "m" || a.Format != "float" {
			t.Errorf("%s %s: %+v, %v", r.Method, r.URL, a, err)
		}
		answer(w, r, int(n.Add(1)), a)
	}))
	t.Cleanup(s.Close)
	o := openai.Options{URL: s.URL + "/v1", Model: "m", Dimension: 4, Backoff: time.Microsecond}
	for _, f := range change {
		f(&o)
	}
	e, err := openai.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e, &n
}

// good answers each text with its length, the last text first.
func good(w http.ResponseWriter, a asked) {
	var data []string
	for i, text := range a.Input {
		data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%d,0,1e-3,-1]}`, i, len(text)))
	}
	slices.Reverse(data)
	fmt.Fprintf(w, `{"object":"list","model":"m","data":[%s],"usage":{"total_tokens":1}}`, strings.Join(data, ","))
}

func TestBatches(t *testing.T) {
	var sizes []int
	e, _ := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, a asked) {
		sizes = append(sizes, len(a.Input))
		good(w, a)
	}, func(o *openai.Options) { o.Batch = 3 })
	texts := []string{"a", "bb", "", "ccc", " \n", "dddd", "eeeee", "ffffff", "ggggggg"}
	vs, err := e.Embed(t.Context(), texts)
	if err != nil || len(vs) != len(texts) {
		t.Fatalf("%d vectors, %v", len(vs), err)
	}
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			if vs[i] != nil {
				t.Errorf("a blank text has %v", vs[i])
			}
		} else if !slices.Equal(vs[i], []float32{float32(len(text)), 0, 1e-3, -1}) {
			t.Errorf("%q: %v", text, vs[i])
		}
	}
	if !slices.Equal(sizes, []int{3, 3, 1}) {
		t.Errorf("batches of %d", sizes)
	}
	if e.Name() != "openai:m" || e.Dimension() != 4 {
		t.Errorf("%s, %d", e.Name(), e.Dimension())
	}
}

func TestRetries(t *testing.T) {
	e, n := serve(t, func(w http.ResponseWriter, r *http.Request, n int, a asked) {
		switch n {
		case 1:
			http.Error(w, `{"error":{"message":"loading the model"}}`, http.StatusServiceUnavailable)
		case 2: // the connection breaks inside the answer
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"data":[`))
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			good(w, a)
		}
	})
	vs, err := e.Embed(t.Context(), []string{"abc"})
	if err != nil || n.Load() != 4 || vs[0][0] != 3 {
		t.Errorf("%v, %v after %d requests", vs, err, n.Load())
	}
}

func TestGivesUp(t *testing.T) {
	e, n := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
		http.Error(w, `{"error":"out of memory"}`, http.StatusInternalServerError)
	})
	vs, err := e.Embed(t.Context(), []string{"abc"})
	if vs != nil || err == nil || errors.Is(err, intent.ErrEmbedding) || n.Load() != 4 {
		t.Fatalf("%v, %v after %d requests", vs, err, n.Load())
	}
	for _, want := range []string{"attempt 4 of 4", "500", `"out of memory"`, "/v1/embeddings", "m at "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

// TestNoServer asks where nobody listens.
func TestNoServer(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	e, err := openai.New(openai.Options{URL: s.URL, Model: "m", Backoff: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Embed(t.Context(), []string{"a"}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func TestNoRetries(t *testing.T) {
	for code, texts := range map[int]bool{400: true, 401: false, 403: false, 404: false, 413: true, 422: true} {
		e, n := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
			http.Error(w, `{"error":{"message":"no such thing"}}`, code)
		})
		_, err := e.Embed(t.Context(), []string{"abc"})
		if n.Load() != 1 || err == nil || !strings.Contains(err.Error(), "no such thing") || errors.Is(err, intent.ErrEmbedding) != texts {
			t.Errorf("%d: %v after %d requests", code, err, n.Load())
		}
	}
}

func TestBadAnswers(t *testing.T) {
	vector := func(numbers string) string { return `{"data":[{"index":0,"embedding":[` + numbers + `]}]}` }
	for name, c := range map[string]struct {
		answer, want string
		requests     int64
	}{
		"nothing":           {"", "cannot be read", 4},
		"nonsense":          {"<html>Welcome</html>", `it begins with "<html>Welcome`, 4},
		"another shape":     {`{"embeddings":[[1,2,3,4]]}`, "0 vectors for 1 text", 4},
		"fewer":             {`{"data":[]}`, "0 vectors for 1 text", 4},
		"more":              {`{"data":[{"index":0,"embedding":[1,2,3,4]},{"index":1,"embedding":[1,2,3,4]}]}`, "2 vectors for 1 text", 4},
		"another number":    {`{"data":[{"index":7,"embedding":[1,2,3,4]}]}`, "number 7 of 1", 4},
		"another dimension": {vector("1,2,3"), "3 dimensions, want 4", 1},
		"no dimension":      {vector(""), "0 dimensions, want 4", 1},
		"NaN":               {vector("1,NaN,3,4"), "invalid character 'N'", 4},
		"null":              {vector("1,null,3,4"), "null", 4},
		"text":              {vector(`"1",2,3,4`), "cannot be read", 4},
		"no vector":         {`{"data":[{"index":0}]}`, "cannot be read", 4},
		"zero":              {vector("0,0,-0,0"), "points nowhere", 4},
		"beyond floats":     {vector("1e39,0,0,0"), "cannot be read", 4},
	} {
		t.Run(name, func(t *testing.T) {
			e, n := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) { _, _ = w.Write([]byte(c.answer)) })
			vs, err := e.Embed(t.Context(), []string{"abc"})
			if vs != nil || !errors.Is(err, intent.ErrEmbedding) || !strings.Contains(err.Error(), c.want) || n.Load() != c.requests {
				t.Errorf("%v, %v after %d requests; want %q after %d", vs, err, n.Load(), c.want, c.requests)
			}
		})
	}
	// The largest float is no bad vector.
	e, _ := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
		_, _ = w.Write([]byte(vector("3.4e38,3.4e38,3.4e38,-3.4e38")))
	})
	if vs, err := e.Embed(t.Context(), []string{"abc"}); err != nil || vs[0][0] != 3.4e38 {
		t.Errorf("%v, %v", vs, err)
	}
}

func TestSameNumberTwice(t *testing.T) {
	e, _ := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
		_, _ = w.Write([]byte(`{"data":[{"index":0,"embedding":[1,2,3,4]},{"index":0,"embedding":[1,2,3,4]}]}`))
	})
	if _, err := e.Embed(t.Context(), []string{"a", "b"}); !errors.Is(err, intent.ErrEmbedding) {
		t.Error(err)
	}
}

func TestHugeAnswer(t *testing.T) {
	var sent atomic.Int64
	e, n := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
		block := []byte(strings.Repeat("0,", 32<<10))
		_, _ = w.Write([]byte(`{"data":[{"index":0,"embedding":[`))
		for range 4096 {
			m, err := w.Write(block)
			if sent.Add(int64(m)); err != nil {
				return
			}
		}
	})
	_, err := e.Embed(t.Context(), []string{"a"})
	if !errors.Is(err, intent.ErrEmbedding) || !strings.Contains(err.Error(), "more than") || n.Load() != 1 {
		t.Errorf("%v after %d requests", err, n.Load())
	}
	if sent.Load() > 64<<20 {
		t.Errorf("%d bytes were taken", sent.Load())
	}
}

func TestTimeout(t *testing.T) {
	e, n := serve(t, func(_ http.ResponseWriter, r *http.Request, _ int, _ asked) { <-r.Context().Done() },
		func(o *openai.Options) { o.Timeout, o.Attempts = 20*time.Millisecond, 2 })
	_, err := e.Embed(t.Context(), []string{"a"})
	if err == nil || !strings.Contains(err.Error(), "no answer within 20ms") || n.Load() != 2 {
		t.Errorf("%v after %d requests", err, n.Load())
	}
}

// An interruption ends a wait that the server asked for.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	e, _ := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int, _ asked) {
		w.Header().Set("Retry-After", "25")
		w.WriteHeader(http.StatusTooManyRequests)
		time.AfterFunc(10*time.Millisecond, stop)
	})
	if _, err := e.Embed(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestKeyIsNotShown(t *testing.T) {
	e, _ := serve(t, func(w http.ResponseWriter, r *http.Request, _ int, _ asked) {
		if got := r.Header.Get("Authorization"); got != "Bearer sesame" {
			t.Errorf("authorization %q", got)
		}
		http.Error(w, "{}", http.StatusUnauthorized)
	}, func(o *openai.Options) {
		o.Key = "sesame"
		o.URL = strings.Replace(o.URL, "http://", "http://me:sesame@", 1)
	}, func(o *openai.Options) { o.Attempts = 1 })
	if _, err := e.Embed(t.Context(), []string{"a"}); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []openai.Options{
		{Model: "m"},
		{URL: "127.0.0.1:11434", Model: "m"},
		{URL: "file:///etc", Model: "m"},
		{URL: "http://", Model: "m"},
		{URL: "http://me:sesame@[::1", Model: "m"},
		{URL: "http://127.0.0.1/v1"},
		{URL: "http://127.0.0.1/v1", Model: "m", Batch: -1},
	} {
		if _, err := openai.New(o); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
