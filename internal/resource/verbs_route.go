package resource

import (
	"time"

	"penstock.dev/penstock"
)

// Choice runs the steps of the first branch whose condition is true. Where none is, and there is no otherwise, the message passes through. After it, the branches are one again.
type Choice struct {
	Place
	// Branches in the order in which they are tried: {when, steps}, and {otherwise: steps} at the end.
	Branches []Branch `json:"-" penstock:"self,required,nonempty"`
}

// Branch is one way of a [Choice].
type Branch struct {
	Place
	// Condition, a bool. Every branch but otherwise has one.
	When penstock.Expr `json:"when"`
	// What is done where the condition is true.
	Steps []Step `json:"steps"`
	// What is done where no condition was true. Stands alone, as the last branch.
	Otherwise []Step `json:"otherwise"`
}

// IsOtherwise reports whether b is the branch without a condition.
func (b *Branch) IsOtherwise() bool { return b.When.IsZero() }

// Try runs steps, and others for a message that failed in them.
type Try struct {
	Place
	// What is tried.
	Steps []Step `json:"steps" penstock:"required,nonempty"`
	// What is done with a message that failed for good in steps, as it entered the step that failed; error holds code, message, step and path. Afterwards the message goes on behind try.
	Catch []Step `json:"catch" penstock:"required"`
}

// Stop ends the message here, as success.
type Stop struct{ Place }

// Fail makes the message fail.
type Fail struct {
	Place
	// Code of the error, which decides retry, status and exit code.
	Code penstock.Code `json:"code" penstock:"required"`
	// What is wrong, for people.
	Message penstock.Template `json:"message"`
}

// Send (the verb to) sends a copy of the message to a connector or a channel; the message itself goes on.
type Send struct {
	Place
	// Where it is sent.
	Target Target `json:"-" penstock:"self,required"`
}

// Parallel runs branches with the same message at the same time and waits for all of them.
type Parallel struct {
	Place
	// Steps by the name of the branch. The result is a map of what each branch's body is at its end.
	Branches Ordered[[]Step] `json:"-" penstock:"self,required,nonempty,name"`
}

// ForEach runs steps once for each element of a list and gathers the results in a list of the same order.
type ForEach struct {
	Place
	// The list.
	Each penstock.Expr `json:"each" penstock:"required"`
	// Name of the element within the steps; index is its number from 0. The body stays what it was until a step changes it.
	As string `json:"as" penstock:"name,default=item"`
	// How many elements are worked on at a time. The results keep the order of the list.
	Concurrency int `json:"concurrency" penstock:"default=1,min=1,max=1024"`
	// What is done with each. The result is the list of what the body is at the end of each run; a run that filters its message out adds nothing.
	Steps []Step `json:"steps" penstock:"required,nonempty"`
}

// Loop runs steps again and again until a condition is true.
type Loop struct {
	Place
	// Condition that ends the loop, looked at after each round.
	Until penstock.Expr `json:"until" penstock:"required"`
	// Most rounds. A message whose condition is still false after them fails with unprocessable.
	Max int `json:"max" penstock:"default=100,min=1,max=1000000"`
	// What is done in a round. The body that a round ends with begins the next one.
	Steps []Step `json:"steps" penstock:"required,nonempty"`
}

func (*Choice) verb() string   { return "choice" }
func (*Try) verb() string      { return "try" }
func (*Stop) verb() string     { return "stop" }
func (*Fail) verb() string     { return "fail" }
func (*Send) verb() string     { return "to" }
func (*Parallel) verb() string { return "parallel" }
func (*ForEach) verb() string  { return "forEach" }
func (*Loop) verb() string     { return "loop" }

// Split makes a message of its own of each element of a list. The message that held the list is settled when all of them are.
type Split struct {
	Place
	// The list.
	Each penstock.Expr `json:"each" penstock:"required"`
	// Name of the element in the steps that follow; index is its number from 0. With a name the body stays the whole message's; without one the element becomes the body.
	As string `json:"as" penstock:"name"`
}

