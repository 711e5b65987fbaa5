package operate

import (
	"encoding/json"
	"time"

	"penstock.dev/penstock"
)

// DeadLetter is a message that failed for good: a line of `penstock dlq export`.
type DeadLetter struct {
	ID       string          `json:"id"` // <flow>.dead@<position>
	Body     json.RawMessage `json:"body"`
	Encoding string          `json:"encoding,omitempty"` // text or base64, where the body is not JSON
	Key      string          `json:"key,omitempty"`
	Meta     json.RawMessage `json:"meta"` // with meta.dead
	Reason   Reason          `json:"-"`    // what meta.dead says
	Open     bool            `json:"open"` // neither redriven nor dropped
	// Record is the message as it is stored (package record), where it was asked for.
	Record []byte `json:"record,omitempty"`
}

// UnmarshalJSON reads what marshalling wrote, and what meta.dead says.
func (d *DeadLetter) UnmarshalJSON(text []byte) error {
	type plain DeadLetter
	if err := json.Unmarshal(text, (*plain)(d)); err != nil {
		return err
	}
	d.readReason()
	return nil
}

// readReason reads meta.dead. A letter without it, or with one of another shape, has the zero Reason.
func (d *DeadLetter) readReason() {
	var meta struct {
		Dead Reason `json:"dead"`
	}
	if json.Unmarshal(d.Meta, &meta) == nil {
		d.Reason = meta.Dead
	}
}

// Reason is meta.dead: why a message is dead.
type Reason struct {
	Code     penstock.Code `json:"code"`
	Message  string        `json:"message"`
	Path     string        `json:"path,omitempty"`
	Step     string        `json:"step,omitempty"`
	Attempts int64         `json:"attempts,omitempty"`
	Redriven int64         `json:"redriven,omitempty"` // how often it was redriven before it died
	Flow     string        `json:"flow,omitempty"`
	Origin   string        `json:"origin,omitempty"`
	Time     string        `json:"time,omitempty"` // RFC 3339
	// Entry is where it has to go on: `from`, `behind <step>`, or `at <step>`; "" is from.
	Entry string `json:"entry,omitempty"`
	// With onError.order: park: the key that it holds back, and its number among those that do. Number 0: it holds nothing back.
	Held   string `json:"held,omitempty"`
	Number int64  `json:"number,omitempty"`
}

// Clusters are the open dead letters of one flow or of all.
type Clusters struct {
	Count    int64     `json:"count"`
	Clusters []Cluster `json:"clusters"`
}

// Cluster is dead letters that failed in the same way: at the same step, with the same code and path, and a message of the same
// shape (figures and what stands in quotes may differ).
type Cluster struct {
	Flow    string        `json:"flow"`
	Step    string        `json:"step"`
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"` // of the newest
	Path    string        `json:"path,omitempty"`
	Count   int64         `json:"count"`
	Oldest  time.Time     `json:"oldest"`
	Newest  time.Time     `json:"newest"`
	Example string        `json:"example"` // id of the newest
}

// Selection chooses open dead letters. What is not said chooses all.
type Selection struct {
	Flow  string   `json:"flow,omitempty"` // "": of all flows
	IDs   []string `json:"ids,omitempty"`
	Where string   `json:"where,omitempty"` // CEL over body, meta, key and error
	Limit int      `json:"limit,omitempty"` // the oldest so many of those chosen; 0: all
	// Match is [Selection.Where], compiled; nil: there is none. It does not travel.
	Match Filter `json:"-"`
	// Records asks for [DeadLetter.Record].
	Records bool `json:"records,omitempty"`
}

// Verb is what is done with dead letters.
type Verb string

// What can be done with dead letters.
const (
	Redrive Verb = "redrive" // they go to where they died: into the flow, or behind the durable step
	Drop    Verb = "drop"    // they are dead for good
)

// Action does something with the dead letters of one flow.
type Action struct {
	Selection
	Verb Verb    `json:"verb"`
	Rate float64 `json:"rate,omitempty"` // messages a second; 0: no bound
	// Who is written down beside what was done. Over a socket it is the user whom the system names, not what is said here.
	Who string `json:"who"`
}

// Acted is what has been done so far.
type Acted struct {
	Verb  Verb   `json:"verb"`
	Flow  string `json:"flow"`
	Count int64  `json:"count"`
	Left  int64  `json:"left"` // open dead letters of the flow that remain of those that were there when it began
}
