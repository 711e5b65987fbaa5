// Package host runs what starts services for tests where there is no test: as a developer does it.
package host

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Host stands in for a test, which package service starts services for: what it is told to do at the end it does with End. It is safe for concurrent use.
type Host struct {
	testing.TB // of a test that there is none of: what is not overridden here panics
	name       string

	mu       sync.Mutex
	cleanups []func()
	why      string // the service is not up
	errors   string // what went wrong afterwards
}

// New makes one; folders of its services have the name in theirs.
func New(name string) *Host { return &Host{name: name} }

// Why says why f of Run ended in its middle; "": it did not. It is asked after Run.
func (h *Host) Why() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

// Errors are what went wrong afterwards; "": nothing. It is asked after End.
func (h *Host) Errors() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.errors
}

// Run runs f as a test is run: it may end in its middle.
func (h *Host) Run(f func(testing.TB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(h)
	}()
	<-done
}

// End cleans up, last first.
func (h *Host) End() {
	h.mu.Lock()
	all := h.cleanups
	h.cleanups = nil
	h.mu.Unlock()
	for _, f := range slices.Backward(all) {
		h.Run(func(testing.TB) { f() })
	}
}

func (h *Host) stop(why string) {
	h.mu.Lock()
	if h.why == "" {
		h.why = why
	}
	h.mu.Unlock()
	runtime.Goexit()
}

func (h *Host) note(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors += text
}

// Helper implements testing.TB.
func (h *Host) Helper() {}

// Name implements testing.TB.
func (h *Host) Name() string { return h.name }

// Cleanup implements testing.TB.
func (h *Host) Cleanup(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cleanups = append(h.cleanups, f)
}

// TempDir implements testing.TB.
func (h *Host) TempDir() string {
	dir, err := os.MkdirTemp("", "penstock-"+h.name+"-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			h.Error(err)
		}
	})
	return dir
}

// Fatal implements testing.TB.
func (h *Host) Fatal(args ...any) { h.stop(fmt.Sprint(args...)) }

// Fatalf implements testing.TB.
func (h *Host) Fatalf(format string, args ...any) { h.stop(fmt.Sprintf(format, args...)) }

// Skip implements testing.TB.
func (h *Host) Skip(args ...any) { h.stop(fmt.Sprint(args...)) }

// Skipf implements testing.TB.
func (h *Host) Skipf(format string, args ...any) { h.stop(fmt.Sprintf(format, args...)) }

// Error implements testing.TB.
func (h *Host) Error(args ...any) { h.note(fmt.Sprint(args...)) }

// Errorf implements testing.TB.
func (h *Host) Errorf(format string, args ...any) { h.note(fmt.Sprintf(format, args...)) }

// Log implements testing.TB.
func (h *Host) Log(...any) {}

// Logf implements testing.TB.
func (h *Host) Logf(string, ...any) {}

// Failed implements testing.TB.
func (h *Host) Failed() bool { return h.Why() != "" }
