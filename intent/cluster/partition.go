package cluster

import (
	"math"
	"slices"

	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

// The second phase: parts (micro-clusters) are grouped into intents. All of it
// is a function of the parts in their order; products of vectors are integers,
// and floats are added and multiplied one at a time in a fixed order, with
// conversions that forbid fusing, so that it has the same bits everywhere.

// neighbours is how many members a part is averaged with before it is compared.
const neighbours = 15

// smallest is how many members an intent needs to be kept by a regrouping.
const smallest = 5

// parts are what is grouped.
type parts struct {
	mean   [][]int16 // mean of the members, times 32767, not brought to unit length
	weight []float64 // members
}

// fixed is the product of two unit vectors in the quantised form.
const fixed = 1 << 30

// smooth moves each part to the mean of its neighbourhood: itself and what is
// nearest, up to so many members, each as much as it is like the part. What lies
// between two groups moves to one or the other, as most of its neighbours do,
// and a part with many members stays where it is.
func (p *parts) smooth() [][]int16 {
	m, dim := len(p.mean), len(p.mean[0])
	t := nearest.New(dim)
	sum := make([]int64, dim)
	for _, v := range p.mean {
		for j, q := range v {
			sum[j] = int64(q)
		}
		t.AddSum(sum)
	}
	out := make([][]int16, m)
	near := make([]neighbour, 0, neighbours+1)
	for i, v := range p.mean {
		near = closest(near[:0], t.Scores(v), i)
		own := int64(math.Round(p.weight[i] * (1 << 15)))
		for j, q := range v {
			sum[j] = own * int64(q)
		}
		left := neighbours + 1 - p.weight[i]
		for _, n := range near {
			if left <= 0 {
				break
			}
			w := min(p.weight[n.row], left)
			left -= w
			f := int64(math.Round(float64(w * float64(max(0, n.score)) * (1 << 15))))
			for j, q := range p.mean[n.row] {
				sum[j] += f * int64(q)
			}
		}
		out[i] = unit(sum)
	}
	return out
}

type neighbour struct {
	row   int
	score float32
}

// closest lists the rows with the highest scores, the highest first and the
// oldest of equal ones, without one of them.
func closest(near []neighbour, scores []float32, without int) []neighbour {
	for j, s := range scores {
		if j == without || len(near) == neighbours && s <= near[neighbours-1].score {
			continue
		}
		at := len(near)
		for at > 0 && near[at-1].score < s {
			at--
		}
		if len(near) == neighbours {
			near = near[:neighbours-1]
		}
		near = slices.Insert(near, at, neighbour{j, s})
	}
	return near
}

// unit brings a sum to unit length.
func unit(sum []int64) []int16 {
	squares := 0.0
	for _, s := range sum {
		f := float64(s)
		squares += float64(f * f)
	}
	length := math.Sqrt(squares)
	v := make([]int16, len(sum))
	if length == 0 {
		return v
	}
	for j, s := range sum {
		v[j] = int16(math.Round(float64(float64(s)*math.MaxInt16) / length))
	}
	return v
}

// join is one step of a hierarchy: the groups of parts a and b, a < b, are one.
type join struct {
	a, b int
	like float32 // mean cosine of their members
}

// hierarchy joins parts by average linkage, from the most alike down (NN-chain,
// Murtagh 1983). The mean cosine of two groups is the product of their means; it
// must not be that of their centroids at unit length, under which groups chain
// until all is one.
func hierarchy(mean [][]int16, weight []float64) []join {
	m := len(mean)
	like := make([][]float32, m)
	all := make([]float32, m*m)
	for i := range like {
		like[i] = all[i*m:][:m]
		for j := range i {
			s := float32(kernel.Dot16(mean[i], mean[j])) / fixed
			like[i][j], like[j][i] = s, s
		}
	}
	w := slices.Clone(weight)
	alive := make([]int, m) // the groups that are left, in order
	for i := range alive {
		alive[i] = i
	}
	joins := make([]join, 0, max(0, m-1))
	var chain []int
	for len(alive) > 1 {
		if len(chain) == 0 {
			chain = append(chain, alive[0])
		}
		a, before := chain[len(chain)-1], -1
		best, most := -1, float32(math.Inf(-1))
		if len(chain) > 1 {
			before = chain[len(chain)-2]
			best, most = before, like[a][before]
		}
		row := like[a]
		for _, j := range alive {
			if row[j] > most && j != a {
				best, most = j, row[j]
			}
		}
		if best != before {
			chain = append(chain, best)
			continue
		}
		chain = chain[:len(chain)-2]
		a, b := min(a, best), max(a, best)
		joins = append(joins, join{a, b, most})
		at, _ := slices.BinarySearch(alive, b)
		alive = slices.Delete(alive, at, at+1)
		fa, fb := float32(w[a]/(w[a]+w[b])), float32(w[b]/(w[a]+w[b]))
		for _, j := range alive {
			if j != a {
				s := float32(fa*like[a][j]) + float32(fb*like[b][j])
				like[a][j], like[j][a] = s, s
			}
		}
		w[a] += w[b]
	}
	slices.SortStableFunc(joins, func(x, y join) int {
		switch {
		case x.like > y.like:
			return -1
		case x.like < y.like:
			return 1
		}
		return 0
	})
	return joins
}

// grouping says to which group each part belongs: 0 to k-1, numbered by their
// oldest parts.
type grouping struct {
	of []int
	k  int
}

// cut does the first n joins.
func cut(m int, joins []join, n int) grouping {
	root := make([]int, m)
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for _, j := range joins[:n] {
		a, b := find(j.a), find(j.b)
		root[max(a, b)] = min(a, b)
	}
	g := grouping{of: make([]int, m)}
	for i := range g.of {
		g.of[i] = find(i)
	}
	g.number()
	return g
}

// number numbers the groups anew; -1 stays.
func (g *grouping) number() {
	name := make(map[int]int)
	for i, n := range g.of {
		if n < 0 {
			continue
		}
		if _, ok := name[n]; !ok {
			name[n] = len(name)
		}
		g.of[i] = name[n]
	}
	g.k = len(name)
}

// dropSmall leaves the parts of groups with fewer than smallest members
// without one, unless all groups are so small.
func (g *grouping) dropSmall(weight []float64) {
	sizes := make([]float64, g.k)
	for i, n := range g.of {
		sizes[n] += weight[i]
	}
	if slices.Max(sizes) < smallest {
		return
	}
	for i, n := range g.of {
		if sizes[n] < smallest {
			g.of[i] = -1
		}
	}
	g.number()
}

// matter is what is grouped: vectors, nearly of unit length, and what they
// weigh.
type matter struct {
	v      [][]int16
	weight []float64
	table  *nearest.Table // of the vectors: a centre is compared with all of them in a pass
}

func newMatter(v [][]int16, weight []float64) *matter {
	m := &matter{v: v, weight: weight, table: nearest.New(len(v[0]))}
	sum := make([]int64, len(v[0]))
	for _, x := range v {
		for j, q := range x {
			sum[j] = int64(q)
		}
		m.table.AddSum(sum)
	}
	return m
}

// centres are the sums of the members of each group.
type centres struct {
	dim    int
	sums   []float64
	length []float64 // of each sum, squared
	units  [][]int16
}

func (g *grouping) centres(m *matter) *centres {
	dim := len(m.v[0])
	c := &centres{dim: dim, sums: make([]float64, g.k*dim), length: make([]float64, g.k), units: make([][]int16, g.k)}
	for i, n := range g.of {
		if n < 0 {
			continue
		}
		w, sum := m.weight[i], c.sums[n*dim:][:dim]
		for j, q := range m.v[i] {
			sum[j] += float64(w * float64(q))
		}
	}
	all := make([]int16, g.k*dim)
	for n := range c.units {
		sum := c.sums[n*dim:][:dim]
		for _, s := range sum {
			c.length[n] += float64(s * s)
		}
		c.units[n] = all[n*dim:][:dim]
		if length := math.Sqrt(c.length[n]); length > 0 {
			f := math.MaxInt16 / length
			for j, s := range sum {
				c.units[n][j] = int16(math.RoundToEven(float64(s * f)))
			}
		}
	}
	return c
}

// reassign gives each part to the group whose centre is the nearest.
func (g *grouping) reassign(m *matter, c *centres) (changed bool) {
	best, most := make([]int, len(m.v)), make([]float32, len(m.v))
	for n, u := range c.units {
		for i, s := range m.table.Scores(u) {
			if n == 0 || s > most[i] {
				best[i], most[i] = n, s
			}
		}
	}
	for i, n := range best {
		changed = changed || g.of[i] != n
		g.of[i] = n
	}
	g.number()
	return changed
}

// settle drops what is small and moves parts to the nearest centre until
// nothing changes, so often at most.
func (g *grouping) settle(m *matter, iterations int) {
	g.dropSmall(m.weight)
	for range iterations {
		if !g.reassign(m, g.centres(m)) {
			return
		}
	}
}

// silhouette is the mean over the members of (b-a)/max(a,b), with a the distance
// to the own centre without the part itself and b that to the nearest other
// (Hruschka, Campello and de Castro 2006, simplified silhouette): 1 where groups
// are far from each other. others, if not nil, gets the b of each part.
func (g *grouping) silhouette(m *matter, others []float64) float64 {
	c := g.centres(m)
	other := make([]float32, len(m.v))
	for i := range other {
		other[i] = -1
	}
	for n, u := range c.units {
		for i, s := range m.table.Scores(u) {
			if g.of[i] != n && s > other[i] {
				other[i] = s
			}
		}
	}
	total, members := 0.0, 0.0
	for i, x := range m.v {
		n := g.of[i]
		b := 1 - float64(other[i])
		if others != nil {
			others[i] = b
		}
		w, s := m.weight[i], 0.0
		product, norm := c.product(n, x)
		// The sum without the part: its product with x and its length.
		rest := product - float64(w*norm)
		length := c.length[n] - float64(2*float64(w*product)) + float64(float64(w*w)*norm)
		if norm > 0 && length > norm*1e-9 {
			a := 1 - rest/math.Sqrt(float64(length*norm))
			s = (b - a) / max(a, b)
		}
		total += float64(w * s)
		members += w
	}
	return total / members
}

// product returns the product of a centre's sum and x, and |x|^2.
func (c *centres) product(n int, x []int16) (product, norm float64) {
	for j, s := range c.sums[n*c.dim:][:c.dim] {
		product += float64(s * float64(x[j]))
	}
	return product, float64(kernel.Dot16(x, x))
}
