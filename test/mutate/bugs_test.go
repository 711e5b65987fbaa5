package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var hook = regexp.MustCompile(`mutation\.On\("([^"]*)"\)`)

// TestListAndSourceAgree finds bugs that nobody plants, and hooks that nobody tests.
func TestListAndSourceAgree(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing-penstock.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]int{}
	for _, b := range bugs {
		if _, twice := known[b.name]; twice {
			t.Errorf("%s is there twice", b.name)
		}
		if !strings.Contains(string(page), fmt.Sprintf("| `%s` | %s |\n", b.name, b.does)) {
			t.Errorf("docs/testing-penstock.md does not say of %s that %s", b.name, b.does)
		}
		if known[b.name] = 0; b.does == "" || len(b.tests) == 0 {
			t.Errorf("%s: what it does, or who catches it, is not said", b.name)
		}
	}
	err = filepath.WalkDir("../../internal", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range hook.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if _, ok := known[name]; !ok {
				t.Errorf("%s: the bug %s is not in the list", path, name)
			}
			known[name]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range edits {
		if _, ok := known[name]; !ok {
			t.Errorf("the bug %s is not in the list", name)
		}
		known[name]++
		text, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(e.file)))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.from); n != 1 || e.from == e.to {
			t.Errorf("%s: %s has %d times what it replaces", name, e.file, n)
		}
	}
	for name, n := range known {
		if n == 0 {
			t.Errorf("nothing in the source is the bug %s", name)
		}
	}
}
