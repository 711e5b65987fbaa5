//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package sqlite

import (
	"errors"
	"os"
)

// lockFile refuses: without a lock a second process could break what the first one promised.
func lockFile(string) (*os.File, string, error) {
	return nil, "", errors.New("this system has no file locks that the store can use")
}

func unlock(f *os.File) error { return f.Close() }
