// Package run executes plans. One function, the lane's exec, runs a program of nodes
// over a batch; the pump drives it from a Source: it reads, hands batches to lanes,
// and keeps the ledger that says when a source message is settled.
//
// The path of a batch: [pump] reads it and gives each message a track in the ledger →
// a [lane] runs the flow's nodes over it as a vector machine (a bucket of messages per
// node, always the lowest node first, so that branches rejoin by themselves) → sinks
// write → each message that ends is taken off its track → when the last is off, the
// settler flushes the sinks and tells the source.
//
// Order: total runs the part of a flow that no order is needed for on all lanes, and the
// tail, from the first order-sensitive node on, by one lane at a time in the order of
// reading. per-key gives each key to one lane. none is free. Where a message has to wait
// (a retry's pause, a call in flight) it leaves its lane and blocks only its key.
package run
