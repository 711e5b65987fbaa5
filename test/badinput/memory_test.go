package badinput_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control"
)

// heap watches the memory of a run: what is in use whenever its progress is told.
type heap struct {
	before, peak uint64
	samples      int
	seen         func(*control.Summary) // also called each time; may be nil
}

func watch() *heap {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &heap{before: m.HeapInuse}
}

func (h *heap) options(ro *control.RunOptions) {
	ro.Every = 10 * time.Millisecond
	ro.Progress = func(s *control.Summary) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		h.peak = max(h.peak, m.HeapInuse)
		h.samples++
		if h.seen != nil {
			h.seen(s)
		}
	}
}

// under holds that the run took less than most bytes more than there were before.
func (h *heap) under(t *testing.T, most uint64) {
	t.Helper()
	grown := max(h.peak, h.before) - h.before
	t.Logf("the heap grew by at most %d KiB, in %d samples", grown>>10, h.samples)
	if h.samples == 0 {
		t.Error("the run was over before anybody looked")
	}
	if grown > most {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, most)
	}
}

// repeated writes a gzip file of unit again and again, size bytes of it.
func repeated(t testing.TB, name, unit string, size int) (path string, times int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(z, 1<<20)
	for n := 0; n < size; n += len(unit) {
		if _, err := w.WriteString(unit); err != nil {
			t.Fatal(err)
		}
		times++
	}
	for _, close := range []func() error{w.Flush, z.Close, f.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	return path, times
}

// document is a document of about a KiB.
var document = `{"id":12345,"country":"DE","amount":12.5,"note":"` + strings.Repeat("lorem ipsum ", 80) + `"}` + "\n"

// TestManyMessagesInLittleMemory: 200,000 messages of a KiB, read, mapped and written, make 200 MB.
func TestManyMessagesInLittleMemory(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 50_000
	}
	src, n := repeated(t, "in.jsonl.gz", document, n*len(document))
	dst := filepath.Join(t.TempDir(), "out.jsonl")
	h := watch()
	o := runWith(t, flowOf(`
from: { file: { path: "${params.src}" } }
steps: [ { map: { id: "${body.id}", total: "${body.amount * 2.0}", note: "${body.note}" } } ]
to: { file: { path: "${params.dst}" } }`), options{src: src, dst: dst, more: h.options})
	if o.err != nil {
		t.Fatal(o.err)
	}
	o.accounts(t)
	if o.flow().Done != int64(n) {
		t.Errorf("%d messages, want %d", o.flow().Done, n)
	}
	if info, err := os.Stat(dst); err != nil || info.Size() < int64(n)*900 {
		t.Errorf("the output: %v, %v", info, err)
	}
	h.under(t, 64<<20)
}

// stalled is an output that nobody reads until it is opened.
type stalled struct {
	open chan struct{}
	n    int
}

func (w *stalled) Write(p []byte) (int, error) {
	<-w.open
	w.n += len(p)
	return len(p), nil
}

// TestStalledOutput: while nothing can be written the source stops reading. The output is opened when the count of
// what was read has stood still for a while.
func TestStalledOutput(t *testing.T) {
	const size = 100 << 20
	src, n := repeated(t, "in.jsonl.gz", document, size)
	for _, c := range []struct {
		name, budget string
		read         int64  // at most, before the output opens
		most         uint64 // bytes
	}{
		{"the default", "", 64 << 20 / 1024, 100 << 20}, // 64 MiB
		{"a small budget", "budget: { messages: 2000, bytes: 8Mi }\n", 3000, 24 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := &stalled{open: make(chan struct{})}
			open := sync.OnceFunc(func() { close(out.open) })
			h := watch()
			still, last, waiting := 0, int64(-1), int64(0)
			h.seen = func(s *control.Summary) {
				f := s.Flows[0]
				if still++; f.Read == 0 || f.Read != last {
					last, still = f.Read, 0
				}
				if still == 20 {
					waiting = f.Read
					if f.Unsettled != f.Read {
						t.Errorf("%d of %d are not settled, though nothing was written", f.Unsettled, f.Read)
					}
					open()
				}
			}
			o := runWith(t, readAndPrint("- filter: body.id > 0")+indent(c.budget), options{src: src, stdout: out, more: h.options})
			if o.err != nil || o.flow().Done != int64(n) || out.n != n*len(document) {
				t.Errorf("%v; %d of %d done, %d bytes written", o.err, o.flow().Done, n, out.n)
			}
			if waiting == 0 || waiting > c.read {
				t.Errorf("%d messages were read while nothing could be written, want at most %d", waiting, c.read)
			}
			h.under(t, c.most)
		})
	}
}

