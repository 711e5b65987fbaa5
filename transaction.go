package penstock

import "context"

// Transactor is a [Sink] whose target has transactions that take up the positions of a source of the same technology, too: Kafka. What a flow reads and
// what it writes then happens together or not at all.
//
// The engine uses it for a flow with `delivery: effectively-once` whose sources and sinks are all on one Connection, and registered with
// [Spec.Transacts]. Such a flow runs in epochs:
//
//	tx, err := sink.Begin(ctx)                     // of one of the flow's sinks: it speaks for all
//	for … {
//	    source.Read(ctx, b)                        // … and the flow's steps
//	    tx.Write(ctx, sink, b)                     // in place of sink.Write, for each sink that has something
//	}
//	// Everything that was read is through: written, filtered, or dead-lettered (through tx, too).
//	tx.Positions(ctx, source, positions)           // of each source: the last message of each stream
//	tx.Commit(ctx)
//
// Sources of such a flow are not told fates: Settle is not called, and Resume neither. Their positions are where the last
// transaction left them: Open goes on there. Where a Write, Positions or Commit fails, or the source says that what it
// read is no longer its own (ErrDisconnected from Read: a rebalance took a partition away), the engine lets what is in flight run out, calls Abort, drops
// everything, and calls Open of each source again before it reads on: the source reads again what was not committed. The engine
// begins the next transaction with the first message after that.
//
// Fencing is the target's: a process that was taken for dead and goes on (a zombie) must have its Commit refused once another has its
// partitions. With Kafka the driver gives the group's metadata (member and generation) of source to SendOffsetsToTransaction, which
// does that; Tx.Positions hands it the very Source that it built, so that the two need no other way to find each other.
//
// Readers of the target see an epoch when it is committed, if they ask for committed messages only.
type Transactor interface {
	Sink
	// Begin begins a transaction. One at a time is open of the sinks of a flow. It may be called before Open of other sinks of the
	// flow, never before that of this one. Transient errors are tried again.
	Begin(ctx context.Context) (Tx, error)
}

// Tx is a transaction of a flow. Its methods are called by one goroutine at a time, but for Write, which different sinks call at once.
type Tx interface {
	// Write is to.Write as a part of the transaction. To is a sink of the flow, on the same Connection as that which has begun. A
	// *BatchError names those messages that can never be written (too large), and that alone: they are dead-lettered, and the others
	// go on. What was taken need not have arrived: Commit answers for it. Any other error dooms the transaction. b is not retained.
	Write(ctx context.Context, to Sink, b *Batch) error
	// Positions makes how far a source is done a part of the transaction. At has the position of the last message of each stream that
	// was read: reading goes on at Next. From is a source of the flow, on the same Connection. It is called once for each source that has moved,
	// after the last Write.
	Positions(ctx context.Context, from Source, at []Position) error
	// Commit makes all of it durable and visible, or fails; then Abort is called. An error with the code Conflict says that another has taken over
	// (a fenced zombie): the engine aborts and opens the sources anew. An error of a permanent code but that ends the run.
	Commit(ctx context.Context) error
	// Abort makes all of it never have been. It is called in place of Commit, or after its failure; not after its success.
	Abort(ctx context.Context) error
}
