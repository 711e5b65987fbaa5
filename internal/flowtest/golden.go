package flowtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
)

// golden wants the documents of a file, one a line, to be the messages.
func (w *world) golden(e *resource.Expect, f *found) {
	t := w.test
	at := e.At("golden")
	data, err := t.suite.set.ReadFile(e.GoldenPath)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && (!missing || !t.suite.o.Update) {
		if missing {
			err = fmt.Errorf("%s is not there; `penstock test --update` writes it", e.Golden)
		}
		w.differ(at, "", "%s: %v", f.what, err)
		return
	}
	want, err := lines(data)
	if err != nil && !t.suite.o.Update {
		w.differ(at, "", "%s: %s: %v", f.what, e.Golden, err)
		return
	}
	pairs, same := w.pairs(want, f, e.Unordered)
	if same && err == nil && !missing {
		return
	}
	if t.suite.o.Update {
		var out []byte
		for _, tree := range f.trees {
			out = append(resource.AppendTree(out, tree), '\n')
		}
		t.edits = append(t.edits, edit{path: e.GoldenPath, whole: true, text: string(out)})
		return
	}
	diff, _ := f.show(pairs, want)
	w.differ(at, diff+w.aside(f), "%s: %s in %s", f.what, f.counts(len(want)), e.Golden)
}

// lines reads a golden file.
func lines(data []byte) ([]*penstock.Tree, error) {
	var out []*penstock.Tree
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		t, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, &t)
	}
	return out, nil
}
