package resource

import "penstock.dev/penstock"

// Test gives messages to a flow and says what should come out. Time is virtual: it begins at 2000-01-01T00:00:00Z and stands still but for advance. uuid() counts, and retries come without jitter, so that a test gives the same result each time.
type Test struct {
	Place
	// Name of the Flow. It runs alone: what it sends to channels is looked at, not read by other flows.
	Flow Ref `json:"flow" penstock:"required"`
	// Values of the integration's parameters in this test.
	Params map[string]*Node `json:"params"`
	// What answers in place of the outside world. A call without a mock fails the test; callers that answer from local files really run, unless a mock names their step.
	Mocks []Mock `json:"mocks"`
	// What happens, in order. After the last line the sources end, and time goes on until the flow has ended.
	Script []Action `json:"script" penstock:"required,nonempty"`
	// What should have come out at the end, when all is drained.
	Expect []Expect `json:"expect" penstock:"required,nonempty"`
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

// SendAction is what a script sends: exactly one of file, text, body and bodies.
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
	// Headers of the messages, literal.
	Meta penstock.Tree `json:"meta" penstock:"literal"`
	// Which source they come from, where the flow has several: its number in sources, from 1.
	Source int `json:"source" penstock:"default=1,min=1"`

	// Path is File joined with the folder of the test's file: what Set.ReadFile takes.
	Path string `json:"-"`
}

// Expect says what should have come out at one place: exactly one of channel, file, reply and dead, and at least one of count, matches, exactly and golden.
type Expect struct {
	Place
	// Name of the Channel that is looked at.
	Channel Ref `json:"channel"`
	// Path of a file that the flow writes, as the flow writes it.
	File string `json:"file"`
	// Looks at what was dead-lettered; meta.dead tells why.
	Dead bool `json:"dead"`
	// Looks at the replies: what reached the end of a flow that has no `to`.
	Reply bool `json:"reply"`
	// Condition on the messages that are looked at; left out, all.
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
