package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/events"
)

// holdOperational waits for checkpoints and state digests to be at rest, or
// says why the caller should not wait.
func (j *Journal) holdOperational(ctx context.Context) error {
	select {
	case j.operational <- struct{}{}:
		return nil
	case <-j.failed:
		return j.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (j *Journal) letOperational() { <-j.operational }

// Checkpoint returns a stored checkpoint, or an error that wraps ErrNotFound.
func (j *Journal) Checkpoint(ctx context.Context, name string) (Checkpoint, error) {
	if err := j.enter(ctx); err != nil {
		return Checkpoint{}, err
	}
	defer j.leave()
	if err := j.holdOperational(ctx); err != nil {
		return Checkpoint{}, err
	}
	defer j.letOperational()
	v, closer, err := j.store.log.Get(textKey(nil, logCheckpoint, name))
	if errors.Is(err, pebble.ErrNotFound) {
		return Checkpoint{}, fmt.Errorf("checkpoint %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %q: %w", name, readError(err))
	}
	defer closer.Close()
	return decodeCheckpoint(name, v)
}

func encodeCheckpoint(c Checkpoint, epoch uint32) []byte {
	version := byte(1)
	if len(c.State) > 0 {
		version = 2
	}
	b := binary.BigEndian.AppendUint32([]byte{version}, epoch)
	b = binary.BigEndian.AppendUint64(b, c.Position)
	if version == 2 {
		b = binary.AppendUvarint(b, uint64(len(c.Via)))
	}
	return append(append(b, c.Via...), c.State...)
}

func decodeCheckpoint(name string, v []byte) (Checkpoint, error) {
	if len(v) < 13 || v[0] != 1 && v[0] != 2 {
		return Checkpoint{}, fmt.Errorf("checkpoint %q: %w: %d bytes", name, ErrCorrupt, len(v))
	}
	c := Checkpoint{Name: name, Position: binary.BigEndian.Uint64(v[5:])}
	if v[0] == 1 {
		c.Via = string(v[13:])
		return c, nil
	}
	n, w := binary.Uvarint(v[13:])
	if w <= 0 || n > uint64(len(v)-13-w) {
		return Checkpoint{}, fmt.Errorf("checkpoint %q: %w: %d bytes", name, ErrCorrupt, len(v))
	}
	rest := v[13+w:]
	c.Via, c.State = string(rest[:n]), string(rest[n:])
	return c, nil
}

// Checkpoints yields the stored checkpoints whose names begin with prefix, in
// no order that means anything.
func (j *Journal) Checkpoints(ctx context.Context, prefix string) iter.Seq2[Checkpoint, error] {
	return func(yield func(Checkpoint, error) bool) {
		found, err := j.checkpoints(ctx, prefix)
		for _, c := range found {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(Checkpoint{}, err)
		}
	}
}

func (j *Journal) checkpoints(ctx context.Context, prefix string) (found []Checkpoint, err error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	if err := j.holdOperational(ctx); err != nil {
		return nil, err
	}
	defer j.letOperational()
	err = j.eachLogKey([]byte{logCheckpoint}, []byte{logCheckpoint + 1}, func(key, value []byte) error {
		n, w := binary.Uvarint(key[1:])
		if w <= 0 || n != uint64(len(key)-1-w) {
			return fmt.Errorf("%w: a checkpoint with key %x", ErrCorrupt, key)
		}
		name := string(key[1+w:])
		if !strings.HasPrefix(name, prefix) {
			return nil
		}
		c, err := decodeCheckpoint(name, value)
		found = append(found, c)
		return err
	})
	return found, err
}

// StateDigests yields the stored state digests of a stream, in order of stream
// position.
func (j *Journal) StateDigests(ctx context.Context, stream string) iter.Seq2[StateDigest, error] {
	return func(yield func(StateDigest, error) bool) {
		if err := j.enter(ctx); err != nil {
			yield(StateDigest{}, err)
			return
		}
		if err := j.holdOperational(ctx); err != nil {
			j.leave()
			yield(StateDigest{}, err)
			return
		}
		var found []StateDigest
		prefix := textKey(nil, logState, stream)
		err := j.eachLogKey(prefix, keyAfter(prefix), func(key, value []byte) error {
			if len(value) != 40 {
				return fmt.Errorf("state digest of stream %q: %w: %d bytes", stream, ErrCorrupt, len(value))
			}
			found = append(found, StateDigest{
				Stream: stream, StreamPosition: tail8(key),
				Digest: events.Digest(value[:32]), Position: tail8(value),
			})
			return nil
		})
		j.letOperational()
		j.leave()
		for _, d := range found {
			if !yield(d, nil) {
				return
			}
		}
		if err != nil {
			yield(StateDigest{}, err)
		}
	}
}
