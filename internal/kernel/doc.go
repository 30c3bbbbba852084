// Package kernel holds the inner loops over quantised vectors: dot products in
// integers, one vector against many.
//
// Each has a form in plain Go and, on amd64, one in assembly that is chosen
// when the processor has the instructions. Integers do not round, so both give
// the same bits (TestAssemblyEqualsGo, FuzzKernels). The build tag purego
// leaves the assembly out.
package kernel
