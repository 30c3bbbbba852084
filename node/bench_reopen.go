package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tokaworks/toka/journal"
)

// appendPart is what one kind of keys takes on disk.
type appendPart struct {
	Name          string  `json:"name"`
	BytesPerEvent float64 `json:"bytes_per_event"`
}

// appendProgress is how it went up to a number of events.
type appendProgress struct {
	Events     uint64  `json:"events"`
	Seconds    float64 `json:"seconds"`
	EventsPerS float64 `json:"events_per_s"` // since the one before
	Resident   uint64  `json:"resident_bytes,omitempty"`
}

// reopenResult is how long opening takes, in seconds.
type reopenResult struct {
	Events       uint64  `json:"events"`
	Closed       float64 `json:"open_after_close_s"`
	Close        float64 `json:"close_s"` // with nothing appended since it was opened
	Killed       float64 `json:"open_after_kill_s"`
	KilledEvents uint64  `json:"killed_events"`       // that the killed process had appended
	Acknowledged uint64  `json:"killed_acknowledged"` // of these, as it said itself before it was killed
}

// written notes what is on disk and what was written for it.
func (r *appendResult) written(ctx context.Context, j *journal.Journal) error {
	u, err := j.Usage(ctx)
	if err != nil {
		return err
	}
	if u.Log.BytesIn > 0 {
		r.WriteAmplification = float64(u.Log.Written+u.Index.Written) / float64(u.Log.BytesIn)
	}
	n := float64(max(j.Position(), 1))
	r.Parts = append(r.Parts,
		appendPart{"write-ahead log", float64(u.Log.LogBytes) / n},
		appendPart{"log, all files", float64(u.Log.Bytes) / n},
		appendPart{"index, all files", float64(u.Index.Bytes) / n})
	for _, p := range u.Parts {
		r.Parts = append(r.Parts, appendPart{p.Store + ": " + p.Name, float64(p.Bytes) / n})
	}
	return nil
}

// watch notes how far j is, for each tenth of total, until what it returns is
// called.
func (r *appendResult) watch(j *journal.Journal, total uint64) (end func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	start, first := time.Now(), j.Position()
	var before appendProgress
	note := func(at uint64) {
		p := appendProgress{Events: at, Seconds: time.Since(start).Seconds(), Resident: residentBytes()}
		p.EventsPerS = float64(p.Events-before.Events) / (p.Seconds - before.Seconds)
		r.Progress, before = append(r.Progress, p), p
	}
	watching.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		step := max(total/10, 1)
		for next := step; ; {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			if at := j.Position() - first; at >= next && at < total {
				note(at)
				next = at - at%step + step
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
		note(j.Position() - first)
	}
}

// killAfter is for how long the process appends, at most, that --reopen kills.
const killAfter = 5 * time.Second

// reopened opens the journal that was measured: after it was closed, and after
// a process that appended to it was killed.
func (o *appendBench) reopened(ctx context.Context, kill time.Duration) (*reopenResult, error) {
	r := &reopenResult{}
	var err error
	if r.Closed, r.Close, r.Events, err = o.open(); err != nil {
		return nil, err
	}
	acknowledged, err := o.killed(ctx, kill)
	if err != nil {
		return nil, err
	}
	var found uint64
	if r.Killed, _, found, err = o.open(); err != nil {
		return nil, err
	}
	if found < acknowledged {
		return nil, fmt.Errorf("%w: %d events were acknowledged before the kill and %d are there", journal.ErrLost, acknowledged, found)
	}
	r.KilledEvents, r.Acknowledged = found-r.Events, acknowledged-r.Events
	return r, nil
}

// open returns how many seconds it takes to open the journal and to close it,
// and how many events it has.
func (o *appendBench) open() (opened, closed float64, count uint64, err error) {
	start := time.Now()
	j, err := journal.Open(o.journalDir(), o.options())
	if err != nil {
		return 0, 0, 0, &exit{ExitRefused, err}
	}
	opened, count = time.Since(start).Seconds(), j.Position()
	start = time.Now()
	err = j.Close()
	return opened, time.Since(start).Seconds(), count, err
}

func (o *appendBench) journalDir() string { return filepath.Join(o.dir, "journal") }

func (o *appendBench) options() journal.Options {
	// The mark lies within, so that nothing is left beside the journal.
	return journal.Options{Level: o.level, MustExist: true, Mark: filepath.Join(o.journalDir(), "MARK")}
}

// killed has another process append for a while, kills it, and returns the
// last position that it said was acknowledged.
func (o *appendBench) killed(ctx context.Context, after time.Duration) (acknowledged uint64, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, "bench", "append", "--go-on", "--data", o.dir, "--durability", o.level.String(),
		"--writers", strconv.Itoa(o.writers), "--size", strconv.Itoa(o.size))
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var complaint strings.Builder
	c.Stderr = &complaint
	if err := c.Start(); err != nil {
		return 0, err
	}
	var timer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acknowledged, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			break
		}
		if timer == nil { // it has begun
			timer = time.AfterFunc(after, func() { _ = c.Process.Kill() })
			defer timer.Stop()
		}
	}
	_ = c.Process.Kill()
	_ = c.Wait() // it was killed, and says so
	if acknowledged == 0 || err != nil {
		return 0, fmt.Errorf("the process to be killed did not append: %s", strings.TrimSpace(complaint.String()))
	}
	return acknowledged, ctx.Err()
}

// goOn appends to the journal of another run and prints now and then what was
// acknowledged, until the process is killed.
func (o *appendBench) goOn(ctx context.Context, a *app) error {
	o.dir = a.data
	j, err := journal.Open(o.journalDir(), o.options())
	if err != nil {
		return &exit{ExitRefused, err}
	}
	o.duration, o.prefix = maxBenchDuration, fmt.Sprintf("second-%d", j.Position())
	done := make(chan error, 1)
	go func() {
		_, _, err := o.appendAll(ctx, j, nil)
		done <- err
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return errors.Join(err, j.Close())
		case <-tick.C:
			if _, err := fmt.Fprintln(a.streams.Out, j.Position()); err != nil {
				return errors.Join(err, j.Close()) // nobody is there to kill it
			}
		}
	}
}
