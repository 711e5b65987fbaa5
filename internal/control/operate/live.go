package operate

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"penstock.dev/penstock"
)

// Live looks at the messages of a process that runs, and gives it some.
type Live interface {
	// Tap shows messages as they go through a flow, or come to one of its steps, until ctx ends, visit returns an error, the limit of the
	// query is reached, or the process ends (then without an error). What a schema labels is hidden.
	Tap(ctx context.Context, q TapQuery, visit func(*Glimpse) error) error
	// Send gives a message to a flow or a channel. What is in a channel of the store is durable when Send returns.
	Send(ctx context.Context, s Sending) (*Sent, error)
}

// TapQuery says what is looked at.
type TapQuery struct {
	Flow string `json:"flow"`
	Step string `json:"step,omitempty"` // "": the messages that come into the flow, and how they end
	Rate int    `json:"rate,omitempty"` // messages a second at most; 0 is 10, and there are never more than 1000
	Max  int    `json:"max,omitempty"`  // how many are shown; 0 is without end
}

// Glimpse is a message as it is shown. Values that a schema labels (x-class) are "[class]".
type Glimpse struct {
	Time    time.Time       `json:"time"`
	Flow    string          `json:"flow"`
	Step    string          `json:"step,omitempty"` // that it comes to
	What    string          `json:"what"`           // in; or how it ended: done, filtered, grouped, late, dead, refused
	ID      string          `json:"id"`             // of the source message, as penstock trace takes it
	Key     string          `json:"key,omitempty"`
	Body    json.RawMessage `json:"body"`
	Meta    json.RawMessage `json:"meta,omitempty"`
	Error   string          `json:"error,omitempty"`
	Skipped int64           `json:"skipped,omitempty"` // messages that were not shown since the one before
}

// Sending is a message that somebody gives in.
type Sending struct {
	Flow    string                     `json:"flow,omitempty"` // one of flow and channel
	Channel string                     `json:"channel,omitempty"`
	Key     string                     `json:"key,omitempty"`
	Body    json.RawMessage            `json:"body"`
	Meta    map[string]json.RawMessage `json:"meta,omitempty"` // headers, by lower-case names
	Who     string                     `json:"who,omitempty"`  // see [Action]
}

// Sent is what became of it.
type Sent struct {
	To       string          `json:"to"` // the channel that has it, or the flow that has answered
	Position int64           `json:"position,omitempty"`
	Answered bool            `json:"answered,omitempty"` // a flow that is called has taken it
	Reply    json.RawMessage `json:"reply,omitempty"`    // … and answered so
}

// notLive is what stands for a process that does not run.
type notLive struct{}

// errNotRunning says that there is nobody to ask.
func errNotRunning(op string) error {
	return &penstock.Error{Code: penstock.Unavailable, Op: op, Err: errors.New("no process runs here"), Hint: "start it with penstock run"}
}

// Tap implements [Live].
func (notLive) Tap(context.Context, TapQuery, func(*Glimpse) error) error {
	return errNotRunning("tap")
}

// Send implements [Live].
func (notLive) Send(context.Context, Sending) (*Sent, error) { return nil, errNotRunning("send") }
