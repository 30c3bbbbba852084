package cluster_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
)

func TestSnapshotAndTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leader, stream := draw(t, 150)
		full := leader()
		want := answers(full, 1, stream)

		cut := rapid.IntRange(0, len(stream)).Draw(t, "cut")
		before, after := leader(), leader()
		compare(t, answers(before, 1, stream[:cut]), want[:cut])
		// What after knows is replaced, not added to.
		answers(after, 1, stream[:rapid.IntRange(0, cut).Draw(t, "known")])
		if err := after.Restore(before.Snapshot()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(after.Snapshot(), before.Snapshot()) || after.Count() != before.Count() {
			t.Fatal("another state right after it was restored")
		}
		compare(t, answers(after, cut+1, stream[cut:]), want[cut:])
		if !bytes.Equal(after.Snapshot(), full.Snapshot()) {
			t.Fatal("another snapshot at the end")
		}
	})
}

// sealed completes the body of a snapshot with its digest.
func sealed(body []byte) []byte {
	d := events.PayloadDigest(body)
	return append(bytes.Clone(body), d[:]...)
}

// body writes a snapshot up to the digest, with whatever values it is given.
func body(name string, count uint64, parts ...any) []byte {
	b := []byte("toka/leader/1\x00\x00\x00")
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, count)
	for _, p := range parts {
		switch p := p.(type) {
		case events.ID:
			b = append(b, p[:]...)
		case uint64:
			b = binary.AppendUvarint(b, p)
		case int:
			b = binary.AppendVarint(b, int64(p))
		case int64:
			b = binary.AppendVarint(b, p)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestRestoreRefuses(t *testing.T) {
	o := cluster.Options{Dimension: 2}
	l := cluster.NewLeader(o)
	v := quantize([]float32{3, 4})
	id := l.Assign(arrival(1, v)).Intent
	l.Assign(arrival(2, v))
	state := l.Snapshot()
	name := l.Name()

	// Also the drawing of the format, in code.
	if want := sealed(body(name, 1, id, uint64(2), 2*int(v[0]), 2*int(v[1]))); !bytes.Equal(state, want) {
		t.Fatalf("snapshot %x, want %x", state, want)
	}

	other := cluster.NewLeader(cluster.Options{Dimension: 2, Threshold: 0.9})
	damaged := bytes.Clone(state)
	damaged[len(damaged)/2] ^= 1
	for _, c := range []struct {
		name     string
		snapshot []byte
		want     string
	}{
		{"nothing", nil, "not a snapshot of a leader"},
		{"text", []byte("an event, a snapshot, a journal"), "not a snapshot of a leader"},
		{"the next version", bytes.Replace(state, []byte("/1\x00"), []byte("/2\x00"), 1), "not a snapshot of a leader"},
		{"no digest", state[:20], "ends early"},
		{"cut short", state[:len(state)-1], "digest does not match"},
		{"one bit", damaged, "digest does not match"},
		{"one byte more", append(bytes.Clone(state), 0), "digest does not match"},
		{"another threshold", other.Snapshot(), `a snapshot of "leader/1 dim=2 t=0.9"`},
		{"no name", sealed([]byte("toka/leader/1\x00\x00\x00")), "ends early"},
		{"half a name", sealed([]byte("toka/leader/1\x00\x00\x00\x17leader")), "ends early"},
		{"no intent of one", sealed(body(name, 1)), "ends early"},
		{"more intents than bytes", sealed(body(name, math.MaxUint64, id, uint64(1), 1, 1)), "ends early"},
		{"the last sum missing", sealed(body(name, 1, id, uint64(1<<20), 1)), "ends early"},
		{"no members", sealed(body(name, 1, id, uint64(0), 1, 1)), "has 0 members"},
		{"too many members", sealed(body(name, 1, id, uint64(1<<31+1), 1, 1)), "has 2147483649 members"},
		{"sum too large", sealed(body(name, 1, id, uint64(1), 1, 32769)), "sum 32769 of 1 members"},
		{"sum too small", sealed(body(name, 1, id, uint64(1), int64(math.MinInt64), 1)), "out of range"},
		{"sum of zero", sealed(body(name, 1, id, uint64(1), 0, 0)), "length of its sum"},
		{"more than told", sealed(body(name, 1, id, uint64(1), 1, 1, 1)), "one form"},
		{"a long varint", sealed(body(name, 1, id, []byte{0x81, 0}, 1, 1)), "one form"},
		{"an endless varint", sealed(body(name, 1, id, uint64(1), bytes.Repeat([]byte{0xff}, 11))), "ends early"},
	} {
		err := l.Restore(c.snapshot)
		if err == nil || !strings.HasPrefix(err.Error(), "cluster: restore "+name) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if !bytes.Equal(l.Snapshot(), state) || l.Count() != 1 {
			t.Fatalf("%s: the refusal changed the state", c.name)
		}
	}
	if a := l.Assign(arrival(3, v)); a.Intent != id {
		t.Errorf("after the refusals: %+v", a)
	}

	fresh := cluster.NewLeader(o)
	if err := l.Restore(fresh.Snapshot()); err != nil || l.Count() != 0 {
		t.Errorf("an empty snapshot: %v, %d intents", err, l.Count())
	}
	if a := l.Assign(arrival(1, v)); a.Intent != id || !a.Created {
		t.Errorf("after the empty snapshot: %+v", a)
	}
}

// FuzzRestore tries its input as it is and, to get past the digest, as a body.
// What is accepted must be the one form of its state, and safe to go on with.
func FuzzRestore(f *testing.F) {
	o := cluster.Options{Dimension: 3, Threshold: 0.5}
	l := cluster.NewLeader(o)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		f.Add(l.Snapshot())
		f.Add(l.Snapshot()[:len(l.Snapshot())-32])
		l.Assign(arrival(i+1, quantize(gaussian(r, 3))))
	}
	const most = int64(1) << 31
	f.Add(body(l.Name(), 1, events.ID{}, uint64(most), most<<15, most<<13, -most<<13))
	x, _ := intent.Quantize([]float32{1, 2, -3}, 3)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, snapshot := range [][]byte{b, sealed(b)} {
			l := cluster.NewLeader(o)
			empty := l.Snapshot()
			if err := l.Restore(snapshot); err != nil {
				if l.Count() != 0 || !bytes.Equal(l.Snapshot(), empty) {
					t.Fatal("the refusal changed the state")
				}
				continue
			}
			if !bytes.Equal(l.Snapshot(), snapshot) {
				t.Fatal("accepted a snapshot in another form")
			}
			for i := range 3 {
				if a := l.Assign(arrival(i+1, x)); !(a.Similarity >= 0.5 && a.Similarity <= 1) {
					t.Fatalf("similarity %v", a.Similarity)
				}
			}
		}
	})
}

func ExampleLeader_Restore() {
	o := cluster.Options{Dimension: 2}
	before := cluster.NewLeader(o)
	for i, x := range [][]float32{{1, 0}, {0, 1}} {
		before.Assign(arrival(i+1, quantize(x)))
	}
	after := cluster.NewLeader(o)
	fmt.Println(after.Restore(before.Snapshot()), after.Count())

	strict := cluster.NewLeader(cluster.Options{Dimension: 2, Threshold: 0.9})
	fmt.Println(strict.Restore(before.Snapshot()))
	// Output:
	// <nil> 2
	// cluster: restore leader/1 dim=2 t=0.9: a snapshot of "leader/1 dim=2 t=0.82"
}
