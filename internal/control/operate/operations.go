package operate

import (
	"context"
	"io"
	"time"

	"penstock.dev/penstock/internal/run"
)

// Operations are the roles of an open store, or of the process that has it open. They are safe for
// concurrent use.
type Operations struct {
	Flows   Flows
	Dead    DeadLetters
	Journal Journal
	Store   Keeper
	Remains Remains
	Live    Live
	Views   Views
	Events  Events
	Jobs    Jobs
	// Remote says that a process that runs is asked; else the store is open in this one.
	Remote bool
	// Closer releases the store, or the connection. It may be nil.
	Closer io.Closer
}

// Close releases what the operations hold.
func (o *Operations) Close() error {
	if o.Closer == nil {
		return nil
	}
	return o.Closer.Close()
}

// Flows looks at flows and stops them.
type Flows interface {
	// Status says what each flow does, and what waits for it.
	Status(ctx context.Context) (*Status, error)
	// Drain has the running process stop reading, finish what is in flight, and end. progress is told what is left, every so
	// often; it may be nil. Drain returns when the process has finished. Where nothing runs there is nothing to do, and no error.
	Drain(ctx context.Context, progress func(Draining) error) (*Drained, error)
	// Pause has a flow of the running process read no more, and finish what is in flight; Resume lets it read on. Where nothing runs
	// they say so.
	Pause(ctx context.Context, flow string) (*Paused, error)
	Resume(ctx context.Context, flow string) (*Paused, error)
	// Reload has the running process read its configuration again and do what it says now; where that is refused, what runs goes on as it
	// was, and the result says why. Where nothing runs it says so.
	Reload(ctx context.Context) (*Reloaded, error)
}

// DeadLetters looks into the dead letters of a store.
type DeadLetters interface {
	// Clusters counts the open dead letters of a flow ("": of all), by what went wrong: the largest cluster first.
	Clusters(ctx context.Context, flow string) (*Clusters, error)
	// Show finds one by its id, whether it is open or not, as long as it is stored.
	Show(ctx context.Context, id string) (*DeadLetter, error)
	// Each visits open dead letters, flow by flow in the order in which they died.
	Each(ctx context.Context, s Selection, visit func(*DeadLetter) error) error
	// Act redrives or drops what is selected, and writes down who did so, in portions: each in one transaction, so that one that is
	// interrupted may be repeated. progress is told how far it has come; it may be nil.
	Act(ctx context.Context, a Action, progress func(Acted) error) (*Acted, error)
}

// Journal follows messages.
type Journal interface {
	// Trace finds the hops of messages, the oldest first.
	Trace(ctx context.Context, q TraceQuery) (*Trace, error)
}

// Keeper looks after the store's file.
type Keeper interface {
	// Info says what the store holds.
	Info(ctx context.Context) (*StoreInfo, error)
	// Check reads everything and says what is damaged. What is found is a result and no error.
	Check(ctx context.Context, progress func(Progress) error) (*StoreCheck, error)
	// Compact gives the space of what was dropped back to the file system.
	Compact(ctx context.Context) (*Compacted, error)
	// Backup copies the store into a new file, while it is used.
	Backup(ctx context.Context, b BackupRequest, progress func(Progress) error) (*Backup, error)
}

// Remains gives up, or to another, what is left in a store of steps and groups that are gone. Each of them is written down in the
// channel #audit; where it is interrupted, the same again goes on.
type Remains interface {
	// DropStep gives up what a durable step has left: its state, and the messages that wait behind it. It is refused where the process
	// runs the step.
	DropStep(ctx context.Context, s StepDrop) (*StepMoved, error)
	// RenameStep gives what a durable step has left to a step that has nothing. It is refused where the process runs either.
	RenameStep(ctx context.Context, s StepRename) (*StepMoved, error)
	// Forget removes a group of a channel that nobody reads any more, so that it no longer keeps messages. It is refused where a
	// flow reads it.
	Forget(ctx context.Context, g GroupForget) (*GroupForgotten, error)
}

// StepDrop names a durable step: <flow>/<step>.
type StepDrop struct {
	Step string `json:"step"`
	Who  string `json:"who"` // see [Action]
}

// StepRename names a durable step, and what it is called now.
type StepRename struct {
	Step string `json:"step"`
	To   string `json:"to"`
	Who  string `json:"who"` // see [Action]
}

// StepMoved is what was dropped of a step, or given to another.
type StepMoved struct {
	Step     string `json:"step"`
	To       string `json:"to,omitempty"`
	Entries  int64  `json:"entries"`  // of state
	Messages int64  `json:"messages"` // that waited behind it
}

