//go:build !unix || solaris || aix

package file

import (
	"io/fs"
	"os"
)

// lock does nothing: this system has no advisory locks that end with the process.
func lock(*os.File) error { return nil }

// syncFolder does nothing: this system has no fsync of folders.
func syncFolder(*os.File) error { return nil }

// inodeOf says nothing: this system does not tell.
func inodeOf(fs.FileInfo) uint64 { return 0 }

// sameDevice says nothing: this system does not tell.
func sameDevice(_, _ fs.FileInfo) bool { return false }
