package penstock

import (
	"context"
	"time"
)

// State keeps what a driver has to remember beyond a message: entries of its own, apart from those of all other endpoints (Env.State). It is safe
// for concurrent use.
//
// In a run that keeps state (Env.Resumes) entries are in the store and outlive the process. Otherwise they are in memory, as many as
// there is room for: the oldest give way. A driver whose promises rest on its entries asks for a run that keeps state ([Stateful]).
type State interface {
	// Get finds the value of a key; nil where there is none, or its time is over. The value is for reading only. Errors are the store's.
	Get(ctx context.Context, key string) (value []byte, err error)
	// CompareAndSet puts a value in the place of old, which is what the driver believes to be there: nil is none. Where something else
	// is there, it does nothing and returns false. It is kept for a time, 0 is for good; a nil value deletes the entry. When it returns true the
	// entry is durable, in a run that keeps state. Errors are the store's; then it is not known whether the entry was put. A key has
	// at most 1 KiB.
	CompareAndSet(ctx context.Context, key string, old, value []byte, keep time.Duration) (bool, error)
}
