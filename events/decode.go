package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"
)

// ErrMalformed is wrapped by every error about stored bytes that AppendRecord
// would not have written.
var ErrMalformed = errors.New("malformed record")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// DecodeRecord reads what AppendRecord wrote for the event at position. Where
// the payload lies in another record, payloadAt is that record's position and
// e.Payload is nil; where it is pruned, e.PayloadState says so. The result shares no memory with b. The causal digest is
// taken as stored: CheckRecord recomputes it.
//
// Errors wrap ErrMalformed.
func DecodeRecord(position uint64, b []byte) (e Event, payloadAt uint64, err error) {
	// One copy serves every string and the payload: text is a view into it.
	// Nothing writes to it but the caller's own use of Payload, which lies
	// behind the last text; a full slice expression below keeps an append to
	// the payload away from it.
	buf := make([]byte, len(b))
	copy(buf, b)
	r := reader{b: buf}
	payloadAt = r.record(&e, position)
	if r.err == nil && len(r.b) != 0 {
		r.fail("%d bytes after the end", len(r.b))
	}
	if r.err != nil {
		return Event{}, 0, fmt.Errorf("position %d: %w", position, r.err)
	}
	return e, payloadAt, nil
}

// CheckRecord decodes b and recomputes its causal digest and, where the
// payload is inline, its payload digest. Errors wrap ErrMalformed.
func CheckRecord(position uint64, b []byte) (e Event, payloadAt uint64, err error) {
	e, payloadAt, err = DecodeRecord(position, b)
	if err != nil {
		return Event{}, 0, err
	}
	if got := e.causalDigest(); got != e.Digest {
		return e, payloadAt, fmt.Errorf("position %d: %w: event %s: stored digest %s, recomputed %s",
			position, ErrMalformed, e.ID, e.Digest.Short(), got.Short())
	}
	if payloadAt == 0 && e.PayloadState != PayloadPruned {
		if got := PayloadDigest(e.Payload); got != e.PayloadDigest {
			return e, payloadAt, fmt.Errorf("position %d: %w: event %s: payload digest %s, recomputed %s",
				position, ErrMalformed, e.ID, e.PayloadDigest.Short(), got.Short())
		}
	}
	return e, payloadAt, nil
}

// reader takes fields off the front of b; after the first error it yields
// zeroes, so that a decoder is a plain list of fields.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.b = nil
}

