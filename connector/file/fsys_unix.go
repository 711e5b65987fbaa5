//go:build unix && !solaris && !aix

package file

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the file for this process alone, until it is closed. File systems without locks are taken as they are.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return nil
		}
	}
}

// syncFolder is fsync, which some network file systems refuse for folders: there it is not needed.
func syncFolder(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
