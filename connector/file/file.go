// Package file reads and writes files: as a source of records, as a sink, and as a table to
// look things up in.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"penstock.dev/penstock"
)

// Register adds the drivers. r also has the codecs that are used where no format is given.
func Register(r *penstock.Registry) {
	penstock.RegisterSource(r, penstock.Spec{
		Name:    "file",
		Summary: "Reads the records of one file, or of all that a pattern matches in the order of their names, and ends; or watches a folder for new ones.",
		Settle:  penstock.Cumulative,
		Finite:  true,
		Replay:  penstock.ReplayPosition,
	}, func(c SourceConfig, env penstock.Env) (penstock.Source, error) { return newSource(r, c, env) })
	penstock.RegisterSink(r, penstock.Spec{
		Name:    "file",
		Summary: "Writes records to a file, or to several whose names depend on the message. A file appears under its name when it is complete, or is appended to; what was flushed is on disk.",
		// What could not be written is not there after an error: either nothing of the message was, or the sink is at its end.
		Idempotent: true,
	}, func(c SinkConfig, env penstock.Env) (penstock.Sink, error) { return newSink(r, c, env, osFS{}) })
	penstock.RegisterCaller(r, penstock.Spec{
		Name:       "file",
		Summary:    "Looks a row up in a reference file by the value of one column. The file is read into memory and read again when it changes.",
		Local:      true,
		Idempotent: true,
		Reads:      true,
	}, func(c LookupConfig, env penstock.Env) (penstock.Caller, error) { return newLookup(r, c, env) })
}

// fixed evaluates a path that is the same for all messages.
func fixed(t penstock.Template, env penstock.Env) (string, error) {
	text := t.Source
	if t.Program != nil {
		f := penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}
		v := t.Program.Eval(&f)
		if v.IsError() {
			return "", &penstock.Error{Code: penstock.Config, Op: "file", Path: t.Pos.String(), Err: v.Err()}
		}
		b, err := v.AppendText(nil)
		if err != nil {
			return "", &penstock.Error{Code: penstock.Config, Op: "file", Path: t.Pos.String(), Err: fmt.Errorf("path: %w", err)}
		}
		text = string(b)
	}
	if text == "" {
		return "", &penstock.Error{Code: penstock.Config, Op: "file", Path: t.Pos.String(), Err: errors.New("the path is empty")}
	}
	return filepath.Clean(text), nil
}

// formats are the codecs by file name suffix.
var formats = map[string]string{
	".json": "json", ".jsonl": "json", ".ndjson": "json",
	".csv": "csv",
	".txt": "text", ".log": "text",
}

// codecFor is the codec of a configuration: the one that was given, or that of the name's suffix.
func codecFor(r *penstock.Registry, f penstock.Format, name string, env penstock.Env, max penstock.Size) (penstock.Codec, error) {
	codec := f.Codec
	if codec == nil {
		suffix := strings.ToLower(filepath.Ext(bare(name)))
		driver, ok := r.Lookup(penstock.KindOfCodec, formats[suffix])
		if !ok {
			return nil, &penstock.Error{Code: penstock.Config, Op: "file", Path: name, Err: errors.New("the format can't be told by the name"), Hint: "name it, for example format: {json: {}}"}
		}
		var err error
		if codec, err = driver.BuildCodec(driver.NewConfig(), penstock.CodecOptions{Type: env.Type, MaxRecord: int(max)}); err != nil {
			return nil, err
		}
	}
	if l, ok := codec.(penstock.Limiter); ok && max > 0 {
		codec = l.WithMaxRecord(int(max))
	}
	return codec, nil
}

// failure is the error of an operation on a file: it says what was done, with which file, and what to do.
func failure(op, name string, err error) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: op, Path: name, Err: err}
	var path *fs.PathError
	if errors.As(err, &path) {
		e.Err = path.Err // the name is said already
	}
	var link interface{ Unwrap() error } // os.LinkError has both names
	if path == nil && errors.As(err, &link) && link.Unwrap() != nil {
		e.Err = link.Unwrap()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Hint = penstock.NotFound, "check the path, which is relative to the folder that penstock was started in"
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = penstock.Forbidden, "check who owns the file and its folder, and their permissions"
	case errors.Is(err, syscall.EROFS):
		e.Code, e.Hint = penstock.Forbidden, "the file system can only be read; write somewhere else"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Hint = "the disk is full: make room, then start again; nothing that was acknowledged is lost"
	case errors.Is(err, errLocked):
		e.Code, e.Hint = penstock.Conflict, "give each its own file, or end the other one"
	case errors.Is(err, errNotRegular), errors.Is(err, errFolder):
		e.Code, e.Hint = penstock.Config, "name a file in a folder; the connectors stdout and drop write to no file"
	case errors.Is(err, syscall.ENOTDIR):
		e.Code, e.Hint = penstock.Config, "a part of the path before the last is a file: check the path"
	case errors.Is(err, syscall.ENAMETOOLONG):
		e.Code, e.Hint = penstock.Unprocessable, "shorten the name, or check what the message puts into it"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Hint = "too many files are open: raise the limit (ulimit -n), or lower maxOpen"
	case errors.Is(err, syscall.EIO):
		e.Hint = "the disk reports a fault: look at the system's log before starting again"
	case errors.Is(err, syscall.EFBIG):
		e.Hint = "a file may not grow further here: raise the limit, or rotate by size"
	}
	return e
}
