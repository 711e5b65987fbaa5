package file

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

var errNoSpace = &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}

// memFS is a file system in memory that forgets in a crash what was not synced: the content of files beyond the last
// Sync, and what was created and renamed in a folder since its last SyncDir.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memFile // as they are
	durable map[string]*memFile // as a crash leaves them
	failing error
	gone    int // counts crashes: files opened before don't work any more
	syncs   int
}

type memFile struct {
	data   []byte
	synced []byte // what a crash leaves, and perhaps some more
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*memFile{}, durable: map[string]*memFile{}}
}

// fail makes every write and sync fail from now on.
func (m *memFS) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// crash forgets. Of what was written and not synced a part is there, as it may be on a disk.
func (m *memFS) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone++
	m.names = maps.Clone(m.durable)
	for _, f := range m.names {
		if n := len(f.data) - len(f.synced); n > 0 && bytes.HasPrefix(f.data, f.synced) {
			f.synced = append(f.synced, f.data[len(f.synced):len(f.synced)+n*2/3]...)
		}
		f.data = bytes.Clone(f.synced)
	}
}

// records gives the records of all files whose names begin with prefix, parts included.
func (m *memFS) records(t testing.TB, prefix string) (out []string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		if strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, tornSuffix) {
			out = append(out, recordsOf(t, name, m.names[name].data)...)
		}
	}
	return out
}

func (m *memFS) OpenFile(name string, flag int) (file, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.names[name]
	if f == nil {
		if flag&os.O_CREATE == 0 {
			return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		if m.failing != nil {
			return nil, 0, m.failing
		}
		f = new(memFile)
		m.names[name] = f
	}
	if flag&os.O_TRUNC != 0 {
		f.data = nil
	}
	return &memHandle{m, f, m.gone}, int64(len(f.data)), nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	m.names[to] = m.names[from]
	delete(m.names, from)
	return nil
}

func (m *memFS) Prepare(string) error { return nil }

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	for name := range m.durable {
		if filepath.Dir(name) == dir {
			delete(m.durable, name)
		}
	}
	for name, f := range m.names {
		if filepath.Dir(name) == dir {
			m.durable[name] = f
		}
	}
	return nil
}

func (m *memFS) List(dir string) (names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

type memHandle struct {
	fs   *memFS
	f    *memFile
	life int
}

var errGone = errors.New("the machine crashed")

func (h *memHandle) ok() error {
	if h.life != h.fs.gone {
		return errGone
	}
	return h.fs.failing
}

func (h *memHandle) ReadAt(p []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if at >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) Write(p []byte) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.ok(); err != nil {
		n := len(p) / 2 // a part arrives
		h.f.data = append(h.f.data, p[:n]...)
		return n, err
	}
	h.f.data = append(h.f.data, p...)
	return len(p), nil
}

func (h *memHandle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.life != h.fs.gone {
		return errGone
	}
	h.f.data = h.f.data[:size]
	return nil
}

func (h *memHandle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.ok(); err != nil {
		return err
	}
	h.fs.syncs++
	h.f.synced = bytes.Clone(h.f.data)
	return nil
}

func (h *memHandle) Close() error { return nil }
