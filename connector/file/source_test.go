package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

func put(t testing.TB, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func openSource(t testing.TB, c SourceConfig, edit func(*source)) *source {
	t.Helper()
	s, err := newSource(registry(), c, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(s)
	}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// readAll gives each message as "file:line body", failed ones as "file:line !error".
func readAll(s *source) (out []string, err error) {
	for {
		var b penstock.Batch
		if err := s.Read(context.Background(), &b); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out, err
		}
		for i, m := range b.Msgs {
			var text string
			if err := b.Err(i); err != nil {
				text = "!" + err.Error()
			} else if err := m.Body.Parse(jsonview.Limits{}); err != nil {
				text = "!" + err.Error()
			} else {
				text = string(m.Body.AppendJSON(nil, 0))
			}
			out = append(out, fmt.Sprintf("%s:%d %s", filepath.Base(m.Meta.Get("file").Str()), m.Meta.Get("line").Int(), text))
		}
	}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.csv", "b.csv", "c.txt", ".hidden.csv", "x.csv.partial", "sub/d.csv", "sub/deep/e.csv", "sub/deep/f[1].csv", "other/g.csv"} {
		put(t, filepath.Join(dir, name), "")
	}
	for pattern, want := range map[string][]string{
		"a.csv":              {"a.csv"},
		"*.csv":              {"a.csv", "b.csv"},
		"[b-c].*":            {"b.csv", "c.txt"},
		"?.csv":              {"a.csv", "b.csv"},
		".h*":                {".hidden.csv"},
		"*":                  {"a.csv", "b.csv", "c.txt"},
		"*/*.csv":            {"other/g.csv", "sub/d.csv"},
		"s*/*/*.csv":         {"sub/deep/e.csv", "sub/deep/f[1].csv"},
		"**/*.csv":           {"a.csv", "b.csv", "other/g.csv", "sub/d.csv", "sub/deep/e.csv", "sub/deep/f[1].csv"},
		"sub/**":             {"sub/d.csv", "sub/deep/e.csv", "sub/deep/f[1].csv"},
		"**/deep/**/e.csv":   {"sub/deep/e.csv"},
		"sub/deep/f[1].csv":  {"sub/deep/f[1].csv"}, // the very name
		"sub/deep/f[[]1].c*": {"sub/deep/f[1].csv"},
	} {
		got, err := expand(filepath.Join(dir, pattern), "", nil)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for i := range got {
			if got[i], err = filepath.Rel(dir, got[i]); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	for pattern, want := range map[string]string{
		"missing.csv": "no such file", "*.xml": "no file matches", "sub": "this is a folder", "nowhere/*.csv": "no file matches", "[a.csv": "without ]",
	} {
		if _, err := expand(filepath.Join(dir, pattern), "", nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%s: error %v, want %q", pattern, err, want)
		}
	}
	t.Chdir(dir)
	if got, err := expand("*.csv", "", nil); err != nil || !slices.Equal(got, []string{"a.csv", "b.csv"}) {
		t.Errorf("in the folder itself: %q, %v", got, err)
	}
}

func TestReadsFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "2.csv"), "b\n2\n")
	put(t, filepath.Join(dir, "1.csv"), "\ufeffa,b\r\n1,\"x\ny\"\r\n\r\n3,z")
	put(t, filepath.Join(dir, "3.csv"), "")
	s := openSource(t, SourceConfig{Path: text0(filepath.Join(dir, "*.csv"))}, nil)
	got, err := readAll(s)
	want := []string{`1.csv:2 {"a":"1","b":"x\ny"}`, `1.csv:5 {"a":"3","b":"z"}`, `2.csv:2 {"b":"2"}`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestBadRecordsComeAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	long := "\"" + strings.Repeat("x", 300) + "\""
	name := put(t, filepath.Join(dir, "x.jsonl"), "{\"a\":1}\n{\"a\":\n}\n"+long+"\n{\"a\":2}\n")
	s := openSource(t, SourceConfig{Path: text0(name), MaxRecord: 100}, nil)
	var b penstock.Batch
	if err := s.Read(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Msgs) != 4 {
		t.Fatalf("%d messages, want 4", len(b.Msgs))
	}
	if err := b.Msgs[1].Body.Parse(jsonview.Limits{}); err == nil || string(b.Msgs[1].Body.Original()) != "{\"a\":\n}" {
		t.Errorf("a broken document: %v, %q", err, b.Msgs[1].Body.Original())
	}
	err := b.Err(2)
	if penstock.CodeOf(err) != penstock.TooLarge || !strings.Contains(err.Error(), "x.jsonl: line 4, byte 16") || !strings.Contains(err.Error(), "maxRecord") {
		t.Errorf("a long one: %v", err)
	}
	if got := string(b.Msgs[2].Body.Original()); got != long+"\n" || b.Msgs[2].Body.Format() != jsonview.Text {
		t.Errorf("a long one came as %v %.20q, %d bytes", b.Msgs[2].Body.Format(), got, len(got))
	}
	if conform.Text(t, b.Msgs[3].Body) != `{"a":2}` || b.Err(3) != nil || b.Msgs[3].Pos.Line != 5 {
		t.Error("the one after it is lost")
	}
}

