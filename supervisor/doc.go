// Package supervisor decides what happens after a failure. It is policy and
// nothing else: a failure, the history of failures before it, the time and
// one random number go in as values, and a directive comes out beside the
// history to bring next time.
//
// # Guarantees
//
//   - Deciding is pure: the same policy, history, failure, time and random
//     number give the same directive, and no history that was handed out is
//     ever written to (TestDecideIsPure).
//   - Restart intensity is bounded: more than MaxRestarts restarts within
//     Window end in Escalate, never in another restart, even where the clock
//     jumps back (TestIntensity, TestIntensityProperty). The restart that
//     comes with parking a message counts as any other.
//   - A message that keeps breaking its agent is given up after MaxAttempts
//     tries, and the agent goes on without it (TestPoisonMessageIsParked).
//   - Backoff grows by Factor from Initial to at most Max, and jitter never
//     takes it outside [delay*(1-Jitter), delay] (TestBackoff,
//     TestBackoffProperty).
//   - History is bounded, whatever happens (TestHistoryIsBounded).
//   - A [Tree] of children is restarted by its strategy: stopped in reverse
//     order, started in order, each child as it wants to be restarted
//     (TestStrategies, TestTreeProperty). Beyond its intensity it stops them
//     all and fails itself (TestTreeFails).
//
// # What it does not do
//
// It starts no goroutine, reads no clock, draws no random number and does no
// I/O: package actors carries directives and plans out. A [Policy] answers the
// failures of one actor and says nothing about siblings; a [Tree] answers the
// ends of actors.
//
// It does not remember more than one message: the tries of a message are
// counted while no other message fails in between.
package supervisor
