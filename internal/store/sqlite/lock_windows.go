package sqlite

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const errorSharingViolation = syscall.Errno(32) // ERROR_SHARING_VIOLATION

// lockFile takes the lock that one process at a time can have: it opens the file so that others may only read it. Where another
// process has it, that one's pid is returned with ErrLocked.
func lockFile(path string) (f *os.File, holder string, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, "", err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errorSharingViolation) {
		return nil, reader32(name), ErrLocked
	}
	if err != nil {
		return nil, "", os.NewSyscallError("CreateFile", err)
	}
	f = os.NewFile(uintptr(h), path)
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, "", err
	}
	return f, "", nil
}

// unlock gives a lock back.
func unlock(f *os.File) error { return f.Close() }

// reader32 reads what the holder wrote: the pid, a few bytes.
func reader32(name *uint16) string {
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ, syscall.FILE_SHARE_READ|syscall.FILE_SHARE_WRITE, nil,
		syscall.OPEN_EXISTING, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = syscall.CloseHandle(h) }()
	var text [32]byte
	n, _ := syscall.Read(h, text[:])
	return strings.TrimSpace(string(text[:max(n, 0)]))
}
