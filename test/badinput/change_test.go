package badinput_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
)

// interrupted is an output that does something at the first write. The flow waits for it, and with a small
// budget its source has then read a small part of its file only.
type interrupted struct {
	once sync.Once
	do   func() error
	err  error
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (w *interrupted) Write(p []byte) (int, error) {
	w.once.Do(func() { w.err = w.do() })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

const held = 30_000 // documents of a file, 100 bytes each

// wide is n documents of 100 bytes each, numbered from first.
func wide(first, n int) string {
	var b strings.Builder
	b.Grow(n * 100)
	for i := range n {
		fmt.Fprintf(&b, `{"v":%08d,"pad":"%s"}`+"\n", 10_000_000+first+i, strings.Repeat("x", 76))
	}
	return b.String()
}

// TestFileChangesWhileAFlowReadsIt: a flow that has read the beginning of a file waits for its output, which
// changes the file. What is there is read, each once; what is gone is a failure of the run with the place, and
// nothing after the last acknowledged message is settled. (How the connector by itself takes it, also by ranges, is
// tested there.)
func TestFileChangesWhileAFlowReadsIt(t *testing.T) {
	add := func(text string) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err := f.WriteString(text); err != nil {
				return err
			}
			return f.Close()
		}
	}
	for _, c := range []struct {
		name   string
		change func(path string) error
		read   int    // messages, where the run is well
		dead   int    // of them
		fails  string // else
	}{
		{"grows", add(wide(held, 500)), held + 500, 0, ""},
		{"grows by part of a record", add(`{"v":1`), held + 1, 1, ""},
		{"shrinks", func(path string) error { return os.Truncate(path, 1_000_050) }, 0, 0, "the file was cut short while it was read: it had 3000000 bytes and has 1000050"},
		{"shrinks to less than was read", func(path string) error { return os.Truncate(path, 150) }, 0, 0, "the file was cut short while it was read"},
		{"is emptied", func(path string) error { return os.Truncate(path, 0) }, 0, 0, "and has 0"},
		{"is deleted", os.Remove, held, 0, ""}, // an open file lives on
		{"is replaced", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("{\"v\":1}\n"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, held, 0, ""},
	} {
		for _, order := range []string{"total", "none"} {
			t.Run(c.name+"/"+order, func(t *testing.T) {
				src := filepath.Join(t.TempDir(), "in.jsonl")
				put(t, src, wide(0, held))
				out := &interrupted{do: func() error { return c.change(src) }}
				flow := readAndPrint("- filter: body.v > 0") + indent("order: "+order+"\nbudget: { messages: 1, bytes: 64Ki }")
				o := runWith(t, flow, options{src: src, stdout: out})
				if out.err != nil {
					t.Fatal(out.err)
				}
				got := rows(out.buf.String())
				seen := map[string]bool{}
				for i, row := range got {
					if order == "total" && !strings.HasPrefix(row, fmt.Sprintf(`{"v":%d,`, 10_000_000+i)) {
						t.Fatalf("row %d is %s", i, row)
					}
					seen[row] = true
				}
				if len(seen) != len(got) {
					t.Errorf("%d rows, but %d different ones", len(got), len(seen))
				}
				f := o.flow()
				if c.fails != "" {
					o.failsWith(t, penstock.Unavailable, src+": byte ", c.fails)
					if f.Unsettled < f.Read-f.Done || len(got) == 0 || len(got) >= held {
						t.Errorf("%d printed of %d, %d not settled", len(got), f.Read, f.Unsettled)
					}
					return
				}
				if o.err != nil || len(got) != c.read-c.dead || f.Read != int64(c.read) {
					t.Errorf("%d printed of %d, %v; want %d of %d", len(got), f.Read, o.err, c.read-c.dead, c.read)
				}
				o.accounts(t)
			})
		}
	}
}

// TestFilesThatAreGone when it is their turn, or were never there.
func TestFilesThatAreGone(t *testing.T) {
	flow := readAndPrint("- filter: body.v > 0") + indent("budget: { messages: 1, bytes: 64Ki }")
	t.Run("the second", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "1.jsonl"), wide(0, held))
		second := filepath.Join(dir, "2.jsonl")
		put(t, second, wide(held, 10))
		o := runWith(t, flow, options{src: filepath.Join(dir, "*.jsonl"), stdout: &interrupted{do: func() error { return os.Remove(second) }}})
		o.failsWith(t, penstock.NotFound, second, "no such file")
		if f := o.flow(); f.Read != held {
			t.Errorf("%d read, want all of the first file", f.Read)
		}
	})
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	makePipe(t, filepath.Join(dir, "pipe"))
	for _, c := range []struct {
		name, src string
		code      penstock.Code
		parts     []string
	}{
		{"never there", "none.jsonl", penstock.NotFound, []string{"no such file", "check the path"}},
		{"no match", "*.jsonl", penstock.NotFound, []string{"no file matches the pattern", "allowEmpty"}},
		{"a folder", "", penstock.Config, []string{"this is a folder", "/*"}},
		{"a pipe", "pipe", penstock.Config, []string{"this is no regular file", "the connector stdin reads pipes"}},
		{"below a file", "file/x.jsonl", penstock.Config, []string{"a part of the path before the last is a file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := filepath.Join(dir, c.src)
			if _, err := os.Lstat(src); err != nil && c.src == "pipe" {
				t.Skip("pipes with a name are made on Linux here")
			}
			flow := strings.Replace(flow, "\" } }", "\", format: { json: {} } } }", 1)
			o := runWith(t, flow, options{src: src})
			o.failsWith(t, c.code, append(c.parts, src, "flow.yaml:5:")...)
			if o.flow().Read != 0 {
				t.Error("something was read")
			}
		})
	}
}
