// Package yardstick measures what the storage engine does when it is used
// bare, for what a journal does to be held against. [Run] repeats the commits
// of a journal: as many batches, each with as many keys and bytes, as durable.
// [Scan] reads what a journal wrote and does nothing with it.
//
// # What it writes
//
// One loop writes two stores, opened with the options of a journal's two:
//
//	log    for each group one batch, synced as the mode says: for each event
//	       one key of 9 bytes, in sequence, with an incompressible value of the
//	       group's mean size
//	index  without a write-ahead log, in batches of [IndexBatch] events: pages
//	       of 512 pairs of 12 bytes for ids, digests and payloads, the positions
//	       of each stream, links by 1,024 events; every eighth time the pages of
//	       the last eight batches are read and written again as one run
//	       (TestMergesAsAJournalDoes)
//
// What is left of less than IndexBatch events is not written to the index.
//
// # Guarantees
//
//   - It writes what it was told, no less (TestRunWritesTheGroups), and reads
//     everything it is asked to (TestScanReadsWhatRunWrote).
//
// # What it does not do
//
// It checks, hashes, looks up and answers nothing: that is the difference to
// be measured. It keeps nothing; its directory is the caller's to remove.
package yardstick
