package main

// bug is a deliberate bug: one that somebody could make, at the place where it would be made.
type bug struct {
	name  string // asked for by mutation.On in the source
	does  string
	tests []suite // that must catch it: all of them
}

// suite is tests of a package.
type suite struct {
	pkg   string // below internal, or, with a slash in front, below the root
	tests string // names, as go test -run has them
}

// Tests that catch several bugs.
var (
	killed    = suite{"run", "^TestWhatIsKilledGoesOnAndLosesNothing$"}
	model     = suite{"run", "^TestWhatIsKilledDoesWhatTheModelDoes$"}
	conform   = suite{"store/sqlite", "^TestConform$"}
	channels  = suite{"store/channel", "^TestModel$"}
	retention = suite{"store/channel", "^TestRetainKeepsWhatTheSlowestGroupNeeds$"}
	mishaps   = suite{"flowtest", "^TestMishapsAreHeldToTheDelivery$"}
	disk      = suite{"store/sqlite", "^TestDiskErrors$"}
	pgConform = suite{"store/postgres", "^TestConform$"}
	pgAppend  = suite{"store/postgres", "^TestReplicasAppend$"}
	pgTurns   = suite{"store/postgres", "^TestReplicasAlternate$"}
	pgOutcome = suite{"store/postgres", "^TestOutcomeThatIsNone$"}
	pgTaking  = suite{"store/postgres", "^TestATakingMigration$"}
	pgLeases  = suite{"store/postgres", "^TestLeases$"}
	oneHolder = suite{"store/lease", "^TestAtMostOneHolder$"}
)

