// Package disk stands between the journal and the file system. Its [Guard] is
// the one place where a failing disk is noticed, before the storage engine
// sees the error: the engine cannot survive such errors from inside (it ends
// the process, panics under a lock, or acknowledges what is not there), so a
// failing write never returns to it.
//
// # Guarantees
//
//   - The first failing write, sync, creation or rename is parked for ever,
//     and so is every later change; the failure is reported once
//     (TestGuardParksAfterTheFirstFailure).
//   - After Abandon returned, nothing that the engine still runs can change a
//     file any more (TestAbandonedGuardChangesNothing).
//   - A change in a directory that is spared, as a backup's is, may fail
//     without failing the rest (TestGuardSparesADirectory).
//   - With SkipLogSync, log writes reach the kernel and are not synced; all
//     else is (TestSkipLogSync).
//   - Recycled logs are guarded like new ones (TestGuardCoversRecycledLogs),
//     and are not recycled while Renew is on (TestGuardRenews).
//   - What an engine's marker file names is durable before the marker is, so
//     that no power cut leaves a name without its file (TestMarkerComesLast).
//
// # What it does not do
//
// It does not lock anything: its owner holds the directory, and lets go of it
// when an engine cannot be closed. It does not retry, repair or buffer
// anything, and it does not watch free space. A parked call holds its
// goroutine until the process ends.
package disk
