// Package merkle is the arithmetic of a journal that can be checked from
// outside: an RFC 6962 tree whose leaves are the record hashes in the order of
// the journal, proofs over it, and heads that are signed as C2SP checkpoints.
//
//	var edge merkle.Edge
//	edge.Add(event.RecordHash(), nil)
//	head := merkle.Head{Origin: "toka.journal/…", Size: edge.Size(), Root: edge.Root()}
//	note, err := key.Sign(head)
//
// Whoever holds a signed head can be shown two things without being given the
// journal: that an event stands in it at its position (CheckInclusion), and
// that a later head has everything that an earlier one had, unchanged
// (CheckConsistency).
//
// # Guarantees
//
//   - Roots and proofs are those of RFC 6962 with SHA-256
//     (TestRootsAreThoseOfRFC6962, TestProofs).
//   - A proof for another record, position, size or root is refused, and so is
//     one with a changed, missing or added hash (TestProofsAreRefused).
//   - A head is read exactly as it was written, or refused (TestHeadText,
//     FuzzParseHead). One that is not signed by a given key, or was changed, is
//     refused (TestSignedHeads).
//   - A tree is continued from its edge alone, some 32 bytes for each doubling
//     of its size (TestEdge), and a proof reads at most 510 hashes of each stored
//     level (TestProofCost).
//   - Input from outside never panics (FuzzParseHead, FuzzOpen,
//     FuzzParseEdge).
//
// # What it does not do
//
// It does no I/O: hashes come from a [Source]. It does not say that a head is
// the newest: who holds the key can sign two heads that do not agree, and
// only somebody who has seen both finds out. Heads have to leave the machine
// for that.
//
// # Formats
//
// A leaf is SHA-256 of a zero byte and the record hash (32 bytes, see package
// events); the event at position p is leaf p-1. A head is three lines, with the
// size in decimal and the root in base64:
//
//	ORIGIN
//	SIZE
//	ROOT
//
// Signed, an empty line follows and a line for each signature, as the C2SP
// formats tlog-checkpoint and signed-note say; keys are Ed25519, in the note
// format's text form.
package merkle
