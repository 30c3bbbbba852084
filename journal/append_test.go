package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

func TestPositionsAreDense(t *testing.T) {
	j := memory(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				_, err := tryAppend(t, j, write(
					draft(fmt.Sprintf("own/%d", w), "test.happened", fmt.Sprint(w, i)),
					draft("shared", "test.happened", fmt.Sprint(w, i))))
				if err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	es := everything(t, j)
	if len(es) != 8*25*2 || j.Position() != uint64(len(es)) {
		t.Fatalf("%d events up to %d, want %d", len(es), j.Position(), 8*25*2)
	}
	versions := map[string]uint64{}
	for i, e := range es {
		versions[e.Stream]++
		if e.Position != uint64(i)+1 || e.StreamPosition != versions[e.Stream] {
			t.Fatalf("event %d stands at %d, in %s at %d, want %d", i, e.Position, e.Stream, e.StreamPosition, versions[e.Stream])
		}
	}
	for stream, n := range versions {
		if v, _, err := j.StreamVersion(stream); err != nil || v != n {
			t.Errorf("%s is at version %d (%v), want %d", stream, v, err, n)
		}
	}
	verified(t, j)
}

func TestReceiptIsWhatIsRead(t *testing.T) {
	j := memory(t)
	first := add(t, j, draft("s", "test.happened", "one"))[0]
	d := withParents(withID(draft("s", "test.happened", "two"), nthID(9)), first.Ref())
	d.Time = time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	d.Trigger, d.Correlation, d.Trace, d.ContentType, d.SchemaVersion = first.ID, "c", "trace", "text/plain", 7
	d.Extensions = map[string]string{events.ExtOutsideID: "out"}
	got := add(t, j, d)[0]
	read, err := j.At(t.Context(), got.Position)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", read); a != b {
		t.Errorf("append returned\n%s\nand reading gives\n%s", a, b)
	}
	sealed, err := d.Seal(events.ID{}, []events.Ref{first.Ref()})
	if err != nil || read.Digest != sealed.Digest {
		t.Errorf("digest %s, sealed alone %s (%v)", read.Digest, sealed.Digest, err)
	}
}

func TestAppendAgain(t *testing.T) {
	d := disktest.New()
	j := open(t, "data", on(d.Volume()))
	a, b := withID(draft("s", "test.happened", "a"), nthID(1)), withID(draft("s", "test.happened", "b"), nthID(2))
	b.Parents = []events.Ref{{ID: a.ID}}
	w := write(a, b)
	w.Expect = map[string]journal.Expected{"s": journal.NoStream()}
	first, err := tryAppend(t, j, w)
	if err != nil {
		t.Fatal(err)
	}
	again := func(when string) {
		t.Helper()
		before := j.Stats()
		r, err := tryAppend(t, j, w)
		if err != nil || !r.Duplicate {
			t.Fatalf("%s: %+v, %v", when, r, err)
		}
		sameEvents(t, when, r.Events, first.Events)
		if after := j.Stats(); after != before {
			t.Errorf("%s: %+v became %+v", when, before, after)
		}
	}
	again("at once")
	addN(t, j, "other", 100) // both have long gone to the index
	again("later")
	closeOK(t, j)
	j = open(t, "data", on(d.Volume()))
	again("after opening again")
	if first.Duplicate || first.Events[0].Position != 1 {
		t.Errorf("the first append: %+v", first)
	}
	// The parent may be given with its digest or without.
	w.Events[1].Parents = []events.Ref{first.Events[0].Ref()}
	again("with the parent's digest")
}

func TestIDConflict(t *testing.T) {
	j := memory(t)
	add(t, j, withID(draft("s", "test.happened", "a"), nthID(1)))
	for _, d := range []events.Draft{
		draft("s", "test.happened", "another payload"),
		draft("another/stream", "test.happened", "a"),
		draft("s", "test.kind", "a"),
	} {
		for range 2 {
			refused(t, j, write(withID(d, nthID(1))), journal.ErrIDConflict)
		}
	}
	twice := withID(draft("s", "test.happened", "b"), nthID(2))
	refused(t, j, write(twice, twice), journal.ErrIDConflict)
	addN(t, j, "other", 50)
	err := refusal(t, j, write(withID(draft("s", "test.happened", "c"), nthID(1))), journal.ErrIDConflict)
	if !strings.Contains(err.Error(), nthID(1).String()) || !strings.Contains(err.Error(), "position 1") {
		t.Errorf("the error does not name event and position: %v", err)
	}
}

