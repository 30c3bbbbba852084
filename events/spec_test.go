package events_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/events"
)

// This file writes the format down a second time, row by row from the
// drawings in doc.go and without the package's encoder, so that an error has
// to be made twice to go unnoticed.

// vector is one row of testdata/golden.json: what an event is made of and what
// comes out. Digests, payloads and records are hexadecimal.
type vector struct {
	Name            string            `json:"name"`
	ID              string            `json:"id"`
	Stream          string            `json:"stream"`
	Kind            string            `json:"kind"`
	SchemaVersion   uint32            `json:"schema_version,omitempty"`
	Time            string            `json:"time,omitempty"` // RFC 3339; empty: absent
	ContentType     string            `json:"content_type,omitempty"`
	Payload         string            `json:"payload,omitempty"`
	SubjectKey      string            `json:"subject_key,omitempty"`
	Parents         []vectorParent    `json:"parents,omitempty"` // in any order
	Trigger         string            `json:"trigger,omitempty"`
	Correlation     string            `json:"correlation,omitempty"`
	Extensions      map[string]string `json:"extensions,omitempty"`
	Trace           string            `json:"trace,omitempty"`
	EmbeddingDigest string            `json:"embedding_digest,omitempty"`
	Position        uint64            `json:"position"`
	StreamPosition  uint64            `json:"stream_position"`
	Epoch           uint32            `json:"epoch"`
	RecordTime      string            `json:"record_time"`
	PayloadAt       uint64            `json:"payload_at,omitempty"`

	PayloadDigest string `json:"payload_digest"`
	CausalDigest  string `json:"causal_digest"`
	RecordHash    string `json:"record_hash"`
	Record        string `json:"record"`
}

type vectorParent struct {
	ID       string `json:"id"`
	Digest   string `json:"digest"`
	Position uint64 `json:"position,omitempty"`
}

// row is one row of a drawing: what it is called here, and its bytes.
type row struct {
	name  string
	bytes []byte
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func fixed(n int, v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v)[8-n:] }

