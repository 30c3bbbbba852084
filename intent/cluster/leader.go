package cluster

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
)

// DefaultThreshold is the threshold of a [Leader] where nothing else is said.
const DefaultThreshold = 0.82

// maxDimension keeps the length of a vector below 2^15.5, for the arithmetic in
// exact.go, and the error of a float32 dot product small.
const maxDimension = 1 << 16

// billion is the denominator of a threshold. A decimal one, so that 0.82 means
// 0.82 and a name can tell a threshold in full.
const billion = 1_000_000_000

// Options are the settings of a [Leader]. The zero value means the defaults.
type Options struct {
	// Threshold is the least cosine to a centroid with which an arrival joins
	// its intent: above 0, at most 1, rounded to nine decimals. 0 means
	// DefaultThreshold.
	Threshold float64

	// Dimension is the length of the vectors, at most 65,536. 0 means
	// intent.DefaultDimension.
	Dimension int
}

// Leader is the online leader strategy: join the nearest intent if it is near
// enough, found one if not. It implements [intent.Strategy].
//
// Assign takes time in proportion to intents times dimensions, and an intent
// takes about 12 bytes a dimension of memory.
type Leader struct {
	// Set by NewLeader.
	name      string
	dim       int
	threshold uint64  // in billionths
	margin    float64 // how far below the best float score the nearest can lie

	// The state, oldest intent first.
	intents []cluster

	// Derived from the state: the centroids at unit length, one row each, to
	// scan with floats.
	rows []float32

	// Scratch of one Assign.
	query, scores []float32
}

var _ intent.Strategy = (*Leader)(nil)

// cluster is one intent. The direction of the sum is that of the mean, so the
// sum stands for the centroid, without a division that would have to round.
type cluster struct {
	id      events.ID
	members uint64
	sum     []int64
	norm    u128 // |sum|^2
}

// NewLeader returns a leader strategy without intents. It panics if an option
// is out of range.
func NewLeader(o Options) *Leader {
	if o.Threshold == 0 {
		o.Threshold = DefaultThreshold
	}
	if o.Dimension == 0 {
		o.Dimension = intent.DefaultDimension
	}
	if o.Dimension < 0 || o.Dimension > maxDimension {
		panic(fmt.Sprintf("cluster: Options.Dimension is %d, want 1 to %d", o.Dimension, maxDimension))
	}
	t := math.Round(o.Threshold * billion)
	if !(t >= 1 && t <= billion) { // so that NaN is refused as well
		panic(fmt.Sprintf("cluster: Options.Threshold is %v, want above 0 (at least 1e-9) and at most 1", o.Threshold))
	}
	return &Leader{
		name:      fmt.Sprintf("leader/1 dim=%d t=%s", o.Dimension, strconv.FormatFloat(t/billion, 'f', -1, 64)),
		dim:       o.Dimension,
		threshold: uint64(t),
		margin:    2 * scoreError(o.Dimension),
		query:     make([]float32, o.Dimension),
	}
}

// Name implements intent.Strategy, for example "leader/1 dim=768 t=0.82".
func (l *Leader) Name() string { return l.name }

// Dimension implements intent.Strategy.
func (l *Leader) Dimension() int { return l.dim }

// Count implements intent.Strategy.
func (l *Leader) Count() int { return len(l.intents) }

// Assign implements intent.Strategy. It panics if a.Vector is not a quantised
// vector of the strategy's dimension.
func (l *Leader) Assign(a intent.Arrival) intent.Assignment {
	if err := a.Vector.Check(l.dim); err != nil {
		panic(fmt.Sprintf("cluster: Assign at position %d: %v", a.Position, err))
	}
	norm := uint64(dot(a.Vector, a.Vector))
	if i, product := l.nearest(a.Vector); product > 0 {
		c := &l.intents[i]
		if reaches(product, c.norm, norm, l.threshold) {
			similarity := cosine(product, c.norm, norm)
			c.join(a.Vector, product, norm)
			c.appendRow(l.rows[:i*l.dim])
			return intent.Assignment{Intent: c.id, Similarity: similarity}
		}
	}
	c := cluster{
		id:      events.IntentID(l.name, a.Digest),
		members: 1,
		sum:     make([]int64, l.dim),
		norm:    u128{lo: norm},
	}
	for j, q := range a.Vector {
		c.sum[j] = int64(q)
	}
	l.add(c)
	return intent.Assignment{Intent: c.id, Similarity: 1, Created: true}
}

