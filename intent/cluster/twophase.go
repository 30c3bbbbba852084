package cluster

import (
	"fmt"
	"math"
	"slices"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

// Layered are the settings of [NewTwoPhase], [NewStrict], [NewCalibrated] and
// [NewBudgeted]. The zero value means the defaults; nothing needs tuning.
type Layered struct {
	// Dimension is the length of the vectors, at most 65,536. 0 means
	// intent.DefaultDimension.
	Dimension int

	// Parts bounds how many micro-clusters are kept, 64 to 8,192: what is beyond
	// is joined, the most alike first. 0 means 2,048, for NewStrict twice that. Memory and the time of an
	// arrival grow with it, the time of a regrouping with its square.
	Parts int
}

func (o Layered) checked(who string) Layered {
	if o.Dimension == 0 {
		o.Dimension = intent.DefaultDimension
	}
	if o.Dimension < 0 || o.Dimension > maxDimension {
		panic(fmt.Sprintf("cluster: %s: dimension %d, want 1 to %d", who, o.Dimension, maxDimension))
	}
	if o.Parts == 0 {
		o.Parts = defaultParts
	}
	if o.Parts < 64 || o.Parts > 8192 {
		panic(fmt.Sprintf("cluster: %s: %d parts, want 64 to 8192", who, o.Parts))
	}
	return o
}

// NewTwoPhase returns the default strategy: parts that arrivals join or found at
// once, and intents made of parts, regrouped as parts come. How many intents there
// are follows from the data.
func NewTwoPhase(o Layered) intent.Strategy {
	o = o.checked("NewTwoPhase")
	return newLayers(fmt.Sprintf("two-phase/3 dim=%d parts=%d", o.Dimension, o.Parts), o, o.Parts, 0, bySilhouette)
}

// NewBudgeted is NewTwoPhase with at most so many intents, 2 to 4,096, at any
// time. Parts are four times as many unless o says otherwise.
func NewBudgeted(intents int, o Layered) intent.Strategy {
	if intents < 2 || intents > 4096 {
		panic(fmt.Sprintf("cluster: NewBudgeted: %d intents, want 2 to 4096", intents))
	}
	if o.Parts == 0 {
		o.Parts = min(8192, max(64, 4*intents))
	}
	o = o.checked("NewBudgeted")
	return newLayers(fmt.Sprintf("budgeted/3 dim=%d parts=%d intents=%d", o.Dimension, o.Parts, intents), o, o.Parts, intents, bySilhouette)
}

// NewStrict returns the strategy for who wants to be sure: two events share an
// intent only if they are much nearer to each other than intents are to each
// other. It leaves most events alone.
func NewStrict(o Layered) intent.Strategy {
	if o.Parts == 0 {
		o.Parts = 2 * defaultParts // what is sure is small
	}
	o = o.checked("NewStrict")
	return newLayers(fmt.Sprintf("strict/3 dim=%d parts=%d", o.Dimension, o.Parts), o, o.Parts, 0, strictly)
}

// NewCalibrated returns a leader strategy that finds its threshold online,
// without labels.
func NewCalibrated(o Layered) intent.Strategy {
	o = o.checked("NewCalibrated")
	return newLayers(fmt.Sprintf("calibrated/3 dim=%d parts=%d", o.Dimension, o.Parts), o, o.Parts, 0, byLeader)
}

// bySilhouette cuts the hierarchy of smoothed parts where the silhouette is the
// largest.
func bySilhouette(p *parts, limit int) plan {
	m := newMatter(p.smooth(), p.weight)
	best, like := bestCut(m, hierarchy(m.v, m.weight), limit)
	best.settle(m, 6)
	return planned(best, m, like)
}

// bestCut returns the grouping with the largest silhouette, and the similarity
// at which it was cut: from .9 down to .2 in steps of .05, then halfway to the
// neighbours of the best.
func bestCut(m *matter, joins []join, limit int) (best grouping, like float64) {
	most, last, at := math.Inf(-1), -1, 0
	try := func(step int) (more bool) {
		least := float64(step) * 0.025
		n := within(joins, least)
		if len(m.v)-n > limit || n == last {
			return true
		}
		last = n
		g := cut(len(m.v), joins, n)
		g.settle(m, 1)
		if g.k < 2 {
			return false
		}
		if s := g.silhouette(m, nil); s > most {
			best, most, like, at = g, s, least, step
		}
		return true
	}
	for step := 36; step >= 8 && try(step); step -= 2 {
	}
	if at > 0 {
		centre := at
		try(centre + 1)
		try(centre - 1)
		return best, like
	}
	// Too few, or all alike.
	n := max(within(joins, 0.5), len(m.v)-limit)
	return cut(len(m.v), joins, n), 0.5
}

// within counts the joins of groups that are at least so much alike.
func within(joins []join, least float64) int {
	n, _ := slices.BinarySearchFunc(joins, least, func(j join, least float64) int {
		if float64(j.like) >= least {
			return -1
		}
		return 1
	})
	return n
}

// planned makes a plan of a grouping of smoothed parts: a new part belongs to the
// intent whose centre is the nearest, if nearly all parts of intents are no farther
// from theirs.
func planned(g grouping, m *matter, like float64) plan {
	p := plan{groups: g, centres: g.centres(m).units, value: like}
	own := make([]int32, len(m.v))
	for i, n := range g.of {
		own[i] = kernel.Dot16(m.v[i], p.centres[n])
	}
	slices.Sort(own)
	join := own[len(own)/50]
	p.rule = rule{smoothed: true, join: join, alone: max(join/2, fixed/3)}
	return p
}

// strictPart is which part of the distance between intents two groups of a
// strict intent may be apart.
const strictPart = 0.165

// strictly joins only what is much nearer than intents are to each other.
func strictly(p *parts, limit int) plan {
	m := newMatter(p.smooth(), p.weight)
	joins := hierarchy(m.v, m.weight)
	g, _ := bestCut(m, joins, limit)
	apart := 0.5
	if g.k > 1 {
		others := make([]float64, len(m.v))
		g.silhouette(m, others)
		slices.Sort(others)
		apart = others[len(others)/2]
	}
	least := 1 - float64(strictPart*apart)
	strict := cut(len(m.v), joins, within(joins, least))
	out := plan{groups: strict, centres: strict.centres(m).units, value: least}
	// Members that are so much alike are half as far from their centre.
	join := int32(math.Round((1 - strictPart*apart/2) * fixed))
	out.rule = rule{smoothed: true, join: join, alone: join}
	return out
}

// byLeader runs the leader strategy over the parts, in order of age, with many
// thresholds, and takes the one whose intents agree the most with those that the
// second phase would make: a leader sees each part once, in the order in which they
// came, and cannot tell by itself which threshold was a good one.
func byLeader(p *parts, limit int) plan {
	m := newMatter(p.smooth(), p.weight)
	want, _ := bestCut(m, hierarchy(m.v, m.weight), limit)
	want.settle(m, 6)
	var best grouping
	most, threshold := math.Inf(-1), 0.0
	for step := range 27 { // from .85 down to .2
		least := 0.85 - 0.025*float64(step)
		g := p.lead(least)
		if a := agreement(g, want, p.weight); a > most {
			best, most, threshold = g, a, least
		}
	}
	// What came early met centroids that were young: it is read again.
	raw := newMatter(p.mean, p.weight)
	best.reassign(raw, best.centres(raw))
	join := int32(math.Round(threshold * fixed))
	return plan{groups: best, centres: best.centres(raw).units, value: threshold, rule: rule{join: join, alone: join}}
}

// agreement is the adjusted Rand index of two groupings, over the members of the
// parts.
func agreement(a, b grouping, weight []float64) float64 {
	cells := make([]float64, a.k*b.k)
	rows, columns := make([]float64, a.k), make([]float64, b.k)
	n := 0.0
	for i, w := range weight {
		cells[a.of[i]*b.k+b.of[i]] += w
		rows[a.of[i]] += w
		columns[b.of[i]] += w
		n += w
	}
	pairs := func(sizes []float64) (sum float64) {
		for _, s := range sizes {
			sum += float64(s * max(0, s-1))
		}
		return sum
	}
	both, x, y := pairs(cells), pairs(rows), pairs(columns)
	if n < 2 || x+y == 0 {
		return 0
	}
	chance := float64(x*y) / float64(n*(n-1))
	return (both - chance) / max(1e-9, (x+y)/2-chance)
}

// lead is the leader strategy over parts.
func (p *parts) lead(threshold float64) grouping {
	dim := len(p.mean[0])
	g := grouping{of: make([]int, len(p.mean))}
	t := nearest.New(dim)
	var sums [][]int64
	for i, v := range p.mean {
		best := -1
		if g.k > 0 {
			scores := t.Scores(v)
			n := 0
			for m, s := range scores {
				if s > scores[n] {
					n = m
				}
			}
			if float64(scores[n]) >= threshold {
				best = n
			}
		}
		w := int64(math.Round(p.weight[i] * oneMember))
		if best < 0 {
			best = g.k
			g.k++
			sums = append(sums, make([]int64, dim))
		}
		for j, q := range v {
			sums[best][j] += w * int64(q)
		}
		if best == t.Len() {
			t.AddSum(sums[best])
		} else {
			t.Set(best, sums[best])
		}
		g.of[i] = best
	}
	return g
}
