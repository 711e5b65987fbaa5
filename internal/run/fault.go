package run

import (
	"fmt"
	"runtime/debug"

	"penstock.dev/penstock"
)

// Fault is a panic, caught: a mistake of this program or of a driver, never of what it was
// given. It ends the run, and nothing that was in flight is settled.
type Fault struct {
	Cause any
	Stack []byte
}

// Error gives the cause without the stack.
func (f *Fault) Error() string { return fmt.Sprintf("unexpected fault: %v", f.Cause) }

// NewFault makes the error of a panic with the value v, called where it was recovered.
func NewFault(op string, v any) error {
	return &penstock.Error{
		Code: penstock.Internal, Op: op, Err: &Fault{Cause: v, Stack: debug.Stack()},
		Hint: "this is a fault of penstock itself or of a driver, please report it; PENSTOCK_DEBUG=1 shows where it happened",
	}
}

// guard ends the run where the goroutine that defers it panics.
func (f *flow) guard(op string) {
	if v := recover(); v != nil {
		f.r.abort(NewFault(f.plan.Name+"/"+op, v))
	}
}