func TestFormatsAndEncodings(t *testing.T) {
	dir := t.TempDir()
	latin, err := csv.New(csv.Config{Encoding: "windows-1252"}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	auto, err := csv.New(csv.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	array, err := json.New(json.Config{Array: true}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, content string
		codec         penstock.Codec
		compression   string
		want          []string
	}{
		{"a.log", "one\ntwo\n", nil, "", []string{`a.log:1 "one"`, `a.log:2 "two"`}},
		{"a.JSONL", "{}\n", nil, "", []string{`a.JSONL:1 {}`}},
		{"a.dat", "a\ncaf\xe9\n", latin, "", []string{`a.dat:2 {"a":"café"}`}},
		{"wide.csv", "\xff\xfea\x00\n\x00\xe9\x00\n\x00", auto, "", []string{`wide.csv:2 {"a":"é"}`}},
		{"array.json", "[{\"a\":1},\n{\"a\":2}]", array, "", []string{`array.json:1 {"a":1}`, `array.json:2 {"a":2}`}},
		{"plain.csv.gz", "a\n1\n", nil, "none", []string{`plain.csv.gz:2 {"a":"1"}`}},
	} {
		name := put(t, filepath.Join(dir, c.name), c.content)
		s := openSource(t, SourceConfig{Path: text0(name), Format: penstock.Format{Codec: c.codec}, Compression: c.compression}, nil)
		got, err := readAll(s)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	compress(t, filepath.Join(dir, "z.csv.zst"), "a\n1\n")
	s := openSource(t, SourceConfig{Path: text0(filepath.Join(dir, "z.csv.zst"))}, nil)
	if got, err := readAll(s); err != nil || !slices.Equal(got, []string{`z.csv.zst:2 {"a":"1"}`}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOpenFailures(t *testing.T) {
	dir := t.TempDir()
	for path, code := range map[string]penstock.Code{"missing.csv": penstock.NotFound, "*.csv": penstock.NotFound, ".": penstock.Config} {
		s, err := newSource(registry(), SourceConfig{Path: text0(filepath.Join(dir, path)), Format: penstock.Format{Codec: mustCodec(t)}}, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		if err = s.Open(context.Background()); penstock.CodeOf(err) != code || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", path, err)
		}
		s.config.AllowEmpty = true
		if err = s.Open(context.Background()); (err == nil) != (code == penstock.NotFound) {
			t.Errorf("%s, allowed to be empty: %v", path, err)
		}
		if code == penstock.NotFound {
			if err := s.Read(context.Background(), new(penstock.Batch)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v, want io.EOF", path, err)
			}
		}
	}
	if os.Getuid() != 0 { // to root everything is readable
		name := put(t, filepath.Join(dir, "secret.csv"), "a\n")
		if err := os.Chmod(name, 0); err != nil {
			t.Fatal(err)
		}
		s, err := newSource(registry(), SourceConfig{Path: text0(name)}, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(context.Background()); penstock.CodeOf(err) != penstock.Forbidden || !strings.Contains(err.Error(), "secret.csv") {
			t.Error(err)
		}
	}
}

func mustCodec(t testing.TB) penstock.Codec {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// many is a file of n lines of which each is 100 bytes long.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%8d,"x":"%078d"}`+"\n", i, i)
	}
	return b.String()
}

func TestFileChangesWhileItIsRead(t *testing.T) {
	const n = 3000
	for _, c := range []struct {
		name   string
		change func(t *testing.T, name string) error
		want   string // part of the error, after what could be read
		least  int
	}{
		{"it grows", func(t *testing.T, name string) error {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(many(10))
			return errors.Join(err, f.Close())
		}, "", n + 10},
		{"it is cut short", func(_ *testing.T, name string) error { return os.Truncate(name, 100_050) }, "cut short while it was read: it had 300000 bytes and has 100050", 1000},
		{"it is cut to less than was read", func(_ *testing.T, name string) error { return os.Truncate(name, 10) }, "cut short", 1},
		{"it is deleted", func(_ *testing.T, name string) error { return os.Remove(name) }, "", n}, // an open file lives on
	} {
		t.Run(c.name, func(t *testing.T) {
			name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), many(n))
			s := openSource(t, SourceConfig{Path: text0(name)}, nil)
			var b penstock.Batch
			if err := s.Read(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
			read := len(b.Msgs)
			if err := c.change(t, name); err != nil {
				t.Fatal(err)
			}
			rest, err := readAll(s)
			if read += len(rest); read < c.least {
				t.Errorf("%d messages, want at least %d", read, c.least)
			}
			if c.want == "" && (err != nil || read != c.least) {
				t.Errorf("%d messages, %v", read, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name+": byte ")) {
				t.Errorf("error %v, want %q with the file and the byte", err, c.want)
			}
		})
	}
	t.Run("the next one disappears", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "1.jsonl"), "1\n")
		second := put(t, filepath.Join(dir, "2.jsonl"), "2\n")
		s := openSource(t, SourceConfig{Path: text0(filepath.Join(dir, "*.jsonl"))}, nil)
		if err := os.Remove(second); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(s)
		if len(got) != 1 || penstock.CodeOf(err) != penstock.NotFound || !strings.Contains(err.Error(), second) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestTornCompressedFiles(t *testing.T) {
	for _, suffix := range []string{".gz", ".zst"} {
		dir := t.TempDir()
		name := filepath.Join(dir, "x.jsonl"+suffix)
		random := rand.New(rand.NewPCG(1, 2))
		var content strings.Builder
		for range 2000 {
			fmt.Fprintf(&content, "{\"n\":%d}\n", random.Int64())
		}
		compress(t, name, content.String())
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		put(t, name, string(whole[:len(whole)*3/4]))
		got, err := readAll(openSource(t, SourceConfig{Path: text0(name)}, nil))
		if err == nil || !strings.Contains(err.Error(), name+": byte ") || !strings.Contains(err.Error(), "too early") {
			t.Errorf("%s: %d messages, error %v", suffix, len(got), err)
		}
		put(t, name, "this is no compressed file, whatever its name says")
		if _, err := readAll(openSource(t, SourceConfig{Path: text0(name)}, nil)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", suffix, err)
		}
		put(t, name, "")
		if got, err := readAll(openSource(t, SourceConfig{Path: text0(name)}, nil)); err != nil || len(got) > 0 {
			t.Errorf("%s, empty: %q, %v", suffix, got, err)
		}
	}
}

func wide(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}

func TestRangesReadEverythingOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	random := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name string
		make func(i int) string
		head string
		csv  *csv.Config
	}{
		{"json lines", func(i int) string { return fmt.Sprintf("{\"n\":%d,\"x\":\"%s\"}\n", i, strings.Repeat("}\\n{", i%40)) }, "", nil},
		{"json in all layouts", func(i int) string {
			return []string{fmt.Sprintf("{\"n\":%d}", i), fmt.Sprintf("{\n \"n\":%d,\n \"y\": [\n{\"z\":1},\n{\"z\":2}\n]\n}\n", i), fmt.Sprintf("\n[%d]\n", i), fmt.Sprintf("%d\n", i)}[i%4]
		}, "", nil},
		{"csv by lines", func(i int) string { return fmt.Sprintf("%d,\"%s\"\n", i, strings.Repeat("x,", i%30)) }, "skipped\nn,x\n", &csv.Config{Multiline: new(bool), SkipRows: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := c.head
			for i := range 3000 {
				content += c.make(i)
			}
			name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), content)
			config := SourceConfig{Path: text0(name)}
			if c.csv != nil {
				codec, err := csv.New(*c.csv, penstock.CodecOptions{})
				if err != nil {
					t.Fatal(err)
				}
				config.Format.Codec = codec
			}
			body := func(all []string) []string {
				out := make([]string, len(all))
				for i, text := range all {
					_, out[i], _ = strings.Cut(text, " ")
				}
				slices.Sort(out)
				return out
			}
			serial, err := readAll(openSource(t, config, nil))
			if err != nil {
				t.Fatal(err)
			}
			want := body(serial)
			for range 20 {
				part := 100 + random.Int64N(int64(len(content)))
				lanes := 2 + random.IntN(7)
				got, err := readAll(openSource(t, config, func(s *source) {
					s.env.Ordered, s.env.Concurrency, s.part = false, lanes, part
				}))
				if err != nil || !slices.Equal(body(got), want) {
					t.Fatalf("%d lanes, parts of %d: %d messages, %v, want %d", lanes, part, len(got), err, len(want))
				}
			}
		})
	}
}

