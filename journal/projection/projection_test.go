package projection_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/projection"
)

type counts = map[string]int

func counting(schema string) projection.Fold[counts] {
	return projection.Fold[counts]{
		Schema: schema, New: func() counts { return counts{} }, SaveEvery: 10,
		Fold: func(s counts, e events.Event) (counts, error) { s[e.Kind]++; return s, nil },
	}
}

type version = projection.Version[*projection.State[counts]]

func memory(t testing.TB) *journal.Journal {
	t.Helper()
	j, err := journal.Open("", journal.Options{Level: journal.LevelMemory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func add(t testing.TB, j *journal.Journal, kind string, n int) {
	t.Helper()
	for i := range n {
		if _, err := j.Append(t.Context(), journal.Write{Events: []events.Draft{{Stream: "s", Kind: kind, Payload: fmt.Append(nil, i)}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func start(t testing.TB, j *journal.Journal, c projection.Config, current version, previous ...version) *projection.Projection[*projection.State[counts]] {
	t.Helper()
	p, err := projection.Start(t.Context(), j, c, current, previous...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func wait(t testing.TB, p *projection.Projection[*projection.State[counts]], position uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx, position); err != nil {
		t.Fatalf("wait for %d: %v; %+v", position, err, p.Status())
	}
}

func holds(t testing.TB, p *projection.Projection[*projection.State[counts]], want counts) {
	t.Helper()
	p.Serving().View(func(s counts) {
		if !maps.Equal(s, want) {
			t.Errorf("the model holds %v, want %v", s, want)
		}
	})
}

func TestStatus(t *testing.T) {
	j := memory(t)
	add(t, j, "a", 30)
	add(t, j, "b", 30)
	path := filepath.Join(t.TempDir(), "view")
	p := start(t, j, projection.Config{Query: journal.Query{Kinds: []events.Pattern{events.MustPattern("a")}}}, version{Name: "1", Model: projection.NewState(path, counting("1"))})
	wait(t, p, 60)
	holds(t, p, counts{"a": 30})
	if s := p.Status(); s != (projection.Status{Version: "1", Position: 60}) {
		t.Errorf("status %+v", s)
	}
	add(t, j, "b", 10) // it comes forward without being given anything
	add(t, j, "a", 1)
	wait(t, p, 71)
	holds(t, p, counts{"a": 31})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context(), 72); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("wait after Close: %v", err)
	}
	add(t, j, "a", 4)
	if s := p.Status(); s.Position != 71 || s.Lag != 4 {
		t.Errorf("status after Close %+v", s)
	}
	// What was kept is gone on with.
	folded := 0
	fold := counting("1")
	fold.Fold = func(s counts, e events.Event) (counts, error) { folded++; s[e.Kind]++; return s, nil }
	p = start(t, j, projection.Config{Query: journal.Query{Kinds: []events.Pattern{events.MustPattern("a")}}}, version{Name: "1", Model: projection.NewState(path, fold)})
	wait(t, p, 75)
	holds(t, p, counts{"a": 35})
	if err := p.Close(); err != nil || folded != 4 {
		t.Errorf("%d events were folded anew (%v)", folded, err)
	}
}

// Whenever the process ends, what is on disk is a state with its place.
func TestCrashes(t *testing.T) {
	j := memory(t)
	path := filepath.Join(t.TempDir(), "view")
	p := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState(path, counting("1"))})
	seen := map[string]bool{}
	for i := range 60 {
		add(t, j, fmt.Sprint("k", i%3), 1+i%5)
		if i%7 == 0 {
			wait(t, p, j.Position())
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || seen[string(b)] {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[string(b)] = true
		left := filepath.Join(t.TempDir(), "left")
		if err := os.WriteFile(left, b, 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState(left, counting("1"))})
		wait(t, again, j.Position())
		want := counts{}
		for e, err := range j.Read(t.Context(), journal.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			want[e.Kind]++
		}
		holds(t, again, want)
	}
	t.Logf("%d different files were gone on with", len(seen))
	if len(seen) < 5 {
		t.Errorf("only %d different files were found", len(seen))
	}
}

func TestModelsThatDoNotFit(t *testing.T) {
	j, other := memory(t), memory(t)
	add(t, j, "a", 40)
	add(t, other, "b", 50)
	dir := t.TempDir()
	made := func(j *journal.Journal, schema string) []byte {
		path := filepath.Join(dir, "made")
		p := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState(path, counting(schema))})
		wait(t, p, j.Position())
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path)
		return b
	}
	good := made(j, "1")
	files := map[string][]byte{"good": good, "empty": {}, "of another journal": made(other, "1"), "of another schema": made(j, "2"), "cut": good[:len(good)-1]}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		files[fmt.Sprint("byte ", i)] = bad
	}
	for name, b := range files {
		path := filepath.Join(dir, "view")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		folded := 0
		fold := counting("1")
		fold.Fold = func(s counts, e events.Event) (counts, error) { folded++; s[e.Kind]++; return s, nil }
		p := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState(path, fold)})
		wait(t, p, 40)
		holds(t, p, counts{"a": 40})
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 0, false: 40}[name == "good"]; folded != want {
			t.Errorf("%s: %d events were folded, want %d", name, folded, want)
		}
	}
}

