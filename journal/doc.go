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
//     (TestWriteIsAtomic), and no larger than others can wait for
//     (TestWriteTooLarge). Parents exist or stand earlier
//     (TestUnknownParent, TestParentInTheSameWrite).
//   - Imported events keep their ids and digests, which are computed anew; a
//     parent that is not here stays a reference by digest, and Verify counts
//     it. Importing again changes nothing (TestImport, TestImportRefuses).
//   - A payload is stored once, however many events carry it
//     (TestPayloadIsStoredOnce).
//   - A subscription sees each event once, in order, with no gap where catching
//     up meets following (TestSubscribeSeam). Readers get bytes of their own
//     and never hold the store (TestReadBytesAreTheCallers).
//   - A query yields exactly what its filters say, forwards and backwards, in
//     memory that is bounded in bytes (TestQueryAgainstTheDefinition,
//     TestStreamReadsAreBoundedInBytes); where few events pass a filter by kind
//     or correlation, the others are not read (TestQuerySkips). A filter by
//     intent ends where intents are assigned up to.
//   - A subscription says when it has caught up, and how far it is when its
//     filter matches nothing (TestFollow). One that is stuck holds up no append
//     (TestSlowSubscriberHoldsNobodyUp).
//   - A snapshot that is damaged, or stands on an event that this journal does
//     not hold there, is not returned (TestSnapshotsThatDoNotFit).
//   - Indexes are derived: deleting the index directory loses nothing
//     (TestIndexIsRebuilt), and one of an older version is rebuilt
//     (TestIndexOfAnOlderVersion). Whatever happens to a file of it, the journal
//     opens: an index that cannot be opened or read is built anew at once, and
//     damage that is met later is named and gone at the next start
//     (TestADamagedIndexIsBuiltAnew, TestADamagedPageEndsNothing).
//   - Verify names what is wrong with an index: of ids, digests, payloads,
//     streams and outside ids, of links, summaries and the tree
//     (TestVerifyFindsDamage and those named beside the indexes).
//   - A link is found from both of its ends, the newest ones included
//     (TestLinks, TestLinksWhileTheyMove); a damaged byte of the index of
//     links is named by Verify (TestVerifyFindsDamagedLinks).
//   - A head commits to all events up to a position, and an event or an older
//     head is proved against it (TestHead, TestProve, TestHeadBesideWriters).
//     Verify holds the records against the stored tree (TestVerifyFindsARewrite,
//     TestVerifyFindsDamageToTheTree); only a head that was kept elsewhere tells
//     of a journal that was rewritten as a whole.
//   - Intents are assigned in order of position from what is stored, so they
//     are the same after a restart (TestIntentsSurviveReopen), and an append
//     with an embedding returns its own intent (TestAppendReturnsItsIntent).
//   - What a strategy does on its own is stored in order of position, can be read
//     and followed, and leads to the intents that events are read with; what was
//     so as of a position stays so (TestIntentChanges, TestIntentMembers). A query by an intent that
//     was merged finds what it was merged into (TestQueryByAMergedIntent).
//   - An event is explained as it was when it came, with what was the nearest and
//     what it took, whatever came since (TestExplainAsItWas).
//   - A query by meaning yields exactly the events whose stored embedding has the
//     cosine that was asked for, with any other filter, and as they come
//     (TestQueryByMeaning).
//   - A snapshot and what came after it give the same intents and changes, bit for
//     bit, as reading everything does (TestIntentsAreRepeatable).
//   - An embedding that is of another dimension, not finite, zero or huge is
//     refused, with the event and before anything of the write is stored
//     (TestEmbeddingIsRefused, TestHugeFirstVector, TestLateEmbeddingIsRefused).
//   - Merges and splits by hand, and embeddings that come later, are events that
//     take effect at their place; all of it is the same after a restart, a kill
//     or the loss of the index, and reads the same without a strategy
//     (TestIntentsByHand, TestPowerCutBetweenAppendAndIntent).
//   - Another strategy assigns everything anew (TestChangeOfStrategy). Verify does
//     again what the strategy did (TestVerifyFindsForgedIntents). One that panics
//     ends intents until the next start and nothing else (TestStrategyMayPanic,
//     TestBrokenStrategyOpens).
//   - The first model that is named is fixed for the journal; embeddings of
//     another one are refused by name (TestModelIsFixed). A change of the model is
//     an event: after it only embeddings of the new one are taken, and a writer
//     that names the one of before is refused by name (TestChangeModel). What came
//     before has the intents that it had, and what comes after those that it would
//     have in a journal without the rest (TestModelHalves). Embeddings of two
//     models are never compared, of whatever dimension they are
//     (TestModelsAreNotCompared). It takes a strategy that can be made anew
//     (TestChangeModelNeedsNewIntents).
//   - While there is no room on the disk, appends are refused and what agents
//     write waits, before the store breaks; reads go on, and so does all else
//     when there is room again (TestNoRoom).
//   - A storage failure ends the journal, not the process: every append and
//     wait returns ErrFatal, OnFatal is called once, and the journal can be
//     closed and opened again in the same process (TestStorageFailure,
//     TestReopenAfterFailure).
//   - A store whose newest events are missing, or that is an older copy, is
//     refused, naming what is missing (TestLossIsRefused): where the journal
//     ends is noted outside of it, at most 100 ms late and exactly by Close
//     (TestMarkIsExactAfterClose, TestMarkFollows). No power cut makes the mark
//     refuse a store that lost nothing (TestMarkNeverRefusesFalsely,
//     TestPowerCut; TestAMarkAheadIsRefused plants the bug).
//   - Who goes on after a loss begins a new epoch (TestAcceptLoss,
//     TestAcceptAHole). Checkpoints beyond its beginning are set back to it by
//     name, and what consumers had of lost events is dropped
//     (TestAcceptedLossAndConsumers). Cursors of an epoch before it stay valid up to where it
//     was cut, and those to what was lost are refused (TestAcceptLoss).
//   - A backup taken while writers append holds everything that was durable
//     when it began (TestBackupUnderLoad), is verified without being changed
//     (TestDamagedBackup) and against a head, naming what is missing, and is
//     restored in a new epoch (TestRestoreAfterALoss). A backup that cannot be
//     written does not harm the journal (TestBackupThatFails).
//   - The n-th change of any kind may fail, and nothing that was acknowledged is
//     lost (TestEveryChangeFails; TestStorageFailureFindsASwallowedOne plants
//     the bug). Older copies, and histories that were rewritten as a whole, are
//     found by the mark or by a head (TestOlderCopiesAreFound). Clocks may jump
//     (TestClockJumps). What is pruned, erased or backed up stays so whenever the
//     power is cut (TestPowerCut). make faults prints how many of each were tried.
//   - A bit that is changed in any file is refused by name, named by reading or
//     by Verify, or changes nothing (TestBitFlips); so is a log that is cut off
//     (TestTruncatedLog). Both find out when there is no outside mark
//     (TestBitFlipsFindThatTheMarkIsMissing).
//   - A pruned payload is in no file of the journal any more when Prune returns,
//     recycled logs and snapshots included; its event reads as pruned and has
//     the digests that it had, and so has the journal (TestPrune,
//     TestPruneBesideWriters).
//   - A payload under a subject key is encrypted before it is hashed, the same
//     one always alike within a subject and never across (TestErase). Erase
//     destroys the key; what is erased stays so and what is not stays readable
//     whenever the power is cut (TestPowerCutKeepsKeys).
//   - A directory that is held, foreign, newer or not writable is refused by
//     name and left as it was (TestOpenRefuses).
//
// # What it does not do
//
// It does not decide anything: behaviour belongs to package actors. It does
// not order by time. A disk that lies about a sync loses what was acknowledged:
// the next open tells what is missing, except for what came after the last
// outside mark, at most 100 ms before. Who rolls back directory and mark
// together is found out only by a head that was kept elsewhere. Erasing does not
// reach backups that were taken before, nor what a disk keeps of files that were
// replaced. A damaged byte
// in the stored tables is found by checksum or by Verify, never served.
// At level os a power cut may take what was acknowledged, and the mark knows: the
// journal is then refused until the loss is accepted with restore --accept-loss
// (TestPowerCutAtLevelOS). A disk that is really full ends the journal unless
// Options.Room holds writes back before; what it leaves free has to do for what
// the engine rewrites meanwhile (TestFullDisk). After a failure the old engine
// keeps its files open, and with them their room on the disk, until the process
// ends. Verify holds 64 bytes of each event in memory, and some hundred of each
// stream, payload and stub.
// A filter by intent skips nothing, since what belongs to an intent changes
// later: it walks the list of assignments, a million of them in a second
// (BenchmarkQueryByIntent), and reads only the records of the intent.
// Of which model an embedding is, the journal only knows where the writer says so
// (events.Draft.EmbeddingModel, UseModel): one that says nothing is taken at its
// dimension.
// A filter by kind or correlation skips what holds nothing for it in blocks of
// about a thousand events, and reads the blocks that may.
// Look-ups by id, digest
// and payload go over hashes of 64 bits and are checked against the records:
// who may append can craft ids of equal hash and so make look-ups of these slow,
// never wrong (TestRunsWithEqualHashes).
//
// # The directory
//
//	DIR/TOKA     "toka journal format 1\n": what this directory is
//	DIR/LOCK     held while a process has the journal open
//	DIR/HOLDER   the process id of the holder, for error messages
//	DIR/log/     the log of records and the operational state
//	DIR/index/   what is derived; deleted and rebuilt at will; with a file DAMAGED
//	             in it, at the next start
//	DIR/keys/    the keys of encrypted payloads
//	DIR.mark     the outside mark; DIR/MARK where that cannot be written
//
// The outside mark is text: journal id, epoch, the last position and its record
// hash, whether the journal was closed, and a checksum.
//
// # Keys of the log
//
// Integers are big-endian; text is a varint length and bytes, so that no
// stream's keys are a prefix of another's.
//
//	'e' position(8)                          record (see package events)
//	'v' position(8)                          quantised embedding (package intent)
//	'c' text name                            checkpoint: version(1)=1 epoch(4) position(8) via
//	                                         or version(1)=2 epoch(4) position(8) text via, state
//	'g' text stream, stream position(8)      state digest(32), position(8)
//	'm'                                      format(4)=1 epoch(4) journal id(16)
//	'm' epoch(4)                             position(8) after which it began, time(8)
//
// # Keys of the index
//
//	'i' level(1) first(8) page(4)            pairs: hash of id(8), position less first(4)
//	'd' level(1) first(8) page(4)            likewise: causal digest, its first 8 bytes
//	'p' level(1) first(8) page(4)            likewise: digest of a payload that the record holds
//	'r' first(8)                             run: level(1) last(8) and for i, d, p:
//	                                         pairs(4), the first hash(8) of each page
//	'f' kind(1) level(1) first(8) part(4)    512 blocks of the run's filter of kind 'i' or 'p', on levels
//	                                         from 1: eight words(8) each
//	's' text stream, stream position(8)      varint position, then varint differences
//	'o' text outside id, position(8)         nothing
//	't' position(8)                          intent or part of one(16), similarity float64(8); where the
//	                                         embedding came later, position(8) of the event that
//	                                         brought it, and there 0
//	'u' position(8), number(4)               what happened to an intent: kind(1) by hand(1) intent(16)
//	                                         into(16) value float64(8)
//	'k' position(8)                          summary of the block that begins there: count(4), Bloom filter
//	'z' text stream, stream position(8)      snapshot: checksum(16) digest(32) text schema, state
//	'n'                                      intents: position(8), text name, snapshot
//	'l' position(8)                          parents of a run of events, packed
//	'b' block(8) position(8)                 children of a block's events in a generation, packed
//	'h' level(1), number(8)                  root(32) of a complete subtree, on levels 8, 16, … of the tree
//	'h'                                      edge of the tree (package merkle)
//	'm'                                      mark: format(4), journal id(16), position(8), payloads(8), streams(8)
//
// # Links
//
// Both parts hold positions as unsigned LEB128 varints in their shortest form.
// A value of 'l' holds the parents of consecutive events, the first of which
// stands at the position in the key. It never crosses a multiple of 1,024:
//
//	+----------------+---------------------------------------------------+
//	| uv             | how many events                                   |
//	| for each event | uv number of parents that are in this journal;    |
//	|                | for each, the nearest first, uv how far back it   |
//	|                | is: the first from the event, each next one from  |
//	|                | the one before                                    |
//	+----------------+---------------------------------------------------+
//
// A value of 'b' holds the pairs of a parent in the block (block n is the
// positions after 4,096 n, up to 4,096 (n+1)) and a child in one generation
// of the index, whose first position is in the key, sorted:
//
//	+----------------+---------------------------------------------------+
//	| for each pair  | uv parent, less the one of the pair before (the   |
//	|                | block's 4,096 n at first);                        |
//	|                | uv child, less the first position of the          |
//	|                | generation where the parent is another one than   |
//	|                | before, else less the child before                |
//	+----------------+---------------------------------------------------+
package journal