// GroupForget names a group of a channel.
type GroupForget struct {
	Channel string `json:"channel"`
	Group   string `json:"group"`
	Who     string `json:"who"` // see [Action]
}

// GroupForgotten is what a group had not done.
type GroupForgotten struct {
	Channel string `json:"channel"`
	Group   string `json:"group"`
	Lag     int64  `json:"lag"` // messages
}

// Status is what flows do.
type Status struct {
	Running  bool            `json:"running"`
	Stopping bool            `json:"stopping,omitempty"` // it reads no more, and finishes what is in flight
	PID      int             `json:"pid,omitempty"`      // of the process that runs
	Seconds  float64         `json:"seconds,omitempty"`  // since it started
	Store    string          `json:"store,omitempty"`    // path of the store; "" where none is open
	Flows    []FlowStatus    `json:"flows"`              // by name where nothing runs, else in the order of the run
	Channels []ChannelStatus `json:"channels"`           // who reads which channel, and how far behind
	// Views are the read models; none where there are none.
	Views []ViewState `json:"views,omitempty"`
	// Queues are the queues of jobs, by name; none where there are none.
	Queues []QueueStatus `json:"queues,omitempty"`
	// Replicas are the processes that share the store; none where nobody shares it.
	Replicas []ReplicaStatus `json:"replicas,omitempty"`
}

// ReplicaStatus is one of the processes that share a store.
type ReplicaStatus struct {
	Replica  string        `json:"replica"` // its name: host, process, and what tells it from all others
	Self     bool          `json:"self,omitempty"`
	Host     string        `json:"host"`
	PID      int           `json:"pid"`
	Address  string        `json:"address,omitempty"` // where its flows are called
	Version  string        `json:"version"`
	Seconds  float64       `json:"seconds"` // since it started
	Stopping bool          `json:"stopping,omitempty"`
	Parts    []int         `json:"parts"` // of the store, that it drives
	Flows    []ReplicaFlow `json:"flows"` // that it runs
}

// ReplicaFlow is a flow of a [ReplicaStatus].
type ReplicaFlow struct {
	Flow       string `json:"flow"`
	State      string `json:"state"`
	Read       int64  `json:"read"`                 // by this replica, since it started
	Unsettled  int64  `json:"unsettled"`            // read, and on their way
	Everywhere bool   `json:"everywhere,omitempty"` // every replica runs it
	// Blocked are the events at which it stands here, since they can't be read.
	Blocked []Blocked `json:"blocked,omitempty"`
}

// The states of a flow.
const (
	StateRunning = "running"
	StateDrains  = "draining" // reads no more, finishes what is in flight
	StatePaused  = "paused"   // reads no more until it is resumed
	StateEnded   = "ended"    // its sources have ended, and the process goes on
	StateBlocked = "blocked"  // it stands at an event of an entity that it can't read, and other flows go on
	StateStopped = "stopped"  // no process runs it
)

// Blocked says at which event a flow stands, and why.
type Blocked = run.Blocked

// FlowStatus is one flow's part of a [Status].
type FlowStatus struct {
	Flow      string  `json:"flow"`
	State     string  `json:"state"`
	Read      int64   `json:"read"`      // since the process started
	Rate      float64 `json:"rate"`      // messages read per second, over the last seconds
	Unsettled int64   `json:"unsettled"` // read, and on their way
	Lag       int64   `json:"lag"`       // messages that wait for it in channels of the store
	Age       float64 `json:"age"`       // seconds since the oldest of them was written
	Dead      int64   `json:"dead"`      // open dead letters in the store
	Failed    int64   `json:"failed"`    // requests that were answered with an error, since the process started
	Died      int64   `json:"died"`      // messages that were dead-lettered, since then
	Retries   int64   `json:"retries"`   // since then
	P50       float64 `json:"p50"`       // seconds that half of the messages took at most, since then
	P99       float64 `json:"p99"`
	// Blocked are the events at which it stands, where it is in that state: one for a part of the store at most.
	Blocked []Blocked `json:"blocked,omitempty"`
}

// ChannelStatus is how far one group of readers is behind.
type ChannelStatus struct {
	Channel string  `json:"channel"`
	Group   string  `json:"group"`
	Flow    string  `json:"flow,omitempty"` // that the group belongs to; "" where it is not known
	Lag     int64   `json:"lag"`
	Given   int64   `json:"givenBack,omitempty"` // … of which were given back, to be tried later
	Age     float64 `json:"age"`                 // seconds since the oldest that waits was written
}

