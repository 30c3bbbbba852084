package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// crowd appends n events over five streams and three kinds, more than a chunk
// of a reader holds if n is over 512.
func crowd(t testing.TB, j *journal.Journal, n int) (out []events.Event) {
	t.Helper()
	for i := 0; i < n; i += 10 {
		var ds []events.Draft
		for k := i; k < min(i+10, n); k++ {
			ds = append(ds, draft(fmt.Sprintf("stream/%d", k%5), []string{"a.b", "a.c", "d.e.f"}[k%3], fmt.Sprintf("payload %d", k%7)))
		}
		out = append(out, add(t, j, ds...)...)
	}
	return out
}

func TestQueries(t *testing.T) {
	j := memory(t)
	es := crowd(t, j, 1100)
	for _, kinds := range [][]string{nil, {"a.*"}, {"a.b", "d.>"}, {"none"}} {
		for _, stream := range []string{"", "stream/3", "none"} {
			for _, after := range []uint64{0, 1, 511, 512, 513, 1090, 1099, 1100, 5000} {
				for _, limit := range []int{0, 1, 7, 600} {
					q := journal.Query{Stream: stream, After: after, Limit: limit}
					for _, k := range kinds {
						q.Kinds = append(q.Kinds, events.MustPattern(k))
					}
					var want []events.Event
					for _, e := range es {
						ok := e.Position > after && (stream == "" || e.Stream == stream) && (limit == 0 || len(want) < limit)
						if ok && (len(q.Kinds) == 0 || slices.ContainsFunc(q.Kinds, func(p events.Pattern) bool { return p.Match(e.Kind) })) {
							want = append(want, e)
						}
					}
					sameEvents(t, fmt.Sprintf("%+v", q), all(t, j.Read(t.Context(), q)), want)
				}
			}
		}
	}
	for _, after := range []uint64{0, 1, 150, 219, 220, 1000} {
		var want []events.Event
		for _, e := range es {
			if e.Stream == "stream/2" && e.StreamPosition > after {
				want = append(want, e)
			}
		}
		sameEvents(t, fmt.Sprint("stream after ", after), all(t, j.ReadStream(t.Context(), "stream/2", after)), want)
	}
}

func TestReadStopsWhenAsked(t *testing.T) {
	j := memory(t)
	crowd(t, j, 40)
	n := 0
	for _, err := range j.Read(t.Context(), journal.Query{}) {
		if n++; n == 3 || err != nil {
			break
		}
	}
	for e, err := range j.ReadStream(t.Context(), "stream/1", 0) {
		if err != nil || e.StreamPosition != 1 {
			t.Errorf("read %d, %v", e.StreamPosition, err)
		}
		break
	}
	if n != 3 {
		t.Errorf("read %d events", n)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, err := range j.Read(ctx, journal.Query{}) {
		if !errors.Is(err, why) {
			t.Errorf("cancelled read: %v", err)
		}
	}
}

func TestReadEndsAtTheMarkItBeganWith(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 3)
	n := 0
	for _, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n > 3 {
			t.Fatal("a read goes on with what was appended after it began")
		}
		addN(t, j, "s", 1)
	}
}

func TestReadBytesAreTheCallers(t *testing.T) {
	j := memory(t)
	// The second event's payload lies in the first one's record.
	d := draft("s", "test.happened", "shared payload")
	d.Extensions = map[string]string{"key": "value"}
	es := add(t, j, d, d)
	es = append(es, add(t, j, withParents(d, es[0].Ref()))...)
	spoil := func(e events.Event) {
		for i := range e.Payload {
			e.Payload[i] = '!'
		}
		_ = append(e.Payload, "and on"...)
		if e.Extensions != nil {
			e.Extensions["key"] = "!"
		}
		for i := range e.Parents {
			e.Parents[i] = events.Ref{}
		}
	}
	check := func(what string) {
		t.Helper()
		for _, e := range everything(t, j) {
			if string(e.Payload) != "shared payload" || e.Extensions["key"] != "value" || (e.Position == 3 && e.Parents[0].ID != es[0].ID) {
				t.Fatalf("after what %s returned was changed, event %d reads as %+v", what, e.Position, e)
			}
			spoil(e)
		}
	}
	check("Read")
	check("Read")
	id := es[2].ID
	parent := es[0].ID
	for _, e := range es {
		spoil(e)
	}
	es[0].ID = parent
	check("Append")
	e, err := j.ByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	spoil(e)
	p, err := j.Payload(t.Context(), e.PayloadDigest)
	if err != nil {
		t.Fatal(err)
	}
	clear(p)
	for e, err := range j.ReadStream(t.Context(), "s", 0) {
		if err != nil {
			t.Fatal(err)
		}
		spoil(e)
	}
	check("ByID, Payload and ReadStream")

	// A reader in the middle of a chunk holds nothing: writing, indexing and
	// closing go on.
	for _, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		addN(t, j, "other", 40)
		closeOK(t, j)
		break
	}
}

