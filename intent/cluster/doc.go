// Package cluster groups events by meaning as they arrive: it holds the
// strategies ([intent.Strategy]) that assign intents.
//
// There is one so far, [Leader]. An arrival joins the intent whose centroid has
// the largest cosine to it, if that is at least a threshold, and founds an
// intent of its own otherwise. It reads every arrival once, keeps a sum for
// each intent and no event, and is told neither how many intents there are nor
// what they are called.
//
// # Guarantees
//
//   - The same arrivals in the same order give the same ids, the same bits of
//     similarity and the same snapshot, on any machine
//     (TestLeaderIsDeterministic, TestLeaderGolden).
//   - The nearest centroid is found exactly and the threshold is compared
//     exactly: floats only choose which centroids integers then rank
//     (TestLeaderAgreesWithReference, FuzzLeader, TestThresholdIsExact,
//     TestAnyKernelGivesTheSameAnswers).
//   - Of several centroids that are equally near, the oldest intent wins
//     (TestTiesGoToTheOldest).
//   - A similarity is the cosine rounded once: at least the threshold, at most
//     1, never NaN. A founder's is 1 (TestSimilarity).
//   - The id of an intent derives from the strategy's name, with every setting
//     in it, and from the event that founded it (TestIntentIDDerives).
//   - A snapshot and the arrivals after it lead to the state that all arrivals
//     lead to (TestSnapshotAndTail). Other bytes are refused and change nothing
//     (TestRestoreRefuses, FuzzRestore).
//   - A wrong setting or a vector that intent.Quantize did not write is a
//     mistake in the program and panics, with a text that starts with
//     "cluster:" (TestMisusePanics).
//
// # What it does not do
//
// It does not merge, split, fade or end an intent, and does not move an event
// from one to another. What it answers depends on the order of arrival. It
// starts no goroutine, takes no lock, reads no clock and draws no random
// number; one goroutine uses a strategy at a time. It does not find the nearest
// centroid in less than one pass over all of them.
//
// # What was measured
//
// Texts with known topics, embedded by all-mpnet-base-v2 and read once, in one
// order, with the defaults (TestKnownTopics repeats it): intents found, adjusted
// Rand index, and of the pairs of events that share an intent the part that
// shares a topic (precision), and the other way round (recall).
//
//	set              events  topics  intents  ARI    precision  recall
//	BANKING77 test    3,080      77    1,443  0.187  0.885      0.106
//	CLINC150 test     4,500     150    2,633  0.176  0.985      0.097
//
// So 0.82 is a strict setting for that model: what shares an intent belongs
// together, but a topic falls into many intents. The best single threshold was
// about 0.65 for the first set and 0.55 for the second (ARI 0.44 and 0.61). A
// threshold belongs to a model and its data; it does not carry over.
//
// # The snapshot
//
// Integers marked uv are unsigned and those marked sv signed (zigzag) LEB128
// varints in their shortest form.
//
//	+-----------+-------------------------------------------------------+
//	| 16        | "toka/leader/1", padded with NUL                      |
//	| uv, bytes | length of the strategy's name, the name               |
//	| uv        | number of intents, then for each, oldest first:       |
//	|   16      |   id                                                  |
//	|   uv      |   number of events in it                              |
//	|   sv each |   for each dimension, the sum of its components       |
//	| 32        | digest of all bytes above (events.PayloadDigest)      |
//	+-----------+-------------------------------------------------------+
//
// All else follows from the sums and is computed again.
package cluster
