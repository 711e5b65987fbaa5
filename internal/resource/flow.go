package resource

import "penstock.dev/penstock"

// Flow takes messages from a source, works on them step by step, and sends what is left to a sink.
type Flow struct {
	Place
	// Where messages come from: one connector ({file: {…}}), one channel ({channel: orders}) or the events of an entity ({entity: account}), with schema and key beside it. Exactly one of from and sources must be there.
	From *Target `json:"from"`
	// Several sources, in place of from. Their messages are merged as they come; order holds for each source by itself.
	Sources []Target `json:"sources" penstock:"nonempty"`
	// What the key of each message becomes, before the first step. order: per-key and the order of channels go by it.
	Key penstock.Expr `json:"key"`
	// What order is kept: total keeps the order of the source (work still runs in parallel), per-key keeps it among messages of the same key, none keeps none. Requests to a flow that is called (`from: { http: … }`) come side by side: there none is the default, per-key lets those of a key take turns, and total is refused.
	Order string `json:"order" penstock:"enum=total|per-key|none,default=total"`
	// What is promised of the effects of a message. at-least-once settles it with its source only after everything made of it is durable: nothing is lost, and something may happen twice after a crash. at-most-once settles it when it is read: nothing happens twice, and what is under way at a crash is lost. effectively-once loses nothing, and nothing shows twice. Each is refused where a source, a step or a sink can't keep it; `penstock check` prints what a flow really gives, and why.
	Delivery string `json:"delivery" penstock:"enum=at-most-once|at-least-once|effectively-once,default=at-least-once"`
	// How many messages are worked on at a time (lanes). Left out, as many as there are processors; of a flow that is called, as many requests as come.
	Concurrency int `json:"concurrency" penstock:"min=1,max=1024"`
	// When the message happened, a timestamp: what idle, interval and late of aggregate go by. Left out, they go by the engine's clock.
	Time penstock.Expr `json:"time"`
	// How much may be in flight, read but not yet settled, before the source is made to wait. Requests beyond it wait as long as their callers do.
	Budget Budget `json:"budget"`
	// What is done with each message, in order.
	Steps []Step `json:"steps"`
	// Where messages go that reach the end. Left out, they end there (with a source that awaits a reply, they are the reply).
	To *Target `json:"to"`
	// What happens to a message that failed, after the step's own retry and the innermost try.
	OnError OnError `json:"onError"`
}

// Inputs lists the flow's sources: From, or Sources.
func (f *Flow) Inputs() []*Target {
	if f.From != nil {
		return []*Target{f.From}
	}
	out := make([]*Target, len(f.Sources))
	for i := range f.Sources {
		out[i] = &f.Sources[i]
	}
	return out
}

// Budget bounds what a flow has in flight. Whichever bound is reached first makes the source wait.
type Budget struct {
	Place
	// Messages read and not yet settled.
	Messages int `json:"messages" penstock:"default=16384,min=1,max=10000000"`
	// Memory of those messages, in bytes.
	Bytes penstock.Size `json:"bytes" penstock:"default=64Mi,min=64Ki"`
}

// OnError says what happens to a message that failed.
type OnError struct {
	Place
	// Tries at the step that failed, with the message as it entered that step; completed steps are not repeated. Left out, transient failures (limited, unavailable, timeout) get 5 tries, and deterministic ones none. Where a step declares its own retry, only that one acts.
	Retry *Retry `json:"retry"`
	// Where a message goes that failed for good: its original bytes, and the reason in meta.dead. A connector that carries no headers (file, stdout) gets an object of body, key and meta. Left out, the channel <flow>.dead of the store, where `penstock dlq` shows, tries and redrives it; a flow may read it, too. A request that failed is answered with its error, and is no dead letter.
	DeadLetter *Target `json:"deadLetter"`
	// What happens to later messages of the same key: skip lets them pass, so that the dead letter leaves a gap. park holds them back in the store, behind it, until it is redriven or dropped with `penstock dlq`, and then goes on in sequence; it needs a key, order total or per-key, and the dead letters of the store (no deadLetter).
	Order string `json:"order" penstock:"enum=skip|park,default=skip"`
}

// Retry says how often and when a failed step is tried again.
type Retry struct {
	Place
	// Total tries, the first one included: 1 is no retry.
	Attempts int `json:"attempts" penstock:"default=5,min=1,max=1000"`
	// How long to wait between tries. What the other side asks for (Retry-After, an open breaker) is waited for too, up to 5 minutes.
	Backoff Backoff `json:"backoff"`
	// Most retries, as a share of the first tries of the last 10 seconds, over all that is asked of the connection; 10 are always free. Where it is used up, a failure is final. Only in a Connection, or a Policy that targets one; left out, there is no bound.
	Budget penstock.Share `json:"budget" penstock:"min=1%"`
}

