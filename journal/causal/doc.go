// Package causal answers questions about what caused what in a journal:
// ancestors, descendants, nearest common ancestors, what lies between two
// events, cones, heads, and what a cut of the history has not seen.
//
//	e, err := j.ByID(ctx, id)
//	for cause, err := range j.Each(ctx, causal.Ancestors(ctx, j, 0, e.Position)) { … }
//
// Events go in and out as positions, which are cheap to count, to compare and
// to hold; [journal.Journal.Each] turns them into events. The direct parents
// and children are those of [journal.Links].
//
// # Guarantees
//
//   - Each answer is about the journal as it stood at one moment, the durable
//     mark when the question was asked; what is appended meanwhile is not in
//     it (TestAnswersAreOfOneMoment).
//   - Answers are those of the definitions below for any graph
//     (TestAgainstModel), and those that git gives for its own history
//     (TestOracle, in package node).
//   - Positions come in order and each once. That order is a topological one:
//     causes before effects going up, effects before causes going down
//     (TestAgainstModel).
//   - Nothing is recursive, and the depth of a history costs no stack
//     (TestDeepHistory).
//   - Memory is bounded: a question holds the links of one part of the index
//     (see [journal.Links]), and of the positions that it has still to visit
//     or to remember, at most one bit for each event between the oldest and
//     the newest of them, and no more than some 600 bytes for each. A limit of
//     hops takes 32 bits where there was one, and 17 KiB for each
//     (TestMemoryIsBounded).
//   - When the context ends, the sequence yields its cause and ends
//     (TestContext).
//
// # What it does not do
//
// It knows of no cause that is not recorded as a parent, and of no parent that
// is not in this journal. It
// does not order by time. It keeps nothing between two questions.
//
// Heads looks at the links of every event in question, read in order: some five
// bytes for an event with two parents, and no events.
package causal
