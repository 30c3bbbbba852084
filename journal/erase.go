package journal

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
)

// sealed returns d with its payload encrypted for its subject.
func (j *Journal) sealed(d *events.Draft) (*events.Draft, error) {
	if err := d.Validate(); err != nil {
		return nil, err // before a key is drawn
	}
	out := *d
	var err error
	out.Payload, err = j.keys.seal(d.SubjectKey, d.Payload)
	return &out, err
}

// KindErased is the kind of the event that Erase leaves, in stream
// StreamErased, with the name of the subject key as its payload.
const (
	KindErased   = "toka.erased"
	StreamErased = "$erased"
)

// Erase destroys the key of a subject: what was encrypted for it cannot be read
// any more, here or in any copy of the log, and nothing is encrypted for it
// again. Digests, links and proofs hold. That it was erased is journaled.
// Backups that were taken before still hold the key. Errors wrap ErrNotFound if
// nothing was ever encrypted for the subject.
func (j *Journal) Erase(ctx context.Context, subject string) error {
	if err := j.stop(); err != nil {
		return err
	}
	if err := events.CheckName("subject key", subject); err != nil {
		return err
	}
	if err := j.keys.erase(subject); err != nil {
		return err
	}
	// If we die here, the next Erase says it.
	payload, err := json.Marshal(struct {
		SubjectKey string `json:"subject_key"`
	}{subject})
	if err != nil {
		return err
	}
	_, err = j.Append(ctx, Write{
		Authority: authority.System(),
		Events: []events.Draft{{
			ID: events.IngestedID("toka/erased", subject), Stream: StreamErased, Kind: KindErased, SchemaVersion: 1,
			ContentType: events.ContentTypeJSON, Payload: payload,
		}},
	})
	if err != nil {
		return fmt.Errorf("the key of subject %q is destroyed; journaling that: %w", subject, err)
	}
	return nil
}
