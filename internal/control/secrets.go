package control

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// SecretVariable is the environment variable that holds a secret: that of `{secret: db-password}` is
// PENSTOCK_SECRET_DB_PASSWORD.
func SecretVariable(name string) string {
	return "PENSTOCK_SECRET_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// fillSecrets puts the values of secrets into the configurations that want them. Nothing runs with a
// secret that is not there.
func (s *Service) fillSecrets(p *plan.Plan) error {
	lookup := s.Secrets
	if lookup == nil {
		lookup = func(name string) (string, bool) { return os.LookupEnv(SecretVariable(name)) }
	}
	var errs []error
	for _, sec := range p.Secrets {
		v, ok := lookup(sec.Name)
		if !ok {
			errs = append(errs, &penstock.Error{Code: penstock.Config, Op: "start", Path: sec.Pos.String(),
				Err: fmt.Errorf("the secret %s is not there", sec.Name), Hint: "set the environment variable " + SecretVariable(sec.Name)})
			continue
		}
		*sec.Target = penstock.NewSecret(v)
	}
	return errors.Join(errs...)
}
