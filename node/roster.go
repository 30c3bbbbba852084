package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
	"github.com/tokaworks/toka/node/internal/server"
)

// rosterName is the file that remembers which agents live in a journal. It is
// derived: without it, the next start reads the journal for it.
const rosterName = "AGENTS"

// roster says which streams belong to agents, as of a position. Resources are
// not in it: they come to life when they are asked for.
type roster struct {
	Epoch    uint32            `json:"epoch"`
	Position uint64            `json:"position"`
	Agents   map[string]string `json:"agents"` // behaviours by name
}

// readRoster returns what is remembered, or an empty roster.
func readRoster(dir string, j *journal.Journal) *roster {
	r := &roster{}
	b, err := os.ReadFile(filepath.Join(dir, rosterName))
	if err != nil || json.Unmarshal(b, r) != nil || r.Epoch != j.Epoch() || r.Position > j.Position() || r.Agents == nil {
		r = &roster{Epoch: j.Epoch(), Agents: map[string]string{}}
	}
	return r
}

func (r *roster) save(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, rosterName)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// look reads on to the end of the journal. Every agent signs the first event
// that it journals.
func (r *roster) look(ctx context.Context, j *journal.Journal, reacts map[string]bool, progress func(done, total uint64)) error {
	end := j.Position()
	for e, err := range j.Read(ctx, journal.Query{After: r.Position, Before: end + 1}) {
		if err != nil {
			return err
		}
		if key, ok := e.Extensions[events.ExtBehaviour]; ok && reacts[nameOf(key)] {
			r.Agents[e.Stream] = key
		}
		if e.Position%4096 == 0 {
			progress(e.Position, end)
		}
	}
	r.Position = end
	return nil
}

func nameOf(key string) string {
	name, _, _ := strings.Cut(key, "/")
	return name
}

// recoverAgents makes live what lived in the journal, the agents of the
// program's own registry, and those of --agent.
func (n *node) recoverAgents(ctx context.Context) (*roster, error) {
	reacts, newest := map[string]bool{}, map[string]string{}
	for _, d := range n.a.registry.Describe() {
		if len(d.Reacts) > 0 {
			reacts[d.Name] = true
			newest[d.Name] = d.Behaviour // later versions come last
		}
	}
	r := readRoster(n.a.data, n.journal)
	err := r.look(ctx, n.journal, reacts, func(done, total uint64) {
		n.server.Progress(server.Phase{Name: "looking for agents", Done: done, Total: total})
	})
	if err != nil {
		return nil, err
	}
	live := map[string]string{}
	for name, key := range newest {
		if !n.a.builtin[key] {
			live[name] = key
		}
	}
	maps.Copy(live, r.Agents)
	for _, spec := range n.f.agents {
		name, key, _ := strings.Cut(spec, "=")
		live[name] = key
	}
	done := uint64(0)
	for name, key := range live {
		err := n.system.Spawn(key, name)
		switch {
		case errors.Is(err, actors.ErrUnknownBehaviour):
			// Others can go on; this one waits for a program that knows it.
			n.log.Error("an agent does not live: this program does not have its behaviour", "agent", name, "behaviour", key)
		case err != nil:
			return nil, fmt.Errorf("agent %q: %w", name, err)
		}
		done++
		n.server.Progress(server.Phase{Name: "recovering agents", Done: done, Total: uint64(len(live))})
	}
	return r, nil
}
