package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/authority"
	"github.com/tokaworks/toka/journal"
)

// Imported is what became of the events of a bundle.
type Imported struct {
	Imported   uint64 `json:"imported"`
	Duplicates uint64 `json:"duplicates"` // they were in the journal before
	LeftOut    uint64 `json:"left_out"`   // they are of the system's own streams
	// Embeddings is how many were stored with their embedding, and OtherModel
	// how many without theirs, because it is of another model than the journal's.
	Embeddings uint64 `json:"embeddings,omitempty"`
	OtherModel uint64 `json:"other_model,omitempty"`
}

// flight bounds how many events are on their way to the disk at a time; they
// share syncs.
const flight = 1024

// Import verifies a bundle, as Verify does, and then stores its events. It
// reads r twice. Embeddings of another model than the journal's are left out: they
// are no part of what makes an event the same one (see journal.ErrModel). Each event is a write of its own: after an error, what came
// before it is stored, and importing again goes on. Errors are those of Verify
// and of journal.Journal.Append.
func Import(ctx context.Context, r io.ReadSeeker, j *journal.Journal, o VerifyOptions) (Imported, error) {
	var n Imported
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return n, err
	}
	if _, err := Verify(r, o); err != nil {
		return n, err
	}
	if _, err := r.Seek(start, io.SeekStart); err != nil {
		return n, err
	}
	type outcome struct {
		duplicate bool
		given     bool // an embedding was
		kept      bool
		err       error
	}
	// Every write that was submitted sends one outcome, and there is room for
	// all: nobody who answers has to wait.
	outcomes := make(chan outcome, flight)
	under := 0
	take := func(out outcome) error {
		under--
		switch {
		case out.err != nil:
		case out.duplicate:
			n.Duplicates++
		default:
			n.Imported++
			switch {
			case out.kept:
				n.Embeddings++
			case out.given:
				n.OtherModel++
			}
		}
		return out.err
	}
	_, err = read(r, o, func(e events.Event, v journal.ImportedVector) error {
		if strings.HasPrefix(e.Stream, "$") {
			n.LeftOut++
			return nil
		}
		if under == flight {
			if err := take(<-outcomes); err != nil {
				return err
			}
		}
		w := journal.Write{Imported: []events.Event{e}, Authority: authority.System()}
		given := len(v.Vector) > 0
		if given {
			w.ImportedVectors = []journal.ImportedVector{v}
		}
		err := j.Submit(ctx, w, func(r journal.Receipt, err error) {
			if err != nil {
				err = fmt.Errorf("import event %s: %w", e.ID, err)
			}
			kept := err == nil && !r.Events[0].EmbeddingDigest.IsZero()
			outcomes <- outcome{r.Duplicate, given, kept, err}
		})
		if err == nil {
			under++
		}
		return err
	})
	for under > 0 {
		err = errors.Join(err, take(<-outcomes))
	}
	return n, err
}