// TestSmallFilesOfLargeContent: files that are small and unpack to 100 MB, and one that is all hole. What is bad in
// them is refused in bounded memory.
func TestSmallFilesOfLargeContent(t *testing.T) {
	const size = 100 << 20
	limited := func(format string) string {
		return flowOf("from: { file: { path: \"${params.src}\", maxRecord: 64Ki, format: " + format + " } }\nsteps: [ { set: { meta.read: \"${body}\" } } ]\nto: { drop: {} }")
	}
	for _, c := range []struct {
		name, flow, file, unit string
		dead                   int    // 1: all of it is one bad record
		fails                  string // the run
	}{
		{"lines", limited("{ json: {} }"), "in.jsonl.gz", document, 0, ""},
		{"one line of zeros", limited("{ json: {} }"), "in.jsonl.gz", "\x00", 1, ""},
		{"brackets", limited("{ json: {} }"), "in.jsonl.gz", "[", 1, ""},
		{"one object", limited("{ json: {} }"), "in.jsonl.gz", `{"a":`, 1, ""},
		{"one string", limited("{ json: {} }"), "in.jsonl.gz", `"a\"\\`, 1, ""},
		{"one text", limited("{ text: {} }"), "in.txt.gz", "x", 1, ""},
		{"a header without end", limited("{ csv: {} }"), "in.csv.gz", "x,", 0, "a row of more than 65536 bytes"},
		{"a quote without end", limited("{ csv: { header: false } }"), "in.csv.gz", "\"\"", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			unit := strings.Repeat(c.unit, 1+(64<<10)/len(c.unit))
			if c.name == "one string" || c.name == "a quote without end" {
				unit = unit[1:] // else it would be closed
			}
			src, _ := repeated(t, c.file, unit, size)
			if info, err := os.Stat(src); err != nil || info.Size() > size/50 {
				t.Fatalf("the file is not small: %v, %v", info, err)
			}
			checkBounded(t, c.flow, src, c.dead, c.fails)
		})
	}
	t.Run("a hole", func(t *testing.T) {
		src := filepath.Join(t.TempDir(), "in.jsonl")
		put(t, src, "")
		if err := os.Truncate(src, 256<<20); err != nil {
			t.Skipf("a file with a hole can't be made here: %v", err)
		}
		checkBounded(t, limited("{ json: {} }"), src, 1, "")
	})
}

func checkBounded(t *testing.T, flow, src string, dead int, fails string) {
	h := watch()
	o := runWith(t, flow, options{src: src, more: h.options})
	if fails != "" {
		o.failsWith(t, penstock.TooLarge, fails, src+": line 1, byte 0")
	} else if o.err != nil {
		t.Fatal(o.err)
	}
	o.accounts(t)
	if len(o.dead) != dead {
		t.Errorf("%d dead letters, want %d", len(o.dead), dead)
	}
	for _, l := range o.dead {
		if d := l.Meta.Dead; d.Code != penstock.TooLarge || d.Path != fmt.Sprintf("%s: line 1, byte 0", src) || len(l.Body) > 1<<20 {
			t.Errorf("dead letter of %d bytes: %+v", len(l.Body), d)
		}
	}
	if h.samples == 0 {
		h.samples = 1 // a quick end is fine here
	}
	h.under(t, 32<<20)
}

var _ io.Writer = (*stalled)(nil)
