package journal_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// model is a journal in a slice.
type model struct {
	events      []events.Event
	checkpoints map[string]journal.Checkpoint
	wrong       bool // it looks at the version before the id
}

// modelBugEnv makes the model differ from the journal, as a bug would.
const modelBugEnv = "JOURNAL_TEST_MODEL_BUG"

func (m *model) byID(id events.ID) (events.Event, bool) {
	for _, e := range m.events {
		if e.ID == id {
			return e, true
		}
	}
	return events.Event{}, false
}

func (m *model) version(stream string) (n uint64) {
	for _, e := range m.events {
		if e.Stream == stream {
			n++
		}
	}
	return n
}

// fits reports whether the streams are where the writer expects them.
func (m *model) fits(w journal.Write) bool {
	for stream, want := range w.Expect {
		n := m.version(stream)
		if want != journal.Any() && want != journal.Version(n) && (want != journal.NoStream() || n > 0) && (want != journal.StreamExists() || n == 0) {
			return false
		}
	}
	return true
}

// append decides on a write as a journal should: parents, then ids, then
// versions.
func (m *model) append(w journal.Write) (out []events.Event, duplicate bool, err error) {
	for _, d := range w.Events {
		for _, p := range d.Parents {
			if p.ID == d.ID {
				return nil, false, events.ErrInvalid
			}
		}
	}
	if m.wrong && !m.fits(w) {
		return nil, false, journal.ErrWrongVersion
	}
	known := 0
	for i, d := range w.Events {
		var parents []events.Ref
		for _, p := range d.Parents {
			at, ok := m.byID(p.ID)
			for _, e := range out[:i] {
				if e.ID == p.ID {
					at, ok = e, true
				}
			}
			if !ok {
				return nil, false, journal.ErrUnknownParent
			}
			parents = append(parents, at.Ref())
		}
		e, err := d.Seal(d.ID, parents)
		if err != nil {
			return nil, false, events.ErrInvalid
		}
		out = append(out, e)
	}
	for i, e := range out {
		if slices.ContainsFunc(out[:i], func(o events.Event) bool { return o.ID == e.ID }) {
			return nil, false, journal.ErrIDConflict
		}
		if old, ok := m.byID(e.ID); ok {
			if old.Digest != e.Digest {
				return nil, false, journal.ErrIDConflict
			}
			out[i], known = old, known+1
		}
	}
	if known > 0 && known < len(out) {
		return nil, false, journal.ErrPartlyKnown
	}
	if known > 0 {
		return out, true, nil
	}
	if !m.fits(w) {
		return nil, false, journal.ErrWrongVersion
	}
	for i := range out {
		out[i].Position = uint64(len(m.events)) + 1
		out[i].StreamPosition = m.version(out[i].Stream) + 1
		m.events = append(m.events, out[i])
	}
	for _, c := range w.Checkpoints {
		m.checkpoints[c.Name] = c
	}
	return out, false, nil
}

// A model that differs in the order of two checks is found out: so the test can
// see a journal that does.
func TestModelFindsABug(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestModel$", "-rapid.shrinktime=0s", "-rapid.nofailfile", "-rapid.checks=1000")
	cmd.Env = append(os.Environ(), modelBugEnv+"=1")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "append: ") {
		t.Errorf("not found out: %v\n%s", err, out)
	}
}

