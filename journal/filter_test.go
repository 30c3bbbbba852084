package journal_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tokaworks/toka/journal"
)

// TestFilterForgetsNothing holds what correctness rests on: what was added is
// never denied. What speed rests on is that little else is affirmed.
func TestFilterForgetsNothing(t *testing.T) {
	const n = 300_000
	rng := rand.New(rand.NewPCG(1, 2))
	add, has := journal.NewFilter(n)
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = rng.Uint64()
		add(keys[i])
	}
	for i, k := range keys {
		if !has(k) {
			t.Fatalf("key %d of %d was added and is denied", i, n)
		}
	}
	wrong := 0
	for range n {
		if has(rng.Uint64()) {
			wrong++
		}
	}
	t.Logf("%d of %d strangers affirmed", wrong, n)
	if wrong > n/100 {
		t.Errorf("%d of %d strangers affirmed; more than one in a hundred makes the filter useless", wrong, n)
	}
}
