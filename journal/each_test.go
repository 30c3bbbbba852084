package journal_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/journal"
)

func given(positions ...uint64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		for _, p := range positions {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func TestEach(t *testing.T) {
	j := memory(t)
	for i := range 600 {
		payload := fmt.Sprint(i % 5) // most lie in another record
		if i > 595 {
			payload = strings.Repeat(payload, 1<<20) // more than a chunk
		}
		add(t, j, draft(fmt.Sprintf("s/%d", i%3), "test.happened", payload))
	}
	es := everything(t, j)
	up := make([]uint64, len(es))
	for i := range up {
		up[i] = uint64(i) + 1
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	jumps := []uint64{5, 600, 599, 1, 1, 2, 300, 299, 301, 597, 598, 599, 600, 3}
	for name, ps := range map[string][]uint64{"up": up, "down": down, "jumps": jumps, "none": nil} {
		n := 0
		for e, err := range j.Each(t.Context(), given(ps...)) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := es[ps[n]-1]
			if e.Position != ps[n] || e.Digest != want.Digest || string(e.Payload) != string(want.Payload) {
				t.Fatalf("%s: position %d where %d was asked for", name, e.Position, ps[n])
			}
			n++
		}
		if n != len(ps) {
			t.Errorf("%s: %d of %d events", name, n, len(ps))
		}
	}

	boom := errors.New("boom")
	for want, ps := range map[error]iter.Seq2[uint64, error]{
		boom:                func(yield func(uint64, error) bool) { _ = yield(7, nil) && yield(0, boom) },
		journal.ErrNotFound: given(7, 601),
		journal.ErrCorrupt:  given(7, 8),
	} {
		if errors.Is(want, journal.ErrCorrupt) {
			if err := j.LogDB().Delete(journal.PositionKey('e', 8), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		var got []uint64
		var last error
		for e, err := range j.Each(t.Context(), ps) {
			if last = err; err == nil {
				got = append(got, e.Position)
			}
		}
		if !slices.Equal(got, []uint64{7}) || !errors.Is(last, want) {
			t.Errorf("%v, then %v; want 7, then %v", got, last, want)
		}
	}
	for e, err := range j.Each(t.Context(), given(1, 2, 3)) {
		if err != nil || e.Position != 1 {
			t.Errorf("position %d, %v", e.Position, err)
		}
		break
	}
}
