package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/jsonview"
)

// record is a message as these tests see it.
type record struct {
	text string // "file:line body", or the error
	pos  penstock.Position
}

func recordOf(b *penstock.Batch, i int) record {
	m := b.Msgs[i]
	var body string
	if err := b.Err(i); err != nil {
		body = "!" + string(penstock.CodeOf(err)) + " " + string(m.Body.Original())
	} else if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		body = "!" + string(m.Body.Original())
	} else {
		body = string(m.Body.AppendJSON(nil, 0))
	}
	return record{fmt.Sprintf("%s:%d %s", filepath.Base(m.Meta.Get("file").Str()), m.Meta.Get("line").Int(), body), m.Pos}
}

// keeping makes a source of a run that keeps state, which goes on at positions.
func keeping(t testing.TB, c SourceConfig, edit func(*source), from ...penstock.Position) *source {
	t.Helper()
	env := testEnv()
	env.Resumes = true
	s, err := newSource(registry(), c, env)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(s)
	}
	if err := errors.Join(s.Resume(context.Background(), from), s.Open(context.Background())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// drain reads up to n records, or to the end if n is negative.
func drain(t testing.TB, s *source, n int) (out []record) {
	t.Helper()
	for n < 0 || len(out) < n {
		var b penstock.Batch
		err := s.Read(context.Background(), &b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Msgs {
			out = append(out, recordOf(&b, i))
		}
	}
	return out
}

func textsOf(all []record) []string {
	out := make([]string, 0, len(all))
	for _, r := range all {
		out = append(out, r.text)
	}
	return out
}

func codecOf(t testing.TB, c penstock.Codec, err error) penstock.Codec {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// contents are files of all kinds whose reading can be stopped after each record.
func contents(t testing.TB) map[string]struct {
	name, content string
	codec         penstock.Codec
} {
	none := penstock.CodecOptions{}
	comment, err := csv.New(csv.Config{Comment: "#"}, none)
	codecOf(t, comment, err)
	latin, err := csv.New(csv.Config{Encoding: "windows-1252"}, none)
	codecOf(t, latin, err)
	array, err := json.New(json.Config{Array: true}, none)
	codecOf(t, array, err)
	semicolon, err := text.New(text.Config{Delimiter: ";", KeepEnds: true}, none)
	codecOf(t, semicolon, err)
	whole, err := text.New(text.Config{Whole: true}, none)
	codecOf(t, whole, err)
	rows := "# a comment\na,b\n1,\"x\ny\"\n2,é\n\n3,z\n"
	docs := "{\"a\":1}\n\n{\n \"a\": [\n{\"b\":2}\n]}\n{\"a\":3}{\"a\":4}  5 6\n\"seven\"\n[8]\n\n"
	type file = struct {
		name, content string
		codec         penstock.Codec
	}
	all := map[string]file{
		"csv":                   {"x.csv", rows, comment},
		"csv without an end":    {"x.csv", strings.TrimSuffix(rows, "\n"), comment},
		"csv, gzip":             {"x.csv.gz", rows, comment},
		"csv, zstd":             {"x.csv.zst", rows, comment},
		"csv, UTF-16":           {"x.csv", "\xff\xfe" + wide(rows), comment},
		"csv, BOM":              {"x.csv", "\ufeffa,b\r\n1,2\r\n3,4\r\n", nil},
		"csv, windows-1252":     {"x.csv", "a\ncaf\xe9\nna\xefve\nx\n", latin},
		"csv, open quote":       {"x.csv", "a,b\n1,2\n3,\"open\n5,6\n7,\"also\n9,10\n\"11\",12\n", nil},
		"csv, header only":      {"x.csv", "a,b\n", nil},
		"json in all layouts":   {"x.jsonl", docs, nil},
		"json, gzip":            {"x.jsonl.gz", docs, nil},
		"json with garbage":     {"x.jsonl", "{\"a\":1}\n}}{\n{\"a\":2}\n{\"a\":\n{\"a\":3}\n", nil},
		"json array":            {"x.json", "[{\"a\":1},\n{\"a\":2} , 3,\n\n{\"a\":4}]\n", array},
		"json array, garbage":   {"x.json", "[{\"a\":1},\n{\"a\":2}} , 3,,\n\n{\"a\":4}]\n", array},
		"json array, zstd":      {"x.json.zst", "[{\"a\":1},\n{\"a\":2}]", array},
		"text":                  {"x.log", "one\ntwo\r\n\nthree", nil},
		"text with a delimiter": {"x.log", "one;two;\n;three", semicolon},
		"text, whole":           {"x.log", "one\ntwo\n", whole},
		"nothing":               {"x.jsonl", "", nil},
	}
	return all
}

// TestResumeAfterEachRecord goes on after each record, of formats with a head and in all disguises: in the file as it is, and
// where all but its content has changed.
func TestResumeAfterEachRecord(t *testing.T) {
	for title, c := range contents(t) {
		t.Run(title, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), c.name)
			compress(t, name, c.content)
			config := SourceConfig{Path: text0(name), Format: penstock.Format{Codec: c.codec}, MaxRecord: 1000}
			all := drain(t, keeping(t, config, nil), -1)
			for _, touched := range []bool{false, true} {
				if touched {
					if err := os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
						t.Fatal(err)
					}
				}
				for i, r := range all {
					if got := drain(t, keeping(t, config, nil, r.pos), -1); !slices.Equal(textsOf(got), textsOf(all[i+1:])) {
						t.Errorf("touched %v, after record %d: %q, want %q", touched, i+1, textsOf(got), textsOf(all[i+1:]))
					} else if len(got) > 0 && (got[0].pos.Stream != r.pos.Stream || got[len(got)-1].pos.Offset != all[len(all)-1].pos.Offset) {
						t.Errorf("touched %v, after record %d: another stream %+v", touched, i+1, got[0].pos)
					}
				}
			}
		})
	}
}

