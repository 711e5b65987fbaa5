package control

import (
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

func (s *Service) schemaType(path string, l *diag.List) (*types.Type, error) {
	return types.DynType, nil
}
