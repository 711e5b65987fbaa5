package lsp

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// overlay is the machine's file system with the texts that are open in the editor laid over it. Its names are paths as the
// system has them, not those of io/fs. It is immutable.
type overlay struct{ texts map[string][]byte }

// with returns an overlay with a text more; nil takes it away.
func (o overlay) with(path string, text []byte) overlay {
	next := maps.Clone(o.texts)
	if next == nil {
		next = map[string][]byte{}
	}
	if text == nil {
		delete(next, path)
	} else {
		next[path] = text
	}
	return overlay{next}
}

// Open implements fs.FS.
func (o overlay) Open(name string) (fs.File, error) {
	if text, ok := o.texts[filepath.Clean(name)]; ok {
		return &openText{Reader: bytes.NewReader(text), info: textInfo{filepath.Base(name), int64(len(text))}}, nil
	}
	return os.Open(name)
}

// ReadFile implements fs.ReadFileFS.
func (o overlay) ReadFile(name string) ([]byte, error) {
	if text, ok := o.texts[filepath.Clean(name)]; ok {
		return text, nil
	}
	return os.ReadFile(name)
}

// Stat implements fs.StatFS.
func (o overlay) Stat(name string) (fs.FileInfo, error) {
	if text, ok := o.texts[filepath.Clean(name)]; ok {
		return textInfo{filepath.Base(name), int64(len(text))}, nil
	}
	return os.Stat(name)
}

// ReadDir implements fs.ReadDirFS: a text that was never saved is not in its folder.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

type openText struct {
	*bytes.Reader
	info textInfo
}

// Stat implements fs.File.
func (t *openText) Stat() (fs.FileInfo, error) { return t.info, nil }

// Close implements fs.File.
func (*openText) Close() error { return nil }

type textInfo struct {
	name string
	size int64
}

// The methods of fs.FileInfo.
func (i textInfo) Name() string     { return i.name }
func (i textInfo) Size() int64      { return i.size }
func (textInfo) Mode() fs.FileMode  { return 0o644 }
func (textInfo) ModTime() time.Time { return time.Time{} }
func (textInfo) IsDir() bool        { return false }
func (textInfo) Sys() any           { return nil }
