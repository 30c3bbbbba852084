package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokaworks/toka/events"
	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/intent/cluster"
	"github.com/tokaworks/toka/internal/quality"
)

func (a *app) benchIntentCommand() *cobra.Command {
	var o intentBench
	c := &cobra.Command{
		Use:   "intent",
		Short: "Measure how well and how fast events are grouped by meaning",
		Long: `Measures the strategies that group events by meaning, on texts with known labels.

--data names a directory with, for each set, NAME.jsonl.gz (an object with "text"
and "label" a line, labels for scoring only) and NAME.ANYTHING.f32 (their vectors
in the same order, little-endian float32). Rows whose vectors are "builtin" are of
the same texts with the vectors of the built-in embedder; --vectors chooses.

Each strategy reads each set in several seeded orders, once, event by event, with
no labels and no number of groups. An event counts where it was put on arrival,
with merges and splits resolved. Beside them stands batch spherical k-means that is
given the true number of labels, the best of 5 runs by objective: ari_ratio is the
strategy's ARI over its. The rows named leader-swept are a leader with the
threshold that is the best by the labels.

Then the speed of a search for the nearest centroid is measured, beside gonum's
blas32 in the same run, and how fast a journal in a temporary directory beside the
current one's files takes events with vectors while it has a thousand intents.`,
		Example: lines(
			"toka-node bench intent --data ./sets",
			"toka-node bench intent --data ./sets --strategy two-phase --orders 3 -o json"),
		Args: args(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case a.data == "":
				return usage("--data is missing: name a directory with NAME.jsonl.gz and NAME.*.f32")
			case o.orders < 1 || o.orders > 100:
				return usage("orders %d: use 1 to 100", o.orders)
			}
			if o.vectors != "" && o.vectors != "file" && o.vectors != "builtin" {
				return usage("vectors %q: use file or builtin", o.vectors)
			}
			for _, name := range o.only {
				if !slices.ContainsFunc(benchStrategies, func(s benchStrategy) bool { return s.name == name }) && name != "leader-swept" {
					return usage("strategy %q: use %s or leader-swept", name, strings.Join(benchStrategyNames(), ", "))
				}
			}
			return a.benchIntent(c.Context(), &o)
		},
	}
	c.Flags().StringVar(&a.data, "data", "", "directory with the sets")
	c.Flags().IntVar(&o.orders, "orders", 5, "orders of arrival")
	c.Flags().StringSliceVar(&o.only, "strategy", nil, "only these strategies")
	c.Flags().StringSliceVar(&o.sets, "set", nil, "only these sets")
	c.Flags().StringVar(&o.vectors, "vectors", "", "only these vectors: file or builtin")
	c.Flags().BoolVar(&o.noSpeed, "no-speed", false, "leave out the speed of searches and of a journal")
	return a.withOutput(c)
}

type intentBench struct {
	orders  int
	only    []string
	sets    []string
	vectors string
	noSpeed bool
}

func (o *intentBench) wants(strategy string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, strategy)
}

type benchStrategy struct {
	name string
	make func(dimension int) intent.Strategy
}

// budget is how many intents the budgeted strategy may have in the benchmark.
const budget = 256

var benchStrategies = []benchStrategy{
	{"two-phase", func(d int) intent.Strategy { return cluster.NewTwoPhase(cluster.Layered{Dimension: d}) }},
	{"strict", func(d int) intent.Strategy { return cluster.NewStrict(cluster.Layered{Dimension: d}) }},
	{"calibrated", func(d int) intent.Strategy { return cluster.NewCalibrated(cluster.Layered{Dimension: d}) }},
	{"budgeted", func(d int) intent.Strategy { return cluster.NewBudgeted(budget, cluster.Layered{Dimension: d}) }},
	{"leader", func(d int) intent.Strategy { return cluster.NewLeader(cluster.Options{Dimension: d}) }},
}

func benchStrategyNames() (names []string) {
	for _, s := range benchStrategies {
		names = append(names, s.name)
	}
	return names
}

// intentRow is what bench intent prints for a set and a strategy.
type intentRow struct {
	Set      string `json:"set"`
	Vectors  string `json:"vectors"` // file or builtin
	Strategy string `json:"strategy"`
	Name     string `json:"name"` // of the strategy, with every setting
	Events   int    `json:"events"`
	Orders   int    `json:"orders"`

	ARI           float64 `json:"ari"`
	V             float64 `json:"v"`
	B3            float64 `json:"b3"`
	Purity        float64 `json:"purity"`
	K             float64 `json:"k"`
	K3            float64 `json:"k3"`
	KTrue         int     `json:"k_true"`
	PairPrecision float64 `json:"pair_precision"`
	PairRecall    float64 `json:"pair_recall"`

	ARISD           float64 `json:"ari_sd"`
	VSD             float64 `json:"v_sd"`
	B3SD            float64 `json:"b3_sd"`
	PuritySD        float64 `json:"purity_sd"`
	KSD             float64 `json:"k_sd"`
	K3SD            float64 `json:"k3_sd"`
	PairPrecisionSD float64 `json:"pair_precision_sd"`
	PairRecallSD    float64 `json:"pair_recall_sd"`

	ARIRatio  float64 `json:"ari_ratio"`
	EventsPer float64 `json:"events_per_s"`
}

