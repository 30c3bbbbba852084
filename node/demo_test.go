package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node"
)

// shown is what the demonstration printed with -o json.
type shown struct {
	events  []shownEvent
	summary struct {
		Interrupted                                        bool
		Events, Agents, Orders, Failures, Restarts, Parked int
		Seconds                                            float64
		Durability, Data                                   string
		Verified                                           journal.Report
	}
}

type shownEvent struct {
	Position                 uint64
	Stream, Kind, ID, Digest string
	Parents                  []struct{ Digest string }
}

func parseDemo(t *testing.T, out string) (s shown) {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, l := range all {
		if i == len(all)-1 {
			last := struct{ Summary any }{&s.summary}
			if err := json.Unmarshal([]byte(l), &last); err != nil || !strings.HasPrefix(l, `{"summary":`) {
				t.Fatalf("the last line is no summary: %.200s: %v", l, err)
			}
			break
		}
		var e shownEvent
		if err := json.Unmarshal([]byte(l), &e); err != nil || e.Position == 0 {
			t.Fatalf("line %d: %.200s: %v", i, l, err)
		}
		s.events = append(s.events, e)
	}
	return s
}

// consistent checks what each run of the demonstration must show.
func (s *shown) consistent(t *testing.T, first uint64) {
	t.Helper()
	count := map[string]int{}
	seen := map[string]bool{}
	for i, e := range s.events {
		if e.Position != first+uint64(i)+1 {
			t.Fatalf("event %d is at position %d, want %d", i, e.Position, first+uint64(i)+1)
		}
		for _, p := range e.Parents {
			if !seen[p.Digest] && first == 0 {
				t.Errorf("position %d: parent %s was not shown before", e.Position, p.Digest)
			}
		}
		seen[e.Digest] = true
		count[e.Kind]++
	}
	sum := &s.summary
	if sum.Events != len(s.events) || !sum.Verified.OK || sum.Verified.Events != first+uint64(len(s.events)) {
		t.Errorf("%d events were shown after %d: %+v", len(s.events), first, sum)
	}
	if sum.Parked != count["toka.agent.parked"] || sum.Failures != count["toka.agent.failed"]+sum.Parked || sum.Restarts != sum.Failures {
		t.Errorf("%+v, but shown were %v", sum, count)
	}
	if n := count["order.placed"]; n != sum.Orders || count["order.confirmed"]+count["order.cancelled"] != n {
		t.Errorf("%d orders: %v", sum.Orders, count)
	}
	// Each letter is an effect that happened once, and its timer fires.
	if n := count["parcel.delivered"]; count["letter.sent"] != n || count["toka.effect.done"] != n || count["toka.timer.set"] != n ||
		first == 0 && (count["letter.due"] != n || count["letter.filed"] != n) {
		t.Errorf("not every letter was sent and filed: %v", count)
	}
	if count["parcel.delivered"] != count["book.closed"] || count["parcel.delivered"]+sum.Parked != count["order.confirmed"] {
		t.Errorf("not everything was delivered: %v", count)
	}
}

func TestDemo(t *testing.T) {
	r := must(t, node.ExitDone, "demo", "-o", "json")
	s := parseDemo(t, r.out)
	s.consistent(t, 0)
	if n := len(s.events); n < 50 || n > 70 || r.err != "" {
		t.Errorf("%d events, want about 60; %s", n, r.err)
	}
	kinds := map[string]bool{}
	for _, e := range s.events {
		kinds[e.Kind] = true
	}
	for _, k := range []string{"stock.short", "payment.declined", "stock.released", "order.cancelled", "toka.agent.failed", "book.closed"} {
		if !kinds[k] {
			t.Errorf("no %s was shown", k)
		}
	}
	// One delivery after a crash, and one that is given up after three.
	if s.summary.Failures != 4 || s.summary.Parked != 1 || s.summary.Durability != "memory" {
		t.Errorf("%+v", s.summary)
	}
	for _, n := range []int{1, 3, 1000} {
		s := parseDemo(t, must(t, node.ExitDone, "demo", "-o", "json", "--events", fmt.Sprint(n)).out)
		s.consistent(t, 0)
		if got := len(s.events); got < n || got > n+20+n/10 {
			t.Errorf("--events %d: %d events", n, got)
		}
	}
}

func TestDemoText(t *testing.T) {
	out := must(t, node.ExitDone, "demo").out
	for _, want := range []string{"journal in memory", "POSITION", "\n       1  ", "parcel.delivered", "1 message parked", "verified", "toka-node demo --data ./shop"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours, and no terminal")
	}
	data := filepath.Join(t.TempDir(), "it's here")
	for range 2 { // the second goes on
		out = must(t, node.ExitDone, "demo", "--data", data).out
		_, next, _ := strings.Cut(out, "Next:\n")
		n := 0
		for l := range strings.Lines(next) {
			n++
			must(t, node.ExitDone, words(strings.TrimPrefix(strings.TrimSpace(l), "toka-node "))...)
		}
		if n != 3 {
			t.Errorf("%d commands to go on with:\n%s", n, next)
		}
	}
}

// words splits a command line as a shell does, as far as single quotes and
// backslashes go.
func words(line string) (out []string) {
	var word strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			quoted = !quoted
		case c == '\\' && !quoted:
			i++
			word.WriteByte(line[i])
		case c == ' ' && !quoted:
			out = append(out, word.String())
			word.Reset()
		default:
			word.WriteByte(c)
		}
	}
	return append(out, word.String())
}

