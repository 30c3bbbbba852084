package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/nearest"
)

// Part of the format of a snapshot, which doc.go draws, and not to be changed.
const layersTag = "toka/layers/1\x00\x00\x00"

// Snapshot implements intent.Strategy.
func (l *layers) Snapshot() []byte {
	b := make([]byte, 0, 256+len(l.intents)*(64+2*l.dim)+len(l.parts)*(96+3*l.dim))
	b = append(b, layersTag...)
	b = binary.AppendUvarint(b, uint64(len(l.name)))
	b = append(b, l.name...)
	for _, n := range []uint64{l.arrivals, l.regrouped, l.founded, l.near} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, flag(l.rule.smoothed))
	b = binary.AppendVarint(b, int64(l.rule.join))
	b = binary.AppendVarint(b, int64(l.rule.alone))
	b = binary.AppendUvarint(b, uint64(len(l.intents)))
	for i := range l.intents {
		g := &l.intents[i]
		b = append(b, g.id[:]...)
		b = g.gone.append(b)
		b = append(b, flag(g.young))
		b, _ = intent.Vector(g.centre).AppendBinary(b)
	}
	b = binary.AppendUvarint(b, uint64(len(l.parts)))
	sum := make([]int64, 0, l.dim)
	for i := range l.parts {
		p := &l.parts[i]
		b = append(b, p.id[:]...)
		b = append(b, p.digest[:]...)
		b = binary.AppendUvarint(b, p.weight)
		b = binary.AppendUvarint(b, uint64(p.group))
		b = p.append(b)
		sum = l.table.Sum(sum[:0], i)
		for _, s := range sum {
			b = binary.AppendVarint(b, s)
		}
	}
	digest := events.PayloadDigest(b)
	return append(b, digest[:]...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (l life) append(b []byte) []byte {
	b = binary.AppendUvarint(b, l.members)
	b = binary.AppendUvarint(b, l.first)
	return binary.AppendUvarint(b, l.last)
}

// Restore implements intent.Strategy.
func (l *layers) Restore(snapshot []byte) error {
	next := &layers{name: l.name, dim: l.dim, most: l.most, cap: l.cap, regroup: l.regroup, table: nearest.New(l.dim)}
	if err := next.parse(snapshot); err != nil {
		return fmt.Errorf("cluster: restore %s: %w", l.name, err)
	}
	*l = *next
	return nil
}

// parse fills a fresh l.
func (l *layers) parse(snapshot []byte) error {
	b, ok := bytes.CutPrefix(snapshot, []byte(layersTag))
	if !ok {
		return errors.New("not a snapshot of a strategy of two phases, or of another version")
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
	for _, n := range []*uint64{&l.arrivals, &l.regrouped, &l.founded, &l.near} {
		*n = r.uvarint()
	}
	l.rule = rule{smoothed: r.flag(), join: int32(r.varint()), alone: int32(r.varint())}
	if err := l.parseIntents(&r); err != nil {
		return err
	}
	if err := l.parseParts(&r); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	if l.near == 0 || l.near > billion {
		return fmt.Errorf("a threshold of %d billionths", l.near)
	}
	// What is left over, and numbers that are longer than they have to be, would
	// show as a difference here.
	if !bytes.Equal(l.Snapshot(), snapshot) {
		return errors.New("the snapshot is not in its one form")
	}
	return nil
}

func (l *layers) parseIntents(r *reader) error {
	count := r.uvarint()
	// No more than the bytes can hold, before memory is taken for them.
	if least := uint64(20 + 2*l.dim); count > uint64(len(r.b))/least {
		return errSnapshotShort
	}
	for range count {
		var g group
		copy(g.id[:], r.take(uint64(len(g.id))))
		g.gone = r.life()
		g.young = r.flag()
		g.centre = make([]int16, l.dim)
		raw := r.take(uint64(2 * l.dim))
		if r.err != nil {
			return r.err
		}
		for j := range g.centre {
			g.centre[j] = int16(binary.LittleEndian.Uint16(raw[2*j:]))
		}
		// Opposites can have a centre that points nowhere.
		if err := intent.Vector(g.centre).Check(l.dim); err != nil && bytes.ContainsFunc(raw, func(b rune) bool { return b != 0 }) {
			return fmt.Errorf("intent %v: centre: %w", g.id, err)
		}
		l.intents = append(l.intents, g)
	}
	return nil
}

func (l *layers) parseParts(r *reader) error {
	count := r.uvarint()
	if least := uint64(len(events.ID{}) + len(events.Digest{}) + 5 + l.dim); count > uint64(len(r.b))/least {
		return errSnapshotShort
	}
	if count > uint64(l.most) {
		return fmt.Errorf("%d parts, want at most %d", count, l.most)
	}
	sum := make([]int64, l.dim)
	for range count {
		var p part
		copy(p.id[:], r.take(uint64(len(p.id))))
		copy(p.digest[:], r.take(uint64(len(p.digest))))
		p.weight = r.uvarint()
		group := r.uvarint()
		p.life = r.life()
		for j := range sum {
			sum[j] = r.varint()
		}
		if r.err != nil {
			return r.err
		}
		if group >= uint64(len(l.intents)) {
			return fmt.Errorf("part %v is of intent %d of %d", p.id, group, len(l.intents))
		}
		p.group = int(group)
		// Weights fade: what is in a sum is at most twice what it weighs, and one.
		if p.weight == 0 || p.weight > maxWeight {
			return fmt.Errorf("part %v weighs %d", p.id, p.weight)
		}
		for _, s := range sum {
			if s < -maxSum || s > maxSum {
				return fmt.Errorf("part %v: a sum of %d is out of range", p.id, s)
			}
		}
		if !nearest.InRange(sum, 2+2*p.weight/oneMember) {
			return fmt.Errorf("part %v: the length of its sum is out of range", p.id)
		}
		l.parts = append(l.parts, p)
		l.table.AddSum(sum)
	}
	return nil
}

// Nothing weighs more than two periods of fading bring.
const (
	maxWeight = 2 * fadeEvery * oneMember
	maxSum    = 2 * fadeEvery << 15
)

func (r *reader) flag() bool {
	b := r.take(1)
	if len(b) == 1 && b[0] > 1 {
		r.fail()
	}
	return len(b) == 1 && b[0] == 1
}

func (r *reader) life() life { return life{r.uvarint(), r.uvarint(), r.uvarint()} }
