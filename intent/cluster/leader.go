package cluster

import (
	"fmt"
	"math"
	"strconv"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/kernel"
	"github.com/tokaworks/toka/internal/nearest"
)

// DefaultThreshold is the threshold of a [Leader] where nothing else is said.
const DefaultThreshold = 0.82

// maxDimension keeps the length of a vector below 2^15.5, for the arithmetic of
// internal/nearest.
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
// takes 4 KB of memory at 768 dimensions.
type Leader struct {
	// Set by NewLeader.
	name      string
	dim       int
	threshold uint64 // in billionths

	// The state, oldest intent first: intents[i] has the centroid i of the table.
	intents []member
	table   *nearest.Table
}

var _ intent.Strategy = (*Leader)(nil)

// member is an intent without its centroid.
type member struct {
	id      events.ID
	members uint64
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
		table:     nearest.New(o.Dimension),
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
	norm := uint64(kernel.Dot16(a.Vector, a.Vector))
	if i, product := l.table.Nearest(a.Vector); product > 0 && l.table.Reaches(i, product, norm, l.threshold) {
		similarity := l.table.Cosine(i, product, norm)
		l.table.Join(i, a.Vector, product, norm)
		l.intents[i].members++
		return intent.Assignment{Intent: l.intents[i].id, Similarity: similarity}
	}
	m := member{id: events.IntentID(l.name, a.Digest), members: 1}
	l.table.Add(a.Vector)
	l.intents = append(l.intents, m)
	return intent.Assignment{Intent: m.id, Similarity: 1, Created: true}
}