// add appends an intent and its row.
func (l *Leader) add(c cluster) {
	l.intents = append(l.intents, c)
	l.rows = c.appendRow(l.rows)
	l.scores = append(l.scores, 0)
}

// nearest returns the oldest of the intents whose cosine to v is the largest,
// and the dot product of its sum and v. If no cosine is positive, the product
// is 0 and the intent has no meaning.
func (l *Leader) nearest(v intent.Vector) (best int, product int64) {
	if len(l.intents) == 0 {
		return 0, 0
	}
	for j, q := range v {
		l.query[j] = float32(q) * (1.0 / 32768) // exact
	}
	blas32.Gemv(blas.NoTrans, 1,
		blas32.General{Rows: len(l.intents), Cols: l.dim, Stride: l.dim, Data: l.rows},
		blas32.Vector{N: l.dim, Inc: 1, Data: l.query}, 0,
		blas32.Vector{N: len(l.intents), Inc: 1, Data: l.scores})
	top := l.scores[0]
	for _, s := range l.scores {
		top = max(top, s)
	}
	// The truly nearest has a true score of at least that of the intent that
	// scored top, and each score is off by half the margin at most: so the
	// nearest, and whatever ties with it, scores at least this.
	least := float64(top) - l.margin
	for i, s := range l.scores {
		if float64(s) < least {
			continue
		}
		p := dot64(l.intents[i].sum, v)
		if p > 0 && (product == 0 || nearer(p, l.intents[i].norm, product, l.intents[best].norm)) {
			best, product = i, p
		}
	}
	return best, product
}

// scoreError bounds how far a score can be from the true value s.v / (32768 |s|)
// of a centroid with sum s, for whatever order or grouping of the additions and
// with fused products or without: a SIMD kernel, its choice by alignment, or
// another BLAS must not change an answer.
//
// Let u = 2^-24 be the unit roundoff of float32, n the dimension, q = v/32768
// the query, which is exact, and r the row without rounding, of length 1.
// Components of a row are 0 or at least 2^-47 and query components at least 2^-15, so
// nothing underflows.
//
//   - A stored component is r_i (1+d), |d| <= u + 2^-50 (one rounding to
//     float32 after float64 steps), which moves the product by at most
//     (u + 2^-50) |q|, as sum |r_i q_i| <= |r||q| = |q| (Cauchy-Schwarz).
//   - A dot product of n float32 pairs is off by at most nu/(1-nu) times the sum
//     of |r_i q_i| (Higham, Accuracy and Stability of Numerical Algorithms,
//     section 3.1), in any order.
//   - Gemv multiplies by alpha = 1 and adds to 0, both exact; two roundings are
//     allowed for in case that an implementation does otherwise.
//
// To first order that is (n+3) u |q|. |q| is at most 1.01, and with n <= 2^16
// the terms of higher order add less than another 0.5%; twice (n+8) u has room
// for both, at the price of a few more centroids to rank.
func scoreError(dim int) float64 { return float64(dim+8) * 0x1p-23 }

// join adds v to the sum, given their dot product and |v|^2, which yield the
// new |sum|^2 without another pass: |s+v|^2 = |s|^2 + 2 s.v + |v|^2. Who joins has
// a positive product, so the norm grows and is never zero.
func (c *cluster) join(v intent.Vector, product int64, norm uint64) {
	c.members++
	for j, q := range v {
		c.sum[j] += int64(q)
	}
	c.norm = c.norm.add(2 * uint64(product)).add(norm)
}

// appendRow appends the centroid at unit length.
func (c *cluster) appendRow(rows []float32) []float32 {
	inverse := 1 / math.Sqrt(c.norm.float64())
	for _, s := range c.sum {
		rows = append(rows, float32(float64(s)*inverse))
	}
	return rows
}
