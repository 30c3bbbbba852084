package journal_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/internal/disk"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// thorough is how many times as much the tests of this file do as they do in a
// few seconds: TOKA_DAMAGE=10 go test -run 'BitFlips|TruncatedLog'.
func thorough(t testing.TB) int {
	text := os.Getenv("TOKA_DAMAGE")
	switch {
	case text == "" && allFaults() && !underRace:
		return 6
	case text == "":
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TOKA_DAMAGE=%q is not a number from 1 up", text)
	}
	return n
}

// wreck is a journal as files, to be damaged one copy at a time, and what it
// held.
type wreck struct {
	files    map[string]string
	content  string
	events   uint64
	outcomes map[string]*outcomes // by kind of file
}

type outcomes struct{ tried, refused, named, harmless, silent atomic.Int64 }

// newWreck writes a journal that crosses the seams of the engine. If killed is
// set it is taken as the end of the process leaves it, with all its events up
// to the outside mark, or else after a clean close.
func newWreck(t *testing.T, killed bool) *wreck {
	t.Helper()
	d := disktest.New()
	j := open(t, markedDir, on(d.Volume()))
	for i := range 5 {
		varied(t, j, 60)
		dr := draft("private", "test.happened", fmt.Sprint("secret ", i))
		dr.SubjectKey = fmt.Sprint("subject ", i)
		m := write(dr)
		m.Checkpoints = []journal.Checkpoint{{Name: "c", Position: uint64(60 * i)}}
		if _, err := tryAppend(t, j, m); err != nil {
			t.Fatal(err)
		}
	}
	w := &wreck{outcomes: map[string]*outcomes{}}
	r := verified(t, j)
	w.content, w.events = r.Content, r.Events
	if killed {
		for !strings.Contains(readFile(t, d.Volume().FS, markedFile), fmt.Sprintf("\nposition %d\n", w.events)) {
			if _, err := j.Head(t.Context()); err != nil { // something to do until then
				t.Fatal(err)
			}
		}
		d = d.PowerCut(100, 1)
	} else {
		closeOK(t, j)
	}
	var err error
	if w.files, err = d.Files("/data"); err != nil {
		t.Fatal(err)
	}
	return w
}

