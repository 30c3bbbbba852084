package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// sourceOf and token are how the generated file names its events.
func sourceOf(i int) int { return i * i % 53 }

func token(i int, byEvent bool) string {
	if byEvent {
		return events.IngestedID(fmt.Sprintf("agent/%d", sourceOf(i)), strconv.Itoa(i)).String()
	}
	return strconv.Itoa(i)
}

func TestIngestAgain(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if r := must(t, node.ExitDone, "ingest", "--data", data, sample); r.out != "ingested 300, duplicates 0, rejected 0\n" || r.err != "" {
		t.Fatal(r)
	}
	verified := must(t, node.ExitDone, "verify", "--data", data, "-o", "json").out
	logged := must(t, node.ExitDone, "log", "--data", data, "-o", "json").out
	for range 2 {
		if r := must(t, node.ExitDone, "ingest", "--data", data, sample); r.out != "ingested 0, duplicates 300, rejected 0\n" || r.err != "" {
			t.Fatal(r)
		}
		if again := must(t, node.ExitDone, "verify", "--data", data, "-o", "json").out; again != verified {
			t.Fatalf("verify says\n%swas\n%s", again, verified)
		}
		if again := must(t, node.ExitDone, "log", "--data", data, "-o", "json").out; again != logged {
			t.Fatal("the log has changed")
		}
	}
}

