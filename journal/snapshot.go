package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/blake3"

	"github.com/tokaworks/toka/events"
)

// Snapshot is what somebody made of a stream up to one of its events, kept so
// that the stream need not be read from its beginning. It is derived: it may be
// gone at any time, and a reader must be able to do without.
type Snapshot struct {
	Stream         string
	StreamPosition uint64
	// Digest is the causal digest of the event at StreamPosition. SaveSnapshot
	// fills it in, and refuses another one.
	Digest events.Digest
	// Schema says how to read State, by what and in which version it was
	// written, as in "order/3". Who asks for one schema is not given another.
	Schema string
	State  []byte
}

// MaxSnapshot is the most bytes that the state of a snapshot may have.
const MaxSnapshot = 16 << 20

// SaveSnapshot keeps s beside the journal and drops the oldest of its stream,
// so that Options.KeepSnapshots remain. The event that it stands on must be
// durable. Errors wrap events.ErrInvalid, ErrNotFound, ErrClosed, ErrFatal or
// the context's error.
func (j *Journal) SaveSnapshot(ctx context.Context, s Snapshot) error {
	if err := events.CheckStream(s.Stream); err != nil {
		return err
	}
	if err := events.CheckName("schema", s.Schema); err != nil {
		return err
	}
	if len(s.State) > MaxSnapshot {
		return fmt.Errorf("snapshot of stream %q: %w: %d bytes; the limit is %d", s.Stream, events.ErrInvalid, len(s.State), MaxSnapshot)
	}
	s.State = bytes.Clone(s.State)
	return j.changeIndex(ctx, func(b *pebble.Batch) error {
		d, err := j.digestAt(s.Stream, s.StreamPosition)
		if err != nil {
			return err
		}
		if !s.Digest.IsZero() && s.Digest != d {
			return fmt.Errorf("snapshot of stream %q: %w: event %d has digest %s, not %s",
				s.Stream, events.ErrInvalid, s.StreamPosition, d.Short(), s.Digest.Short())
		}
		s.Digest = d
		key := textPositionKey(nil, idxSnapshot, s.Stream, s.StreamPosition)
		if err := b.Set(key, encodeSnapshot(key, s), nil); err != nil {
			return err
		}
		kept := 1
		prefix := textKey(nil, idxSnapshot, s.Stream)
		return walk(j.store.index, prefix, keyAfter(prefix), true, func(k, _ []byte) error {
			if bytes.Equal(k, key) {
				return nil
			}
			if kept++; kept > j.opts.KeepSnapshots {
				return b.Delete(k, nil)
			}
			return nil
		})
	})
}

// LatestSnapshot returns the newest snapshot of a stream with a schema, or an
// error that wraps ErrNotFound. One that is damaged, or that stands on an
// event which this journal does not hold there, is passed over.
func (j *Journal) LatestSnapshot(ctx context.Context, stream, schema string) (Snapshot, error) {
	if err := j.enter(ctx); err != nil {
		return Snapshot{}, err
	}
	defer j.leave()
	var found Snapshot
	prefix := textKey(nil, idxSnapshot, stream)
	err := walk(j.store.index, prefix, keyAfter(prefix), true, func(key, value []byte) error {
		s, ok := decodeSnapshot(key, value)
		if !ok || s.Schema != schema {
			return nil
		}
		s.Stream, s.StreamPosition = stream, tail8(key)
		if d, err := j.digestAt(stream, s.StreamPosition); err != nil || d != s.Digest {
			return nil //nolint:nilerr // a snapshot that stands on nothing is as good as none
		}
		found = s
		return errFull
	})
	switch {
	case found.Stream != "":
		return found, nil
	case err != nil:
		return found, fmt.Errorf("snapshot of stream %q: %w", stream, err)
	}
	return found, fmt.Errorf("snapshot of stream %q with schema %q: %w", stream, schema, ErrNotFound)
}

// DropSnapshots deletes the snapshots of a stream, or all of them if stream is
// empty.
func (j *Journal) DropSnapshots(ctx context.Context, stream string) error {
	prefix := []byte{idxSnapshot}
	if stream != "" {
		prefix = textKey(nil, idxSnapshot, stream)
	}
	return j.changeIndex(ctx, func(b *pebble.Batch) error { return b.DeleteRange(prefix, keyAfter(prefix), nil) })
}

// changeIndex writes what build puts into a batch. A change that the disk
// refuses never returns, so it is waited for apart.
func (j *Journal) changeIndex(ctx context.Context, build func(b *pebble.Batch) error) error {
	if err := j.stop(); err != nil {
		return err
	}
	if err := j.enter(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer j.leave()
		b := j.store.index.NewBatch()
		defer b.Close()
		err := build(b)
		if err == nil {
			err = b.Commit(pebble.NoSync)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-j.failed:
		return j.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// digestAt returns the causal digest of a durable event by its place in its
// stream.
func (j *Journal) digestAt(stream string, streamPosition uint64) (events.Digest, error) {
	var found []uint64
	if streamPosition > 0 {
		var err error
		if found, err = j.streamPositions(stream, streamPosition-1, j.mark.load(), 1); err != nil {
			return events.Digest{}, err
		}
	}
	if len(found) == 0 {
		return events.Digest{}, fmt.Errorf("stream %q: event %d: %w", stream, streamPosition, ErrNotFound)
	}
	e, _, err := j.record(found[0])
	if err == nil && (e.Stream != stream || e.StreamPosition != streamPosition) {
		err = missing(found[0])
	}
	return e.Digest, err
}

// A snapshot's value is its checksum over the key and what follows, the digest
// it stands on, the schema and the state.
func encodeSnapshot(key []byte, s Snapshot) []byte {
	v := make([]byte, 16, 16+32+1+len(s.Schema)+len(s.State))
	v = append(v, s.Digest[:]...)
	v = binary.AppendUvarint(v, uint64(len(s.Schema)))
	v = append(append(v, s.Schema...), s.State...)
	sum := snapshotSum(key, v[16:])
	copy(v, sum[:])
	return v
}

func decodeSnapshot(key, v []byte) (s Snapshot, ok bool) {
	if len(v) < 16+32+1 || [16]byte(v) != snapshotSum(key, v[16:]) {
		return s, false
	}
	copy(s.Digest[:], v[16:])
	v = v[48:]
	n, w := binary.Uvarint(v)
	if w <= 0 || n > uint64(len(v)-w) {
		return s, false
	}
	s.Schema, s.State = string(v[w:w+int(n)]), slices.Clone(v[w+int(n):])
	return s, true
}

func snapshotSum(key, v []byte) [16]byte {
	h := blake3.New()
	_, _ = h.Write(key)
	_, _ = h.Write(v)
	return [16]byte(h.Sum(nil))
}