func (r *reader) take(n uint64, field string) []byte {
	if uint64(len(r.b)) < n {
		r.fail("%s: %d bytes wanted, %d left", field, n, len(r.b))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte(field string) byte {
	if v := r.take(1, field); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint64(field string) uint64 {
	if v := r.take(8, field); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// uvarint reads the shortest form only.
func (r *reader) uvarint(field string, most uint64) uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 && uint64(r.b[0]) <= most { // nearly always
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || (n > 1 && r.b[n-1] == 0) {
		r.fail("%s: not a shortest-form varint", field)
		return 0
	}
	if v > most {
		r.fail("%s: %d is over %d", field, v, most)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text(field string, most uint64) string {
	v := r.take(r.uvarint(field, most), field)
	if len(v) == 0 {
		return ""
	}
	return unsafe.String(&v[0], len(v))
}

func (r *reader) check(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %w", ErrMalformed, err)
		r.b = nil
	}
}

func (r *reader) digest(field string) (d Digest) {
	copy(d[:], r.take(32, field))
	return d
}

func (r *reader) id(field string) (id ID) {
	copy(id[:], r.take(16, field))
	return id
}

func (r *reader) record(e *Event, position uint64) (payloadAt uint64) {
	if v := r.byte("record version"); v != recordVersion {
		r.fail("record version %d; this program reads %d", v, recordVersion)
		return 0
	}
	flags := r.byte("flags")
	if flags&^(flagInline|flagEmbedding|flagTrace|flagPruned) != 0 || flags&(flagInline|flagPruned) == flagInline|flagPruned {
		r.fail("unknown flags %#x", flags)
	}
	if flags&flagPruned != 0 {
		e.PayloadState = PayloadPruned
	}
	e.Position = position
	e.Epoch = uint32(r.uvarint("epoch", math.MaxUint32))
	e.StreamPosition = r.uvarint("stream position", math.MaxUint64)
	e.RecordTime = time.Unix(0, int64(r.uint64("record time"))).UTC()
	e.Digest = r.digest("causal digest")
	if flags&flagEmbedding != 0 {
		if e.EmbeddingDigest = r.digest("embedding digest"); e.EmbeddingDigest.IsZero() {
			r.fail("an embedding without a digest")
		}
	}
	if flags&flagTrace != 0 {
		if e.Trace = r.text("trace", MaxName); e.Trace == "" {
			r.fail("an empty trace")
		}
		r.check(checkOptional("trace", e.Trace))
	}
	body := reader{b: r.take(r.uvarint("body length", math.MaxUint32), "body"), err: r.err}
	trigger := body.causal(e)
	if body.err == nil && len(body.b) != 0 {
		body.fail("%d bytes after the causal body", len(body.b))
	}
	if body.err != nil {
		r.err = body.err
		return 0
	}
	for i := range e.Parents {
		e.Parents[i].Position = r.uvarint("parent position", math.MaxUint64)
		e.Parents[i].ID = r.id("parent id")
		if e.Parents[i].ID.IsZero() {
			r.fail("a parent without an id")
			return 0
		}
		if e.Parents[i].ID == e.ID {
			r.fail("event %s names itself as a parent", e.ID)
			return 0
		}
		for j := range i {
			if e.Parents[j].ID == e.Parents[i].ID {
				r.fail("parent %s appears twice", e.Parents[i].ID)
				return 0
			}
		}
	}
	if trigger > 0 {
		e.Trigger = e.Parents[trigger-1].ID
	}
	if flags&flagPruned != 0 {
		return 0
	}
	if flags&flagInline == 0 {
		if payloadAt = r.uvarint("payload position", math.MaxUint64); payloadAt == 0 {
			r.fail("a payload at position 0")
		}
		return payloadAt
	}
	if n := r.uvarint("payload length", MaxPayload); n > 0 {
		e.Payload = r.take(n, "payload")
	}
	return 0
}

func (r *reader) causal(e *Event) (trigger uint64) {
	if v := r.byte("causal version"); v != causalVersion {
		r.fail("causal version %d; this program reads %d", v, causalVersion)
		return 0
	}
	if e.ID = r.id("id"); e.ID.IsZero() {
		r.fail("an event without an id")
	}
	e.Stream = r.text("stream", MaxName)
	r.check(CheckStream(e.Stream))
	e.Kind = r.text("kind", MaxName)
	r.check(CheckKind(e.Kind))
	e.SchemaVersion = uint32(r.uvarint("schema version", math.MaxUint32))
	switch flag := r.byte("time"); flag {
	case 0:
	case 1:
		sec := int64(r.uint64("time"))
		var nsec uint32
		if v := r.take(4, "time"); v != nil {
			nsec = binary.BigEndian.Uint32(v)
		}
		e.Time = time.Unix(sec, int64(nsec)).UTC()
		r.check(checkTime(e.Time))
		if nsec >= 1e9 || e.Time.IsZero() || e.Time.Unix() != sec {
			r.fail("time: %d s %d ns is not the form it is written in", sec, nsec)
		}
	default:
		r.fail("time: flag %d", flag)
	}
	e.ContentType = r.text("content type", MaxName)
	r.check(checkOptional("content type", e.ContentType))
	e.PayloadDigest = r.digest("payload digest")
	e.SubjectKey = r.text("subject key", MaxName)
	r.check(checkOptional("subject key", e.SubjectKey))
	e.Correlation = r.text("correlation", MaxName)
	r.check(checkOptional("correlation", e.Correlation))
	trigger = r.uvarint("trigger", MaxParents)
	r.extensions(e)
	n := r.uvarint("parents", MaxParents)
	if trigger > n {
		r.fail("trigger %d of %d parents", trigger, n)
	}
	if r.err != nil || n == 0 {
		return trigger
	}
	raw := r.take(n*32, "parents")
	if raw == nil {
		return 0
	}
	e.Parents = make([]Ref, n)
	for i := range e.Parents {
		e.Parents[i].Digest = Digest(raw[i*32:])
		if i > 0 && compareDigests(e.Parents[i-1].Digest, e.Parents[i].Digest) >= 0 {
			r.fail("parents are not in ascending order")
			return 0
		}
	}
	if e.Parents[0].Digest.IsZero() {
		r.fail("a parent without a digest")
	}
	return trigger
}

func (r *reader) extensions(e *Event) {
	n := r.uvarint("extensions", MaxExtensions)
	if n == 0 {
		return
	}
	e.Extensions = make(map[string]string, n)
	last, total := "", 0
	for range n {
		if r.err != nil {
			return
		}
		k := r.text("extension key", 64)
		v := r.text("extension value", MaxExtensions)
		r.check(checkExtension(k, v))
		if k <= last {
			r.fail("extension keys are not in ascending order")
		}
		last, total = k, total+len(k)+len(v)
		if total > MaxExtensions {
			r.fail("extensions: over %d bytes", MaxExtensions)
		}
		e.Extensions[k] = v
	}
}
