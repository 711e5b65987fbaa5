package penstock

import (
	"context"
	"time"
)

var zeroTime time.Time

// Outcome is the fate of a message that a source read.
type Outcome struct {
	Pos Position
	// Err is nil when everything derived from the message is durable, dead-lettered, filtered,
	// or absorbed into durable state.
	Err error
	// Dead says that the message, or something made of it, was dead-lettered; Err is nil then. A source whose system has dead letters
	// of its own may hand it to those.
	Dead bool
}

// Source reads messages from somewhere. The engine calls Open, then Read in a loop; Settle
// may run beside Read, never beside itself; Close is last.
type Source interface {
	// Open connects. It may be called again after [ErrDisconnected].
	Open(ctx context.Context) error
	// Read appends at least one message to into, blocking for it; io.EOF says that there will
	// be no more (and that into is empty), [ErrDisconnected] asks for a new Open. It should
	// append what is there and not wait for a full batch. Where ctx ends it returns at once, with what it has, or ctx's error; it may be
	// called again with another ctx (a flow that was paused, or changed), and nothing is lost or comes twice.
	Read(ctx context.Context, into *Batch) error
	// Settle reports fates, in the manner that the driver's Spec.Settle states: cumulative (in
	// order, the last of each stream speaking for those before it) or each. Where the run keeps state, their positions are
	// durable by then.
	Settle(ctx context.Context, outcomes []Outcome) error
	// Close releases everything. Messages not settled are read again at the next start, where the
	// source can.
	Close(ctx context.Context) error
}

// Positioned is a source whose position the engine keeps, in runs that keep state (Env.Resumes): in the transaction that
// makes durable what became of the messages.
//
// For each Position.Stream the engine keeps the Position of the last message before which everything is settled, as the source
// gave it, Tag and Mark included; and, where messages behind it were settled before it, the ranges of their offsets. Whatever
// the source reads again is dropped by the engine if its Offset is before the position's Next or in one of the ranges.
// Therefore an offset belongs to one message of its stream for all time: where a stream begins anew with other
// messages (a file that was replaced), the source gives it another name.
type Positioned interface {
	// Resume is called once, before the first Open, with what is kept of each stream; from is empty at the first start.
	// Reading goes on at Next of each. A stream that the source no longer has is no error; a [Forgetter] says so.
	Resume(ctx context.Context, from []Position) error
}

// Forgetter is a [Positioned] source whose streams come to an end: files that were moved away.
type Forgetter interface {
	// Over names the streams whose positions are no longer needed, each once: everything that was read from them is settled, and
	// none of it will be read again, nor will the name be used again. The engine deletes what it keeps of them. It asks
	// before its transactions, and once more before Close; it may ask beside Read and Settle. A name whose deletion did not become durable is
	// named again by the source of the next run.
	Over() []string
}

// Server is a source that is called: it hands each request to a Handler on the caller's goroutine.
type Server interface {
	// Serve runs until ctx ends, and returns when the last request was answered. Where the flow behind it changes, h goes on, and
	// answers as the new one.
	Serve(ctx context.Context, h Handler) error
}

// Handler runs a flow for a Server.
type Handler interface {
	// Handle runs the flow over b, on the caller's goroutine and many at once, and returns when all that was made of b's messages is
	// durable, answered or refused. b.Msgs then holds one message for each that it was given, in order: the reply to it. b.Err(i)
	// says why the i-th failed (its Code decides the status). A reply whose Body is nil says that there is none: the message was
	// filtered, or the flow sends it elsewhere (Env.Replies is false). An error returned speaks of all messages: the run is
	// stopping, and nothing of them was done. The replies live in b's memory.
	Handle(ctx context.Context, b *Batch) error
}

// Sink writes messages to somewhere. Write is called by one goroutine at a time.
type Sink interface {
	Open(ctx context.Context) error
	// Write writes all messages of b, in order. Nil says that all are durable (as the driver's
	// page defines it); a *BatchError names those that are not; any other error speaks of all. Where
	// a message fails with a transient error, those of the same key behind it must fail too, so that
	// they are written again in order. b is not retained.
	Write(ctx context.Context, b *Batch) error
	// Close completes what is open (a file's last rename) and releases everything.
	Close(ctx context.Context) error
}

// Flusher is a sink that gathers: Write hands over, and only Flush makes durable. The engine
// settles nothing that was not flushed.
type Flusher interface {
	// Flush makes everything written so far durable.
	Flush(ctx context.Context) error
}

// ParallelSink is a [Sink] that makes requests of its own of the messages of a Write, several at once, each of which takes its
// time and fails alone. Its Write may be called by several goroutines at once: messages of one key are never in two of them.
type ParallelSink interface {
	Sink
	// Each says how long one request may take (the timeout of the step or Connection; 0 is without end). It is called once, before
	// Open. The sink keeps to it: the engine bounds no Write as a whole.
	Each(timeout time.Duration)
}

// Caller asks an external system and answers with its reply. It is safe for concurrent use.
type Caller interface {
	Open(ctx context.Context) error
	// Call sends m and returns the reply in into, an empty message of the same batch memory. A
	// keyed look-up that misses leaves into.Body as a JSON null and returns no error, and sets
	// into.Meta "absent" to true.
	Call(ctx context.Context, f *Frame, into *Message) error
	Close(ctx context.Context) error
}

// Step is a stateless leaf step. Process works on b.Msgs in place: it may replace bodies, set
// vars and meta, fail messages with b.Fail, and drop messages by removing them from b.Msgs
// (those before and after keep their order). The indexes of b.Fail are those of b.Msgs as Process
// returns it: a step that drops too marks a message at the place that it has moved to. A message
// that failed is left as it came, since it may be tried again. No mark stands when Process is
// called. An error returned speaks of the whole batch. It is safe for concurrent use with different batches.
type Step interface {
	Process(ctx context.Context, b *Batch) error
}
