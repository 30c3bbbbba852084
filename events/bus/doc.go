// Package bus is the interface between those who say that something happened
// and those who want to know, and a bus in memory for those who want no more
// than that.
//
//	b := bus.NewMemory(bus.Options{})
//	r, err := b.Receive(bus.Filter{})
//	err = b.Emit(ctx, "auth-service", "user.login", events.System{Component: "auth", Payload: payload})
//	m, err := r.Next(ctx)
//
// A [Bus] takes typed domain events ([Bus.Emit]) and whole drafts with parents,
// kind and embedding ([Bus.Publish]), and hands them on to receivers, who pull,
// and subscribers, who are called. A [Store] is a bus that keeps what went over
// it. [Memory] keeps nothing; package journal/eventbus is the same over a
// journal. Package events/bus/bustest holds every backend to what is said here.
//
// # Guarantees
//
//   - Everybody sees the same order, each message once, from the moment of
//     Receive or Subscribe on (TestMemoryConforms).
//   - Nothing is lost without a word. An emitter waits, until its context ends,
//     while a receiver that it must wait for is a whole ring behind
//     (TestFullRingMakesTheEmitterWait). Who asked not to be waited for is told
//     by a [LagError] how many messages it missed, and goes on with the oldest
//     that is there (TestNoWaitIsToldWhatItMissed).
//   - Subscribers are isolated: one that is slow, stuck, panics, fails or ends
//     its goroutine holds up neither emitters nor other subscribers, and what
//     went wrong is counted, kept and reported (TestMemoryConforms). They are
//     not waited for.
//   - Memory is bounded, also with a stuck subscriber: one ring for all
//     (TestStuckSubscriberHoldsNoMemory).
//   - Emission costs the same with 1 or 1,000 subscribers: they read a shared
//     ring, and waking them is somebody else's work (TestEmissionIsConstant,
//     which counts what an emission does for each subscriber).
//   - A domain event is handed on as the Go value it is. Its encoding, id and
//     digests are computed when [Message.Event] asks, and are the same for
//     everybody who asks (TestLazyEventIsTheSameForAll).
//
// # What it does not do
//
// Memory stores nothing, so it knows neither duplicates nor unknown parents
// and assigns no intents; it takes a parent's digest from whoever gives it.
// A payload that is not JSON is found out by Message.Event, not by Emit. The
// bound of the ring is in messages, not in bytes. A message is shared: nobody
// may change what it points to.
package bus
