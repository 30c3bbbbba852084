package openai

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tokaworks/toka/intent"
)

// Options say which server to ask, and how.
type Options struct {
	// URL is where the interface begins, such as http://127.0.0.1:11434/v1.
	URL string

	// Model is what the server calls the model.
	Model string

	// Dimension is the length of its vectors; 0 means 768. It is not sent: a
	// model that answers with another one is refused.
	Dimension int

	// Key is sent as a bearer token if there is one. It stands in no error.
	Key string

	Batch    int           // texts in a request; 0 means 64
	Timeout  time.Duration // of one request, its answer included; 0 means 30 s
	Attempts int           // for one request; 0 means 4
	Backoff  time.Duration // before the second attempt, then doubled; 0 means 250 ms

	// Client sends the requests; nil means one of the package's own.
	Client *http.Client
}

// maxWait bounds the time between two attempts, also if a server asks for more.
const maxWait = 30 * time.Second

// Embedder asks a server. Make one with [New].
type Embedder struct {
	o   Options
	url *url.URL // of embeddings
}

// New returns an embedder, without asking the server.
func New(o Options) (*Embedder, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		// Not the error: it has the URL in it, which may have a password.
		return nil, errors.New("openai: the URL is none of http or https; give one such as http://127.0.0.1:11434/v1")
	case o.Model == "":
		return nil, errors.New("openai: no model; give the name that the server knows it by")
	case o.Dimension < 0 || o.Batch < 0 || o.Attempts < 0 || o.Timeout < 0 || o.Backoff < 0:
		return nil, errors.New("openai: a negative option; leave it out for the default")
	}
	o.Dimension = cmp.Or(o.Dimension, intent.DefaultDimension)
	o.Batch, o.Attempts = cmp.Or(o.Batch, 64), cmp.Or(o.Attempts, 4)
	o.Timeout, o.Backoff = cmp.Or(o.Timeout, 30*time.Second), cmp.Or(o.Backoff, 250*time.Millisecond)
	o.Client = cmp.Or(o.Client, new(http.Client))
	return &Embedder{o: o, url: u.JoinPath("embeddings")}, nil
}

// Name implements intent.Embedder: openai: and the name of the model.
func (e *Embedder) Name() string { return "openai:" + e.o.Model }

// Dimension implements intent.Embedder.
func (e *Embedder) Dimension() int { return e.o.Dimension }

// Embed implements intent.Embedder. Blank texts are not sent, and have no vector.
// An error that wraps [intent.ErrEmbedding] is about these texts or their
// vectors; any other is about the server, and comes when it was tried as often
// as Options say.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	var at []int
	for i, text := range texts {
		if strings.TrimSpace(text) != "" {
			at = append(at, i)
		}
	}
	for len(at) > 0 {
		n := min(len(at), e.o.Batch)
		batch := make([]string, n)
		for i, j := range at[:n] {
			batch[i] = texts[j]
		}
		vectors, err := e.try(ctx, batch)
		if err != nil {
			return nil, fmt.Errorf("openai: %s at %s: %w", e.o.Model, e.url.Redacted(), err)
		}
		for i, j := range at[:n] {
			out[j] = vectors[i]
		}
		at = at[n:]
	}
	return out, nil
}

// failure is an answer that is none.
type failure struct {
	err   error
	final bool          // asking again would not help
	wait  time.Duration // what the server asks for
}

