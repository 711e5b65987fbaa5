package main

// bug is a deliberate bug: one that somebody could make, at the place where it would be made.
type bug struct {
	name  string // asked for by mutation.On in the source
	does  string
	tests []suite // that must catch it: all of them
}

// suite is tests of a package.
type suite struct {
	pkg   string // below internal
	tests string // names, as go test -run has them
}

// Tests that catch several bugs.
var (
	killed    = suite{"run", "^TestWhatIsKilledGoesOnAndLosesNothing$"}
	model     = suite{"run", "^TestWhatIsKilledDoesWhatTheModelDoes$"}
	conform   = suite{"store/sqlite", "^TestConform$"}
	channels  = suite{"store/channel", "^TestModel$"}
	retention = suite{"store/channel", "^TestRetainKeepsWhatTheSlowestGroupNeeds$"}
	disk      = suite{"store/sqlite", "^TestDiskErrors$"}
)

// bugs are all that there are; a test holds the list against the source.
var bugs = []bug{
	// Positions and acknowledgements.
	{"settled-before-commit", "sources hear that their messages are done before the transaction", []suite{model}},
	{"settled-before-state", "positions are committed first, and what durable steps keep in a transaction after that", []suite{killed, model}},
	{"position-ahead", "the position moves past a message that waits for its retry", []suite{killed, model}},
	{"acknowledgement-missing", "what was read from a channel is not acknowledged in the transaction", []suite{killed}},
	{"cursor-skips", "a group's cursor jumps over messages that are not acknowledged yet", []suite{channels}},
	{"straggler-twice", "what a message that came late recorded is written twice", []suite{killed}},
	{"straggler-overtaken", "messages of a key don't wait behind one that is late", []suite{model}},
	{"inbox-row-missing", "the identity of a message is not stored with what was made of it", []suite{{"run", "^TestAnIdentityIsWorkedOnOnce$"}}},
	{"at-most-once-late", "at-most-once settles messages after the work, not before", []suite{{"run", "^TestAtMostOnceSettlesWhatItReads$"}}},

	// Durable steps.
	{"emission-apart", "what a durable step emits has a transaction of its own", []suite{model}},
	{"key-final-early", "the state of a durable step (a dedupe's key) is stored before the rest of the transaction", []suite{model}},
	{"deleted-before-emission", "what is stored of a group is deleted before the group is emitted", []suite{model}},
	{"key-not-put", "the keys of a dedupe and of an inbox are kept in memory only", []suite{{"stage", "^TestDedupe"}, {"store/keyset", "^TestModel$"}, model}},
	{"delay-early", "a delay lets messages go a minute early", []suite{{"stage", "^TestDelay"}}},
	{"delay-lost-at-restart", "a delay forgets what it holds when it starts again", []suite{{"stage", "^TestDelay"}}},

	// Dead letters.
	{"dead-keeps-writes", "a message that dies leaves what it wrote to channels", []suite{{"run", "^TestADeadMessageTakesBackWhatItWrote$"}, model}},
	{"try-keeps-writes", "a fork that fails leaves what its branches wrote to channels, and its next try writes it again", []suite{{"run", "^TestATryTakesBackWhatItWroteAndNothingElse$"}, model}},
	{"ends-out-of-order", "with onError.order: park a message ends before one of its key in front of it that may die", []suite{{"run", "^TestWhatEndsEarlierIsHeldBehindWhoDiesLaterOn$"}}},
	{"parked-freed-early", "a key is free while dead letters of it that were given in again are on their way", []suite{{"run", "^TestAKeyIsHeldUntilAllThatWereGivenInAgainAreThrough$"}}},
	{"redrive-loses", "redrive acknowledges dead letters without appending them", []suite{{"control/operate", "^TestRedrive"}}},

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
}
