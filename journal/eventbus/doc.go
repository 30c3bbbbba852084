// Package eventbus is a journal as a bus: what goes over it is journaled
// first, and what is received is durable.
//
//	b, err := eventbus.Open("data", eventbus.Options{})
//	parent, err := bus.Commit(ctx, b, "files", "resource.created", created, nil, nil)
//	child, err := bus.Commit(ctx, b, "files", "resource.updated", updated, []events.Event{parent}, embedding)
//	fmt.Println(child.Parents, child.Intent)
//
// It adds nothing to a journal but the form: the source of an event is its
// stream, its sequence the position.
//
// # Guarantees
//
//   - It is a bus and a store as package events/bus says (TestConforms).
//   - Emit and Publish return when the event is as durable as the journal
//     promises, and nobody receives it earlier (TestReceivedIsDurable).
//   - Nothing is ever missed, not even by who is not waited for: a slow receiver
//     reads later from the journal (TestSlowReceiverMissesNothing).
//   - What was committed is there after the journal is opened again
//     (TestReopen).
//
// # What it does not do
//
// It does not remember where a receiver was: each begins with what is emitted
// after it. Package journal reads from any position, and its consumers remember
// theirs. Kinds of the system are received only with a pattern that begins
// with "toka.". A receiver of a bus that is closed gets bus.ErrClosed and finds
// what it did not receive in the journal.
package eventbus
