// Package consumer keeps durable, named readers of a journal: each has a
// filter, knows what it has dealt with across restarts, and is handed what is
// left until it says that it is done with it.
//
//	set, err := consumer.Open(j)
//	c, err := set.Create(ctx, consumer.Config{Name: "mailer", Query: journal.Query{Kinds: kinds}})
//	ds, err := c.Fetch(ctx, 16)
//	err = c.Ack(ctx, ds...)
//
// # Guarantees
//
//   - Every event that the filter selects is delivered until it is
//     acknowledged or parked; one whose acknowledgement returned is not
//     delivered again, whatever happens to the process
//     (TestCrashesLoseNothing, TestCrashBeforeTheSharedCheckpoint,
//     TestCrashBetweenCommitAndParking).
//   - What a handler appends and its acknowledgement are one write: Commit
//     stores both or neither (TestCommitIsOneWrite).
//   - A delivery that is not acknowledged in time, or is refused, comes again
//     after a delay; after so many deliveries it is parked with the reason, as
//     an event in the stream $consumer.NAME with the failed event as its
//     parent. A parked event can be listed and delivered again
//     (TestRedelivery, TestParked). Attempts are on disk before the delivery
//     is handed out, so an event that ends the process is parked too
//     (TestAttemptsSurvive).
//   - A filter can select by meaning and by intent, from the beginning and from
//     then on, also across a restart (TestConsumerByMeaning, TestConsumerByIntent).
//     One by meaning keeps to the model of its vector when the journal's changes
//     (TestByMeaningKeepsItsModel).
//     One by intent is handed an event when its intent is assigned, and goes by
//     what journal.Subscribe does: by any name of an intent it selects what that
//     name stands for when the event is read, so that after a merge both names
//     are handed what comes for either, and what a reader has passed does not
//     come again under another name (TestMergedIntents). An event that is
//     embedded later comes as the event of the system that embedded it, unless
//     the filter has kinds and does not name that one
//     (TestConsumerOfWhatIsEmbeddedLater).
//   - A consumer comes forward while its filter selects nothing, and an idle
//     one costs an append nothing: one reader follows the journal for all of a
//     set, and one checkpoint speaks for all that are idle
//     (TestIdleConsumersAreNotWrittenToDisk, TestOneReaderForAll). One that
//     selects by intent comes forward too (TestByIntentComesForward), with a
//     reader and a checkpoint of its own.
//   - All that open a journal's consumers in one process share one set
//     (TestOpenIsShared).
//
// # What it does not do
//
// It does not keep the order of redeliveries, and with several workers no order
// at all. It does not deliver exactly once: a handler that does its work
// outside the journal may do it again after a crash; with Commit the work in
// the journal is done once. What is due again is found when somebody fetches:
// nothing runs for a consumer that nobody reads, but for the reader of one by
// intent. Such a one waits where intents are not assigned, for whatever reason
// (see journal.Journal.IntentError), and goes by the intents that there are: a
// journal opened without a strategy assigns none.
//
// Events of the system (kinds that begin with toka.) are otherwise delivered only
// where a pattern begins so too, and never those of the consumer's own stream.
//
// # What is stored
//
// Three kinds of checkpoints (see package journal); they are operational state,
// inside every backup.
//
//	$consumer.config/NAME  state: the configuration, as JSON
//	$consumer.at/NAME      position: everything selected up to here was delivered
//	                       state: version(1)=1, then for each delivery that is not
//	                       settled, in order: uv position, less the one before;
//	                       uv deliveries; uv due, in Unix milliseconds
//	$consumer.shared       position: it stands for every consumer whose own
//	                       checkpoint names it as via and lies before it;
//	                       until it is first stored each stands at its own
package consumer
