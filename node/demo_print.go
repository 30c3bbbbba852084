package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// demoPrinter shows the events of a demonstration, and counts them.
type demoPrinter struct {
	a      *app
	w      *bufio.Writer
	colour bool

	last                     uint64 // position of the last event that was shown
	events, failures, parked uint64
	example                  events.Digest
}

func (a *app) newDemoPrinter() *demoPrinter {
	return &demoPrinter{
		a: a, w: bufio.NewWriter(a.streams.Out),
		colour: terminal(a.streams.Out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

func (p *demoPrinter) head(data string, position uint64) {
	switch {
	case p.a.json():
		return
	case data == "":
		fmt.Fprint(p.w, "journal in memory: gone at the end, --data DIR would keep it\n\n")
	case position == 0:
		fmt.Fprintf(p.w, "new journal in %s: an event is shown when it is on disk, synced\n\n", printable(data))
	default:
		fmt.Fprintf(p.w, "journal in %s, with %d events from before: an event is shown when it is on disk, synced\n\n", printable(data), position)
	}
	fmt.Fprintf(p.w, "%8s  %-12s  %-20s  %-26s  %s\n", "POSITION", "DIGEST", "AGENT", "KIND", "PARENTS")
}

// follow shows events as they become durable, until ctx ends. An error is
// about showing them, or the journal's.
func (p *demoPrinter) follow(ctx context.Context, j *journal.Journal, after uint64) error {
	p.last = after
	if err := p.w.Flush(); err != nil {
		return err
	}
	for e, err := range j.Subscribe(ctx, journal.Query{After: after}) {
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = p.event(e)
		}
		if err == nil && e.Position >= j.Position() {
			err = p.w.Flush()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rest shows what follow did not come to.
func (p *demoPrinter) rest(j *journal.Journal) error {
	for e, err := range j.Read(context.Background(), journal.Query{After: p.last}) {
		if err == nil {
			err = p.event(e)
		}
		if err != nil {
			return err
		}
	}
	return p.w.Flush()
}

func (p *demoPrinter) event(e events.Event) error {
	p.last = e.Position
	p.events++
	switch e.Kind {
	case "toka.agent.failed":
		p.failures++
	case "toka.agent.parked":
		p.failures++
		p.parked++
		p.example = e.Digest
	case "order.placed":
		if p.parked == 0 {
			p.example = e.Digest
		}
	}
	if p.a.json() {
		return encodeLine(p.w, toJSON(e))
	}
	kind := fmt.Sprintf("%-26s", printable(e.Kind))
	if p.colour {
		kind = tinted(e.Kind, kind)
	}
	_, err := fmt.Fprintf(p.w, "%8d  %s  %-20s  %s  %s\n", e.Position, e.Digest.Short(), printable(e.Stream), kind, parents(e))
	return err
}

// tinted colours text by the kind of an event: what failed in red, commands
// faint, what the agents made of them plain.
func tinted(kind, text string) string {
	switch {
	case strings.HasPrefix(kind, "toka.agent."):
		return "\x1b[31m" + text + "\x1b[0m"
	case events.SystemKind(kind):
		return "\x1b[2m" + text + "\x1b[0m"
	}
	return text
}

func (p *demoPrinter) summary(s *demoSummary) error {
	if p.a.json() {
		return errors.Join(encodeLine(p.w, map[string]any{"summary": s}), p.w.Flush())
	}
	line := func(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }
	line("")
	if s.Interrupted {
		line("Interrupted: what was under way is finished.")
	}
	line("%d events of %d agents and resources in %.2f s: %.0f a second, durability %s", s.Events, s.Agents, s.Seconds, s.EventsPerS, s.Durability)
	line("%s, %s, %s parked", counted(s.Failures, "failure"), counted(s.Restarts, "restart"), counted(s.Parked, "message"))
	word := "verified: every digest, link and position is as it should be"
	if !s.Verified.OK {
		word = fmt.Sprintf("NOT as it should be: %d problems; run verify", uint64(len(s.Verified.Problems))+s.Verified.More)
	}
	line("%s (%d events in the journal)", word, s.Verified.Events)
	line("\nNext:")
	dir := shellQuoted(s.Data)
	if s.Data == "" {
		line("  toka-node demo --data ./shop")
		line("  toka-node log --data ./shop --kind 'order.*'")
		line("  toka-node replay --data ./shop")
		return p.w.Flush()
	}
	line("  toka-node log --data %s --kind 'order.*'", dir)
	line("  toka-node show --data %s %s", dir, s.example.Short())
	line("  toka-node replay --data %s", dir)
	return p.w.Flush()
}

func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shellQuoted makes a path safe to paste into a shell.
func shellQuoted(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
