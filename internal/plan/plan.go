// Package plan is the immutable graph that the compiler makes and the engine runs:
// data only, no behaviour. A flow is a flat program of nodes with forward jumps; what
// repeats or forks holds sub-programs of its own.
//
// Nothing here is open: endpoints hold the driver, its decoded configuration and
// compiled programs; the engine builds the instances. A plan is safe for concurrent
// use and may be run many times.
package plan

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// Plan is everything that runs together.
type Plan struct {
	Flows    []*Flow
	Channels []*Channel
	Entities []*Entity
	Views    []*View
	Queues   []*JobQueue      // of jobs; each has one of Channels
	Brokers  []*Broker        // channels that are on a broker; none of them is among Channels
	Params   []penstock.Value // by slot
	Secrets  []Secret
	// SecretProviders are asked in order.
	SecretProviders []*SecretProvider
	// Store is where state is kept; never nil.
	Store *Store
	// HTTP is where servers listen; never nil.
	HTTP *HTTP
	// Telemetry is what is recorded of messages; never nil.
	Telemetry *Telemetry
	// Control is where the process says how it is.
	Control Control
	// Durable says that the run keeps state: positions of sources, groups, keys. It does where the Integration names a
	// store, or something needs one. Otherwise every run begins at the beginning, and the store is opened for
	// dead letters only, when the first comes.
	Durable bool
	// Published are the schemas that messages are written with under a subject of a registry, in the order of the files. Where flows were not
	// compiled again they are not all there: it is for checks.
	Published []Published
	// Known names all flows of the configuration, also those that are not part of this plan: what they have left in the store
	// is nobody's orphan.
	Known []string
}

// Published is a schema that a format writes messages with.
type Published struct {
	Registry penstock.SchemaRegistry
	Subject  string
	Schema   penstock.SchemaText
	Pos      penstock.Pos
}

// KnownToReaders is how a message that is written to a broker twice is known where the flows that read it keep its identity. They do so only in a
// run that keeps state.
const KnownToReaders = "its identity to the flows that read the channel"

// Store is the store of a plan.
type Store struct {
	Driver  string // sqlite or postgres
	Path    string // sqlite: of the file; relative to the working folder
	Reserve int64  // sqlite: bytes of the disk that stay free
	// Of postgres: where the server is, without the password.
	URL      string
	Password penstock.Secret
	Schema   string
	Lease    time.Duration
	Volatile bool  // also where the server is not durable
	Journal  int64 // bytes of the journal that traces read
	Pos      penstock.Pos
}

// Same reports whether two are the same store, opened in the same way.
func (s *Store) Same(o *Store) bool {
	return s.Driver == o.Driver && s.Path == o.Path && s.Reserve == o.Reserve && s.URL == o.URL && s.Schema == o.Schema && s.Lease == o.Lease && s.Volatile == o.Volatile
}

// Secret is a place in a driver's configuration that refers to a secret. It is bound to its value before the first
// instance is built.
type Secret struct {
	Name   string
	Pos    penstock.Pos
	Target penstock.Secret // shares its cell with the configuration
}

// SecretProvider is one of the places where the values of secrets are looked for.
type SecretProvider struct {
	Driver *penstock.Driver
	Config any // pointer to the driver's configuration, decoded and compiled
	Pos    penstock.Pos
	// Source is the configuration as it was written, with the values of parameters that it reads: two of the same Driver and
	// Source are the same.
	Source string
}

