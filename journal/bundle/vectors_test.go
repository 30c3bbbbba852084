package bundle_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/bundle"
)

// meaning is a journal that assigns intents; its embeddings are of a model,
// where it is named.
func meaning(t *testing.T, model string, dimension int) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory, NewIntents: func(_ string, dimension int) intent.Strategy {
		return cluster.NewLeader(cluster.Options{Dimension: dimension, Threshold: 0.8})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	if model != "" {
		if err := j.UseModel(t.Context(), journal.Model{Name: model, Dimension: dimension}); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// spoken is a journal with six events: of four with an embedding, the first and
// the third mean the same.
func spoken(t *testing.T, model string) (j *journal.Journal, positions []uint64) {
	t.Helper()
	j = meaning(t, model, 3)
	for i, v := range [][]float32{{1, 0, 0}, nil, {0, 1, 0}, {1, 0.1, 0}, nil, {0, 0, 1}} {
		d := events.Draft{Stream: "talk", Kind: "a.said", Payload: []byte{byte(i)}, Embedding: v}
		if i == 0 {
			positions = append(positions, add(t, j, d).Position)
			continue
		}
		positions = append(positions, add(t, j, d, positions[i-1]).Position)
	}
	return j, positions
}

func vectors(t *testing.T, j *journal.Journal) (all []string) {
	t.Helper()
	for x, err := range j.Vectors(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(x.Vector.Bytes()))
	}
	return all
}

// groups tells which events of the stream share an intent, by their order.
func groups(t *testing.T, j *journal.Journal) (all []int) {
	t.Helper()
	var ids []events.ID
	for e, err := range j.Read(t.Context(), journal.Query{Stream: "talk"}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Intent.ID.IsZero() {
			all = append(all, -1)
			continue
		}
		at := slices.Index(ids, e.Intent.ID)
		if at < 0 {
			at, ids = len(ids), append(ids, e.Intent.ID)
		}
		all = append(all, at)
	}
	return all
}

func TestEmbeddings(t *testing.T) {
	for _, model := range []string{"", "words"} {
		j, positions := spoken(t, model)
		b, s := export(t, j, bundle.ExportOptions{Proofs: true}, these(positions...))
		if s.Events != 6 || s.Embeddings != 4 {
			t.Fatalf("%q: %+v", model, s)
		}
		if got, err := bundle.Verify(bytes.NewReader(b), bundle.VerifyOptions{}); err != nil || got != s {
			t.Fatalf("%q: %+v, %v", model, got, err)
		}
		to := meaning(t, model, 3)
		for i, want := range []bundle.Imported{{Imported: 6, Embeddings: 4}, {Duplicates: 6}} {
			if n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{}); err != nil || n != want {
				t.Fatalf("%q: import %d: %+v, %v", model, i, n, err)
			}
		}
		if got, want := vectors(t, to), vectors(t, j); len(got) != 4 || !slices.Equal(got, want) {
			t.Errorf("%q: vectors %x, want %x", model, got, want)
		}
		if got, want := groups(t, to), []int{0, -1, 1, 0, -1, 2}; !slices.Equal(got, want) || !slices.Equal(groups(t, j), want) {
			t.Errorf("%q: intents %v, want %v", model, got, want)
		}
		if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK {
			t.Errorf("%q: %+v, %v", model, r, err)
		}
	}
}

