package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"penstock.dev/penstock"
)

// MaxValue bounds a file, in bytes: as much as a Kubernetes Secret holds.
const MaxValue = 1 << 20

// ErrChanged says that something was changed while it was read.
var ErrChanged = errors.New("it is being changed")

// Read reads a file that nobody is writing to meanwhile.
func Read(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	before, err := f.Stat()
	if err != nil {
		return "", err
	}
	switch {
	case !before.Mode().IsRegular():
		return "", errors.New("it is no regular file")
	case before.Size() > MaxValue:
		return "", fmt.Errorf("it has %d bytes, more than %d", before.Size(), MaxValue)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxValue+1))
	if err != nil {
		return "", err
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) || after.Size() != int64(len(text)) {
		return "", ErrChanged
	}
	return string(text), nil
}

// Unreadable is the error of a path that can't be read.
func Unreadable(path string, err error) error {
	code, hint := penstock.Config, ""
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch {
	case errors.Is(err, ErrChanged):
		code, hint = penstock.Unavailable, "replace it in one step: write another file and rename it"
	case errors.Is(err, os.ErrNotExist):
		hint = "make it, or mount it there"
	case errors.Is(err, os.ErrPermission):
		hint = "let the user that penstock runs as read it"
	}
	return &penstock.Error{Code: code, Op: "secrets", Path: path, Err: err, Hint: hint}
}

// Path evaluates a path of the configuration.
func Path(t penstock.Template, env penstock.Env) (string, error) {
	text := t.Source
	if t.Program != nil {
		f := penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}
		b, err := t.Program.Eval(&f).AppendText(nil)
		if err != nil {
			return "", &penstock.Error{Code: penstock.Config, Op: "secrets", Path: t.Pos.String(), Err: err}
		}
		text = string(b)
	}
	if text == "" {
		return "", &penstock.Error{Code: penstock.Config, Op: "secrets", Path: t.Pos.String(), Err: errors.New("the path is empty")}
	}
	return filepath.Clean(text), nil
}
