package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// disk is what putting a file away needs of a file system. Tests put one behind it that fails, or has borders.
type disk interface {
	// Link gives a file a second name; fs.ErrExist where the name is taken.
	Link(from, to string) error
	// Rename gives a file another name; fs.ErrExist where the name is taken.
	Rename(from, to string) error
	Remove(name string) error
	MakeAll(dir string) error
	SyncDir(dir string) error
}

// osDisk is the machine's.
type osDisk struct{}

// Link implements disk.
func (osDisk) Link(from, to string) error { return os.Link(from, to) }

// Rename implements disk. The name is taken with an empty file, which the other then replaces.
func (osDisk) Rename(from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	if err = f.Close(); err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		_ = os.Remove(to)
	}
	return err
}

// Remove implements disk.
func (osDisk) Remove(name string) error { return os.Remove(name) }

// MakeAll implements disk.
func (osDisk) MakeAll(dir string) error { return osFS{}.makeAll(dir) }

// SyncDir implements disk.
func (osDisk) SyncDir(dir string) error { return osFS{}.SyncDir(dir) }

// copyBeside copies a file to a name beside target that no pattern finds, durably, with its time of change.
func copyBeside(ctx context.Context, from, target string, info os.FileInfo) (name string, err error) {
	name = filepath.Join(filepath.Dir(target), "."+filepath.Base(streamOf(from, stampOf(info), 1))+partialSuffix)
	src, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return "", err
	}
	_, err = io.Copy(dst, contextReader{ctx, src})
	if err == nil {
		err = dst.Sync()
	}
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chtimes(name, info.ModTime(), info.ModTime())
	}
	if err != nil {
		_ = os.Remove(name)
		return "", err
	}
	return name, nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // it lives as long as one copy
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// sameFile reports whether target is the same file as from, under a second name; or, where files have to be copied, a copy of it
// with the same time of change.
func sameFile(from, target string, info os.FileInfo, copies bool) bool {
	other, err := os.Lstat(target)
	if err != nil {
		return false
	}
	if os.SameFile(info, other) {
		return true
	}
	if !copies && sameDevice(info, other) {
		return false
	}
	if !other.Mode().IsRegular() || other.Size() != info.Size() || !other.ModTime().Equal(info.ModTime()) {
		return false
	}
	a, err := os.Open(from)
	if err != nil {
		return false
	}
	defer func() { _ = a.Close() }()
	b, err := os.Open(target)
	if err != nil {
		return false
	}
	defer func() { _ = b.Close() }()
	bufA, bufB := make([]byte, bufferSize), make([]byte, bufferSize)
	for {
		n, err := io.ReadFull(a, bufA)
		m, _ := io.ReadFull(b, bufB)
		if n != m || !bytes.Equal(bufA[:n], bufB[:m]) {
			return false
		}
		if err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		}
	}
}
