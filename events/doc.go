// Package events is the causal model of Toka and its bytes: what an event is,
// what it commits to, and how it is written down. Everything else in Toka
// carries, stores, orders or reacts to the values defined here.
//
// An [Event] is one flat, immutable value. Callers describe a new one with a
// [Draft]; a journal gives it a place and returns the event. Payloads of the
// caller's own types go in and come out through a typed codec, [Type] for one
// Go type and [Union] for a closed set of them; the six [DomainEvent] shapes
// are there for those who want a ready-made vocabulary.
//
// # Guarantees
//
//   - Identity is portable. The causal digest commits to the event's own
//     fields, to its payload and to the causal digests of its parents, and to
//     nothing that a journal decides (TestDigestCommitsToEveryCausalField,
//     TestCausalDigestIgnoresThePlace).
//   - Parents are a set: their order and repetition do not matter
//     (TestParentsAreASet).
//   - One event has one encoding, and one encoding one event: decoding refuses
//     every byte string that encoding would not have written, so decode and
//     encode are inverses (TestRecordRoundTrip, FuzzDecodeRecord).
//   - The bytes are fixed: golden vectors hold them (TestGoldenVectors).
//   - Two fields never run together: each is framed by its length and each
//     digest has its own domain (TestFieldsDoNotRunTogether).
//   - A payload may be gone, and the digests still hold (TestPrunedRecord); a
//     codec says so (TestDecodeWhatIsGone).
//   - An id derived from the same work is the same id (TestDerivedIDs).
//   - Input from outside never panics; an error names the field and the limit
//     (TestDraftLimits, FuzzDecodeRecord).
//
// # What it does not do
//
// It does no I/O, starts no goroutine and reads no clock. It does not order
// events: only a journal's positions do. It does not canonicalise payloads:
// the payload digest is over the bytes as given. It does not know about
// intents beyond the two fields that a journal joins to what it returns.
//
// # Digests
//
// All three are BLAKE3-256 (https://github.com/BLAKE3-team/BLAKE3-specs), each
// over a 16-byte domain tag (ASCII, padded with NUL) followed by the bytes
// below.
//
//	payload digest  "toka/payload/1"  the payload, as given
//	causal digest   "toka/causal/1"   the causal body
//	record hash     "toka/record/1"   the causal digest and the place
//
// The idempotency key of an effect is made the same way, under "toka/effect/1",
// of the cause's causal digest, agent and name as text, and the ordinal as a
// fixed uint32.
//
// # The causal body
//
// Numbers marked uv are unsigned LEB128 varints in their shortest form; text
// is a uv length and that many bytes of UTF-8; fixed integers are big-endian.
//
//	+-----------------+--------------------------------------------------+
//	| 1               | format version, 1                                |
//	| 16              | id                                               |
//	| text            | stream                                           |
//	| text            | kind                                             |
//	| uv              | schema version                                   |
//	| 1 (+ 12)        | event time: 0 absent; 1, then int64 seconds      |
//	|                 | since 1970 UTC and uint32 nanoseconds            |
//	| text            | content type                                     |
//	| 32              | payload digest                                   |
//	| text            | subject key id, empty where not encrypted        |
//	| text            | correlation                                      |
//	| uv              | trigger: 0 none, else 1 + index of that parent   |
//	| uv, then pairs  | extensions: count, then text key, text value,    |
//	|                 | keys strictly ascending by bytes                 |
//	| uv, then 32 each| parents: count, then causal digests, strictly    |
//	|                 | ascending by bytes                               |
//	+-----------------+--------------------------------------------------+
//
// # The record
//
// What a journal stores for one event. The position is the key it is stored
// under and not repeated in the value.
//
//	+-----------------+--------------------------------------------------+
//	| 1               | record version, 1                                |
//	| 1               | flags: 1 payload inline, 2 embedding, 4 trace,   |
//	|                 | 8 payload pruned (and not 1)                     |
//	| uv              | epoch                                            |
//	| uv              | stream position                                  |
//	| 8               | record time, int64 nanoseconds since 1970 UTC    |
//	| 32              | causal digest                                    |
//	| 32              | embedding digest, only with flag 2               |
//	| text            | trace context, only with flag 4                  |
//	| uv, then body   | length of the causal body, the causal body       |
//	| uv + 16 each    | for each parent, in the order of the body: its   |
//	|                 | position (0 unknown here) and its id             |
//	| uv, then bytes  | with flag 1: length of the payload, the payload  |
//	| uv              | without 1 and 8: position of the record that     |
//	|                 | holds it                                         |
//	+-----------------+--------------------------------------------------+
//
// The record hash is over
//
//	causal digest 32, position 8, stream position 8, record time 8, epoch 8,
//	embedding digest 32 (zero where there is none), trace context as text
//
// so it does not depend on where the payload lies.
package events
