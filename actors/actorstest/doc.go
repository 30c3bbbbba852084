// Package actorstest is the testing kit of package actors.
//
//	actorstest.Given(t, Orders, Placed{…}).
//		When(Cancel{Reason: "changed their mind"}).
//		Then(Cancelled{Reason: "changed their mind"})
//
// [Given] tests a resource by the events that it has had, one command and the
// events that come of it; [GivenAgent] an agent by its own events, one event
// and what it emits. A [World] runs a system in virtual time, one message a
// turn, in an order that a seed decides. A [Probe] waits for events.
//
// # Guarantees
//
//   - What Given and GivenAgent test is the real thing: events and commands are
//     encoded, journaled and read back, and the state that is compared is
//     folded anew from the journal (TestStateThatFoldsToAnother). A command, an
//     event, or a state that is compared or kept as a snapshot, that does not
//     survive its encoding fails the test (TestGiven, TestGivenAgent,
//     TestWhatIsLostInEncodingIsFound).
//   - Two Worlds with the same seed that are told the same do the same in the
//     same order; other seeds give other orders (TestSameSeedSameOrder).
//     Timers, backoff and deadlines are virtual (TestWorldTime).
//
// # What it does not do
//
// A World needs a testing/synctest bubble, and drives one system. What tests
// and effects do on goroutines of their own is not in its order: use [World.Do]
// one at a time. Ids that nobody gave are minted anew each time. It opens
// journals in memory only.
package actorstest
