// Package lease says which replica drives what (DESIGN.md §2). A store that replicas share is cut into parts. Any replica appends and
// changes, serialised by the locks of the store; but one replica at a time *drives* a part: runs the flows whose home it is, the views,
// the dispatchers of jobs. It holds the part's lease.
//
// A lease runs out by the clock of the store, and its holder stops driving before that, by its own monotonic clock. That alone is not
// enough: a process may be stopped between looking at its clock and writing. So whoever drives writes through [Fenced]: its
// transactions test, under the lock of the part, that the lease is the one that holds, and a process that slept through its lease fails
// at commit. The epoch of a part grows with each taking, so that an old lease is never taken for a new one.
//
//   - [Role] is what a store does for leases: the PostgreSQL driver with SQL, [InState] over the entries of any store, for tests.
//   - [Keeper] acquires, renews, balances over the live replicas, hands over, and tells a [Holder].
//   - [Driven] is something that is driven part by part.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// Default is how long a lease holds where nothing else is said.
const Default = 10 * time.Second

// Lease is the right to drive a part. The zero Owner holds where nothing is shared: SQLite's parts are held for ever, with epoch 1.
type Lease struct {
	Part  int    `json:"part"`
	Epoch int64  `json:"epoch"` // grows with each taking
	Owner string `json:"owner"` // ID of the replica
}

// ErrLost is in the chain of the error of a transaction whose lease no longer holds: another replica drives the part, or may.
var ErrLost = errors.New("another replica drives this part now")

// Lost is the error of a transaction with a lease that does not hold: of code conflict, with [ErrLost] in its chain.
func (l Lease) Lost() error {
	return &penstock.Error{Code: penstock.Conflict, Op: "lease", Path: fmt.Sprintf("part %d, epoch %d", l.Part, l.Epoch), Err: ErrLost,
		Hint: "nothing of it was written; the replica that has the part goes on from what is durable"}
}

// Replica is a process on a shared store, as it says of itself.
type Replica struct {
	ID       string          `json:"id"`                // unique among all processes that ever were
	Address  string          `json:"address,omitempty"` // where its flows are called: host:port; "" where nothing listens
	Control  string          `json:"control,omitempty"` // URL of its control port; "": none
	Version  string          `json:"version"`           // of the program
	PID      int             `json:"pid"`
	Host     string          `json:"host"`
	Started  time.Time       `json:"started"`
	Seen     time.Time       `json:"seen"`               // by the clock of the store; set by it
	Stopping bool            `json:"stopping,omitempty"` // it takes nothing any more
	Info     json.RawMessage `json:"info,omitempty"`     // what else it tells: the state of its flows
}

// Part is who holds one.
type Part struct {
	Part  int           `json:"part"`
	Owner string        `json:"owner,omitempty"` // "": nobody
	Epoch int64         `json:"epoch"`           // of the last lease; 0: there was none
	Left  time.Duration `json:"left"`            // until it runs out, by the clock of the store; below 0: it has
}

// Free says that the part may be taken.
func (p Part) Free() bool { return p.Owner == "" || p.Left <= 0 }

// Table is everything that a store knows of leases.
type Table struct {
	Replicas []Replica `json:"replicas"` // that were seen within a lease, by ID
	Parts    []Part    `json:"parts"`    // all of them, in order
}

// Role is what a store does for leases. All of it is durable when it returns, and goes by the clock of the store alone. It is safe for
// concurrent use.
type Role interface {
	// Beat says that a replica lives, and returns how everything stands; replicas that were not seen for as long as a lease are left out,
	// and forgotten some time later. A ttl of 0 takes r away: it has ended. The zero Replica only looks.
	Beat(ctx context.Context, r Replica, ttl time.Duration) (Table, error)
	// Take gives those of the parts that are free, or were the owner's own, to it: each with an epoch one higher than before. Whoever is in the
	// way without holding a valid lease (an old holder in the middle of a transaction) is put out of it.
	Take(ctx context.Context, owner string, parts []int, ttl time.Duration) ([]Lease, error)
	// Renew prolongs leases, and returns those that it has. One that has run out is not renewed, also where nobody has taken it.
	Renew(ctx context.Context, leases []Lease, ttl time.Duration) ([]Lease, error)
	// Release gives leases up, and tells the other replicas. Those that don't hold are left as they are.
	Release(ctx context.Context, leases []Lease) error
	// Changed gets something when another replica has released parts, or may have; what it is told while nobody listens is told once.
	Changed() <-chan struct{}
}

// Shared is a store that replicas share: it has the role.
type Shared interface {
	store.Store
	Leases() Role
}

// Driven is something that one replica does for a part at a time: a view of the part's events, the dispatcher of its jobs. Control starts
// it for each part that this process comes to hold; with a store that is not shared, for all parts, once.
//
// Start gets the store that it writes through: its transactions are fenced by l. It returns when the driving has begun, and must not wait for
// anything that takes long: what it begins runs on goroutines of its own. ctx ends when the lease is lost: then it stops at once, and settles
// nothing. The stop that it returns is called once in any case: it stops the driving at a good place, waits until nothing runs any
// more, and returns; its own context bounds that. An error of Start gives the part back, so that another replica may try.
type Driven interface {
	Start(ctx context.Context, l Lease, s store.Store) (stop func(ctx context.Context), err error)
}

// Forever are the leases of a store that is not shared: all parts, epoch 1, no owner.
func Forever(parts int) []Lease {
	out := make([]Lease, parts)
	for p := range out {
		out[p] = Lease{Part: p, Epoch: 1}
	}
	return out
}