// Whatever is appended, read, looked up and opened again in whatever order,
// the journal says what the model says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := disktest.New()
		generation := rapid.IntRange(1, 20).Draw(rt, "generation")
		options := journal.Options{Volume: d.Volume()}.Small(generation, 32<<10)
		j, err := journal.Open("/data", options)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		m := &model{checkpoints: map[string]journal.Checkpoint{}, wrong: os.Getenv(modelBugEnv) != ""}
		ctx := t.Context()

		stream := rapid.SampledFrom([]string{"a", "a/1", "ab", "b", "ü"})
		kind := rapid.SampledFrom([]string{"x", "x.y", "z.y"})
		payload := rapid.SampledFrom([]string{"", "p", "q", "r"})
		number := rapid.IntRange(1, 60)
		same := func(what string, got events.Event, err error, want events.Event) {
			if err != nil || got.Position != want.Position || got.StreamPosition != want.StreamPosition || got.Digest != want.Digest || string(got.Payload) != string(want.Payload) {
				rt.Fatalf("%s: %d %s %v, want %d %s", what, got.Position, got.Digest.Short(), err, want.Position, want.Digest.Short())
			}
		}
		gone := func(what string, err error) {
			if !errors.Is(err, journal.ErrNotFound) {
				rt.Fatalf("%s: %v, want ErrNotFound", what, err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				var w journal.Write
				for range rapid.IntRange(1, 4).Draw(rt, "events") {
					dr := draft(stream.Draw(rt, "stream"), kind.Draw(rt, "kind"), payload.Draw(rt, "payload"))
					dr.ID = nthID(number.Draw(rt, "id"))
					if rapid.IntRange(0, 3).Draw(rt, "with parent") == 0 {
						dr.Parents = []events.Ref{{ID: nthID(number.Draw(rt, "parent"))}}
					}
					if rapid.Bool().Draw(rt, "outside") {
						dr.Extensions = map[string]string{events.ExtOutsideID: payload.Draw(rt, "outside id") + "o"}
					}
					w.Events = append(w.Events, dr)
				}
				if rapid.IntRange(0, 2).Draw(rt, "expects") == 0 {
					s := stream.Draw(rt, "expected stream")
					w.Expect = map[string]journal.Expected{s: rapid.SampledFrom([]journal.Expected{
						journal.Any(), journal.NoStream(), journal.StreamExists(), journal.Version(m.version(s)), journal.Version(3),
					}).Draw(rt, "expected")}
				}
				if rapid.Bool().Draw(rt, "checkpoint") {
					w.Checkpoints = []journal.Checkpoint{{Name: stream.Draw(rt, "name"), Position: uint64(number.Draw(rt, "at"))}}
				}
				want, duplicate, wantErr := m.append(w)
				r, err := j.Append(ctx, w)
				if !errors.Is(err, wantErr) || (err != nil) != (wantErr != nil) || r.Duplicate != duplicate || len(r.Events) != len(want) {
					rt.Fatalf("append: %+v, %v; want %d events, duplicate %v, %v", r, err, len(want), duplicate, wantErr)
				}
				for i := range want {
					same("append", r.Events[i], nil, want[i])
				}
			},
			"append again": func(rt *rapid.T) {
				if len(m.events) == 0 {
					rt.Skip("nothing there")
				}
				e := rapid.SampledFrom(m.events).Draw(rt, "event")
				dr := events.Draft{ID: e.ID, Stream: e.Stream, Kind: e.Kind, Payload: slices.Clone(e.Payload), Parents: e.Parents, Extensions: e.Extensions}
				r, err := j.Append(ctx, write(dr))
				if err != nil || !r.Duplicate {
					rt.Fatalf("append again: %+v, %v", r, err)
				}
				same("append again", r.Events[0], nil, e)
			},
			"read": func(rt *rapid.T) {
				q := journal.Query{After: uint64(rapid.IntRange(0, len(m.events)+1).Draw(rt, "after")), Limit: rapid.IntRange(0, 9).Draw(rt, "limit")}
				if rapid.Bool().Draw(rt, "one stream") {
					q.Stream = stream.Draw(rt, "stream")
				}
				if rapid.Bool().Draw(rt, "some kinds") {
					q.Kinds = []events.Pattern{events.MustPattern(rapid.SampledFrom([]string{"x", "x.>", "*.y", "z.*"}).Draw(rt, "pattern"))}
				}
				var want []events.Event
				for _, e := range m.events {
					if e.Position > q.After && (q.Stream == "" || e.Stream == q.Stream) && (q.Kinds == nil || q.Kinds[0].Match(e.Kind)) && (q.Limit == 0 || len(want) < q.Limit) {
						want = append(want, e)
					}
				}
				n := 0
				for e, err := range j.Read(ctx, q) {
					if n == len(want) {
						rt.Fatalf("read %+v: more than %d events", q, n)
					}
					same("read", e, err, want[n])
					n++
				}
				if n != len(want) {
					rt.Fatalf("read %+v: %d events, want %d", q, n, len(want))
				}
			},
			"read stream": func(rt *rapid.T) {
				s := stream.Draw(rt, "stream")
				after := uint64(rapid.IntRange(0, 20).Draw(rt, "after"))
				next := after + 1
				for e, err := range j.ReadStream(ctx, s, after) {
					if err != nil || e.Stream != s || e.StreamPosition != next {
						rt.Fatalf("read %s after %d: %s %d, %v; want %d", s, after, e.Stream, e.StreamPosition, err, next)
					}
					next++
				}
				if n := m.version(s); next != max(n, after)+1 {
					rt.Fatalf("read %s after %d: ended before %d at version %d", s, after, next, n)
				}
			},
			"look up": func(rt *rapid.T) {
				id := nthID(number.Draw(rt, "id"))
				want, ok := m.byID(id)
				got, err := j.ByID(ctx, id)
				if !ok {
					gone("by id", err)
					return
				}
				same("by id", got, err, want)
				got, err = j.At(ctx, want.Position)
				same("at", got, err, want)
				got, err = j.ByDigest(ctx, want.Digest)
				same("by digest", got, err, want)
				prefix := want.Digest.String()[:rapid.IntRange(8, 64).Draw(rt, "digits")]
				got, err = j.ByDigestPrefix(ctx, prefix)
				same("by prefix", got, err, want)
				if p, err := j.Payload(ctx, want.PayloadDigest); len(want.Payload) == 0 {
					gone("empty payload", err)
				} else if err != nil || string(p) != string(want.Payload) {
					rt.Fatalf("payload: %q, %v", p, err)
				}
				for s := range map[string]bool{want.Stream: true, "none": true} {
					if n, _, err := j.StreamVersion(s); err != nil || n != m.version(s) {
						rt.Fatalf("version of %s: %d, %v, want %d", s, n, err, m.version(s))
					}
				}
				if want.OutsideID() != "" {
					var same []uint64
					for _, e := range m.events {
						if e.OutsideID() == want.OutsideID() {
							same = append(same, e.Position)
						}
					}
					if got, err := j.ByOutsideID(ctx, want.OutsideID()); err != nil || !slices.Equal(positions(got), same) {
						rt.Fatalf("by outside id: %v, %v, want %v", positions(got), err, same)
					}
				}
			},
			"reopen": func(rt *rapid.T) {
				how := rapid.SampledFrom([]string{"close", "kill", "delete the index"}).Draw(rt, "how")
				if how == "kill" {
					d = d.PowerCut(100, 1)
				}
				if err := j.Close(); err != nil {
					rt.Fatal(err)
				}
				if how == "delete the index" {
					if err := d.Volume().FS.RemoveAll("/data/index"); err != nil {
						rt.Fatal(err)
					}
				}
				options.Volume = d.Volume()
				if j, err = journal.Open("/data", options); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				if n := j.Position(); n != uint64(len(m.events)) {
					rt.Fatalf("the journal ends at %d, want %d", n, len(m.events))
				}
				for name, want := range m.checkpoints {
					if got, err := j.Checkpoint(ctx, name); err != nil || got != want {
						rt.Fatalf("checkpoint %s: %+v, %v, want %+v", name, got, err, want)
					}
				}
			},
		})
		r, err := j.Verify(ctx, nil)
		if err != nil || !r.OK || r.Events != uint64(len(m.events)) {
			rt.Fatalf("verify: %+v, %v", r, err)
		}
		payloads, streams := map[string]bool{}, map[string]bool{}
		for _, e := range m.events {
			streams[e.Stream] = true
			if len(e.Payload) > 0 {
				payloads[string(e.Payload)] = true
			}
		}
		if s := j.Stats(); s.Payloads != uint64(len(payloads)) || s.Streams != uint64(len(streams)) {
			rt.Fatalf("stats: %+v, want %d payloads and %d streams", s, len(payloads), len(streams))
		}
	})
}
