// Package tracing shows what a journal holds as OpenTelemetry traces: a span for
// each event, below the span that its cause has. Only programs that import it
// link it; it uses OpenTelemetry's interface, so what becomes of the spans is
// said where a program says so for all others, with otel.SetTracerProvider.
//
//	node.Main(registry, node.Beside(tracing.Follow))
//
// A span is named after what was done: an append from outside, a reaction of an
// agent, a command to a resource. It begins when the cause was recorded, and ends
// when the event was: what lies between is the wait in the mailbox, the decision
// and the disk.
//
// # Guarantees
//
//   - An event that brought a W3C trace context is below the span that it names,
//     and what follows from it is in the same trace (TestFollow).
//   - An event with several parents is below the one that it reacts to, else the
//     oldest, and has links to the others (TestFollow).
//   - No payload, and no name of a data subject, is in a span (TestFollow).
//   - What it keeps is bounded: of causes that lie further back it says only that
//     there are such (TestFollowForgets).
//   - A program that does not import it does not link it (TestOptional, of
//     internal/imports).
//
// # What it does not do
//
// It does not trace what is not in the journal, such as requests that read. It
// keeps nothing on disk: what was appended while it did not follow has no spans.
// It is never ahead of the disk, and never holds up who appends.
package tracing