// with returns a file system with one file replaced, or left out if it is "".
func (w *wreck) with(t testing.TB, name, text string) *disk.Volume {
	t.Helper()
	fsys := vfs.NewMem()
	for p, s := range w.files {
		if p == name {
			s = text
		}
		if err := fsys.MkdirAll(path.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(p, "/") || p == name && text == "" {
			continue
		}
		f, err := fsys.Create(p, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, s); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return &disk.Volume{FS: fsys}
}

// kind of a file, for the counts.
func kindOf(p string) string {
	name := path.Base(p)
	switch dir := path.Base(path.Dir(p)); {
	case strings.HasPrefix(name, "MANIFEST"), strings.HasPrefix(name, "OPTIONS"), strings.HasPrefix(name, "marker."):
		return dir + "/" + strings.TrimRight(name, "-.0123456789")
	case dir == "log", dir == "index":
		return dir + "/*" + path.Ext(name)
	case dir == "keys":
		return "keys"
	default:
		return name
	}
}

// try opens what is left, reads all of it and verifies it, and says what came
// of it.
func (w *wreck) try(t testing.TB, v *disk.Volume, what, name string) {
	t.Helper()
	o := w.outcomes[kindOf(name)]
	if o == nil {
		o = &outcomes{}
		w.outcomes[kindOf(name)] = o
	}
	planted := strings.HasPrefix(what, "planted")
	if planted && o.silent.Load() > 0 {
		return // one is proof enough
	}
	o.tried.Add(1)
	j, err := journal.Open(markedDir, on(v))
	if err != nil {
		if !strings.Contains(err.Error(), "/data/journal") {
			t.Errorf("%s: refused without a name: %v", what, err)
		}
		o.refused.Add(1)
		return
	}
	defer func() { _ = j.Close() }()
	for _, err := range j.Read(t.Context(), journal.Query{}) {
		if err != nil {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Errorf("%s: read: %v", what, err)
			}
			o.named.Add(1)
			return
		}
	}
	r, err := j.Verify(t.Context(), nil)
	c, checkErr := j.Checkpoint(t.Context(), "c")
	switch {
	case err != nil || !r.OK || errors.Is(checkErr, journal.ErrCorrupt):
		o.named.Add(1)
	case r.Content == w.content && r.Events == w.events && checkErr == nil && c.Position == 240:
		o.harmless.Add(1)
	default:
		o.silent.Add(1)
		if o.silent.Load() <= 3 && !planted {
			t.Errorf("%s: %d of %d events, checkpoint at %d (%v), and no word", what, r.Events, w.events, c.Position, checkErr)
		}
	}
}

func (w *wreck) silent(t *testing.T) (silent int64) {
	t.Helper()
	var kinds []string
	for kind := range w.outcomes {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		o := w.outcomes[kind]
		t.Logf("%-16s %5d tried: %d refused, %d named, %d harmless, %d silent",
			kind, o.tried.Load(), o.refused.Load(), o.named.Load(), o.harmless.Load(), o.silent.Load())
		silent += o.silent.Load()
	}
	return silent
}

// flips tries a bit in each stride of every file that match selects.
func (w *wreck) flips(t *testing.T, perFile int, what string, match func(name string) bool) {
	t.Helper()
	var names []string
	for name, text := range w.files {
		if text != "" && match(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		text := w.files[name]
		step := max(1, len(text)/perFile)
		for i := step / 2; i < len(text); i += step {
			b := []byte(text)
			b[i] ^= 1 << (i % 8)
			w.try(t, w.with(t, name, string(b)), fmt.Sprintf("%s: byte %d of %s", what, i, name), name)
		}
	}
}

// A bit that is changed in any file is refused, named, or changes nothing.
func TestBitFlips(t *testing.T) {
	n := 12 * thorough(t)
	for _, killed := range []bool{false, true} {
		name := "after a clean close"
		if killed {
			name = "after a kill"
		}
		t.Run(name, func(t *testing.T) {
			w := newWreck(t, killed)
			w.flips(t, n, name, func(string) bool { return true })
			if silent := w.silent(t); silent > 0 {
				t.Errorf("%d changes had no word", silent)
			}
		})
	}
}

// Without the outside mark the same changes go unnoticed: so the test can see
// them.
func TestBitFlipsFindThatTheMarkIsMissing(t *testing.T) {
	w := newWreck(t, true)
	w.files[markedFile] = ""
	delete(w.files, markedFile)
	w.flips(t, 120, "planted", func(name string) bool { return kindOf(name) == "log/*.log" })
	if silent := w.silent(t); silent == 0 {
		t.Error("no change went unnoticed")
	}
}

// A log that is cut off anywhere is refused, naming what is missing, unless
// nothing was there.
func TestTruncatedLog(t *testing.T) {
	most := 250 * thorough(t)
	if underRace {
		most /= 4
	}
	for _, planted := range []bool{false, true} {
		w := newWreck(t, true)
		what := "cut"
		if planted {
			what, most = "planted", 60
			delete(w.files, markedFile)
		}
		cuts := 0
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(w.files))) { // the newest log first
			text := w.files[name]
			if kindOf(name) != "log/*.log" || text == "" {
				continue
			}
			for i := 0; i < len(text) && cuts < most; i += 37 {
				cuts++
				w.try(t, w.with(t, name, text[:i]), fmt.Sprintf("%s at byte %d of %s", what, i, name), name)
			}
		}
		if silent := w.silent(t); (silent > 0) != planted || !planted && w.outcomes["log/*.log"].refused.Load() == 0 {
			t.Errorf("%s: %d of %d cuts had no word", what, silent, cuts)
		}
	}
}
