// Package nearest keeps centroids of quantised vectors and finds the nearest
// one to a vector.
//
// A centroid is the exact sum of its vectors. Beside it stands a row of 8 bits
// a component, a hundredth off at most, which is what a search scans; rows that
// could be the nearest, given how far off each row is, are then ranked by the
// sums, in integers. So the answer is exact, ties go to the oldest, and no
// kernel, machine or order of additions can change it (TestNearestIsExact,
// TestKernelsGiveTheSameAnswers).
//
// Where centroids are many, their signs are looked at first: an eighth of the
// bytes, and a bound on each cosine that is loose but certain. What is nearer than
// about .7 to one centroid and far from the others needs nothing more; after
// queries of which the signs did not tell, they are left out for a while
// (TestSketchesAreExact).
//
// A centroid takes 5 bytes a dimension and 70 beside, with an eighth of a byte for
// the sign: at most 4,000 bytes at 768 dimensions (TestBytes).
package nearest
