package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/internal/nearest"
)

// Part of the format of a snapshot, which doc.go draws, and not to be changed.
const snapshotTag = "toka/leader/1\x00\x00\x00"

// Snapshot implements intent.Strategy.
func (l *Leader) Snapshot() []byte {
	// Two bytes hold a component of nearly any single vector, and three that
	// of a sum of hundreds.
	b := make([]byte, 0, 128+len(l.intents)*(32+3*l.dim))
	sum := make([]int64, 0, l.dim)
	b = append(b, snapshotTag...)
	b = binary.AppendUvarint(b, uint64(len(l.name)))
	b = append(b, l.name...)
	b = binary.AppendUvarint(b, uint64(len(l.intents)))
	for i := range l.intents {
		c := &l.intents[i]
		b = append(b, c.id[:]...)
		b = binary.AppendUvarint(b, c.members)
		sum = l.table.Sum(sum[:0], i)
		for _, s := range sum {
			b = binary.AppendVarint(b, s)
		}
	}
	digest := events.PayloadDigest(b)
	return append(b, digest[:]...)
}

// Restore implements intent.Strategy.
func (l *Leader) Restore(snapshot []byte) error {
	next := &Leader{name: l.name, dim: l.dim, table: nearest.New(l.dim)}
	if err := next.parse(snapshot); err != nil {
		return fmt.Errorf("cluster: restore %s: %w", l.name, err)
	}
	l.intents, l.table = next.intents, next.table
	return nil
}

var (
	errSnapshotShort = errors.New("the snapshot ends early")
	errSnapshotOther = errors.New("not a snapshot of a leader strategy, or of another version")
)

// parse fills a fresh l, of which only the name and dimension are set.
func (l *Leader) parse(snapshot []byte) error {
	b, ok := bytes.CutPrefix(snapshot, []byte(snapshotTag))
	if !ok {
		return errSnapshotOther
	}
	if len(b) < len(events.Digest{}) {
		return errSnapshotShort
	}
	end := len(snapshot) - len(events.Digest{})
	if events.PayloadDigest(snapshot[:end]) != events.Digest(snapshot[end:]) {
		return errors.New("the snapshot is damaged: its digest does not match")
	}
	r := reader{b: b[:len(b)-len(events.Digest{})]}

	if name := r.take(r.uvarint()); string(name) != l.name && r.err == nil {
		return fmt.Errorf("a snapshot of %q", name)
	}
	count := r.uvarint()
	// No more intents than the bytes can hold, before memory is taken for them.
	if least := uint64(len(events.ID{}) + 1 + l.dim); count > uint64(len(r.b))/least {
		return errSnapshotShort
	}
	for range count {
		var c member
		sum := make([]int64, l.dim)
		copy(c.id[:], r.take(uint64(len(c.id))))
		c.members = r.uvarint()
		if r.err == nil && (c.members == 0 || c.members > nearest.MaxMembers) {
			return fmt.Errorf("intent %v has %d members, want 1 to %d", c.id, c.members, nearest.MaxMembers)
		}
		for j := range sum {
			s := r.varint()
			// No component of a vector is beyond 2^15, so the sum's square
			// cannot overflow.
			if size := max(s, -s); size < 0 || uint64(size) > c.members<<15 {
				return fmt.Errorf("intent %v: sum %d of %d members is out of range", c.id, s, c.members)
			}
			sum[j] = s
		}
		if r.err != nil {
			return r.err
		}
		// A vector is shorter than 2^15.5.
		if !nearest.InRange(sum, c.members) {
			return fmt.Errorf("intent %v: the length of its sum is out of range", c.id)
		}
		l.intents = append(l.intents, c)
		l.table.AddSum(sum)
	}
	if r.err != nil {
		return r.err
	}
	// What is left over, and varints that are longer than they have to be,
	// would show as a difference here.
	if !bytes.Equal(l.Snapshot(), snapshot) {
		return errors.New("the snapshot is not in its one form")
	}
	return nil
}

// reader takes apart b and remembers the first thing that was missing.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) fail() {
	r.b = nil
	if r.err == nil {
		r.err = errSnapshotShort
	}
}
