package actors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/disk/disktest"
	"github.com/tokaworks/toka/journal"
)

// A door lets guests in while it is open, and has them wait while it is not.
// A guest named "breaks it" panics.
type doorCommand struct{ Do string }

var (
	doorCommands = events.NewType[doorCommand]("door.do", 1)
	doorEvents   = events.NewType[doorCommand]("door.did", 1)
)

type doorRef = actors.Ref[bool, doorCommand]

func newDoor() *actors.Resource[bool, doorCommand, doorCommand] {
	return &actors.Resource[bool, doorCommand, doorCommand]{
		Name: "door", Version: 1, Commands: doorCommands, Events: doorEvents,
		Decide: func(t *actors.Turn, open bool, c doorCommand) ([]doorCommand, error) {
			switch {
			case c.Do == "open":
				t.Unstash()
			case c.Do == "close":
			case c.Do == "breaks it":
				panic("the hinge")
			case !open:
				t.Stash()
				return []doorCommand{{"nothing of a stashed turn is kept"}}, nil
			}
			return []doorCommand{c}, nil
		},
		Evolve: func(open bool, e doorCommand) bool {
			switch e.Do {
			case "open":
				return true
			case "close":
				return false
			}
			return open
		},
	}
}

func did(t *testing.T, j *journal.Journal) (out []string) {
	t.Helper()
	for _, e := range stream(t, j, "door") {
		if v, err := doorEvents.Decode(e); err == nil {
			out = append(out, v.Do)
		}
	}
	return out
}

// guests ask to be let in, one after the other; the channel yields their
// answers as "NAME: error".
func guests(t *testing.T, sys *actors.System, ref *doorRef, names ...string) <-chan string {
	t.Helper()
	answers := make(chan string, len(names))
	for i, name := range names {
		go func() {
			_, err := ref.Ask(within(t), doorCommand{name})
			answers <- fmt.Sprintf("%s: %v", name, err)
		}()
		stashed(t, sys, i+1)
	}
	return answers
}

// stashed returns when the door has put n commands aside.
func stashed(t *testing.T, sys *actors.System, n int) {
	t.Helper()
	for ctx := within(t); ; {
		for _, i := range sys.Agents() {
			if i.Name == "door" && i.Stashed == n {
				return
			}
		}
		must(t, ctx.Err())
	}
}

func doorWith(t *testing.T, j *journal.Journal, opts actors.Options) (*actors.System, *doorRef) {
	t.Helper()
	door := newDoor()
	sys := start(t, j, opts, door)
	ref, err := door.Spawn(sys, "door")
	must(t, err)
	return sys, ref
}

func do(t *testing.T, ref *doorRef, what string) {
	t.Helper()
	_, err := ref.Ask(within(t), doorCommand{what})
	must(t, err)
}

func TestStash(t *testing.T) {
	j := memory(t)
	sys, ref := doorWith(t, j, actors.Options{})
	answers := guests(t, sys, ref, "Ada", "Bob", "Cleo")
	settle(t, sys) // who waits for something else is no reason to wait
	do(t, ref, "close")
	stashed(t, sys, 3) // another state keeps them
	do(t, ref, "open")
	for range 3 {
		if got := soon(t, "an answer", answers); !strings.HasSuffix(got, ": <nil>") {
			t.Error(got)
		}
	}
	do(t, ref, "Dan")
	if got := did(t, j); !slices.Equal(got, []string{"close", "open", "Ada", "Bob", "Cleo", "Dan"}) {
		t.Errorf("the door did %v", got)
	}
}

// The stash comes again where an outside writer changed the state.
func TestStashAfterAnOutsideAppend(t *testing.T) {
	j := memory(t)
	sys, ref := doorWith(t, j, actors.Options{})
	answers := guests(t, sys, ref, "Ada")
	d, err := doorEvents.Encode(doorCommand{"open"})
	must(t, err)
	_, err = sys.Publish(within(t), "door", d)
	must(t, err)
	do(t, ref, "Bob")
	if got := soon(t, "the answer", answers); got != "Ada: <nil>" {
		t.Error(got)
	}
}