// Draining is how far a drain has come.
type Draining struct {
	Unsettled int64   `json:"unsettled"` // messages in flight
	Seconds   float64 `json:"seconds"`   // since it began
}

// Drained is how a drain ended.
type Drained struct {
	Running   bool    `json:"running"` // something ran
	PID       int     `json:"pid,omitempty"`
	Unsettled int64   `json:"unsettled"` // messages that did not finish in time
	Seconds   float64 `json:"seconds"`
	Error     string  `json:"error,omitempty"` // why the run failed at its end
}

// TraceQuery says which messages are followed: by id, or by key.
type TraceQuery struct {
	ID    string `json:"id,omitempty"`
	Key   string `json:"key,omitempty"`
	Limit int    `json:"limit,omitempty"` // hops; 0 is 1000
}

// StoreInfo is what a store holds.
type StoreInfo struct {
	Path      string        `json:"path"`
	Version   int           `json:"version"` // of the file's layout
	FileBytes int64         `json:"fileBytes"`
	WALBytes  int64         `json:"walBytes"`
	FreeBytes int64         `json:"freeBytes"` // in the file, to be used again
	DiskFree  int64         `json:"diskFree"`
	Channels  []ChannelInfo `json:"channels"`
	Spaces    []SpaceInfo   `json:"spaces"`
	Steps     []StepInfo    `json:"steps"` // durable ones that have run on it
}

// ChannelInfo is what a channel of the store holds.
type ChannelInfo struct {
	Channel  string    `json:"channel"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Next     int64     `json:"next"` // position that the next message gets
	Oldest   time.Time `json:"oldest,omitzero"`
	// Groups are who reads it, or has read it once.
	Groups []GroupInfo `json:"groups,omitempty"`
}

// GroupInfo is how far a group of a channel is.
type GroupInfo struct {
	Group string `json:"group"`
	Done  int64  `json:"done"`                // position before which it has done everything, or given it back
	Lag   int64  `json:"lag"`                 // messages that it has not done
	Given int64  `json:"givenBack,omitempty"` // … of which it gave back, for later
	// Holds says that the channel keeps messages for it that all others have done.
	Holds bool `json:"holds,omitempty"`
	// Unread says that no flow of the configuration reads with it.
	Unread bool `json:"unread,omitempty"`
}

// StepInfo is what a durable step has in the store.
type StepInfo struct {
	Step    string `json:"step"`    // flow/step
	Keyed   string `json:"keyed"`   // what its state depends on
	Entries int64  `json:"entries"` // of state
	Bytes   int64  `json:"bytes"`
	Waiting int64  `json:"waiting"` // messages that left it, and are not done behind it
}

// SpaceInfo is the state of a step, or of the engine.
type SpaceInfo struct {
	Space   string `json:"space"`
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// StoreCheck is what a check found.
type StoreCheck struct {
	OK       bool     `json:"ok"` // nothing is damaged
	Problems []string `json:"problems"`
	// Unchecked says what could not be looked at, and why.
	Unchecked string `json:"unchecked,omitempty"`
	Messages  int64  `json:"messages"` // that were read
	Entries   int64  `json:"entries"`  // of state
	Bytes     int64  `json:"bytes"`    // of both
}

// Compacted is what compacting gave back.
type Compacted struct {
	Before int64 `json:"before"` // bytes of the file
	After  int64 `json:"after"`
}

// BackupRequest says where a backup goes.
type BackupRequest struct {
	Path string `json:"path"` // absolute
	Rate int64  `json:"rate"` // bytes a second; 0: as fast as the disk
}

// Progress is how far something has come that reads the whole store.
type Progress struct {
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}

// Backup is a backup that was made, and verified.
type Backup struct {
	Path    string  `json:"path"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Trace is the way of messages, as far as the journal reaches back.
type Trace struct {
	Hops []Hop `json:"hops"` // the oldest first
	// Since is the time of the oldest entry of the journal: what is older is not known.
	Since time.Time `json:"since,omitzero"`
	// More says that there are more hops than were asked for.
	More bool `json:"more,omitempty"`
}

// Hop is the way of one message through one flow.
type Hop struct {
	Time time.Time `json:"time"` // when it was committed
	Flow string    `json:"flow"`
	ID   string    `json:"id"` // of the message: file.csv:17, orders@123
	Key  string    `json:"key,omitempty"`
	Fate string    `json:"fate"`         // done, filtered, dead, refused (a request that failed), absorbed by a durable step, or emitted by one
	To   []string  `json:"to,omitempty"` // where it went, or what was made of it: orders@5, a step, an endpoint
	// From is what a message was made of that a durable step let go; of a group, its first message.
	From string `json:"from,omitempty"`
}
