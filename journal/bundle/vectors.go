package bundle

import (
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/journal"
)

// vectorReader keeps an embedding until its event comes.
type vectorReader struct {
	model  journal.Model
	at     journal.ImportedVector // the one that was read last; empty after take
	digest events.Digest          // of it
}

// frame takes a frame with a model or an embedding.
func (v *vectorReader) frame(kind byte, body []byte) (err error) {
	if len(v.at.Vector) > 0 {
		return fmt.Errorf("a frame %q where the event of an embedding was expected", kind)
	}
	if kind == frameModel {
		before := v.model
		if v.model, err = parseModel(body); err == nil && v.model == before {
			err = errors.New("the same model again")
		}
		return err
	}
	if v.model.Dimension == 0 {
		return errors.New("an embedding before its model")
	}
	v.at.Model, v.digest = v.model.Name, events.EmbeddingDigest(body)
	v.at.Vector, err = intent.ParseVector(body, v.model.Dimension)
	return err
}

// belongs checks that the embedding that was read is that of an event: none if
// the event has none.
func (v *vectorReader) belongs(e *events.Event) error {
	switch {
	case len(v.at.Vector) == 0 && !e.EmbeddingDigest.IsZero():
		return fmt.Errorf("event %s is there without its embedding", e.ID)
	case len(v.at.Vector) > 0 && v.digest != e.EmbeddingDigest:
		return fmt.Errorf("event %s has an embedding with digest %s, not %s", e.ID, e.EmbeddingDigest.Short(), v.digest.Short())
	}
	return nil
}

func (v *vectorReader) take() journal.ImportedVector {
	at := v.at
	v.at = journal.ImportedVector{}
	return at
}