func TestLookups(t *testing.T) {
	d := disktest.New()
	j := open(t, "data", on(d.Volume()))
	ctx := t.Context()
	var es []events.Event
	for i := range 60 {
		dr := draft(fmt.Sprintf("s/%d", i%4), "test.happened", fmt.Sprintf("payload %d", i))
		dr.Extensions = map[string]string{events.ExtOutsideID: fmt.Sprintf("out %d", i%20)}
		es = append(es, add(t, j, dr)...)
	}
	check := func(when string) {
		t.Helper()
		for _, e := range es {
			for name, get := range map[string]func() (events.Event, error){
				"At":             func() (events.Event, error) { return j.At(ctx, e.Position) },
				"ByID":           func() (events.Event, error) { return j.ByID(ctx, e.ID) },
				"ByDigest":       func() (events.Event, error) { return j.ByDigest(ctx, e.Digest) },
				"ByDigestPrefix": func() (events.Event, error) { return j.ByDigestPrefix(ctx, e.Digest.String()[:17]) },
				"Short":          func() (events.Event, error) { return j.ByDigestPrefix(ctx, e.Digest.Short()) },
			} {
				got, err := get()
				if err != nil || got.Position != e.Position || string(got.Payload) != string(e.Payload) {
					t.Fatalf("%s: %s of event %d: %d, %v", when, name, e.Position, got.Position, err)
				}
			}
			if p, err := j.Payload(ctx, e.PayloadDigest); err != nil || string(p) != string(e.Payload) {
				t.Fatalf("%s: payload of event %d: %q, %v", when, e.Position, p, err)
			}
		}
		for i := range 20 {
			got, err := j.ByOutsideID(ctx, fmt.Sprintf("out %d", i))
			if err != nil || !slices.Equal(positions(got), []uint64{uint64(i) + 1, uint64(i) + 21, uint64(i) + 41}) {
				t.Fatalf("%s: outside id %d: %v, %v", when, i, positions(got), err)
			}
		}
		if got, err := j.ByOutsideID(ctx, "out"); err != nil || len(got) != 0 {
			t.Errorf("%s: an outside id that is the beginning of others: %v, %v", when, positions(got), err)
		}
		for name, err := range map[string]error{
			"At 0":                 second(j.At(ctx, 0)),
			"At beyond the end":    second(j.At(ctx, 61)),
			"ByID":                 second(j.ByID(ctx, nthID(1))),
			"ByDigest":             second(j.ByDigest(ctx, events.Digest{1, 2, 3})),
			"ByDigestPrefix":       second(j.ByDigestPrefix(ctx, strings.Repeat("0", 40))),
			"a short prefix":       second(j.ByDigestPrefix(ctx, "abc")),
			"a long prefix":        second(j.ByDigestPrefix(ctx, strings.Repeat("a", 65))),
			"an upper-case prefix": second(j.ByDigestPrefix(ctx, strings.ToUpper("abcdef"))),
			"no digits":            second(j.ByDigestPrefix(ctx, "xyzxyz")),
			"Payload":              second(j.Payload(ctx, events.PayloadDigest([]byte("absent")))),
			"no payload":           second(j.Payload(ctx, events.PayloadDigest(nil))),
			"Checkpoint":           second(j.Checkpoint(ctx, "absent")),
		} {
			if !errors.Is(err, journal.ErrNotFound) {
				t.Errorf("%s: %s: %v, want ErrNotFound", when, name, err)
			}
		}
	}
	check("some in the index and some in memory")
	closeOK(t, j)
	j = open(t, "data", on(d.Volume()))
	check("all in the index")
}

func second[T any](_ T, err error) error { return err }

func TestAmbiguousPrefix(t *testing.T) {
	j := memory(t)
	seen := map[string]events.Event{}
	for i := 0; ; i++ {
		e := add(t, j, draft("s", "test.happened", fmt.Sprint(i)))[0]
		prefix := e.Digest.String()[:journal.MinDigestPrefix]
		other, ok := seen[prefix]
		if !ok {
			seen[prefix] = e
			continue
		}
		if _, err := j.ByDigestPrefix(t.Context(), prefix); !errors.Is(err, journal.ErrAmbiguous) {
			t.Fatalf("two events begin with %s: %v", prefix, err)
		}
		for _, want := range []events.Event{e, other} {
			if got, err := j.ByDigestPrefix(t.Context(), want.Digest.Short()); err != nil || got.ID != want.ID {
				t.Errorf("a longer prefix: %v, %v", got.ID, err)
			}
		}
		return
	}
}

