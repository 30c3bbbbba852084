package journal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// answers are what a journal says about some events, in one string.
func answers(t *testing.T, j *journal.Journal, es []events.Event) string {
	t.Helper()
	var b strings.Builder
	ctx := t.Context()
	put := func(what string, e events.Event, err error) {
		fmt.Fprintf(&b, "%s %d %s %q %v %v\n", what, e.Position, e.Digest.Short(), e.Payload, e.Intent, err)
	}
	for _, e := range es {
		if e.Position%7 != 0 {
			continue
		}
		got, err := j.ByID(ctx, e.ID)
		put("id", got, err)
		got, err = j.ByDigestPrefix(ctx, e.Digest.Short())
		put("digest", got, err)
		payload, err := j.Payload(ctx, e.PayloadDigest)
		fmt.Fprintf(&b, "payload %q %v\n", payload, err)
		outside, err := j.ByOutsideID(ctx, e.OutsideID())
		fmt.Fprintf(&b, "outside %v %v\n", positions(outside), err)
		version, last, err := j.StreamVersion(e.Stream)
		fmt.Fprintf(&b, "stream %d %v %v %v\n", version, last, positions(all(t, j.ReadStream(ctx, e.Stream, 0))), err)
	}
	fmt.Fprintf(&b, "%+v\n", j.Stats())
	return b.String()
}

// copyDir copies one directory of a disk to another disk.
func copyDir(t *testing.T, from, to *disktest.Disk, dir string) {
	t.Helper()
	files, err := from.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	fs := to.Volume().FS
	if err := fs.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIndexIsRebuilt(t *testing.T) {
	fill := func(t *testing.T, d *disktest.Disk, n int) {
		t.Helper()
		j := open(t, "/data", on(d.Volume()))
		for i := range n {
			dr := draft(fmt.Sprintf("s/%d", i%3), "test.happened", fmt.Sprintf("payload %d", i%50))
			dr.Extensions = map[string]string{events.ExtOutsideID: fmt.Sprint(i % 40)}
			add(t, j, dr)
		}
		closeOK(t, j)
	}
	ask := func(t *testing.T, d *disktest.Disk) string {
		t.Helper()
		j := open(t, "/data", on(d.Volume()))
		defer closeOK(t, j)
		verified(t, j)
		return answers(t, j, everything(t, j))
	}
	same := func(t *testing.T, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("answers differ from those of the index before:\n%.2000s\nwant\n%.2000s", got, want)
		}
	}
	t.Run("deleted", func(t *testing.T) {
		d := disktest.New()
		fill(t, d, 100)
		want := ask(t, d)
		if err := d.Volume().FS.RemoveAll("/data/index"); err != nil {
			t.Fatal(err)
		}
		same(t, ask(t, d), want)
		same(t, ask(t, d), want)
	})
	t.Run("ahead of the log", func(t *testing.T) {
		d := disktest.New()
		fill(t, d, 60)
		want := ask(t, d)
		older := d.PowerCut(100, 1)
		fill(t, d, 60)
		newer := d.PowerCut(100, 1)
		copyDir(t, newer, older, "/data/index")
		same(t, ask(t, older), want)
		// Positions that were lost are given out again, to other events.
		j := open(t, "/data", on(older.Volume()))
		add(t, j, draft("s/0", "test.happened", "another future"))
		addN(t, j, "new", 70)
		verified(t, j)
		closeOK(t, j)
		j = open(t, "/data", on(older.Volume()))
		verified(t, j)
	})
	t.Run("behind the log", func(t *testing.T) {
		d := disktest.New()
		fill(t, d, 60)
		older := d.PowerCut(100, 1)
		fill(t, d, 60)
		want := ask(t, d)
		copyDir(t, older, d, "/data/index")
		same(t, ask(t, d), want)
	})
	t.Run("of another journal", func(t *testing.T) {
		a, b := disktest.New(), disktest.New()
		fill(t, a, 60)
		want := ask(t, a)
		j := open(t, "/data", on(b.Volume()))
		addN(t, j, "strange", 60)
		closeOK(t, j)
		copyDir(t, b, a, "/data/index")
		same(t, ask(t, a), want)
	})
}

// What the index on disk does not hold after the process ended is served from
// memory again.
func TestIndexCatchesUp(t *testing.T) {
	d := disktest.New()
	o := journal.Options{Volume: d.Volume()}.Small(1000, 32<<10)
	j := open(t, "/data", o)
	es := crowd(t, j, 300)
	if at, err := j.Indexed(); err != nil || at > 300 {
		t.Errorf("indexed up to %d (%v)", at, err)
	}
	want := answers(t, j, es)
	killed := d.PowerCut(100, 1)
	o.Volume = killed.Volume()
	again := open(t, "/data", o)
	if got := answers(t, again, es); got != want {
		t.Errorf("answers after the end of the process:\n%.1000s\nwant\n%.1000s", got, want)
	}
	verified(t, again)
}
