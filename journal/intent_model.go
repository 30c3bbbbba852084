package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// ErrModel is wrapped where embeddings of one model meet a journal of another.
var ErrModel = errors.New("embeddings of another model")

// UnnamedModel is what Query.Model calls embeddings that came before any model
// was named.
const UnnamedModel = "unnamed"

// maxDimension is the most that a model may have, and a vector. The first one
// decides on the dimension of a journal: without a limit, on one that no strategy
// takes.
const maxDimension = 1 << 16

// Model is what made the embeddings of a journal.
type Model struct {
	Name      string
	Dimension int
}

func (m Model) check() error {
	if err := events.CheckName("model", m.Name); err != nil {
		return err
	}
	if m.Name == UnnamedModel || m.Dimension <= 0 || m.Dimension > maxDimension {
		return fmt.Errorf("model %q of %d dimensions: %w: a model has another name than that, and 1 to %d dimensions", m.Name, m.Dimension, events.ErrInvalid, maxDimension)
	}
	return nil
}

// String names the model for people.
func (m Model) String() string {
	if m.Name == "" {
		return "a model without a name"
	}
	return fmt.Sprintf("%q, of %d dimensions", m.Name, m.Dimension)
}

// ModelChange says that embeddings after a position are of a model.
type ModelChange struct {
	Position uint64 // of the event that changed the model; 0 for the first model
	Model           // without a name if none was given
}

// Is reports whether the embeddings are of what Query.Model names. Only those of
// the first model can be without a name, also when they get one later.
func (c *ModelChange) Is(name string) bool {
	return c.Name == name || name == UnnamedModel && c.Position == 0
}

// modelIn returns the model of an embedding that lies at a position.
func modelIn(all []ModelChange, position uint64) *ModelChange {
	i := len(all) - 1
	for i > 0 && all[i].Position >= position {
		i--
	}
	return &all[i]
}

// of returns the model of an embedding that lies at a position.
func (s *intentStage) of(position uint64) *ModelChange { return modelIn(*s.models.Load(), position) }

// newest is the model of what is accepted next. Only the committer may act on it.
func (s *intentStage) newest() *ModelChange { return s.of(^uint64(0)) }

// named notes the name of the first model, unless it has one.
func (s *intentStage) named(m Model) {
	s.naming.Lock()
	defer s.naming.Unlock()
	all := slices.Clone(*s.models.Load())
	if all[0].Name == "" {
		all[0].Model = m
		s.models.Store(&all)
	}
}

// changed notes that what comes after a position is of another model.
func (s *intentStage) changed(position uint64, m Model) {
	s.naming.Lock()
	defer s.naming.Unlock()
	all := slices.Clone(*s.models.Load())
	if d := s.dimension.Load(); d > 0 && len(all) == 1 && all[0].Name == "" {
		all[0].Dimension = int(d)
	}
	all = append(all, ModelChange{position, m})
	s.models.Store(&all)
	if s.j.opts.Intents == nil && s.dimension.Load() != none {
		s.dimension.Store(int64(m.Dimension))
	}
}

// changesModel returns what an event changes the model to, if it does.
func (o *intentOrder) changesModel() (m Model, ok bool) {
	m = Model{o.Model, o.Dimension}
	return m, o.kind == KindIntentModel && m.check() == nil
}

// Model returns the model of the embeddings that are accepted now; false if none
// is fixed.
func (j *Journal) Model() (Model, bool) {
	m := j.intent.of(j.mark.load() + 1).Model
	return m, m.Name != ""
}

// Models returns the models that the journal had and has, in order, each with
// the place from which on embeddings are of it.
func (j *Journal) Models() []ModelChange {
	all := *j.intent.models.Load()
	n := len(all)
	for n > 1 && all[n-1].Position > j.mark.load() {
		n--
	}
	return slices.Clone(all[:n])
}

// UseModel says that embeddings of a model are to come. The first one is fixed
// for the journal, as an event; another one is refused from then on with an
// error that wraps ErrModel. See ChangeModel.
func (j *Journal) UseModel(ctx context.Context, m Model) error {
	if err := events.CheckName("model", m.Name); err != nil {
		return err
	}
	s := j.intent
	if d := int(s.dimension.Load()); m.Dimension <= 0 || d > 0 && d != m.Dimension {
		return fmt.Errorf("model %q: %w: it has %d dimensions, the journal's intents have %d", m.Name, ErrModel, m.Dimension, max(d, 0))
	}
	if err := m.check(); err != nil {
		return err
	}
	s.fixing.Lock()
	defer s.fixing.Unlock()
	if have, ok := j.Model(); ok {
		if have != m {
			return fmt.Errorf("model %q of %d dimensions: %w: the journal has those of %q, of %d dimensions; use that model, change the journal's, or use another journal",
				m.Name, m.Dimension, ErrModel, have.Name, have.Dimension)
		}
		return nil
	}
	order := &intentOrder{Model: m.Name, Dimension: m.Dimension}
	_, err := j.order(ctx, KindIntentConfigured, events.IngestedID("toka/intent/model", m.Name), order, "", nil)
	if err == nil {
		s.named(m)
	}
	return err
}

// ChangeModel says that the embeddings that come from now on are of another model,
// as an event. Those of the model before are refused after it. Embeddings of two
// models are never compared: the strategy begins anew at that event, and the
// intents of before keep their events and get no more. An event that came without
// an embedding is embedded later by the model that is in force then.
//
// It needs a strategy that can begin anew: Options.NewIntents, or none. Errors
// wrap ErrModel if the model is the journal's already.
func (j *Journal) ChangeModel(ctx context.Context, m Model) (events.Event, error) {
	s := j.intent
	if err := m.check(); err != nil {
		return events.Event{}, err
	}
	s.fixing.Lock()
	defer s.fixing.Unlock()
	have, _ := j.Model()
	switch {
	case have == m:
		return events.Event{}, fmt.Errorf("model %v: %w: the journal has this model already", m, ErrModel)
	case s.single:
		return events.Event{}, fmt.Errorf("model %v: %w: the strategy cannot begin anew; open the journal with Options.NewIntents", m, ErrModel)
	}
	if err := j.IntentError(); err != nil {
		return events.Event{}, fmt.Errorf("model %v: intents are not assigned: %w", m, err)
	}
	order := &intentOrder{Model: m.Name, Dimension: m.Dimension, Was: have.Name, WasDimension: have.Dimension}
	return j.order(ctx, KindIntentModel, events.ID{}, order, "", nil)
}

// begin makes the strategy for vectors of a dimension: for the first ones, or
// after the model has changed.
func (m *intentMachine) begin(last string, dimension int) error {
	made := m.make(last, dimension)
	if made == nil {
		made = intent.Nil{}
	}
	if d := made.Dimension(); d != 0 && d != dimension {
		return fmt.Errorf("strategy %s takes %d dimensions, the journal has %d", made.Name(), d, dimension)
	}
	m.strategy, m.dimension = made, made.Dimension()
	return nil
}

// remodel lets the strategy begin anew where the model changes.
func (m *intentMachine) remodel(position uint64, to Model) error {
	m.since = position
	if m.make == nil {
		return nil
	}
	last := m.last
	if m.strategy != nil {
		last = m.strategy.Name()
	}
	return m.begin(last, to.Dimension)
}
