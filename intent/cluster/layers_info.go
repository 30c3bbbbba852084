package cluster

import (
	"slices"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
)

// Intents implements intent.Lister.
func (l *layers) Intents() []intent.Info {
	lives, parts := make([]life, len(l.intents)), make([]int, len(l.intents))
	for i := range l.intents {
		lives[i] = l.intents[i].gone
	}
	for i := range l.parts {
		p := &l.parts[i]
		lives[p.group].add(p.life)
		parts[p.group]++
	}
	out := make([]intent.Info, len(l.intents))
	for i, g := range l.intents {
		out[i] = intent.Info{ID: g.id, Members: lives[i].members, First: lives[i].first, Last: lives[i].last, Parts: parts[i]}
	}
	return out
}

// Explain implements intent.Explainer: the parts that are the nearest, each with
// the intent that it belongs to. Threshold is what it takes to join a part; what
// does not founds one, and goes where its neighbours are.
func (l *layers) Explain(v intent.Vector, most int) intent.Explanation {
	e := intent.Explanation{Threshold: float64(l.near) / billion}
	e.Nearest = ranked(l.table.Len(), most, v, l.table.Product, l.table.Cosine)
	for i := range e.Nearest {
		n := &e.Nearest[i]
		p := &l.parts[int(n.Members)]
		n.Intent, n.Part, n.Members = l.intents[p.group].id, p.id, p.members
	}
	return e
}

// Intents implements intent.Lister. A leader keeps no positions.
func (l *Leader) Intents() []intent.Info {
	out := make([]intent.Info, len(l.intents))
	for i, m := range l.intents {
		out[i] = intent.Info{ID: m.id, Members: m.members, Parts: 1}
	}
	return out
}

// Explain implements intent.Explainer.
func (l *Leader) Explain(v intent.Vector, most int) intent.Explanation {
	e := intent.Explanation{Threshold: float64(l.threshold) / billion}
	e.Nearest = ranked(l.table.Len(), most, v, l.table.Product, l.table.Cosine)
	for i := range e.Nearest {
		n := &e.Nearest[i]
		m := &l.intents[int(n.Members)]
		n.Intent, n.Members = m.id, m.members
	}
	return e
}

// ranked lists rows by their exact cosine, the oldest of equal ones first.
// Members holds the row.
func ranked(k, most int, v []int16, product func(int, []int16) int64, cosine func(int, int64, uint64) float64) []intent.Near {
	norm := uint64(kernel.Dot16(v, v))
	all := make([]intent.Near, k)
	for i := range all {
		all[i] = intent.Near{Similarity: cosine(i, product(i, v), norm), Members: uint64(i)}
	}
	slices.SortStableFunc(all, func(a, b intent.Near) int {
		switch {
		case a.Similarity > b.Similarity:
			return -1
		case a.Similarity < b.Similarity:
			return 1
		}
		return 0
	})
	return all[:min(most, k)]
}