func TestDemoAgain(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	var first uint64
	var shownAll []string
	for range 3 {
		s := parseDemo(t, must(t, node.ExitDone, "demo", "--data", data, "-o", "json").out)
		s.consistent(t, first)
		for _, e := range s.events {
			shownAll = append(shownAll, e.Digest)
		}
		first += uint64(len(s.events))
		if s.summary.Parked != 1 || s.summary.Durability != "fsync" || s.summary.Data != data {
			t.Errorf("%+v", s.summary)
		}
	}
	if got := history(t, data); !slices.Equal(got, shownAll) {
		t.Errorf("%d events in the journal, and others were shown", len(got))
	}
	if r := must(t, node.ExitDone, "replay", "--data", data); !strings.HasPrefix(r.out, fmt.Sprintf("ok: %d events", first)) {
		t.Error(r.out)
	}
}

// Whatever way the agents took turns, a replay gives the same again.
func TestDemoReplays(t *testing.T) {
	runs := 10
	if testing.Short() {
		runs = 3
	}
	for i := range runs {
		disk := disktest.New()
		on := func(o *journal.Options) { o.Volume = disk.Volume() }
		for range 1 + i%2 {
			if r := runOn(t, on, nil, "demo", "--data", "/d", "--events", fmt.Sprint(20+5*i*i)); r.code != node.ExitDone {
				t.Fatal(r)
			}
		}
		if r := runOn(t, on, nil, "replay", "--data", "/d"); r.code != node.ExitDone {
			t.Fatalf("run %d: %+v", i, r)
		}
	}
}

// The power fails in the middle; the next run goes on from what is there.
func TestDemoAfterPowerCut(t *testing.T) {
	runs := 4
	if testing.Short() {
		runs = 2
	}
	for i := range runs {
		disk := disktest.New()
		for crash := range 3 {
			var once sync.Once
			var after *disktest.Disk
			commits := 0
			r := runOn(t, func(o *journal.Options) {
				o.Volume = disk.Volume()
				o.OnCommit = func(journal.Commit) {
					if commits++; commits == 3+7*i+crash {
						once.Do(func() { after = disk.PowerCut(50, uint64(i)) })
					}
				}
			}, nil, "demo", "--data", "/d", "--events", "150")
			if r.code != node.ExitDone {
				t.Fatal(r)
			}
			if after != nil {
				disk = after
			}
		}
		on := func(o *journal.Options) { o.Volume = disk.Volume() }
		for _, line := range []string{"demo --events 30", "verify", "replay"} {
			if r := runOn(t, on, nil, append(strings.Fields(line), "--data", "/d")...); r.code != node.ExitDone {
				t.Fatalf("run %d: %s: %+v", i, line, r)
			}
		}
	}
}

// interrupting cancels after so many lines.
type interrupting struct {
	bytes.Buffer
	lines  int
	cancel func()
}

func (w *interrupting) Write(p []byte) (int, error) {
	if w.lines -= bytes.Count(p, []byte("\n")); w.lines <= 0 {
		w.cancel()
	}
	return w.Buffer.Write(p)
}

func TestDemoInterrupted(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &interrupting{lines: 50, cancel: cancel}
	var errs bytes.Buffer
	code := node.Run(ctx, actors.NewRegistry(), []string{"demo", "--data", data, "--events", "1000000", "-o", "json"}, node.Streams{Out: out, Err: &errs})
	if code != node.ExitDone {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	s := parseDemo(t, out.String())
	if !s.summary.Interrupted || len(s.events) >= 1_000_000 {
		t.Errorf("%+v", s.summary)
	}
	first := uint64(len(s.events))
	s = parseDemo(t, must(t, node.ExitDone, "demo", "--data", data, "-o", "json").out)
	if s.events[0].Position != first+1 {
		t.Errorf("it goes on at %d, want %d", s.events[0].Position, first+1)
	}
	must(t, node.ExitDone, "replay", "--data", data)
}

func TestDemoRefused(t *testing.T) {
	for _, n := range []string{"0", "-3", "10000001", "many"} {
		must(t, node.ExitUsage, "demo", "--events", n)
	}
	must(t, node.ExitUsage, "demo", "now")
	must(t, node.ExitRefused, "demo", "--data", ".")
	var errs bytes.Buffer
	code := node.Run(t.Context(), actors.NewRegistry(), []string{"demo"}, node.Streams{Out: failing{}, Err: &errs})
	if code != node.ExitFailed || errs.Len() == 0 {
		t.Errorf("code %d, %q", code, errs.String())
	}
}

func TestDemoOnAFullDisk(t *testing.T) {
	disk := disktest.New()
	commits := 0
	r := runOn(t, func(o *journal.Options) {
		o.Volume = disk.Volume()
		o.OnCommit = func(journal.Commit) {
			if commits++; commits == 5 {
				disk.Fail(1, true, syscall.ENOSPC, func(op disktest.Op) bool { return op.Is(disktest.Write, ".log") })
			}
		}
	}, nil, "demo", "--data", "/d")
	if r.code != node.ExitFull || !strings.Contains(r.err, "journal has failed") {
		t.Fatal(r)
	}
}
