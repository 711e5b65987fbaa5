package control

import (
	"context"
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

// VerifyBackup opens a backup and reads everything in it.
func (s *Service) VerifyBackup(ctx context.Context, path string) (*operate.StoreCheck, error) {
	return nil, &penstock.Error{Code: penstock.Internal, Op: "verify", Path: path, Err: errors.New("x")}
}

// Restored is what [Service.RestoreBackup] did.
type Restored struct {
	Store  string `json:"store"`            // path of the store
	Before string `json:"before,omitempty"` // where the store that was there is now
}

// RestoreBackup puts a backup in the place of a store. A store that is there is kept under another name, and only with force.
func (s *Service) RestoreBackup(ctx context.Context, at Place, backup string, force bool) (*Restored, error) {
	return nil, &penstock.Error{Code: penstock.Internal, Op: "restore", Path: backup, Err: errors.New("x")}
}
