package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fsys is what the sink needs of a file system. Tests put one behind it that loses what was not synced, fills up, or
// fails.
type fsys interface {
	// OpenFile opens a regular file and gives its size; flag is that of os.OpenFile. A file that is opened for
	// writing is locked until it is closed: a second writer, in whatever process, gets errLocked.
	OpenFile(name string, flag int) (file, int64, error)
	// Rename puts from in the place of to, atomically.
	Rename(from, to string) error
	// Prepare makes the folder of a file, and those above it that are missing, durably. It refuses a name that belongs to
	// something else than a regular file: a folder, a device.
	Prepare(name string) error
	// List gives the names in a folder; none if there is no such folder.
	List(dir string) ([]string, error)
	// SyncDir makes durable which names a folder holds.
	SyncDir(dir string) error
}

// file is an open file.
type file interface {
	io.Writer
	io.ReaderAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

var (
	errLocked     = errors.New("the file is being written by another process")
	errNotRegular = errors.New("this is no regular file")
	errFolder     = errors.New("this is a folder")
	errMoved      = errors.New("the name belongs to another file now")
)

// The permissions of what the sink makes, before the umask.
const (
	filePerm   = 0o644
	folderPerm = 0o755
)

// osFS is the file system of the machine.
type osFS struct{}

// OpenFile implements fsys.
func (osFS) OpenFile(name string, flag int) (file, int64, error) {
	for range 10 { // the name may be given to another file before the lock is had
		f, err := os.OpenFile(name, flag&^os.O_TRUNC, filePerm)
		if err != nil {
			return nil, 0, err
		}
		size, err := osFS{}.lockOpened(f, name, flag)
		if err == nil {
			return f, size, nil
		}
		_ = f.Close()
		if !errors.Is(err, errMoved) {
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return nil, 0, &fs.PathError{Op: "open", Path: name, Err: errLocked}
}

// lockOpened locks a file that will be written, and only then empties it.
func (osFS) lockOpened(f *os.File, name string, flag int) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errNotRegular
	}
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return info.Size(), nil
	}
	if err := lock(f); err != nil {
		return 0, err
	}
	if now, err := os.Stat(name); err != nil || !os.SameFile(info, now) {
		return 0, errMoved
	}
	if flag&os.O_TRUNC != 0 {
		return 0, f.Truncate(0)
	}
	info, err = f.Stat() // whoever had the lock may have written
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Rename implements fsys.
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

// Prepare implements fsys.
func (f osFS) Prepare(name string) error {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return &fs.PathError{Op: "open", Path: name, Err: errFolder}
	case err == nil && !info.Mode().IsRegular():
		return &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	case err == nil:
		return nil
	}
	return f.makeAll(filepath.Dir(name))
}

func (f osFS) makeAll(dir string) error {
	err := os.Mkdir(dir, folderPerm)
	if errors.Is(err, fs.ErrNotExist) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return err
		}
		if err := f.makeAll(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, folderPerm)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.SyncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("the new folder %s can't be made durable: %w", dir, err)
	}
	return nil
}

// List implements fsys.
func (osFS) List(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	if e := f.Close(); err == nil {
		err = e
	}
	return names, err
}

// SyncDir implements fsys.
func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = syncFolder(f)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
