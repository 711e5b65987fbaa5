package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"penstock.dev/penstock"
)

// A restore is decided by one rename: the copy of the backup is made, synced and checked under a name of its own, then it gets the name
// with the suffix decided, and from there on it is finished by whoever comes first, Restore or the next Open: what is there is moved
// aside (its log before it, as a log without its file is nothing, but beside another file it would be read into that), and the copy takes its
// place. So at any moment there is either the old store, whole, or the new one.
const (
	restoring = ".restoring" // the copy, being made
	decided   = ".restored"  // the copy, whole
	aside     = ".before-"   // what was there; with the time of the restore
)

// RestoreOptions say how a backup is restored.
type RestoreOptions struct {
	// Force replaces a store that is there; it is kept aside.
	Force bool
	// Progress is told how many bytes of how many are copied; an error of it ends the restore. nil: nobody.
	Progress func(done, total int64) error
}

// Restored says what was restored.
type Restored struct {
	Report *Report // of the backup
	Kept   string  // the name that the store has that was there before; "" where there was none
}

// Restore makes a store of a backup, which is checked first. It is done at once, or not at all, also where the process is killed. Errors:
// config where the store is in use, or is there and Force is not given; what Verify says of a backup; unavailable for the disk.
func Restore(ctx context.Context, backup, path string, o RestoreOptions) (*Restored, error) {
	if fileSize(backup+"-wal") > 0 {
		_, err := Verify(ctx, backup, nil)
		return nil, err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, diskError("restore", path, err)
	}
	lock, err := takeLock("restore", path)
	if err != nil {
		return nil, err
	}
	done, err := restore(ctx, backup, path, o)
	if e := unlock(lock); err == nil && e != nil {
		err = diskError("restore", path, e)
	}
	return done, err
}

func restore(ctx context.Context, backup, path string, o RestoreOptions) (*Restored, error) {
	if _, err := finishRestore(path); err != nil { // of one that was killed
		return nil, err
	}
	if !o.Force && fileSize(path) > 0 {
		e := penstock.E(penstock.Config, "restore", path, "there is a store already")
		e.Hint = "give another path; or --force: it is kept aside, under another name"
		return nil, e
	}
	if err := copyFile(ctx, backup, path+restoring, o.Progress); err != nil {
		return nil, errors.Join(err, removeStore(path+restoring))
	}
	report, err := verify(ctx, path+restoring, backup, nil)
	if err != nil {
		return nil, errors.Join(err, removeStore(path+restoring))
	}
	if err := rename(path+restoring, path+decided); err != nil {
		return nil, diskError("restore", path, err)
	}
	kept, err := finishRestore(path)
	return &Restored{Report: report, Kept: kept}, err
}

// finishRestore ends a restore that is decided, if there is one, and removes what others have left. The lock has to be held.
func finishRestore(path string) (kept string, err error) {
	for _, left := range []string{restoring, compacting} {
		if err := removeStore(path + left); err != nil {
			return "", diskError("open the store", path+left, err)
		}
	}
	i, err := os.Stat(path + decided)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", diskError("restore", path+decided, err)
	}
	// The time of the copy: whoever goes on with it finds the same name.
	kept = path + aside + i.ModTime().UTC().Format("20060102T150405.000000000")
	if err := moveStore(path, kept); err != nil {
		return "", diskError("restore", path, err)
	}
	if err := rename(path+decided, path); err != nil {
		return "", diskError("restore", path, err)
	}
	if fileSize(kept) == 0 {
		return "", nil
	}
	return kept, nil
}
