//go:build unix

package socket

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// checksMode says that the system's folders have rights of owner, group and others.
const checksMode = true

// owned says that a file is this process's user's.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// refused says that nobody listens: the socket was left by a process that is gone.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
