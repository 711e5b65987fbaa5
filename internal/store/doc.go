// Package store is where a run keeps what must outlive it: channels as logs of segments, and state
// as keyed entries. It is the only authority; nothing is acknowledged before a transaction here is
// durable.
//
// The package holds the roles that a driver plays; package store/sqlite is the embedded one,
// store/memory keeps everything in memory for tests, store/conform is the suite that every driver passes, and
// store/channel makes topics and queues of logs.
package store
