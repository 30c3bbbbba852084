package quality

import "math"

// Scores compare a grouping with labels. 1 is perfect for all but the counts.
type Scores struct {
	ARI           float64 // adjusted Rand index (Hubert and Arabie 1985): 0 is chance
	V             float64 // V-measure (Rosenberg and Hirschberg 2007); flattered by many small groups
	B3            float64 // B-cubed F1 (Bagga and Baldwin 1998)
	Purity        float64 // part of the items whose label is the most frequent of their group
	PairPrecision float64 // part of the pairs in a group that share a label
	PairRecall    float64 // part of the pairs with one label that share a group
	K             int     // groups
	K3            int     // groups of 3 or more
	KTrue         int     // labels
}

// Score scores a grouping: items i and j are together if groups[i] == groups[j],
// and should be if labels[i] == labels[j].
func Score[G, L comparable](groups []G, labels []L) Scores {
	labels = labels[:len(groups)]
	type cell struct {
		group G
		label L
	}
	cells, rows, columns := map[cell]int{}, map[G]int{}, map[L]int{}
	for i := range groups {
		cells[cell{groups[i], labels[i]}]++
		rows[groups[i]]++
		columns[labels[i]]++
	}
	s := Scores{K: len(rows), KTrue: len(columns), ARI: 1, V: 1, PairPrecision: 1, PairRecall: 1}
	// Whole numbers are summed in integers: a map has no order, and a sum of
	// floats has one.
	both, inRows, inColumns := pairs(cells), pairs(rows), pairs(columns)
	n := len(groups)
	all := int64(n) * int64(n-1) / 2
	if inRows > 0 {
		s.PairPrecision = float64(both) / float64(inRows)
	}
	if inColumns > 0 {
		s.PairRecall = float64(both) / float64(inColumns)
	}
	if all > 0 {
		chance := float64(inRows) * float64(inColumns) / float64(all)
		if most := float64(inRows+inColumns) / 2; most != chance {
			s.ARI = (float64(both) - chance) / (most - chance)
		}
	}
	best := map[G]int{}
	var precision, recall []float64
	var joint []int
	for c, m := range cells {
		best[c.group] = max(best[c.group], m)
		precision = append(precision, float64(m)*float64(m)/float64(rows[c.group]))
		recall = append(recall, float64(m)*float64(m)/float64(columns[c.label]))
		joint = append(joint, m)
	}
	if n == 0 {
		return s
	}
	p, r := sum(precision)/float64(n), sum(recall)/float64(n)
	s.B3 = 2 * p * r / (p + r)
	pure := 0
	for g, m := range rows {
		pure += best[g]
		if m >= 3 {
			s.K3++
		}
	}
	s.Purity = float64(pure) / float64(n)
	hg, hl, hj := entropy(values(rows), n), entropy(values(columns), n), entropy(joint, n)
	mutual := hg + hl - hj
	if hg+hl > 0 {
		s.V = max(0, 2*mutual/(hg+hl))
	}
	return s
}

func pairs[K comparable](counts map[K]int) (sum int64) {
	for _, n := range counts {
		sum += int64(n) * int64(n-1) / 2
	}
	return sum
}

func values[K comparable](counts map[K]int) []int {
	out := make([]int, 0, len(counts))
	for _, n := range counts {
		out = append(out, n)
	}
	return out
}

func entropy(counts []int, n int) float64 {
	terms := make([]float64, len(counts))
	for i, m := range counts {
		p := float64(m) / float64(n)
		terms[i] = -p * math.Log(p)
	}
	return sum(terms)
}

// Mean returns the mean of xs and their standard deviation (of a sample; 0 for
// one).
func Mean(xs []float64) (mean, sd float64) {
	if len(xs) == 0 {
		return 0, 0
	}
	mean = sum(xs) / float64(len(xs))
	if len(xs) == 1 {
		return mean, 0
	}
	squares := make([]float64, len(xs))
	for i, x := range xs {
		squares[i] = (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(sum(squares) / float64(len(xs)-1))
}
