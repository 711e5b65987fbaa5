package resource

// VerbSpec describes a verb to the compiler and the reference.
type VerbSpec struct {
	Name     string      // the key in a step
	New      func() Verb // a zero verb
	Value    bool        // has a result, which `into` puts somewhere
	Stateful bool        // keeps state beyond one message: the step needs a name, which the compiler holds it to
	Fallible bool        // asks somebody, so that timeout and retry mean something
	// What the step's reference page states.
	Ack     string // when a message that meets the step is settled with its source
	Order   string // what the step does to the order of messages
	Errors  string // what fails, with which code, and what it touches
	State   string // what is kept, and for how long
	Type    string // the type of the body (and of the result) after the step
	Pattern string // the names of the pattern elsewhere (Hohpe & Woolf, Camel)
	Example string // YAML of one step
}

const (
	ackStage   = "The message and what the step knows of it go into the store in one transaction; then its source message is settled. What leaves the step goes on from the store, with a delivery and retries of its own."
	errorStage = "A dead letter behind the step is the message as it left the step."
	ackNone    = "Takes no part: the message is settled when what becomes of it is."
	orderNone  = "Keeps the order."
	stateNone  = "None."
)

// verbTable is the list of verbs, in the order of the reference.
var verbTable = []VerbSpec{
	{Name: "map", New: func() Verb { return new(Map) }, Value: true, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A template that can't be computed fails this message with unprocessable; the others of its batch go on.",
		Type:    "The body (or what `into` names) gets the type of the tree: each key the type of its value. A text of exactly one ${…} keeps the type of the expression; a key whose value may be absent is optional.",
		Pattern: "Message Translator",
		Example: "- map: { id: \"${key}\", total: \"${body.quantity * body.price}\", source: shop }"},
	{Name: "set", New: func() Verb { return new(Assign) }, Ack: ackNone, Order: "Keeps the order. Setting key changes what later steps and sinks order by.", State: stateNone,
		Errors:  "A value that can't be computed fails this message with unprocessable, and so does a path that leads through something that is no map; the message is then as it was.",
		Type:    "The paths get the types of their values; the rest keeps its type. A path that is not there is made.",
		Pattern: "Content Enricher (from the message itself), Correlation Identifier",
		Example: "- set: { body.total: \"${body.quantity * body.price}\", vars.large: \"${body.total > 1000}\" }"},
	{Name: "remove", New: func() Verb { return new(Remove) }, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "Doesn't fail: a path that is not there is left alone.",
		Type:    "The fields are gone from the type; reading them afterwards is an error of `check`.",
		Pattern: "Content Filter",
		Example: "- remove: [ body.internal, meta.cookie ]"},
	{Name: "filter", New: func() Verb { return new(Filter) }, Ack: "A message that doesn't pass is settled as a success.", Order: orderNone, State: stateNone,
		Errors:  "A condition that can't be computed fails this message with unprocessable; it is neither passed nor dropped.",
		Type:    "Unchanged, narrowed by what the condition proves (a null check, a comparison with a discriminator).",
		Pattern: "Message Filter",
		Example: "- filter: body.quantity != 0"},
	{Name: "validate", New: func() Verb { return new(Validate) }, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A body that differs from the schema fails this message with unprocessable; the error lists the paths that are wrong.",
		Type:    "The type of the schema.",
		Pattern: "Validate, Detour",
		Example: "- validate: { schema: order-line }"},
	{Name: "decode", New: func() Verb { return new(DecodeBody) }, Value: true, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A body that is not in the format fails this message with invalid; the error tells the byte and the line.",
		Type:    "The schema's type where one is named, else what the codec knows, else dyn; a format of rows (csv) gives a list of them, even of one.",
		Pattern: "Unmarshal, Normalizer",
		Example: "- decode: { format: { csv: {} }, schema: order-line }"},
	{Name: "encode", New: func() Verb { return new(EncodeBody) }, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A body that the format can't hold fails this message with unprocessable.",
		Type:    "Text, or bytes where the format is binary.",
		Pattern: "Marshal",
		Example: "- encode: { format: { json: {} } }"},
	{Name: "sort", New: func() Verb { return new(Sort) }, Ack: ackNone, Order: "Keeps the order of messages; the elements of the body's list change theirs, stably.", State: stateNone,
		Errors:  "A body that is no list, and values of `by` that have no order among them, fail this message with unprocessable.",
		Type:    "Unchanged: a list.",
		Pattern: "Sort",
		Example: "- sort: { by: item.price, descending: true }"},
	{Name: "mask", New: func() Verb { return new(Mask) }, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A path that leads through something that is no map fails this message with unprocessable; one that is not there is left alone.",
		Type:    "The shape stays: text becomes ***, numbers and bools become null, and of lists and maps every element is masked. What is masked loses its label.",
		Pattern: "Content Filter",
		Example: "- mask: [ body.email, body.card ]"},
	{Name: "log", New: func() Verb { return new(Log) }, Ack: ackNone, Order: orderNone, State: stateNone,
		Errors:  "A text that can't be computed fails this message with unprocessable.",
		Type:    "Unchanged.",
		Pattern: "Log, Wire Tap",
		Example: "- log: { message: \"order ${key} has ${size(body)} lines\", level: debug }"},
	{Name: "choice", New: func() Verb { return new(Choice) }, Ack: ackNone, Order: "Keeps the order where the flow does: messages rejoin in their sequence after it. Within, a batch goes through one branch after the other, so that what two branches send to the same target of a connector, or to the same channel in memory, is not in sequence there: have one `to` behind the choice send it. Channels of the store and entities get it in sequence.", State: stateNone,
		Errors:  "A condition that can't be computed fails this message with unprocessable; no branch runs. Failures within a branch are those of its steps.",
		Type:    "The union of the types at the ends of the branches, and of the type before where a message may pass through. Within a branch the type is narrowed by its condition.",
		Pattern: "Content-Based Router",
		Example: "- choice:\n    - when: body.total > 1000.0\n      steps: [ { to: { channel: large } } ]\n    - otherwise: [ { to: { channel: small } } ]"},
	{Name: "try", New: func() Verb { return new(Try) }, Ack: "A message that catch has dealt with counts as a success.", Order: "Keeps the order where the flow does.", State: stateNone,
		Errors:  "A failure in steps, after the failing step's own retry, goes to catch and no further. A failure in catch goes to the next try around it, or the flow's onError.",
		Type:    "The union of the types at the ends of steps and of catch. In catch the body has the union of the types that the steps may have left, and error is there.",
		Pattern: "doTry/doCatch",
		Example: "- try:\n    steps: [ { call: { file: { path: rates.csv, column: currency, value: \"${body.currency}\" } }, into: vars.rate } ]\n    catch: [ { set: { vars.rate: null } } ]"},
	{Name: "stop", New: func() Verb { return new(Stop) }, Ack: "The message is settled as a success, as far as it was all that came of its source message.", Order: orderNone, State: stateNone,
		Errors:  "Doesn't fail.",
		Type:    "Nothing follows: the branch takes no part in the type behind it.",
		Pattern: "Stop",
		Example: "- stop: {}"},
	{Name: "fail", New: func() Verb { return new(Fail) }, Ack: "The message is settled with what becomes of its failure: a catch, or the dead letter.", Order: orderNone, State: stateNone,
		Errors:  "Fails this message with the code that is given. A transient code (limited, unavailable, timeout) is retried like any other.",
		Type:    "Nothing follows: the branch takes no part in the type behind it.",
		Pattern: "Throw Exception",
		Example: "- fail: { code: unprocessable, message: \"price ${body.price} is not above 0\" }"},
	{Name: "to", New: func() Verb { return new(Send) }, Fallible: true,
		Ack:     "The message goes on when what was sent is durable, as the connector's page defines it; with `wait: false` at once, and nothing is promised of what was sent.",
		Order:   "What is sent has the flow's order. With `order: none` it has none.",
		State:   stateNone,
		Errors:  "Where sending fails, this message fails with the connector's code. With `wait: false` a failure is counted and logged.",
		Type:    "Unchanged. The body that is sent is checked against the channel's or the target's schema.",
		Pattern: "Message Endpoint, Recipient List (with forEach), Wire Tap (with wait: false)",
		Example: "- to: { channel: large-orders }"},
	{Name: "parallel", New: func() Verb { return new(Parallel) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   orderNone,
		State:   "The results of the branches, until the last one is done.",
		Errors:  "A branch that fails fails this message with its error; what the other branches have sent stays sent. A branch that drops its message gives no entry. With `partial` what fails is in `failed`, and the message goes on.",
		Type:    "A map with an entry for each branch, of the type that its body has at its end; optional where the branch may filter. With `partial` it is {ok, failed}: ok has those entries, optional unless `atLeast` lists them, and failed an error for each that failed. Variables set in a branch end with it.",
		Pattern: "Scatter-Gather, Multicast",
		Example: "- parallel:\n    country: [ { call: { file: { path: countries.csv, column: code, value: \"${body.country}\" } } } ]\n    rate: [ { call: { file: { path: rates.csv, column: currency, value: \"${body.currency}\" } } } ]"},
	{Name: "forEach", New: func() Verb { return new(ForEach) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   "Keeps the order of messages, and of the results whatever the concurrency.",
		State:   "The results, until the last element is done.",
		Errors:  "An element that fails fails this message with its error; what other elements have sent stays sent. With `partial` what fails is in `failed`, and the message goes on. Something that is no list fails it with unprocessable.",
		Type:    "A list of the type that the body has at the end of the steps. With `partial` it is {ok, failed}: ok is that list, of those that succeeded, and failed a list of errors with the index of the element. Variables set within end with the element.",
		Pattern: "Splitter with aggregation, Recipient List (with to)",
		Example: "- forEach:\n    each: body.lines\n    as: line\n    steps: [ { map: { sku: \"${line.sku}\", order: \"${body.id}\" } } ]"},
	{Name: "loadBalance", New: func() Verb { return new(LoadBalance) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   "Keeps the order where the flow does, whichever targets messages go through.",
		State:   "Whose turn it is, or how many are under way, in memory, for all messages of the step together. A run begins anew.",
		Errors:  "A target that fails fails this message with its error. With failover only the last one does, and any that fails with an error that is not transient; the steps of the targets then have the retries that they declare themselves, and no others, and a retry of the step, or of the flow, begins with the first target again. What a target did before it failed stays done: with failover, what it asked or sent may be asked or sent at the next one, too.",
		Type:    "The union of the types that the body has at the ends of the targets. Variables set in a target end with it. A step in a target that may drop the message (filter, sample) is refused.",
		Pattern: "Load Balancer (Camel)",
		Example: "- loadBalance:\n    strategy: sticky\n    key: body.customer\n    targets:\n      east: [ { call: { file: { path: east.csv, column: id, value: \"${body.id}\" } } } ]\n      west: [ { call: { file: { path: west.csv, column: id, value: \"${body.id}\" } } } ]"},
	{Name: "loop", New: func() Verb { return new(Loop) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   orderNone,
		State:   "The message itself, from round to round.",
		Errors:  "A failure within fails this message. Where `until` is still false after `max` rounds, it fails with unprocessable, and so does a round that drops the message (use choice, not filter).",
		Type:    "The type that the body has at the end of the steps, which must fit the type that they begin with.",
		Pattern: "Loop, Routing Slip and Dynamic Router (with to)",
		Example: "- loop:\n    until: body.rest == 0\n    max: 10\n    steps: [ { map: { rest: \"${body.rest - 1}\" } } ]"},
	{Name: "split", New: func() Verb { return new(Split) },
		Ack:     "The source message is settled when all of its elements are; an empty list is settled at once, as a success.",
		Order:   "The elements follow one another in the order of the list, in the place of their message.",
		State:   "A count for each source message, until its last element is settled.",
		Errors:  "Something that is no list fails the message with unprocessable. Afterwards each element fails for itself: the dead letter is the element's source message with the path of the element.",
		Type:    "The type of the element. With `as` the body keeps its type and the name has the element's.",
		Pattern: "Splitter",
		Example: "- split: { each: body.lines, as: line }"},
	{Name: "aggregate", New: func() Verb { return new(Aggregate) }, Stateful: true, Value: true,
		Ack:     "In a run that keeps state: the message goes into its group in the store, in one transaction with the position of its source, and is settled then; the group goes on from the store. Otherwise it is settled when what its group became is durable; nothing is lost by that, since a restart reads the open groups' messages again.",
		Order:   "Groups leave in the order in which they are complete. Within a group the messages stand in the order in which they came. From here on the flow works in that order, one batch at a time, unless its order is per-key or none.",
		State:   "The bodies of the open groups, within `bound`, until the group is complete: in memory, and in a run that keeps state in the store, under the step's name. At the bound the oldest group is completed, marked (meta.aggregate.reason is bound) and counted.",
		Errors:  "A key or condition that can't be computed fails this message with unprocessable; its group goes on without it. A group that the end of the sources leaves open (without `atEnd`) is dead-lettered with unprocessable.",
		Type:    "A list of the type of the body before. The key is the text of `by`; meta.aggregate holds count and reason (size, when, idle, interval, end, bound or late), the other headers are the first message's. Variables end here.",
		Pattern: "Aggregator, Resequencer (with sort and split)",
		Example: "- aggregate: { by: body.invoice, complete: { idle: 2s, atEnd: true } }\n  name: lines"},
	{Name: "dedupe", New: func() Verb { return new(Dedupe) }, Stateful: true,
		Ack:     ackStage + " A duplicate is settled as a success.",
		Order:   orderNone,
		State:   "The keys that passed, in the store, under the step's name, each for `window` after its message passed. A key becomes final in the transaction that makes its message durable, so that a message that failed before is no duplicate of itself.",
		Errors:  "A key that can't be computed fails this message with unprocessable; it is neither passed nor remembered. " + errorStage,
		Type:    "Unchanged. Variables and names in scope stay.",
		Pattern: "Idempotent Receiver",
		Example: "- dedupe: { key: body.id, window: 24h }\n  name: once"},
	{Name: "resequence", New: func() Verb { return new(Resequence) }, Stateful: true,
		Ack:     ackStage,
		Order:   "Messages of a sequence leave in the order of their numbers; those of different sequences in the order in which they can.",
		State:   "For each sequence the next number, for good; the messages that wait, in the store, under the step's name, until those before them have passed, or for `timeout`, within `bound`.",
		Errors:  "A sequence or number that can't be computed, or that is no whole number, fails this message with unprocessable. One whose number is over fails with conflict where `late` is deadLetter. " + errorStage,
		Type:    "Unchanged. Variables and names in scope stay.",
		Pattern: "Resequencer",
		Example: "- resequence: { by: body.account, number: body.seq, timeout: 1m }\n  name: inOrder"},
	{Name: "changes", New: func() Verb { return new(Changes) }, Stateful: true,
		Ack:     ackStage + " A record that is unchanged is settled as a success.",
		Order:   "Needs order: total. What was added and changed keeps the order; what is gone follows when the extract has ended: with the first record of the next one, or with the end of the sources.",
		State:   "The last body of every key, in the store, under the step's name, until it is gone.",
		Errors:  "A key or extract that can't be computed fails this message with unprocessable; it counts as not there, so what it stands for may then be reported as gone. " + errorStage,
		Type:    "An object of change (added, changed or gone), key (text), before (the body of the extract before; absent where it was added) and after (this one's; absent where it is gone). The key is that of the change. Variables and names in scope stay.",
		Pattern: "Change Data Capture by comparison",
		Example: "- changes: { key: body.sku }\n  name: differences"},
	{Name: "claimCheck", New: func() Verb { return new(ClaimCheck) }, Stateful: true, Value: true,
		Ack:     "The body goes into the store in the transaction that settles the source message, or makes durable what became of it.",
		Order:   orderNone,
		State:   "The bodies that were checked in, in the store, each for `retention`.",
		Errors:  "A claim that is not known, or whose time is over, fails this message with notFound; one that is no text with unprocessable.",
		Type:    "Checking in: the type of `body`, or null; meta.claim is a text. Redeeming: what `into` names gets the type of `schema`, else dyn.",
		Pattern: "Claim Check",
		Example: "- claimCheck: { body: { id: \"${body.id}\" }, retention: 7d }\n  name: luggage"},
	{Name: "delay", New: func() Verb { return new(Delay) }, Stateful: true,
		Ack:     ackStage,
		Order:   "Messages leave in the order in which they are due; with `for` that is the order in which they came.",
		State:   "The messages that wait, in the store, under the step's name, until they are due. The disk is their bound.",
		Errors:  "A time that can't be computed fails this message with unprocessable. " + errorStage,
		Type:    "Unchanged. Variables and names in scope stay.",
		Pattern: "Delay",
		Example: "- delay: { for: 15m }\n  name: coolDown"},
	{Name: "throttle", New: func() Verb { return new(Throttle) }, Stateful: true,
		Ack:     ackStage,
		Order:   "Keeps the order of messages that share a rate; with `by` others overtake them.",
		State:   "For each rate when the next message may go on, and the messages that wait, in the store, under the step's name. The disk is their bound.",
		Errors:  "A value of `by` that can't be computed fails this message with unprocessable. " + errorStage,
		Type:    "Unchanged. Variables and names in scope stay.",
		Pattern: "Throttle",
		Example: "- throttle: { rate: 20/s, by: body.customer, burst: 5 }\n  name: gently"},
	{Name: "call", New: func() Verb { return new(Call) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   "Keeps the order where the flow does: several calls are under way at a time, and their answers are put back in sequence.",
		State:   "The calls under way.",
		Errors:  "Fails this message with the connector's code. Transient failures (limited, unavailable, timeout) are tried again by default where asking twice does no harm. With `cache` an answer that is kept is used, and nobody is asked.",
		Type:    "What `into` names gets the type of the answer: the target's schema, or what the connector knows, else dyn. A keyed look-up may be absent: read it with .? or test it.",
		Pattern: "Content Enricher, Request-Reply",
		Example: "- call: { file: { path: countries.csv, column: code, value: \"${body.country}\" } }\n  into: vars.country"},
	{Name: "job", New: func() Verb { return new(Enqueue) }, Value: true,
		Ack:     "The job is stored in the transaction that settles the message, or makes durable what became of it: a message that dies takes back what it enqueued.",
		Order:   orderNone + " Jobs of one priority and key are begun in the order in which they were enqueued; one that is tried again goes behind the others of its key.",
		State:   "The job, in the store, until it is done.",
		Errors:  "Data, a key, a priority or a time that can't be computed fails this message with unprocessable.",
		Type:    "Unchanged, unless `into` says where the result goes: {id}, a text. What is enqueued is checked against the queue's schema.",
		Pattern: "Work Queue, Competing Consumers",
		Example: "- job: { queue: labels, data: { parcel: \"${body.id}\" } }"},
	{Name: "redrive", New: func() Verb { return new(Redrive) }, Value: true, Fallible: true,
		Ack:     "Takes no part: the message is settled when what becomes of it is. Dead letters are given in, and marked as done, in transactions of their own, of up to 256: when the message is worked on once more after a crash, the step goes on with those that are left, and none is given in twice.",
		Order:   "Keeps the order where the flow does. Dead letters of a key keep theirs.",
		State:   stateNone + " Who gave in which is written down in the channel `#audit` of the store: flow and step.",
		Errors:  "A store that can't be written fails this message with unavailable or internal; what was done until then is done, and another try goes on with the rest. What fails again in its flow is a new dead letter there, and no error here.",
		Type:    "What `into` names gets {redriven, left}, two whole numbers.",
		Pattern: "Control Bus, Dead Letter Channel",
		Example: "- redrive: { flow: orders, where: error.code == \"unavailable\" && error.redriven < 3, limit: 1000 }\n  into: vars.again"},
	{Name: "command", New: func() Verb { return new(Command) }, Value: true, Fallible: true,
		Ack:     "Takes no part: the events are durable, in a transaction of their own, before the step has its result. A message that is worked on once more after a crash gives the same command, which is known by the message's identity and the step: it gives the same result and no second event, for as long as the Entity's `remember` says.",
		Order:   "Keeps the order where the flow does. Commands of one key are done one after the other. Where a flow asks entities at several steps, a message is through with all of them before the next begins; with order: per-key, the next of its key.",
		State:   "The events, for good; the state of an entity as a cache; what commands are known by, for `remember`.",
		Errors:  "A condition of `require` that doesn't hold fails this message with its code; data that differs from the command's schema with unprocessable; another version than `expect` with conflict. An event that can't be read any more (an unknown type, an upcast that fails) fails commands of its entity with internal, until the configuration knows it again.",
		Type:    "What `into` names gets {version, events, state}: version is a whole number, events a list of {type, data}, state the type of the Entity's state.",
		Pattern: "Command Message, Event Sourcing (aggregate)",
		Example: "- command: { entity: account, name: withdraw, key: body.account, data: { amount: \"${body.amount}\" } }\n  into: vars.done"},
	{Name: "query", New: func() Verb { return new(Query) }, Value: true, Fallible: true,
		Ack:     ackNone,
		Order:   "Keeps the order where the flow does.",
		State:   stateNone,
		Errors:  "Fails this message with unprocessable where the key or an argument can't be computed or is of another kind than was declared; with invalid for a page that no query gave; with timeout where a view does not get there in time (`wait`), and with unavailable where it has stopped. Of an entity: an `asOf` that is neither a timestamp nor a whole number fails it with unprocessable; an event that can't be read any more with internal.",
		Type:    "Of a view by `key`: what `into` names gets the row, of the view's schema; where there is none it is absent: read it with .? or test it. By `name`: {rows, next}, a list of rows and, where there may be more, a text for `after`. Of an entity: {version, state}, version 0 and the initial state where nothing has happened.",
		Pattern: "Content Enricher (from a read model), Message Store, Event Sourcing (temporal query)",
		Example: "- query: { view: balances, key: body.account }\n  into: vars.balance"},
	{Name: "script", New: func() Verb { return new(Script) }, Value: true, Ack: ackNone, Order: orderNone, State: stateNone + " Each message has an instance of the module of its own.",
		Errors:  "A message that the script refuses fails with the code that it gives, else unprocessable. One for which it takes too long fails with timeout; one for which it traps, takes too much memory, or answers no JSON, with internal. The others of its batch go on.",
		Type:    "What `into` names gets the schema's type where one is named, else dyn.",
		Pattern: "Message Translator, Content Enricher (in a language of your choice)",
		Example: "- script: { wasm: { file: score.wasm }, input: { a: \"${body.name}\", b: \"${vars.known.name}\" }, memory: 4Mi, timeout: 50ms }\n  into: vars.likeness"},
	{Name: "sample", New: func() Verb { return new(Sample) }, Ack: "A message that doesn't pass is settled as a success. Where the step is kept in the store, what passes goes on from there.", Order: orderNone,
		State:   "A counter, or the time of the last message that passed, one for all lanes. In memory, where a run begins anew; with a `name`, in a run that keeps state, in the store under that name, so that `every` and a rate go on where they were. A share keeps nothing, and neither does a step inside parallel, forEach or loop.",
		Errors:  "Doesn't fail.",
		Type:    "Unchanged.",
		Pattern: "Sampling",
		Example: "- sample: { rate: 1% }"},
}

// Verbs lists the verbs of this version in the order of the reference. The list is not to be
// changed.
func Verbs() []VerbSpec { return verbTable }

// LookupVerb finds a verb by its name.
func LookupVerb(name string) (*VerbSpec, bool) {
	for i := range verbTable {
		if verbTable[i].Name == name {
			return &verbTable[i], true
		}
	}
	return nil, false
}

func verbNames() []string {
	out := make([]string, len(verbTable))
	for i := range verbTable {
		out[i] = verbTable[i].Name
	}
	return out
}

func valueVerbs() []string {
	var out []string
	for i := range verbTable {
		if verbTable[i].Value {
			out = append(out, verbTable[i].Name)
		}
	}
	return out
}
