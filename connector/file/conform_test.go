package file

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

func registry() *penstock.Registry {
	r := penstock.NewRegistry()
	json.Register(r)
	csv.Register(r)
	text.Register(r)
	Register(r)
	return r
}

func testEnv() penstock.Env {
	clock := penstock.SystemClock{}
	return penstock.Env{Name: "test", Logger: slog.New(slog.DiscardHandler), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true}
}

// program is a Program of a function.
type program func(f *penstock.Frame) penstock.Value

func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// field is a template that is one field of the body.
func field(name string) penstock.Template {
	return penstock.Template{Source: "${body." + name + "}", Program: program(func(f *penstock.Frame) penstock.Value {
		d := f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return penstock.ErrorValue(err)
		}
		n := d.Field(0, name, nil)
		if n == jsonview.None {
			return penstock.Absent
		}
		return penstock.NodeValue(d, n)
	})}
}

func text0(s string) penstock.Template { return penstock.Template{Source: s, Constant: true} }

func compress(t testing.TB, name, content string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := compressionOf("", name).writer(f)
	if err != nil {
		t.Fatal(err)
	}
	if w == nil {
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
	} else {
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// sourceSpec is what the source is registered with.
func sourceSpec() penstock.Spec {
	d, _ := registry().Lookup(penstock.KindOfSource, "file")
	return d.Spec
}

// sourceHarness reads files of the given suffix: one, or many that a pattern finds, in parallel ranges if wanted.
func sourceHarness(suffix string, files int, parallel bool) conform.SourceHarness {
	return conform.SourceHarness{
		Fill: func(t testing.TB, bodies []string) func(testing.TB) penstock.Source {
			dir := t.TempDir()
			for i := range files {
				part := bodies[len(bodies)*i/files : len(bodies)*(i+1)/files]
				compress(t, filepath.Join(dir, fmt.Sprintf("f%03d%s", i, suffix)), strings.Join(part, "\n"))
			}
			path := filepath.Join(dir, "f000"+suffix)
			if files > 1 {
				path = filepath.Join(dir, "*"+suffix)
			}
			return func(t testing.TB) penstock.Source {
				env := testEnv()
				env.Resumes = !parallel
				if parallel {
					env.Ordered, env.Concurrency = false, 4
				}
				s, err := newSource(registry(), SourceConfig{Path: text0(path)}, env)
				if err != nil {
					t.Fatal(err)
				}
				s.part = 4 << 10
				return s
			}
		},
		Spec:     sourceSpec(),
		Features: conform.SourceFeatures{Finite: true, Ordered: !parallel, Resumes: !parallel},
	}
}

func TestConformSource(t *testing.T) {
	t.Run("one file", func(t *testing.T) { conform.Source(t, sourceHarness(".jsonl", 1, false)) })
	t.Run("many files", func(t *testing.T) { conform.Source(t, sourceHarness(".ndjson", 7, false)) })
	t.Run("gzip", func(t *testing.T) { conform.Source(t, sourceHarness(".jsonl.gz", 2, false)) })
	t.Run("zstd", func(t *testing.T) { conform.Source(t, sourceHarness(".json.zst", 2, false)) })
	t.Run("ranges", func(t *testing.T) { conform.Source(t, sourceHarness(".jsonl", 1, true)) })
	t.Run("many files, ranges", func(t *testing.T) { conform.Source(t, sourceHarness(".jsonl", 3, true)) })
}

func BenchmarkConformSource(b *testing.B) {
	b.Run("plain", func(b *testing.B) { conform.BenchmarkSource(b, sourceHarness(".jsonl", 1, false)) })
	b.Run("ranges", func(b *testing.B) { conform.BenchmarkSource(b, sourceHarness(".jsonl", 1, true)) })
	b.Run("gzip", func(b *testing.B) { conform.BenchmarkSource(b, sourceHarness(".jsonl.gz", 1, false)) })
	b.Run("zstd", func(b *testing.B) { conform.BenchmarkSource(b, sourceHarness(".jsonl.zst", 1, false)) })
}

// sinkHarness writes one file to a file system in memory.
func sinkHarness(mode, suffix string, rotate Rotate) conform.SinkHarness {
	return conform.SinkHarness{
		New: func(testing.TB) conform.SinkMedium {
			fs := newMemFS()
			m := conform.SinkMedium{
				Sink: func(t testing.TB) penstock.Sink {
					s, err := newSink(registry(), SinkConfig{Path: text0("out/x" + suffix), Mode: mode, Rotate: rotate}, testEnv(), fs)
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Written: func(t testing.TB) []string { return fs.records(t, "out/x") },
				Break:   func(testing.TB) { fs.fail(errNoSpace) },
			}
			m.Crash = func(testing.TB) { fs.crash() }
			return m
		},
		Features: conform.SinkFeatures{Continues: mode == "append"},
		Refused:  "{\n",
	}
}

func TestConformSink(t *testing.T) {
	for _, mode := range []string{"replace", "append"} {
		for _, suffix := range []string{".jsonl", ".jsonl.gz", ".jsonl.zst"} {
			t.Run(mode+suffix, func(t *testing.T) { conform.Sink(t, sinkHarness(mode, suffix, Rotate{})) })
			t.Run(mode+suffix+" rotated", func(t *testing.T) { conform.Sink(t, sinkHarness(mode, suffix, Rotate{Records: 130})) })
		}
	}
}

func diskSink(mode, suffix string) conform.SinkHarness {
	return conform.SinkHarness{New: func(t testing.TB) conform.SinkMedium {
		path := filepath.Join(t.TempDir(), "x"+suffix)
		return conform.SinkMedium{
			Sink: func(t testing.TB) penstock.Sink {
				s, err := newSink(registry(), SinkConfig{Path: text0(path), Mode: mode}, testEnv(), osFS{})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Written: func(t testing.TB) []string {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return recordsOf(t, path, data)
			},
		}
	}}
}

func TestConformSinkOnDisk(t *testing.T) {
	for _, mode := range []string{"replace", "append"} {
		t.Run(mode, func(t *testing.T) { conform.Sink(t, diskSink(mode, ".jsonl")) })
	}
}

func BenchmarkConformSink(b *testing.B) {
	for _, suffix := range []string{".jsonl", ".jsonl.gz", ".jsonl.zst"} {
		b.Run(suffix, func(b *testing.B) { conform.BenchmarkSink(b, diskSink("replace", suffix)) })
	}
}

// recordsOf gives the whole records in the content of a file, which must not be torn in any other way than at its end.
func recordsOf(t testing.TB, name string, data []byte) (out []string) {
	t.Helper()
	r, err := compressionOf("", strings.TrimSuffix(name, partialSuffix)).reader(strings.NewReader(string(data)))
	if err != nil {
		return nil // not even a header
	}
	var buf [4096]byte
	var all []byte
	for err == nil {
		var n int
		n, err = r.Read(buf[:])
		all = append(all, buf[:n]...)
	}
	lines := strings.SplitAfter(string(all), "\n")
	for i, line := range lines {
		if !strings.HasSuffix(line, "\n") {
			if i < len(lines)-1 {
				t.Fatalf("%s: a torn line in the middle", name)
			}
			break
		}
		if !jsonview.Valid([]byte(line)) {
			t.Fatalf("%s: line %d is torn: %q", name, i+1, line)
		}
		out = append(out, strings.TrimSuffix(line, "\n"))
	}
	return out
}

func TestConformCaller(t *testing.T) {
	csvRows := "code,name,n\nDE,Germany,7\nFR,\"France, la belle\",8\n7,seven,\n"
	for name, c := range map[string]struct {
		content, column string
		replies         map[string]string
	}{
		"x.csv":      {csvRows, "code", map[string]string{`"DE"`: `{"code":"DE","name":"Germany","n":"7"}`, `"FR"`: `{"code":"FR","name":"France, la belle","n":"8"}`, `7`: `{"code":"7","name":"seven","n":""}`}},
		"x.json":     {`[{"code":"DE","n":1},{"code":7,"n":2}]`, "code", map[string]string{`"DE"`: `{"code":"DE","n":1}`, `7`: `{"code":7,"n":2}`, `"7"`: `{"code":7,"n":2}`}},
		"x.jsonl.gz": {"{\"k\":\"a\"}\n{\"k\":\"b\"}\n", "k", map[string]string{`"a"`: `{"k":"a"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			conform.Caller(t, conform.CallerHarness{
				New: func(t testing.TB) penstock.Caller {
					path := filepath.Join(t.TempDir(), name)
					compress(t, path, c.content)
					l, err := newLookup(registry(), LookupConfig{Path: text0(path), Column: c.column, Value: field("q")}, testEnv())
					if err != nil {
						t.Fatal(err)
					}
					return l
				},
				Replies: c.replies,
				Misses:  []string{`"XX"`, `""`, "null", "8.5", "true"},
				Fails:   `{"a":1}`,
			})
		})
	}
}
