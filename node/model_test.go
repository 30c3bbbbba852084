package node_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// line is one line of a random input.
type line struct {
	blank, bad       bool
	source, id, data string
	tokens           []string
}

func (l line) String() string {
	switch {
	case l.blank:
		return " "
	case l.bad:
		return `{"specversion":"1.0"`
	}
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":"a.b","data":%s,"tokaparents":%q}`, l.id, l.source, l.data, strings.Join(l.tokens, " "))
}

// model is what ingest should make of lines: a list of events and the obvious
// search in it.
type model struct{ events []stored }

type stored struct {
	id      events.ID
	line    line
	parents []events.ID // sorted, each once
}

func (m *model) ingest(ls []line) (ingested, duplicates int, rejected []int) {
	for n, l := range ls {
		switch outcome := m.take(l); {
		case l.blank:
		case outcome == "new":
			ingested++
		case outcome == "duplicate":
			duplicates++
		default:
			rejected = append(rejected, n+1)
		}
	}
	return ingested, duplicates, rejected
}

func (m *model) take(l line) string {
	if l.blank || l.bad {
		return "bad"
	}
	id := events.IngestedID(l.source, l.id)
	before := m.events
	at := slices.IndexFunc(m.events, func(s stored) bool { return s.id == id })
	if at >= 0 {
		before = m.events[:at]
	}
	var parents []events.ID
	for _, token := range l.tokens {
		var byID, own, other []events.ID
		for _, s := range before {
			switch {
			case s.id.String() == token:
				byID = append(byID, s.id)
			case s.line.id == token && s.line.source == l.source:
				own = append(own, s.id)
			case s.line.id == token:
				other = append(other, s.id)
			}
		}
		switch {
		case byID != nil:
			parents = append(parents, byID[0])
		case own != nil:
			parents = append(parents, own[0])
		case len(other) == 1:
			parents = append(parents, other[0])
		default:
			return "bad"
		}
	}
	slices.SortFunc(parents, func(a, b events.ID) int { return bytes.Compare(a[:], b[:]) })
	s := stored{id: id, line: l, parents: slices.Compact(parents)}
	if at < 0 {
		m.events = append(m.events, s)
		return "new"
	}
	if m.events[at].line.data != l.data || !slices.Equal(m.events[at].parents, s.parents) {
		return "bad"
	}
	return "duplicate"
}

func TestIngestMatchesModel(t *testing.T) {
	sources := []string{"a", "b", "c"}
	ids := []string{"1", "2", "3", events.IngestedID("a", "1").String(), events.IngestedID("b", "2").String()}
	tokens := append(slices.Clone(ids), "nobody", events.IngestedID("c", "3").String())
	lines := rapid.Custom(func(t *rapid.T) line {
		switch rapid.IntRange(0, 12).Draw(t, "what") {
		case 0:
			return line{blank: true}
		case 1:
			return line{bad: true}
		}
		return line{
			source: rapid.SampledFrom(sources).Draw(t, "source"), id: rapid.SampledFrom(ids).Draw(t, "id"),
			data:   rapid.SampledFrom([]string{"1", "1", "1", "2"}).Draw(t, "data"),
			tokens: rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 3).Draw(t, "tokens"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		disk := disktest.New()
		change := func(o *journal.Options) { o.Volume = disk.Volume() }
		var m model
		var first []line
		for round := range 3 {
			ls := rapid.SliceOfN(lines, 0, 40).Draw(rt, "lines")
			switch round {
			case 0:
				first = ls
			case 2:
				ls = first // once more, in a journal that has grown
			}
			var text strings.Builder
			for _, l := range ls {
				fmt.Fprintln(&text, l)
			}
			ingested, duplicates, rejected := m.ingest(ls)
			r := runOn(t, change, strings.NewReader(text.String()), "ingest", "--data", "/d", "-")
			if want := fmt.Sprintf("ingested %d, duplicates %d, rejected %d\n", ingested, duplicates, len(rejected)); r.out != want {
				rt.Fatalf("round %d: %q, want %q\n%s\n%s", round, r.out, want, text.String(), r.err)
			}
			var reported []int
			for l := range strings.Lines(r.err) {
				n := 0
				if _, err := fmt.Sscanf(l, "line %d: ", &n); err != nil {
					rt.Fatalf("%q", l)
				}
				reported = append(reported, n)
			}
			if !slices.Equal(reported, rejected) {
				rt.Fatalf("round %d: reported %v, want %v\n%s\n%s", round, reported, rejected, text.String(), r.err)
			}
		}
		compare(rt, disk, &m)
	})
}

// compare holds the journal against the model, event by event.
func compare(rt *rapid.T, disk *disktest.Disk, m *model) {
	j, err := journal.Open("/d", journal.Options{Volume: disk.Volume(), MustExist: true})
	if err != nil {
		rt.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	n := 0
	for e, err := range j.Read(context.Background(), journal.Query{}) {
		if err != nil {
			rt.Fatal(err)
		}
		if n == len(m.events) {
			rt.Fatalf("more than %d events", n)
		}
		want := m.events[n]
		var parents []events.ID
		for _, p := range e.Parents {
			parents = append(parents, p.ID)
		}
		slices.SortFunc(parents, func(a, b events.ID) int { return bytes.Compare(a[:], b[:]) })
		if n++; e.Stream != want.line.source || e.OutsideID() != want.line.id || e.ID != want.id || string(e.Payload) != want.line.data || !slices.Equal(parents, want.parents) {
			rt.Fatalf("position %d: %+v, want %+v", n, e, want)
		}
	}
	if n != len(m.events) {
		rt.Fatalf("%d events, want %d", n, len(m.events))
	}
}