func TestRangesStopAndFail(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), many(20_000))
	parallel := func(s *source) { s.env.Ordered, s.env.Concurrency, s.part = false, 4, 10_000 }
	s := openSource(t, SourceConfig{Path: text0(name)}, parallel)
	ctx, cancel := context.WithCancel(context.Background())
	if err := s.Read(ctx, new(penstock.Batch)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Read(ctx, new(penstock.Batch)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := s.Close(context.Background()); err != nil { // with readers at work
		t.Error(err)
	}
	s = openSource(t, SourceConfig{Path: text0(name)}, parallel)
	if err := s.Read(context.Background(), new(penstock.Batch)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 500_000); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(s); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("%d messages, error %v", len(got), err)
	}
}

func TestReadAllocations(t *testing.T) {
	name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), many(60_000))
	s := openSource(t, SourceConfig{Path: text0(name)}, nil)
	var b penstock.Batch
	read := func() {
		b.Reset()
		if err := s.Read(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		if len(b.Msgs) < 100 {
			t.Fatalf("a batch of %d messages", len(b.Msgs))
		}
	}
	for range 3 {
		read()
	}
	if n := testing.AllocsPerRun(50, read); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func TestSourceConfigErrors(t *testing.T) {
	failing := penstock.Template{Source: "${params.x}", Constant: true, Program: program(func(*penstock.Frame) penstock.Value {
		return penstock.ErrorValue(errors.New("no such parameter"))
	})}
	for _, path := range []penstock.Template{failing, {Constant: true, Program: program(func(*penstock.Frame) penstock.Value { return penstock.Null })}, text0("")} {
		if _, err := newSource(registry(), SourceConfig{Path: path}, testEnv()); penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%v", err)
		}
	}
}
