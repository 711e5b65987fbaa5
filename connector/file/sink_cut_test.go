package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

// cutDisk is a file system in memory whose power is cut at a chosen operation. What it holds afterwards is any mixture of
// what was synced and what was not, in pages: as with real disks, later pages may be there and earlier ones not.
type cutDisk struct {
	left    int // operations until the cut; negative: never
	names   map[string]*inode
	durable map[string]*inode // what the folders hold for certain
}

type inode struct{ data, synced []byte }

var errPower = errors.New("the power is cut")

func newCutDisk() *cutDisk {
	return &cutDisk{left: -1, names: map[string]*inode{}, durable: map[string]*inode{}}
}

// op counts one operation.
func (d *cutDisk) op() error {
	if d.left == 0 {
		return errPower
	}
	d.left--
	return nil
}

func (d *cutDisk) OpenFile(name string, flag int) (file, int64, error) {
	if err := d.op(); err != nil {
		return nil, 0, err
	}
	n := d.names[name]
	if n == nil {
		if flag&os.O_CREATE == 0 {
			return nil, 0, os.ErrNotExist
		}
		n = new(inode)
		d.names[name] = n
	}
	if flag&os.O_TRUNC != 0 {
		n.data = nil
	}
	return &cutFile{d, n}, int64(len(n.data)), nil
}

func (d *cutDisk) Rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *cutDisk) Prepare(string) error { return d.op() }

func (d *cutDisk) List(dir string) (names []string, err error) {
	for name := range d.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, d.op()
}

func (d *cutDisk) SyncDir(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	maps.DeleteFunc(d.durable, func(name string, _ *inode) bool { return filepath.Dir(name) == dir })
	for name, n := range d.names {
		if filepath.Dir(name) == dir {
			d.durable[name] = n
		}
	}
	return nil
}

type cutFile struct {
	d *cutDisk
	n *inode
}

func (f *cutFile) Write(p []byte) (int, error) {
	if err := f.d.op(); err != nil {
		return 0, err
	}
	f.n.data = append(f.n.data[:len(f.n.data):len(f.n.data)], p...)
	return len(p), nil
}

func (f *cutFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.n.data).ReadAt(p, off)
}

func (f *cutFile) Truncate(size int64) error {
	if err := f.d.op(); err != nil {
		return err
	}
	f.n.data = slices.Clone(f.n.data[:size])
	return nil
}

func (f *cutFile) Sync() error {
	if err := f.d.op(); err != nil {
		return err
	}
	f.n.synced = f.n.data
	return nil
}

func (f *cutFile) Close() error { return nil }

// restart gives what is there when the power comes back.
func (d *cutDisk) restart(random *rand.Rand) *cutDisk {
	next := newCutDisk()
	names := d.durable
	if random.IntN(2) == 0 {
		names = d.names // the journal got that far
	}
	for name, n := range names {
		data := n.survives(random)
		next.names[name] = &inode{data, data}
		next.durable[name] = next.names[name]
	}
	return next
}

// survives mixes the pages that were synced with those that were not.
func (n *inode) survives(random *rand.Rand) []byte {
	if bytes.Equal(n.data, n.synced) {
		return n.data
	}
	length := len(n.synced)
	if more := len(n.data) - length; more != 0 && random.IntN(4) > 0 {
		length = len(n.data)
		if more > 0 {
			length -= random.IntN(more)
		}
	}
	out := make([]byte, length)
	for at := 0; at < length; at += pageSize {
		page := n.synced
		if random.IntN(2) == 0 {
			page = n.data
		}
		if at < len(page) {
			copy(out[at:min(at+pageSize, length)], page[at:])
		}
	}
	return out
}

// cutRun writes records until the power is cut, or up to the end, and says how many are acknowledged.
func cutRun(t testing.TB, d *cutDisk, path string, edit func(*SinkConfig, *penstock.Env), from, to int) (acknowledged int, err error) {
	t.Helper()
	ctx := context.Background()
	s := newFaultSink(t, d, path, edit)
	acknowledged = from
	if err = s.Open(ctx); err == nil {
		for n := from; n < to && err == nil; n += 150 {
			next := min(n+150, to)
			if err = s.Write(ctx, numberedBatch(n, next)); err == nil && n/150%2 == 0 {
				if err = s.Flush(ctx); err == nil {
					acknowledged = next
				}
			}
		}
	}
	if cerr := s.Close(ctx); err == nil {
		if err = cerr; err == nil {
			acknowledged = to
		}
	}
	var each *penstock.BatchError
	if err != nil && !errors.Is(err, errPower) && !errors.As(err, &each) {
		t.Fatal(err)
	}
	return acknowledged, err
}

