// Package legacy lets programs that were written against the event system
// before Toka go on while they are moved: its types, its dispatcher, and
// conversions both ways that lose nothing. MIGRATING.md walks through the move.
//
// All of it is deprecated. Where a call has an exact new form, go fix writes it
// (the comments go:fix inline); elsewhere the Deprecated line names what to use.
//
// # Guarantees
//
//   - A legacy event that goes to a bus or a journal and comes back is equal in
//     id, kind, payload and time, whatever its kind, also one that nobody knows
//     (TestLegacyRoundTrip, TestLegacyThroughAJournal).
//   - A draft or event that holds a domain event and goes through the legacy form
//     and back is equal, header included (TestDomainRoundTrip). So are the older
//     typed events (TestTypedRoundTrip, TestDomainThroughTyped).
//   - Old and new code run side by side: what a legacy publisher publishes over a
//     bus is journaled like any event, and a legacy subscriber follows everything
//     that goes over the bus (TestSideBySide).
//   - A payload that cannot be serialised is an error, and so is whatever else
//     would be lost (TestRefuses).
//   - Seconds stay seconds: a legacy timestamp in seconds keeps its meaning
//     (TestSeconds).
//   - CausalHash gives the digests that the old system stored
//     (TestCausalHashVectors).
//   - Nothing of Toka imports it (TestNobodyImportsLegacy), and a sample program
//     passes its own test before, between and after the steps of MIGRATING.md
//     (TestMigration).
//
// # What it does not do
//
// It does not read files of the old system, and its digests are not Toka's: the
// same event has another causal digest here, see package events. JSON payloads
// are kept as values: white space and the escapes of characters may change.
package legacy
