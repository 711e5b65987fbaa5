package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/examples/orders/orderdata"
)

func TestRunWritesFilesAndFigures(t *testing.T) {
	out := filepath.Join(t.TempDir(), "new", "drop")
	args := []string{"-seed", "3", "-days", "3", "-lines-per-day", "50", "-out", out}
	var said bytes.Buffer
	if err := run(args, &said, &said); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(out, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e orderdata.Expected
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range (orderdata.Config{Days: 3}).Names() {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(b, []byte("\n")) - 1
	}
	if lines != e.Lines || e.Seed != 3 || lines == 0 {
		t.Errorf("%d lines in the files, figures %+v", lines, e)
	}
	if err := run(args, &said, &said); err != nil {
		t.Errorf("a second run over the same files: %v", err)
	}
	args[3] = "2"
	if err := run(args, &said, &said); err == nil || !strings.Contains(err.Error(), "2010-12-03.csv") {
		t.Errorf("a file left over from a longer run: %v", err)
	}
}

func TestRunRefusesBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-days", "0"}, {"-lines-per-day", "-1"}, {"-seed", "x"}, {"stray"}} {
		args := append([]string{"-out", t.TempDir()}, args...)
		var said bytes.Buffer
		if err := run(args, &said, &said); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
