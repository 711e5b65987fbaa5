//go:build unix && !solaris && !aix

package file

import (
	"errors"
	"io/fs"
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

// inodeOf is the number of the file in its file system.
func inodeOf(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino) //nolint:unconvert,nolintlint // it has other types elsewhere
	}
	return 0
}

// sameDevice reports whether two files are surely on one file system.
func sameDevice(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return ok && also && x.Dev == y.Dev
}