// TestResumeAcrossBatches is stopped after records of a long file with a fault at its beginning.
func TestResumeAcrossBatches(t *testing.T) {
	for _, head := range []string{"", "{\"a\":\n}}\n"} {
		name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), head+many(9000))
		config := SourceConfig{Path: text0(name)}
		all := drain(t, keeping(t, config, nil), -1)
		for _, k := range []int{1, 255, 256, 257, 2600, 2622, 8999, len(all) - 1} {
			for _, touched := range []int64{0, int64(k)} {
				if touched > 0 {
					if err := os.Chtimes(name, time.Unix(touched, 0), time.Unix(touched, 0)); err != nil {
						t.Fatal(err)
					}
				}
				if got := drain(t, keeping(t, config, nil, all[k].pos), -1); !slices.Equal(textsOf(got), textsOf(all[k+1:])) {
					t.Errorf("after %d of %d: %d records", k+1, len(all), len(got))
				}
			}
		}
	}
}

// TestResumeInAFileThatChanged says what becomes of a position in a file that is no longer as it was.
func TestResumeInAFileThatChanged(t *testing.T) {
	const lines3 = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"
	rewrite := func(content string) func(testing.TB, string) {
		return func(t testing.TB, name string) { put(t, name, content) }
	}
	replace := func(content string) func(testing.TB, string) {
		return func(t testing.TB, name string) {
			put(t, name+".new", content)
			if err := os.Chtimes(name+".new", time.Unix(2e9, 0), time.Unix(2e9, 0)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(name+".new", name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		title, name, before string
		change              func(testing.TB, string)
		after               int // records that were read before
		want                []string
		same                bool // the stream
	}{
		{"it grew", "x.jsonl", lines3, rewrite(lines3 + "{\"a\":4}\n"), 3, []string{`x.jsonl:4 {"a":4}`}, true},
		{"it grew, and more was to be read", "x.jsonl", lines3, rewrite(lines3 + "{\"a\":4}\n"), 2, []string{`x.jsonl:3 {"a":3}`, `x.jsonl:4 {"a":4}`}, true},
		{"it grew behind a line without an end", "x.jsonl", strings.TrimSpace(lines3), rewrite(lines3 + "{\"a\":4}\n"), 3, []string{`x.jsonl:4 {"a":4}`}, true},
		{"it grew behind an object without a line end", "x.jsonl", strings.TrimSpace(lines3), rewrite(strings.TrimSpace(lines3) + "{\"a\":4}\n"), 3, []string{`x.jsonl:3 {"a":4}`}, true},
		{"it was touched", "x.jsonl", lines3, rewrite(lines3), 3, nil, true},
		{"its last record was being written", "x.log", "one\ntw", rewrite("one\ntwo\n"), 2, []string{`x.log:1 "one"`, `x.log:2 "two"`}, false},
		{"its last number was being written", "x.jsonl", "1\n12", rewrite("1\n123\n"), 2, []string{`x.jsonl:1 1`, `x.jsonl:2 123`}, false},
		{"its last row was being written", "x.csv", "a,b\n1,2\n3,4", rewrite("a,b\n1,2\n3,45\n"), 2, []string{`x.csv:2 {"a":"1","b":"2"}`, `x.csv:3 {"a":"3","b":"45"}`}, false},
		{"its beginning was written over", "x.jsonl", lines3, rewrite("{\"a\":9}\n{\"a\":2}\n{\"a\":3}\n"), 3, []string{`x.jsonl:1 {"a":9}`, `x.jsonl:2 {"a":2}`, `x.jsonl:3 {"a":3}`}, false},
		{"it was made shorter", "x.jsonl", lines3, rewrite("{\"a\":1}\n"), 3, []string{`x.jsonl:1 {"a":1}`}, false},
		{"it was emptied", "x.jsonl", lines3, rewrite(""), 3, nil, false},
		{"another of its name is there, with the same content", "x.jsonl", "1\n", replace("1\n"), 1, []string{`x.jsonl:1 1`}, false},
		{"another of its name is there, that goes on", "x.jsonl", "1\n", replace("1\n2\n"), 1, []string{`x.jsonl:1 1`, `x.jsonl:2 2`}, false},
		{"behind the position another goes on", "x.jsonl", lines3, rewrite("{\"a\":1}\n{\"b\":2}\n"), 1, []string{`x.jsonl:2 {"b":2}`}, true},
	} {
		t.Run(c.title, func(t *testing.T) {
			name := put(t, filepath.Join(t.TempDir(), c.name), c.before)
			if err := os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
			config := SourceConfig{Path: text0(name)}
			read := drain(t, keeping(t, config, nil), -1)
			c.change(t, name)
			pos := read[c.after-1].pos
			s := keeping(t, config, nil, pos)
			got := drain(t, s, -1)
			if !slices.Equal(textsOf(got), c.want) {
				t.Errorf("%q, want %q", textsOf(got), c.want)
			}
			for _, r := range got {
				if (r.pos.Stream == pos.Stream) != c.same {
					t.Errorf("stream %s, and %s before", r.pos.Stream, pos.Stream)
				}
			}
			if over := s.Over(); slices.Contains(over, pos.Stream) == c.same {
				t.Errorf("over: %q", over)
			}
		})
	}
}

// TestRestoredFileGoesOn takes a file from a backup: another inode, the same time and content.
func TestRestoredFileGoesOn(t *testing.T) {
	name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), "1\n2\n3\n")
	config := SourceConfig{Path: text0(name)}
	read := drain(t, keeping(t, config, nil), -1)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, name+".new", "1\n2\n3\n")
	if err := errors.Join(os.Chtimes(name+".new", info.ModTime(), info.ModTime()), os.Rename(name+".new", name)); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, keeping(t, config, nil, read[0].pos), -1); !slices.Equal(textsOf(got), []string{"x.jsonl:2 2", "x.jsonl:3 3"}) {
		t.Errorf("%q", textsOf(got))
	}
}

