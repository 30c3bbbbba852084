package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Names of checkpoints and streams; part of the stored format.
const (
	namePrefix   = "$consumer."
	configPrefix = namePrefix + "config/"
	atPrefix     = namePrefix + "at/"
	sharedName   = namePrefix + "shared"
)

// Set is the consumers of one journal. It is safe for concurrent use.
type Set struct {
	j    *journal.Journal
	ctx  context.Context // ends with the set
	stop context.CancelFunc
	done sync.WaitGroup

	admin sync.Mutex // held while a consumer is created or deleted, before mu

	mu        sync.Mutex // never held while anything waits
	users     int        // of this set; guarded by setsMu
	consumers map[string]*Consumer
	routes    routes
	following bool
	at        uint64 // every event up to here was offered to the consumers
	err       error  // set when the set cannot go on
	closed    bool   // nothing more is begun

	// What is to be written; see write.go.
	dirty   map[*Consumer]struct{}
	touched map[*Consumer]struct{}
	shared  uint64 // where the shared checkpoint stands on disk or will
	save    bool   // the shared checkpoint is due
	writing bool
}

// sets are those that are open: two in one process would overwrite what the
// other stores.
var (
	setsMu sync.Mutex
	sets   = make(map[*journal.Journal]*Set)
)

// Open returns the consumers of a journal. Everybody who opens them gets the
// same set, and closes it before the journal is closed.
func Open(j *journal.Journal) (*Set, error) {
	setsMu.Lock()
	defer setsMu.Unlock()
	if s := sets[j]; s != nil {
		s.users++
		return s, nil
	}
	s := &Set{
		j: j, users: 1, consumers: make(map[string]*Consumer), routes: make(routes),
		dirty: make(map[*Consumer]struct{}), touched: make(map[*Consumer]struct{}),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.load(); err != nil {
		s.stop()
		return nil, err
	}
	sets[j] = s
	return s, nil
}

// Close stores how far everybody is and lets go of the set when the last user
// does. What was delivered and not settled stays so.
func (s *Set) Close() error {
	setsMu.Lock()
	defer setsMu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	if s.users < 0 {
		panic("consumer: Set.Close: closed more often than opened")
	}
	delete(sets, s.j)
	s.stop()
	s.mu.Lock()
	for _, c := range s.consumers {
		if c.byIntent() && c.read > c.storedRead {
			c.mark()
		}
	}
	s.save = s.save || s.at > s.shared
	s.write()
	s.closed = true
	s.mu.Unlock()
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.fail(journal.ErrClosed)
	if errors.Is(err, journal.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil // the journal was closed first: what is not stored is found out again
	}
	return err
}

// load reads the consumers that the journal holds.
func (s *Set) load() error {
	configs, ats := map[string]string{}, map[string]journal.Checkpoint{}
	end := s.j.Position()
	shared := false
	for c, err := range s.j.Checkpoints(s.ctx, namePrefix) {
		if err != nil {
			return err
		}
		if name, ok := strings.CutPrefix(c.Name, configPrefix); ok {
			configs[name] = c.State
		} else if name, ok := strings.CutPrefix(c.Name, atPrefix); ok {
			ats[name] = c
		} else if c.Name == sharedName {
			s.at, shared = min(c.Position, end), true
		}
	}
	if !shared {
		// It is stored now and then only: until the first time everybody
		// speaks for himself, also those who leave it to the shared one.
		s.at = end
		for _, c := range ats {
			if c.Via == sharedName {
				s.at = min(s.at, c.Position)
			}
		}
	}
	s.shared = s.at
	s.mu.Lock() // the first that is added is followed for at once
	defer s.mu.Unlock()
	for name, text := range configs {
		config, begun, err := decodeConfig(name, text)
		if err != nil {
			return err
		}
		config.modelAt(s.j, begun) // stored before journals had several
		c := newConsumer(s, config, begun)
		if err := c.decode(ats[name], s.at, end); err != nil {
			return err
		}
		s.add(c)
	}
	return nil
}

// add takes a consumer in. The caller holds mu.
func (s *Set) add(c *Consumer) {
	s.consumers[c.config.Name] = c
	if c.byIntent() {
		c.begin()
		c.known = c.at
		return
	}
	c.known = s.at
	s.routes.add(c)
	if !c.via {
		s.touched[c] = struct{}{}
	}
	if !s.following {
		s.following = true
		from := s.at
		s.done.Add(1)
		go s.follow(from)
	}
}

// Create makes a consumer, or returns the one that is there with the same
// configuration. Errors wrap events.ErrInvalid or ErrExists, or are those of
// an append.
func (s *Set) Create(ctx context.Context, config Config) (*Consumer, error) {
	config = config.withDefaults()
	config.Backoff, config.Query.Kinds = slices.Clone(config.Backoff), slices.Clone(config.Query.Kinds)
	if err := config.check(); err != nil {
		return nil, err
	}
	config.modelAt(s.j, s.j.Position())
	s.admin.Lock()
	defer s.admin.Unlock()
	if c, err := s.Get(config.Name); err == nil {
		if !same(c.config, config) {
			return nil, fmt.Errorf("consumer %q: %w; delete it first, or use another name", config.Name, ErrExists)
		}
		return c, nil
	} else if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	c := newConsumer(s, config, s.j.Position())
	c.read = config.Query.After
	text, err := config.encode(c.begun)
	if err != nil {
		return nil, fmt.Errorf("consumer %q: %w", config.Name, err)
	}
	_, err = s.j.Append(ctx, journal.Write{
		Checkpoints: []journal.Checkpoint{{Name: configPrefix + config.Name, State: text}, c.checkpoint(nil)},
		Authority:   authority.System(),
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %q: %w", config.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, journal.ErrClosed
	}
	if s.err != nil {
		return nil, s.err
	}
	s.add(c)
	return c, nil
}

// Get returns a consumer, or an error that wraps ErrNotFound.
func (s *Set) Get(name string) (*Consumer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	c := s.consumers[name]
	if c == nil {
		return nil, fmt.Errorf("consumer %q: %w", name, ErrNotFound)
	}
	return c, nil
}

// List returns all consumers, by name.
func (s *Set) List() []*Consumer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Consumer
	for _, name := range slices.Sorted(maps.Keys(s.consumers)) {
		out = append(out, s.consumers[name])
	}
	return out
}

// Delete takes a consumer away. What it parked stays in the journal.
func (s *Set) Delete(ctx context.Context, name string) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	c, err := s.Get(name)
	if err != nil {
		return err
	}
	if err := c.seize(ctx); err != nil {
		return err
	}
	// Nothing writes the consumer's checkpoint from here on.
	_, err = s.j.Append(ctx, journal.Write{
		Checkpoints: []journal.Checkpoint{{Name: configPrefix + name, Delete: true}, {Name: atPrefix + name, Delete: true}},
		Authority:   authority.System(),
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		c.release()
		return fmt.Errorf("consumer %q: %w", name, err)
	}
	delete(s.consumers, name)
	delete(s.dirty, c)
	delete(s.touched, c)
	if c.byIntent() {
		c.stop()
	} else {
		s.routes.remove(c)
	}
	c.close(fmt.Errorf("consumer %q: %w: it was deleted", name, ErrNotFound))
	return nil
}

// fail ends the set. The caller holds mu.
func (s *Set) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	for _, c := range s.consumers {
		c.close(s.err)
	}
}

