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
