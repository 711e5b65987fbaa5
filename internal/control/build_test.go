package control_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

func TestNewConnectorRefuses(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	there := t.TempDir()
	if err := os.WriteFile(filepath.Join(there, "go.mod"), []byte("module other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    control.ConnectorOptions
		code penstock.Code
		want string
	}{
		{control.ConnectorOptions{}, penstock.Invalid, `"" can't be the name`},
		{control.ConnectorOptions{Name: "Acme"}, penstock.Invalid, `"Acme" can't be the name`},
		{control.ConnectorOptions{Name: "go"}, penstock.Invalid, `"go" can't be the name`},
		{control.ConnectorOptions{Name: "a-b"}, penstock.Invalid, `"a-b" can't be the name`},
		{control.ConnectorOptions{Name: "file"}, penstock.Conflict, "a connector called file already"},
		{control.ConnectorOptions{Name: "channel"}, penstock.Conflict, "a connector called channel already"},
		{control.ConnectorOptions{Name: "acme", Module: "a b"}, penstock.Invalid, `"a b" can't be the path`},
		{control.ConnectorOptions{Name: "acme", Dir: there}, penstock.Conflict, "is there already"},
		{control.ConnectorOptions{Name: "acme", Dir: filepath.Join(there, "new"), Source: there}, penstock.Invalid, "not the source of Penstock"},
	} {
		_, err := s.NewConnector(c.o)
		if err == nil || penstock.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s %s", c.o, err, c.code, c.want)
		}
	}
	if entries, err := os.ReadDir(there); err != nil || len(entries) != 1 {
		t.Errorf("something was written: %v, %v", entries, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	s := &control.Service{Registry: edition.Standard()}
	empty := t.TempDir()
	out := filepath.Join(empty, "program")
	for _, c := range []struct {
		o    control.BuildOptions
		want []string // all are said at once
	}{
		{control.BuildOptions{}, []string{"no version to build", "--source"}},
		{control.BuildOptions{Source: empty}, []string{"not the source of Penstock"}},
		{control.BuildOptions{Source: "../..", With: []string{"a=" + empty, "b@", "c d", "example.com/x", "example.com/x@v1.0.0"}},
			[]string{"no Go module at this path", "no version behind @", "no path of a Go module", "named twice"}},
		{control.BuildOptions{Source: "../..", Replace: []string{"nothing"}}, []string{"no replacement"}},
	} {
		c.o.Output = out
		_, err := s.Build(t.Context(), c.o)
		if err == nil {
			t.Errorf("%+v: no error", c.o)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %s", c.o, err, want)
			}
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a program was written")
	}
}

// TestBuildWithoutRegister builds with a module that is no connector.
func TestBuildWithoutRegister(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/other\n\ngo 1.26.0\n", "other.go": "package other\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &control.Service{Registry: edition.Standard()}
	_, err := s.Build(t.Context(), control.BuildOptions{Source: "../..", With: []string{"example.com/other=" + dir}, Output: filepath.Join(dir, "program")})
	if err == nil || !strings.Contains(err.Error(), "Register(r *penstock.Registry)") {
		t.Errorf("%v", err)
	}
}
