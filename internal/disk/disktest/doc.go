// Package disktest is a disk for tests: a volume in memory that tells of every
// change before it happens, can lose power at any moment, and fails on demand.
//
// # Guarantees
//
//   - Every change goes past the hooks and faults first, and changes to
//     recycled files are no exception (TestHooksSeeEveryChange).
//   - A power cut keeps what was synced and loses the rest, or keeps the part
//     of it that was asked for (TestPowerCut).
//   - A fault fails the operation that it names and, from then on, either
//     nothing else or everything of its kind (TestFault); one that is lost
//     succeeds and is not made (TestLose).
//
// # What it does not do
//
// It models loss, not damage: what was synced is never changed, reordered or
// torn. It does not model a disk that is slow; a hook may block for that.
package disktest
