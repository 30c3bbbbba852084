package bus

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/tokaworks/toka/events"
)

// origin derives the ids of one bus's events from what each message holds, so
// that nobody has to mint one before somebody asks.
type origin struct {
	a uint16 // 12 bits
	b uint64 // 62 bits

	began time.Time
}

// What is numbered: messages and drafts each count for themselves.
const (
	emitted uint64 = iota
	published
)

func newOrigin() *origin {
	var r [10]byte
	_, _ = rand.Read(r[:]) // never fails
	return &origin{binary.BigEndian.Uint16(r[:]), binary.BigEndian.Uint64(r[2:]), time.Now()}
}

// id returns a UUIDv7 (RFC 9562, section 5.7): milliseconds, and random bits to
// which the number is added, so that no two of one origin are equal.
func (o *origin) id(t time.Time, n, what uint64) events.ID {
	var id events.ID
	binary.BigEndian.PutUint64(id[:], uint64(t.UnixMilli())<<16|0x7000|uint64(o.a&0x0fff))
	binary.BigEndian.PutUint64(id[8:], (o.b+(n<<1|what))&(1<<62-1)|1<<63)
	return id
}
