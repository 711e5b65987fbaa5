package plan

import (
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

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
	// Partial makes of what succeeded and what failed the result; nil: a failure of one fails all.
	Partial *Partial
	// Pick runs one of the branches, whose body is the result; nil: all of them.
	Pick *Pick
}

// Partial is what a Fork does about those of its branches, or elements, that fail or take too long: its result is {ok, failed}.
type Partial struct {
	Deadline time.Duration // of all together; 0: none
	Need     []bool        // of parallel: branches that must succeed
	AtLeast  int           // of forEach: elements that must
}

// Strategy is how a load balancer chooses among its targets.
type Strategy string

// The strategies.
const (
	RoundRobin    Strategy = "roundRobin"    // one after the other
	Random        Strategy = "random"        // by chance
	Weighted      Strategy = "weighted"      // one after the other, by weight
	LeastInFlight Strategy = "leastInFlight" // where the fewest messages are
	Sticky        Strategy = "sticky"        // by a key: always the same for it
	Failover      Strategy = "failover"      // the first one that doesn't fail
)

// Pick is how a Fork chooses one of its branches.
type Pick struct {
	Strategy Strategy
	Key      penstock.Program // of Sticky
	Weights  []int            // of Weighted, by branch
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
	Idempotent bool   // the default retry applies
	Local      bool   // answers from memory: no window
	Cache      *Cache // nil: every message asks
	Window     int    // calls in flight at once, for the flow
}

// Cache is how the answers of a call are kept. What tells one request from another is Key, or, where that is nil, everything that the
// driver's configuration computes for a message: Parts and Trees.
type Cache struct {
	TTL      time.Duration
	Stale    time.Duration // after TTL, where asking again fails
	Negative time.Duration // for what is not there; 0: not kept
	Size     int64         // bytes
	Key      penstock.Program
	Parts    []penstock.Program
	Trees    []penstock.Mapping
}

// Send writes to an endpoint.
type Send struct {
	Endpoint *Endpoint
	Body     penstock.Mapping // nil: the message's body
	Key      penstock.Program // nil: the message's key
	// Rekey is what the key of what is sent becomes, since a channel on a broker says so; nil: it stays. It reads what is sent.
	Rekey penstock.Program
	// NoWait hands over and goes on (wire tap, wait: false): failures are counted, not handled.
	NoWait     bool
	Idempotent bool
	// Job is set where what is sent is a job of a queue; else nil.
	Job *Job
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
