// Package kernel holds the inner loops over quantised vectors: dot products in
// integers, one vector against many, sums, and the rows that stand for sums.
//
// Each has a form in plain Go and, on amd64, one in assembly that is chosen
// when the processor has the instructions. Integers do not round, so both give
// the same bits (TestAssemblyEqualsGo, TestSigns, TestSums, FuzzKernels). Round8
// does, one operation after the other in both. The build tag purego leaves the
// assembly out.
package kernel
