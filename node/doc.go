// Package node is Toka as a program: the command line of toka-node, over a
// registry of behaviours. A node with agents of one's own is
//
//	func main() { node.Main(actors.NewRegistry(orders, greeter)) }
//
// and toka-node is the same with the built-in ones.
//
// # Guarantees
//
//   - Exit codes mean one thing each: 0 done; 1 failed, or some input was
//     rejected; 2 usage; 3 damage or a divergence was found after opening; 70
//     the storage failed; 74 the disk is full; 78 the journal was not opened
//     (TestExitCodes).
//   - With -o json, lists print one object a line and everything else one
//     object, and nothing else goes to standard output (TestJSONOutput).
//   - A command that only reads creates nothing (TestReadersCreateNothing).
//   - Ingesting the same input again changes nothing (TestIngestAgain), a bad
//     line is reported by number and reason and does not stop the rest
//     (TestIngestBadInput), and after a kill in the middle a second ingest ends
//     with the content of an undisturbed one (TestIngestKilled). This is of
//     inputs whose parents stand before their children: a line that is rejected
//     because its parent comes later is accepted the second time.
//   - The demonstration shows what it journals, each event once and in order
//     (TestDemo), goes on where it ended (TestDemoAgain), also after a power cut
//     (TestDemoAfterPowerCut), and does the same again in a replay
//     (TestDemoReplays).
//   - With --embed, an ingest gives events vectors of their texts, and loses no
//     event whose vector cannot be had (TestIngestEmbedServer). A search finds
//     the events that are nearest to a text, of equals the oldest first
//     (TestSearch).
//   - A replay names the first place where this program does otherwise than
//     what is recorded, with both sides (TestReplayFindsAPlantedFault), and an
//     agent whose behaviour it does not have (TestReplayOfAnUnknownBehaviour).
//   - What a program runs beside its agents sees the journal that is served, and
//     has ended before that is closed (TestBeside).
//   - A node does as its own description says, to requests that schemathesis makes
//     of that (TestSchemathesis).
//   - A node with --embed gives events that come in vectors of their texts. One
//     whose vector cannot be had is journaled without, and can be given it later
//     (TestRunEmbeds).
//   - A node serves its journal and agents over HTTP, stops with what it took in
//     hand answered, and goes on where it was (TestRun). It refuses to listen
//     where other machines reach it without TLS and tokens (TestRunRefuses).
//   - It tells the service manager that started it when it is ready (TestNotify).
//     The unit in docs/deploy is one that systemd finds nothing wrong with and
//     little exposed by (TestUnit), and the program runs statically over an empty
//     root as the container file there says (TestContainer).
//   - With a certificate a node speaks TLS 1.3 only, and a client with one of the
//     operator's authority needs no token (TestTLS). Tokens are part of every
//     backup (TestTokensAreInBackups).
//   - A node that is killed under load has lost nothing that it acknowledged, nor
//     anything that a reader saw (TestKilledUnderLoad).
//   - check and doctor find out about damage, loss of the mark, a full disk,
//     readers that are behind, what is parked, who holds a journal and who else
//     can read it, of a journal that a node holds and of one that none does
//     (TestCheck, TestDoctor).
//   - The numbers of a node are served to Prometheus (TestMetrics).
//   - While the disk is nearly full, a node takes no events from the socket
//     either, and reads go on (TestHeldFull).
//   - While a node holds a journal, every other command on the directory runs
//     there, or is refused by a word that names the node (TestHeldStore).
//   - Following a node shows every event once, also over connections that are cut
//     all the time (TestTail). Over the network a command needs a token of its
//     scope that covers everything (TestTokens).
//   - A benchmark leaves nothing behind but what --data keeps (TestBenchAppend,
//     TestBenchAppendKeeps, TestBenchInterrupted).
//   - Intents are listed, now or as of a cursor, shown, explained, merged, split and
//     drawn; the same journal gives the same picture (TestIntents,
//     TestIntentsMergeSplitAsOf, TestIntentsExplain, TestIntentsMap).
//   - A list, a durable consumer and who follows a node select alike by meaning and
//     by intent (TestByMeaning, TestByIntent).
//   - No event is lost because what computes vectors fails, whatever it answers
//     (TestEmbedderThatFails, TestIngestEmbedServer, TestRunEmbeds). A vector that
//     comes with an event is refused with it (TestIngestBadInput,
//     TestIngestOtherDimension).
//   - The model of vectors can be changed, also under a node that serves: no event
//     is lost or gets a vector by the model before, and a question by meaning is
//     answered of one model and says of which not (TestIntentsModel).
//   - Questions about causes are answered as git answers them for its own
//     history (TestOracle).
//   - A bundle that is not sound is damage, and nothing of it is stored
//     (TestScripts).
//   - Settings come from the command line over the environment over a file; what
//     the file has that is no setting is refused by name, each value is shown with
//     where it is from, and a token is not (TestConfig, TestConfigRefuses).
//   - Every command's help shows two examples (TestHelp). A list is printed by its
//     names where that is asked for (TestJSONOutput), and a shell completes them
//     (TestCompletion). Every command has a manual page (TestMan). Only a terminal
//     is shown colours, and not where NO_COLOR is set (TestNoColor).
//
// # What it does not do
//
// It does not log payloads. A program that is no node and holds a journal, as
// an ingest does, is named and not asked. A benchmark and the demonstration
// want a journal of their own.
package node