func TestFilesThatAreGoneAreOver(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, n := range []string{"1", "2", "3"} {
		names = append(names, put(t, filepath.Join(dir, "in", n+".jsonl"), n+"\n"))
	}
	config := SourceConfig{Path: text0(filepath.Join(dir, "in", "*.jsonl")), AllowEmpty: true}
	read := drain(t, keeping(t, config, nil), -1)
	var kept []penstock.Position
	for _, r := range read {
		kept = append(kept, r.pos)
	}
	remove := func(name string) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	remove(names[1])
	kept = append(kept, penstock.Position{Stream: "generate", Offset: 1, Next: 2}) // of the source that was here before
	s := keeping(t, config, nil, kept...)
	if got := drain(t, s, -1); len(got) > 0 {
		t.Errorf("read again: %q", textsOf(got))
	}
	over := s.Over()
	slices.Sort(over)
	if want := []string{read[1].pos.Stream, "generate"}; !slices.Equal(over, want) {
		t.Errorf("over %q, want %q", over, want)
	}
	if again := s.Over(); len(again) > 0 {
		t.Errorf("told twice: %q", again)
	}
	// Another pattern finds nothing, but the files are there.
	elsewhere := config
	elsewhere.Path = text0(filepath.Join(dir, "in", "*.csv"))
	elsewhere.Format = penstock.Format{Codec: mustCodec(t)}
	if over := keeping(t, elsewhere, nil, kept[:3]...).Over(); !slices.Equal(over, []string{read[1].pos.Stream}) {
		t.Errorf("with another pattern: over %q", over)
	}
	// An empty folder may be one that is not mounted.
	remove(names[0])
	remove(names[2])
	if over := keeping(t, config, nil, kept[:3]...).Over(); len(over) > 0 {
		t.Errorf("over in an empty folder: %q", over)
	}
	remove(filepath.Join(dir, "in"))
	if over := keeping(t, config, nil, kept[:3]...).Over(); len(over) > 0 {
		t.Errorf("over where there is no folder: %q", over)
	}
}