func TestCursors(t *testing.T) {
	j := memory(t)
	addN(t, j, "s", 5)
	for s, want := range map[string]uint64{"0": 0, "5": 5, "1-0": 0, "1-3": 3, "1-5": 5} {
		if got, err := j.ParseCursor(s); err != nil || got != want {
			t.Errorf("cursor %q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"6", "1-6", "2-1", "0-1", "4294967297-1"} {
		if got, err := j.ParseCursor(s); err == nil {
			t.Errorf("cursor %q: %d; it is not of this journal", s, got)
		} else if !errors.Is(err, journal.ErrCursor) && s != "4294967297-1" {
			t.Errorf("cursor %q: %v, want ErrCursor", s, err)
		}
	}
	for _, s := range []string{"", "-", "1-", "-1", "x", "1-2-3", "-5", "1.5", " 1"} {
		if got, err := j.ParseCursor(s); err == nil {
			t.Errorf("cursor %q is taken for %d", s, got)
		}
	}
	c := journal.Cursor{Epoch: j.Epoch(), Position: 4}
	if got, err := j.ParseCursor(c.String()); err != nil || got != 4 || c.String() != "1-4" {
		t.Errorf("%v reads as %d, %v", c, got, err)
	}
}

func TestReadersAtClose(t *testing.T) {
	j := memory(t)
	es := crowd(t, j, 600)
	var wg sync.WaitGroup
	reading := make(chan struct{}, 64)
	ended := func(what string, err error) bool {
		if err == nil {
			return false
		}
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s at Close: %v", what, err)
		}
		return true
	}
	for name, read := range map[string]func() error{
		"Read": func() (err error) {
			for _, err = range j.Read(t.Context(), journal.Query{}) {
			}
			return err
		},
		"Read of a stream": func() (err error) {
			for _, err = range j.Read(t.Context(), journal.Query{Stream: "stream/1"}) {
			}
			return err
		},
		"ReadStream": func() (err error) {
			for _, err = range j.ReadStream(t.Context(), "stream/1", 0) {
			}
			return err
		},
		"ByID":         func() error { return second(j.ByID(t.Context(), es[5].ID)) },
		"ByDigest":     func() error { return second(j.ByDigest(t.Context(), es[5].Digest)) },
		"Payload":      func() error { return second(j.Payload(t.Context(), es[5].PayloadDigest)) },
		"ByOutsideID":  func() error { return second(j.ByOutsideID(t.Context(), "x")) },
		"Verify":       func() error { return second(j.Verify(t.Context(), nil)) },
		"StateDigests": func() error { return stateDigestsErr(t, j) },
		"StreamVersion": func() error {
			_, _, err := j.StreamVersion("stream/1")
			return err
		},
		"Append": func() error { return second(tryAppend(t, j, write(draft("s", "test.happened", "x")))) },
		"Stats":  func() error { j.Stats(); return second(j.At(t.Context(), 1)) },
	} {
		wg.Go(func() {
			for first := true; ; first = false {
				if ended(name, read()) {
					return
				}
				if first {
					reading <- struct{}{}
				}
			}
		})
	}
	for range 12 {
		soon(t, "a reader", reading)
	}
	closeOK(t, j)
	wg.Wait()
}

func stateDigestsErr(t *testing.T, j *journal.Journal) (err error) {
	for _, err = range j.StateDigests(t.Context(), "s") {
		if err != nil {
			return err
		}
	}
	return err
}

// Streams of large payloads are read in chunks of bounded size too.
func TestLargePayloads(t *testing.T) {
	j := memory(t)
	for i := range 12 {
		add(t, j, draft("s", "test.happened", fmt.Sprint(i)+strings.Repeat("x", 300<<10)))
	}
	for name, got := range map[string][]events.Event{
		"Read":           everything(t, j),
		"Read of stream": all(t, j.Read(t.Context(), journal.Query{Stream: "s"})),
		"ReadStream":     all(t, j.ReadStream(t.Context(), "s", 0)),
	} {
		if len(got) != 12 || got[11].Position != 12 {
			t.Errorf("%s: %v", name, positions(got))
		}
	}
}
