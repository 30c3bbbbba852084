package journal

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tokaworks/toka/events"
)

// imported takes an event over from another journal, if it is what its digests
// say: both are computed anew, and all that a draft may not be is refused.
func (r *request) imported(i int, given *events.Event) error {
	d := events.Draft{
		ID: given.ID, Stream: given.Stream, Kind: given.Kind, SchemaVersion: given.SchemaVersion, Time: given.Time,
		ContentType: given.ContentType, Payload: slices.Clone(given.Payload), Parents: given.Parents, Trigger: given.Trigger,
		Correlation: given.Correlation, Extensions: maps.Clone(given.Extensions), Trace: given.Trace,
	}
	e, err := d.Unlinked(given.ID)
	if err != nil {
		return err
	}
	if e.SubjectKey = given.SubjectKey; e.SubjectKey != "" {
		if err := events.CheckName("subject key", e.SubjectKey); err != nil {
			return err
		}
	}
	if given.PayloadState == events.PayloadPruned && len(given.Payload) == 0 {
		e.PayloadDigest, e.PayloadState = given.PayloadDigest, given.PayloadState
	}
	if e.PayloadDigest != given.PayloadDigest {
		return fmt.Errorf("import event %s: %w: its payload has digest %s, not %s", e.ID, events.ErrInvalid, e.PayloadDigest.Short(), given.PayloadDigest.Short())
	}
	if err := e.SetParents(given.Parents); err != nil {
		return err
	}
	if e.Digest != given.Digest {
		return fmt.Errorf("import event %s: %w: it has digest %s, not %s", e.ID, events.ErrInvalid, e.Digest.Short(), given.Digest.Short())
	}
	r.sealed[i], r.slots[i] = e, slot{hashed: true, foreign: true}
	r.bytes += 512 + int64(len(e.Payload))
	return nil
}

// importedVector takes over the embedding of the i-th event, if it is one.
func (r *request) importedVector(i int, given ImportedVector) error {
	if len(given.Vector) == 0 {
		return nil
	}
	e, sl := &r.sealed[i], &r.slots[i]
	if e.SubjectKey != "" {
		return fmt.Errorf("import event %s: %w: an event under a subject key has no embedding", e.ID, events.ErrInvalid)
	}
	if given.Model != "" {
		if err := (Model{given.Model, len(given.Vector)}).check(); err != nil {
			return fmt.Errorf("import event %s: %w", e.ID, err)
		}
	}
	if err := given.Vector.Check(len(given.Vector)); err != nil {
		return fmt.Errorf("import event %s: %w", e.ID, err)
	}
	sl.vector, sl.model, r.embeds = slices.Clone(given.Vector), given.Model, true
	e.EmbeddingDigest = events.EmbeddingDigest(sl.vector.Bytes())
	r.bytes += 2 * int64(len(sl.vector))
	return nil
}

// leaveOut takes those embeddings from imported events that are not of the
// journal's model. Only the committer knows which model that is.
func (j *Journal) leaveOut(r *request) {
	if !r.slots[0].foreign {
		return // imported events come alone
	}
	r.embeds = false
	for i := range r.slots {
		sl := &r.slots[i]
		if len(sl.vector) == 0 {
			continue
		}
		one := request{sealed: r.sealed[i : i+1], slots: r.slots[i : i+1]}
		if j.intent.fits(&one) != nil {
			sl.vector, r.sealed[i].EmbeddingDigest = nil, events.Digest{}
			continue
		}
		r.embeds = true
	}
}
