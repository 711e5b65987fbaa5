//go:build !unix || solaris || aix

package file

import "os"

// lock does nothing: this system has no advisory locks that end with the process.
func lock(*os.File) error { return nil }

// syncFolder does nothing: this system has no fsync of folders.
func syncFolder(*os.File) error { return nil }
