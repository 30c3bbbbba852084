// Package bundle carries a part of a journal to somewhere else as one file
// that proves itself: events with their payloads, verified without the journal
// that they came from, and imported into another one.
//
//	s, err := bundle.Export(ctx, w, j, causal.Cone(ctx, j, 0, p), bundle.ExportOptions{})
//	s, err := bundle.Verify(r, bundle.VerifyOptions{})
//	n, err := bundle.Import(ctx, r, other, bundle.VerifyOptions{})
//
// # Guarantees
//
//   - What Verify accepts is what was exported: every payload, causal digest
//     and record hash is computed anew, and the whole is under one digest; any
//     byte changed, missing or added is found (TestEveryByteCounts,
//     TestEveryCutIsFound).
//   - A bundle with proofs shows that its events stand in the journal whose
//     head it holds, at their positions and with their record times
//     (TestProofs); with a key, that the head was signed with it
//     (TestSignedHead).
//   - Import keeps ids and digests, and importing again changes nothing
//     (TestImport). A parent that is neither in the bundle nor in the journal
//     becomes a reference by digest. Events of the system's own streams are
//     left out: what they say is about the journal that they came from
//     (TestSystemStreamsAreLeftOut).
//   - Payloads are carried as they are stored: encrypted ones encrypted, without
//     their keys, and pruned or erased ones as such; all of them prove
//     themselves and are imported like any other (TestPayloadsThatCannotBeRead).
//   - Events come with the embeddings that they were journaled with, each held
//     against the digest in its record, and are given intents where they are
//     imported (TestEmbeddings, TestEmbeddingsThatDoNotBelong). Where the
//     journal has another model, named or by its dimension, they come without,
//     and that is counted (TestEmbeddingsOfAnotherModel).
//   - Bundles of the format before this one, without embeddings, are read
//     like any other (TestTheFormatBefore).
//   - Import reads the bundle to its end before it stores anything, so nothing
//     of a damaged one is stored (TestImportStoresNothingOfADamagedBundle).
//   - Reading holds one event at a time and some 150 bytes for each event and
//     missing parent, whatever the file says (TestReadingIsBounded); bytes from
//     outside never panic (FuzzVerify).
//
// # What it does not do
//
// It does not say that a bundle is complete: a parent that is left out is
// counted, not missed. It says nothing of who made a bundle without a signed
// head. Intents stay behind, and so does an embedding that came later than its
// event: it is of the intents' own stream. An event that is in the journal
// already is not given an embedding that it came without. A bundle is not a backup: it has
// no checkpoints and no other operational state.
//
// # Format
//
// A bundle is a line and a list of frames, nothing else. Numbers marked uv are
// unsigned LEB128 varints in their shortest form.
//
//	"toka bundle 2\n"
//	'h'  uv length, head      the head that proofs are against: its text, or the
//	                          signed note (see package merkle); at most one, first
//	'm'  uv length, model     the model of the embeddings from here on: uv dimension,
//	                          then its name, empty if nobody named it; before the
//	                          first of them and where it changes
//	'v'  uv length, embedding that of the event after it, in its stored form (see
//	                          package intent); there if the record has its digest
//	'e'  uv length, event     uv position in the journal that it came from, greater
//	                          than that of the event before; then the record (see
//	                          package events), with the payload in it
//	'p'  uv length, proof     the proof that the event before it stands under the
//	                          head: 32 bytes a hash; there for every event if there
//	                          is a head, else for none
//	'z'  uv length, end       uv number of events, then the BLAKE3-256 of all bytes
//	                          before this frame; the last frame, and the end
//
// A file that begins "toka bundle 1\n" is the same without frames 'm' and 'v',
// whatever the records say.
package bundle
