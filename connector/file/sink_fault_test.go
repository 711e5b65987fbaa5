package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/jsonview"
)

// faults is a file system with a limited disk.
type faults struct {
	fsys
	room     *int64 // bytes that can still be written; nil: as many as there are
	syncFail error  // what every fsync says from now on
	opens    []error
}

type faultyFile struct {
	file
	f *faults
}

func (f *faults) OpenFile(name string, flag int) (file, int64, error) {
	if len(f.opens) > 0 {
		err := f.opens[0]
		f.opens = f.opens[1:]
		if err != nil {
			return nil, 0, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
	g, size, err := f.fsys.OpenFile(name, flag)
	if err != nil {
		return nil, 0, err
	}
	return &faultyFile{g, f}, size, nil
}

func (g *faultyFile) Write(p []byte) (int, error) {
	if g.f.room == nil || int64(len(p)) <= *g.f.room {
		if g.f.room != nil {
			*g.f.room -= int64(len(p))
		}
		return g.file.Write(p)
	}
	n, err := g.file.Write(p[:*g.f.room])
	*g.f.room = 0
	if err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}

func (g *faultyFile) Sync() error {
	if g.f.syncFail != nil {
		return g.f.syncFail
	}
	return g.file.Sync()
}

// newFaultSink makes a sink; edit changes its configuration.
func newFaultSink(t testing.TB, fs fsys, path string, edit func(*SinkConfig, *penstock.Env)) *sink {
	t.Helper()
	r := penstock.NewRegistry()
	json.Register(r)
	csv.Register(r)
	c := SinkConfig{Path: penstock.Template{Source: path}}
	env := penstock.Env{Clock: penstock.SystemClock{}, Logger: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&c, &env)
	}
	s, err := newSink(r, c, env, fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func appending(c *SinkConfig, _ *penstock.Env) { c.Mode = "append" }

// numberedBatch has the records from to to-1, of different lengths, some with line ends in their text.
func numberedBatch(from, to int) *penstock.Batch {
	b := new(penstock.Batch)
	for i := from; i < to; i++ {
		text := fmt.Sprintf(`{"n":%d,"text":"%s\n\"%d\""}`, i, strings.Repeat("x", i%97), i)
		b.Append().Body.Reset(jsonview.JSON, b.Arena().Copy([]byte(text)))
	}
	return b
}

// readNumbers gives the numbers of the records in a file, and fails if there is anything in it but whole records.
func readNumbers(t testing.TB, codec penstock.Codec, path string) []int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := compressionOf("", path).reader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return parseNumbers(t, codec, path, data)
}

func parseNumbers(t testing.TB, codec penstock.Codec, path string, data []byte) (out []int) {
	t.Helper()
	framer := codec.NewFramer(path)
	var d jsonview.Doc
	for rest := data; ; {
		n, record, err := framer.Frame(rest, true)
		if err != nil {
			t.Fatalf("%s: after %v: %v: %.200q", path, out[max(0, len(out)-3):], err, rest)
		}
		if n == 0 {
			return out
		}
		if record != nil {
			framer.Bind(&d, record)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				t.Fatalf("%s: %v: %.200q", path, err, record)
			}
			text := d.Field(0, "text", nil)
			var i int
			if _, err := fmt.Sscan(string(bytes.Trim(d.Raw(d.Field(0, "n", nil)), `"`)), &i); err != nil {
				t.Fatalf("%s: %v: %.200q", path, err, record)
			}
			if want := fmt.Sprintf("%s\n\"%d\"", strings.Repeat("x", i%97), i); d.Str(text, nil) != want {
				t.Fatalf("%s: a torn record: %.200q", path, record)
			}
			out = append(out, i)
		}
		rest = rest[n:]
	}
}

// checkOrder: numbers begin at 0 and grow one by one; a run that was broken off may be gone on with further back, but at
// acknowledged at least everything is there.
func checkOrder(t testing.TB, got []int, acknowledged int) {
	t.Helper()
	next := 0
	for i, n := range got {
		if n > next {
			t.Fatalf("record %d is number %d, but %d never came", i, n, next)
		}
		next = max(next, n+1)
		if i > 0 && n != got[i-1]+1 && n > got[i-1] {
			t.Fatalf("number %d comes after %d", n, got[i-1])
		}
	}
	if next < acknowledged {
		t.Fatalf("%d records were acknowledged, only %d are there", acknowledged, next)
	}
}

// TestSinkDiskFull fills the disk at every few bytes: the sink must say so, stay at its end, and leave nothing but whole
// records; the next one goes on.
func TestSinkDiskFull(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{"o.jsonl", "o.csv", "o.jsonl.gz", "o.jsonl.zst"} {
		for room := int64(0); room < 3000; room += 79 {
			disk, left := newCutDisk(), room
			s := newFaultSink(t, &faults{fsys: disk, room: &left}, name, appending)
			if err := s.Open(ctx); err != nil {
				t.Fatal(err)
			}
			done, acknowledged := 0, 0
			var failed error
			for failed == nil {
				if failed = s.Write(ctx, numberedBatch(done, done+7)); failed == nil {
					done += 7
					if failed = s.Flush(ctx); failed == nil {
						acknowledged = done
					}
				}
				if done > 10000 {
					t.Fatal("the disk never got full")
				}
			}
			if !errors.Is(failed, syscall.ENOSPC) || penstock.CodeOf(failed) != penstock.Unavailable || !strings.Contains(failed.Error(), "make room") || !strings.Contains(failed.Error(), name) {
				t.Fatalf("the error is %v", failed)
			}
			left = 1 << 30
			if s.Write(ctx, numberedBatch(done, done+1)) == nil || s.Flush(ctx) == nil {
				t.Fatal("the sink goes on after a failed write")
			}
			if err := s.Close(ctx); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Close: %v", err)
			}
			codec := s.codec
			s = newFaultSink(t, disk, name, appending)
			if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(acknowledged, acknowledged+3)), s.Close(ctx)); err != nil {
				t.Fatal(err)
			}
			got := parseNumbers(t, codec, name, disk.content(t, name))
			checkOrder(t, got, acknowledged+3)
			if len(got) != acknowledged+3 {
				t.Errorf("%s, %d bytes: %d records, %d were acknowledged and 3 came later", name, room, len(got), acknowledged)
			}
			if disk.names[name+tornSuffix] != nil {
				t.Errorf("%s, %d bytes: something torn was left", name, room)
			}
		}
	}
}

