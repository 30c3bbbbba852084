package events

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
	"github.com/zeebo/blake3"
)

// ID names an event: a UUID (RFC 9562), version 7 where it was minted and
// version 8 where it was derived from the work that made it. The zero ID
// stands for "none".
type ID [16]byte

// ParseID reads the 36-character form of a UUID. It accepts no other form, so
// that an id has one spelling.
func ParseID(s string) (ID, error) {
	if len(s) != 36 {
		return ID{}, &InvalidError{Field: "id", Reason: fmt.Sprintf("%q is not a UUID of 36 characters", clip(s))}
	}
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return ID{}, &InvalidError{Field: "id", Reason: fmt.Sprintf("%q is not a UUID in lower case", clip(s))}
	}
	return ID(u), nil
}

// String returns the 36-character form that ParseID reads.
func (id ID) String() string { return uuid.UUID(id).String() }

// IsZero reports whether id stands for none.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements encoding.TextMarshaler; the zero id is empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler and accepts what
// MarshalText writes.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// IngestedID returns the id of an event that came from outside under its own
// id: the same source and outside id always give the same event id, so that
// bringing it in twice is one event.
func IngestedID(source, outsideID string) ID {
	b := make([]byte, 0, 64+len(source)+len(outsideID))
	b = append(b, tagIngested...)
	b = appendText(b, source)
	b = appendText(b, outsideID)
	return derived(b)
}

// EmittedID returns the id of the ordinal-th event (from 0) that an agent
// emits because of cause. The same work done twice, before and after a crash,
// gives the same event.
func EmittedID(cause Digest, agent string, ordinal uint32) ID {
	b := make([]byte, 0, 64+len(agent))
	b = append(b, tagEmitted...)
	b = append(b, cause[:]...)
	b = appendText(b, agent)
	b = binary.BigEndian.AppendUint32(b, ordinal)
	return derived(b)
}

// IntentID returns the id of the intent that an event founds under a strategy:
// strategy is its name with every setting, founder the causal digest of the
// event. The same journal read twice by the same strategy gives the same
// intents, and two strategies never share one.
func IntentID(strategy string, founder Digest) ID {
	b := make([]byte, 0, 64+len(strategy))
	b = append(b, tagIntent...)
	b = appendText(b, strategy)
	b = append(b, founder[:]...)
	return derived(b)
}

// EffectKey returns the idempotency key of the ordinal-th effect (from 0) that
// an agent has done because of cause: the same each time that the work is done
// again, for the world outside to tell a repetition by.
func EffectKey(cause Digest, agent, name string, ordinal uint32) Digest {
	b := make([]byte, 0, 96+len(agent)+len(name))
	b = append(b, cause[:]...)
	b = appendText(b, agent)
	b = appendText(b, name)
	b = binary.BigEndian.AppendUint32(b, ordinal)
	return tagged(tagEffect, b)
}

// derived makes a UUIDv8 of the first 16 bytes of the digest (RFC 9562,
// section 5.8: version and variant bits are set, the rest is ours).
func derived(preimage []byte) ID {
	sum := blake3.Sum256(preimage)
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Digest is a BLAKE3-256 value. The zero Digest stands for "none".
type Digest [32]byte

// ParseDigest reads 64 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) || hex.EncodeToString(b) != s {
		return Digest{}, &InvalidError{Field: "digest", Reason: fmt.Sprintf("%q is not 64 lower-case hexadecimal digits", clip(s))}
	}
	copy(d[:], b)
	return d, nil
}

// String returns 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hexadecimal digits, enough for a person to tell
// events apart; a journal resolves such a prefix.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// IsZero reports whether d stands for none.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler; the zero digest is empty
// text.
func (d Digest) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler and accepts what
// MarshalText writes.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	v, err := ParseDigest(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// clip keeps error messages short whatever the input was.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}
