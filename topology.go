package penstock

import (
	"context"
	"time"
)

// Topology looks after what is needed on a broker: a topic, a stream with its consumers, an exchange with its queues. It is what the Topology
// method of a [BrokerChannel] gives, and what the configuration of a source or sink may implement itself for what that endpoint declares.
//
// `penstock plan` calls Describe and prints what it finds. `penstock run` calls Describe before it builds any source or sink; it refuses to start where
// an object is in conflict, and calls Ensure where something is to be made. Several processes may do so at once. Nothing is ever deleted,
// and nothing is changed by which a message could be lost.
type Topology interface {
	// Describe looks at the broker and changes nothing. It lists every object that is needed, in the order in which they are made. Of env,
	// Name, Logger, Clock, Runtime and Shared are set; a client that Shared keeps is closed by the caller. An error says that the broker could not
	// be asked (Unavailable, Unauthenticated …); what is wrong with an object is an [ObjectConflict], not an error.
	Describe(ctx context.Context, env Env) ([]Object, error)
	// Ensure makes what is missing and the changes that Describe would list, and returns when all of it can be used. What somebody else made
	// meanwhile is as good. It is not called where Describe lists a conflict.
	Ensure(ctx context.Context, env Env) error
}

// ObjectAction is what is to be done about an [Object].
type ObjectAction string

// The actions.
const (
	// ObjectKeep: it is there, and as it should be.
	ObjectKeep ObjectAction = "keep"
	// ObjectCreate: it is not there, and will be made.
	ObjectCreate ObjectAction = "create"
	// ObjectChange: it is there, and a setting will be changed, which loses nothing (more partitions, a longer retention).
	ObjectChange ObjectAction = "change"
	// ObjectConflict: it is there otherwise than it should be, and only a person can decide; or it is not there, and may not be made.
	ObjectConflict ObjectAction = "conflict"
)

// Object is one thing on a broker that a channel or endpoint needs.
type Object struct {
	Kind   string       `json:"kind"` // in the broker's words: topic, stream, consumer, exchange, queue, binding, subscription
	Name   string       `json:"name"` // as the broker has it
	Action ObjectAction `json:"action"`
	// Settings are, of an object that is made, what it is made with; otherwise only those that differ. Defaults of the broker are left out.
	Settings []ObjectSetting `json:"settings,omitempty"`
	// Why says of a conflict what is wrong where the settings don't: "no such topic, and `create: false`".
	Why string `json:"why,omitempty"`
	// Hint says of a conflict what to do about it.
	Hint string `json:"hint,omitempty"`
}

// ObjectSetting is one setting of an [Object], in the words of the configuration where it has one, else in the broker's.
type ObjectSetting struct {
	Name string `json:"name"`
	Is   string `json:"is,omitempty"` // empty where it is not there
	Want string `json:"want"`
}

// BrokerChannel is the configuration of a channel on a broker: what stands under a technology's name in the `broker` of a Channel
// (`broker: { kafka: { connection: prod, topic: orders } }`). A driver registers it with [RegisterChannel] under the name of its source and sink;
// the channel is then read by that source and written by that sink.
//
// The struct has a field Connection of type ConnectionRef and commented fields for what the broker is asked for (topic, partitions). It is decoded
// strictly. It is filled in before expressions, templates and connections are compiled: what is copied into the source's and sink's configuration
// is compiled there. Where the channel has parts, in which messages overtake one another, it is [Specific], too, and its SpecFor says
// Reorders: messages of one key then keep their order, and those without keys have none.
type BrokerChannel interface {
	// Refuses says what is asked of the channel that the broker can't do, with the reason and the fix as Errors with a Hint: a queue on
	// a broker that has only logs. It must not touch the outside world.
	Refuses(use ChannelUse) []error
	// FillSource completes config, a pointer to the struct that is registered as the source of the same name, with its defaults in place:
	// where it reads and as which group (use.Group). Validate is called afterwards, if it has one. A message must come back with the key,
	// meta and body that were sent.
	FillSource(use ChannelUse, config any)
	// FillSink completes config, a pointer to the struct that is registered as the sink.
	FillSink(use ChannelUse, config any)
	// Topology is what the channel needs on the broker, for all of use.Groups: a group is there before the first message is sent, so that it misses none. Templates
	// and the Connection of the receiver are compiled by then. Nil says that there is nothing to be looked after.
	Topology(use ChannelUse) Topology
}

// ChannelUse is what the Channel resource and the flows that use it say.
type ChannelUse struct {
	Name  string // of the Channel: what a topic or queue is called where the configuration doesn't say
	Queue bool   // mode: queue: readers share the messages. Otherwise each group gets all of them
	Keyed bool   // the messages have keys, so that those of one key must keep their order
	// Retain and RetainBytes are the Channel's `retention`: how long messages are kept, and how much of them; 0 where nothing is said. They are asked
	// for only where Spec.Retains is true, and else refused; FillSource and FillSink have no part in it.
	Retain      time.Duration
	RetainBytes int64
	// Groups are all who read the channel in this plan, sorted: of a topic the names of the flows, of a queue the one name that they share, which is
	// the channel's. Nobody else's group is touched.
	Groups []string
	// Group is, for FillSource, the one that reads.
	Group string
}
