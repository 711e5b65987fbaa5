package resource

import (
	"strconv"

	"penstock.dev/penstock"
)

// Entity is state that is kept as the history of what happened to it. A command is held against the state, and makes events; an event, once
// it is in the store, is never changed; the state is what all events of one key come to, one after the other.
//
// Events of all keys stand in the store as they were committed, each with a hash over it and the one before it. Flows and views read them
// with `from: { entity: … }`, channels get them with publish.
type Entity struct {
	Place
	// What an entity is known by, as an expression over the data of a command. Text, a number, a bool or a timestamp. Left out, each command step says its key.
	Key penstock.Expr `json:"key"`
	// What is known of an entity.
	State EntityState `json:"state"`
	// What may be asked of an entity, by name.
	Commands Ordered[EntityCommand] `json:"commands" penstock:"name"`
	// What may have happened to an entity, by the type of the event.
	Events Ordered[EntityEvent] `json:"events" penstock:"required,nonempty"`
	// How often the state is written down, so that not all events are read again.
	Snapshot EntitySnapshot `json:"snapshot"`
	// Which fields of events are about persons, who can be forgotten. Left out, events are kept in clear, for good.
	Personal *EntityPersonal `json:"personal"`
	// Where events are sent as they happen. Left out, only who reads the entity sees them.
	Publish *EntityPublish `json:"publish"`
	// How long a command is remembered by what it is known by, so that the same one gives the same answer and no second event.
	Remember penstock.Duration `json:"remember" penstock:"default=7d,min=1s"`
}

// EntityState is the state of an [Entity].
type EntityState struct {
	Place
	// Name of the Schema of the state. It types `state`; left out, that is dyn.
	Schema Ref `json:"schema"`
	// State before the first event: data, without expressions. Left out, {}.
	Initial *Node `json:"initial"`
}

// EntityCommand is one command of an [Entity].
type EntityCommand struct {
	Place
	// Name of the Schema of the command's data. Data that differs is refused with unprocessable.
	Schema Ref `json:"schema"`
	// What must hold, one after the other. The first that doesn't refuses the command.
	Require []EntityRequire `json:"require"`
	// Events that it makes, in order. Their expressions see the state before the command.
	Emit []EntityEmit `json:"emit" penstock:"required"`
}

// EntityRequire is a condition of a command.
type EntityRequire struct {
	Place
	// Condition over body (the command's data), state, version, meta, key, params and now.
	That penstock.Expr `json:"that" penstock:"required"`
	// Code of the error where it doesn't hold.
	Code penstock.Code `json:"code" penstock:"default=conflict"`
	// What is wrong, for people. Left out, the condition.
	Message penstock.Template `json:"message"`
}

// EntityEmit is an event that a command makes.
type EntityEmit struct {
	Place
	// Type of the event, one of `events`.
	Event string `json:"event" penstock:"required"`
	// Data of the event, a data tree. Left out, the command's data.
	Data penstock.Tree `json:"data"`
	// Condition: where it is false, the event is not made.
	When penstock.Expr `json:"when"`
}

// EntityEvent is a type of event of an [Entity].
type EntityEvent struct {
	Place
	// Name of the Schema of the event's data, as it is now. What a command makes is held to it. Left out, it is dyn.
	Schema Ref `json:"schema"`
	// Version of the schema. It is written with each event; an event of an older version is brought to this one as it is read, by upcast.
	Version int `json:"version" penstock:"default=1,min=1,max=65535"`
	// How data of older versions becomes data of this one, a step for each older version.
	Upcast []EntityUpcast `json:"upcast"`
	// What the event does to the state, a data tree over body (the event's data), state, version, key and params: its fields take the place of those of the state, null removes one, all others stay. Left out, nothing.
	Apply penstock.Tree `json:"apply"`
}

// EntityUpcast makes the data of one version of an event's schema into that of the next.
type EntityUpcast struct {
	Place
	// Version that the data has.
	From int `json:"from" penstock:"required,min=1"`
	// Data of the version after it, a data tree over body, which is dyn.
	Map penstock.Tree `json:"map" penstock:"required"`
}

// EntitySnapshot says how often the state of an [Entity] is written down. A snapshot is a cache: one that other code made is not used.
type EntitySnapshot struct {
	Place
	// After how many events of an entity.
	Every int `json:"every" penstock:"default=100,min=1,max=1000000"`
}

// EntityPersonal says which fields of events are about a person. They are kept encrypted, with a key of the person's own: `penstock events
// erase` deletes that key, and the fields read as null from then on. What else stands in the event stays, and so does the chain of hashes.
type EntityPersonal struct {
	Place
	// Whom an event is about: text over body (the event's data) and key, such as "${body.customer}". Left out, "${key}".
	Subject penstock.Template `json:"subject"`
	// Label of the fields in the schemas of events (x-class).
	Class string `json:"class" penstock:"default=pii,nonempty"`
}

// EntityPublish says where the events of an [Entity] are sent, in the transaction in which they happen and in their order.
type EntityPublish struct {
	Place
	// Channel that gets them: in the store, or on a broker, to which they get by way of the outbox.
	Channel Ref `json:"channel" penstock:"required"`
	// Types of the events that are sent. Left out, all.
	Events []string `json:"events" penstock:"nonempty"`
	// Whether personal fields are sent along: what has left can't be erased. With false they are null.
	Personal bool `json:"personal" penstock:"default=false"`
}

// Command asks an entity to do something. Its result is {version, events, state}: the entity's version behind the command, what happened
// (each with type and data), and the state.
type Command struct {
	Place
	// Name of the Entity.
	Entity Ref `json:"entity" penstock:"required"`
	// Which one, an expression. Left out, what the Entity's key says of the data.
	Key penstock.Expr `json:"key"`
	// Name of the command.
	Name string `json:"name" penstock:"required"`
	// Data of the command, a data tree. Left out, the message's body.
	Data penstock.Tree `json:"data"`
	// Version that the entity must have, a whole number; 0: it must be new. Another one refuses the command with conflict. Left out, any.
	Expect penstock.Template `json:"expect"`
}

func (*Command) verb() string { return "command" }

func (e *EntityEvent) check(d *Decoder) {
	have := map[int]bool{}
	for i := range e.Upcast {
		u := &e.Upcast[i]
		switch {
		case u.From >= e.Version && u.Has("from"):
			d.errorf(u.At("from"), "out-of-range", "from", "raise `version`, or leave the step out", "`upcast` begins with data of an older version than %d", e.Version)
		case have[u.From]:
			d.errorf(u.At("from"), "duplicate-key", "from", "keep one of them", "`upcast` says twice how data of version %d is read", u.From)
		}
		have[u.From] = true
	}
	for v := 1; v < e.Version; v++ {
		if !have[v] {
			pos := e.At("version")
			d.errorf(pos, "missing-field", "upcast", "add `{ from: "+strconv.Itoa(v)+", map: { … } }` to `upcast`", "nothing says how data of version %d becomes data of version %d", v, v+1)
		}
	}
}
