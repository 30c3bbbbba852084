package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/cloudevents"
	"github.com/tokaworks/toka/journal"
)

// Parents are looked up in the world as it was, or will be, when the event
// itself came: among the events that stand before it. For a new event that is
// everything. For one that is known already, what came after it does not
// count, or a token that has become ambiguous since would turn a duplicate
// into another event.
//
// "Before" is told by rank: the position of what the journal shows, and behind
// all of those the order of the input for what is on its way there.

const (
	flyingRank = uint64(1) << 62 // added to the order in the input
	newest     = uint64(math.MaxUint64)
)

// flying is the part of the input that is on its way to the disk: new events
// only, so that their order is the one that they will have in the journal. An
// event leaves when its line is accounted for, some time after the journal
// shows it; what the journal shows and is not in here came before all that is.
type flying struct {
	next    uint64
	rank    map[events.ID]uint64
	outside map[string][]*flight // by the id they came with
}

func newFlying() flying {
	return flying{next: flyingRank, rank: map[events.ID]uint64{}, outside: map[string][]*flight{}}
}

func (t *flying) add(f *flight) {
	t.rank[f.event] = t.next
	t.next++
	t.outside[f.id] = append(t.outside[f.id], f)
}

func (t *flying) remove(f *flight) {
	same := t.outside[f.id]
	i := slices.Index(same, f)
	if i < 0 {
		return // a duplicate, or gone already
	}
	delete(t.rank, f.event)
	if same = slices.Delete(same, i, i+1); len(same) > 0 {
		t.outside[f.id] = same
		return
	}
	delete(t.outside, f.id)
}

// resolve sets the parents of in's draft and tells whether the event is known
// already, in the journal or in flight. The error is a rejection if rejects
// says so.
func (g *ingest) resolve(in *cloudevents.Incoming, f *flight) (known bool, err error) {
	limit, err := g.rank(in.Draft.ID)
	if err != nil {
		return false, err
	}
	if known = limit != 0; !known {
		limit = newest
	}
	for _, token := range in.Parents {
		id, err := g.parent(token, in.Source, limit)
		switch {
		case err == nil:
		case known && errors.Is(err, journal.ErrUnknownParent):
			return known, fmt.Errorf("%w: that one came before there was a parent %q", journal.ErrIDConflict, clip(token))
		default:
			return known, err
		}
		if f.tokens == nil {
			f.tokens = make(map[events.ID]string, len(in.Parents))
		}
		if _, twice := f.tokens[id]; !twice { // an event may be named in both ways
			f.tokens[id] = token
			in.Draft.Parents = append(in.Draft.Parents, events.Ref{ID: id})
		}
	}
	return known, nil
}

// rank tells where an event stands; 0 if there is none.
func (g *ingest) rank(id events.ID) (uint64, error) {
	if r, ok := g.flying.rank[id]; ok {
		return r, nil
	}
	e, err := g.j.ByID(context.Background(), id)
	if errors.Is(err, journal.ErrNotFound) {
		return 0, nil
	}
	return e.Position, err
}

// parent finds the event that a token means to an event of source that stands
// at limit.
func (g *ingest) parent(token, source string, limit uint64) (events.ID, error) {
	own := events.IngestedID(source, token)
	id, err := events.ParseID(token)
	if err != nil {
		id = own
	}
	for _, id := range []events.ID{id, own} {
		r, err := g.rank(id)
		if err != nil {
			return events.ID{}, err
		}
		if r != 0 && r < limit {
			return id, nil
		}
	}

	var found []events.ID
	var sources []string
	add := func(id events.ID, source string) {
		found = append(found, id)
		sources = append(sources, fmt.Sprintf("%s (source %q)", id, clip(source)))
	}
	stored, err := g.j.ByOutsideID(context.Background(), token)
	if err != nil {
		return events.ID{}, err
	}
	for _, e := range stored {
		if _, ok := g.flying.rank[e.ID]; !ok && e.Position < limit {
			add(e.ID, e.Stream)
		}
	}
	for _, f := range g.flying.outside[token] {
		if g.flying.rank[f.event] < limit {
			add(f.event, f.source)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return events.ID{}, fmt.Errorf("%w %q; a parent stands in the journal or earlier in the input", journal.ErrUnknownParent, clip(token))
	}
	const most = 4
	if len(sources) > most {
		sources = append(sources[:most], fmt.Sprintf("and %d more", len(found)-most))
	}
	return events.ID{}, &events.InvalidError{Field: "tokaparents", Reason: fmt.Sprintf(
		"%q is the id of several events; name one by its event id: %s", clip(token), strings.Join(sources, ", "))}
}

// rejects reports whether err is about one line, so that the others can be
// taken.
func rejects(err error) bool {
	for _, target := range []error{
		events.ErrInvalid, intent.ErrEmbedding, journal.ErrIDConflict, journal.ErrUnknownParent,
		actors.ErrOtherBehaviour, actors.ErrUnknownBehaviour,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// reason tells in the words of the input why the journal refused f.
func (f *flight) reason() string {
	if e, ok := errors.AsType[*journal.UnknownParentError](f.err); ok {
		var tokens []string
		for _, id := range e.Parents {
			tokens = append(tokens, fmt.Sprintf("%q", clip(f.tokens[id])))
		}
		return fmt.Sprintf("%v %s: it was rejected itself", journal.ErrUnknownParent, strings.Join(tokens, ", "))
	}
	if errors.Is(f.err, journal.ErrIDConflict) {
		return fmt.Sprintf("id %q of source %q: %v", clip(f.id), clip(f.source), f.err)
	}
	return f.err.Error()
}

// clip keeps reports short whatever the input was.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