// TestSinkDiskFullReplace: the name keeps what it had.
func TestSinkDiskFullReplace(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "o.jsonl")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	left := int64(1000)
	s := newFaultSink(t, &faults{fsys: noSync{}, room: &left}, path, nil)
	if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 100))); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(ctx); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := s.Close(ctx); err == nil {
		t.Error("Close says that all is well")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "before\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSinkSyncFails: after an fsync that failed nobody knows what is on disk, so that the sink never says again that anything is.
func TestSinkSyncFails(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []string{"replace", "append"} {
		path := filepath.Join(t.TempDir(), "o.jsonl")
		fs := &faults{fsys: noSync{}}
		s := newFaultSink(t, fs, path, func(c *SinkConfig, _ *penstock.Env) { c.Mode = mode })
		if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 5)), s.Flush(ctx), s.Write(ctx, numberedBatch(5, 9))); err != nil {
			t.Fatal(err)
		}
		fs.syncFail = syscall.EIO
		if err := s.Flush(ctx); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		fs.syncFail = nil // as Linux has it: the next fsync says that all is well
		if err := s.Flush(ctx); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: the second Flush: %v", mode, err)
		}
		if err := s.Write(ctx, numberedBatch(9, 10)); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Write: %v", mode, err)
		}
		if err := s.Close(ctx); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: Close: %v", mode, err)
		}
		if mode == "replace" {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Error("a file in doubt got its name")
			}
			checkOrder(t, readNumbers(t, s.codec, path+partialSuffix), 5)
		} else {
			checkOrder(t, readNumbers(t, s.codec, path), 5)
		}
	}
}

