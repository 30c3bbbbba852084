// Package quality says what a grouping is worth against labels, and makes the
// grouping that everybody compares with: batch spherical k-means that is given
// the true number of groups.
package quality