// routes lead from an event to the consumers that may want it, so that one
// event is not held against every filter there is.
type routes map[route]map[*Consumer]struct{}

// route is a stream, a kind, or the first token of kinds; all three empty is
// for filters that none of them leads to.
type route struct{ stream, kind, token string }

func (c *Consumer) routes() (out []route) {
	q := &c.config.Query
	switch {
	case q.Stream != "":
		return []route{{stream: q.Stream}}
	case q.Agent != "":
		return []route{{stream: q.Agent}}
	case len(q.Kinds) == 0:
		return []route{{}}
	}
	for _, p := range q.Kinds {
		if kind, ok := p.Literal(); ok {
			out = append(out, route{kind: kind})
			continue
		}
		token, _, _ := strings.Cut(p.String(), ".")
		if token == "*" || token == ">" {
			token = ""
		}
		out = append(out, route{token: token})
	}
	return out
}

func (r routes) add(c *Consumer) {
	for _, k := range c.routes() {
		if r[k] == nil {
			r[k] = make(map[*Consumer]struct{})
		}
		r[k][c] = struct{}{}
	}
}

func (r routes) remove(c *Consumer) {
	for _, k := range c.routes() {
		if delete(r[k], c); len(r[k]) == 0 {
			delete(r, k)
		}
	}
}

// offerBatch bounds how many events are offered at a time.
const offerBatch = 256

// follow is the one reader of the set: it tells consumers that there is
// something for them, and leaves the reading to them.
func (s *Set) follow(from uint64) {
	defer s.done.Done()
	var batch []events.Event
	for step, err := range s.j.Follow(s.ctx, journal.Query{After: from}) {
		if err != nil {
			s.mu.Lock()
			if s.ctx.Err() == nil {
				s.fail(err)
			}
			s.mu.Unlock()
			return
		}
		if step.Event.Position != 0 {
			if batch = append(batch, step.Event); len(batch) < offerBatch {
				continue
			}
		}
		s.offer(batch, step.Position)
		clear(batch)
		batch = batch[:0]
	}
}

// saveEvery is after how many events the shared checkpoint is stored: as many
// may have to be looked at again after a crash. Tests make it small.
var saveEvery uint64 = 64 << 10

func (s *Set) offer(es []events.Event, position uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range es {
		e := &es[i]
		token, _, _ := strings.Cut(e.Kind, ".")
		for _, k := range [...]route{{stream: e.Stream}, {kind: e.Kind}, {token: token}, {}} {
			for c := range s.routes[k] {
				if e.Position > c.read && c.next == 0 && c.wants(e) {
					c.next = e.Position
					if c.via {
						s.touched[c] = struct{}{}
					}
					c.broadcast()
				}
			}
		}
	}
	s.at = position
	if s.at-s.shared >= saveEvery {
		s.save = true
		s.write()
	}
}

// Journal returns the journal whose consumers these are.
func (s *Set) Journal() *journal.Journal { return s.j }
