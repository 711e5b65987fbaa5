package resource

import "penstock.dev/penstock"

// Dedupe lets the first message of each key pass. Those that follow within the window end here, as success, also after a restart.
type Dedupe struct {
	Place
	// What makes two messages the same. Text, a number, a bool or a timestamp.
	Key penstock.Expr `json:"key" penstock:"required"`
	// How long a key is remembered after the message that passed: the promise, and the size of the store, rest on it.
	Window penstock.Duration `json:"window" penstock:"default=24h,min=1ms"`
}

// Resequence puts messages into the order of their numbers: a message that comes too early waits until those before it have passed.
type Resequence struct {
	Place
	// What messages of one sequence have in common. Left out, the message's key; messages without a key are one sequence.
	By penstock.Expr `json:"by"`
	// Number of the message in its sequence: whole numbers without gaps.
	Number penstock.Expr `json:"number" penstock:"required"`
	// Number of the first message of a sequence.
	Start int64 `json:"start" penstock:"default=1"`
	// How long a missing number is waited for. Then the gap is given up and counted, and what waits behind it goes on.
	Timeout penstock.Duration `json:"timeout" penstock:"default=1m,min=1ms"`
	// Most messages of the step that wait. At the bound the gap of the longest wait is given up, and counted.
	Bound int `json:"bound" penstock:"default=10000,min=1,max=10000000"`
	// What becomes of a message whose number is over, a duplicate or one that was given up: deadLetter sends it to the flow's dead letter with conflict; drop ends it and counts it; include lets it pass as it comes, out of sequence.
	Late string `json:"late" penstock:"enum=deadLetter|drop|include,default=deadLetter"`
}

// Changes compares a full extract with the one before it and lets only the differences go on: what was added, what changed, and what is gone. One that is unchanged ends here, as success.
type Changes struct {
	Place
	// What makes two records the same one. It becomes the key. Text, a number, a bool or a timestamp.
	Key penstock.Expr `json:"key" penstock:"required"`
	// Which extract a record belongs to: another value begins the next extract, and what the one before had and this one has not is gone. Left out, meta.file: an extract is a file.
	Of penstock.Expr `json:"of"`
}

// ClaimCheck leaves the body in the store and lets the message go on without it, or, with redeem, brings a body back.
type ClaimCheck struct {
	Place
	// What goes on as the body in place of the one that is checked in, a data tree. Left out, null. The claim is in meta.claim, a text.
	Body penstock.Tree `json:"body"`
	// How long a body that was checked in is kept. Afterwards it can't be redeemed.
	Retention penstock.Duration `json:"retention" penstock:"default=7d,min=1s"`
	// Claim whose body is brought back: what meta.claim held when it was checked in. It stands alone, with schema.
	Redeem penstock.Expr `json:"redeem"`
	// Name of the Schema of the body that is redeemed. It types the result.
	Schema Ref `json:"schema"`
}

// IsRedeem reports whether a body is brought back.
func (c *ClaimCheck) IsRedeem() bool { return c.Has("redeem") }

// Redrive gives open dead letters of a flow to that flow again, where they died, in the order in which they died, as `penstock dlq redrive` does. Its result is {redriven, left}: how many were given in, and how many of those that were there when it began are left.
type Redrive struct {
	Place
	// Name of the Flow whose dead letters are given in again: another one than that of the step, which keeps them in the store.
	Flow Ref `json:"flow" penstock:"required"`
	// Which of them, as an expression over each: body, meta and key are those of the dead letter, and error says why it died (code, message, step, path, attempts, origin, time) and how often it was redriven before (redriven). vars, params, request and now are those of the message that asks. Left out, all. One over which it can't be evaluated is not meant.
	Where penstock.Expr `json:"where"`
	// How many at most, the oldest first. Left out, all that were there when it began.
	Limit int `json:"limit" penstock:"min=1"`
	// How fast they are given in at most. Left out, as fast as the store takes them.
	Rate penstock.Rate `json:"rate"`
}

// Delay holds every message back, for a time or until one. The wait outlives the process.
type Delay struct {
	Place
	// How long each message is held. Exactly one of for and until must be there.
	For penstock.Duration `json:"for" penstock:"min=1ms"`
	// Until when it is held, a timestamp. One that is over lets the message go on at once.
	Until penstock.Expr `json:"until"`
}

// Throttle holds messages back so that no more than a rate of them goes on. None is lost; they wait in the store.
type Throttle struct {
	Place
	// How many may go on in a time: 100/s, 20/m.
	Rate penstock.Rate `json:"rate" penstock:"required"`
	// What has a rate of its own: each value of it. Left out, there is one rate for all.
	By penstock.Expr `json:"by"`
	// How many may go on at once after a quiet time.
	Burst int `json:"burst" penstock:"default=1,min=1,max=1000000"`
}

func (*Dedupe) verb() string     { return "dedupe" }
func (*Resequence) verb() string { return "resequence" }
func (*Changes) verb() string    { return "changes" }
func (*ClaimCheck) verb() string { return "claimCheck" }
func (*Delay) verb() string      { return "delay" }
func (*Throttle) verb() string   { return "throttle" }
func (*Redrive) verb() string    { return "redrive" }
