package env

import (
	"context"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
)

func TestVariable(t *testing.T) {
	for name, want := range map[string]string{"db-password": "PENSTOCK_SECRET_DB_PASSWORD", "ref-ca.pem": "PENSTOCK_SECRET_REF_CA_PEM"} {
		if got := Variable("PENSTOCK_SECRET_", name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestConform(t *testing.T) {
	conform.Secrets(t, conform.SecretsHarness{New: func(testing.TB) conform.SecretsPlace {
		var mu sync.Mutex
		vars := map[string]string{}
		return conform.SecretsPlace{
			Provider: func(testing.TB) penstock.SecretProvider {
				return provider{"PENSTOCK_SECRET_", func(name string) (string, bool) {
					mu.Lock()
					defer mu.Unlock()
					v, ok := vars[name]
					return v, ok
				}}
			},
			Put: func(_ testing.TB, values map[string]string) {
				mu.Lock()
				defer mu.Unlock()
				clear(vars)
				for n, v := range values {
					vars[Variable("PENSTOCK_SECRET_", n)] = v
				}
			},
			Break: func(_ testing.TB, name string) {
				mu.Lock()
				defer mu.Unlock()
				vars[Variable("PENSTOCK_SECRET_", name)] = ""
			},
		}
	}})
}

func TestProcess(t *testing.T) {
	t.Setenv("MY_API_TOKEN", "correct-horse")
	p, err := New(Config{Prefix: "MY_"}, penstock.Env{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Read(context.Background(), []string{"api-token"})
	if err != nil || got["api-token"].Value != "correct-horse" {
		t.Error("the process's own variable:", err)
	}
	if w := p.Where("api-token"); w != "the environment variable MY_API_TOKEN" {
		t.Error(w)
	}
}

func TestValidate(t *testing.T) {
	for prefix, good := range map[string]bool{"": true, "X_": true, "A=": false, "A B": false} {
		if errs := (&Config{Prefix: prefix}).Validate(); (len(errs) == 0) != good {
			t.Errorf("%q: %v", prefix, errs)
		}
	}
}