// The model of the journal is the one that counts: events come in all the same.
func TestEmbeddingsOfAnotherModel(t *testing.T) {
	j, positions := spoken(t, "words")
	b, _ := export(t, j, bundle.ExportOptions{}, these(positions...))
	wider := meaning(t, "", 0)
	add(t, wider, events.Draft{Stream: "s", Kind: "a.b", Embedding: []float32{1, 2, 3, 4}})
	for name, to := range map[string]*journal.Journal{"another name": meaning(t, "sounds", 3), "another dimension": wider, "both": meaning(t, "sounds", 4)} {
		had := len(vectors(t, to))
		n, err := bundle.Import(t.Context(), bytes.NewReader(b), to, bundle.VerifyOptions{})
		if err != nil || n != (bundle.Imported{Imported: 6, OtherModel: 4}) {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
		if got := len(vectors(t, to)) - had; got != 0 {
			t.Errorf("%s: %d embeddings were stored", name, got)
		}
		if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestEmbeddingsThatDoNotBelong(t *testing.T) {
	j, positions := spoken(t, "words")
	b, _ := export(t, j, bundle.ExportOptions{}, these(positions[:3]...))
	var kinds []byte
	var bodies [][]byte
	again := bundle.Reframe(b, func(kind byte, body []byte) []byte {
		kinds, bodies = append(kinds, kind), append(bodies, bytes.Clone(body))
		return body
	})
	if string(kinds) != "mveeve" || !bytes.Equal(b, again) {
		t.Fatalf("frames %q", kinds)
	}
	model, one, said, quiet, two := bodies[0], bodies[1], bodies[2], bodies[3], bodies[4]
	turned := bytes.Clone(one)
	turned[0], turned[1], turned[2], turned[3] = turned[2], turned[3], turned[0], turned[1]
	long := append(bytes.Clone(one), 0, 0)
	for name, c := range map[string]struct {
		says   string
		bundle []byte
	}{
		"changed":             {"has an embedding with digest", bundle.Frames("mve", model, turned, said)},
		"of another event":    {"has an embedding with digest", bundle.Frames("mve", model, two, said)},
		"of a quiet event":    {"has an embedding with digest", bundle.Frames("mve", model, one, quiet)},
		"left out":            {"without its embedding", bundle.Frames("e", said)},
		"left out, modelled":  {"without its embedding", bundle.Frames("me", model, said)},
		"without model":       {"before its model", bundle.Frames("ve", one, said)},
		"twice":               {"where the event of an embedding", bundle.Frames("mvve", model, one, one, said)},
		"model after":         {"where the event of an embedding", bundle.Frames("mvme", model, one, []byte("\x03x"), said)},
		"without event":       {"out of place", bundle.Frames("mv", model, one)},
		"same model again":    {"the same model", bundle.Frames("mm", model, model)},
		"no dimension":        {"dimension", bundle.Frames("m", []byte("\x00words"))},
		"long dimension":      {"dimension", bundle.Frames("m", []byte("\x83\x00words"))},
		"too many dimensions": {"dimension", bundle.Frames("m", []byte("\x81\x80\x04words"))},
		"no name":             {"model", bundle.Frames("m", []byte("\x03a\x00b"))},
		"reserved name":       {"unnamed", bundle.Frames("m", []byte("\x03unnamed"))},
		"another length":      {"embedding", bundle.Frames("mve", model, long, said)},
		"no unit":             {"embedding", bundle.Frames("mve", model, make([]byte, 6), said)},
	} {
		if _, err := bundle.Verify(bytes.NewReader(c.bundle), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bundle of the format before has records with digests of embeddings, and no
// embeddings. Frames that it could not have are refused in it.
func TestTheFormatBefore(t *testing.T) {
	j, positions := spoken(t, "words")
	b, s := export(t, j, bundle.ExportOptions{Proofs: true}, these(positions...))
	old := bundle.Before(b)
	got, err := bundle.Verify(bytes.NewReader(old), bundle.VerifyOptions{})
	if s.Bytes, s.Embeddings = int64(len(old)), 0; err != nil || got != s {
		t.Fatalf("%+v, %v; want %+v", got, err, s)
	}
	to := meaning(t, "words", 3)
	if n, err := bundle.Import(t.Context(), bytes.NewReader(old), to, bundle.VerifyOptions{}); err != nil || n != (bundle.Imported{Imported: 6}) {
		t.Fatalf("%+v, %v", n, err)
	}
	if r, err := to.Verify(t.Context(), nil); err != nil || !r.OK || len(vectors(t, to)) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	mixed := append([]byte("toka bundle 1\n"), b[len("toka bundle 2\n"):]...)
	if _, err := bundle.Verify(bytes.NewReader(mixed), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) || !strings.Contains(err.Error(), "out of place") {
		t.Errorf("embeddings in a bundle of the format before: %v", err)
	}
	for at := range old {
		changed := bytes.Clone(old)
		changed[at] ^= 0x10
		if _, err := bundle.Verify(bytes.NewReader(changed), bundle.VerifyOptions{}); !errors.Is(err, bundle.ErrBundle) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}
