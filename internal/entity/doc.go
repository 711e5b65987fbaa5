// Package entity keeps state as a history of events (the kinds Entity and View).
//
// Events of an entity stand in the channel entity/<name> of each part of the store, one frame an event, in the order of their commits. What
// else is kept are entries beside it:
//
//	entity/<name>/head    key → version, position and hash of its last event
//	entity/<name>/at      key and version → position of an event, one entry a command
//	entity/<name>/snap    key → the state at a version: a cache
//	entity/<name>/cause   what a command is known by → what it did, for a while
//	entity/<name>/chain   how far the chain of hashes of the part goes
//	entity/<name>/keys    subject → the key that personal fields are encrypted with
//	entity/<name>/forms   type and version of an event → schemas that such events were written with; one space for all parts
//	entity/<name>/of      subject and key of the entities that it is part of
//
// A command is evaluated on its caller's goroutine, on the state as it is once everything before it is durable. One transaction then tests that the
// version is what the evaluation went by, and appends. Commands that come meanwhile join that transaction, and those
// of one key are evaluated on what those before them made, so that a hot key costs no round of the disk for each of them.
package entity
