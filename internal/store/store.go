package store

import (
	"context"
	"errors"
	"time"

	"penstock.dev/penstock/internal/observe"
)

// Class is the turn that a transaction takes at the one writer (two weighted classes: small before bulk).
type Class uint8

// The classes of transactions.
const (
	Small Class = iota // a saga's step, an event, a job, a cursor: somebody waits for it
	Bulk               // batches of messages
)

// MaxView is how long a snapshot may last: one that is held open keeps the write-ahead log from being
// shortened. A view that takes longer is cancelled.
const MaxView = time.Second

// ErrAway is in the errors of a store whose server did not answer, or cut a connection: what failed with it is to be begun again, from what is durable, also
// where the store can be used again already.
var ErrAway = errors.New("the server of the store was away")

// ErrOutdated is in the error of opening a store that this version of the program is too old for.
var ErrOutdated = errors.New("this program is too old")

// Store is an open store. It is safe for concurrent use.
type Store interface {
	// Submit queues a transaction and returns at once. f runs later, on the goroutine of the one writer, together with
	// whatever else is queued (group commit); transactions of one class run in the order in which they were
	// submitted. If f returns an error, what it wrote is undone and its Commit ends with that error; the others in
	// the group are not affected. f must be quick, must not wait for anything, and must not use its Tx afterwards.
	//
	// f may run more than once, also where it ended with an error; only its last run counts. So it reads and writes its
	// Tx and assigns results, and changes nothing else: what it counts, it counts from 0. A driver whose store is shared by
	// several processes runs it again when it turns out what it reads, or that another process was there first. It may end a run in
	// the middle, by a panic that it catches: f must not recover.
	//
	// An error of the disk ends the store: this transaction and all that follow fail with an error of code
	// unavailable, and only opening it again tells what is durable.
	Submit(c Class, f func(Tx) error) *Commit
	// View reads a consistent snapshot of what is durable, for at most MaxView.
	View(ctx context.Context, f func(View) error) error
	// Notify calls f with each segment that is appended to the channel, in order, once it is durable and before the
	// Commit that made it is done. f runs on the writer's goroutine: it must not wait, and must not change the
	// segment. cancel ends it.
	Notify(channel string, f func(Segment)) (cancel func())
	Described
	// Close commits what is queued and releases the store.
	Close() error
}

// Described is what a store tells of itself.
type Described interface {
	// Stats counts, and measures.
	Stats() Stats
	// Parts is into how many parts the store is divided: see [InPart]. It was decided when the store was made, and is never
	// changed.
	Parts() int
}

// Stats are a store's counts since it was opened, and its sizes.
type Stats struct {
	Commits      int64         `json:"commits"`      // durable group commits
	Transactions int64         `json:"transactions"` // in them
	Messages     int64         `json:"messages"`     // appended
	Bytes        int64         `json:"bytes"`        // appended
	CommitTime   time.Duration `json:"commitTime"`   // sum over commits, from begin to durable
	FileBytes    int64         `json:"fileBytes"`
	WALBytes     int64         `json:"walBytes"`
	FreeBytes    int64         `json:"freeBytes"` // pages in the file that can be used again
	DiskFree     int64         `json:"diskFree"`
	// Durations counts how long commits took, from begin to durable; nil where nobody measures.
	Durations *observe.Histogram `json:"-"`
}

// Commit is a transaction that was submitted.
type Commit struct {
	done chan struct{}
	err  error
}

// NewCommit makes the Commit of a transaction that a driver has queued.
func NewCommit() *Commit { return &Commit{done: make(chan struct{})} }

// Finish ends the commit: for drivers, once.
func (c *Commit) Finish(err error) {
	c.err = err
	close(c.done)
}

// Done is closed when the transaction is durable or has failed.
func (c *Commit) Done() <-chan struct{} { return c.done }

// Err is why the transaction failed; nil says that it is durable. Only after Done.
func (c *Commit) Err() error { return c.err }

// Wait waits until the transaction is durable or has failed. Where ctx ends first the outcome is not known.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// View is a consistent snapshot. What it returns may be kept.
type View interface {
	Log() Log
	State() State
}

// Tx is a transaction. It sees the state that it wrote itself, but not the messages that it appended.
type Tx interface {
	View
	Writer
}

// Writer is what a transaction can change.
type Writer interface {
	// Append puts a bundle of messages at the end of a channel, which is made where it is not there, and returns the
	// position of the first: positions begin at 0, have no gaps, and are never given twice, whatever is dropped. The data is
	// copied.
	Append(channel string, b Bundle) (base int64, err error)
	// Drop removes the whole segments of a channel that end at or before a position, oldest first.
	Drop(channel string, before int64) (segments int, err error)
	// Put writes an entry of a space, in place of the one with its key.
	Put(space string, e Entry) error
	// Delete removes an entry; one that is not there is no error.
	Delete(space string, key []byte) error
	// Clear removes a space.
	Clear(space string) error
}

// Log reads channels.
type Log interface {
	// Channels lists the channels, by name.
	Channels() ([]Bounds, error)
	// Bounds says what a channel holds; the zero Bounds with the name where there is no such channel.
	Bounds(channel string) (Bounds, error)
	// Segments returns the segments that hold messages at from or behind it, in order, until about max bytes; at
	// least one, if there is any.
	Segments(channel string, from int64, max int) ([]Segment, error)
	// Seek finds the first position whose segment holds messages of time at or later; Next where there is none.
	Seek(channel string, at time.Time) (int64, error)
}

// State reads entries.
type State interface {
	// Get finds an entry.
	Get(space string, key []byte) (Entry, bool, error)
	// Scan lists up to limit entries in the order of their keys, behind after (nil: from the beginning).
	Scan(space string, after []byte, limit int) ([]Entry, error)
	// Due lists up to limit entries whose Due is not 0 and not after until, in the order of Due, then of keys.
	Due(space string, until int64, limit int) ([]Entry, error)
	// Spaces lists the spaces whose names begin with prefix, by name.
	Spaces(prefix string) ([]Space, error)
}

// Entry is one entry of a space.
type Entry struct {
	Key   []byte // at most 4 KiB
	Value []byte
	Due   int64 // Unix nanoseconds by which Due finds it; 0: never
}

// Space is what is known of a space.
type Space struct {
	Name    string `json:"name"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"` // of keys and values
}

// Bounds says what a channel holds.
type Bounds struct {
	Channel  string    `json:"channel"`
	First    int64     `json:"first"` // position of the oldest message that is there; Next if there is none
	Next     int64     `json:"next"`  // position that the next message gets
	Segments int64     `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Oldest   time.Time `json:"oldest"` // of the oldest segment's first message; zero if there is none
}
