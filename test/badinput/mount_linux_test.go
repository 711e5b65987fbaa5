package badinput_test

import (
	"syscall"
	"testing"
)

// smallDisk is a file system of its own with the given size, where that is allowed. resize changes the size.
func smallDisk(t *testing.T, size string, readOnly bool) (dir string, resize func(size string)) {
	t.Helper()
	dir = t.TempDir()
	var flags uintptr
	if readOnly {
		flags = syscall.MS_RDONLY
	}
	if err := syscall.Mount("none", dir, "tmpfs", flags, "size="+size); err != nil {
		t.Skipf("a file system of a test's own can only be mounted by root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		t.Helper()
		if err := syscall.Mount("none", dir, "tmpfs", flags|syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

func makePipe(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
