package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/journal/consumer"
	"github.com/tokaworks/toka/journal/merkle"
)

// States of findings, the worst last.
const (
	stateOK       = "ok"
	stateWarning  = "warning"
	stateCritical = "critical"
)

// finding is one thing that check or doctor has looked at. Names are stable.
type finding struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`

	code int // of the exit, where it is not what the state says
}

// checkJSON is what check prints with -o json.
type checkJSON struct {
	State    string    `json:"state"`
	Code     int       `json:"code"`
	Findings []finding `json:"findings"`
}

// checkFlags are the bounds of check.
type checkFlags struct {
	keepFree, maxLag, tail uint64
	maxParked              int
	nagios                 bool
}

func (a *app) checkCommand() *cobra.Command {
	var f checkFlags
	c := &cobra.Command{
		Use:   "check",
		Short: "Tell a monitor in one line whether a journal is well",
		Long: `Looks at a journal, held by a node or not, and prints one line: that the storage
works, that nothing is missing before the outside mark, the newest events as the
stored tree has them, the room on the disk, how far consumers are behind, what is parked,
agents that were given up, and the clock.

The exit code is 0 when all is well, 1 when something wants attention, and otherwise
that of what is wrong: 3 damage, 70 the storage failed, 74 the disk is full, 78 the
journal was not opened. With --nagios it is 0, 1 for attention, 2 for the rest.`,
		Example: lines(
			"toka-node check --data ./data --max-lag 10000",
			"toka-node check --data /var/lib/toka --nagios -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			var found []finding
			err := a.read(func(j *journal.Journal) error {
				found = a.examine(c.Context(), j, &f)
				return nil
			})
			if err != nil {
				found = append(found, refusal(err))
			}
			return a.verdict(found, f.nagios)
		},
	}
	s := c.Flags()
	s.Uint64Var(&f.keepFree, "keep-free", 512, "MiB that are to be free on the disk, as for run; attention is wanted below twice that")
	s.Uint64Var(&f.maxLag, "max-lag", 0, "events that a consumer may be behind; 0 is no bound")
	s.IntVar(&f.maxParked, "max-parked", 0, "parked messages that want no attention")
	s.Uint64Var(&f.tail, "tail", 100, "how many of the newest events are computed anew")
	s.BoolVar(&f.nagios, "nagios", false, "exit with 1 for attention and 2 for what is wrong")
	return a.withData(c)
}

// refusal says why there is no journal to look at.
func refusal(err error) finding {
	return finding{Name: "journal", State: stateCritical, Detail: printable(err.Error()), code: exitCode(err)}
}

// verdict prints what was found and ends with the code of the worst of it.
func (a *app) verdict(found []finding, nagios bool) error {
	out := checkJSON{State: stateOK, Findings: found}
	for _, f := range found {
		switch {
		case f.State == stateCritical && out.State != stateCritical:
			out.State, out.Code = stateCritical, max(f.code, ExitFailed)
		case f.State == stateWarning && out.State == stateOK:
			out.State, out.Code = stateWarning, ExitFailed
		}
	}
	if nagios {
		out.Code = map[string]int{stateOK: 0, stateWarning: 1, stateCritical: 2}[out.State]
	}
	var err error
	if a.json() {
		err = a.object(out)
	} else {
		var worst, rest []string
		for _, f := range found {
			if f.State == out.State {
				worst = append(worst, f.Detail)
			} else if out.State == stateCritical && f.State == stateWarning {
				rest = append(rest, f.Detail)
			}
		}
		_, err = fmt.Fprintf(a.streams.Out, "%s: %s\n", strings.ToUpper(out.State), strings.Join(append(worst, rest...), "; "))
	}
	if err == nil && out.Code != 0 {
		err = &exit{out.Code, nil}
	}
	return err
}

// examine looks at an open journal.
func (a *app) examine(ctx context.Context, j *journal.Journal, f *checkFlags) []finding {
	end := j.Position()
	if err := j.Err(); err != nil {
		return []finding{{Name: "storage", State: stateCritical, Detail: printable(err.Error()), Remedy: "look at the disk, then start the node again", code: exitCode(err)}}
	}
	found := []finding{{Name: "journal", State: stateOK, Detail: "position " + journal.Cursor{Epoch: j.Epoch(), Position: end}.String()}}
	if w := j.Window(); w.Last > 0 {
		found = append(found, finding{Name: "mark", State: stateOK, Detail: fmt.Sprintf("positions %d to %d were kept beyond the outside mark", w.First, w.Last)})
	}
	found = append(found, lookAtTail(ctx, j, f.tail)...)
	found = append(found, a.lookAtSpace(f.keepFree<<20))
	found = append(found, a.lookAtReaders(ctx, j, f)...)
	return found
}

// lookAtTail computes the newest events anew and has the stored tree prove each.
func lookAtTail(ctx context.Context, j *journal.Journal, most uint64) []finding {
	head, err := j.Head(ctx)
	end, last := head.Size, time.Time{}
	for p := end - min(end, most) + 1; p <= end && err == nil; p++ {
		var e events.Event
		if e, err = soundEvent(ctx, j, &head, p); err != nil {
			err = fmt.Errorf("position %d: %w", p, err)
		}
		last = e.RecordTime
	}
	if err != nil {
		return []finding{{
			Name: "events", State: stateCritical, Detail: printable(err.Error()), Remedy: "toka-node verify names all that is damaged", code: exitCode(err),
		}}
	}
	out := []finding{{Name: "events", State: stateOK, Detail: fmt.Sprintf("the newest %d events are sound", min(end, most))}}
	if ahead := time.Until(last); ahead > time.Minute {
		out = append(out, finding{
			Name: "clock", State: stateWarning, Detail: fmt.Sprintf("the clock is %s behind the newest event", ahead.Round(time.Second)),
			Remedy: "set the clock; until it has caught up, events get the time of the one before",
		})
	}
	return out
}

// soundEvent returns the event at a position if it is as it was stored.
func soundEvent(ctx context.Context, j *journal.Journal, head *merkle.Head, position uint64) (events.Event, error) {
	record, err := j.Record(ctx, position)
	if err != nil {
		return events.Event{}, err
	}
	e, _, err := events.CheckRecord(position, record)
	if err != nil {
		return e, fmt.Errorf("%w: %w", journal.ErrCorrupt, err)
	}
	proof, err := j.ProveInclusion(ctx, head.Size, position)
	if err != nil {
		return e, err
	}
	if err := merkle.CheckInclusion(proof, head.Size, head.Root, position-1, e.RecordHash()); err != nil {
		return e, fmt.Errorf("%w: it is not what the tree was built over", journal.ErrCorrupt)
	}
	return e, nil
}

func (a *app) lookAtSpace(keep uint64) finding {
	f := finding{Name: "space", State: stateOK}
	free, err := freeBytes(a.directory())
	switch {
	case err != nil:
		f.Detail = "the room on the disk is not known"
		return f
	case free < keep:
		f.State, f.code = stateCritical, ExitFull
	case free < 2*keep:
		f.State = stateWarning
	}
	f.Detail = fmt.Sprintf("%d MiB free, %d MiB are kept", free>>20, keep>>20)
	if f.State != stateOK {
		f.Remedy = "make room on the disk; below what is kept, appends are refused and reads go on"
	}
	return f
}

// directory is that of the journal, also where a node runs the command.
func (a *app) directory() string {
	if a.held != nil {
		return a.held.dir
	}
	return a.data
}

// lookAtReaders looks at consumers, at what is parked and at agents.
func (a *app) lookAtReaders(ctx context.Context, j *journal.Journal, f *checkFlags) (found []finding) {
	parked := 0
	set, err := consumer.Open(j)
	if err != nil {
		return append(found, finding{Name: "consumers", State: stateCritical, Detail: printable(err.Error()), code: exitCode(err)})
	}
	all, furthest := set.List(), consumer.Info{}
	for _, c := range all {
		if i := c.Info(); i.Lag >= furthest.Lag {
			furthest = i
		}
		list, parkedErr := c.Parked(ctx)
		parked, err = parked+len(list), errors.Join(err, parkedErr)
	}
	err = errors.Join(err, set.Close())
	behind := finding{Name: "consumers", State: stateOK, Detail: "no consumers"}
	if len(all) > 0 {
		behind.Detail = fmt.Sprintf("%d consumers, the furthest (%s) %d events behind", len(all), printable(furthest.Config.Name), furthest.Lag)
	}
	if f.maxLag > 0 && furthest.Lag > f.maxLag {
		behind.State, behind.Remedy = stateWarning, "see that somebody fetches for it; toka-node consumers show "+printable(furthest.Config.Name)
	}
	list, parkedErr := actors.ListParked(ctx, j, "")
	if err = errors.Join(err, parkedErr); err != nil {
		return append(found, behind, finding{Name: "parked", State: stateCritical, Detail: printable(err.Error()), code: exitCode(err)})
	}
	aside := finding{Name: "parked", State: stateOK, Detail: fmt.Sprintf("%d messages of agents and %d events of consumers are parked", len(list), parked)}
	if len(list)+parked > f.maxParked {
		aside.State, aside.Remedy = stateWarning, "toka-node parked list, toka-node consumers parked NAME"
	}
	found = append(found, behind, aside)
	if a.held == nil {
		return found
	}
	var lost []string
	agents := a.held.node.System.Agents()
	for _, i := range agents {
		if i.State == "given up" {
			lost = append(lost, printable(i.Name))
		}
	}
	alive := finding{Name: "agents", State: stateOK, Detail: fmt.Sprintf("%d agents live", len(agents))}
	if len(lost) > 0 {
		alive.State, alive.Detail = stateWarning, fmt.Sprintf("given up: %s", strings.Join(lost[:min(len(lost), 5)], ", "))
		alive.Remedy = "toka-node agents shows why; starting the node again revives them"
	}
	return append(found, alive)
}
