package main

import (
	"strings"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// TestExamplesCheck: what is run is a configuration whose store replicas share.
func TestExamplesCheck(t *testing.T) {
	t.Chdir("../..")
	t.Setenv("PGHOST", "127.0.0.1")
	s := &control.Service{Registry: edition.Standard()}
	for _, p := range []struct {
		name    string
		project control.Project
	}{
		{"orders", control.Project{Overlay: "examples/orders/overlays/postgres"}},
		{"accounts", control.Project{Paths: []string{"examples/accounts"}, Overlay: "examples/accounts/overlays/postgres"}},
	} {
		checked := s.Check(p.project, true)
		for _, f := range checked.Findings {
			t.Errorf("%s: %s", p.name, f)
		}
		if !checked.SharesStore() {
			t.Errorf("%s: replicas can't share its store", p.name)
		}
	}
}

func TestExamplesAreKnown(t *testing.T) {
	c := &command{}
	if err := c.do(t.Context(), []string{"hello"}); err == nil || !strings.Contains(err.Error(), "orders or accounts") {
		t.Error(err)
	}
}

func TestShared(t *testing.T) {
	for status, want := range map[string]bool{
		`{"replicas":[{"parts":[1]},{"parts":[2]},{"parts":[3]}]}`: true,
		`{"replicas":[{"parts":[1]},{"parts":[2]},{"parts":[]}]}`:  false,
		`{"replicas":[{"parts":[1]},{"parts":[2]}]}`:               false,
		`no status`: false,
	} {
		if shared([]byte(status)) != want {
			t.Error(status)
		}
	}
}
