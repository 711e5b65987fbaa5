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
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Config is what direct operations work on.
type Config struct {
	// Path of the store's file.
	Path string
	// Open gives the store, and opens it where it is not open yet. It is called with the first operation that needs it, and only
	// where the file is there.
	Open func() (store.Store, error)
	// Opened gives the store if it is open, or nil; it opens nothing. Nil is what Open gave.
	Opened func() store.Store
	// Process is the process itself, where it runs flows; nil: nothing runs.
	Process Process
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
	// Clock paces, and is the time that is written down.
	Clock penstock.Clock
	// Where compiles an expression over a message.
	Where func(expression string) (Filter, error)
	// File is what can be done with the store's file; nil: nothing.
	File File
}

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
	acts sync.Mutex // one action on dead letters, steps or groups at a time
}

// Direct makes operations on a store that this process has open, or opens.
func Direct(c Config) *Operations {
	if c.Clock == nil {
		c.Clock = penstock.SystemClock{}
	}
	d := &direct{c: c}
	return &Operations{Flows: d, Dead: d, Journal: d, Store: d, Remains: d}
}

// store opens the store.
func (d *direct) store() (store.Store, error) {
	if s := d.opened(); s != nil {
		return s, nil
	}
	if _, err := os.Stat(d.c.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, &penstock.Error{Code: penstock.NotFound, Op: "store", Path: d.c.Path, Err: errors.New("there is no store here"),
			Hint: "a run makes it, with its first dead letter or durable channel; --store names another file"}
	}
	return d.c.Open()
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
	if flow == "" || b.Next > 0 || d.c.Flows == nil {
		return nil
	}
	for _, f := range d.c.Flows {
		if f == flow {
			return nil
		}
	}
	e := &penstock.Error{Code: penstock.NotFound, Op: "dead letters", Err: errors.New("there is no flow called " + flow)}
	if near := diag.Nearest(flow, d.c.Flows); near != "" {
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
