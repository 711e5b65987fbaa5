package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// Slots of Message.Vars where the programs of an [Entity] find what is no part of the message.
const (
	EntityState   = 0 // the state, a JSON object
	EntityVersion = 1 // the version, a whole number
	EntitySlots   = 2
)

// Entity is state that is kept as a history of events. Its programs see the data of a command, or of an event, as the body of a message
// whose key is the entity's, and the state in Message.Vars.
type Entity struct {
	Name     string
	Pos      penstock.Pos
	Key      penstock.Program // over the data of a command; nil: who asks says it
	State    *types.Type
	Initial  []byte // JSON text of an object: the state before the first event
	Commands []*Command
	Events   []*EventType
	// Every is after how many events of a key its state is written down.
	Every int64
	// Remember is how long a command is known by its identity.
	Remember time.Duration
	// Subject is whom an event is about, over its data, a text; nil where no event has personal fields.
	Subject penstock.Program
	Publish *Publish // nil: nothing is sent
	// Fold covers what the state is made by: a snapshot that was made by another one is not used.
	Fold string
	// Event is the type of what a reader of all events sees.
	Event *types.Type
	// Hash covers everything that the entity's behaviour depends on.
	Hash string
}

// Command finds a command by name, or nil.
func (e *Entity) Command(name string) *Command {
	for _, c := range e.Commands {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// EventType finds a type of event by name, or nil.
func (e *Entity) EventType(name string) *EventType {
	for _, t := range e.Events {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Tree is a compiled data tree: Program where it is one text, so that its value keeps its type, else Mapping; neither where it was left out.
type Tree struct {
	Program penstock.Program
	Mapping penstock.Mapping
}

// IsZero says that the tree was left out.
func (t Tree) IsZero() bool { return t.Program == nil && t.Mapping == nil }

// Command is one command of an [Entity].
type Command struct {
	Name    string
	Type    *types.Type    // of its data
	Check   step.Validator // nil: any data will do
	Require []Require
	Emit    []Emit
}

// Require is a condition of a [Command].
type Require struct {
	That    penstock.Program
	Code    penstock.Code
	Message penstock.Program // nil: Source
	Source  string
}

// Emit is an event that a [Command] makes.
type Emit struct {
	Event *EventType
	When  penstock.Program // nil: always
	Data  Tree             // zero: the command's data
}

// EventType is a type of event of an [Entity].
type EventType struct {
	Name    string
	Pos     penstock.Pos // of its schema, or of its name
	Version int
	Type    *types.Type
	Check   step.Validator // nil: any data will do
	Form    Form           // what Check holds data to
	Upcast  []Tree         // by the version that the data has, less 1: Version-1 of them
	Apply   Tree           // zero: the state stays
	// Personal are the paths of fields about a person: each leads through objects to a field, which is kept encrypted as a whole.
	Personal [][]string
}

// Form is the JSON Schema of an event's data, as it is kept beside the events that were written with it.
type Form struct {
	Text []byte // compact
	Sum  [16]byte
}

// NewForm makes the form of a schema; nil is that of any data. A text that is no JSON is taken as it is.
func NewForm(schema []byte) Form {
	if schema == nil {
		schema = []byte("{}")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, schema); err == nil {
		schema = b.Bytes()
	}
	sum := sha256.Sum256(schema)
	return Form{Text: schema, Sum: [16]byte(sum[:16])}
}

// Publish is where the events of an [Entity] are sent.
type Publish struct {
	Channel  string
	Events   []string // nil: all
	Personal bool     // personal fields are sent along
}

// EntityCall asks an [Entity] to do something.
type EntityCall struct {
	Entity  string
	Command string
	Key     penstock.Program // nil: the entity's own, over the data
	Data    Tree             // zero: the message's body
	Expect  penstock.Program // nil: any version
}

// EntityQuery asks for the state of an [Entity].
type EntityQuery struct {
	Entity string
	Key    penstock.Program
	AsOf   penstock.Program // a timestamp or a version; nil: now
}
