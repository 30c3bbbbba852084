// Package journal keeps events: one total order on an embedded store, written
// by one committer that shares each sync among all who wait for it.
//
//	j, err := journal.Open("data", journal.Options{})
//	receipt, err := j.Append(ctx, journal.Write{Events: []events.Draft{…}})
//	for e, err := range j.Read(ctx, journal.Query{}) { … }
//	for e, err := range j.Subscribe(ctx, journal.Query{After: 42}) { … }
//	err = j.Close()
//
// # Guarantees
//
//   - Acknowledged means as durable as the journal's level says: by default on
//     disk, synced. What was acknowledged is there after a power cut, what was
//     observed is not absent later, and a write is there whole or not at all
//     (TestPowerCut; TestPowerCutFindsAnEarlyAcknowledgement,
//     TestPowerCutFindsAnEarlyReader plant the bugs that it must find). At
//     level os it survives the end of the process (TestKill).
//   - A checkpoint or state digest that is read is durable
//     (TestOperationalStateIsDurableWhenRead).
//   - Positions are dense from 1, in the journal and in each stream
//     (TestPositionsAreDense, and Verify).
//   - Append is idempotent by event id, for ever: the same event again gives
//     the first position and changes nothing; another event under a known id
//     is ErrIDConflict. The id is checked before the expected version
//     (TestAppendAgain, TestIDConflict, TestIDBeforeVersion).
//   - A write is atomic, over all its streams, checkpoints and state digests
//     (TestWriteIsAtomic). Parents exist or stand earlier
//     (TestUnknownParent, TestParentInTheSameWrite).
//   - A payload is stored once, however many events carry it
//     (TestPayloadIsStoredOnce).
//   - A subscription sees each event once, in order, with no gap where catching
//     up meets following (TestSubscribeSeam). Readers get bytes of their own
//     and never hold the store (TestReadBytesAreTheCallers).
//   - Indexes are derived: deleting the index directory loses nothing
//     (TestIndexIsRebuilt).
//   - Intents are assigned in order of position from what is stored, so they
//     are the same after a restart (TestIntentsSurviveReopen), and an append
//     with an embedding returns its own intent (TestAppendReturnsItsIntent).
//   - A storage failure ends the journal, not the process: every append and
//     wait returns ErrFatal, OnFatal is called once, and the journal can be
//     closed and opened again in the same process (TestStorageFailure,
//     TestReopenAfterFailure).
//   - A directory that is held, foreign, newer or not writable is refused by
//     name and left as it was (TestOpenRefuses).
//
// # What it does not do
//
// It does not decide anything: behaviour belongs to package actors. It does
// not order by time. It does not protect against a disk that lies about a
// sync, nor does it yet notice that the newest part of the log was cut off
// after the fact: no local store can tell that from a tail that was never
// synced, and a mark outside the directory is still to come. A damaged byte
// in the stored tables is found by checksum or by Verify, never served.
// Reading by kind scans; there is no index for it yet.
//
// # The directory
//
//	DIR/TOKA     "toka journal format 1\n": what this directory is
//	DIR/LOCK     held while a process has the journal open
//	DIR/HOLDER   the process id of the holder, for error messages
//	DIR/log/     the log of records and the operational state
//	DIR/index/   what is derived; deleted and rebuilt at will
//
// # Keys of the log
//
// Integers are big-endian; text is a varint length and bytes, so that no
// stream's keys are a prefix of another's.
//
//	'e' position(8)                          record (see package events)
//	'v' position(8)                          quantised embedding (package intent)
//	'c' text name                            checkpoint: version(1)=1 epoch(4) position(8) via
//	'g' text stream, stream position(8)      state digest(32), position(8)
//	'm'                                      format(4)=1 epoch(4) journal id(16)
//
// # Keys of the index
//
//	'i' id(16)                               position(8)
//	'd' causal digest, first 8; position(8)  nothing
//	'p' payload digest, first 16             position(8) of the record that holds it
//	's' text stream, stream position(8)      position(8)
//	'o' text outside id, position(8)         nothing
//	't' position(8)                          intent id(16), similarity float64(8)
//	'n'                                      intents: position(8), text name, snapshot
//	'm'                                      mark: format(4), journal id(16), position(8), payloads(8), streams(8)
package journal
