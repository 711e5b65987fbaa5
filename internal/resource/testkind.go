package resource

import (
	"time"

	"penstock.dev/penstock"
)

// Test gives messages to a flow and says what should come out. Time is virtual: it begins at 2000-01-01T00:00:00Z and stands still but for advance. uuid() counts, and retries come without jitter, so that a test gives the same result each time.
type Test struct {
	Place
	// Name of the Flow. It runs alone: what it sends to channels is looked at, not read by other flows.
	Flow Ref `json:"flow" penstock:"required"`
	// Values of the integration's parameters in this test.
	Params map[string]*Node `json:"params"`
	// What had happened to entities before the test begins, in order.
	Given []GivenEvents `json:"given" penstock:"nonempty"`
	// What answers in place of the outside world. A call without a mock fails the test; callers that answer from local files really run, and so do commands and queries of entities and queries of views, which are in the test's own store, unless a mock names their step.
	Mocks []Mock `json:"mocks"`
	// What happens, in order. After the last line the sources end, and time goes on until the flow has ended.
	Script []Action `json:"script" penstock:"required,nonempty"`
	// What should have come out at the end, when all is drained.
	Expect []Expect `json:"expect" penstock:"required,nonempty"`
}

// GivenEvents are events of one key of an Entity that had happened before the test: its history, or more of it. Views have them, and so has the channel that the entity publishes to.
type GivenEvents struct {
	Place
	// Name of the Entity.
	Entity Ref `json:"entity" penstock:"required"`
	// Which one they happened to.
	Key string `json:"key" penstock:"required,nonempty,literal"`
	// What happened, in order.
	Events []GivenEvent `json:"events" penstock:"required,nonempty"`
}

// GivenEvent is an event that had happened.
type GivenEvent struct {
	Place
	// Type of the event, one of the entity's `events`.
	Event string `json:"event" penstock:"required"`
	// Data of the event, a literal document, which is held to the event's schema. Left out, {}.
	Data penstock.Tree `json:"data" penstock:"literal"`
	// Version of the event's schema that the data has: an older one is brought to the present one by `upcast`, as in the store of a program that is newer than its events. Left out, the present one.
	Version int `json:"version" penstock:"min=1,max=65535"`
	// When it happened, such as "1999-12-31T18:00:00Z": not after the beginning of the test, which is 2000-01-01T00:00:00Z. Left out, at the beginning.
	Time string `json:"time" penstock:"literal"`

	// Happened is Time, read.
	Happened time.Time `json:"-"`
}

// Mock answers calls. Of several that fit, the first acts whose when is true.
type Mock struct {
	Place
	// Name of the Connection whose calls it answers. Exactly one of connection and step must be there.
	Connection Ref `json:"connection"`
	// Name of the call step that it answers.
	Step string `json:"step" penstock:"name"`
	// Condition on the message that asks; left out, every one.
	When penstock.Expr `json:"when"`
	// Answer, a literal document. Exactly one of reply and fail must be there.
	Reply penstock.Tree `json:"reply" penstock:"literal"`
	// Failure in place of an answer.
	Fail *MockFailure `json:"fail"`
}

// MockFailure is how a [Mock] fails.
type MockFailure struct {
	Place
	// Code of the error; a transient one (limited, unavailable, timeout) is retried. With timeout the mock keeps silent for as long as the step's timeout.
	Code penstock.Code `json:"code" penstock:"required"`
	// What is wrong.
	Message string `json:"message"`
	// How often it fails in the test; afterwards the next mock that fits acts. Left out, always.
	Times int `json:"times" penstock:"min=1"`
}

// Action is one line of a script: exactly one of its fields.
type Action struct {
	Place
	// Gives messages to the flow's source.
	Send *SendAction `json:"send"`
	// Lets virtual time go on by so much.
	Advance penstock.Duration `json:"advance" penstock:"min=1ns"`
	// Ends the flow as if its process had been killed: what was not durable by then is lost, and what was is there for the next start.
	Crash bool `json:"crash"`
	// Starts the flow: at first, or again after a crash, from what is durable. A script whose first start comes after a crash, or that has none, starts the flow before its first line.
	Start bool `json:"start"`
}