func TestIDBeforeVersion(t *testing.T) {
	j := memory(t)
	w := write(withID(draft("s", "test.happened", "a"), nthID(1)))
	w.Expect = map[string]journal.Expected{"s": journal.NoStream()}
	if _, err := tryAppend(t, j, w); err != nil {
		t.Fatal(err)
	}
	addN(t, j, "s", 3)
	r, err := tryAppend(t, j, w)
	if err != nil || !r.Duplicate || r.Events[0].Position != 1 {
		t.Errorf("the same write again, its version long passed: %+v, %v", r, err)
	}
	other := write(withID(draft("s", "test.happened", "b"), nthID(1)))
	other.Expect = w.Expect
	refused(t, j, other, journal.ErrIDConflict)
}

func TestPartlyKnown(t *testing.T) {
	j := memory(t)
	a := withID(draft("s", "test.happened", "a"), nthID(1))
	add(t, j, a)
	refused(t, j, write(a, withID(draft("s", "test.happened", "b"), nthID(2))), journal.ErrPartlyKnown)
	refused(t, j, write(withID(draft("s", "test.happened", "b"), nthID(2)), a), journal.ErrPartlyKnown)
}

func TestWrongVersion(t *testing.T) {
	j := memory(t)
	s := addN(t, j, "s", 3)
	for _, tt := range []struct {
		stream string
		want   journal.Expected
		ok     bool
	}{
		{"s", journal.Any(), true},
		{"new", journal.Any(), true},
		{"s", journal.NoStream(), false},
		{"new", journal.NoStream(), true},
		{"s", journal.StreamExists(), true},
		{"new", journal.StreamExists(), false},
		{"s", journal.Version(3), true},
		{"s", journal.Version(2), false},
		{"s", journal.Version(4), false},
		{"new", journal.Version(0), true},
		{"new", journal.Version(1), false},
		{"s", journal.VersionAt(3, s[2].ID), true},
		{"s", journal.VersionAt(3, s[1].ID), false},
		{"s", journal.VersionAt(2, s[1].ID), false},
	} {
		// The write goes elsewhere, so that the streams stay where they are.
		w := write(draft("elsewhere", "test.happened", "x"))
		w.Expect = map[string]journal.Expected{tt.stream: tt.want}
		if tt.ok {
			if _, err := tryAppend(t, j, w); err != nil {
				t.Errorf("%s expected at %v: %v", tt.stream, tt.want, err)
			}
			continue
		}
		err := refusal(t, j, w, journal.ErrWrongVersion)
		var wrong *journal.WrongVersionError
		if !errors.As(err, &wrong) || wrong.Stream != tt.stream || wrong.Expected != tt.want {
			t.Errorf("the error does not tell what was expected: %v", err)
		}
	}
	// Two writes that are queued at once: the second decides on the first.
	answers := make(chan error, 2)
	for range 2 {
		w := write(draft("race", "test.happened", "x"))
		w.Expect = map[string]journal.Expected{"race": journal.NoStream()}
		if err := j.Submit(t.Context(), w, func(_ journal.Receipt, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := soon(t, "the first answer", answers); err != nil {
		t.Errorf("the first of two: %v", err)
	}
	if err := soon(t, "the second answer", answers); !errors.Is(err, journal.ErrWrongVersion) {
		t.Errorf("the second of two: %v", err)
	}
}

func TestWriteIsAtomic(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 1)
	w := write(draft("a", "test.happened", "1"), draft("b", "test.happened", "2"), withParents(draft("c", "test.happened", "3"), events.Ref{ID: nthID(77)}))
	w.Checkpoints = []journal.Checkpoint{{Name: "consumer", Position: 1}}
	w.StateDigests = []journal.StateDigest{{Stream: "a", StreamPosition: 1, Digest: events.Digest{1}}}
	refused(t, j, w, journal.ErrUnknownParent)
	if _, err := j.Checkpoint(t.Context(), "consumer"); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("the checkpoint of a refused write: %v", err)
	}
	for d, err := range j.StateDigests(t.Context(), "a") {
		t.Errorf("the state digest of a refused write: %+v, %v", d, err)
	}
	if v, _, err := j.StreamVersion("a"); v != 0 || err != nil {
		t.Errorf("a stream of a refused write is at %d (%v)", v, err)
	}
	if e := addN(t, j, "a", 1)[0]; e.Position != 2 || e.StreamPosition != 1 {
		t.Errorf("after a refused write an event stands at %d, in its stream at %d", e.Position, e.StreamPosition)
	}

	w.Events[2].Parents = nil
	w.StateDigests[0].StreamPosition = 2
	r, err := tryAppend(t, j, w)
	if err != nil {
		t.Fatal(err)
	}
	c, err := j.Checkpoint(t.Context(), "consumer")
	if err != nil || c.Position != 1 {
		t.Errorf("checkpoint: %+v, %v", c, err)
	}
	for d, err := range j.StateDigests(t.Context(), "a") {
		if err != nil || d.Position != r.Events[0].Position || d.Digest != (events.Digest{1}) {
			t.Errorf("state digest: %+v, %v", d, err)
		}
	}
}

func TestStateDigestsKnowTheirPosition(t *testing.T) {
	d := disktest.New()
	j := open(t, "data", on(d.Volume()))
	s := addN(t, j, "s", 5)
	addN(t, j, "other", 40)
	closeOK(t, j)
	j = open(t, "data", on(d.Volume()))
	// Of an old event, of the last one, and of two in the same write.
	w := write(draft("s", "test.happened", "6"), draft("s", "test.happened", "7"))
	for _, at := range []uint64{2, 5, 6, 7} {
		w.StateDigests = append(w.StateDigests, journal.StateDigest{Stream: "s", StreamPosition: at, Digest: events.Digest{byte(at)}, Position: 999})
	}
	r, err := tryAppend(t, j, w)
	if err != nil {
		t.Fatal(err)
	}
	want := []uint64{s[1].Position, s[4].Position, r.Events[0].Position, r.Events[1].Position}
	var got []uint64
	for d, err := range j.StateDigests(t.Context(), "s") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Position)
	}
	if !slices.Equal(got, want) {
		t.Errorf("state digests stand at %v, want %v", got, want)
	}
	refused(t, j, journal.Write{StateDigests: []journal.StateDigest{{Stream: "s"}}}, events.ErrInvalid)
}

