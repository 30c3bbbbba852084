package actors

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tokaworks/toka/events"
)

// RecorderName is the behaviour of streams that were begun from outside: it
// only records. Every registry has it.
const RecorderName = "toka.recorder"

// Behaviour is an [Agent], a [Resource] or the built-in recorder: what an
// actor of that kind does, under a name and a version.
type Behaviour interface {
	describe() *behaviour
}

// behaviour is a Behaviour without its type parameters.
type behaviour struct {
	full     string // NAME/VERSION
	name     string
	version  int
	patterns []events.Pattern // agents: what they react to
	commands []string         // resources: kinds of the commands that they take
	runner   func() runner
	schema   string                          // of its snapshots; empty for none
	atRest   bool                            // one is taken when the actor comes to rest
	command  func(events.Draft) (any, error) // resources: reads a command; see System.Command
}

func (b *behaviour) key() string {
	if b.full != "" {
		return b.full
	}
	return b.name + "/" + strconv.Itoa(b.version)
}

func (b *behaviour) check(system bool) error {
	if err := events.CheckName("behaviour", b.name); err != nil {
		return err
	}
	if strings.Contains(b.name, "/") {
		return fmt.Errorf("behaviour %q: the name must not hold a slash", b.name)
	}
	if events.SystemKind(b.name) && !system {
		return fmt.Errorf("behaviour %q: names that begin with toka. belong to the system", b.name)
	}
	if b.version < 1 {
		return fmt.Errorf("behaviour %q: version %d; versions begin at 1", b.name, b.version)
	}
	return nil
}

// Registry holds behaviours by name and version. A system, the command line
// and a replay use it to know what the actors of a journal do. It is safe for
// concurrent use.
type Registry struct {
	mu    sync.RWMutex
	byKey map[string]*behaviour
}

// NewRegistry returns a registry of the given behaviours and the built-in
// ones. It panics if two have the same name and version or one is malformed.
func NewRegistry(bs ...Behaviour) *Registry {
	r := &Registry{byKey: make(map[string]*behaviour)}
	b := recorderBehaviour()
	r.byKey[b.key()] = b
	r.Add(bs...)
	return r
}

// Add adds behaviours and panics as NewRegistry does.
func (r *Registry) Add(bs ...Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range bs {
		d := b.describe()
		if err := d.check(false); err != nil {
			panic("actors: " + err.Error())
		}
		if _, twice := r.byKey[d.key()]; twice {
			panic("actors: behaviour " + d.key() + " is registered twice")
		}
		r.byKey[d.key()] = d
	}
}

// Behaviours lists what is registered, as NAME/VERSION, sorted.
func (r *Registry) Behaviours() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.byKey))
}

func (r *Registry) find(key string) (*behaviour, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	b, ok := r.byKey[key]
	if !ok {
		return b, fmt.Errorf("%w %s; register it (registered: %s)", ErrUnknownBehaviour, key, strings.Join(slices.Sorted(maps.Keys(r.byKey)), ", "))
	}
	return b, nil
}
