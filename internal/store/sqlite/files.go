package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"penstock.dev/penstock"
)

// makeDir makes a folder with those above it, durably.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// absent refuses a path where something is.
func absent(op, path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		e := penstock.E(penstock.Config, op, path, "there is a file already")
		e.Hint = "give another name, or move it away: nothing is written over"
		return e
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return diskError(op, path, err)
	}
}

// diskError says what to do about an error of a file.
func diskError(op, path string, err error) error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: op, Path: path, Err: err, Hint: "look at the disk, and at the rights of the folder"}
	if errors.Is(err, fs.ErrPermission) {
		e.Code, e.Hint = penstock.Config, "the folder has to belong to the user that runs penstock"
	}
	return e
}

// rename gives a file its name, durably. The file has to be synced.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// removeStore removes a file of SQLite and what it has beside it.
func removeStore(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// moveStore moves a file and its log, the log first. The index of the log is made anew from it.
func moveStore(from, to string) error {
	if err := os.Remove(from + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, suffix := range []string{"-wal", ""} {
		if err := os.Rename(from+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := syncDir(filepath.Dir(from)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file into a new one, for the owner only, and syncs it.
func copyFile(ctx context.Context, from, to string, progress func(done, total int64) error) (err error) {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return penstock.E(penstock.NotFound, "restore", from, "there is no such file")
	}
	if err != nil {
		return diskError("restore", from, err)
	}
	defer func() { _ = in.Close() }() // it was only read
	i, err := in.Stat()
	if err != nil {
		return diskError("restore", from, err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return diskError("restore", to, err)
	}
	defer func() {
		if e := out.Close(); err == nil && e != nil {
			err = diskError("restore", to, e)
		}
	}()
	buffer := make([]byte, 1<<20)
	for done := int64(0); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(in, buffer)
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return diskError("restore", to, err)
			}
			done += int64(n)
			if progress != nil {
				if err := progress(done, i.Size()); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return diskError("restore", from, err)
		}
	}
	if err := out.Sync(); err != nil {
		return diskError("restore", to, err)
	}
	return nil
}

// takeLock takes the lock of a store, and says who has it.
func takeLock(op, path string) (*os.File, error) {
	lock, holder, err := lockFile(path + ".lock")
	if errors.Is(err, ErrLocked) {
		if holder == "" {
			holder = "unknown"
		}
		return nil, &penstock.Error{Code: penstock.Config, Op: op, Path: path, Err: fmt.Errorf("%w, of pid %s", ErrLocked, holder),
			Hint: "`penstock drain` ends that process, `penstock ps` asks what it does; each process needs its own store"}
	}
	if err != nil {
		return nil, diskError(op, path, err)
	}
	return lock, nil
}
