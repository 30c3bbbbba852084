package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// When says when a child that ended is started again.
type When uint8

const (
	// Permanent children are started again whatever they ended for.
	Permanent When = iota
	// Transient children are started again if they failed.
	Transient
	// Temporary children are never started again, and forgotten when they end.
	Temporary
)

// String returns the word in lower case.
func (w When) String() string { return word(w, "permanent", "transient", "temporary") }

// Strategy says who is restarted with a child.
type Strategy uint8

const (
	// OneForOne restarts the child that ended.
	OneForOne Strategy = iota
	// AllForOne restarts all children.
	AllForOne
	// RestForOne restarts the child and those that were started after it.
	RestForOne
	// Dynamic is OneForOne for children that come and go: it begins with none.
	Dynamic
)

// String returns the strategy as it is written in configuration.
func (s Strategy) String() string {
	return word(s, "one_for_one", "all_for_one", "rest_for_one", "dynamic")
}

func word[T ~uint8](v T, words ...string) string {
	if int(v) < len(words) {
		return words[v]
	}
	return "unknown"
}

// Child is what a tree has to know about one child.
type Child struct {
	ID      string // unique among its siblings
	Restart When
}

// Tree is the policy of a supervisor over children. The zero value of a field
// means its default.
type Tree struct {
	Strategy Strategy

	// MaxRestarts within Window are made; a child that ends after that makes
	// the supervisor itself fail. None for no restart at all. A restart of
	// several children counts once. Defaults: 10 within a minute.
	MaxRestarts int
	Window      time.Duration

	Backoff Backoff
}

// Exit is the end of a child.
type Exit struct {
	Child  string
	Normal bool // it came to its end, rather than failed
	Reason string
}

// Plan is what to do about an exit, in this order: stop children, each when
// the one before has stopped; wait; start children, each when the one before
// has started. If Fail is set, the supervisor fails when all have stopped.
type Plan struct {
	Stop  []string
	After time.Duration
	Start []string
	Fail  bool

	Reason string // why, in words for people
}

// Children is what a tree knows about its children: who there is, in the order
// in which they were started, who runs, and the restarts made. It is an
// immutable value, as History is.
type Children struct {
	list    []child
	history History
}

type child struct {
	Child
	running bool
}

// Validate returns an error that names the first field out of range.
func (t Tree) Validate() error {
	switch {
	case t.Strategy > Dynamic:
		return fmt.Errorf("supervisor: Strategy is %d; there is no such strategy", t.Strategy)
	case t.MaxRestarts < 0 && t.MaxRestarts != None:
		return fmt.Errorf("supervisor: MaxRestarts is %d; it must not be negative, except None", t.MaxRestarts)
	case t.Window < 0:
		return fmt.Errorf("supervisor: Window is %v; it must not be negative", t.Window)
	}
	return t.Backoff.Validate()
}

func (t Tree) policy() Policy {
	if err := t.Validate(); err != nil {
		panic(err.Error())
	}
	return Policy{MaxRestarts: or(t.MaxRestarts, 10), Window: t.Window, Backoff: t.Backoff}
}

// Add returns cs with one more child, which is to be started now, after all
// the others. It fails if there is one of that id.
func (t Tree) Add(cs Children, c Child) (Children, error) {
	if c.ID == "" {
		return cs, errors.New("supervisor: a child needs an id")
	}
	if c.Restart > Temporary {
		return cs, fmt.Errorf("supervisor: child %q: Restart is %d; there is no such thing", c.ID, c.Restart)
	}
	if cs.index(c.ID) >= 0 {
		return cs, fmt.Errorf("supervisor: there is a child %q already", c.ID)
	}
	cs.list = append(slices.Clone(cs.list), child{c, true})
	return cs, nil
}

// Remove returns cs without a child, which was stopped because somebody wanted
// that. A child that is not there is no matter.
func (t Tree) Remove(cs Children, id string) Children {
	cs.list = slices.DeleteFunc(slices.Clone(cs.list), func(c child) bool { return c.ID == id })
	return cs
}

// Running lists the children that run, in the order in which they were
// started: the reverse of the order in which they are to be stopped.
func (cs Children) Running() []string {
	var ids []string
	for _, c := range cs.list {
		if c.running {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (cs Children) index(id string) int {
	return slices.IndexFunc(cs.list, func(c child) bool { return c.ID == id })
}

// Exited answers the end of a child and returns what to bring next time, in
// which the plan is carried out. random feeds the jitter. The end of a child
// that does not run, as one that was told to stop, changes nothing.
func (t Tree) Exited(cs Children, e Exit, now time.Time, random uint64) (Plan, Children) {
	p := t.policy()
	at := cs.index(e.Child)
	if at < 0 || !cs.list[at].running {
		return Plan{Reason: fmt.Sprintf("child %q does not run", e.Child)}, cs
	}
	cs.list = slices.Clone(cs.list)
	ended := &cs.list[at]
	ended.running = false
	how := "failed"
	if e.Normal {
		how = "ended"
	}
	if ended.Restart == Temporary || ended.Restart == Transient && e.Normal {
		reason := fmt.Sprintf("%v child %q %s: %s", ended.Restart, e.Child, how, e.Reason)
		if ended.Restart == Temporary {
			cs.list = slices.Delete(cs.list, at, at+1)
		}
		return Plan{Reason: reason}, cs
	}
	d, history := p.Decide(cs.history, Failure{Reason: e.Reason}, now, random)
	cs.history = history
	if d.Action == Escalate {
		plan := Plan{Stop: cs.Running(), Fail: true}
		plan.Reason = fmt.Sprintf("child %q %s, and %s", e.Child, how, d.Reason)
		slices.Reverse(plan.Stop)
		for i := range cs.list {
			cs.list[i].running = false
		}
		return plan, cs
	}
	first, last := at, at
	switch t.Strategy {
	case AllForOne:
		first, last = 0, len(cs.list)-1
	case RestForOne:
		last = len(cs.list) - 1
	}
	plan := Plan{After: d.After, Reason: fmt.Sprintf("%v: child %q %s: %s", t.Strategy, e.Child, how, e.Reason)}
	kept := slices.Clone(cs.list[:first])
	for i := first; i < len(cs.list); i++ {
		c := cs.list[i]
		if i <= last {
			if c.running {
				plan.Stop = append(plan.Stop, c.ID)
			}
			if c.Restart == Temporary && i != at {
				continue // it was stopped, and is not started again
			}
			c.running = true
			plan.Start = append(plan.Start, c.ID)
		}
		kept = append(kept, c)
	}
	slices.Reverse(plan.Stop)
	cs.list = kept
	return plan, cs
}

// Calm notes that all has been well for a while: backoff starts at Initial
// again. The restarts made still count towards MaxRestarts.
func (t Tree) Calm(cs Children) Children {
	cs.history = t.policy().Handled(cs.history, "")
	return cs
}