func TestUnknownParent(t *testing.T) {
	j := memory(t)
	known := add(t, j, draft("s", "test.happened", "a"))[0]
	err := refusal(t, j, write(withParents(draft("s", "test.happened", "b"), known.Ref(), events.Ref{ID: nthID(5)}, events.Ref{ID: nthID(6), Digest: events.Digest{1}})), journal.ErrUnknownParent)
	var unknown *journal.UnknownParentError
	if !errors.As(err, &unknown) || len(unknown.Parents) == 0 || !slices.Contains(unknown.Parents, nthID(5)) || slices.Contains(unknown.Parents, known.ID) {
		t.Errorf("the error does not name the parents: %v", err)
	}
	wrong := known.Ref()
	wrong.Digest[0]++
	refused(t, j, write(withParents(draft("s", "test.happened", "b"), wrong)), events.ErrInvalid)
	// A later event of the same write is no parent.
	refused(t, j, write(
		withParents(draft("s", "test.happened", "b"), events.Ref{ID: nthID(8)}),
		withID(draft("s", "test.happened", "c"), nthID(8))), journal.ErrUnknownParent)
}

func TestParentInTheSameWrite(t *testing.T) {
	j := memory(t)
	outside := add(t, j, draft("s", "test.happened", "a"))[0]
	es := add(t, j,
		withID(draft("s", "test.happened", "b"), nthID(1)),
		withID(withParents(draft("t", "test.happened", "c"), events.Ref{ID: nthID(1)}, events.Ref{ID: outside.ID}), nthID(2)),
		withParents(draft("s", "test.happened", "d"), events.Ref{ID: nthID(2)}, events.Ref{ID: nthID(1)}))
	for _, e := range es {
		for _, p := range e.Parents {
			stored, err := j.At(t.Context(), p.Position)
			if err != nil || stored.ID != p.ID || stored.Digest != p.Digest || p.Position >= e.Position {
				t.Errorf("event %d: parent %+v is %+v (%v)", e.Position, p, stored.Ref(), err)
			}
		}
	}
	if len(es[1].Parents) != 2 || len(es[2].Parents) != 2 {
		t.Errorf("parents were lost: %v, %v", es[1].Parents, es[2].Parents)
	}
	verified(t, j)
}

