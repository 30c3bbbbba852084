// Package intent says what it takes to group events by meaning: the vector
// that stands for an event, and the interface of a strategy that assigns each
// vector to an intent as it arrives, with no number of groups given and no
// labels.
//
// A journal owns one [Strategy] and feeds it, in order of position, the
// quantised vector of every event that brought an embedding. What the strategy
// answers is stored beside the event and joined to what the journal returns.
// [Nil] assigns nothing; package intent/cluster holds strategies that do.
//
// # Guarantees
//
//   - A vector has one stored form: unit length, quantised to 16-bit integers
//     when the event is appended, so that all later arithmetic can be exact
//     (TestQuantizeIsIdempotentOnBytes, TestVectorBytesRoundTrip).
//   - A vector that cannot stand for a direction is refused by name: another
//     dimension, NaN, infinity, zero length (TestQuantizeRefuses,
//     FuzzQuantize).
//   - An empty embedding means that the event has no intent, and is no error
//     (TestNilAssignsNothing).
//
// # What it does not do
//
// It does not compute embeddings, store anything, start goroutines or read a
// clock. It does not promise that a strategy is any good: see intent/cluster
// for what was measured. It does not undo quantisation: reading a stored vector
// as floats and quantising those again can move a component by a step or more
// where one component outweighs many.
//
// # The stored vector
//
//	+--------+---------------------------------------------------+
//	| 2 each | components, int16, little-endian, in order        |
//	+--------+---------------------------------------------------+
//
// A component is the float times 32767 after scaling to unit length, rounded
// half away from zero.
package intent
