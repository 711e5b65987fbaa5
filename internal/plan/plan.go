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
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// Plan is everything that runs together.
type Plan struct {
	Flows    []*Flow
	Channels []*Channel
	Params   []penstock.Value // by slot
	Secrets  []Secret
	// Store is where state is kept; never nil.
	Store *Store
	// Durable says that the run keeps state: positions of sources, groups, keys. It does where the Integration names a
	// store, or something needs one. Otherwise every run begins at the beginning, and the store is opened for
	// dead letters only, when the first comes.
	Durable bool
	// Known names all flows of the configuration, also those that are not part of this plan: what they have left in the store
	// is nobody's orphan.
	Known []string
}

// Store is the store of a plan.
type Store struct {
	Driver  string // sqlite
	Path    string // of the file; relative to the working folder
	Reserve int64  // bytes of the disk that stay free
	Journal int64  // bytes of the journal that traces read
	Pos     penstock.Pos
}

// Secret is a place in a driver's configuration that wants the value of a secret. The values are
// put in before the first instance is built.
type Secret struct {
	Name   string
	Pos    penstock.Pos
	Target *penstock.Secret
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
	Pos         penstock.Pos
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
	Budget    Budget // in flight at once
	OnError   ErrorPolicy
	Coverage  Coverage
	Input     *types.Type // of the source's bodies
	Output    *types.Type // at the end of the steps
	Labels    map[string]string
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
	Declared   bool
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
	// Connection is the resource that the driver's configuration refers to, for mocks; "" if none.
	Connection string
	Type       *types.Type // of what is read or sent
	Timeout    time.Duration
	Retry      *Retry // the Connection's, which counts as the step's own
	Pos        penstock.Pos
	Label      string // "file data/*.csv", for graphs and summaries
	// ID is, for a source, the stable identity of its messages (the inbox); nil if there is none. Identities are
	// remembered for Remember.
	ID       penstock.Program
	Remember time.Duration
	// Volatile says that its configuration reads now or uuid(): a source that makes its messages up makes others when it is
	// read again.
	Volatile bool
}

// End is the Next of a node after which the message is finished.
const End = -1

// Node is one instruction of a flow.
type Node struct {
	Name string // of the step: identity in tests, traces, metrics
	Verb string // map, call …
	Op   Op
	When penstock.Program // nil: always; false: straight to Next
	Cond string           // When, as it stands in the file
	Next int              // index of the node that follows, always greater than this one's, or End
	// Catch is the node where a failure goes on (try), with the error in ErrorSlot; End: the flow's
	// onError.
	Catch     int
	ErrorSlot int
	Retry     *Retry // the step's own; nil: the flow's, unless Catch is set
	Timeout   time.Duration
	// Volatile says that it reads now or uuid(): done again with the same message, it may give something else.
	Volatile bool
	Pos      penstock.Pos
	Label    string      // what it does, in the words of the file: "body.quantity != 0", "channel orders"
	Type     *types.Type // of the body behind the node, for graphs and dumps; never after which nothing comes
}

// Op is what a node does: one of the types below.
type Op interface{ op() }

// Apply runs a stateless leaf step over the batch.
type Apply struct{ Step penstock.Step }

// Route sends each message to the first case that holds, or to Else.
type Route struct {
	Cases []Case
	Else  int // where none holds: index of a node, or End
}

// Case is one branch of a Route.
type Case struct {
	When   penstock.Program
	Target int
	Label  string // the condition, as it stands in the file
}

// Finish ends the message as a success (stop).
type Finish struct{}

// Sub is a program inside a node. Its messages have the flow's slots; where it ends, the body is the
// result.
type Sub struct {
	Name  string // the branch
	Nodes []Node
}

// Fork runs branches over copies of the message and joins their bodies into an object (parallel), or
// runs one branch over each element of a list and joins the bodies into a list (forEach).
type Fork struct {
	Branches []Sub // of parallel, in order
	// Each is forEach's list; nil for parallel. Branches then has one element.
	Each        penstock.Program
	As, Index   int // slots
	Concurrency int // at once; 1 is one after the other; 0 all branches of a parallel
	Into        step.Target
}

// Loop runs Body over the message until Until holds, at most Max times; more is an error.
type Loop struct {
	Until penstock.Program
	Max   int
	Body  Sub
	Index int // slot of the round, from 0; -1 none
	Into  step.Target
}

