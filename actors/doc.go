// Package actors is the front door of Toka: agents and resources that live in
// a process, keep what they did in a journal, and go on after a crash where
// the journal says they were.
//
//	greeter := actors.NewAgent("greeter", 1, "guest.arrived",
//		func(t *actors.Turn, e events.Event) error {
//			return actors.Emit(t, greeted, Greeting{To: e.Stream})
//		})
//	sys, err := actors.Start(j, actors.NewRegistry(greeter), actors.Options{})
//	err = greeter.Spawn(sys, "alice")
//
// An [Agent] reacts to events: it is handed each durable event whose kind one
// of its patterns matches, and what it emits goes to its own stream, caused by
// the event in hand. A [Resource] answers commands: Decide turns a command
// into events, Evolve folds events into state, and both are pure. Either is
// known by its name, which is its stream; state is what the stream folds to.
//
// # Guarantees
//
//   - A reaction is atomic: what an agent emits and how far it has come are
//     one write; a panic or an error discards both and the event comes again
//     (TestReactionIsAtomic, TestReactionSurvivesReopen, TestPowerCut).
//   - An agent is handed every event that it wants, in the order of the
//     journal, and reacts to each once, also where it falls behind, is spawned
//     late, is stopped in the middle or was given up (TestSlowAgentsLoseNothing,
//     TestSpawnWhileEventsFlow, TestStopWhileEventsFlow,
//     TestGivenUpAgentMissesNothing). What it only looked at and journaled
//     nothing about may come again after a crash.
//   - The same reaction, done twice, gives the same events under the same ids
//     (TestReactionTwiceIsOneEvent).
//   - An effect happens once, as far as the world allows: [Do] journals its
//     result before handing it on, and hands back what is on record when the
//     reaction runs again (TestEffectHappensOnce, TestEffectsSurvivePowerCuts).
//     What is not known to have happened is dealt with as the call says
//     (TestEffectInDoubt, TestEffectOutlivesItsDeadline). It is not called
//     before what the agent's state rests on is durable
//     (TestEffectWaitsForTheDisk), and nobody waits for it but the agent's own
//     next event (TestEffectBlocksNobody). Other effects than are on record are
//     reported with both orders (TestEffectsInAnotherOrder), and a replay calls
//     none. A command may have effects too; it is decided to its end, also after
//     a crash (TestEffectOfACommand, TestEffectsOfCommandsSurvivePowerCuts).
//   - A timer is set with the turn that sets it or not at all
//     (TestTimerIsPartOfTheTurn), survives a restart, makes its actor live and
//     fires once (TestTimerFiresOnce, TestTimerSurvivesRestarts,
//     TestTimerOfAResource), by a clock that may be given
//     (TestTimersFollowTheGivenClock).
//   - Nothing undurable escapes: a reply, a rejection, a query's answer and a
//     command to another actor wait until everything they rest on is durable,
//     and no actor blocks while it waits (TestNothingUndurableEscapes,
//     TestActorDoesNotBlockOnTheDisk).
//   - State survives a restart, because it is folded from the stream
//     (TestStateSurvivesReopen). Where a behaviour asks for [Snapshots], an
//     actor begins with the newest (TestSnapshotEvery, TestSnapshotAtRest) and
//     comes to the same as without (TestSnapshotsChangeNothing); one that is
//     missing, damaged or of another version is done without
//     (TestSnapshotThatDoesNotServe). Everybody is live again from one reading of
//     the journal (TestRestore).
//   - A command id seen before returns its first outcome and decides nothing
//     (TestCommandTwice); with another payload it is refused
//     (TestRetrySucceeds).
//   - A resource that finds its stream grown by someone else reloads and
//     decides again, a bounded number of times (TestOutsideAppend). What was
//     decided on top is decided again too, in its order
//     (TestWhatRestsOnARefusalIsDecidedAgain, TestOrderSurvivesARefusal).
//   - A panicking handler is restarted and nothing else stops; the failure is
//     an event, caused by the message that broke it; a message that keeps
//     breaking its actor is parked (TestPanicIsAnEvent, TestPoisonIsParked),
//     and can be taken up again: [RetryParked] (TestParkedEventIsRetried,
//     TestParkedCommandIsRetried). That others write to its stream is no
//     failure of an agent (TestContentionIsNotAFailure).
//     runtime.Goexit in a handler is a failure like any other (TestGoexit).
//   - What a [Recorder] calls back when a draft is durable, and what watchers
//     are told, harms nobody if it is slow, panics or ends its goroutine
//     (TestSlowCallbackHarmsNobody, TestWatcherThatPanics).
//   - A mailbox is bounded, what happens beyond is its sender's choice, and
//     nobody spins (TestFullMailbox, TestManySendersToASmallMailbox).
//   - A command that a resource cannot decide yet is put aside, [Turn.Stash],
//     and comes again in order; that is bounded, survives a new state and a
//     failure, and where the actor ends, the senders are told and the commands
//     are dead letters (TestStash, TestStashIsBounded,
//     TestStashSurvivesAFailure, TestStashAtTheEnd).
//   - At most one activation of a name is live (TestSpawnTwiceIsOneActor), and
//     an actor that is stopped is gone only when its last position is durable;
//     a reference makes it live again (TestStopActor), also where it was
//     passivated because it had nothing to do (TestPassivation). Commands that
//     it did not come to are dead letters (TestDeadLetters).
//   - A [Tree] keeps its children alive by its strategy, starts them in order
//     and stops them in reverse (TestTreeRestartsItsChildren,
//     TestChildrenEndAsTheyAreMeantTo, TestStopIsInReverse); beyond its
//     intensity it fails, and at the root that is the end of the system
//     (TestEscalationEndsAtTheRoot). Watchers are told of every end
//     (TestLink). An actor that was given up is revived by spawning it, and
//     misses nothing (TestGivenUpActorIsRevived).
//   - Behaviours are found by name and version; one that is not registered is
//     a clear error (TestUnknownBehaviour).
//   - Turns may be given to somebody who decides their order
//     ([Options].Dispatch); package actorstest does so by a seed.
//   - When the storage fails, whoever waits is told so (TestStorageFailureReachesCallers).
//   - Stop drains what was accepted, bounded by its context, and leaves no
//     goroutine behind (TestStopDrains, TestNoGoroutineIsLeft,
//     TestManySpawnsAndStops).
//   - An actor that has nothing to do holds no goroutine and little memory: a
//     million fit into 2 GiB (TestLiveAgentsAreSmall).
//
// # What it does not do
//
// Commands are delivered at most once across a crash of the process: what must
// not be lost is an event. Agents do not react to events of their own stream.
// A start reads what was set of timers since the oldest open one. [StateAt], [System.Restore]
// and replays use no snapshots.
// Mailboxes are bounded for callers from outside; commands between actors are
// let in above the bound, since a journal's answer must never wait for a
// mailbox. State must be treated as a value: Decide, Evolve and whoever asks
// for it must not change it in place where it is shared.
//
// # What an actor's stream holds
//
// Besides the events of its own kinds:
//
//	toka.command.KIND    a command that caused events, sent others or failed
//	toka.agent.failed    a handler panicked, or a reaction returned an error
//	toka.agent.parked    the message was set aside after its last try
//	toka.agent.retry     somebody asked for a parked message to be tried again
//	toka.agent.unparked  that was dealt with
//	toka.agent.stopped   the actor was given up
//	toka.effect.started  an effect is going to be called; only where its policy
//	                     has to know (see InDoubt), or it is a command's first
//	toka.effect.done     the result of an effect, as JSON
//	toka.effect.failed   an effect failed: reason, attempts, in_doubt
//	toka.effect.ended    a command that had effects caused no event: why, if it
//	                     was rejected
//
// Timers are events of the stream $timers, with the actor's name in the
// extension tokaagent:
//
//	toka.timer.set        key, due, behaviour and what is to come of it
//	toka.timer.cancelled  key
//	toka.timer.fired      the command that came of it was dealt with
//	KIND                  a timer of an agent has fired
//
// Commands that were accepted and never decided are events of kind
// toka.agent.deadletter in the stream $deadletters.
//
// Events about effects carry the extensions tokaeffect (the name) and
// tokaordinal (which effect of its reaction, from 0). The id of a result is
// events.EmittedID of the cause, NAME#effect and the ordinal, so there can be
// only one. The first event that an actor itself journals carries the extension
// tokabehaviour with NAME/VERSION.
package actors