func TestRebuildWhileServing(t *testing.T) {
	j := memory(t)
	add(t, j, "a", 20)
	dir := t.TempDir()
	p := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState(filepath.Join(dir, "1"), counting("1")), Drop: func() error { return os.Remove(filepath.Join(dir, "1")) }})
	wait(t, p, 20)
	gate := make(chan struct{})
	slow := counting("2")
	slow.Fold = func(s counts, e events.Event) (counts, error) {
		<-gate
		s["new "+e.Kind]++
		return s, nil
	}
	built := make(chan error, 1)
	go func() {
		built <- p.Rebuild(t.Context(), version{Name: "2", Model: projection.NewState(filepath.Join(dir, "2"), slow)})
	}()
	add(t, j, "a", 5)
	wait(t, p, 25)
	holds(t, p, counts{"a": 25})
	for end := time.Now().Add(30 * time.Second); p.Status().Building != "2"; {
		if time.Now().After(end) {
			t.Fatalf("status %+v", p.Status())
		}
	}
	if s := p.Status(); s.Version != "1" || s.BuildingLag != 25 {
		t.Errorf("status %+v", s)
	}
	if err := p.Rebuild(t.Context(), version{Name: "3", Model: projection.NewState("", counting("3"))}); err == nil {
		t.Error("two versions are built at a time")
	}
	close(gate)
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	wait(t, p, 25)
	holds(t, p, counts{"new a": 25})
	if _, err := os.Stat(filepath.Join(dir, "1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old version is still there (%v)", err)
	}
	// One that is given up leaves everything as it was.
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	stuck := counting("4")
	stuck.Fold = func(s counts, _ events.Event) (counts, error) { cancel(why); return s, errors.New("never") }
	if err := p.Rebuild(ctx, version{Name: "4", Model: projection.NewState("", stuck)}); err == nil {
		t.Error("a version that cannot be built was built")
	}
	if s := p.Status(); s != (projection.Status{Version: "2", Position: 25}) {
		t.Errorf("status %+v", s)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	// After a restart the version that was there answers until the next has
	// caught up.
	add(t, j, "a", 5)
	gate = make(chan struct{})
	next := counting("5")
	next.Fold = func(s counts, e events.Event) (counts, error) { <-gate; s["newest "+e.Kind]++; return s, nil }
	p = start(t, j, projection.Config{}, version{Name: "5", Model: projection.NewState(filepath.Join(dir, "5"), next)},
		version{Name: "4", Model: projection.NewState(filepath.Join(dir, "4"), counting("4"))},
		version{Name: "2", Model: projection.NewState(filepath.Join(dir, "2"), counting("2"))})
	wait(t, p, 30)
	if s := p.Status(); s.Version != "2" || s.Building != "5" {
		t.Errorf("status %+v", s)
	}
	holds(t, p, counts{"new a": 25, "a": 5})
	close(gate)
	for end := time.Now().Add(30 * time.Second); p.Status().Version != "5"; {
		if time.Now().After(end) {
			t.Fatalf("status %+v", p.Status())
		}
	}
	holds(t, p, counts{"newest a": 30})
}

func TestFoldFails(t *testing.T) {
	for name, fail := range map[string]func() error{"error": func() error { return errors.New("no") }, "panic": func() error { panic("no") }} {
		j := memory(t)
		add(t, j, "a", 15)
		add(t, j, "bad", 1)
		add(t, j, "a", 3)
		fold := counting("1")
		fold.Fold = func(s counts, e events.Event) (counts, error) {
			if e.Kind == "bad" {
				return s, fail()
			}
			s[e.Kind]++
			return s, nil
		}
		p := start(t, j, projection.Config{}, version{Name: "1", Model: projection.NewState("", fold)})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := p.Wait(ctx, 19)
		cancel()
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if s := p.Status(); s.Position != 15 || s.Err == nil || s.Lag != 4 {
			t.Errorf("%s: status %+v", name, s)
		}
		holds(t, p, counts{"a": 15})
	}
}

// ledger is a model with transactions of its own.
type ledger struct {
	t      *testing.T
	place  projection.Place
	events []uint64
	fail   int // that many times
}

func (l *ledger) Place(context.Context) (projection.Place, error) { return l.place, nil }
func (l *ledger) Reset(context.Context) error {
	l.place, l.events = projection.Place{}, nil
	return nil
}
func (l *ledger) Close() error { return nil }
func (l *ledger) Apply(_ context.Context, es []events.Event, to projection.Place) error {
	if to.Position <= l.place.Position && len(es) > 0 {
		l.t.Errorf("place %d after %d", to.Position, l.place.Position)
	}
	if l.fail--; l.fail == 0 {
		return errors.New("the database is away")
	}
	for _, e := range es {
		l.events = append(l.events, e.Position)
	}
	l.place = to
	return nil
}

func TestModelOfTheCallers(t *testing.T) {
	j := memory(t)
	add(t, j, "a", 3000)
	l := &ledger{t: t, fail: 4}
	for range 3 {
		p, err := projection.Start(t.Context(), j, projection.Config{}, projection.Version[*ledger]{Name: "1", Model: l})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_ = p.Wait(ctx, 3000)
		cancel()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range l.events {
		if at != uint64(i)+1 {
			t.Fatalf("event %d was applied as number %d", at, i+1)
		}
	}
	if len(l.events) != 3000 || l.place.Position != 3000 || l.place.Digest.IsZero() {
		t.Errorf("%d events, place %+v", len(l.events), l.place)
	}
}
