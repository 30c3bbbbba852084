// Package simulations does recorded work again, and plays out what might have
// been. [Replay] reads a journal, decides every command and does every reaction
// in it anew, and says where that gives something else than what is recorded.
// [Fork] copies a journal up to a position, to go another way from there. A
// [World] is a small one in memory that is driven by lines of text and can lose
// power: scenarios are transcripts of it.
//
//	report, err := simulations.Replay(ctx, j, registry, simulations.ReplayOptions{})
//	if d, found := report.First(); found {
//		fmt.Println(d) // position 4, agent "visitors": payload: recorded …, produced …
//	}
//
// # Guarantees
//
// Of a replay:
//
//   - It can fail: handlers that depend on the order of a map, on the clock of
//     the process or on its random numbers, and ones whose deciding, folding or
//     reacting was changed, are each found at the position where it first
//     shows, with agent and field (TestPlantedFaults, TestEvolveThatPanics).
//   - An event from outside that claims to be what a command or a reaction
//     caused is found, and so is a state digest that is not the state's
//     (TestForgedEvents, TestForgedAfterParked,
//     TestCorruptedStateDigest).
//   - An honest run diverges nowhere, whatever went wrong in it: failures and
//     retries, parked messages, commands sent twice, appends from outside,
//     restarts (TestHonestRunsReplayClean, TestThousandsOfEvents,
//     TestRetryIsReplayedOnTheStateOfItsTime).
//   - Two replays of one journal give equal reports, byte for byte as JSON
//     (TestHonestRunsReplayClean), whose field names stay
//     (TestReportCounts); they end in equal state digests exactly if they end
//     in equal states (TestStateDigestTellsStatesApart).
//   - The first divergences are listed, by position, and the others counted
//     (TestDivergencesAreBounded).
//   - A behaviour that is not registered is an error that names stream,
//     position and behaviour, or is counted, as the caller likes
//     (TestUnknownBehaviour).
//   - Payloads that are pruned or erased are no divergence where no agent
//     folds them, and are named where one would (TestReplayBesideWhatIsGone,
//     TestReplayOfAPrunedAgent).
//   - A state that was recorded before an actor wrote anything itself is
//     compared too (TestStateBeforeTheFirstOwnEvent).
//
// Of a fork:
//
//   - It holds the same events under the same ids, digests, positions and
//     record times, and replays to the same report
//     (TestForkHoldsTheSameEvents).
//   - From there it goes its own way, and its source does not notice; what was
//     decided before is known in it, what came after is not
//     (TestForkGoesAnotherWay). An agent does not deal again with what it
//     reacted to before, and reacts to the rest as it would have
//     (TestForkReactsToWhatWasNotDealtWith).
//   - What cannot be forked rightly is refused (TestForkRefuses), events under
//     a subject key among it; pruned events stay pruned (TestForkOfWhatIsGone).
//
// Of a World:
//
//   - A transcript comes out the same each time, byte for byte, crashes,
//     failures and forks included (TestScenarios); another seed gives other
//     ids and all that derives from them (TestSeedChangesWhatDerivesFromIDs).
//   - A line that cannot be understood is an error and changes nothing
//     (TestLinesThatAreRefused).
//
// # What it does not do
//
// A replay does not know what left no record: commands that were rejected or
// caused nothing, reactions that emitted nothing, and why a handler failed. It
// does not compare what handlers send to other actors, nor embeddings and trace
// contexts, and it does not do without state that survives JSON: a state is
// compared as JSON, and one that cannot be written so is not compared. An event
// from outside in an agent's stream is taken for the agent's own only if its id
// derives from its trigger. State digests of a stream to which no behaviour
// ever wrote are not compared. Handlers run in the caller's process: one that
// never returns hangs the replay, and one that does something to the outside
// world, or uses an actor other than through its turn, does so again.
//
// A fork does not copy embeddings, intents or checkpoints. It writes events of
// one record time at a time and waits for each such write, so forking onto a
// disk is as slow as its syncs.
//
// A World is not deterministic in everything yet. Its actors run on goroutines
// of their own: where several react to the same event, the order of what they
// emit is not determined, and neither is whether a line sees what an earlier
// one set off. Scenarios settle between steps and let one agent react to each
// kind; a seeded scheduler is later work. Backoff takes real time outside a
// testing/synctest bubble. Ids that nobody gave, those of failures, are minted
// anew each time, and transcripts leave out what depends on them.
//
// # Transcripts
//
// A transcript is steps with an empty line between them: lines, then ---- and
// what they printed. Lines that begin with # are comments. [World.Run] returns
// it with what was printed this time.
//
//	spawn ROLE NAME                           make an actor live
//	ask NAME KIND JSON [id=NAME]              send a command, wait for the outcome
//	state NAME                                show a resource's state
//	publish STREAM KIND [JSON] [id=NAME] [trigger=NAME]
//	                                          append an event from outside
//	settle                                    wait until nothing is on its way
//	restart                                   stop in good order, start again
//	crash                                     cut the power, start again
//	fork POSITION                             go on in a fork
//	log [STREAM] [after=POSITION]             show the journal
//	replay                                    do everything again, compare
//	plant FAULT                               switch on a fault
//
// The ids of commands and of published events derive from the seed and the
// name given with id=, or from a count where none is given.
package simulations
