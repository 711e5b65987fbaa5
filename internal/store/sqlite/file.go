package sqlite

import (
	"context"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// File does what can be done with the file of an open store, for those who know no more of it than store.Store. It is safe for concurrent use.
type File struct {
	// Clock paces backups; nil: the system's.
	Clock penstock.Clock
}

// Version is the version of the file's layout.
func (File) Version() int { return Version }

// Check lists what is damaged; see [DB.Check]. Where something could not be looked at, and all the rest is right, that is an error of code
// timeout.
func (File) Check(ctx context.Context, s store.Store) ([]string, error) {
	d, err := ours("check", s)
	if err != nil {
		return nil, err
	}
	r, err := d.Check(ctx, nil)
	if err != nil {
		return nil, err
	}
	if len(r.Problems) == 0 && r.Unchecked != "" {
		return nil, penstock.E(penstock.Timeout, "check", d.o.Path, "nothing was found, but this was not looked at: "+r.Unchecked)
	}
	return r.Problems, nil
}

// Compact gives free space back to the file system; see [DB.Compact].
func (File) Compact(ctx context.Context, s store.Store) error {
	d, err := ours("compact", s)
	if err != nil {
		return err
	}
	return d.Compact(ctx)
}

// Backup copies the store into a new file, at most rate bytes a second (0: no bound), and verifies the copy; see [DB.Backup].
func (f File) Backup(ctx context.Context, s store.Store, path string, rate int64, progress func(done, total int64) error) error {
	d, err := ours("backup", s)
	if err != nil {
		return err
	}
	return d.Backup(ctx, path, BackupOptions{Rate: rate, Progress: progress, Clock: f.Clock})
}

func ours(op string, s store.Store) (*DB, error) {
	d, ok := s.(*DB)
	if !ok {
		return nil, penstock.E(penstock.Config, op, "", fmt.Sprintf("this store (%T) is not a file of SQLite", s))
	}
	return d, nil
}
