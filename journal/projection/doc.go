// Package projection folds a journal into read models: what is asked of them
// is answered from memory or from a store of the caller's, and how far they
// have come is stored together with what they have come to.
//
//	orders := projection.NewState("orders.view", projection.Fold[map[string]int]{…})
//	p, err := projection.Start(ctx, j, projection.Config{Query: query}, projection.Version[*projection.State[map[string]int]]{Name: "1", Model: orders})
//	err = p.Wait(ctx, receipt.Events[0].Position)
//	p.Serving().View(func(m map[string]int) { … })
//
// # Guarantees
//
//   - A model has taken each event that its query selects once, in order, up to
//     its place: events and place are applied together, and a State writes both
//     in one file that is replaced whole (TestCrashes).
//   - A model is derived: one that is gone, damaged, or stands on an event that
//     the journal does not hold there begins anew (TestModelsThatDoNotFit).
//   - While a new version is built the old one answers, and goes on taking
//     events; they change places when the new one has caught up
//     (TestRebuildWhileServing).
//   - How far a projection lags is known at any time (TestStatus). A fold that
//     fails stops its own model at the event before, by name, and nothing else
//     (TestFoldFails).
//
// # What it does not do
//
// It does not hold up an append: a model that is slow lags. It does not make
// a model's answers current: whoever has just written waits for the position
// with Wait. It does not store a State after each event; after a crash what
// came since is folded again, from the journal.
package projection
