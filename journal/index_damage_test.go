package journal_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/journal"
)

// whole opens a journal whose index was damaged, holds what it has against what
// it had, and does so again at the next start, when the damage is to be gone.
// It reports whether the first start built the index anew.
func (w *wreck) whole(t *testing.T, name, text, what string) (rebuilt bool) {
	t.Helper()
	var said bytes.Buffer
	v := w.with(t, name, text)
	o := on(v)
	o.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for start := range 2 {
		j, err := journal.Open(markedDir, o)
		if err != nil {
			t.Fatalf("%s, start %d: %v", what, start, err)
		}
		n := uint64(0)
		for _, err := range j.Read(t.Context(), journal.Query{}) {
			if err != nil {
				t.Fatalf("%s, start %d: read: %v", what, start, err)
			}
			n++
		}
		if n != w.events {
			t.Fatalf("%s, start %d: %d of %d events", what, start, n, w.events)
		}
		r, err := j.Verify(t.Context(), nil)
		switch {
		case err != nil:
			t.Fatalf("%s, start %d: verify: %v", what, start, err)
		case r.Content != w.content:
			t.Fatalf("%s, start %d: the content is another", what, start)
		case !r.OK && start == 1:
			t.Fatalf("%s: not gone at the next start: %v", what, r.Problems)
		case !r.OK && !strings.Contains(said.String(), "damaged"):
			t.Fatalf("%s: nothing was logged of %v", what, r.Problems)
		}
		closeOK(t, j)
		if start == 0 {
			rebuilt = strings.Contains(said.String(), "built anew from the log")
		}
	}
	return rebuilt
}

// Whatever happens to a file of the index, the journal opens, has everything
// that it had, and from the next start on is as it was.
func TestADamagedIndexIsBuiltAnew(t *testing.T) {
	each := 6 * thorough(t)
	if underRace {
		each = 2
	}
	type count struct{ tried, rebuilt int }
	for _, killed := range []bool{false, true} {
		w := newWreck(t, killed)
		kinds := map[string]*count{}
		for name, text := range w.files {
			if !strings.Contains(name, "/index/") || strings.HasSuffix(name, "/") {
				continue
			}
			kind := kindOf(name)
			if kinds[kind] == nil {
				kinds[kind] = &count{}
			}
			try := func(damaged, what string) {
				kinds[kind].tried++
				if w.whole(t, name, damaged, fmt.Sprintf("killed %v: %s of %s", killed, what, path.Base(name))) {
					kinds[kind].rebuilt++
				}
			}
			try("", "the loss")
			try("something else entirely", "another content")
			for i, step := 0, max(1, len(text)/each); i < len(text); i += step {
				b := []byte(text)
				b[i] ^= 1 << (i % 8)
				try(string(b), fmt.Sprintf("a bit at %d", i))
				if i > 0 {
					try(text[:i], fmt.Sprintf("all from %d on", i))
				}
			}
		}
		var lines []string
		total := 0
		for kind, c := range kinds {
			lines = append(lines, fmt.Sprintf("%s %d of %d", kind, c.rebuilt, c.tried))
			total += c.rebuilt
		}
		slices.Sort(lines)
		t.Logf("killed %v: built anew by the first start: %s", killed, strings.Join(lines, ", "))
		if total == 0 {
			t.Error("no damage made anybody build the index anew")
		}
	}
}
