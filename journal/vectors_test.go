package journal_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

func TestVectors(t *testing.T) {
	j := memory(t)
	es := embed(t, j, 700) // some chunks
	want := 0
	last := uint64(0)
	for v, err := range j.Vectors(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		e := es[v.Position-1]
		if v.Position <= last || events.EmbeddingDigest(v.Vector.Bytes()) != e.EmbeddingDigest {
			t.Fatalf("position %d after %d: a vector that is not the event's", v.Position, last)
		}
		one, err := j.Vector(t.Context(), v.Position)
		if err != nil || !slices.Equal(one, v.Vector) {
			t.Fatalf("position %d: %v, %v alone", v.Position, one, err)
		}
		last = v.Position
		want++
	}
	if want != 560 {
		t.Errorf("%d vectors, want 560", want)
	}
	for v, err := range j.Vectors(t.Context(), 512) {
		if err != nil || v.Position != 513 {
			t.Errorf("after 512: %d, %v", v.Position, err)
		}
		break
	}
	if v, err := j.Vector(t.Context(), 1); v != nil || err != nil {
		t.Errorf("an event without: %v, %v", v, err)
	}
	for _, p := range []uint64{0, 701} {
		if _, err := j.Vector(t.Context(), p); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("position %d: %v", p, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, err := range j.Vectors(ctx, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestVectorsDamaged(t *testing.T) {
	for name, bytes := range map[string][]byte{"cut": {1, 2, 3}, "short": {1, 0, 2, 0}, "empty": {}} {
		j := memory(t)
		embed(t, j, 2)
		key := []byte{'v', 0, 0, 0, 0, 0, 0, 0, 2}
		if err := j.LogDB().Set(key, bytes, nil); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range j.Vectors(t.Context(), 0) {
			if n++; !errors.Is(err, journal.ErrCorrupt) || !errors.Is(err, intent.ErrEmbedding) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d were yielded", name, n)
		}
	}
}
