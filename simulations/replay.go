package simulations

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/journal"
)

// ReplayOptions vary a replay. The zero value is fine.
type ReplayOptions struct {
	// MaxDivergences bounds how many divergences the Report lists. Default 100.
	MaxDivergences int

	// SkipUnknown goes on where a stream belongs to a behaviour that is not
	// registered; the Report counts such streams as not replayed.
	SkipUnknown bool

	// Progress, if it is not nil, is called now and then with how many events
	// were replayed of how many, and once at the end.
	Progress func(done, total uint64)
}

// Report is what Replay found. Two replays of the same journal by the same
// behaviours give equal reports.
type Report struct {
	Events       uint64 `json:"events"`
	Streams      uint64 `json:"streams"`
	Agents       uint64 `json:"agents"`        // streams that a registered behaviour has written to
	NotReplayed  uint64 `json:"not_replayed"`  // streams of unknown behaviours
	Commands     uint64 `json:"commands"`      // decided again
	Reactions    uint64 `json:"reactions"`     // done again
	StateDigests uint64 `json:"state_digests"` // compared

	// OK says that nothing diverged in what was replayed.
	OK bool `json:"ok"`

	// Divergences are the first ones, by position; More counts the others.
	Divergences []actors.Divergence `json:"divergences,omitempty"`
	More        uint64              `json:"more_divergences,omitempty"`

	// State is the BLAKE3-256 digest over the names and state digests of all
	// agents, in hexadecimal: equal for two replays that end in equal states.
	// A state that cannot be written as JSON counts as a zero digest.
	State string `json:"state"`
}

// First returns the first divergence, if there is one.
func (r *Report) First() (actors.Divergence, bool) {
	if len(r.Divergences) == 0 {
		return actors.Divergence{}, false
	}
	return r.Divergences[0], true
}

// Replay reads the journal once, in order, up to the durable mark as it is
// when Replay begins, and does the work of every agent and resource again: it
// folds their events, decides each recorded command and does each recorded
// reaction anew on the state as it was, and compares what comes of it, and the
// state, with what is recorded. What diverges is in the Report; the error is
// about what kept Replay from looking. It wraps actors.ErrUnknownBehaviour,
// unless SkipUnknown is set, or is one of the journal's.
//
// It takes the memory of one state for each agent, 64 bytes for each recorded
// state digest and some 100 for each stream, and one lookup in the journal for
// each reaction. The journal may be in use; handlers are called on the
// caller's goroutine, without effects: what they would send is dropped.
func Replay(ctx context.Context, j *journal.Journal, r *actors.Registry, opts ReplayOptions) (Report, error) {
	if opts.MaxDivergences <= 0 {
		opts.MaxDivergences = 100
	}
	if opts.Progress == nil {
		opts.Progress = func(uint64, uint64) {}
	}
	p := &replay{j: j, registry: r, opts: opts, parts: map[string]*part{}}
	total := j.Position()
	for e, err := range j.Read(ctx, journal.Query{}) {
		if err == nil && e.Position > total {
			break // appended meanwhile
		}
		if err == nil {
			err = p.next(ctx, &e)
		}
		if err != nil {
			return p.report, fmt.Errorf("replay, after %d of %d events: %w", p.report.Events, total, err)
		}
		if p.report.Events++; p.report.Events%progressEvery == 0 {
			opts.Progress(p.report.Events, total)
		}
	}
	p.finish()
	opts.Progress(p.report.Events, total)
	return p.report, nil
}

const progressEvery = 1024

type replay struct {
	j        *journal.Journal
	registry *actors.Registry
	opts     ReplayOptions
	report   Report
	parts    map[string]*part // by stream; nil while only recorded
	found    []actors.Divergence
}

// part is one stream of a known behaviour.
type part struct {
	replica *actors.Replica       // nil if the behaviour is unknown
	digests []journal.StateDigest // still to be compared
}

