package quality_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tokaworks/toka/intent"
	"github.com/tokaworks/toka/internal/quality"
)

// Worked by hand, or known from the definitions.
func TestScore(t *testing.T) {
	for _, c := range []struct {
		name           string
		groups, labels []int
		want           quality.Scores
	}{
		{
			"perfect",
			[]int{1, 1, 1, 2, 2, 3},
			[]int{7, 7, 7, 8, 8, 9},
			quality.Scores{ARI: 1, V: 1, B3: 1, Purity: 1, PairPrecision: 1, PairRecall: 1, K: 3, K3: 1, KTrue: 3},
		},
		{
			"all in one",
			[]int{1, 1, 1, 1},
			[]int{1, 1, 2, 2},
			quality.Scores{ARI: 0, V: 0, B3: 2. / 3, Purity: .5, PairPrecision: 1. / 3, PairRecall: 1, K: 1, K3: 1, KTrue: 2},
		},
		{
			"each alone",
			[]int{1, 2, 3, 4},
			[]int{1, 1, 2, 2},
			quality.Scores{ARI: 0, V: 2. / 3, B3: 2. / 3, Purity: 1, PairPrecision: 1, PairRecall: 0, K: 4, K3: 0, KTrue: 2},
		},
		// The table of pairs is 2 together in both, 4 in groups, 4 in labels, 15 in all.
		{
			"mixed",
			[]int{1, 1, 1, 2, 2, 3},
			[]int{1, 1, 2, 2, 2, 3},
			quality.Scores{
				ARI: (2 - 16./15) / (4 - 16./15), V: 0.685331478961406, B3: 0.7777777777777778, Purity: 5. / 6,
				PairPrecision: .5, PairRecall: .5, K: 3, K3: 1, KTrue: 3,
			},
		},
		{"nothing", nil, nil, quality.Scores{ARI: 1, V: 1, PairPrecision: 1, PairRecall: 1}},
	} {
		got := quality.Score(c.groups, c.labels)
		for _, d := range []struct {
			field     string
			got, want float64
		}{
			{"ARI", got.ARI, c.want.ARI},
			{"V", got.V, c.want.V},
			{"B3", got.B3, c.want.B3},
			{"purity", got.Purity, c.want.Purity},
			{"precision", got.PairPrecision, c.want.PairPrecision},
			{"recall", got.PairRecall, c.want.PairRecall},
			{"K", float64(got.K), float64(c.want.K)},
			{"K3", float64(got.K3), float64(c.want.K3)},
			{"KTrue", float64(got.KTrue), float64(c.want.KTrue)},
		} {
			if math.Abs(d.got-d.want) > 1e-12 {
				t.Errorf("%s: %s is %v, want %v", c.name, d.field, d.got, d.want)
			}
		}
	}
}

// Grouping at random is worth nothing, however many groups there are.
func TestChanceIsWorthNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, k := range []int{2, 30, 300} {
		groups, labels := make([]int, 3000), make([]string, 3000)
		for i := range groups {
			groups[i], labels[i] = r.IntN(k), fmt.Sprint(r.IntN(20))
		}
		if ari := quality.Score(groups, labels).ARI; math.Abs(ari) > 0.01 {
			t.Errorf("%d groups at random: ARI %v", k, ari)
		}
	}
}

func TestKMeansFindsWhatIsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const k, n, dim = 7, 400, 64
	var centres [k][dim]float64
	for i := range centres {
		for j := range centres[i] {
			centres[i][j] = r.NormFloat64()
		}
	}
	vectors, labels := make([][]int16, n), make([]int, n)
	for i := range vectors {
		x := make([]float32, dim)
		labels[i] = r.IntN(k)
		for j, c := range centres[labels[i]] {
			x[j] = float32(c + 0.3*r.NormFloat64())
		}
		v, err := intent.Quantize(x, dim)
		if err != nil {
			t.Fatal(err)
		}
		vectors[i] = v
	}
	groups, objective := quality.KMeans(vectors, k, 5, 30, 1)
	if s := quality.Score(groups, labels); s.ARI < 0.999 || s.K != k {
		t.Errorf("%+v", s)
	}
	if again, o := quality.KMeans(vectors, k, 5, 30, 1); o != objective || quality.Score(groups, again).ARI != 1 {
		t.Error("another grouping from the same seed")
	}
	if objective < 0.9*n || objective > n {
		t.Errorf("objective %v of %d vectors", objective, n)
	}
	if groups, _ := quality.KMeans(vectors[:3], 10, 1, 5, 1); quality.Score(groups, labels[:3]).K != 3 {
		t.Errorf("more groups than vectors: %v", groups)
	}
}