// content is a file as readers see it.
func (d *cutDisk) content(t testing.TB, name string) []byte {
	t.Helper()
	n := d.names[name]
	if n == nil {
		return nil
	}
	r, err := compressionOf("", name).reader(bytes.NewReader(n.data))
	if err != nil {
		t.Fatal(name, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(name, err)
	}
	return data
}

// TestSinkPowerCut cuts the power at every operation (every third where it compresses) of a run that appends, and then again at some operation of the next ones: what was
// acknowledged is there, whole and in order, once a run came to its end.
func TestSinkPowerCut(t *testing.T) {
	for _, c := range []struct {
		path    string
		records int64
	}{{"o.jsonl", 0}, {"o.csv", 0}, {"o.jsonl.gz", 0}, {"o.jsonl.zst", 0}, {"r.jsonl", 200}, {"r.csv.zst", 200}} {
		t.Run(fmt.Sprint(c.path, " ", c.records), func(t *testing.T) {
			edit := func(k *SinkConfig, _ *penstock.Env) { k.Mode, k.Rotate.Records = "append", c.records }
			step := 1
			if compressionOf("", c.path) != plain {
				step = 3 // compressing takes its time
			}
			for first := 1; ; first += step {
				random := rand.New(rand.NewPCG(uint64(first), 8))
				d := newCutDisk()
				d.left = first
				acknowledged, err := cutRun(t, d, c.path, edit, 0, 1000)
				whole := err == nil
				for range 3 {
					d = d.restart(random)
					d.left = random.IntN(25)
					acknowledged, _ = cutRun(t, d, c.path, edit, acknowledged, acknowledged+300)
				}
				d = d.restart(random)
				end, err := cutRun(t, d, c.path, edit, acknowledged, acknowledged+10)
				if err != nil {
					t.Fatal(err)
				}
				var got []int
				codec := newFaultSink(t, d, c.path, edit).codec
				for _, name := range slices.Sorted(maps.Keys(d.names)) {
					if !strings.HasSuffix(name, tornSuffix) {
						got = append(got, parseNumbers(t, codec, name, d.content(t, name))...)
					}
				}
				checkOrder(t, got, end)
				if whole {
					if first < 10 {
						t.Errorf("a run has only %d operations", first)
					}
					return
				}
			}
		})
	}
}

// TestSinkPowerCutReplace cuts the power at every operation of a run that replaces: the name has the old file or the whole
// new one, and what was acknowledged is in the part, as long as there is no whole.
func TestSinkPowerCutReplace(t *testing.T) {
	for _, path := range []string{"o.jsonl", "o.csv", "o.jsonl.gz"} {
		t.Run(path, func(t *testing.T) {
			step := 1
			if compressionOf("", path) != plain {
				step = 3
			}
			for cut := 1; ; cut += step {
				random := rand.New(rand.NewPCG(uint64(cut), 9))
				d := newCutDisk()
				if _, err := cutRun(t, d, path, nil, 0, 10); err != nil {
					t.Fatal(err)
				}
				d.left = cut
				acknowledged, err := cutRun(t, d, path, nil, 0, 1000)
				ended := err == nil
				d = d.restart(random)
				codec := newFaultSink(t, d, path, nil).codec
				got := parseNumbers(t, codec, path, d.content(t, path))
				checkOrder(t, got, len(got))
				switch len(got) {
				case 1000:
				case 10:
					if ended {
						t.Fatal("the run ended, and the old file is there")
					}
					if acknowledged == 0 {
						break
					}
					part := d.names[path+partialSuffix]
					if part == nil {
						t.Fatalf("cut at %d: %d records were acknowledged and are nowhere", cut, acknowledged)
					}
					// The end may be torn: only what comes before is looked at.
					r, err := compressionOf("", path).reader(bytes.NewReader(part.data))
					if err != nil {
						t.Fatal(err)
					}
					data, _ := io.ReadAll(r)
					if _, records, _, err := frameAll(codec.NewFramer(path), bytes.NewReader(data)); err == nil && records < int64(acknowledged) {
						t.Fatalf("cut at %d: %d records were acknowledged, %d are there", cut, acknowledged, records)
					}
				default:
					t.Fatalf("cut at %d: the file has %d records", cut, len(got))
				}
				if ended {
					return
				}
				// The next run begins anew.
				if _, err := cutRun(t, d, path, nil, 0, 20); err != nil {
					t.Fatal(err)
				}
				if got := parseNumbers(t, codec, path, d.content(t, path)); len(got) != 20 {
					t.Fatalf("cut at %d: the next run left %d records", cut, len(got))
				}
			}
		})
	}
}
