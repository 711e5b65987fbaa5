package control

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
)

// storeFile is what can be done with the file of the embedded store. It implements [operate.File].
type storeFile struct{ clock penstock.Clock }

// Version implements operate.File.
func (storeFile) Version() int { return sqlite.Version }

// db is the store as the embedded one.
func (storeFile) db(s store.Store) (*sqlite.DB, error) {
	if db, ok := s.(*sqlite.DB); ok {
		return db, nil
	}
	if _, ok := s.(*postgres.DB); ok {
		return nil, errNoFile()
	}
	return nil, &penstock.Error{Code: penstock.Config, Op: "store", Err: errors.New("this store has no file")}
}

// errNoFile says what to use for a store that is not a file.
func errNoFile() error {
	return &penstock.Error{Code: penstock.Config, Op: "store", Err: errors.New("the store is on a PostgreSQL server, which has tools of its own for this"),
		Hint: "back up with pg_dump --schema=<schema> or pg_basebackup, and restore with pg_restore while no replica runs; check with pg_amcheck; VACUUM gives free space back"}
}

// Check implements operate.File.
func (f storeFile) Check(ctx context.Context, s store.Store, progress func(done, total int64) error) (*operate.StoreCheck, error) {
	db, err := f.db(s)
	if err != nil {
		return nil, err
	}
	rep, err := db.Check(ctx, progress)
	if err != nil {
		return nil, err
	}
	return checkOf(rep), nil
}

// checkOf is a report as it is shown.
func checkOf(r *sqlite.Report) *operate.StoreCheck {
	return &operate.StoreCheck{OK: len(r.Problems) == 0, Problems: append([]string{}, r.Problems...), Unchecked: r.Unchecked,
		Messages: r.Messages, Entries: r.Entries, Bytes: r.Bytes}
}

// Backup implements operate.File.
func (f storeFile) Backup(ctx context.Context, s store.Store, path string, rate int64, progress func(done, total int64) error) error {
	db, err := f.db(s)
	if err != nil {
		return err
	}
	return db.Backup(ctx, path, sqlite.BackupOptions{Rate: rate, Progress: progress, Clock: f.clock})
}

// VerifyBackup opens a backup and reads everything in it. What is damaged is a result; an error says that the file could not be
// verified. progress may be nil.
func (s *Service) VerifyBackup(ctx context.Context, path string, progress func(operate.Progress) error) (*operate.StoreCheck, error) {
	rep, err := sqlite.Verify(ctx, path, copied(progress))
	if rep == nil {
		return nil, err
	}
	return checkOf(rep), nil
}

// Compact implements operate.File.
func (f storeFile) Compact(ctx context.Context, s store.Store) error {
	db, err := f.db(s)
	if err != nil {
		return err
	}
	return db.Compact(ctx)
}

// Restored is what [Service.RestoreBackup] did.
type Restored struct {
	Store string `json:"store"`          // path of the store
	Kept  string `json:"kept,omitempty"` // where the store that was there is now
}

// RestoreBackup checks a backup and puts it in the place of a store that no process has open. A store that is there is kept aside, and
// only with force. progress may be nil.
func (s *Service) RestoreBackup(ctx context.Context, at Place, backup string, force bool, progress func(operate.Progress) error) (*Restored, error) {
	set, _ := s.load(at.Project)
	if in := set.Integration(); in != nil && at.Store == "" && in.Store.Driver == postgresDriver {
		return nil, errNoFile()
	}
	path := storePath(set, at.Store)
	done, err := sqlite.Restore(ctx, backup, path, sqlite.RestoreOptions{Force: force, Progress: copied(progress)})
	if err != nil {
		return nil, err
	}
	return &Restored{Store: path, Kept: done.Kept}, forgetIdentity(ctx, path)
}

// forgetIdentity has a restored store called otherwise in the identities of what it sends: it gives positions again that it gave, after the backup, to
// other messages.
func forgetIdentity(ctx context.Context, path string) error {
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	return errors.Join(run.ForgetStore(ctx, db), db.Close())
}

// copied gives progress as pairs of numbers.
func copied(progress func(operate.Progress) error) func(done, total int64) error {
	if progress == nil {
		return nil
	}
	return func(done, total int64) error { return progress(operate.Progress{Bytes: done, Total: total}) }
}