// bugs are all that there are; a test holds the list against the source.
var bugs = []bug{
	// The store on PostgreSQL.
	{"pg-no-part-lock", "transactions don't lock the parts that they read and write", []suite{pgAppend}},
	{"pg-version-stays", "a commit does not count the version of its parts up, so that others go by what they remember", []suite{pgTurns}},
	{"pg-stale-kept", "what is remembered of a part is kept although another process has changed it", []suite{pgTurns}},
	{"pg-gap-not-told", "what others have appended before a segment of this process is not told", []suite{pgAppend}},
	{"pg-wake-lost", "nobody looks for what others have appended", []suite{pgAppend}},
	{"pg-acknowledged-before-commit", "commits are done before the server has them", []suite{pgOutcome}},
	{"pg-outcome-guessed", "a commit whose answer was lost is taken for durable", []suite{pgOutcome}},
	{"pg-panic-taken-for-undone", "a commit in whose middle the server has ended, with an error, is taken for one that it has refused", []suite{{"store/postgres", "^TestAPanicInACommit$"}}},
	{"pg-failed-not-undone", "what a failing transaction wrote is committed with its group", []suite{pgConform}},
	{"pg-drop-partly-unread", "drop takes a segment of which a part is still to be read", []suite{pgConform}},
	{"pg-no-fence", "a transaction of a replica that has lost its lease is committed", []suite{{"store/postgres", "^TestZombie$"}}},
	{"pg-sleepers-left", "who takes a part waits for a process that sleeps with its lock", []suite{{"store/postgres", "^TestZombie$"}}},
	{"pg-idle-unbounded", "the server lets a session stand still in a transaction for ever", []suite{{"store/postgres", "^TestZombie$"}}},
	{"pg-migrates-under-older", "tables are made something that older programs can't work with while these do", []suite{pgTaking}},
	{"pg-older-not-put-out", "an older program that was cut off writes into tables that it can't work with", []suite{pgTaking}},
	{"pg-enlists-outdated", "an older program begins while the tables become something that it can't work with", []suite{pgTaking}},
	{"pg-tls-unsaid", "what is wrong with a connection over TLS is not told from a server that is away", []suite{{"store/postgres", "^TestTLS$"}, {"store/postgres", "^TestTheServersCertificateExpires$"}}},
	{"pg-lease-taken-while-held", "a part is taken from a replica whose lease holds", []suite{pgLeases}},
	{"pg-lease-epoch-stays", "who takes a part gets the epoch of the last lease", []suite{pgLeases}},
	{"pg-lease-renewed-after-expiry", "a lease that has run out is renewed", []suite{pgLeases}},
	{"pg-release-not-told", "who releases parts tells nobody", []suite{{"store/postgres", "^TestWhatIsReleasedIsTold$"}}},
	{"pg-told-while-away", "who begins to listen does not look for what was told before", []suite{{"store/postgres", "^TestWhatIsReleasedIsTold$"}}},
	{"pg-fail-over-not-noticed", "what was read from a server counts at the one that takes its place, which may lack it", []suite{{"store/postgres", "^TestFailOverThatLosesWhatWasRead$"}}},
	{"pg-lost-not-noticed", "nobody notices that the server has fewer messages than were read from it", []suite{{"store/postgres", "^TestAChannelThatIsShorter$"}}},
	{"pg-volatile-taken", "a server that does not wait for the disk is taken", []suite{{"store/postgres", "^TestRefusesWhatIsNotDurable$"}}},

	// Positions and acknowledgements.
	{"settled-before-commit", "sources hear that their messages are done before the transaction", []suite{model}},
	{"settled-before-state", "positions are committed first, and what durable steps keep in a transaction after that", []suite{mishaps, killed, model}},
	{"position-ahead", "the position moves past a message that waits for its retry", []suite{killed, model}},
	{"acknowledgement-missing", "what was read from a channel is not acknowledged in the transaction", []suite{mishaps, killed}},
	{"cursor-skips", "a group's cursor jumps over messages that are not acknowledged yet", []suite{channels}},
	{"straggler-twice", "what a message that came late recorded is written twice", []suite{killed}},
	{"straggler-overtaken", "messages of a key don't wait behind one that is late", []suite{model}},
	{"inbox-row-missing", "the identity of a message is not stored with what was made of it", []suite{{"run", "^TestAnIdentityIsWorkedOnOnce$"}}},
	{"at-most-once-late", "at-most-once settles messages after the work, not before", []suite{{"run", "^TestAtMostOnceSettlesWhatItReads$"}}},

	// Transactions of brokers.
	{"epoch-not-drained", "a transaction is committed while messages that it counts as done are in flight", []suite{{"run", "^TestTransactionAwaitsRetries$"}}},
	{"epoch-without-positions", "a transaction has what was written, and not how far its sources were read", []suite{{"run", "^TestTransactionHoldsWhatWasReadAndMade$"}, {"flowtest", "^TestMishapsOfTransactions$"}}},
	{"undone-not-read-again", "sources read on where they are when what they have read was undone", []suite{{"run", "^TestTransactionIsUndone$"}}},

	// Brokers and databases, with the real servers.
	{"rabbitmq-unconfirmed", "RabbitMQ: a message is written when it is sent, confirmed or not", []suite{{"/connector/rabbitmq", "^TestAFullQueue$"}}},
	{"rabbitmq-acks-past", "RabbitMQ: what is acknowledged takes along what came before it and is not settled", []suite{{"/connector/rabbitmq", "^TestAcks$"}, {"/connector/rabbitmq", "^TestWhatIsNotSettledComesAgain$"}}},
	{"rabbitmq-acks-forgotten", "RabbitMQ: a channel is closed that holds acknowledgements back which the queue was not handed", []suite{{"/connector/rabbitmq", "^TestQueueConforms$"}}},
	{"mqtt-acks-past", "MQTT: messages are acknowledged that are not settled", []suite{{"/connector/mqtt", "^TestWhatIsNotSettledComesAgain$"}}},
	{"nats-refused-written", "JetStream: a message that the stream refuses counts as written", []suite{{"/connector/nats", "^TestStreamIsFull$"}}},
	{"nats-acks-failed", "JetStream: what the flow was not done with is acknowledged", []suite{{"/connector/nats", "^TestOnlyWhatIsDoneIsAcknowledged$"}}},
	{"pulsar-refused-written", "Pulsar: a message that the broker does not take counts as written", []suite{{"/connector/pulsar", "^TestWriteGivesUp$|^TestLargeMessages$"}}},
	{"pulsar-acks-failed", "Pulsar: what the flow was not done with is acknowledged", []suite{{"/connector/pulsar", "^TestWhatIsNotSettledComesAgain$"}}},
	{"pulsar-version-ignored", "Pulsar: what was written with another version of the topic's schema is read as if with the reader's own", []suite{{"/connector/pulsar", "^TestSchemas$"}, {"/connector/pulsar", "^TestProtobufSchemas$"}}},
	{"kafka-commits-failed", "Kafka: offsets are committed of what the flow was not done with", []suite{{"/connector/kafka", "^TestSourceConforms$|^TestGroupConforms$"}}},
	{"kafka-no-drain", "Kafka: a partition goes to another member before what was read of it is done", []suite{{"/connector/kafka", "^TestMembersComeAndGo$"}}},
	{"pg-inbox-known-written", "PostgreSQL: what the inbox knows is written again", []suite{{"/connector/sql", "^TestInboxModes$"}}},
	{"mysql-inbox-apart", "MariaDB: the inbox has a transaction of its own, apart from its rows", []suite{{"/connector/sql", "^TestMySQLNothingIsLostOrDoubled$"}}},
	{"cdc-position-ahead", "CDC: the server is told of transactions that are not settled", []suite{{"/connector/sql", "^TestCDCBrokerConforms$|^TestCDCConforms$"}}},
	{"cdc-slot-not-compared", "CDC: a slot that was made anew is taken for the one that was read", []suite{{"/connector/sql", "^TestCDCSlotThatWasRemade$"}}},
	{"redis-acks-failed", "Redis: what the flow was not done with is acknowledged", []suite{{"/connector/redis", "^TestWhatIsNotSettledComesAgain$"}}},
	{"redis-list-acks-failed", "Redis: what the flow was not done with is taken off the list of what is worked on", []suite{{"/connector/redis", "^TestWhatIsNotSettledComesAgain$"}}},
	{"redis-dead-is-kept", "Redis: nobody takes over what a consumer had that is dead", []suite{{"/connector/redis", "^TestStorm$"}}},
	{"avro-wrong-id", "Avro: messages name another schema of the registry than theirs", []suite{{"/codec/avro", "^TestResolution$"}}},
	{"protobuf-wrong-id", "Protobuf: messages name another schema of the registry than theirs", []suite{{"/codec/protobuf", "^TestEvolution$"}}},
	{"outbox-out-of-order", "an outbox is relayed by several at once, in any order", []suite{{"control", "^TestOutboxOutlivesTheRun$"}}},

	// Durable steps.
	{"emission-apart", "what a durable step emits has a transaction of its own", []suite{mishaps, model}},
	{"key-final-early", "the state of a durable step (a dedupe's key) is stored before the rest of the transaction", []suite{mishaps, model}},
	{"deleted-before-emission", "what is stored of a group is deleted before the group is emitted", []suite{mishaps, model}},
	{"key-not-put", "the keys of a dedupe and of an inbox are kept in memory only", []suite{{"stage", "^TestDedupe"}, {"store/keyset", "^TestModel$"}, model}},
	{"delay-early", "a delay lets messages go a minute early", []suite{{"stage", "^TestDelay"}}},
	{"overlay-takes-all", "an overlay that is named as the current folder takes everything for its own", []suite{{"resource", "^TestAnOverlayIsNamedFromAnywhere$"}}},
	{"clock-looked-at-once", "what is due by the machine's clock waits for as long as was left when it began to", []suite{{"run", "^TestTheMachinesClockIsLookedAtAgain$"}}},
	{"delay-lost-at-restart", "a delay forgets what it holds when it starts again", []suite{{"stage", "^TestDelay"}}},

	// Dead letters.
	{"dead-keeps-writes", "a message that dies leaves what it wrote to channels", []suite{{"run", "^TestADeadMessageTakesBackWhatItWrote$"}, model}},
	{"try-keeps-writes", "a fork that fails leaves what its branches wrote to channels, and its next try writes it again", []suite{{"run", "^TestATryTakesBackWhatItWroteAndNothingElse$"}, model}},
	{"ends-out-of-order", "with onError.order: park a message ends before one of its key in front of it that may die", []suite{{"run", "^TestWhatEndsEarlierIsHeldBehindWhoDiesLaterOn$"}}},
	{"parked-freed-early", "a key is free while dead letters of it that were given in again are on their way", []suite{{"run", "^TestAKeyIsHeldUntilAllThatWereGivenInAgainAreThrough$"}}},
	{"redrive-loses", "redrive acknowledges dead letters without appending them", []suite{{"control/operate", "^TestRedrive"}}},

	// Requests.
	{"answered-before-commit", "a request is answered before what it recorded is durable", []suite{{"run", "^TestKeptBeforeTheAnswer$"}}},
	{"answered-before-flush", "a request is answered before the sinks have made durable what it sent", []suite{{"run", "^TestARequestComesToWhatAMessageWould$"}}},
	{"refused-keeps-writes", "a request that fails leaves what it wrote to channels", []suite{{"run", "^TestAllOfARequestOrNothing$"}, {"run", "^TestARequestComesToWhatAMessageWould$"}}},
	{"reload-gives-back", "what a source had read and not handed on is given back at a reload, behind what the new one reads", []suite{{"control", "^TestAReloadKeepsTheOrderOfWhatStood$"}}},
	{"twin-not-awaited", "a request is worked on while another one of its identity is", []suite{{"run", "^TestTwinsAtTheSameTime$"}}},

	// Channels.
	{"given-to-two-readers", "a reader that joins is given what another one has", []suite{channels}},
	{"key-order-ignored", "messages of one key are with two readers at a time", []suite{{"store/channel", "^TestOrderByKey$"}, channels}},
	{"nack-forgets-delay", "a message that is given back comes again at once", []suite{channels}},
	{"nack-forgets-message", "a message that is given back is not stored", []suite{channels}},
	{"retention-ignores-group", "retention asks one group only what it still needs", []suite{retention}},

	// The store.
	{"drop-partly-unread", "a segment is dropped of which the last messages are still needed", []suite{conform}},
	{"next-forgotten", "a channel of which everything was dropped begins at 0 again", []suite{conform}},
	{"notified-before-commit", "readers hear of messages that are not durable", []suite{conform}},
	{"finished-before-commit", "who submitted a transaction hears that it is durable before it is", []suite{conform}},
	{"failed-commit-ignored", "an error of COMMIT, as of a failed fsync, is ignored", []suite{disk}},
	{"failed-not-undone", "what a failed transaction wrote is committed with the others of its group", []suite{conform}},
	{"damage-served", "a segment whose checksum is wrong is given to readers", []suite{{"store/sqlite", "^TestDamage$"}}},

	// Leases.
	{"lease-no-fence", "a transaction of who drives a part does not test the lease", []suite{{"store/lease", "^TestAZombiesWritesAreRefused$"}, {"store/lease", "^TestConform$"}, oneHolder}},
	{"lease-epoch-stays", "a part that is taken over keeps its epoch", []suite{{"store/lease", "^TestEpochsGrow$"}, oneHolder}},
	{"lease-taken-while-held", "a part is taken whose lease holds", []suite{{"store/lease", "^TestConform$"}}},
	{"lease-renewed-after-expiry", "a lease is renewed that has run out", []suite{{"store/lease", "^TestALeaseThatRanOutIsNotRenewed$"}, {"store/lease", "^TestConform$"}}},
	{"lease-drives-on", "a replica whose lease is lost goes on driving", []suite{{"store/lease", "^TestDrivingStopsBeforeTheLeaseEnds$"}, {"store/lease", "^TestAReplicaWithoutItsStoreStopsDriving$"}}},
	{"lease-released-without-drain", "a part is handed over before its flows have finished what is in flight", []suite{{"store/lease", "^TestAGracefulStopHandsOverAfterTheDrain$"}}},

	// Jobs.
	{"job-no-fence", "a worker whose lease ran out completes a job that another one holds", []suite{{"jobs", "^TestFence$"}, {"jobs", "^TestAtMostOneHolder$"}}},
	{"job-lease-short", "a job is given to another before its lease has run out", []suite{{"jobs", "^TestFence$"}}},
	{"job-heartbeat-idle", "a heartbeat does not extend the lease", []suite{{"jobs", "^TestHeartbeat$"}}},
	{"job-unique-early", "what a job is unique by is free as soon as a worker has the job", []suite{{"jobs", "^TestUnique$"}, {"control", "^TestUniqueJobs$"}}},
	{"job-priority-inverted", "jobs of the lowest priority go first", []suite{{"jobs", "^TestPriorityGoesFirst$"}, {"control", "^TestPriorityAndTurns$"}}},
	{"job-unfair", "keys don't take turns", []suite{{"jobs", "^TestKeysTakeTurns$"}, {"control", "^TestPriorityAndTurns$"}}},
	{"job-delayed-early", "a delayed job may run at once", []suite{{"jobs", "^TestDelayedJobsWait$"}, {"control", "^TestPriorityAndTurns$"}}},
	{"job-key-stays-full", "jobs that wait behind the limit of their key stay there when one of it is done", []suite{{"jobs", "^TestBounds$"}, {"control", "^TestBoundsOfAQueue$"}}},
	{"job-wake-lost", "who waits for jobs is not told that one was enqueued", []suite{{"jobs", "^TestWhoWaitsIsWoken$"}}},
	{"job-dies-silently", "a job that failed for good leaves no dead letter", []suite{{"jobs", "^TestDead$"}}},
	{"job-retry-after-ignored", "a job that is pushed comes again before its endpoint's Retry-After", []suite{{"jobs", "^TestPauses$"}, {"control", "^TestPushWaitsAsLongAsItIsAsked$"}}},
	{"job-pull-lenient", "what a worker says and nobody knows is left out in silence", []suite{{"jobs", "^TestPullRefusals$"}, {"jobs", "^TestOpenAPIRequests$"}}},
	{"job-taken-after-reload", "a worker gets jobs of a queue that a reload has closed to it, and can't say that they are done", []suite{{"jobs", "^TestWhoIsNoLongerLetInTakesNothing$"}}},
	{"job-first-instant-forgotten", "a schedule that was never due begins anew with each run, and does not catch up with what was missed", []suite{{"/connector/timer", "^TestCatchUpWithTheFirst$"}, {"control", "^TestJobsByTheClock$"}}},
	{"job-schedule-everywhere", "every replica makes the jobs of a schedule", []suite{{"control", "^TestReplicasHaveOneJobForEachInstant$"}}},
	{"job-token-not-asked", "workers need not show the token of a queue", []suite{{"control", "^TestPulledQueuesAreReloaded$"}, {"control", "^TestReplicasReloadAQueue$"}}},
	{"job-reload-configures", "a reload tells the store how to keep the jobs of a queue, which are no channel", []suite{{"control", "^TestPulledQueuesAreReloaded$"}}},
	{"job-clock-back", "a lease of a clock that was ahead holds until the time that it had", []suite{{"jobs", "^TestClockSetBack$"}}},
	// Entities.
	{"expected-version-ignored", "a command is done to another version than the one that it expects", []suite{{"entity", "^TestAnExpectedVersionIsTested$"}}},
	{"conflict-not-tested", "events are appended though the entity has changed since they were made", []suite{{"entity", "^TestEntitiesDoWhatTheModelDoes$"}}},
	{"cause-not-looked-for", "a command that was done is done again", []suite{{"entity", "^TestTheSameCommandIsDoneOnce$"}}},
	{"cause-not-stored", "what a command is known by is not stored with its events", []suite{{"entity", "^TestTheSameCommandIsDoneOnce$"}}},
	{"schema-of-events-not-kept", "what an event's schema was when it was written is not stored with it", []suite{{"entity", "^TestAnEventsSchemaIsHeldToWhatIsInTheStore$"}, {"control", "^TestAChangedEventIsRefused$"}}},
	{"schema-not-compared-with-events", "an event is appended under a version whose events may not be valid under its schema", []suite{{"entity", "^TestAnIncompatibleEventIsNotAppended$"}}},
	{"new-required-field-passes", "a field that is required now, and was not there, is taken for a compatible change", []suite{{"schema", "^TestBackward$"}, {"schema", "^TestBackwardIsTrue$"}}},
	{"asked-again-is-new", "what a caller says of its request, an idempotency key, is not what its commands are known by", []suite{{"control", "^TestACommandThatIsAskedForAgainIsDoneOnce$"}}},
	{"snapshot-of-the-wrong-version", "a snapshot holds the state before the command that it is made after", []suite{{"entity", "^TestCommandsMakeEventsAndStates$"}}},
	{"snapshot-of-other-code", "a snapshot is used that another configuration has made", []suite{{"entity", "^TestOldEventsUnderNewCode$"}}},
	{"unreadable-event-skipped", "an event that no code knows, or whose upcast fails, is skipped", []suite{{"entity", "^TestOldEventsUnderNewCode$"}}},
	{"newer-schema-read", "an event of a newer version of its schema is read as if it were of the one that is known", []suite{{"entity", "^TestTwoConfigurationsOnOneStore$"}}},
	{"reload-keeps-states", "states that another configuration has folded are gone on with after a reload", []suite{{"entity", "^TestAReloadFoldsAnew$"}, {"control", "^TestAnEntityIsReloaded$"}}},
	{"flow-skips-unreadable-event", "a flow passes over an event that it can't read", []suite{{"control", "^TestAFlowStandsAtAnEventThatItCantRead$"}}},
	{"hash-skips-the-head", "the hash of an event does not cover its layout and time", []suite{{"entity", "^TestEachChangedByteBreaksTheChain$"}}},
	{"chain-not-compared", "events are not held to the hash of those before them", []suite{{"entity", "^TestEachChangedByteBreaksTheChain$"}}},
	{"commands-out-of-order", "commands of one entity are given to it side by side", []suite{{"run", "^TestCommandsOfAnEntityKeepTheOrderOfTheirMessages$"}}},
	{"steps-overtake", "a batch goes through the first of the steps that ask entities before it comes to the next, or to another branch", []suite{{"run", "^TestStepsThatAskEntitiesKeepTheOrderOfTheirMessages$"}}},
	{"key-not-erased", "erasing a subject leaves the key that its fields are encrypted with", []suite{{"entity", "^TestASubjectIsErased$"}}},

	// Views.
	{"view-position-ahead", "how far a view has come is stored in a transaction of its own, before its rows", []suite{{"entity/view", "^TestRowsAndPositionAreOneTransaction$"}}},
	{"view-skips-errors", "a view passes over an event that it can't fold", []suite{{"entity/view", "^TestAViewThatThrowsStops$"}}},
	{"view-switches-early", "rows that are built anew are read before they have caught up", []suite{{"entity/view", "^TestRebuildCatchesUpBeforeItSwitches$"}}},
	{"view-checksum-keys-only", "the checksum of rows covers their keys alone", []suite{{"entity/view", "^TestChecksumsTellRowsApart$"}}},
	{"view-null-stays", "a field that an event removes stays in its row", []suite{{"entity/view", "^TestViewIsWhatTheEventsComeTo$"}}},
	{"view-two-writers", "a view's rows are written though another process has brought them further", []suite{{"entity/view", "^TestWhoIsBehindWritesNothing$"}}},
	{"view-channel-shortened", "a channel does not keep what a view has not read", []suite{{"entity/view", "^TestAChannelKeepsWhatItsViewsHaveNotRead$"}}},
	{"view-sql-behind", "rows in a database are taken to be written though somebody else has brought them elsewhere", []suite{{"entity/view", "^TestWhoIsBehindWritesNoRowsElsewhere$"}}},
	{"view-sql-shortened-early", "a channel is let go of before the rows of its events are in the database", []suite{{"entity/view", "^TestADatabaseThatIsAwayIsWaitedFor$"}}},
	{"view-asof-forgets", "rows as of then are made of what is left of the events, whatever they were made of", []suite{{"entity/view", "^TestRowsAsOfWhatIsGone$"}}},
	{"view-stays-erased", "rows that hold what was erased are not made anew", []suite{{"entity/view", "^TestAnErasedSubjectLeavesTheRows$"}}},
	{"view-switch-noted-late", "who has switched to new rows notes so also where a reader noticed it before, and loses what was begun since", []suite{{"entity/view", "^TestARebuildBeginsWhileAnotherIsSwitchedTo$"}}},
	{"view-rebuild-forgotten", "a rebuild that is asked for while another is just switched to is taken for that one", []suite{{"entity/view", "^TestARebuildBeginsWhileAnotherIsSwitchedTo$"}}},
	{"view-diff-of-what-is-read", "a diff compares rows that were switched to meanwhile with themselves, and waits for itself", []suite{{"entity/view", "^TestDiffAfterASwitch$"}}},
	{"view-inline-row-lost", "the last row that changes with the events of a transaction is let go", []suite{{"entity/view", "^TestInlineRowsAreThereWithTheCommand$"}}},
	{"view-inline-joins-early", "rows change with the events from now on, though some are not folded yet", []suite{{"entity/view", "^TestInlineRowsAreBuiltAnewBesideCommands$"}}},
	{"view-inline-read-behind", "rows that are to change with the events are read though they do not hold all of them", []suite{{"entity/view", "^TestInlineRowsAfterAStart$"}}},
	{"view-inline-half", "of a command that an inline view refuses, the rows that were changed before stay so", []suite{{"entity/view", "^TestInlineRowsRefuseTheirCommand$"}}},
}