// TestSinkDenied: what can't be written to is told when the flow starts, with what to do.
func TestSinkDenied(t *testing.T) {
	dir := t.TempDir()
	regular := filepath.Join(dir, "regular")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, path, want string }{
		{"below a file", filepath.Join(regular, "o.jsonl"), "not a directory"},
		{"a folder", dir, "folder"},
		{"a device", os.DevNull, "regular file"},
		{"a folder that can't be written", filepath.Join(locked, "o.jsonl"), "permission denied"},
	}
	for _, mode := range []string{"replace", "append"} {
		for _, c := range cases {
			t.Run(mode+" "+c.name, func(t *testing.T) {
				if c.want == "permission denied" && os.Geteuid() == 0 {
					t.Skip("root may write everywhere; the cases beside this one can't be written by root either")
				}
				s := newFaultSink(t, osFS{}, c.path, func(k *SinkConfig, _ *penstock.Env) { k.Mode = mode })
				err := s.Open(context.Background())
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
					t.Errorf("the error is %v", err)
				}
				var e *penstock.Error
				if !errors.As(err, &e) || e.Code.Transient() || e.Hint == "" {
					t.Errorf("code or hint: %#v", e)
				}
				if err := s.Close(context.Background()); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatal("the device was replaced")
	}
}

// TestSinkTransientOpen: where the file for one message can't be opened for now, those of the same key behind it
// fail too, and all others are written.
func TestSinkTransientOpen(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	t.Chdir(dir)
	fs := &faults{fsys: noSync{}, opens: []error{nil, syscall.EMFILE}}
	s := newFaultSink(t, fs, "", func(c *SinkConfig, _ *penstock.Env) {
		c.Path = penstock.Template{Source: "${body.f}", Program: lookupValue{"f", new(jsonview.Hint)}}
	})
	b := new(penstock.Batch)
	for i, name := range []string{"a", "b", "a", "c", "b"} {
		m := b.Append()
		m.Key = []string{"x", "y", "x", "y", "z"}[i]
		m.Body.Reset(jsonview.JSON, []byte(fmt.Sprintf(`{"f":%q,"n":%d}`, name, i)))
	}
	err := errors.Join(s.Open(ctx), s.Write(ctx, b))
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 2 || each.Errs[1] == nil || each.Errs[3] == nil {
		t.Fatalf("%v", err)
	}
	again := &penstock.Batch{Msgs: []*penstock.Message{b.Msgs[1], b.Msgs[3]}}
	if err := errors.Join(s.Write(ctx, again), s.Flush(ctx), s.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "02", "b": "41", "c": "3"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, line := range bytes.Fields(text) {
			got = append(got, line[len(line)-2])
		}
		if string(got) != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
}

// TestSinkSecondWriter: two writers of one file would destroy it.
func TestSinkSecondWriter(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "o.jsonl")
	for _, mode := range []func(*SinkConfig, *penstock.Env){nil, appending} {
		first, second := newFaultSink(t, osFS{}, path, mode), newFaultSink(t, osFS{}, path, mode)
		if err := first.Open(ctx); err != nil {
			t.Fatal(err)
		}
		if err := second.Open(ctx); !errors.Is(err, errLocked) {
			t.Errorf("%v", err)
		}
		if err := errors.Join(second.Close(ctx), first.Write(ctx, numberedBatch(0, 3)), first.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		if got := readNumbers(t, first.codec, path); len(got) != 3 {
			t.Errorf("%v", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakeUpAnything tears and spoils files in every way that comes by chance: taking one up never panics, and what
// is written then can be read.
func TestTakeUpAnything(t *testing.T) {
	ctx := context.Background()
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"o.jsonl", "o.csv", "o.jsonl.gz", "o.jsonl.zst"} {
		disk := newCutDisk()
		s := newFaultSink(t, disk, name, appending)
		err := s.Open(ctx)
		for i := 0; i < 60; i += 10 {
			err = errors.Join(err, s.Write(ctx, numberedBatch(i, i+10)), s.Flush(ctx))
		}
		if err := errors.Join(err, s.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		whole := disk.names[name].data
		for range 150 {
			// Up to cut everything is as it was written; then there may be a hole, or nothing.
			cut := random.IntN(len(whole) + 1)
			data := bytes.Clone(whole[:cut])
			if random.IntN(2) == 0 {
				data = append(data, make([]byte, pageSize-cut%pageSize)...)
				if random.IntN(2) == 0 {
					data = append(data, whole[cut:]...)
				}
			}
			disk.names[name] = &inode{data: data}
			s := newFaultSink(t, disk, name, appending)
			if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(0, 2)), s.Close(ctx)); err != nil {
				t.Fatalf("%s cut at %d: %v", name, cut, err)
			}
			got := parseNumbers(t, s.codec, name, disk.content(t, name))
			if n := len(got) - 2; n < 0 || got[n] != 0 || got[n+1] != 1 {
				t.Fatalf("%s cut at %d: the new records are not at the end of %v", name, cut, got)
			}
			for i, n := range got[:len(got)-2] {
				if n != i {
					t.Fatalf("%s cut at %d: %v", name, cut, got)
				}
			}
			if cut == len(whole) && len(got) != 62 {
				t.Fatalf("%s: %d of 60 records were kept of a whole file", name, len(got)-2)
			}
		}
	}
}

// FuzzWholePart: however a compressed file is spoiled, finding its whole part ends, and that part can be read.
func FuzzWholePart(f *testing.F) {
	for _, c := range []compression{gzipped, zstandrd} {
		var b bytes.Buffer
		for range 2 {
			w, err := c.writer(&b)
			if err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write([]byte("some text\n")); err != nil {
				f.Fatal(err)
			}
			if err := w.Close(); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes(), c == gzipped)
		f.Add(b.Bytes()[:b.Len()-3], c == gzipped)
	}
	f.Fuzz(func(t *testing.T, data []byte, gz bool) {
		c := zstandrd
		if gz {
			c = gzipped
		}
		whole, err := c.wholePart(bytes.NewReader(data), int64(len(data)))
		if err != nil || whole < 0 || whole > int64(len(data)) {
			t.Fatal(whole, err)
		}
		if whole == 0 {
			return
		}
		r, err := c.reader(bytes.NewReader(data[:whole]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkSinkWrite writes records of 150 bytes in batches of 256, and syncs nothing.
func BenchmarkSinkWrite(b *testing.B) {
	ctx := context.Background()
	batch := new(penstock.Batch)
	body := []byte(`{"n":1234567,"text":"` + strings.Repeat("x", 127) + `"}`)
	for range 256 {
		batch.Append().Body.Reset(jsonview.JSON, body)
	}
	s := newFaultSink(b, noSync{}, filepath.Join(b.TempDir(), "o.jsonl"), nil)
	if err := s.Open(ctx); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%256 != 0 { // b.Loop counts records
			continue
		}
		if err := s.Write(ctx, batch); err != nil {
			b.Fatal(err)
		}
		if n%(256*4096) == 0 { // don't fill the disk
			if err := s.outputs[s.last.given].f.Truncate(0); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// noSync is the file system without fsync.
type noSync struct{ osFS }

type unsynced struct{ file }

func (unsynced) Sync() error { return nil }

func (f noSync) OpenFile(name string, flag int) (file, int64, error) {
	g, size, err := f.osFS.OpenFile(name, flag)
	return unsynced{g}, size, err
}
