package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

func TestTextOf(t *testing.T) {
	long := strings.Repeat("é", 20_000)
	for _, c := range []struct{ kind, payload, want string }{
		{"application/json", `{"subject":"Fix a race"}`, "Fix a race"},
		{"application/json", `"alone"`, "alone"},
		{"application/json", `["a b",{"c":["d",{"e":"f"}],"g":1,"h":null},"i"]`, "a b\nd\nf\ni"},
		{"application/vnd.x+json; charset=utf-8", `{"a":" x "}`, "x"},
		{"application/json", `{"id":"0193b5a4-9c1e","at":"2026-01-02T15:04:05Z","note":"paid"}`, "paid"},
		{"application/json", `{"id":"0193b5a4-9c1e"}`, "0193b5a4-9c1e"},
		{"application/json", `{"n":42,"b":true}`, ""},
		{"application/json", `{"a":"b"`, "b"},
		{"text/plain; charset=utf-8", "plain", "plain"},
		{"text/plain", "\xff\xfe", ""},
		{"text/plain", "x" + long, "x" + long[:16<<10-2]},
		{"application/octet-stream", "text", ""},
		{"", "text", ""},
		{"text/plain", "", ""},
	} {
		if got := node.TextOf(c.kind, []byte(c.payload)); got != c.want {
			t.Errorf("%s %.60s: %.60q (%d bytes), want %.60q (%d bytes)", c.kind, c.payload, got, len(got), c.want, len(c.want))
		}
	}
}

// embedder answers as it is told to.
type embedder func(ctx context.Context, texts []string) ([][]float32, error)

func (embedder) Name() string   { return "told" }
func (embedder) Dimension() int { return 3 }
func (e embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return e(ctx, texts)
}

// Whatever an embedder does, the event is journaled; it has its vector or none, and
// gets it later, when there is one to be had.
func TestEmbedderThatFails(t *testing.T) {
	each := func(v ...float32) embedder {
		return func(_ context.Context, texts []string) ([][]float32, error) {
			return slices.Repeat([][]float32{v}, len(texts)), nil
		}
	}
	for name, bad := range map[string]embedder{
		"an error": func(context.Context, []string) ([][]float32, error) { return nil, errors.New("no answer") },
		"bad texts": func(context.Context, []string) ([][]float32, error) {
			return nil, fmt.Errorf("%w: nonsense", intent.ErrEmbedding)
		},
		"a time-out": func(ctx context.Context, _ []string) ([][]float32, error) { <-ctx.Done(); return nil, ctx.Err() },
		"fewer": func(_ context.Context, texts []string) ([][]float32, error) {
			return make([][]float32, len(texts)-1), nil
		},
		"more": func(_ context.Context, texts []string) ([][]float32, error) {
			return make([][]float32, len(texts)+1), nil
		},
		"nothing":  func(context.Context, []string) ([][]float32, error) { return nil, nil },
		"short":    each(1, 2),
		"long":     each(1, 2, 3, 4),
		"huge":     each(make([]float32, 1<<20)...),
		"empty":    each([]float32{}...),
		"zero":     each(0, 0, 0),
		"NaN":      each(1, float32(math.NaN()), 1),
		"infinite": each(1, float32(math.Inf(1)), 1),
		"one is a NaN": func(_ context.Context, texts []string) ([][]float32, error) {
			return [][]float32{{1, 2, float32(math.NaN())}, {1, 2, 3}}[:len(texts)], nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // what waits for a time-out waits for nothing
				j, err := journal.Open("", journal.Options{Level: journal.LevelMemory, NewIntents: func(_ string, d int) intent.Strategy {
					return cluster.NewLeader(cluster.Options{Dimension: d})
				}})
				if err != nil {
					t.Fatal(err)
				}
				drafts := []events.Draft{
					{Stream: "s", Kind: "a.said", ContentType: "text/plain", Payload: []byte("one")},
					{Stream: "s", Kind: "a.said", ContentType: "text/plain", Payload: []byte("another")},
				}
				node.Incoming(t.Context(), bad, j, drafts)
				if _, err := j.Append(t.Context(), journal.Write{Events: drafts}); err != nil {
					t.Fatalf("the events are lost: %v", err)
				}
				has := func() (n int) {
					for p := range uint64(2) {
						v, err := j.Vector(t.Context(), p+1)
						if err != nil {
							t.Fatal(err)
						}
						if v != nil {
							n++
						}
					}
					return n
				}
				want := strings.Count(name, "one is")
				if has() != want {
					t.Errorf("%d events have a vector, want %d", has(), want)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := node.Streams{Out: io.Discard, Err: io.Discard}
				if err := node.EmbedMissing(ctx, bad, j, s); has() != want {
					t.Errorf("embedded later by the same: %d events have a vector, want %d; %v", has(), want, err)
				}
				if err := node.EmbedMissing(t.Context(), each(1, 2, 3), j, s); err != nil || has() != 2 {
					t.Errorf("embedded later: %d events have a vector, %v", has(), err)
				}
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
