// Package bustest holds a backend of package events/bus to what its interface
// says. Anyone who writes one can run it in a test:
//
//	bustest.Run(t, func(t *testing.T) bus.Bus { return mine.Open() })
//
// # Guarantees
//
//   - A backend that hands on nothing, out of order, twice, to the wrong
//     receiver or after the end fails (TestRunFindsBrokenBuses).
//
// # What it does not do
//
// It does not measure, and does not look at durability: a backend that promises
// to keep something across a crash has to test that itself.
package bustest