// Aggregate gathers messages into groups; a group that is complete goes on as one message, whose body is the list of the bodies and whose key is the group's.
type Aggregate struct {
	Place
	// What messages of one group have in common. It becomes the key. Text, a number, a bool or a timestamp.
	By penstock.Expr `json:"by" penstock:"required"`
	// When a group is complete: at the first of the conditions that is met. At least one must be there.
	Complete Complete `json:"complete" penstock:"required"`
	// What becomes of a message that comes after its group was completed by idle or interval, where the flow has a time: include makes a group of it alone, completed at once and marked (meta.aggregate.reason is late); drop ends it and counts it; deadLetter sends it to the flow's dead letter with conflict.
	Late string `json:"late" penstock:"enum=include|drop|deadLetter,default=include"`
	// How much may be held. At the bound the oldest group is completed, marked (meta.aggregate.reason is bound) and counted.
	Bound Bound `json:"bound"`
}

// Complete says when a group of an [Aggregate] is complete.
type Complete struct {
	Place
	// So many messages.
	Size int `json:"size" penstock:"min=1,max=10000000"`
	// So long without another message of the group.
	Idle penstock.Duration `json:"idle" penstock:"min=1ms"`
	// So long after the group's first message.
	Interval penstock.Duration `json:"interval" penstock:"min=1ms"`
	// Condition, looked at with each message as it joins; the message still belongs to the group.
	When penstock.Expr `json:"when"`
	// Whether groups that are open when all sources have ended are complete then. With false they wait for idle or interval, and go to the dead letter where nothing can complete them any more.
	AtEnd bool `json:"atEnd" penstock:"default=false"`
}

// Bound limits what an [Aggregate] holds in memory.
type Bound struct {
	Place
	// Open groups.
	Groups int `json:"groups" penstock:"default=100000,min=1,max=100000000"`
	// Memory of the messages held, in bytes.
	Bytes penstock.Size `json:"bytes" penstock:"default=256Mi,min=64Ki"`
}

// Call asks a connector and takes its answer: an enrichment, a look-up, a request.
type Call struct {
	Place
	// Who is asked. A keyed look-up that misses gives an absent value, no error.
	Target Target `json:"-" penstock:"self,required"`
}

// Cache keeps the answers of a call in memory, within the process, for as long as it runs. Calls of the same key that come while one of
// them is under way wait for its answer and are not made. Failures are not kept.
type Cache struct {
	Place
	// How long an answer is kept.
	TTL penstock.Duration `json:"ttl" penstock:"required,min=1ms"`
	// What the answer depends on: text, a number or a bool, the same for messages that may have the same answer. Left out, what the connector asks for (its path, query and the like), where it knows that nothing else matters: a GET of http, a query of sql.
	Key penstock.Expr `json:"key"`
	// Memory for keys and answers. At the bound those that are asked for least make room.
	Size penstock.Size `json:"size" penstock:"default=16Mi,min=64Ki"`
	// How much longer an answer may serve where asking again fails with a transient error. Left out, not at all.
	Stale penstock.Duration `json:"stale" penstock:"min=1ms"`
	// How long it is kept that there is nothing: a failure with notFound, or a look-up that missed. Left out, not at all.
	Negative penstock.Duration `json:"negative" penstock:"min=1ms"`
}

// Sample lets pass a part of the messages. The rest ends here, as success.
type Sample struct {
	Place
	// Every so many messages one (10), or one in so much time (5s). Exactly one of every and rate must be there.
	Every *Every `json:"every"`
	// A random share of the messages (1%), or at most so many in a time (10/s).
	Rate *SampleRate `json:"rate"`
}

// Every is a count of messages or a length of time.
type Every struct {
	Pos      penstock.Pos
	Count    int           // 0 if it is a time
	Interval time.Duration // 0 if it is a count
}

// SampleRate is a share of all, or a rate.
type SampleRate struct {
	Pos   penstock.Pos
	Share penstock.Share // 0 if it is a rate
	Rate  penstock.Rate
}

func (*Split) verb() string     { return "split" }
func (*Aggregate) verb() string { return "aggregate" }
func (*Call) verb() string      { return "call" }
func (*Sample) verb() string    { return "sample" }