// TestTagsTakeNoMemory makes sure that the checksums cost no allocations.
func TestTagsTakeNoMemory(t *testing.T) {
	name := put(t, filepath.Join(t.TempDir(), "x.jsonl"), many(60_000))
	s := keeping(t, SourceConfig{Path: text0(name)}, nil)
	var b penstock.Batch
	read := func() {
		b.Reset()
		if err := s.Read(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		read()
	}
	if n := testing.AllocsPerRun(50, read); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func FuzzResume(f *testing.F) {
	for _, c := range contents(f) {
		f.Add(c.content, uint8(0), uint8(1))
		f.Add(c.content, uint8(1), uint8(2))
		f.Add(c.content, uint8(2), uint8(0))
	}
	f.Fuzz(func(t *testing.T, content string, format, stop uint8) {
		suffix := []string{".jsonl", ".csv", ".log", ".csv.gz"}[format%4]
		name := filepath.Join(t.TempDir(), "x"+suffix)
		compress(t, name, content)
		config := SourceConfig{Path: text0(name), MaxRecord: 50}
		read := func(from ...penstock.Position) (out []record, failed string) {
			s := keeping(t, config, nil, from...)
			for {
				var b penstock.Batch
				if err := s.Read(context.Background(), &b); err != nil {
					return out, err.Error()
				}
				for i := range b.Msgs {
					out = append(out, recordOf(&b, i))
				}
			}
		}
		all, failed := read()
		if len(all) == 0 {
			return
		}
		if stop%2 == 1 { // so that the content is compared
			if err := os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		k := int(stop/2) % len(all)
		rest, again := read(all[k].pos)
		if !slices.Equal(rest, clearTags(rest, all[k+1:])) || failed != again {
			t.Fatalf("after record %d of %q: %v (%s), want %v (%s)", k+1, content, rest, again, all[k+1:], failed)
		}
	})
}

// clearTags is want with the tags of got, which depend on the file's times.
func clearTags(got, want []record) []record {
	out := slices.Clone(want)
	for i := range min(len(got), len(out)) {
		out[i].pos.Tag = got[i].pos.Tag
	}
	return out
}

func FuzzNameOf(f *testing.F) {
	f.Add("in/x.csv@1f00c3d2")
	f.Add("in/x@y.csv@1f00c3d2.17")
	f.Add("generate")
	f.Add("x@1f00c3d2.1")
	f.Fuzz(func(t *testing.T, stream string) {
		name, ok := nameOf(stream)
		if ok && (!strings.HasPrefix(stream, name+"@") || len(stream) < len(name)+9) {
			t.Errorf("%q is of %q", stream, name)
		}
		for n := 1; n < 3; n++ {
			if back, ok := nameOf(streamOf(stream, stamp{1, 2, 3}, n)); !ok || back != stream {
				t.Errorf("%q came back as %q, %v", stream, back, ok)
			}
		}
	})
}