func TestIngestBadInput(t *testing.T) {
	const good = `{"specversion":"1.0","id":"good","source":"s","type":"a.b"}`
	for name, c := range map[string]struct{ line, reason string }{
		"not JSON":            {`hello`, "not a JSON object"},
		"an array":            {`[]`, "not a JSON object"},
		"cut off":             {`{"specversion":"1.0","id":"1"`, "it ends inside the object"},
		"no version":          {`{"id":"1","source":"s","type":"a.b"}`, "invalid specversion: it is missing"},
		"no id":               {`{"specversion":"1.0","source":"s","type":"a.b"}`, "invalid id: it is missing"},
		"no kind":             {`{"specversion":"1.0","id":"1","source":"s"}`, "invalid type: it is missing"},
		"system kind":         {`{"specversion":"1.0","id":"1","source":"s","type":"toka.x"}`, "belong to the system"},
		"system stream":       {`{"specversion":"1.0","id":"1","source":"$s","type":"a.b"}`, "belong to the system"},
		"unknown parent":      {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaparents":"p"}`, `unknown parent "p"`},
		"unknown parents":     {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaparents":"good p q"}`, `unknown parent "p"`},
		"itself":              {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaparents":"1"}`, `unknown parent "1"`},
		"itself, by event id": {fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaparents":%q}`, events.IngestedID("s", "1")), "unknown parent"},
		"other data":          {`{"specversion":"1.0","id":"good","source":"s","type":"a.b","data":1}`, `id "good" of source "s": event `},
		"other kind":          {`{"specversion":"1.0","id":"good","source":"s","type":"a.c"}`, "event id is taken by another event"},
		"other parents":       {`{"specversion":"1.0","id":"good","source":"s","type":"a.b","tokaparents":"good"}`, "event id is taken by another event"},
		"zero vector":         {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaembedding":"AAAAAAAAAAA="}`, "invalid embedding"},
		"vector with NaN":     {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaembedding":"AADAfw=="}`, "not finite"},
		"infinite vector":     {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaembedding":"AACAfw=="}`, "not finite"},
		"huge vector":         {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaembedding":"` + strings.Repeat("AACAPwAAgD8AAIA/", 1<<15) + `"}`, "dimensions; the limit is"},
		"vector of no floats": {`{"specversion":"1.0","id":"1","source":"s","type":"a.b","tokaembedding":"AAAA"}`, "invalid tokaembedding"},
		"too long":            {strings.Repeat(" ", 5<<20) + "1", "line is longer than 4 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := disktest.New()
			change := func(o *journal.Options) { o.Volume = disk.Volume() }
			text := good + "\n\n" + c.line + "\n" + strings.Replace(good, "good", "after", 1) + "\n"
			for _, want := range []string{"ingested 2, duplicates 0, rejected 1\n", "ingested 0, duplicates 2, rejected 1\n"} {
				r := runOn(t, change, strings.NewReader(text), "ingest", "--data", "/d", "-")
				if r.code != node.ExitFailed || r.out != want {
					t.Fatalf("code %d, %q, want %q\n%s", r.code, r.out, want, r.err)
				}
				if !strings.HasPrefix(r.err, "line 3: ") || !strings.Contains(r.err, c.reason) || strings.Count(r.err, "\n") != 1 {
					t.Fatalf("reported as %q, want line 3 with %q", r.err, c.reason)
				}
			}
		})
	}
}

// A line with a vector of another dimension than the journal's is refused, and no
// other one with it.
func TestIngestOtherDimension(t *testing.T) {
	disk := disktest.New()
	change := func(o *journal.Options) { o.Volume = disk.Volume() }
	line := func(id, vector string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"s","type":"a.b","tokaembedding":"` + vector + `"}` + "\n"
	}
	text := line("1", "AACAPwAAgD8=") + line("2", "AACAPw==") + line("3", "AACAPwAAAAA=")
	for _, want := range []string{"ingested 2, duplicates 0, rejected 1\n", "ingested 0, duplicates 2, rejected 1\n"} {
		r := runOn(t, change, strings.NewReader(text), "ingest", "--data", "/d", "-")
		if r.code != node.ExitFailed || r.out != want || !strings.Contains(r.err, "line 2: ") || !strings.Contains(r.err, "1 dimensions, want 2") {
			t.Fatalf("code %d, %q, want %q\n%s", r.code, r.out, want, r.err)
		}
	}
}

// A stream that an agent of its own has begun is not ingest's to write to.
func TestIngestIntoAnAgentsStream(t *testing.T) {
	disk := disktest.New()
	j, err := journal.Open("/d", journal.Options{Volume: disk.Volume()})
	if err != nil {
		t.Fatal(err)
	}
	echo := actors.NewAgent("echo", 1, "ping", func(turn *actors.Turn, e events.Event) error {
		return turn.Emit(events.Draft{Kind: "pong"})
	})
	r := actors.NewRegistry(echo)
	sys, err := actors.Start(j, r, actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := echo.Spawn(sys, "echo-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.Publish(t.Context(), "outside", events.Draft{Kind: "ping"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sys.Settle(t.Context()), sys.Stop(t.Context()), j.Close()); err != nil {
		t.Fatal(err)
	}
	text := `{"specversion":"1.0","id":"1","source":"echo-1","type":"a.b"}
{"specversion":"1.0","id":"2","source":"other","type":"a.b","tokaparents":"1"}
{"specversion":"1.0","id":"3","source":"other","type":"a.b"}
`
	got := runOn(t, func(o *journal.Options) { o.Volume = disk.Volume() }, strings.NewReader(text), "ingest", "--data", "/d", "-")
	if got.code != node.ExitFailed || got.out != "ingested 1, duplicates 0, rejected 2\n" {
		t.Fatal(got)
	}
	if !strings.HasPrefix(got.err, "line 1: agent \"echo-1\": ") || !strings.Contains(got.err, "\nline 2: unknown parent \"1\"") {
		t.Fatal(got.err)
	}
}

// An interruption ends the reading, even of a pipe that says nothing, and
// everything that is counted is stored.
func TestIngestInterrupted(t *testing.T) {
	disk := disktest.New()
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	go func() { _, _ = feed.Write(generated(500)) }()
	n := 0
	change := func(o *journal.Options) {
		o.Volume = disk.Volume()
		o.OnCommit = func(c journal.Commit) {
			if n += c.Events; n >= 100 {
				cancel()
			}
		}
	}
	var out, errs bytes.Buffer
	code := node.RunWith(ctx, actors.NewRegistry(), []string{"ingest", "--data", "/d", "-"}, node.Streams{In: in, Out: &out, Err: &errs}, change)
	var ingested int
	if _, err := fmt.Sscanf(out.String(), "ingested %d, duplicates 0, rejected 0\n", &ingested); err != nil || code != node.ExitFailed {
		t.Fatalf("code %d, %q, %v", code, out.String(), err)
	}
	if !strings.Contains(errs.String(), "interrupted") {
		t.Fatal(errs.String())
	}
	r := runOn(t, func(o *journal.Options) { o.Volume = disk.Volume() }, nil, "verify", "--data", "/d")
	if want := fmt.Sprintf("ok: %d events", ingested); r.code != 0 || !strings.HasPrefix(r.out, want) {
		t.Fatalf("%d %s%s, want %s", r.code, r.out, r.err, want)
	}
}

// A disk that fails in the middle ends the run with its own code, and what was
// counted is there.
func TestIngestOnAFailingDisk(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{{syscall.EIO, node.ExitStorage}, {syscall.ENOSPC, node.ExitFull}} {
		t.Run(c.err.Error(), func(t *testing.T) {
			disk := disktest.New()
			n, failing := 0, false
			change := func(o *journal.Options) {
				o.Volume = disk.Volume()
				o.OnCommit = func(commit journal.Commit) {
					if n += commit.Events; n >= 50 && !failing {
						failing = true
						disk.Fail(1, true, c.err, func(op disktest.Op) bool { return op.Is(disktest.Write, ".log") })
					}
				}
			}
			// The second half comes when the first is stored, or one sync
			// could take it all.
			text := generated(200)
			half := bytes.Index(text, []byte(`{"specversion":"1.0","id":"100"`))
			in, feed := io.Pipe()
			defer func() { _ = feed.Close() }()
			go func() {
				_, _ = feed.Write(text[:half])
				_, _ = feed.Write(text[half:])
				for i := 200; ; i++ {
					if _, err := fmt.Fprintf(feed, `{"specversion":"1.0","id":"%d","source":"more","type":"a.b"}`+"\n", i); err != nil {
						return
					}
				}
			}()
			r := runOn(t, change, in, "ingest", "--data", "/d", "-")
			_ = in.Close()
			if r.code != c.code || !strings.Contains(r.err, "journal has failed") {
				t.Fatalf("code %d, want %d: %s", r.code, c.code, r.err)
			}
			var counted, there int
			if _, err := fmt.Sscanf(r.out, "ingested %d,", &counted); err != nil {
				t.Fatalf("%q: %v", r.out, err)
			}
			after := disk.PowerCut(0, 1)
			r = runOn(t, func(o *journal.Options) { o.Volume = after.Volume() }, nil, "verify", "--data", "/d")
			if _, err := fmt.Sscanf(r.out, "ok: %d events", &there); err != nil || there < counted {
				t.Fatalf("counted %d, found %q %s", counted, r.out, r.err)
			}
		})
	}
}

// A parent that was in flight when its child was handed over, and was refused
// then, takes the child along; the report has the input's own word for it.
func TestReasonNamesTokens(t *testing.T) {
	gone := events.IngestedID("s", "p")
	err := fmt.Errorf("append: %w", &journal.UnknownParentError{Event: events.IngestedID("s", "1"), Parents: []events.ID{gone}})
	if got := node.Reason(err, map[events.ID]string{gone: "p"}); got != `unknown parent "p": it was rejected itself` {
		t.Fatal(got)
	}
}

func TestProgressBar(t *testing.T) {
	var b bytes.Buffer
	node.Bar(&b, "line 1: no\n")
	text := b.String()
	bar, line := strings.Index(text, "reading"), strings.Index(text, "line 1: no\n")
	if bar < 0 || line < bar {
		t.Fatalf("%q", text)
	}
	if before := text[:line]; !strings.HasSuffix(before, "\r") {
		t.Fatalf("the bar was not cleared before the line: %q", before)
	}
}

// The bar of a long reading says what comes after the last event, and leaves
// nothing behind. What is no terminal sees none of it.
func TestEventBar(t *testing.T) {
	var b bytes.Buffer
	node.EventBar(&b, 1000)
	text := b.String()
	reading, after := strings.Index(text, "reading"), strings.Index(text, "and then")
	if reading < 0 || after < reading || !strings.Contains(text, "500/1000") || !strings.HasSuffix(text, "\r") {
		t.Errorf("%q", text)
	}
}
