package actors

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Info describes one live actor.
type Info struct {
	Name      string `json:"name"`
	Behaviour string `json:"behaviour"`
	Mailbox   int    `json:"mailbox"`  // messages that wait
	State     string `json:"state"`    // live, paused, given up or stopping
	Restarts  uint64 `json:"restarts"` // failures since it was spawned
	Failure   string `json:"failure,omitempty"`

	// Stashed counts commands that were put aside and wait for Unstash.
	Stashed int `json:"stashed,omitempty"`
	// Dropped counts commands that were dropped because the mailbox was full.
	Dropped uint64 `json:"dropped,omitempty"`
	// Waiting is how long messages have been waiting without a pause.
	Waiting time.Duration `json:"waiting_ns,omitempty"`
	// Supervisor is the path of the trees above it, top/inner; empty for none.
	Supervisor string `json:"supervisor,omitempty"`
}

// list returns the live actors by name; s.mu is held.
func (s *System) list() []*cell {
	cells := slices.Collect(maps.Values(s.cells))
	slices.SortFunc(cells, func(a, b *cell) int { return strings.Compare(a.name, b.name) })
	return cells
}

// Agents lists the live actors, by name.
func (s *System) Agents() []Info {
	s.mu.Lock()
	cells := s.list()
	leaving := make([]bool, len(cells))
	for i, c := range cells {
		_, leaving[i] = s.ending[c.name]
	}
	s.mu.Unlock()
	out := make([]Info, len(cells))
	for i, c := range cells {
		out[i] = Info{Name: c.name, Behaviour: c.b.key(), Mailbox: c.box.depth(), Restarts: c.restarts.Load(), State: "live"}
		if since := c.box.waitingSince(); !since.IsZero() {
			out[i].Waiting = time.Since(since)
		}
		out[i].Supervisor, out[i].Dropped, out[i].Stashed = s.above(c.name), c.drops.Load(), int(c.aside.Load())
		switch {
		case leaving[i]:
			out[i].State = "stopping"
		case c.failed.Load():
			out[i].State = "given up"
		case c.box.isGated():
			out[i].State = "paused"
		}
		if p := c.lastFailure.Load(); p != nil {
			out[i].Failure = *p
		}
	}
	return out
}

// Restarts returns how many failures there were since Start, of all actors, also
// those that are not live any more.
func (s *System) Restarts() uint64 { return s.restarts.Load() }
