package journal_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// abroad is a journal with a little history: 1 <- 2, 3 <- 4 <- 5.
func abroad(t *testing.T) []events.Event {
	t.Helper()
	j := memory(t)
	one := add(t, j, draft("a", "test.begun", "one"))[0]
	two := add(t, j, withParents(draft("b", "test.happened", "two"), one.Ref()))[0]
	three := add(t, j, withParents(draft("a", "test.happened", "two"), one.Ref()))[0]
	d := withParents(draft("c", "test.joined", ""), two.Ref(), three.Ref())
	d.Trigger, d.Correlation, d.Extensions = three.ID, "why", map[string]string{events.ExtOutsideID: "4", "tokasystem": "x"}
	if _, err := tryAppend(t, j, journal.Write{Events: []events.Draft{d}, Authority: authority.System()}); err != nil {
		t.Fatal(err)
	}
	add(t, j, withParents(draft("c", "test.ended", "five"), everything(t, j)[3].Ref()))
	return everything(t, j)
}

func bring(t *testing.T, j *journal.Journal, es ...events.Event) (journal.Receipt, error) {
	t.Helper()
	return tryAppend(t, j, journal.Write{Imported: es, Authority: authority.System()})
}

func TestImport(t *testing.T) {
	es := abroad(t)
	d := disktest.New()
	j := open(t, "/data", on(d.Volume()))
	addN(t, j, "a", 3)
	r, err := bring(t, j, es[2], es[3], es[4]) // 1 and 2 are not here
	if err != nil || r.Duplicate {
		t.Fatal(r, err)
	}
	if again, err := bring(t, j, es[2], es[3], es[4]); err != nil || !again.Duplicate || again.Events[0].Position != 4 {
		t.Fatal(again, err)
	}
	check := func() {
		t.Helper()
		got := everything(t, j)[3:]
		for i, e := range es[2:] {
			if got[i].ID != e.ID || got[i].Digest != e.Digest || string(got[i].Payload) != string(e.Payload) || got[i].OutsideID() != e.OutsideID() {
				t.Fatalf("%+v was imported as %+v", e, got[i])
			}
		}
		if got[0].StreamPosition != 4 || got[1].StreamPosition != 1 || got[2].StreamPosition != 2 {
			t.Fatalf("stream positions %+v", got)
		}
		parents := [][]uint64{{0}, {0, 4}, {5}}
		for i, e := range got {
			var ps []uint64
			for _, p := range e.Parents {
				ps = append(ps, p.Position)
			}
			if slices.Sort(ps); !slices.Equal(ps, parents[i]) {
				t.Fatalf("parents of %d: %v", e.Position, ps)
			}
		}
		if r := verified(t, j); r.Stubs != 2 {
			t.Fatalf("verify counts %d stubs", r.Stubs)
		}
		if ps, err := j.Links().Parents(t.Context(), 5); err != nil || !slices.Equal(ps, []uint64{4}) {
			t.Fatal(ps, err)
		}
	}
	check()
	closeOK(t, j)
	j = open(t, "/data", on(d.Volume()))
	check()
	// A parent that comes later is an event like any other: the journal's
	// order stays that of the causes that it knew.
	if _, err := bring(t, j, es[0]); err != nil {
		t.Fatal(err)
	}
	if r := verified(t, j); r.Stubs != 2 {
		t.Fatalf("verify counts %d stubs", r.Stubs)
	}
	// Events of this journal may rest on imported ones.
	add(t, j, withParents(draft("own", "test.happened", ""), es[4].Ref(), es[0].Ref()))
	verified(t, j)
}

func TestImportRefuses(t *testing.T) {
	es := abroad(t)
	j := memory(t)
	change := func(f func(e *events.Event)) events.Event {
		e := es[3].Clone()
		f(&e)
		return e
	}
	for name, e := range map[string]events.Event{
		"payload":        change(func(e *events.Event) { e.Payload = []byte("other") }),
		"payload digest": change(func(e *events.Event) { e.PayloadDigest[3] ^= 1 }),
		"digest":         change(func(e *events.Event) { e.Digest[3] ^= 1 }),
		"stream":         change(func(e *events.Event) { e.Stream = "other" }),
		"no stream":      change(func(e *events.Event) { e.Stream = "" }),
		"kind":           change(func(e *events.Event) { e.Kind = "a..b" }),
		"no id":          change(func(e *events.Event) { e.ID = events.ID{} }),
		"subject key":    change(func(e *events.Event) { e.SubjectKey = "k" }),
		"bad key":        change(func(e *events.Event) { e.SubjectKey = "k\x00" }),
		"fewer parents":  change(func(e *events.Event) { e.Parents = e.Parents[:1] }),
		"parent":         change(func(e *events.Event) { e.Parents[0].Digest[0] ^= 1 }),
		"no parent's id": change(func(e *events.Event) { e.Parents[0].ID = events.ID{} }),
	} {
		if _, err := bring(t, j, e); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, j, journal.Write{Imported: es[:1]}, events.ErrInvalid)
	refused(t, j, journal.Write{Imported: es[:1], Events: []events.Draft{draft("s", "a.b", "")}, Authority: authority.System()}, events.ErrInvalid)
	// Another event has the id.
	add(t, j, withID(draft("s", "test.other", ""), es[1].ID))
	if _, err := bring(t, j, es[1]); !errors.Is(err, journal.ErrIDConflict) {
		t.Errorf("id conflict: %v", err)
	}
	// A parent's id stands for another event here.
	if _, err := bring(t, j, es[3]); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("parent that is another one: %v", err)
	}
	if j.Position() != 1 {
		t.Errorf("%d events", j.Position())
	}
}