// Flow finds a flow by name, or nil.
func (p *Plan) Flow(name string) *Flow {
	for _, f := range p.Flows {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Channel is a channel: in the store, or in memory (durable: false), where it is a direct hand-over.
type Channel struct {
	Name        string
	Durable     bool
	Queue       bool          // competing readers: each message goes to one of them
	Retain      time.Duration // durable topics: how long messages that everybody has read are kept for replays
	RetainBytes int64         // … and how many bytes of them at most
	Capacity    int           // in memory: messages; full blocks the sender
	Type        *types.Type
	Key         penstock.Program // nil: the sender's key stays
	// Relay is, of an outbox, the sink by which what is in it gets to its broker; nil: it is no outbox.
	Relay *Endpoint
	// Jobs is set where it is none, but what jobs of a queue are sent to; else nil.
	Jobs *JobQueue
	Pos  penstock.Pos
	// Hash covers how the channel is kept and what becomes of keys; its type is that of who reads it.
	Hash string
}

// Order is what a flow keeps of its input's order.
type Order string

// The orders (LANGUAGE.md §5, Flow).
const (
	Total  Order = "total"
	PerKey Order = "per-key"
	None   Order = "none"
)

// Flow is one compiled flow.
type Flow struct {
	Name        string
	Pos         penstock.Pos
	Sources     []*Endpoint
	Key         penstock.Program // nil: no key
	Order       Order
	Concurrency int              // lanes; 0: the processors
	Time        penstock.Program // event time; nil: the engine's clock
	Nodes       []Node
	Slots       int      // length of Message.Vars
	Vars        []string // names of the slots: what variables are stored under at a stage boundary
	// Delivery is what the flow declares, Guarantee what it really gives, and why.
	Delivery  Delivery
	Guarantee Guarantee
	// Transaction is what the flow reads and writes by, where that is together or not at all; nil: it has none.
	Transaction *Transaction
	Budget      Budget // in flight at once
	OnError     ErrorPolicy
	// SLO is what is expected of the flow; nil: nobody says.
	SLO      *SLO
	Coverage Coverage
	Input    *types.Type // of the source's bodies
	Output   *types.Type // at the end of the steps
	Labels   map[string]string
	// Relay names the channel on a broker whose outbox the flow empties; "": it is a flow that somebody wrote.
	Relay string
	// Queue names the queue of jobs that the flow serves: it pushes jobs to their endpoint, or enqueues them by the clock; "": it is a flow that somebody wrote.
	Queue string
	// Hash covers everything that the flow's behaviour depends on: two flows of the same name and hash do the same, and one that runs
	// may go on as it is. Places in files, comments and layout have no part in it. Facts are what it was made of, for people.
	Hash  string
	Facts []Fact
}

// Transaction is how a flow's outputs and the positions of its sources are committed together (penstock.Transactor).
type Transaction struct {
	Driver     string // of the sources, and of the sinks that are part of it
	Connection string // theirs
}

// Has reports whether an endpoint is part of the transaction; t may be nil.
func (t *Transaction) Has(ep *Endpoint) bool {
	return t != nil && ep != nil && ep.Driver != nil && ep.Driver.Spec.Transacts && ep.Driver.Spec.Name == t.Driver && ep.Connection == t.Connection
}

// Delivery is how often an effect of a message may happen.
type Delivery string

// The deliveries, from weak to strong.
const (
	AtMostOnce      Delivery = "at-most-once"
	AtLeastOnce     Delivery = "at-least-once"
	EffectivelyOnce Delivery = "effectively-once"
)

// Guarantee is what a flow gives, derived from its nodes (DESIGN.md §2).
type Guarantee struct {
	Delivery Delivery
	// Within is for how long identities are remembered that effectively-once rests on (an inbox's retention); 0: for good.
	Within  time.Duration
	Order   Order
	Reasons []Reason // why it is not more, and under which conditions it holds
}

// Reason is why a guarantee is what it is.
type Reason struct {
	Delivery Delivery // what this alone leaves; "" where it is about order
	Order    Order    // … of the order; "" where it is about delivery
	Step     string   // the step, from, or onError
	Text     string   // "the file connector may write a line twice after a crash"
	Hint     string   // what would mend it
	Pos      penstock.Pos
}

// Budget bounds what a flow holds in memory: the back-pressure.
type Budget struct {
	Messages int   // default 16384
	Bytes    int64 // default 64 MiB
}

// Coverage counts the paths that a flow's expressions read, and how many of them have a
// static type.
type Coverage struct{ Typed, Total int }

// ErrorPolicy is a flow's onError.
type ErrorPolicy struct {
	Retry Retry
	// Declared says that the flow asked for retry, so that calls which are not idempotent are
	// repeated too.
	Declared bool
	// Policy is the name of the Policy that Retry is of; "" where it is the flow's, or the default.
	Policy     string
	DeadLetter *Endpoint // nil: the implicit channel <flow>.dead
	// Park holds back later messages of a key behind one of them that is dead, until that is redriven or dropped.
	Park bool
}

// Retry is when and how often a transient failure is tried again.
type Retry struct {
	Attempts int           // total tries; 1 is none
	Initial  time.Duration // pause before the second try
	Factor   float64       // growth of the pause
	Max      time.Duration // its bound
	Jitter   float64       // share of the pause that is random, 0 to 1
}

// Endpoint is one use of a driver, or of a channel in memory.
type Endpoint struct {
	Name    string           // flow/step: identity in tests, logs, metrics
	Driver  *penstock.Driver // nil for a channel
	Config  any              // pointer to the driver's configuration, decoded and compiled
	Channel string           // a Channel of the plan; "" for a driver
	// Queue is set where the jobs of a queue are read; Driver says then how, and builds nothing. Window is how many may be under way at once; 0: as the engine sees fit.
	Queue  string
	Window int
	// Broker names the channel on a broker that the driver reads or writes here; "" where it is none.
	Broker string
	// Keeps is what of the order of what is sent here is kept, where that is not all of it; "": all.
	Keeps Order
	// Connection is the resource that the driver's configuration refers to, for mocks; "" if none.
	Connection string
	Type       *types.Type // of what is read or sent
	Timeout    time.Duration
	// Retry is the Connection's, or a Policy's: it counts as the step's own where asking twice does no harm.
	Retry *Retry
	// Policy is what protects the connection; nil: nothing.
	Policy *Policy
	Pos    penstock.Pos
	Label  string // "file data/*.csv", for graphs and summaries
	// Server is set where the endpoint is a server: it is called, and does not read.
	Server *Server
	// ID is, for a source, the stable identity of its messages (the inbox); nil if there is none. Identities are
	// remembered for Remember.
	ID       penstock.Program
	Remember time.Duration
	// Redrive is set where it gives dead letters in again: it has no Driver then.
	Redrive *Redrive
	// Command and Query are set where it asks an entity: it has no Driver then.
	Command *EntityCall
	Query   *EntityQuery
	// Entity names the entity whose events are read; "" for all else.
	Entity string
	// Ask is set where it asks a view: it has no Driver then.
	Ask *Ask
	// Volatile says that its configuration reads now or uuid(): a source that makes its messages up makes others when it is
	// read again.
	Volatile bool
	// Hash covers what an instance of the driver depends on: its configuration, the Connection, types and slots of variables that its
	// programs read. Where a reload finds the same Hash under the same Name, the instance goes on.
	Hash string
	// ConnectionHash covers the Connection resource alone; "" if there is none. Values that drivers share by a connection's name
	// are kept apart by it.
	ConnectionHash string
}

// Redrive says which dead letters are given in again.
type Redrive struct {
	Flow  string           // whose
	Where penstock.Program // over the dead letter, with the variables of the message that asks; nil: all
	Error int              // slot of Message.Vars where Where finds `error`
	Limit int              // the oldest so many; 0: all
	Rate  float64          // so many a second at most; 0: no bound
}

// Server is what an endpoint knows beside that it is a server.
type Server struct {
	// Replies says that the flow sends nowhere at its end: what a request has become there is the reply to it.
	Replies bool
	// Concurrency is how many requests are worked on at once, by all servers of the flow together; 0: as many as come.
	Concurrency int
	// Request is the slot of Message.Vars where expressions find `request`; -1: none reads it.
	Request int
}