// Backoff is the wait between tries: initial × factor^(tries-1), at most max, spread by jitter.
type Backoff struct {
	Place
	// Wait before the second try.
	Initial penstock.Duration `json:"initial" penstock:"default=100ms,min=0s"`
	// What each further wait is multiplied with.
	Factor float64 `json:"factor" penstock:"default=2,min=1,max=100"`
	// Longest wait.
	Max penstock.Duration `json:"max" penstock:"default=30s,min=0s"`
	// Part of each wait that is random, from 0 (none) to 1: 0.2 spreads a wait of 1s over 0.8s to 1.2s.
	Jitter float64 `json:"jitter" penstock:"default=0.2,min=0,max=1"`
}

// Target is where messages come from or go to: one connector with its configuration
// ({file: {path: …}}), or a channel by name ({channel: orders}). What the language itself adds stands
// beside the connector.
type Target struct {
	Place
	// Name of the Schema of the messages. On a source everything that is read is checked against it, and a message that differs fails; on a sink it types what is sent; on a call it types the reply.
	Schema Ref `json:"schema"`
	// The message's key: on a source what it becomes as it is read, on a sink what is sent. Left out, the message's own key stays.
	Key penstock.Expr `json:"key"`
	// Stable identity of a message, such as body.id: one that was there before is the same message again, and ends here, as success. The identities are kept in the store (an inbox), in the transaction that makes durable what became of the message. Text, a number, a bool or a timestamp. Only on a connector that is a source; a channel knows its messages.
	ID penstock.Expr `json:"id"`
	// How long identities are remembered: a message that comes again later is a new one. It is part of what effectively-once promises. Only beside id.
	Remember penstock.Duration `json:"remember" penstock:"default=7d,min=1s"`
	// What is sent in place of the message's body, a data tree. The message itself stays as it is; the connector's own fields, such as a path, see what is sent. Only where something is sent.
	Body penstock.Tree `json:"body"`
	// Whether the step waits until what it sent is durable, and fails where it is not. With false (a wire tap) a failure is counted and logged, and the message goes on. What goes to a channel of the store is written when the message ends: one that dies takes back what it sent there, but for what went to a wire tap. Only in a to step.
	Wait bool `json:"wait" penstock:"default=true"`
	// Keeps answers in memory. Only beside a call that may be asked twice.
	Cache *Cache `json:"cache"`
	// Gets an answer that comes in pages as one list. Only in a call.
	Paginate *Paginate `json:"paginate"`

	// Channel is the name under `channel:`; zero if the target is a connector. Of a queue it is what its jobs are sent to.
	Channel Ref `json:"-"`
	// Queue is the name under `queue:`; zero if the target is none.
	Queue Ref `json:"-"`
	// Entity is the name under `entity:`; zero if the target is another one.
	Entity Ref `json:"-"`
	// Connector is the one key that is no option: file, generate, channel, entity, queue; ConnectorPos is its place.
	Connector    string       `json:"-"`
	ConnectorPos penstock.Pos `json:"-"`
	// Config is what stands under Connector, for the driver's own struct; nil for a channel and an entity.
	Config *Node `json:"-"`
}

// Step is one thing that is done with a message: exactly one verb, and the keys that all steps share.
type Step struct {
	Place
	// Name of the step in tests, traces and metrics, unique in its flow. Left out, the verb and a number (call1); steps that keep state (aggregate, dedupe, resequence, changes, claimCheck, delay, throttle) must have one, because their state is kept under it: renamed, they are refused at the next start until the state is moved or dropped.
	Name string `json:"name" penstock:"name"`
	// Condition: a message for which it is false passes the step by, unchanged.
	When penstock.Expr `json:"when"`
	// Where the result goes: body (the default), a part of it (body.country), a variable (vars.country), a header (meta.country), or none to discard it. Only for map, decode, call, parallel, forEach, loop, loadBalance, aggregate, job and the redeem of claimCheck.
	Into penstock.Path `json:"into"`
	// How long one try may take. A try that takes longer fails with timeout.
	Timeout penstock.Duration `json:"timeout" penstock:"min=1ms"`
	// Tries of this step alone. Where it is there, the flow's retry doesn't act on this step.
	Retry *Retry `json:"retry"`
	// What fails, or takes too long, becomes a part of the result, and does not fail the message. Only beside parallel and forEach.
	Partial *Partial `json:"partial"`

	// Verb is what the step does: *Map, *Set, … never nil. VerbName is its key, VerbPos the place of the key.
	Verb     Verb         `json:"-"`
	VerbName string       `json:"-"`
	VerbPos  penstock.Pos `json:"-"`
}

// Verb is what a step does: one of *Map, *Assign, *Remove, *Filter, *Validate, *DecodeBody, *EncodeBody,
// *Sort, *Mask, *Log, *Choice, *Try, *Stop, *Fail, *Send, *Parallel, *ForEach, *Loop, *LoadBalance, *Split,
// *Aggregate, *Dedupe, *Resequence, *Changes, *ClaimCheck, *Delay, *Throttle, *Call and *Sample.
type Verb interface{ verb() string }
