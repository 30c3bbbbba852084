package events

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/zeebo/blake3"
)

// What follows is part of the stored format and must not be changed: a new
// meaning needs a new version byte and a new domain tag. doc.go draws the
// layout.
const (
	tagPayload   = "toka/payload/1\x00\x00"
	tagCausal    = "toka/causal/1\x00\x00\x00"
	tagRecord    = "toka/record/1\x00\x00\x00"
	tagEmbedding = "toka/embed/1\x00\x00\x00\x00"
	tagIngested  = "toka/ingest/1\x00\x00\x00"
	tagEmitted   = "toka/emit/1\x00\x00\x00\x00\x00"
	tagIntent    = "toka/intent/1\x00\x00\x00"
	tagEffect    = "toka/effect/1\x00\x00\x00"

	causalVersion = 1
	recordVersion = 1

	flagInline    = 1
	flagEmbedding = 2
	flagTrace     = 4
	flagPruned    = 8
)

func compareDigests(a, b Digest) int { return bytes.Compare(a[:], b[:]) }

// PayloadDigest returns the digest of a payload as given.
func PayloadDigest(payload []byte) Digest { return tagged(tagPayload, payload) }

// EmbeddingDigest returns the digest of an embedding in its stored form (see
// the journal for that form).
func EmbeddingDigest(stored []byte) Digest { return tagged(tagEmbedding, stored) }

// hashing is what one digest needs, kept for the next one. The one-shot
// functions of the hash keep their state on the stack, some kilobytes of it:
// with a thousand writers that sleep between two appends, growing their stacks
// again after each garbage collection costs more than the hashing.
type hashing struct {
	h   *blake3.Hasher
	buf []byte
	sum [32]byte
}

var hashers = sync.Pool{New: func() any { return &hashing{h: blake3.New(), buf: make([]byte, 0, 512)} }}

// digest returns the hash of head and tail as one string.
func (s *hashing) digest(head, tail []byte) Digest {
	s.h.Reset()
	_, _ = s.h.Write(head)
	_, _ = s.h.Write(tail)
	s.h.Sum(s.sum[:0])
	return s.sum
}

// tagged hashes tag and b as one string.
func tagged(tag string, b []byte) Digest {
	s := hashers.Get().(*hashing)
	defer hashers.Put(s)
	s.buf = append(s.buf[:0], tag...)
	return s.digest(s.buf, b)
}

func (e *Event) causalDigest() Digest {
	s := hashers.Get().(*hashing)
	defer hashers.Put(s)
	s.buf = appendCausal(append(s.buf[:0], tagCausal...), e)
	return s.digest(s.buf, nil)
}

// RecordHash returns the digest of the whole stored record: the causal digest
// and the place. It is the leaf that stands for the event where a journal as a
// whole is committed to.
func (e *Event) RecordHash() Digest {
	s := hashers.Get().(*hashing)
	defer hashers.Put(s)
	buf := append(s.buf[:0], tagRecord...)
	buf = append(buf, e.Digest[:]...)
	buf = binary.BigEndian.AppendUint64(buf, e.Position)
	buf = binary.BigEndian.AppendUint64(buf, e.StreamPosition)
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.RecordTime.UnixNano()))
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.Epoch))
	buf = append(buf, e.EmbeddingDigest[:]...)
	s.buf = appendText(buf, e.Trace)
	return s.digest(s.buf, nil)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendCausal(b []byte, e *Event) []byte {
	b = append(b, causalVersion)
	b = append(b, e.ID[:]...)
	b = appendText(b, e.Stream)
	b = appendText(b, e.Kind)
	b = binary.AppendUvarint(b, uint64(e.SchemaVersion))
	if e.Time.IsZero() {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = binary.BigEndian.AppendUint64(b, uint64(e.Time.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(e.Time.Nanosecond()))
	}
	b = appendText(b, e.ContentType)
	b = append(b, e.PayloadDigest[:]...)
	b = appendText(b, e.SubjectKey)
	b = appendText(b, e.Correlation)
	b = binary.AppendUvarint(b, e.triggerIndex())
	b = binary.AppendUvarint(b, uint64(len(e.Extensions)))
	if len(e.Extensions) > 0 {
		keys := make([]string, 0, 8)
		for k := range e.Extensions {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			b = appendText(b, k)
			b = appendText(b, e.Extensions[k])
		}
	}
	b = binary.AppendUvarint(b, uint64(len(e.Parents)))
	for i := range e.Parents {
		b = append(b, e.Parents[i].Digest[:]...)
	}
	return b
}

// AppendRecord appends the stored form of e to b. payloadAt is the position
// of the record that holds the payload, or 0 to store it inline here. Of a
// payload that is pruned that fact alone is stored.
func AppendRecord(b []byte, e *Event, payloadAt uint64) []byte {
	var flags byte
	pruned := payloadAt == 0 && e.PayloadState == PayloadPruned
	switch {
	case pruned:
		flags |= flagPruned
	case payloadAt == 0:
		flags |= flagInline
	}
	if !e.EmbeddingDigest.IsZero() {
		flags |= flagEmbedding
	}
	if e.Trace != "" {
		flags |= flagTrace
	}
	b = append(b, recordVersion, flags)
	b = binary.AppendUvarint(b, uint64(e.Epoch))
	b = binary.AppendUvarint(b, e.StreamPosition)
	b = binary.BigEndian.AppendUint64(b, uint64(e.RecordTime.UnixNano()))
	b = append(b, e.Digest[:]...)
	if flags&flagEmbedding != 0 {
		b = append(b, e.EmbeddingDigest[:]...)
	}
	if flags&flagTrace != 0 {
		b = appendText(b, e.Trace)
	}
	// The length of the body is needed before the body. It nearly always
	// takes two bytes, so room for two is left and the body moved if it does
	// not.
	at := len(b)
	b = append(b, 0, 0)
	b = appendCausal(b, e)
	n := uint64(len(b) - at - 2)
	var length [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(length[:], n)
	if w != 2 {
		b = slices.Replace(b, at, at+2, length[:w]...)
	} else {
		copy(b[at:], length[:w])
	}
	for i := range e.Parents {
		b = binary.AppendUvarint(b, e.Parents[i].Position)
		b = append(b, e.Parents[i].ID[:]...)
	}
	if pruned {
		return b
	}
	if payloadAt != 0 {
		return binary.AppendUvarint(b, payloadAt)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Payload)))
	return append(b, e.Payload...)
}
