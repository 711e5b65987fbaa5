// Command reference writes the comments of configuration structs into internal/reference, and the reference pages and
// the JSON Schema of the standard edition into docs/reference. `make generate` runs it. It stands here because it sees
// the drivers, which only editions and commands do.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/reference"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	comments, err := reference.CollectComments(root)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(comments, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "internal", "reference", "comments.json"), append(text, '\n'), 0o600); err != nil {
		return err
	}
	ref := reference.New(comments, edition.Standard())
	if missing := ref.Uncommented(); len(missing) > 0 {
		return fmt.Errorf("these have no comment: %s", strings.Join(missing, ", "))
	}
	pages := ref.Pages()
	schema, err := ref.JSONSchema()
	if err != nil {
		return err
	}
	pages["schema.json"] = string(schema)
	return writePages(filepath.Join(root, "docs", "reference"), pages)
}

// writePages writes the pages and removes generated ones that are no longer there.
func writePages(dir string, pages map[string]string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, keep := pages[filepath.ToSlash(rel)]; keep {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !reference.IsGenerated(string(text)) {
			return err
		}
		return os.Remove(path)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, text := range pages {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot finds the folder of go.mod, upwards from the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = parent
	}
}
