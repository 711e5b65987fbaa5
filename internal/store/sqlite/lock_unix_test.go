//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package sqlite

import (
	"context"
	"syscall"
	"testing"
)

// TestTheLockIsGivenBack: also where a process that is just being started has the file open, as between fork and exec.
func TestTheLockIsGivenBack(t *testing.T) {
	o := Options{Path: newPath(t), Reserve: -1}
	d := mustOpen(t, o)
	child, err := syscall.Dup(int(d.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(child) }()
	mustClose(t, d)
	again, err := Open(context.Background(), patient(o))
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, again)
}
