package sqlite

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/vfs"
)

// disk is the system's file layer for another build of SQLite, under the same code of the store. It knows of each file what is on the
// disk for certain, and what was written since the last sync: of that a power cut may leave anything.
type disk struct {
	vfs.VFSFilename
	name string

	mu     sync.Mutex
	files  map[string]*onDisk
	nth    int                                          // which of the openings of its file does what is done
	ops    int                                          // writes, truncations and syncs up to now
	before func(op int, what string, name string) error // called before each; its error is what SQLite gets
	after  func(op int)
}

// onDisk is a file.
type onDisk struct {
	certain []byte
	pending []change // in the order of writing
	opened  int      // how often
	failed  int      // syncs
}

// change is one that is not synced.
type change struct {
	off  int64
	data []byte // nil: the file is cut off, or made longer, at off
	lost bool   // a sync failed: the system has forgotten that it has to be written
}

var disks atomic.Int64

func newDisk(t testing.TB) *disk {
	t.Helper()
	d := &disk{VFSFilename: vfs.Find("").(vfs.VFSFilename), name: fmt.Sprint("disk", disks.Add(1)), files: map[string]*onDisk{}}
	vfs.Register(d.name, d)
	t.Cleanup(func() { vfs.Unregister(d.name) })
	return d
}

// options open a store on this disk.
func (d *disk) options(path string) Options {
	return Options{Path: path, driver: &driver.SQLite{}, borrows: true, dsn: func(path string) string { return fileDSN(path) + "?vfs=" + d.name },
		Reserve: -1, walSoft: 64 << 10, walHard: 256 << 10}
}

func (d *disk) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := d.VFSFilename.OpenFilename(name, flags)
	if err != nil || name == nil {
		return f, flags, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := name.String()
	o := d.files[n]
	if o == nil {
		o = &onDisk{}
		if o.certain, err = os.ReadFile(n); err != nil {
			return nil, 0, err
		}
		d.files[n] = o
	}
	o.opened++
	return &diskFile{File: f, d: d, o: o, name: filepath.Base(n), nth: o.opened, seen: o.failed}, flags, nil
}

func (d *disk) Delete(name string, sync bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("delete", filepath.Base(name), nil); err != nil {
		return err
	}
	delete(d.files, name)
	return d.VFSFilename.Delete(name, sync)
}

// op counts, and does f if nothing is in the way. The lock is held.
func (d *disk) op(what, name string, f func()) error {
	d.ops++
	if d.before != nil {
		if err := d.before(d.ops, what, name); err != nil {
			return err
		}
	}
	if f != nil {
		f()
	}
	if d.after != nil {
		d.after(d.ops)
	}
	return nil
}

// diskFile is an open file.
type diskFile struct {
	vfs.File
	d    *disk
	o    *onDisk
	name string
	nth  int // 1: the writer's
	seen int // failed syncs of the file that this one was told of
}

func (f *diskFile) SharedMemory() vfs.SharedMemory {
	if s, ok := f.File.(vfs.FileSharedMemory); ok {
		return s.SharedMemory()
	}
	return nil
}

func (f *diskFile) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return f.File.DeviceCharacteristics() &^ vfs.IOCAP_BATCH_ATOMIC
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.nth = f.nth
	err = f.d.op("write", f.name, func() {
		f.o.pending = append(f.o.pending, change{off: off, data: append([]byte{}, p...)})
		n, err = f.File.WriteAt(p, off)
	})
	return n, err
}

func (f *diskFile) Truncate(size int64) (err error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.nth = f.nth
	var own error
	err = f.d.op("truncate", f.name, func() {
		f.o.pending = append(f.o.pending, change{off: size})
		own = f.File.Truncate(size)
	})
	if err == nil {
		err = own
	}
	return err
}

// Sync does not bring anything to the disk of the machine that the test runs on.
func (f *diskFile) Sync(vfs.SyncFlag) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.nth = f.nth
	if f.seen < f.o.failed { // as Linux has it: whoever has the file open is told once
		f.seen = f.o.failed
		return sqlite3.IOERR_FSYNC
	}
	err := f.d.op("sync", f.name, func() {
		rest := f.o.pending[:0]
		for _, c := range f.o.pending {
			if c.lost {
				rest = append(rest, c)
				continue
			}
			f.o.certain = c.apply(f.o.certain)
		}
		f.o.pending = rest
	})
	if err != nil { // and what could not be written is not tried again
		f.o.failed++
		f.seen = f.o.failed
		for i := range f.o.pending {
			f.o.pending[i].lost = true
		}
	}
	return err
}

func (c change) apply(b []byte) []byte {
	end := c.off + int64(len(c.data))
	if grow := end - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	if c.data == nil {
		return b[:c.off]
	}
	copy(b[c.off:], c.data)
	return b
}

// image is what a power cut leaves, by name of file.
type image map[string][]byte

// cut says what a power cut now would leave. The lock is held.
func (d *disk) cut(random *rand.Rand) image { return d.cutMode(random.IntN(4), random) }

func (d *disk) cutMode(mode int, random *rand.Rand) image {
	m := image{}
	for n, o := range d.files {
		b := append([]byte{}, o.certain...)
		for i, c := range o.pending {
			switch {
			case c.lost || mode == 0: // nothing that was not synced
				continue
			case mode == 1 && i >= len(o.pending)/2: // in order, up to somewhere
				continue
			case mode == 2 && random.IntN(2) == 0: // in any order
				continue
			case mode == 3 && c.data != nil: // torn: some sectors, and in the last a part
				for at := 0; at < len(c.data); at += 512 {
					if random.IntN(3) > 0 {
						end := min(at+512, len(c.data))
						if random.IntN(8) == 0 {
							end = at + random.IntN(end-at)
						}
						b = change{off: c.off + int64(at), data: c.data[at:end:end]}.apply(b)
					}
				}
				continue
			}
			b = c.apply(b)
		}
		m[filepath.Base(n)] = b
	}
	return m
}

// write puts the files of an image into a folder.
func (m image) write(t testing.TB, dir string) {
	t.Helper()
	for n, b := range m {
		if strings.HasSuffix(n, "-shm") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var errDead = sqlite3.IOERR
