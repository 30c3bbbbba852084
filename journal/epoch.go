package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// An epoch is a life of the journal that ended by itself or by a loss. What
// was written in an epoch after the place where the next one begins is lost,
// and a cursor that points there is refused: the events that stand at those
// positions now are others.

// epochCut says that an epoch goes on after a position.
type epochCut struct {
	epoch uint32
	after uint64
}

func epochKey(epoch uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{logMeta}, epoch)
}

// loadEpochs reads where the epochs began, from the second on.
func (j *Journal) loadEpochs() error {
	j.store.cuts = nil
	return j.eachLogKey([]byte{logMeta, 0}, []byte{logMeta + 1}, func(key, value []byte) error {
		if len(key) != 5 || len(value) != 16 {
			return fmt.Errorf("%w: the beginning of an epoch has %d bytes", ErrCorrupt, len(value))
		}
		j.store.cuts = append(j.store.cuts, epochCut{binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(value)})
		return nil
	})
}

// kept returns up to which position what was written in an epoch is still
// there.
func (s *store) kept(epoch uint32) (cut epochCut, lost bool) {
	for _, c := range s.cuts {
		if c.epoch > epoch && (!lost || c.after < cut.after) {
			cut, lost = c, true
		}
	}
	return cut, lost
}

// checkCursor returns an error that wraps ErrCursor if c points to where this
// journal has not been or is not any more.
func (j *Journal) checkCursor(c Cursor) error {
	if c.Epoch == 0 || c.Epoch > j.Epoch() {
		return fmt.Errorf("%w: the journal is in epoch %d; this is a copy from before, or the cursor is of another journal", ErrCursor, j.Epoch())
	}
	if cut, lost := j.store.kept(c.Epoch); lost && c.Position > cut.after {
		return fmt.Errorf("%w: what epoch %d had after position %d was lost, and epoch %d went on from there; read from %s",
			ErrCursor, c.Epoch, cut.after, cut.epoch, Cursor{cut.epoch, cut.after})
	}
	if end := j.Position(); c.Position > end {
		return fmt.Errorf("%w: it ends at %s; what lay beyond was lost or never was", ErrCursor, Cursor{j.Epoch(), end})
	}
	return nil
}

// Acceptance is what was accepted as lost.
type Acceptance struct {
	Epoch    uint32 `json:"epoch"`    // the new one
	Position uint64 `json:"position"` // where it begins: the last event that is there
	// Lost is what the outside mark or the log says is missing; empty if that
	// is nothing, and then nothing was changed.
	Lost string `json:"lost,omitempty"`
	// SetBack is how many checkpoints stood beyond Position and stand there now.
	// What consumers had of the events that are lost is dropped.
	SetBack int `json:"checkpoints_set_back,omitempty"`
}

// AcceptLoss goes on with a journal that Open refuses with ErrLost, or with
// ErrCorrupt because of a hole in its log: it ends at the last event that is
// there with all before it, a new epoch begins, and the outside mark is written
// anew. What lies after a hole is deleted. Checkpoints beyond the end are set
// back to it, each with a line in the log. A journal from which nothing is
// missing is left as it is.
func AcceptLoss(dir string, opts Options) (Acceptance, error) {
	opts.MustExist = true
	var a Acceptance
	opts.accept = &a
	j, err := Open(dir, opts)
	if err != nil {
		return Acceptance{}, err
	}
	a.Epoch, a.Position = j.Epoch(), j.Position()
	return a, j.Close()
}

// beginEpoch ends the journal at the last event that is there with all before
// it and begins the epoch after all that are known of.
func (j *Journal) beginEpoch(last uint64) (uint64, error) {
	s := j.store
	cut, err := j.dense(last)
	if err != nil {
		return 0, err
	}
	epoch := s.epoch
	for _, path := range s.outside.paths {
		if m, ok, err := readMark(s.fs, path); err == nil && ok && m.journal == s.id {
			epoch = max(epoch, m.epoch)
		}
	}
	epoch++
	b := s.log.NewBatch()
	defer b.Close()
	for _, prefix := range []byte{logRecord, logVector} {
		if err := b.DeleteRange(positionKey(prefix, cut+1), []byte{prefix + 1}, nil); err != nil {
			return 0, err
		}
	}
	// Nobody has dealt with what does not exist.
	err = j.eachLogKey([]byte{logCheckpoint}, []byte{logCheckpoint + 1}, func(key, value []byte) error {
		n, w := binary.Uvarint(key[1:])
		if w <= 0 || n != uint64(len(key)-1-w) {
			return fmt.Errorf("%w: a checkpoint with key %x", ErrCorrupt, key)
		}
		c, err := decodeCheckpoint(string(key[1+w:]), value)
		if err != nil || c.Position <= cut {
			return err
		}
		j.log.Warn("a checkpoint was beyond the last event that is there, and is set back to it", "checkpoint", c.Name, "position", c.Position, "to", cut)
		j.opts.accept.SetBack++
		c.Position = cut
		return b.Set(key, encodeCheckpoint(c, epoch), nil)
	})
	if err != nil {
		return 0, err
	}
	err = j.eachLogKey([]byte{logState}, []byte{logState + 1}, func(key, value []byte) error {
		if len(value) == 40 && tail8(value) <= cut {
			return nil
		}
		return b.Delete(key, nil)
	})
	if err != nil {
		return 0, err
	}
	at := binary.BigEndian.AppendUint64(nil, cut)
	at = binary.BigEndian.AppendUint64(at, uint64(j.opts.Now().UnixNano()))
	err = errors.Join(
		b.Set(epochKey(epoch), at, nil),
		b.Set([]byte{logMeta}, encodeMeta(epoch, s.id), nil),
		// The index may know of what is gone.
		s.wipeIndex(),
	)
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return 0, err
	}
	s.epoch = epoch
	// If we die here, the mark is of an epoch before the store's, and an open
	// takes no offence at it.
	s.outside.written = outerMark{}
	j.log.Info("a new epoch begins", "epoch", epoch, "after", cut)
	return cut, j.loadEpochs()
}

// dense returns the last position that has all before it.
func (j *Journal) dense(last uint64) (uint64, error) {
	next := uint64(1)
	hole := errors.New("hole")
	err := j.eachLogKey([]byte{logRecord}, positionKey(logRecord, last+1), func(key, _ []byte) error {
		if tail8(key) != next {
			return hole
		}
		next++
		return nil
	})
	if errors.Is(err, hole) {
		err = nil
	}
	return next - 1, err
}

// checkEpoch is Verify's: epochs do not decrease, and an event stands in the
// one that its position belongs to.
func (v *verifier) checkEpoch(e *events.Event) {
	epoch := uint32(1)
	for _, c := range v.j.store.cuts {
		if c.after < e.Position {
			epoch = max(epoch, c.epoch)
		}
	}
	if e.Epoch != epoch && len(v.j.store.cuts) > 0 {
		v.problem(e.Position, "epoch %d; the journal has epoch %d there", e.Epoch, epoch)
	}
}
