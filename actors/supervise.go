package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tokaworks/toka/supervisor"
)

// Tree describes a supervisor: which children it has, and what it does when
// one of them ends. What one failing message does to its actor is the business
// of Options.Supervision; a tree answers actors that were given up.
type Tree struct {
	Name string // unique in the system

	Strategy    supervisor.Strategy // default supervisor.OneForOne
	MaxRestarts int                 // see supervisor.Tree
	Window      time.Duration
	Backoff     supervisor.Backoff

	// Children are started in this order and stopped in reverse.
	Children []ChildSpec
}

// ChildSpec is one child of a Tree: an actor, made by Agent.Child and
// Resource.Child, or a Tree of its own.
type ChildSpec struct {
	Restart supervisor.When // default supervisor.Permanent

	// Shutdown is how long stopping the child may take until what it has not
	// dealt with is left. Default 5 seconds.
	Shutdown time.Duration

	// Tree, if it is not nil, is the child.
	Tree *Tree

	name  string
	spawn func(sys *System) error
}

func (c *ChildSpec) id() string {
	if c.Tree != nil {
		return c.Tree.Name
	}
	return c.name
}

// Child returns the spec of an agent of this behaviour as a child of a Tree.
func (a *Agent[S]) Child(name string) ChildSpec {
	return ChildSpec{name: name, spawn: func(sys *System) error { return a.Spawn(sys, name) }}
}

// Child returns the spec of a resource of this behaviour as a child of a Tree.
func (r *Resource[S, C, E]) Child(name string) ChildSpec {
	return ChildSpec{name: name, spawn: func(sys *System) error { _, err := r.Spawn(sys, name); return err }}
}

// Supervisor keeps the children of a Tree alive. It is safe for concurrent
// use.
type Supervisor struct {
	sys    *System
	tree   Tree
	policy supervisor.Tree
	parent *Supervisor

	work calls // what it does, one after the other

	mu       sync.Mutex
	children supervisor.Children
	specs    map[string]ChildSpec
	subs     map[string]*Supervisor
	over     bool
	plan     string // what it did last, for people
	restarts uint64
}

// ErrSupervisor is wrapped by the error that ends a system whose supervisor
// failed; see Options.OnEnd.
var ErrSupervisor = errors.New("supervisor failed")

// Supervise starts the children of a tree and keeps them as it says. A tree
// that fails, because more restarts would be needed than it allows, is the end
// of the system: nothing is taken any more, and Options.OnEnd is told.
// Supervise panics if the tree is malformed; the error is of the first child
// that could not be started, and none is left running.
func (s *System) Supervise(t Tree) (*Supervisor, error) {
	sup, err := s.supervise(t, nil)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.roots = append(s.roots, sup)
	s.mu.Unlock()
	return sup, nil
}

func (s *System) supervise(t Tree, parent *Supervisor) (*Supervisor, error) {
	sup := &Supervisor{
		sys: s, tree: t, parent: parent, work: calls{sys: s},
		policy: supervisor.Tree{Strategy: t.Strategy, MaxRestarts: t.MaxRestarts, Window: t.Window, Backoff: t.Backoff},
		specs:  map[string]ChildSpec{}, subs: map[string]*Supervisor{},
	}
	if t.Name == "" {
		panic("actors: Supervise: a tree needs a name")
	}
	if err := sup.policy.Validate(); err != nil {
		panic("actors: Supervise: " + err.Error())
	}
	if t.Strategy == supervisor.Dynamic && len(t.Children) > 0 {
		panic("actors: Supervise: tree " + t.Name + " is dynamic: its children come by Start")
	}
	for _, c := range t.Children {
		if err := sup.add(c); err != nil {
			return nil, errors.Join(err, sup.Stop(s.ctx))
		}
	}
	return sup, nil
}

// Start adds a child behind all others.
func (sup *Supervisor) Start(c ChildSpec) error { return sup.add(c) }

func (sup *Supervisor) add(c ChildSpec) error {
	if (c.Tree == nil) == (c.spawn == nil) {
		panic("actors: a child is an actor, made by Child, or a Tree")
	}
	sup.mu.Lock()
	if sup.over {
		sup.mu.Unlock()
		return fmt.Errorf("supervisor %q: %w", sup.tree.Name, ErrStopped)
	}
	children, err := sup.policy.Add(sup.children, supervisor.Child{ID: c.id(), Restart: c.Restart})
	if err != nil {
		sup.mu.Unlock()
		return fmt.Errorf("supervisor %q: %w", sup.tree.Name, err)
	}
	sup.children, sup.specs[c.id()] = children, c
	sup.mu.Unlock()
	if err := sup.launch(c); err != nil {
		sup.mu.Lock()
		sup.children = sup.policy.Remove(sup.children, c.id())
		delete(sup.specs, c.id())
		sup.mu.Unlock()
		return fmt.Errorf("supervisor %q: child %q: %w", sup.tree.Name, c.id(), err)
	}
	return nil
}

// launch starts a child.
func (sup *Supervisor) launch(c ChildSpec) error {
	if c.Tree != nil {
		sub, err := sup.sys.supervise(*c.Tree, sup)
		if err == nil {
			sup.mu.Lock()
			sup.subs[c.id()] = sub
			sup.mu.Unlock()
		}
		return err
	}
	w := &sup.sys.watching
	w.mu.Lock()
	if w.parent == nil {
		w.parent = map[string]*Supervisor{}
	}
	if other := w.parent[c.name]; other != nil && other != sup && !other.isOver() {
		w.mu.Unlock()
		return fmt.Errorf("it is a child of supervisor %q", other.tree.Name)
	}
	w.parent[c.name] = sup
	w.mu.Unlock()
	err := c.spawn(sup.sys)
	if err != nil {
		sup.disown(c.name)
	}
	return err
}