// uv writes a varint from its definition: seven bits a byte, low bits first,
// the top bit set on all but the last.
func uv(v uint64) []byte {
	var b []byte
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func text(s string) []byte { return append(uv(uint64(len(s))), s...) }

func specTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

// specParents returns the parents as the causal body has them.
func specParents(v vector) []vectorParent {
	ps := slices.Clone(v.Parents)
	slices.SortFunc(ps, func(a, b vectorParent) int { return strings.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(ps, func(a, b vectorParent) bool { return a.Digest == b.Digest })
}

func specBody(v vector) []row {
	when := []byte{0}
	if v.Time != "" {
		t := specTime(v.Time)
		when = slices.Concat([]byte{1}, fixed(8, uint64(t.Unix())), fixed(4, uint64(t.Nanosecond())))
	}
	extensions := uv(uint64(len(v.Extensions)))
	keys := []string{}
	for k := range v.Extensions {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		extensions = slices.Concat(extensions, text(k), text(v.Extensions[k]))
	}
	parents, trigger := uv(uint64(len(specParents(v)))), 0
	for i, p := range specParents(v) {
		parents = append(parents, unhex(p.Digest)...)
		if p.ID == v.Trigger {
			trigger = i + 1
		}
	}
	payload := tagSum("toka/payload/1", unhex(v.Payload)...)
	return []row{
		{"format version", []byte{1}},
		{"id", unhex(v.ID)},
		{"stream", text(v.Stream)},
		{"kind", text(v.Kind)},
		{"schema version", uv(uint64(v.SchemaVersion))},
		{"event time", when},
		{"content type", text(v.ContentType)},
		{"payload digest", payload[:]},
		{"subject key id", text(v.SubjectKey)},
		{"correlation", text(v.Correlation)},
		{"trigger", uv(uint64(trigger))},
		{"extensions", extensions},
		{"parents", parents},
	}
}

func specRecord(v vector) []row {
	flags := byte(0)
	if v.PayloadAt == 0 {
		flags += 1
	}
	if v.EmbeddingDigest != "" {
		flags += 2
	}
	if v.Trace != "" {
		flags += 4
	}
	digest := specDigest(v)
	rows := []row{
		{"record version", []byte{1}},
		{"flags", []byte{flags}},
		{"epoch", uv(uint64(v.Epoch))},
		{"stream position", uv(v.StreamPosition)},
		{"record time", fixed(8, uint64(specTime(v.RecordTime).UnixNano()))},
		{"causal digest", digest[:]},
	}
	if v.EmbeddingDigest != "" {
		rows = append(rows, row{"embedding digest", unhex(v.EmbeddingDigest)})
	}
	if v.Trace != "" {
		rows = append(rows, row{"trace context", text(v.Trace)})
	}
	body := join(specBody(v))
	rows = append(rows, row{"body length", uv(uint64(len(body)))}, row{"body", body})
	var parents []byte
	for _, p := range specParents(v) {
		parents = slices.Concat(parents, uv(p.Position), unhex(p.ID))
	}
	rows = append(rows, row{"parents", parents})
	if v.PayloadAt != 0 {
		return append(rows, row{"payload position", uv(v.PayloadAt)})
	}
	return append(rows, row{"payload length", uv(uint64(len(v.Payload) / 2))}, row{"payload", unhex(v.Payload)})
}

func specDigest(v vector) events.Digest { return tagSum("toka/causal/1", join(specBody(v))...) }

func specRecordHash(v vector) events.Digest {
	digest, embedding := specDigest(v), make([]byte, 32)
	copy(embedding, unhex(v.EmbeddingDigest))
	return tagSum("toka/record/1", slices.Concat(digest[:], fixed(8, v.Position), fixed(8, v.StreamPosition),
		fixed(8, uint64(specTime(v.RecordTime).UnixNano())), fixed(8, uint64(v.Epoch)), embedding, text(v.Trace))...)
}

func join(rows []row) []byte {
	var parts [][]byte
	for _, r := range rows {
		parts = append(parts, r.bytes)
	}
	return slices.Concat(parts...)
}

// replace puts other bytes into the named row. Rows of the body, named as in
// "body/kind", also change the body's length.
func replace(v vector, name string, b []byte) []byte {
	rows, body := specRecord(v), specBody(v)
	found := false
	put := func(rows []row, name string) {
		for i := range rows {
			if rows[i].name == name {
				rows[i].bytes, found = b, true
			}
		}
	}
	if inner, ok := strings.CutPrefix(name, "body/"); ok {
		put(body, inner)
		b = join(body)
		put(rows, "body")
		b = uv(uint64(len(b)))
		put(rows, "body length")
	} else {
		put(rows, name)
	}
	if !found {
		panic("no row is called " + name)
	}
	return join(rows)
}

// The second encoder has to agree with the first on an event with every field,
// or nothing that is built on it means anything.
func TestSpecAgrees(t *testing.T) {
	v := fullVector()
	e := fullEvent(t)
	if got, want := events.AppendRecord(nil, &e, 0), join(specRecord(v)); !bytes.Equal(got, want) {
		t.Errorf("record\n%x\nby the drawing\n%x", got, want)
	}
}

// fullVector is fullEvent in the other notation.
func fullVector() vector {
	d := fullDraft()
	embedding := tagSum("toka/embed/1", 1, 2, 3)
	v := vector{
		ID: d.ID.String(), Stream: d.Stream, Kind: d.Kind, SchemaVersion: d.SchemaVersion,
		Time: d.Time.Format(time.RFC3339Nano), ContentType: d.ContentType,
		Payload: hex.EncodeToString(d.Payload), SubjectKey: "customer-9",
		Trigger: d.Trigger.String(), Correlation: d.Correlation, Extensions: d.Extensions, Trace: d.Trace,
		EmbeddingDigest: hex.EncodeToString(embedding[:]),
		Position:        1000, StreamPosition: 20, Epoch: 2, RecordTime: recorded.Format(time.RFC3339Nano),
	}
	for _, p := range d.Parents {
		v.Parents = append(v.Parents, vectorParent{p.ID.String(), p.Digest.String(), p.Position})
	}
	return v
}