// SendAction is what a script sends: exactly one of file, text, body, bodies and request. To a flow that is called (`from: { http: … }`) each message is a request.
type SendAction struct {
	Place
	// Path of a file, relative to the file of the test. Its bytes are read in the source's format.
	File string `json:"file"`
	// Text that is read in the source's format.
	Text *string `json:"text"`
	// One literal document.
	Body penstock.Tree `json:"body" penstock:"literal"`
	// Several literal documents.
	Bodies []penstock.Tree `json:"bodies" penstock:"literal"`
	// A request, to a flow that is called.
	Request *RequestAction `json:"request"`
	// Headers of the messages, literal.
	Meta penstock.Tree `json:"meta" penstock:"literal"`
	// The key that the source gives the messages: that of a record of Kafka, of an entry of a bucket. A flow with a `key` of its own has that.
	Key string `json:"key" penstock:"literal"`
	// Which source they come from, where the flow has several: its number in sources, from 1.
	Source int `json:"source" penstock:"default=1,min=1"`

	// Path is File joined with the folder of the test's file: what Set.ReadFile takes.
	Path string `json:"-"`
}

// RequestAction is a request that a script makes. Its reply is looked at with `expect: [{ reply: true }]`.
type RequestAction struct {
	Place
	// Method, in capitals. Left out, that of the flow's first route that has the path.
	Method string `json:"method" penstock:"nonempty"`
	// Path, as a caller writes it: /orders/12. Left out, that of the flow's first route, where nothing in it varies.
	Path string `json:"path" penstock:"nonempty,literal"`
	// Parameters of the query, literal: a map of text, numbers and bools.
	Query penstock.Tree `json:"query" penstock:"literal"`
	// Headers, literal: a map of text, numbers and bools. Expressions find them in meta and in request.header, in lower case.
	Header penstock.Tree `json:"header" penstock:"literal"`
	// Body, a literal document. Left out, there is none, which expressions see as null.
	Body penstock.Tree `json:"body" penstock:"literal"`
}

// Expect says what should have come out at one place: exactly one of channel, queue, file, connection, step, reply, dead, entity and view, and at least one of count, matches, exactly and golden; of one entity also, or only, state and version.
type Expect struct {
	Place
	// Name of the Channel that is looked at.
	Channel Ref `json:"channel"`
	// Name of the JobQueue that is looked at: the data of the jobs that the flow enqueues.
	Queue Ref `json:"queue"`
	// Path of a file that the flow writes, as the flow writes it.
	File string `json:"file"`
	// Name of the Connection whose sinks are looked at: the messages that `to` sends over it, as they are sent.
	Connection Ref `json:"connection"`
	// Name of a to step, or `to` for that at the flow's end: the messages that it sends, as they are sent, whatever the connector is.
	Step string `json:"step" penstock:"nonempty"`
	// Looks at what was dead-lettered; meta.dead tells why.
	Dead bool `json:"dead"`
	// Looks at the replies: what reached the end of a flow that has no `to`. Those to requests have a status; without `status` those are looked at of requests that went through, which are null where the flow has a `to`.
	Reply bool `json:"reply"`
	// With reply, of a flow that is called: the HTTP status of the replies that are looked at. 200 is a reply with a body, 202 says that what a flow with `to` makes of the request is durable, 204 that the request was filtered; a request that failed has the status of its code, and a body of status, code and detail.
	Status int `json:"status" penstock:"min=100,max=599"`
	// Name of the Entity that is looked at: the events that happened in the test, in order, each as {event, data}, or, where there is no key, {key, event, data}. What was `given` is not among them.
	Entity Ref `json:"entity"`
	// Name of the View that is looked at: its rows at the end of the test, in the order of their keys, when all that is in its source is in them. Rows of a view that are elsewhere (`in`) are kept by the test, too.
	View Ref `json:"view"`
	// With entity or view: the one that is looked at. Left out, all.
	Key string `json:"key" penstock:"nonempty,literal"`
	// With entity and key: fields of the state at the end, a literal map. Fields that are not written here may be anything.
	State penstock.Tree `json:"state" penstock:"literal"`
	// With entity and key: the version at the end, which is how many events it has; 0: nothing has happened to it.
	Version *int `json:"version" penstock:"min=0"`
	// Condition on the messages that are looked at; left out, all. Of an event it sees what a flow that reads the entity sees, of a row body and key.
	When penstock.Expr `json:"when"`
	// How many messages there are.
	Count *int `json:"count" penstock:"min=0"`
	// Literal documents that the messages hold at least, in order: fields that are not written here may be anything, and so may be messages that come between.
	Matches []penstock.Tree `json:"matches" penstock:"literal"`
	// Literal documents that the messages are, in order, with nothing besides.
	Exactly *[]penstock.Tree `json:"exactly" penstock:"literal"`
	// Path of a file with the messages that are expected, a JSON document a line, relative to the file of the test. `penstock test --update` writes it.
	Golden string `json:"golden"`
	// Whether the order of the messages doesn't matter.
	Unordered bool `json:"unordered" penstock:"default=false"`

	// GoldenPath is Golden joined with the folder of the test's file: what Set.ReadFile takes.
	GoldenPath string `json:"-"`
}