// above returns the path of the supervisors above an actor.
func (s *System) above(name string) (path string) {
	s.watching.mu.Lock()
	sup := s.watching.parent[name]
	s.watching.mu.Unlock()
	for ; sup != nil; sup = sup.parent {
		if path != "" {
			path = "/" + path
		}
		path = sup.tree.Name + path
	}
	return path
}

func (sup *Supervisor) isOver() bool {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	return sup.over
}

func (sup *Supervisor) disown(name string) {
	w := &sup.sys.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parent[name] == sup {
		delete(w.parent, name)
	}
}

// halt stops a child, bounded by its Shutdown.
func (sup *Supervisor) halt(ctx context.Context, id string) error {
	sup.mu.Lock()
	c, sub := sup.specs[id], sup.subs[id]
	delete(sup.subs, id)
	sup.mu.Unlock()
	if sub != nil {
		return sub.Stop(ctx)
	}
	if c.spawn == nil {
		return nil
	}
	sup.disown(id) // this end is not a failure
	d := c.Shutdown
	if d <= 0 {
		d = 5 * time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer sup.sys.opts.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })()
	return sup.sys.StopActor(ctx, id)
}

// exited is told of the end of a child, on whatever goroutine it is.
func (sup *Supervisor) exited(t Termination) {
	sup.work.put(func() { sup.answer(supervisor.Exit{Child: t.Agent, Normal: t.Normal, Reason: t.Reason}) })
}

// answer carries out what the end of a child leads to.
func (sup *Supervisor) answer(e supervisor.Exit) {
	sup.mu.Lock()
	if sup.over || sup.sys.ctx.Err() != nil || sup.sys.j.Err() != nil {
		sup.mu.Unlock()
		return
	}
	p, children := sup.policy.Exited(sup.children, e, sup.sys.now(), sup.sys.random())
	sup.children, sup.plan = children, p.Reason
	if len(p.Start) > 0 {
		sup.restarts++
	}
	sup.over = p.Fail
	sup.mu.Unlock()
	sup.sys.log.Warn("a child ended", "supervisor", sup.tree.Name, "child", e.Child, "plan", p.Reason, "stop", p.Stop, "start", p.Start, "after", p.After)
	for _, id := range p.Stop {
		if err := sup.halt(sup.sys.ctx, id); err != nil {
			sup.sys.log.Error("a child did not stop", "supervisor", sup.tree.Name, "child", id, "err", err)
		}
	}
	if p.Fail {
		sup.fail(p.Reason)
		return
	}
	if len(p.Start) == 0 || p.After > 0 && !sup.sys.pause(p.After) {
		return
	}
	for _, id := range p.Start {
		sup.mu.Lock()
		c, known := sup.specs[id]
		over := sup.over
		sup.mu.Unlock()
		if over || !known {
			continue
		}
		if err := sup.launch(c); err != nil {
			sup.exited(Termination{Agent: id, Reason: err.Error()})
		}
	}
}

// fail hands the failure upwards; at the root it is the end of the system.
func (sup *Supervisor) fail(reason string) {
	reason = fmt.Sprintf("supervisor %q: %s", sup.tree.Name, reason)
	if sup.parent != nil {
		sup.parent.mu.Lock()
		delete(sup.parent.subs, sup.tree.Name)
		sup.parent.mu.Unlock()
		sup.parent.exited(Termination{Agent: sup.tree.Name, Reason: reason})
		return
	}
	sup.sys.endWith(fmt.Errorf("%w: %s", ErrSupervisor, reason))
}

// StopChild stops a child and forgets it.
func (sup *Supervisor) StopChild(ctx context.Context, id string) error {
	sup.mu.Lock()
	_, known := sup.specs[id]
	sup.children = sup.policy.Remove(sup.children, id)
	sup.mu.Unlock()
	if !known {
		return fmt.Errorf("supervisor %q has no child %q", sup.tree.Name, id)
	}
	err := sup.halt(ctx, id)
	sup.mu.Lock()
	delete(sup.specs, id)
	sup.mu.Unlock()
	return err
}

// Stop stops the children in reverse order, each within its Shutdown, and ends
// the supervisor.
func (sup *Supervisor) Stop(ctx context.Context) error {
	sup.mu.Lock()
	sup.over = true
	ids := sup.children.Running()
	sup.mu.Unlock()
	var errs []error
	for _, id := range slices.Backward(ids) {
		errs = append(errs, sup.halt(ctx, id))
	}
	return errors.Join(errs...)
}

// endWith ends the system as far as it can from inside: nothing is taken any
// more, and whoever runs it is told to stop it.
func (s *System) endWith(err error) {
	s.mu.Lock()
	first := !s.refusing && !s.stopping
	s.refusing = true
	for _, c := range s.cells {
		c.box.close()
	}
	s.mu.Unlock()
	if !first {
		return
	}
	s.fail(err)
	if s.opts.OnEnd != nil {
		go safely(s.log, func() { s.opts.OnEnd(err) })
	}
}