func TestPayloadIsStoredOnce(t *testing.T) {
	j := memory(t)
	big := strings.Repeat("payload ", 1000)
	// Twice in one write, again at once, and again when the first has gone to
	// the index.
	add(t, j, draft("s", "test.happened", big), draft("t", "test.happened", big))
	add(t, j, draft("s", "test.happened", big), draft("s", "test.happened", ""), draft("s", "test.happened", ""))
	addN(t, j, "other", 40)
	add(t, j, draft("s", "test.happened", big))
	held := 0
	it, err := j.LogDB().NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		held += strings.Count(string(it.Value()), big)
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if held != 1 {
		t.Errorf("the log holds the payload %d times", held)
	}
	n := 0
	for _, e := range everything(t, j) {
		if string(e.Payload) == big {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d events carry the payload, want 4", n)
	}
	if got, want := j.Stats().Payloads, uint64(1+40); got != want {
		t.Errorf("%d payloads counted, want %d", got, want)
	}
	verified(t, j)
}

func TestAppendRefuses(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 1)
	for what, w := range map[string]journal.Write{
		"nothing":           {Expect: map[string]journal.Expected{"s": journal.Any()}},
		"no stream":         write(draft("", "test.happened", "")),
		"no kind":           write(draft("s", "", "")),
		"a system kind":     write(draft("s", "toka.started", "")),
		"a system stream":   write(draft("$s", "test.happened", "")),
		"a large payload":   write(draft("s", "test.happened", strings.Repeat("x", events.MaxPayload+1))),
		"the second of two": write(draft("s", "test.happened", ""), draft("s", "white space", "")),
		"no name":           {Checkpoints: []journal.Checkpoint{{}}},
		"no digest stream":  {StateDigests: []journal.StateDigest{{StreamPosition: 1}}},
	} {
		t.Run(what, func(t *testing.T) { refused(t, j, w, events.ErrInvalid) })
	}
}

// held is a journal whose disk takes its time over a sync of the log: every
// sync waits to be let go.
type held struct {
	*journal.Journal
	entered chan struct{}
	release chan struct{}
}

func holdSyncs(t *testing.T, opts func(journal.Options) journal.Options) *held {
	t.Helper()
	d := disktest.New()
	o := on(d.Volume())
	if opts != nil {
		o = opts(o)
	}
	h := &held{Journal: open(t, "data", o), entered: make(chan struct{}, 1000), release: make(chan struct{})}
	d.Before(func(op disktest.Op) {
		if op.Is(disktest.Sync, ".log") {
			h.entered <- struct{}{}
			<-h.release
		}
	})
	return h
}

