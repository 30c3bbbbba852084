package simulations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/supervisor"
)

// WorldOptions say what a World is made of.
type WorldOptions struct {
	// Roles can be spawned, each by the name of its behaviour.
	Roles []Role

	// Seed goes into every id that the World gives, so that everything that
	// derives from ids, such as Turn.Rand, is another for another seed.
	Seed uint64

	// Faults are what the verb plant switches on, by name.
	Faults map[string]func()

	// Supervision answers failures. Default: the supervisor's defaults with
	// no jitter.
	Supervision supervisor.Policy

	// DigestEvery is actors.Options.DigestEvery. Default 1, so that a state
	// that goes wrong is noticed where it does.
	DigestEvery uint64
}

// World is a journal in memory with a system of actors over it, driven by
// lines of text. Its time begins at 2000-01-01T00:00:00Z and moves on by one
// second with each line. It is used by one goroutine.
//
// Backoff waits on the timers of the process; in a test, run the World inside
// a testing/synctest bubble, where no real time passes.
type World struct {
	opts     WorldOptions
	registry *actors.Registry
	roles    map[string]Role

	disk *disktest.Disk
	j    *journal.Journal
	sys  *actors.System
	live map[string]*actor

	seconds atomic.Int64 // since the World's time began
	clock   Clock        // its base is the World's time
	unnamed int          // commands and publications without an id of their own
}

// NewWorld returns a running World with an empty journal.
func NewWorld(opts WorldOptions) (*World, error) {
	if opts.DigestEvery == 0 {
		opts.DigestEvery = 1
	}
	if opts.Supervision.Backoff.Jitter == 0 {
		opts.Supervision.Backoff.Jitter = -1
	}
	w := &World{opts: opts, registry: actors.NewRegistry(), roles: map[string]Role{}, disk: disktest.New()}
	w.clock.Base = w.now
	for _, r := range opts.Roles {
		w.registry.Add(r.behaviour)
		w.roles[r.name] = r
	}
	return w, w.open()
}

// Journal returns the journal of the World as it is. A crash or a fork takes
// it away and brings another.
func (w *World) Journal() *journal.Journal { return w.j }

// Registry returns the registry of the World's roles.
func (w *World) Registry() *actors.Registry { return w.registry }

// Close stops the World.
func (w *World) Close(ctx context.Context) error {
	return errors.Join(w.sys.Stop(ctx), w.j.Close())
}

func (w *World) now() time.Time {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(w.seconds.Load()) * time.Second)
}

// open starts a journal on the World's disk and a system over it.
func (w *World) open() error {
	j, err := journal.Open("world", journal.Options{Volume: w.disk.Volume(), Now: w.clock.Now})
	if err != nil {
		return err
	}
	return w.start(j)
}

func (w *World) start(j *journal.Journal) error {
	sys, err := actors.Start(j, w.registry, actors.Options{
		Supervision: w.opts.Supervision, DigestEvery: w.opts.DigestEvery, Now: w.clock.Now,
	})
	if err != nil {
		return errors.Join(err, j.Close())
	}
	w.j, w.sys, w.live = j, sys, map[string]*actor{}
	return nil
}

// drop lets go of the system and the journal without waiting for anything.
func (w *World) drop() error {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.sys.Stop(gone) // that it could not wait is what was asked for
	return w.j.Close()
}

// id is the id that a name given in a line stands for.
func (w *World) id(name string) events.ID {
	if name == "" {
		w.unnamed++
		name = "#" + strconv.Itoa(w.unnamed)
	}
	return events.IngestedID("simulations/"+strconv.FormatUint(w.opts.Seed, 10), name)
}

// Do runs one line, a verb and its arguments, and returns what it printed, one
// or more lines each with a newline. What the World answers is output, even if
// it is a refusal; the error is about a line that cannot be understood, or a
// World that cannot go on.
func (w *World) Do(ctx context.Context, line string) (string, error) {
	a, err := parseLine(line)
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	v, ok := verbs[a.verb]
	if !ok {
		return "", fmt.Errorf("%q: no such verb; there are: %s", line, strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	if len(a.plain) < v.least || len(a.plain) > v.most || !a.knows(v.options) {
		return "", fmt.Errorf("%q: usage: %s %s", line, a.verb, v.usage)
	}
	w.seconds.Add(1)
	var out strings.Builder
	if err := v.do(ctx, w, a, &out); err != nil {
		return out.String(), fmt.Errorf("%q: %w", line, err)
	}
	return out.String(), nil
}
