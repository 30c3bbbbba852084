package quality

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/tokaworks/toka/internal/kernel"
)

// KMeans groups unit vectors, quantised to 16 bits, around k centroids by
// spherical k-means: k-means++ starts, at most so many iterations, and of so
// many runs the one with the largest sum of cosines.
func KMeans(vectors [][]int16, k, runs, iterations int, seed uint64) (groups []int, objective float64) {
	k = min(k, len(vectors))
	for run := range runs {
		r := rand.New(rand.NewPCG(seed, uint64(run)))
		g, o := kmeans(vectors, start(vectors, k, r), iterations)
		if run == 0 || o > objective {
			groups, objective = g, o
		}
	}
	return groups, objective
}

const one = 1 << 30 // the product of two equal unit vectors, nearly

// start draws k-means++ starts: each next one with a chance in proportion to
// its squared distance from the nearest so far.
func start(vectors [][]int16, k int, r *rand.Rand) [][]int16 {
	if k == 0 {
		return nil
	}
	centroids := [][]int16{vectors[r.IntN(len(vectors))]}
	far := make([]float64, len(vectors))
	for i := range far {
		far[i] = math.Inf(1)
	}
	for len(centroids) < k {
		last := centroids[len(centroids)-1]
		total := 0.0
		for i, v := range vectors {
			far[i] = min(far[i], max(0, 1-float64(kernel.Dot16(v, last))/one))
			total += far[i]
		}
		x, next := r.Float64()*total, len(vectors)-1
		for i, d := range far {
			if x -= d; x < 0 {
				next = i
				break
			}
		}
		centroids = append(centroids, vectors[next])
	}
	return centroids
}

func kmeans(vectors, starts [][]int16, iterations int) (groups []int, objective float64) {
	centroids := make([][]int16, len(starts))
	for i := range starts {
		centroids[i] = slices.Clone(starts[i])
	}
	groups = make([]int, len(vectors))
	near := make([]int32, len(vectors))
	for range iterations {
		changed := false
		for i, v := range vectors {
			best, most := 0, int32(math.MinInt32)
			for c := range centroids {
				if d := kernel.Dot16(v, centroids[c]); d > most {
					best, most = c, d
				}
			}
			changed = changed || groups[i] != best
			groups[i], near[i] = best, most
		}
		objective = move(vectors, groups, near, centroids)
		if !changed {
			break
		}
	}
	return groups, objective
}

// move puts each centroid where the sum of its vectors points, and one without
// vectors to the vector that is the farthest from its own.
func move(vectors [][]int16, groups []int, near []int32, centroids [][]int16) (objective float64) {
	if len(vectors) == 0 {
		return 0
	}
	dim := len(vectors[0])
	sums := make([]int64, len(centroids)*dim)
	for i, v := range vectors {
		s := sums[groups[i]*dim:][:dim]
		for j, q := range v {
			s[j] += int64(q)
		}
	}
	for c := range centroids {
		s := sums[c*dim:][:dim]
		length := 0.0
		for _, x := range s {
			length += float64(x) * float64(x)
		}
		if length = math.Sqrt(length); length == 0 {
			worst := 0
			for i := range near {
				if near[i] < near[worst] {
					worst = i
				}
			}
			near[worst] = math.MaxInt32
			copy(centroids[c], vectors[worst])
			continue
		}
		objective += length / math.MaxInt16
		for j, x := range s {
			centroids[c][j] = int16(math.Round(float64(x) * math.MaxInt16 / length))
		}
	}
	return objective
}

// sum adds in the order of size, so that the order of xs does not matter.
func sum(xs []float64) (total float64) {
	xs = slices.Sorted(slices.Values(xs))
	for _, x := range xs {
		total += x
	}
	return total
}
