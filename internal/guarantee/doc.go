// Package guarantee derives what a flow gives from its plan: how often an effect of a message may happen, and what order its
// output has (DESIGN.md §2). It looks at nothing else, so what `penstock check` prints is what the engine was told to do.
//
// # Delivery
//
// Two things can go wrong when a process dies: an effect is missing (it loses), or it is there twice (it repeats). Every rule
// says which of the two a place allows, and the four answers have names:
//
//	            never lost          may be lost
//	never twice effectively-once    at-most-once
//	may be twice at-least-once      best-effort
//
// A flow gives what all its places leave. The rules, once per kind of place:
//
//	where        what                                        loses  repeats
//	source       durable channel                             -      -        its position is in the transaction
//	source       Spec.Replay position                        -      -        so is its
//	source       Spec.Replay again; a server                 -      yes      with `id`: no, within its retention
//	source       Spec.Replay none                            yes    -        with or without `id`
//	source       channel in memory                           yes    -
//	source       at-most-once is declared                    yes    -        it is settled when it is read; not a server, whose callers can't be told
//	source       the run keeps no state                      as its source  yes  a new run begins at the beginning
//	source       … and Spec.Keeps (a consumer group)         -      -        it goes on where that was settled; what comes again has its position
//	source       part of a transaction (plan.Transaction)    -      -        committed with what was sent
//	step         durable (Group, Stage)                      -      -        a boundary: what leaves it is recorded, and comes again as it was
//	step         in memory (Apply, Route, Fork …)            -      -        its work is done again, with the same message
//	call         idempotent                                  -      -        asking again has no effect
//	call         not idempotent                              -      yes      a second call is a second effect
//	send         durable channel                             -      -        it is recorded in the transaction
//	send         channel in memory                           yes    yes      settled when handed over; in a run without state only as its source, where
//	                                                                         that begins at the beginning
//	send         connector, Spec.Rewrite twice               -      yes
//	send         connector, Spec.Rewrite same                -      yes      where the content may differ; else no
//	send         connector, Spec.Rewrite known               -      -        as same; within Spec.Known.Within
//	send         connector, Spec.Rewrite nothing             -      -
//	send         part of the transaction                     -      -        also where the content may differ: what is undone, nobody sees
//	send         connector with Spec.Loses                   yes    (as above)
//	send         wait: false, not to a durable channel       yes    (as above)
//	onError      dead letters: the implicit channel          -      -        recorded; `deadLetter` counts as a send
//	onError      … of a flow in transactions, a run without state  -  yes    it is written before what it belongs to is settled
//
// What repeats, repeats because a message comes again: behind a source that gives nothing twice, and where at-most-once is
// declared, only tries that follow a failure repeat.
//
// At-most-once, where it is declared, means that a message is settled when it is read: its position is committed (or its source
// told) before its first step, at the source and behind each durable step. A crash loses what was on its way, and nothing is done
// again. Dead letters and durable channels are written as ever, when their message is done.
//
// Content may differ where a step between the last boundary and the send reads now or uuid(), takes a sample, or asks something
// outside. That is no matter before a durable channel, a durable step or a dead letter: what was made is recorded in the
// transaction that says that it was made.
//
// # Order
//
// A flow's output has at most the order that is declared. It has less behind
//
//	aggregate, throttle with `by`   per-key: groups end, and keys go on, in an order of their own
//	resequence                      per-key with `by`
//	delay with `until`              none: messages go on when each is due
//	a queue that several flows read per-key: those of one key go to one reader at a time
//	a source with Spec.Reorders     none: readers share its messages out among them
//	a channel on a broker in parts  per-key, or none where its messages have no key
//	a sink with Spec.Reorders       per-key: it has several requests under way
//	forEach that sends several elements at once   none
//
// What doesn't take order away, but belongs to it: sources are merged as they come, and a dead letter leaves a gap unless its
// key is parked.
package guarantee
