// Package server serves a journal and its agents over HTTP: on a network
// address, behind checks of host, origin and token, and on a unix socket for
// who owns the machine.
//
// A token that patterns limit sees and appends what they match
// (TestTokenPatterns). The interface is described at /openapi.json and /openapi.yaml by the
// program itself. Events are CloudEvents 1.0 both ways. Errors are problem
// documents (RFC 9457) with a stable code.
//
// # Guarantees
//
//   - An append is answered when it is durable; sent again it is answered with
//     the same events, and the status tells which of the two it was
//     (TestAppend, TestAppendAgain). A batch is stored whole or not at all
//     (TestAppendBatch).
//   - A route that is in no table is not served, and every route needs the
//     scope that its row names (TestMatrix).
//   - A request for a foreign host, from a foreign origin, without a token
//     where one is needed, or too large is answered with 4xx before anything
//     looks at it (TestMatrix, TestMalformed).
//   - A reader of the stream sees every event after its cursor once and in
//     order, also when it comes back (TestStreamResumes). One that is too slow
//     is told where it stands and let go, and holds nobody up (TestSlowReader).
//     Many are woken in turns, and none is left out (TestManyReadersInTurns);
//     what is sent at a time leaves in one write (TestStreamLeavesTogether).
//   - Causal questions are answered as by package causal, in pages of any size
//     (TestCausalQueries). Heads and proofs are checked with the public key alone
//     (TestProofsOverHTTP).
//   - A worker's events and its acknowledgement are one write, and the request
//     can be sent again when its answer was lost (TestCommitOverHTTP). What a
//     consumer's filter may select its token must cover
//     (TestConsumersHoldTokensToPatterns).
//   - A parameter that stands there twice, or has no value, is refused rather than
//     passed over (TestVagueParameters). An event without a trace context has that
//     of its request (TestTraceContext).
//   - A browser's own EventSource comes back after cut connections and sees every
//     event once (TestBrowser).
//   - Every route is described, but for that of command lines and the metrics
//     (TestEveryRouteIsDescribed).
//   - Intents are listed, now or at a cursor, shown, explained, merged and split
//     as by the journal, for tokens that no pattern limits (TestIntentsOverHTTP).
//   - The log names events whose payload seems to hold a secret, and shows no
//     payload (TestSecretsAreWarnedAbout).
//   - Requests a second, connections and readers of the stream are bounded: one
//     too many is refused, and those that are there go on (TestRate,
//     TestConnectionsAreBounded, TestStreamsAreBounded).
//   - While the disk is nearly full, appends are refused with 507 and reads go
//     on (TestLowSpace).
//
// # What it does not do
//
// It does not open or close the journal, and it knows no flags. It does not
// show payloads in its log. A token is no protection on a network that can be
// listened to: use TLS.
package server
