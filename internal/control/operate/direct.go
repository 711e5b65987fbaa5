package operate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/jobs"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Config is what direct operations work on.
type Config struct {
	// Path of the store's file.
	Path string
	// OnServer says that the store is no file: Path names it for people only.
	OnServer bool
	// Open gives the store, and opens it where it is not open yet. It is called with the first operation that needs it, and only
	// where the file is there.
	Open func() (store.Store, error)
	// Opened gives the store if it is open, or nil; it opens nothing. Nil is what Open gave.
	Opened func() store.Store
	// Process is the process itself, where it runs flows; nil: nothing runs.
	Process Process
	Names
	// Now gives the names that hold now, where they may change while the process runs; nil: Names.
	Now func() Names
	// Replicas lists the processes that share the store; nil: nobody shares it.
	Replicas func() []ReplicaStatus
	// Shared lists them for who only looks into the store; nil likewise.
	Shared func(ctx context.Context, s store.Store) []ReplicaStatus
	// Clock paces, and is the time that is written down.
	Clock penstock.Clock
	// Where compiles an expression over a message.
	Where func(expression string) (Filter, error)
	// Entities gives those of the configuration; nil, or giving nil: none is known, and no state can be made.
	Entities func() *entity.Runtime
	// Views are the read models; nil: there are none.
	Views Views
	// Queues are the queues of jobs; nil: none is known.
	Queues *jobs.Service
	// Live is what can be done with the messages of the process; nil: nothing runs.
	Live Live
	// File is what can be done with the store's file; nil: nothing.
	File File
}

// Names are what the configuration, or the process that runs, knows by name.
type Names struct {
	// Flows are the names of the flows that are known; nil: they aren't, and any name may be one.
	Flows []string
	// Jobs are the names of flows that keep no state: what is redriven to them would never be read.
	Jobs []string
	// Readers names the flows that read a channel, for groups that don't say whose they are (queues).
	Readers map[string][]string
	// Steps are the durable steps (<flow>/<step>) that the process runs, or that the configuration has.
	Steps []string
	// Groups are those with which flows of the configuration read each of its durable channels.
	Groups map[string][]string
}

// names are those that hold now.
func (d *direct) names() Names {
	if d.c.Now != nil {
		return d.c.Now()
	}
	return d.c.Names
}

func pid() int { return os.Getpid() }

// Filter says whether a stored message is meant.
type Filter func(record.View) (bool, error)

// Process is the process that runs flows.
type Process interface {
	// Flows says what each flow does: state, read, rate, unsettled. The rest is looked up in the store.
	Flows() []FlowStatus
	// Since is when the run began.
	Since() time.Time
	// Stopping says that it reads no more.
	Stopping() bool
	// Stop has it read no more, finish what is in flight, and end. It returns at once.
	Stop()
	// Let lets go of the keys that dead letters of a flow hold back which were dropped.
	Let(flow string, dropped []Reason)
	// Done is closed when it has ended; then Failure says why it failed, if it did.
	Done() <-chan struct{}
	Failure() error
}

// File is what can be done with the file of an open store.
type File interface {
	// Version of the file's layout.
	Version() int
	// Check reads everything, and says what is damaged.
	Check(ctx context.Context, s store.Store, progress func(done, total int64) error) (*StoreCheck, error)
	// Compact gives free space back to the file system.
	Compact(ctx context.Context, s store.Store) error
	// Backup copies the store into a new file, at most rate bytes a second (0: no bound), and verifies the copy.
	Backup(ctx context.Context, s store.Store, path string, rate int64, progress func(done, total int64) error) error
}

// direct does operations on a store.
type direct struct {
	c    Config
	mu   sync.Mutex
	hub  *channel.Hub
	acts chan struct{} // has room for one action on dead letters, steps or groups at a time
}

// Direct makes operations on a store that this process has open, or opens.
func Direct(c Config) *Operations {
	if c.Clock == nil {
		c.Clock = penstock.SystemClock{}
	}
	if c.Live == nil {
		c.Live = notLive{}
	}
	d := &direct{c: c, acts: make(chan struct{}, 1)}
	return &Operations{Flows: d, Dead: d, Journal: d, Store: d, Remains: d, Live: c.Live, Events: d, Views: viewsOf(d), Jobs: d}
}

// turn waits until no other action is under way: who comes second sees what the first has left.
func (d *direct) turn(ctx context.Context) (over func(), err error) {
	select {
	case d.acts <- struct{}{}:
		return func() { <-d.acts }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// store opens the store.
func (d *direct) store() (store.Store, error) {
	if s := d.opened(); s != nil {
		return s, nil
	}
	if _, err := os.Stat(d.c.Path); errors.Is(err, fs.ErrNotExist) && !d.c.OnServer {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "store", Path: d.c.Path, Err: errors.New("there is no store here, and nothing runs"),
			Hint: "a run makes it, with its first dead letter or durable channel; --store names another file"}
	}
	return d.c.Open()
}

// unused reports that something runs here that has kept nothing so far: there are no dead letters, and there is no store to look into.
func (d *direct) unused() bool {
	if d.c.Process == nil || d.opened() != nil {
		return false
	}
	_, err := os.Stat(d.c.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// opened is the store, if it is open.
func (d *direct) opened() store.Store {
	if d.c.Opened == nil {
		return nil
	}
	return d.c.Opened()
}

// group opens a group of a channel.
func (d *direct) group(ctx context.Context, s store.Store, name, group string) (*channel.Group, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hub == nil {
		d.hub = channel.NewHub(s, d.c.Clock, channel.Options{})
	}
	c, err := d.hub.Open(channel.Config{Name: name, Queue: true})
	if err != nil {
		return nil, err
	}
	return c.Group(ctx, group, channel.Start{})
}

// known refuses the name of a flow that neither the configuration nor the store knows.
func (d *direct) known(b store.Bounds, flow string) error {
	if flow == "" || b.Next > 0 || d.toQueue(flow) || d.names().Flows == nil {
		return nil
	}
	for _, f := range d.names().Flows {
		if f == flow {
			return nil
		}
	}
	e := &penstock.Error{Code: penstock.NotFound, Op: "dead letters", Err: errors.New("there is no flow called " + flow)}
	if near := diag.Nearest(flow, d.names().Flows); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
	return e
}

// sleep waits on the clock, or until ctx ends.
func (d *direct) sleep(ctx context.Context, t time.Duration) error {
	tick, stop := d.c.Clock.NewTimer(t)
	defer stop()
	select {
	case <-tick:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
