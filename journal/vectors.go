package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tokaworks/toka/intent"
)

// Embedded is a stored embedding, and the position of its event.
type Embedded struct {
	Position uint64
	Vector   intent.Vector
	Model    ModelChange // that made it, and since when it did; see Journal.Models
}

// Vectors yields the stored embeddings of events after a position, in order of
// position, up to the end that the journal had when it was called. One that was
// added later stands where it was added, at an event of KindIntentEmbedded. It
// holds a bounded part of them in memory; a vector is valid until the next one
// is yielded. An error wraps ErrCorrupt or ErrClosed, or is the context's, and is
// the last that is yielded.
//
// It reads what is stored and does not hold it against the records; Verify does.
func (j *Journal) Vectors(ctx context.Context, after uint64) iter.Seq2[Embedded, error] {
	end := j.Position()
	return func(yield func(Embedded, error) bool) {
		var chunk []Embedded // its memory serves every chunk
		for from := after; from < end; {
			var err error
			if chunk, err = j.vectors(ctx, from, end, chunk); err != nil {
				yield(Embedded{}, err)
				return
			}
			for _, v := range chunk {
				if !yield(v, nil) {
					return
				}
			}
			if len(chunk) < chunkVectors {
				return
			}
			from = chunk[len(chunk)-1].Position
		}
	}
}

// chunkVectors are read at a time: at 768 dimensions, some 400 KiB.
const chunkVectors = 256

// vectors reads the next chunk, using the memory of the last.
func (j *Journal) vectors(ctx context.Context, after, end uint64, old []Embedded) (chunk []Embedded, err error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.leave()
	it, err := j.store.log.NewIter(&pebble.IterOptions{LowerBound: positionKey(logVector, after+1), UpperBound: positionKey(logVector, end+1)})
	if err != nil {
		return nil, fmt.Errorf("log: %w", readError(err))
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	chunk = old[:0]
	for ok := it.First(); ok && len(chunk) < chunkVectors; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("log: %w", readError(err))
		}
		n := len(chunk)
		chunk = append(chunk, Embedded{})
		if n < len(old) {
			chunk[n].Vector = old[n].Vector[:0]
		}
		chunk[n].Position = tail8(it.Key())
		chunk[n].Model = *j.intent.of(chunk[n].Position)
		if chunk[n].Vector, err = appendVector(chunk[n].Vector, value); err != nil {
			return nil, fmt.Errorf("position %d: embedding: %w: %w", chunk[n].Position, ErrCorrupt, err)
		}
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("log: %w", readError(err))
	}
	return chunk, nil
}

// appendVector reads a stored vector of any dimension into the memory of v.
func appendVector(v intent.Vector, stored []byte) (intent.Vector, error) {
	if len(stored)%2 != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no whole number of components", intent.ErrEmbedding, len(stored))
	}
	for i := 0; i < len(stored); i += 2 {
		v = append(v, int16(binary.LittleEndian.Uint16(stored[i:])))
	}
	return v, v.Check(len(v))
}