// Split makes a message of each element of a list; they go on in the flow in order.
type Split struct {
	Each      penstock.Program
	As, Index int // slots; As -1: the element becomes the body
}

// Late is what becomes of a message whose group was completed by event time.
type Late string

// The ways with late messages.
const (
	LateInclude    Late = "include"    // makes a group of its own, completed at once, marked late
	LateDrop       Late = "drop"       // is dropped, and counted
	LateDeadLetter Late = "deadLetter" // is dead-lettered
)

// Group gathers messages into lists (aggregate). In a durable run it is a stage boundary, as [Stage] is; else it keeps its
// state in memory, and the lineage of its inputs.
type Group struct {
	By        penstock.Program // nil: one group
	Size      int              // complete at so many messages; 0 never
	Idle      time.Duration    // … so long after the last message; 0 never
	Interval  time.Duration    // … so long after the first; 0 never
	When      penstock.Program // … with the message for which it holds; nil never
	AtEnd     bool             // … when the sources have ended
	Late      Late
	MaxGroups int   // bound of open groups; the oldest is completed, marked and counted
	MaxBytes  int64 // bound of their bodies
	Into      step.Target
	Keyed     string // what its state depends on, where it is durable; see Stage
}

// Stage is a durable stateful step: a stage boundary. What comes to it is kept, with the state that it changes, in the
// transaction that settles its input; what leaves it starts anew behind it. The state is kept under flow/step.
type Stage struct {
	By     penstock.Program // dedupe's and changes' key, `by` of the others; nil: one state
	Number penstock.Program // resequence
	Until  penstock.Program // delay: a timestamp; nil: Spec says how long
	Of     penstock.Program // changes: which extract
	Spec   StageSpec
	// Keyed is what the state depends on, in words that don't change with the layout of the file: "dedupe by body.id". A step
	// whose Keyed differs from the stored one is refused at start.
	Keyed string
}

// StageSpec is what kind of state it is: one of the types below.
type StageSpec interface{ stage() }

// Dedupe lets the first message of a key pass.
type Dedupe struct{ Window time.Duration }

// Resequence puts the messages of a key into the order of their numbers.
type Resequence struct {
	Start   int64         // number of the first
	Timeout time.Duration // how long a gap is waited for; then it is given up, and counted
	Bound   int           // messages held; at more the oldest gap is given up
	Late    Late          // what becomes of a number that is over
}

// Delay holds every message back.
type Delay struct{ For time.Duration }

// Throttle holds messages back so that no more than Rate a second of a key go on; Burst may go at once.
type Throttle struct {
	Rate  float64
	Burst int
}

// Changes compares full extracts: what was added, changed, and is gone.
type Changes struct{}

// Window is a sample whose window outlives the process.
type Window struct {
	Every    int64         // every n-th
	Interval time.Duration // one in each interval
	Rate     float64       // so many a second
}

// Claim keeps the body in the store and lets the message go on without it, or brings a body back.
type Claim struct {
	Redeem penstock.Program // the claim; nil: check in
	Body   penstock.Mapping // check in: what goes on as the body
	Into   step.Target      // redeem: where the body goes
	Retain time.Duration
}

// Call asks an endpoint and stores the reply.
type Call struct {
	Endpoint *Endpoint
	// Maybe says that this is a look-up, which may miss: the reply is then absent (a mock says so with
	// null).
	Maybe      bool
	Into       step.Target
	Idempotent bool // the default retry applies
	Local      bool // answers from memory: no window
	Window     int  // calls in flight at once, for the flow
}

// Send writes to an endpoint.
type Send struct {
	Endpoint *Endpoint
	Body     penstock.Mapping // nil: the message's body
	Key      penstock.Program // nil: the message's key
	// NoWait hands over and goes on (wire tap, wait: false): failures are counted, not handled.
	NoWait     bool
	Idempotent bool
}

func (*Apply) op()  {}
func (*Route) op()  {}
func (*Finish) op() {}
func (*Fork) op()   {}
func (*Loop) op()   {}
func (*Split) op()  {}
func (*Group) op()  {}
func (*Call) op()   {}
func (*Send) op()   {}
func (*Stage) op()  {}
func (*Claim) op()  {}

func (*Dedupe) stage()     {}
func (*Resequence) stage() {}
func (*Delay) stage()      {}
func (*Throttle) stage()   {}
func (*Changes) stage()    {}
func (*Window) stage()     {}