func (p *replay) next(ctx context.Context, e *events.Event) error {
	x, seen := p.parts[e.Stream]
	if !seen {
		p.report.Streams++
		p.parts[e.Stream] = nil
	}
	if x == nil {
		key, ok := e.Extensions[events.ExtBehaviour]
		if !ok {
			return nil
		}
		var err error
		if x, err = p.begin(ctx, e, key); err != nil {
			return err
		}
		p.parts[e.Stream] = x
	}
	if x.replica == nil {
		return nil
	}
	return p.feed(ctx, x, e)
}

// begin starts a replica for the stream whose first event of its own e is, and
// feeds it what came before from outside.
func (p *replay) begin(ctx context.Context, e *events.Event, key string) (*part, error) {
	x := &part{replica: actors.NewReplica(p.j, p.registry, e.Stream)}
	if err := x.replica.Begin(key); err != nil {
		if p.opts.SkipUnknown && errors.Is(err, actors.ErrUnknownBehaviour) {
			p.report.NotReplayed++
			return &part{}, nil
		}
		return nil, fmt.Errorf("stream %q, position %d: %w", e.Stream, e.Position, err)
	}
	p.report.Agents++
	for d, err := range p.j.StateDigests(ctx, e.Stream) {
		if err != nil {
			return nil, err
		}
		x.digests = append(x.digests, d)
	}
	if e.StreamPosition == 1 {
		return x, nil
	}
	for before, err := range p.j.ReadStream(ctx, e.Stream, 0) {
		if err != nil {
			return nil, fmt.Errorf("stream %q: %w", e.Stream, err)
		}
		if before.StreamPosition >= e.StreamPosition {
			break
		}
		if err := p.feed(ctx, x, &before); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// feed gives a replica its next event and compares the state digest that is
// recorded there, if there is one.
func (p *replay) feed(ctx context.Context, x *part, e *events.Event) error {
	ds, err := x.replica.Next(ctx, *e)
	p.add(ds)
	if err != nil {
		return err
	}
	for len(x.digests) > 0 && x.digests[0].StreamPosition <= e.StreamPosition {
		if x.digests[0].StreamPosition == e.StreamPosition {
			p.report.StateDigests++
			p.add(x.replica.Check(x.digests[0], e.Position))
		}
		x.digests = x.digests[1:]
	}
	return nil
}

// add keeps the first divergences by position. They come out of order: a group
// of events is found to be short only when the next one of its stream begins.
func (p *replay) add(ds []actors.Divergence) {
	p.found = append(p.found, ds...)
	if len(p.found) > 2*p.opts.MaxDivergences {
		p.cut()
	}
}

func (p *replay) cut() {
	slices.SortStableFunc(p.found, func(a, b actors.Divergence) int {
		return cmp.Compare(a.Position, b.Position)
	})
	if most := p.opts.MaxDivergences; len(p.found) > most {
		p.report.More += uint64(len(p.found) - most)
		p.found = p.found[:most:most]
	}
}

func (p *replay) finish() {
	var all []byte
	for _, name := range slices.Sorted(maps.Keys(p.parts)) {
		x := p.parts[name]
		if x == nil || x.replica == nil {
			continue
		}
		p.add(x.replica.End())
		p.report.Commands += x.replica.Decided - x.replica.Reactions
		p.report.Reactions += x.replica.Reactions
		d := stateDigest(x.replica)
		all = binary.AppendUvarint(all, uint64(len(name)))
		all = append(all, name...)
		all = append(all, d[:]...)
	}
	p.cut()
	p.report.Divergences = p.found
	p.report.OK = len(p.found) == 0
	p.report.State = actors.StateDigest(all).String()
}

// stateDigest returns the digest of an agent's state, zero if the state cannot
// be encoded.
func stateDigest(x *actors.Replica) (d events.Digest) {
	defer func() {
		if recover() != nil {
			d = events.Digest{}
		}
	}()
	b, err := json.Marshal(x.State())
	if err != nil {
		return d
	}
	return actors.StateDigest(b)
}
