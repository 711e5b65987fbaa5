package control_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

func TestInitialize(t *testing.T) {
	s := &control.Service{}
	dir := filepath.Join(t.TempDir(), "My Shop!")
	made, err := s.Initialize(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != "my-shop" {
		t.Errorf("the name is %q", made.Name)
	}
	for _, f := range made.Files {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "penstock.yaml"))
	if err != nil || !strings.Contains(string(text), "name: my-shop") {
		t.Errorf("the configuration is %s, %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "penstock.yaml"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, ".gitignore")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Initialize(dir, ""); penstock.CodeOf(err) != penstock.Conflict {
		t.Errorf("a second time gives %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".gitignore")); err == nil {
		t.Error("a refused init has written a file")
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "penstock.yaml")); string(text) != "mine" {
		t.Error("a file was overwritten")
	}
}

func TestInitializeRefusesNames(t *testing.T) {
	s := &control.Service{}
	dir := t.TempDir()
	for _, name := range []string{"A", "1a", "a b", "-", strings.Repeat("a", 64)} {
		if _, err := s.Initialize(dir, name); penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("the name %q gives %v", name, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v was written", left)
	}
}