// fill takes the scores of the orders.
func (r *intentRow) fill(scores []quality.Scores, kmeans float64) {
	for _, f := range []struct {
		mean, sd *float64
		of       func(quality.Scores) float64
	}{
		{&r.ARI, &r.ARISD, func(s quality.Scores) float64 { return s.ARI }},
		{&r.V, &r.VSD, func(s quality.Scores) float64 { return s.V }},
		{&r.B3, &r.B3SD, func(s quality.Scores) float64 { return s.B3 }},
		{&r.Purity, &r.PuritySD, func(s quality.Scores) float64 { return s.Purity }},
		{&r.K, &r.KSD, func(s quality.Scores) float64 { return float64(s.K) }},
		{&r.K3, &r.K3SD, func(s quality.Scores) float64 { return float64(s.K3) }},
		{&r.PairPrecision, &r.PairPrecisionSD, func(s quality.Scores) float64 { return s.PairPrecision }},
		{&r.PairRecall, &r.PairRecallSD, func(s quality.Scores) float64 { return s.PairRecall }},
	} {
		xs := make([]float64, len(scores))
		for i, s := range scores {
			xs[i] = f.of(s)
		}
		*f.mean, *f.sd = quality.Mean(xs)
	}
	r.KTrue, r.Orders = scores[0].KTrue, len(scores)
	if kmeans > 0 {
		r.ARIRatio = r.ARI / kmeans
	}
}

func (a *app) benchIntent(ctx context.Context, o *intentBench) error {
	sets, err := findIntentSets(a.data, o.sets)
	if err != nil {
		return err
	}
	table := a.table()
	if !a.json() {
		fmt.Fprintln(table, "set\tvectors\tstrategy\tARI\tratio\tV\tB3\tpurity\tk\tk3\tk true\tpairs P\tpairs R\tevents/s")
	}
	print := func(r *intentRow) error {
		if a.json() {
			return a.object(r)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.3f±%.3f\t%.2f\t%.3f\t%.3f\t%.3f\t%.0f\t%.0f\t%d\t%.3f\t%.3f\t%.0f\n", printable(r.Set), r.Vectors, r.Strategy,
			r.ARI, r.ARISD, r.ARIRatio, r.V, r.B3, r.Purity, r.K, r.K3, r.KTrue, r.PairPrecision, r.PairRecall, r.EventsPer)
		return nil
	}
	for _, set := range sets {
		if o.vectors != "" && (o.vectors == "builtin") != (set.f32 == "") {
			continue
		}
		if err := o.measure(ctx, set, print); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil || o.noSpeed {
		return err
	}
	if err := a.benchNearest(ctx); err != nil {
		return err
	}
	return a.benchJournal(ctx)
}

// measure runs the strategies over one set.
func (o *intentBench) measure(ctx context.Context, set intentFiles, print func(*intentRow) error) error {
	s, err := set.read()
	if err != nil {
		return err
	}
	groups, _ := quality.KMeans(s.raw(), s.topics(), 5, 30, 1)
	base := quality.Score(groups, s.labels)
	row := intentRow{Set: s.name, Vectors: s.vectors, Strategy: "k-means", Name: "batch spherical k-means, true k, best of 5", Events: len(s.labels)}
	row.fill([]quality.Scores{base}, base.ARI)
	if err := print(&row); err != nil {
		return err
	}
	for _, strategy := range benchStrategies {
		if !o.wants(strategy.name) {
			continue
		}
		row, err := o.run(ctx, s, strategy.make, base.ARI)
		if err != nil {
			return err
		}
		row.Strategy = strategy.name
		if err := print(row); err != nil {
			return err
		}
	}
	if !o.wants("leader-swept") {
		return nil
	}
	// The best threshold by the labels: what calibration without them is
	// compared with.
	var best *intentRow
	for t := 0.40; t < 0.86; t += 0.05 {
		row, err := o.run(ctx, s, func(d int) intent.Strategy {
			return cluster.NewLeader(cluster.Options{Dimension: d, Threshold: t})
		}, base.ARI)
		if err != nil {
			return err
		}
		if best == nil || row.ARI > best.ARI {
			best = row
		}
	}
	best.Strategy = "leader-swept"
	return print(best)
}

// run feeds a set to a strategy in each order.
func (o *intentBench) run(ctx context.Context, s *intentSet, make func(int) intent.Strategy, base float64) (*intentRow, error) {
	row := &intentRow{Set: s.name, Vectors: s.vectors, Events: len(s.labels)}
	var scores []quality.Scores
	var spent time.Duration
	for seed := range o.orders {
		strategy := make(s.dimension)
		row.Name = strategy.Name()
		groups, took, err := group(ctx, strategy, s.arrivals, rand.New(rand.NewPCG(uint64(seed)+1, 1)).Perm(len(s.labels)))
		if err != nil {
			return nil, err
		}
		scores = append(scores, quality.Score(groups, s.labels))
		spent += took
	}
	row.fill(scores, base)
	row.EventsPer = float64(len(s.labels)*o.orders) / spent.Seconds()
	return row, nil
}

// group feeds vectors to a strategy in an order, and returns where each ended
// up: where it was put on arrival, with merges and splits resolved.
func group(ctx context.Context, s intent.Strategy, vectors []intent.Vector, order []int) ([]events.ID, time.Duration, error) {
	groups := make([]events.ID, len(vectors))
	var aliases intent.Aliases
	changer, changes := s.(intent.Changer)
	start := time.Now()
	for n, i := range order {
		if n%256 == 0 && ctx.Err() != nil {
			return nil, 0, errors.New("interrupted")
		}
		a := intent.Arrival{Position: uint64(n) + 1, Vector: vectors[i]}
		binary.BigEndian.PutUint64(a.Digest[:], a.Position)
		groups[i] = s.Assign(a).Of()
		if changes {
			for _, c := range changer.Changes() {
				aliases.Apply(c)
			}
		}
	}
	took := time.Since(start)
	for i := range groups {
		groups[i] = aliases.Resolve(groups[i])
	}
	return groups, took, nil
}
