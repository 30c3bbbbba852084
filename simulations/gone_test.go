package simulations_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/simulations"
)

// withPrivate adds events to an honest run that no agent folds: one of a
// subject, one of a subject that is erased, and one that is pruned.
func withPrivate(t *testing.T, c *cast) *journal.Journal {
	t.Helper()
	j := honest(t, c)
	for _, d := range []events.Draft{
		{Stream: "notes", Kind: "note.taken", Payload: []byte("a long story")},
		{Stream: "notes", Kind: "note.taken", Payload: []byte("of alice"), SubjectKey: "alice"},
		{Stream: "notes", Kind: "note.taken", Payload: []byte("of bob"), SubjectKey: "bob"},
	} {
		if _, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{d}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Erase(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	if p, err := j.Prune(t.Context(), journal.Query{Stream: "notes", Limit: 1}); err != nil || p.Payloads != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	return j
}

// A payload that is gone, and that no agent folds, is no divergence.
func TestReplayBesideWhatIsGone(t *testing.T) {
	c := newCast()
	clean(t, withPrivate(t, c), c)
}

// A fork carries pruned events over as such, and is refused by name where the
// content of an event depends on a key.
func TestForkOfWhatIsGone(t *testing.T) {
	c := newCast()
	src := withPrivate(t, c)
	dst := forked(t, src, 9)
	got, err := dst.At(t.Context(), 9)
	if err != nil || got.PayloadState != events.PayloadPruned {
		t.Errorf("the pruned event is %+v, %v", got, err)
	}
	if want := all(t, src)[8]; got.Digest != want.Digest {
		t.Errorf("it has digest %s, want %s", got.Digest.Short(), want.Digest.Short())
	}
	clean(t, dst, c)
	for upto, subject := range map[uint64]string{10: "alice", 11: "alice"} {
		var clock simulations.Clock
		err := simulations.Fork(t.Context(), src, upto, memoryAt(t, clock.Now), &clock)
		if !errors.Is(err, simulations.ErrCannotFork) || !strings.Contains(err.Error(), `position 10`) || !strings.Contains(err.Error(), subject) {
			t.Errorf("up to %d: %v", upto, err)
		}
	}
}

// What an agent would have to fold and cannot is said by position, not passed
// over.
func TestReplayOfAPrunedAgent(t *testing.T) {
	c := newCast()
	j := honest(t, c)
	var stream string
	for _, e := range all(t, j) {
		if e.Stream != "" && !strings.HasPrefix(e.Stream, "$") && len(e.Payload) > 2 {
			stream = e.Stream
			break
		}
	}
	p, err := j.Prune(t.Context(), journal.Query{Stream: stream})
	if err != nil || p.Payloads == 0 {
		t.Fatalf("prune %q: %+v, %v", stream, p, err)
	}
	r, err := simulations.Replay(t.Context(), j, c.registry(), simulations.ReplayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, found := r.First()
	named := false
	for _, d := range r.Divergences {
		named = named || strings.Contains(d.String(), "the payload is not here: it is pruned")
	}
	if !found || d.Position == 0 || !named {
		t.Errorf("a replay without the payloads of %q says %v", stream, r.Divergences)
	}
}