func TestCancelAbandonsTheWaitNotTheWrite(t *testing.T) {
	h := holdSyncs(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the caller lost interest")
	d := draft("s", "test.happened", "a")
	d.Extensions = map[string]string{"key": "value"}
	got := make(chan error, 1)
	go func() {
		_, err := h.Append(ctx, write(d, withID(draft("s", "test.happened", "b"), nthID(2))))
		got <- err
	}()
	soon(t, "a sync", h.entered)
	cancel(why)
	err := soon(t, "the end of the wait", got)
	var outcome *journal.OutcomeError
	if !errors.Is(err, journal.ErrOutcomeUnknown) || !errors.Is(err, why) || !errors.As(err, &outcome) {
		t.Fatalf("cancelled append: %v", err)
	}
	if len(outcome.IDs) != 2 || outcome.IDs[0].IsZero() || outcome.IDs[1] != nthID(2) {
		t.Fatalf("ids to retry with: %v", outcome.IDs)
	}
	if n := h.Position(); n != 0 {
		t.Errorf("the mark is %d before the sync", n)
	}
	close(h.release)
	r, err := tryAppend(t, h.Journal, write(withID(d, outcome.IDs[0]), withID(draft("s", "test.happened", "b"), nthID(2))))
	if err != nil || !r.Duplicate || r.Events[0].Position != 1 {
		t.Errorf("retried: %+v, %v", r, err)
	}
}

// A writer that gave up may reuse all that it handed over.
func TestWriteIsCopied(t *testing.T) {
	h := holdSyncs(t, nil)
	parent := make(chan journal.Receipt, 1)
	if err := h.Submit(t.Context(), write(withID(draft("s", "test.happened", "p"), nthID(1))), func(r journal.Receipt, _ error) { parent <- r }); err != nil {
		t.Fatal(err)
	}
	soon(t, "a sync", h.entered)
	// The committer has not seen these yet, or only just.
	for i := range 50 {
		d := withParents(withID(draft("s", "test.happened", "payload"), nthID(10+i)), events.Ref{ID: nthID(1)})
		d.Extensions = map[string]string{"key": "value"}
		w := write(d)
		w.Expect = map[string]journal.Expected{"other": journal.NoStream()}
		w.Checkpoints = []journal.Checkpoint{{Name: "c", Position: 5}}
		if err := h.Submit(t.Context(), w, func(_ journal.Receipt, err error) {
			if err != nil {
				t.Errorf("append: %v", err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		copy(d.Payload, "XXXXXXX")
		d.Extensions["key"] = "other"
		d.Parents[0] = events.Ref{ID: nthID(999)}
		w.Expect["other"] = journal.Version(9)
		w.Checkpoints[0].Position = 6
	}
	close(h.release)
	add(t, h.Journal, draft("s", "test.happened", "last"))
	if c, err := h.Checkpoint(t.Context(), "c"); err != nil || c.Position != 5 {
		t.Errorf("checkpoint %+v, %v", c, err)
	}
	for _, e := range everything(t, h.Journal)[1:51] {
		if string(e.Payload) != "payload" || e.Extensions["key"] != "value" || e.Parents[0].ID != nthID(1) {
			t.Errorf("stored %+v", e)
		}
	}
	verified(t, h.Journal)
}

func TestDuplicateWaitsForDurability(t *testing.T) {
	h := holdSyncs(t, nil)
	w := write(withID(draft("s", "test.happened", "a"), nthID(1)))
	stale := write(draft("s", "test.happened", "b"))
	stale.Expect = map[string]journal.Expected{"s": journal.NoStream()}
	var answered atomic.Int64
	answers := make(chan string, 3)
	for name, w := range map[string]journal.Write{"first": w} {
		if err := h.Submit(t.Context(), w, func(journal.Receipt, error) { answered.Add(1); answers <- name }); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "a sync", h.entered)
	if err := h.Submit(t.Context(), w, func(r journal.Receipt, err error) {
		answered.Add(1)
		if err != nil || !r.Duplicate {
			t.Errorf("duplicate: %+v, %v", r, err)
		}
		answers <- "duplicate"
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.Submit(t.Context(), stale, func(_ journal.Receipt, err error) {
		answered.Add(1)
		if !errors.Is(err, journal.ErrWrongVersion) {
			t.Errorf("stale: %v", err)
		}
		answers <- "refusal"
	}); err != nil {
		t.Fatal(err)
	}
	// A write that is refused before it is queued is answered meanwhile, so
	// the journal is alive; those that rest on the sync are not.
	if _, err := h.Append(t.Context(), journal.Write{}); !errors.Is(err, events.ErrInvalid) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.Append(ctx, w); !errors.Is(err, journal.ErrOutcomeUnknown) {
		t.Errorf("a duplicate of what is not durable was answered: %v", err)
	}
	if n := answered.Load(); n != 0 {
		t.Errorf("%d answers before the sync", n)
	}
	if es := everything(t, h.Journal); len(es) != 0 || h.Position() != 0 {
		t.Errorf("%d events can be read before the sync", len(es))
	}
	if _, err := h.ByID(t.Context(), nthID(1)); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("found by id before the sync: %v", err)
	}
	if v, _, err := h.StreamVersion("s"); v != 0 || err != nil {
		t.Errorf("the stream is at %d before the sync (%v)", v, err)
	}
	if _, err := h.Payload(t.Context(), events.PayloadDigest([]byte("a"))); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("found by payload before the sync: %v", err)
	}
	close(h.release)
	for _, want := range []string{"first", "duplicate", "refusal"} {
		if got := soon(t, want, answers); got != want {
			t.Errorf("%s was answered where %s should be: answers have the journal's order", got, want)
		}
	}
}

func TestFullQueueBlocks(t *testing.T) {
	h := holdSyncs(t, func(o journal.Options) journal.Options {
		o.QueueBytes = 4 << 10
		return o
	})
	var answered atomic.Int64
	done := func(_ journal.Receipt, err error) {
		if err != nil {
			t.Errorf("append: %v", err)
		}
		answered.Add(1)
	}
	full := context.DeadlineExceeded
	accepted := int64(0)
	for i := range 1000 {
		// Long enough for the committer to take what is queued, if it can.
		ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, full)
		err := h.Submit(ctx, write(draft("s", "test.happened", strings.Repeat("x", 1000)+fmt.Sprint(i))), done)
		cancel()
		if err != nil {
			if !errors.Is(err, full) {
				t.Fatalf("queue full: %v", err)
			}
			break
		}
		accepted++
	}
	if accepted == 1000 {
		t.Fatal("a queue of 4 KiB took a thousand writes of 1 KiB")
	}
	waits := make(chan error, 1)
	go func() {
		waits <- h.Submit(t.Context(), write(draft("s", "test.happened", "waits for room")), done)
	}()
	close(h.release)
	if err := soon(t, "room in the queue", waits); err != nil {
		t.Errorf("a write that waited for room: %v", err)
	}
	closeOK(t, h.Journal)
	if got := answered.Load(); got != accepted+1 {
		t.Errorf("%d of %d accepted writes were answered", got, accepted+1)
	}
}

func TestSubmitAnswersInOrder(t *testing.T) {
	j := memory(t)
	var positions []uint64 // one goroutine calls the callbacks
	const n = 500
	done := make(chan struct{})
	for i := range n {
		err := j.Submit(t.Context(), write(draft("s", "test.happened", fmt.Sprint(i))), func(r journal.Receipt, err error) {
			if err != nil {
				t.Errorf("append: %v", err)
				return
			}
			if positions = append(positions, r.Events[0].Position); len(positions) == n {
				close(done)
			}
			if i == 7 {
				panic("as a user's callback may")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "the last answer", done)
	for i, p := range positions {
		if p != uint64(i)+1 {
			t.Fatalf("answer %d is for position %d", i, p)
		}
	}
}

func TestCloseDrainsWhatWasAccepted(t *testing.T) {
	d := disktest.New()
	j := open(t, "data", on(d.Volume()))
	var answered, stored atomic.Int64
	for i := range 200 {
		if err := j.Submit(t.Context(), write(draft("s", "test.happened", fmt.Sprint(i))), func(_ journal.Receipt, err error) {
			answered.Add(1)
			if err == nil {
				stored.Add(1)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	closeOK(t, j)
	if answered.Load() != 200 || stored.Load() != 200 {
		t.Errorf("%d of 200 answered, %d stored, when Close returned", answered.Load(), stored.Load())
	}
	if _, err := tryAppend(t, j, write(draft("s", "test.happened", "late"))); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append after Close: %v", err)
	}
	if err := j.Submit(t.Context(), write(draft("s", "test.happened", "late")), nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("submit after Close: %v", err)
	}
	closeOK(t, j)
	j = open(t, "data", on(d.Volume()))
	if n := len(everything(t, j)); n != 200 {
		t.Errorf("%d events after opening again", n)
	}
}

func TestRecordTimesNeverDecrease(t *testing.T) {
	d := disktest.New()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := on(d.Volume())
	o.Now = func() time.Time { now = now.Add(-time.Hour); return now }
	j := open(t, "data", o)
	first := addN(t, j, "s", 5)
	closeOK(t, j)
	now = now.AddDate(-10, 0, 0)
	j = open(t, "data", o)
	for i, e := range append(first, addN(t, j, "s", 5)...) {
		if e.RecordTime != first[0].RecordTime {
			t.Errorf("event %d was recorded at %v while the clock ran backwards from %v", i+1, e.RecordTime, first[0].RecordTime)
		}
	}
}

func TestOnCommit(t *testing.T) {
	var commits []journal.Commit
	j := open(t, "", journal.Options{Level: journal.LevelMemory, OnCommit: func(c journal.Commit) {
		commits = append(commits, c)
		panic("as a user's callback may")
	}})
	add(t, j, draft("s", "test.happened", "a"), draft("s", "test.happened", "b"))
	add(t, j, draft("s", "test.happened", "c"))
	closeOK(t, j)
	if len(commits) != 2 || commits[0].Events != 2 || commits[1].Events != 1 || commits[0].Bytes == 0 {
		t.Errorf("commits: %+v", commits)
	}
}

// A write has as many events and bytes as it may have, and not one more.
func TestWriteTooLarge(t *testing.T) {
	j := memory(t)
	many := make([]events.Draft, journal.MaxWriteEvents+1)
	for i := range many {
		many[i] = draft("s", "test.happened", "")
	}
	if err := refusal(t, j, write(many...), journal.ErrTooLarge); !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), "8193 events; the limit is 8192") {
		t.Errorf("%v", err)
	}
	large := make([]events.Draft, 64)
	for i := range large {
		large[i] = draft("s", "test.happened", strings.Repeat("x", events.MaxPayload))
	}
	refused(t, j, write(large...), journal.ErrTooLarge)
	if got := add(t, j, large[1:]...); len(got) != 63 {
		t.Errorf("%d events", len(got))
	}
	if underRace {
		return // some minute, of nothing but the detector
	}
	if got := add(t, j, many[1:]...); len(got) != journal.MaxWriteEvents {
		t.Errorf("%d events", len(got))
	}
}

// In a write of any size an event may have earlier ones of it as parents, and
// no later one, and no id stands twice.
func TestParentsWithinAWrite(t *testing.T) {
	for _, n := range []int{2, 33, 34, 200} {
		ds := make([]events.Draft, n)
		for i := range ds {
			ds[i] = withID(draft("s", "test.happened", fmt.Sprint(i)), nthID(i+1))
			if i > 0 {
				ds[i] = withParents(ds[i], events.Ref{ID: nthID(i)})
			}
		}
		j := memory(t)
		last := ds[n-1]
		ds[n-1] = withParents(withID(last, nthID(1)))
		refused(t, j, write(ds...), journal.ErrIDConflict)
		ds[n-1] = last
		ds[n-2] = withParents(withID(draft("s", "test.happened", "x"), nthID(n-1)), events.Ref{ID: nthID(n)})
		var unknown *journal.UnknownParentError
		if _, err := tryAppend(t, j, write(ds...)); !errors.As(err, &unknown) || unknown.Event != nthID(n-1) || !slices.Equal(unknown.Parents, []events.ID{nthID(n)}) {
			t.Errorf("%d events: a later parent: %v", n, err)
		}
		ds[n-2] = withParents(ds[n-2], events.Ref{ID: nthID(1)})
		if n == 2 {
			ds[0].Parents = nil
		}
		es := add(t, j, ds...)
		for i := range es[1:] {
			want := es[i].Ref()
			if i+1 == n-2 {
				want = es[0].Ref()
			}
			if got := es[i+1].Parents; len(got) != 1 || got[0] != want {
				t.Errorf("event %d of %d: parents %v, want %v", i+2, n, got, want)
			}
		}
		if again := add(t, j, ds...); again[n-1].Position != uint64(n) {
			t.Errorf("sent again it stands at %d", again[n-1].Position)
		}
		verified(t, j)
		closeOK(t, j)
	}
}