// try asks until there is an answer, or no use in asking.
func (e *Embedder) try(ctx context.Context, texts []string) ([][]float32, error) {
	body, err := json.Marshal(map[string]any{"model": e.o.Model, "input": texts, "encoding_format": "float"})
	if err != nil {
		return nil, err
	}
	backoff := e.o.Backoff
	for attempt := 1; ; attempt++ {
		vectors, f := e.ask(ctx, body, len(texts))
		switch {
		case f == nil:
			return vectors, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case f.final:
			return nil, f.err
		case attempt == e.o.Attempts:
			return nil, fmt.Errorf("attempt %d of %d: %w", attempt, e.o.Attempts, f.err)
		}
		// Between half and all of it, so that many who failed together do not
		// come back together.
		wait := min(maxWait, max(f.wait, backoff/2+rand.N(backoff/2+1)))
		backoff = min(2*backoff, maxWait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// ask sends one request and reads its answer.
func (e *Embedder) ask(ctx context.Context, body []byte, n int) ([][]float32, *failure) {
	ctx, stop := context.WithTimeoutCause(ctx, e.o.Timeout, fmt.Errorf("no answer within %s", e.o.Timeout))
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, &failure{err: err, final: true}
	}
	req.Header.Set("Content-Type", "application/json")
	if e.o.Key != "" {
		req.Header.Set("Authorization", "Bearer "+e.o.Key)
	}
	resp, err := e.o.Client.Do(req)
	if err != nil {
		return nil, &failure{err: plain(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	// What a number may take, generously: a longer answer is none of ours.
	limit := int64(n)*(int64(e.o.Dimension)*40+1024) + 64<<10
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, &failure{err: plain(ctx, err)}
	case resp.StatusCode != http.StatusOK:
		return nil, refused(resp, answer)
	case int64(len(answer)) > limit:
		return nil, &failure{err: fmt.Errorf("%w: the answer has more than %d bytes for %d vectors of %d dimensions", intent.ErrEmbedding, limit, n, e.o.Dimension), final: true}
	}
	return e.read(answer, n)
}

// plain returns why a request failed, without the URL: a caller has that.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// refused reads an answer that is not 200.
func refused(resp *http.Response, answer []byte) *failure {
	var said struct {
		Error   json.RawMessage `json:"error"` // text, or an object with a message
		Message string          `json:"message"`
	}
	reason := string(answer)
	if json.Unmarshal(answer, &said) == nil {
		var object struct {
			Message string `json:"message"`
		}
		var text string
		_ = json.Unmarshal(said.Error, &object)
		_ = json.Unmarshal(said.Error, &text)
		reason = cmp.Or(object.Message, text, said.Message, reason)
	}
	f := &failure{err: fmt.Errorf("%s: %q", resp.Status, clip(reason))}
	switch code := resp.StatusCode; code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		f.final, f.err = true, fmt.Errorf("%w: %w", intent.ErrEmbedding, f.err)
	default:
		f.final = code < 500
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		f.wait = min(time.Duration(s), maxWait/time.Second) * time.Second
	}
	return f
}

// read takes an answer apart. What it refuses may be better the next time, but
// for the dimension.
func (e *Embedder) read(answer []byte, n int) ([][]float32, *failure) {
	var list struct {
		Data []struct {
			Index     *int            `json:"index"`
			Embedding json.RawMessage `json:"embedding"`
		} `json:"data"`
	}
	bad := func(format string, args ...any) *failure {
		return &failure{err: fmt.Errorf("%w: %w", intent.ErrEmbedding, fmt.Errorf(format, args...))}
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, bad("the answer cannot be read: %w; it begins with %q", err, clip(string(answer)))
	}
	if len(list.Data) != n {
		return nil, bad("%d vectors for %d texts", len(list.Data), n)
	}
	out := make([][]float32, n)
	for i, d := range list.Data {
		at := i
		if d.Index != nil {
			at = *d.Index
		}
		if at < 0 || at >= n || out[at] != nil {
			return nil, bad("vector %d says that it is number %d of %d, or another one did", i, at, n)
		}
		// A null would be read as zero.
		if bytes.Contains(d.Embedding, []byte("null")) {
			return nil, bad("vector %d has null where a number should be", at)
		}
		var v []float32
		if err := json.Unmarshal(d.Embedding, &v); err != nil {
			return nil, bad("vector %d cannot be read: %w", at, err)
		}
		if len(v) != e.o.Dimension {
			f := bad("vector %d has %d dimensions, want %d; give the model's own dimension, or the model that was meant", at, len(v), e.o.Dimension)
			f.final = true
			return nil, f
		}
		if _, err := intent.Quantize(v, e.o.Dimension); err != nil {
			return nil, &failure{err: fmt.Errorf("vector %d: %w", at, err)}
		}
		out[at] = v
	}
	return out, nil
}

// clip shortens what a server said for an error.
func clip(s string) string {
	const most = 200
	s = strings.TrimSpace(s)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