func TestStashIsBounded(t *testing.T) {
	j := memory(t)
	sys, ref := doorWith(t, j, actors.Options{Stash: 2})
	answers := guests(t, sys, ref, "Ada", "Bob")
	if _, err := ref.Ask(within(t), doorCommand{"Cleo"}); !errors.Is(err, actors.ErrStashFull) {
		t.Errorf("the third: %v", err)
	}
	must(t, ref.Tell(within(t), doorCommand{"Dan"}))
	settle(t, sys)
	if got := deadReasons(t, j); !slices.Equal(got, []string{"Cleo: the stash was full", "Dan: the stash was full"}) {
		t.Errorf("dead letters are %v", got)
	}
	do(t, ref, "open")
	for range 2 {
		soon(t, "an answer", answers)
	}
	if got := did(t, j); !slices.Equal(got, []string{"open", "Ada", "Bob"}) {
		t.Errorf("the door did %v", got)
	}
}

// deadReasons are the dead letters as "NAME: reason".
func deadReasons(t *testing.T, j *journal.Journal) (out []string) {
	t.Helper()
	for _, e := range stream(t, j, "$deadletters") {
		var l struct {
			Kind          string `json:"kind"`
			SchemaVersion uint32 `json:"schema_version"`
			ContentType   string `json:"content_type"`
			Command       []byte `json:"command"`
			Reason        string `json:"reason"`
		}
		must(t, json.Unmarshal(e.Payload, &l))
		c, err := doorCommands.Decode(events.Event{Kind: l.Kind, SchemaVersion: l.SchemaVersion, ContentType: l.ContentType, Payload: l.Command})
		must(t, err)
		out = append(out, c.Do+": "+l.Reason)
	}
	return out
}

func TestStashSurvivesAFailure(t *testing.T) {
	j := memory(t)
	sys, ref := doorWith(t, j, quick(2))
	answers := guests(t, sys, ref, "Ada", "Bob")
	if _, err := ref.Ask(within(t), doorCommand{"breaks it"}); !errors.Is(err, actors.ErrFailed) {
		t.Errorf("what breaks the door: %v", err)
	}
	settle(t, sys)
	stashed(t, sys, 2) // they came again, and had to wait again
	do(t, ref, "open")
	for range 2 {
		soon(t, "an answer", answers)
	}
	if got := did(t, j); !slices.Equal(got, []string{"open", "Ada", "Bob"}) {
		t.Errorf("the door did %v", got)
	}
}

func TestStashAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(t *testing.T, sys *actors.System, ref *doorRef)
		opts   actors.Options
		reason string
	}{
		"actor stopped":  {func(t *testing.T, sys *actors.System, _ *doorRef) { must(t, sys.StopActor(within(t), "door")) }, actors.Options{}, "the actor was stopped"},
		"system stopped": {func(t *testing.T, sys *actors.System, _ *doorRef) { stopOK(t, sys) }, actors.Options{}, "the system was stopped"},
		"given up": {func(t *testing.T, sys *actors.System, ref *doorRef) {
			if _, err := ref.Ask(within(t), doorCommand{"breaks it"}); !errors.Is(err, actors.ErrStopped) {
				t.Errorf("what breaks the door: %v", err)
			}
			settle(t, sys)
		}, brittle(), "the actor was given up"},
	} {
		t.Run(name, func(t *testing.T) {
			d := disktest.New()
			j := onDisk(t, d)
			sys, ref := doorWith(t, j, c.opts)
			answers := guests(t, sys, ref, "Ada", "Bob")
			c.end(t, sys, ref)
			for range 2 {
				if got := soon(t, "an answer", answers); !strings.Contains(got, actors.ErrStopped.Error()) {
					t.Error(got)
				}
			}
			_ = sys.Stop(within(t))
			closeOK(t, j)
			if got, want := deadReasons(t, onDisk(t, d)), []string{"Ada: " + c.reason, "Bob: " + c.reason}; !slices.Equal(got, want) {
				t.Errorf("dead letters are %v, want %v", got, want)
			}
		})
	}
}

// An agent has no stash.
func TestStashOfAReaction(t *testing.T) {
	j := memory(t)
	a := clerk(func(t *actors.Turn, _ events.Event) error { t.Stash(); return nil })
	sys := start(t, j, quick(1), a)
	must(t, a.Spawn(sys, "clerk"))
	place(t, sys, "o1")
	settle(t, sys)
	all, err := actors.ListParked(within(t), j, "clerk")
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Reason, "only commands can be stashed") {
		t.Errorf("parked: %+v, %v", all, err)
	}
}
