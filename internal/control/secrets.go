package control

import (
	"context"
	"log/slog"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/secrets"
)

// keeper makes what knows the secrets of a run.
func (s *Service) keeper(log *slog.Logger) *secrets.Keeper {
	o := secrets.Options{Clock: s.clock(), Logger: log}
	if s.Secrets != nil {
		o.Instead = lookup(s.Secrets)
	}
	return secrets.New(o)
}

// lookup is a provider of fixed values: [Service.Secrets].
type lookup func(name string) (value string, ok bool)

// Read implements penstock.SecretProvider.
func (l lookup) Read(_ context.Context, names []string) (map[string]penstock.SecretReading, error) {
	out := map[string]penstock.SecretReading{}
	for _, n := range names {
		if v, ok := l(n); ok {
			out[n] = penstock.SecretReading{Value: v}
		}
	}
	return out, nil
}

// Watch implements penstock.SecretProvider.
func (lookup) Watch(context.Context, func()) error { return nil }

// Where implements penstock.SecretProvider.
func (lookup) Where(name string) string { return "the secrets of this program, as " + name }

// Close implements penstock.SecretProvider.
func (lookup) Close() error { return nil }
