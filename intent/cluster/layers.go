package cluster

import (
	"fmt"
	"math"
	"slices"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

// layers is the strategy of two phases: each arrival joins or founds a part, at
// once and for ever, and now and then the parts are grouped into intents anew.
// What kind of grouping is the only thing in which TwoPhase, Strict, Budgeted and
// Calibrated differ.
type layers struct {
	// Set when it was made.
	name     string
	dim      int
	most     int // parts
	cap      int // intents; 0 is no limit
	regroup  func(p *parts, limit int) plan
	changes  []intent.Change
	grouping scratch

	// The state, oldest first: parts[i] has the centroid i of the table.
	arrivals  uint64
	regrouped uint64 // arrivals at the last regrouping
	founded   uint64 // parts founded since then
	near      uint64 // with what cosine an arrival joins a part, in billionths
	rule      rule
	parts     []part
	table     *nearest.Table
	intents   []group
}

type scratch struct {
	sum  []int64
	near []neighbour
}

// part is a micro-cluster without its centroid.
type part struct {
	id     events.ID
	digest events.Digest // of the arrival that founded it
	weight uint64        // faded members, in sixteenths
	group  int           // index of its intent
	life
}

// life is how many have come, and where the first and the last stand.
type life struct{ members, first, last uint64 }

func (l *life) add(m life) {
	if m.members == 0 {
		return
	}
	if l.members == 0 || m.first < l.first {
		l.first = m.first
	}
	l.members, l.last = l.members+m.members, max(l.last, m.last)
}

// group is an intent.
type group struct {
	id     events.ID
	gone   life    // of parts that it has no more
	centre []int16 // at unit length, as the rule wants it; of the founder until the next regrouping
	young  bool    // founded since the last regrouping
}

// rule says to which intent a new part belongs until the next regrouping.
type rule struct {
	smoothed bool  // centres are means of neighbourhoods, and so is what is compared with them
	join     int32 // least product with the centre, of two unit vectors
	alone    int32 // the same for young intents, which have a founder instead
}

// plan is what a regrouping decides.
type plan struct {
	groups  grouping
	centres [][]int16
	rule    rule
	value   float64 // the threshold that was chosen
}

// Part of what a name stands for.
const (
	defaultParts = 2048
	fadeEvery    = 1 << 15 // arrivals; sums of twice as many vectors fit 32 bits
	oneMember    = 16      // in part.weight
	firstNear    = 900_000_000
)

func newLayers(name string, o Layered, most, limit int, regroup func(*parts, int) plan) *layers {
	return &layers{
		name: name, dim: o.Dimension, most: most, cap: limit, regroup: regroup,
		near: firstNear, table: nearest.New(o.Dimension),
		rule: rule{join: fixed * 6 / 10, alone: fixed * 6 / 10},
	}
}

// Name implements intent.Strategy.
func (l *layers) Name() string { return l.name }

// Dimension implements intent.Strategy.
func (l *layers) Dimension() int { return l.dim }

// Count implements intent.Strategy.
func (l *layers) Count() int { return len(l.intents) }

// Changes implements intent.Changer.
func (l *layers) Changes() []intent.Change {
	c := l.changes
	l.changes = nil
	return c
}

func (l *layers) changed(kind intent.ChangeKind, id, into events.ID) {
	l.changes = append(l.changes, intent.Change{Kind: kind, Intent: id, Into: into})
}

// Assign implements intent.Strategy. It panics if a.Vector is not a quantised
// vector of the strategy's dimension.
func (l *layers) Assign(a intent.Arrival) intent.Assignment {
	if err := a.Vector.Check(l.dim); err != nil {
		panic(fmt.Sprintf("cluster: Assign at position %d: %v", a.Position, err))
	}
	l.arrivals++
	norm := uint64(kernel.Dot16(a.Vector, a.Vector))
	i, product := l.table.Nearest(a.Vector)
	as := intent.Assignment{Similarity: 1}
	if product > 0 && l.table.Reaches(i, product, norm, l.near) {
		as.Similarity = l.table.Cosine(i, product, norm)
		l.table.Join(i, a.Vector, product, norm)
	} else {
		as.Created = l.found(a)
		i = len(l.parts) - 1
	}
	p := &l.parts[i]
	p.weight += oneMember
	p.add(life{1, a.Position, a.Position})
	as.Intent, as.Part = l.intents[p.group].id, p.id
	l.maintain(a.Position)
	return as
}

// found makes a part of an arrival, and an intent too if there is none for it.
func (l *layers) found(a intent.Arrival) (created bool) {
	p := part{id: events.IntentID(l.name+" part", a.Digest), digest: a.Digest}
	p.group, created = l.place(a)
	l.table.Add(a.Vector)
	l.parts = append(l.parts, p)
	l.founded++
	l.changed(intent.Moved, p.id, l.intents[p.group].id)
	return created
}

// place finds the intent for a new part. The table's scores are those of a.
func (l *layers) place(a intent.Arrival) (index int, created bool) {
	x := []int16(a.Vector)
	best, most := -1, int32(0)
	if len(l.parts) > 0 {
		if l.rule.smoothed {
			x = l.smooth(a.Vector)
		}
		for i := range l.intents {
			g := &l.intents[i]
			y, least := x, l.rule.join
			if g.young {
				y, least = a.Vector, l.rule.alone
			}
			// How far above what it takes is what intents of both kinds can be
			// compared by.
			if over := kernel.Dot16(g.centre, y) - least; best < 0 || over > most {
				best, most = i, over
			}
		}
	}
	if best >= 0 && (most >= 0 || l.cap > 0 && len(l.intents) >= l.cap) {
		return best, false
	}
	g := group{id: events.IntentID(l.name, a.Digest), centre: slices.Clone(a.Vector), young: true}
	l.intents = append(l.intents, g)
	l.changed(intent.Created, g.id, events.ID{})
	return len(l.intents) - 1, true
}

// smooth is parts.smooth for one that is not a part yet.
func (l *layers) smooth(v intent.Vector) []int16 {
	s := &l.grouping
	s.near = closest(s.near[:0], l.table.Scores(v), -1)
	if len(s.sum) != l.dim {
		s.sum = make([]int64, l.dim)
	}
	for j, q := range v {
		s.sum[j] = int64(q) << 15
	}
	left := uint64(neighbours * oneMember)
	for _, n := range s.near {
		w := min(l.parts[n.row].weight, left)
		if left -= w; w == 0 {
			break
		}
		row, scale := l.table.Row(n.row)
		like := float64(float64(scale) * float64(max(0, n.score)))
		f := int64(math.Round(like * float64(w) * (math.MaxInt16 << 15 / oneMember)))
		for j, q := range row {
			s.sum[j] += f * int64(q)
		}
	}
	return unit(s.sum)
}

// maintain does at fixed arrivals what is not for one of them.
func (l *layers) maintain(position uint64) {
	if l.arrivals%fadeEvery == 0 {
		l.fade()
	}
	if len(l.parts) > l.most {
		l.compact()
	}
	// Intents are as good as the last regrouping: it comes when an eighth of the
	// parts are new, and of arrivals a sixteenth, so that what it costs stays a
	// part of what they cost; or when arrivals have doubled, since what a few
	// members left open many may tell, even if no part is new.
	since := l.arrivals - l.regrouped
	if l.founded >= uint64(max(8, len(l.parts)/8)) && since >= l.arrivals/16 || since >= l.regrouped && len(l.parts) > 8 {
		l.renew(position)
	}
}

// fade halves what every part weighs. What weighs nothing any more is let go.
func (l *layers) fade() {
	keep := make([]part, 0, len(l.parts))
	table := nearest.New(l.dim)
	sum := make([]int64, 0, l.dim)
	for i := range l.parts {
		p := l.parts[i]
		p.weight /= 2
		sum = l.table.Sum(sum[:0], i)
		rest := false
		for j := range sum {
			sum[j] /= 2
			rest = rest || sum[j] != 0
		}
		if p.weight > 0 && rest {
			keep = append(keep, p)
			table.AddSum(sum)
		} else {
			l.intents[p.group].gone.add(p.life)
		}
	}
	l.parts, l.table = keep, table
	l.retire()
}

// retire lets go of intents without parts.
func (l *layers) retire() {
	used := make([]bool, len(l.intents))
	for i := range l.parts {
		used[l.parts[i].group] = true
	}
	place := make([]int, len(l.intents))
	keep := make([]group, 0, len(l.intents))
	for i, g := range l.intents {
		if !used[i] {
			l.changed(intent.Retired, g.id, events.ID{})
			continue
		}
		place[i] = len(keep)
		keep = append(keep, g)
	}
	for i := range l.parts {
		l.parts[i].group = place[l.parts[i].group]
	}
	l.intents = keep
}

// view is what a regrouping looks at.
func (l *layers) view() *parts {
	v := &parts{mean: make([][]int16, len(l.parts)), weight: make([]float64, len(l.parts))}
	sum := make([]int64, 0, l.dim)
	for i := range l.parts {
		v.weight[i] = float64(l.parts[i].weight) / oneMember
		sum = l.table.Sum(sum[:0], i)
		squares := 0.0
		for _, s := range sum {
			squares += float64(float64(s) * float64(s))
		}
		// Weights and sums are halved apart from each other, and a mean is never
		// longer than what it is a mean of.
		f := 1 / v.weight[i]
		if length := math.Sqrt(squares); length*f > math.MaxInt16 {
			f = math.MaxInt16 / length
		}
		mean := make([]int16, l.dim)
		for j, s := range sum {
			mean[j] = int16(math.RoundToEven(float64(s) * f))
		}
		v.mean[i] = mean
	}
	return v
}

// compact joins the parts that are the most alike until a quarter of the room
// is free, and from now on lets arrivals join parts that are as near.
func (l *layers) compact() {
	v := l.view()
	joins := hierarchy(v.mean, v.weight)
	n := len(l.parts) - l.most*3/4
	g := cut(len(l.parts), joins, n)
	least := max(0.01, float64(joins[n-1].like))
	l.near = min(l.near, uint64(math.Round(least*billion)))
	keep := make([]part, 0, g.k)
	sums := make([][]int64, g.k)
	sum := make([]int64, 0, l.dim)
	for i, p := range l.parts {
		sum = l.table.Sum(sum[:0], i)
		n := g.of[i]
		if sums[n] == nil { // groups are numbered by their oldest part
			sums[n] = slices.Clone(sum)
			keep = append(keep, p)
			continue
		}
		for j, s := range sum {
			sums[n][j] += s
		}
		keep[n].weight += p.weight
		keep[n].add(p.life)
		l.changed(intent.Moved, p.id, keep[n].id)
	}
	table := nearest.New(l.dim)
	for _, s := range sums {
		table.AddSum(s)
	}
	l.parts, l.table = keep, table
	l.retire()
}

// group groups the parts anew.
func (l *layers) renew(position uint64) {
	l.founded, l.regrouped = 0, l.arrivals
	limit := l.cap
	if limit == 0 {
		limit = len(l.parts)
	}
	p := l.regroup(l.view(), limit)
	if p.groups.k == 0 {
		return
	}
	if p.rule != l.rule {
		l.changes = append(l.changes, intent.Change{Kind: intent.Calibrated, Value: p.value})
	}
	l.rule = p.rule
	l.adopt(position, &p)
}

// adopt gives the groups of a plan their names: each takes over the intent with
// which it shares the most members, if no other group shares more with that.
// What is left of the names is merged into who has its members now; what is
// left of the groups is split off.
func (l *layers) adopt(position uint64, p *plan) {
	type share struct {
		group, intent int
		weight        uint64
	}
	shared := make(map[[2]int]uint64)
	for i, n := range p.groups.of {
		shared[[2]int{n, l.parts[i].group}] += l.parts[i].weight
	}
	shares := make([]share, 0, len(shared))
	for k, w := range shared {
		shares = append(shares, share{k[0], k[1], w})
	}
	slices.SortFunc(shares, func(a, b share) int {
		switch {
		case a.weight != b.weight:
			if a.weight > b.weight {
				return -1
			}
			return 1
		case a.intent != b.intent:
			return a.intent - b.intent
		}
		return a.group - b.group
	})
	k := p.groups.k
	from, main := make([]int, k), make([]int, k) // the intent whose name it has; the one it shares the most with
	heir := make([]int, len(l.intents))          // who has the most of an intent
	for i := range from {
		from[i], main[i] = -1, -1
	}
	taken := make([]bool, len(l.intents))
	for i := range heir {
		heir[i] = -1
	}
	for _, s := range shares {
		if main[s.group] < 0 {
			main[s.group] = s.intent
		}
		if heir[s.intent] < 0 {
			heir[s.intent] = s.group
		}
		if from[s.group] < 0 && !taken[s.intent] {
			from[s.group], taken[s.intent] = s.intent, true
		}
	}
	next := make([]group, k)
	for n := range next {
		if from[n] >= 0 {
			next[n] = l.intents[from[n]]
		}
		next[n].centre, next[n].young = p.centres[n], false
	}
	for i, n := range p.groups.of {
		if next[n].id.IsZero() { // its oldest part names it
			next[n].id = events.IntentID(fmt.Sprintf("%s at %d", l.name, position), l.parts[i].digest)
			l.changed(intent.Split, next[n].id, l.intents[main[n]].id)
		}
	}
	var after []intent.Change
	for i, g := range l.intents {
		if !taken[i] {
			h := heir[i]
			after = append(after, intent.Change{Kind: intent.Merged, Intent: g.id, Into: next[h].id})
			next[h].gone.add(g.gone)
		}
	}
	for i, n := range p.groups.of {
		if was := l.intents[l.parts[i].group].id; was != next[n].id {
			l.changed(intent.Moved, l.parts[i].id, next[n].id)
		}
	}
	l.changes = append(l.changes, after...)
	// In order of age, as the oldest part has it, which is how groups are
	// numbered already.
	for i, n := range p.groups.of {
		l.parts[i].group = n
	}
	l.intents = next
}
