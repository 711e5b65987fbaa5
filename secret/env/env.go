// Package env reads secrets from environment variables: the provider where an Integration names none.
package env

import (
	"context"
	"errors"
	"os"
	"strings"

	"penstock.dev/penstock"
)

// Config is the configuration of the provider.
type Config struct {
	// What the names of the variables begin with: with PENSTOCK_SECRET_, the secret db-password is in
	// PENSTOCK_SECRET_DB_PASSWORD.
	Prefix string `json:"prefix" penstock:"default=PENSTOCK_SECRET_"`
}

// Register adds the provider.
func Register(r *penstock.Registry) {
	penstock.RegisterSecrets(r, penstock.Spec{
		Name:    "env",
		Summary: "Secrets in environment variables. They are as they were when the program began: a new value needs a restart.",
	}, New)
}

// Validate implements penstock.Resolver.
func (c *Config) Validate() []error {
	if strings.ContainsAny(c.Prefix, "=\x00 ") {
		return []error{errors.New("the name of an environment variable has no `=` and no space")}
	}
	return nil
}

// Variable is the name of the variable that holds a secret.
func Variable(prefix, name string) string {
	return prefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// New makes the provider.
func New(c Config, _ penstock.Env) (penstock.SecretProvider, error) {
	return provider{c.Prefix, os.LookupEnv}, nil
}

type provider struct {
	prefix string
	lookup func(string) (string, bool)
}

// Read implements penstock.SecretProvider.
func (p provider) Read(_ context.Context, names []string) (map[string]penstock.SecretReading, error) {
	out := map[string]penstock.SecretReading{}
	for _, name := range names {
		v, ok := p.lookup(Variable(p.prefix, name))
		switch {
		case ok && v == "":
			out[name] = penstock.SecretReading{Err: penstock.E(penstock.Config, "", p.Where(name), "is empty")}
		case ok:
			out[name] = penstock.SecretReading{Value: v}
		}
	}
	return out, nil
}

// Watch implements penstock.SecretProvider: a process's environment is fixed.
func (provider) Watch(context.Context, func()) error { return nil }

// Where implements penstock.SecretProvider.
func (p provider) Where(name string) string {
	return "the environment variable " + Variable(p.prefix, name)
}

// Close implements penstock.SecretProvider.
func (provider) Close() error { return nil }
