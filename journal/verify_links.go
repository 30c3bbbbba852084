package journal

import (
	"context"
	"slices"

	"github.com/tokaworks/toka/events"
)

// linkVerifier is the part of the verifier that holds the index of links
// against the records, through the reader that everybody else uses.
type linkVerifier struct {
	links    *Links
	children []uint64 // by position - 1: what the children add up to
	unread   bool     // a record could not be read, so neither could its links
	damaged  string   // the last damage that was named
	stubs    map[events.Digest]struct{}
}

// childSum is what a child adds to its parents' sums. Sums that are equal by
// chance are as likely as equal hashes of 64 bits.
func childSum(child uint64) uint64 {
	h := child * 0x9e3779b97f4a7c15
	h ^= h >> 29
	return (h * 0xbf58476d1ce4e5b9) ^ h>>32
}

// absent looks at a parent that is recorded as not being in this journal.
func (v *verifier) absent(e *events.Event, p events.Ref) {
	at, err := v.j.find(p.ID)
	if err != nil || at != 0 && at < e.Position {
		v.problem(e.Position, "parent %s is recorded as not being here, and is found at position %d (%v)", p.ID, at, err)
	}
	if v.stubs == nil {
		v.stubs = map[events.Digest]struct{}{}
	}
	v.stubs[p.Digest] = struct{}{}
}

func (v *verifier) parents(e *events.Event) {
	var want []uint64
	for _, p := range e.Parents {
		if p.Position != 0 && p.Position < e.Position {
			want = append(want, p.Position)
			v.children[p.Position-1] += childSum(e.Position)
		}
	}
	slices.Sort(want)
	got, err := v.links.Parents(context.Background(), e.Position)
	switch {
	case err != nil:
		v.linkDamage(e.Position, err)
	case !slices.Equal(got, want):
		v.problem(e.Position, "the index has it caused by positions %v, the log by %v", got, want)
	}
}

// linkDamage names damage once for all the positions that it is about.
func (v *verifier) linkDamage(position uint64, err error) {
	if text := err.Error(); text != v.damaged {
		v.damaged = text
		v.problem(position, "%v", err)
	}
}

func (v *verifier) childIndex() error {
	if v.unread {
		return nil // sums would not fit for a reason that is named already
	}
	for p := uint64(1); p <= v.total; p++ {
		children, err := v.links.Children(context.Background(), p)
		if err != nil {
			v.linkDamage(p, err)
			continue
		}
		sum := uint64(0)
		for _, c := range children {
			if c <= v.total {
				sum += childSum(c)
			}
		}
		if sum != v.children[p-1] {
			v.problem(p, "the index has positions %v caused by it, the log others", children[:min(len(children), 8)])
		}
	}
	return nil
}
