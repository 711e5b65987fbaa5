package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
)

// varying is a path with the fields of the body in it: out/{day}.jsonl.
func varying(pattern string) penstock.Template {
	return penstock.Template{Source: "out/${body}", Program: program(func(f *penstock.Frame) penstock.Value {
		out := pattern
		for _, name := range []string{"day", "kind"} {
			v := field(name).Program.Eval(f)
			text, err := v.AppendText(nil)
			if err != nil && strings.Contains(out, "{"+name+"}") {
				return penstock.ErrorValue(err)
			}
			out = strings.ReplaceAll(out, "{"+name+"}", string(text))
		}
		return penstock.StringValue(out)
	})}
}

func openSink(t testing.TB, c SinkConfig, env penstock.Env) *sink {
	t.Helper()
	s, err := newSink(registry(), c, env, osFS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustWrite(t testing.TB, s *sink, bodies ...string) {
	t.Helper()
	if err := s.Write(context.Background(), conform.Batch(bodies...)); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, s *sink) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// tree gives the files below dir and what is in them, "name: content".
func tree(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		out = append(out, rel+": "+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func wantTree(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := tree(t, dir); !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
}

func TestReplaceAppearsWhenItIsComplete(t *testing.T) {
	dir := t.TempDir()
	name := put(t, filepath.Join(dir, "x.jsonl"), "old\n")
	put(t, name+partialSuffix, "of a run that was killed\n")
	s := openSink(t, SinkConfig{Path: text0(name)}, testEnv())
	mustWrite(t, s, `{"a":1}`)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, "x.jsonl.partial: {\"a\":1}\n", "x.jsonl: old\n")
	mustWrite(t, s, `{"a":2}`)
	mustClose(t, s)
	wantTree(t, dir, "x.jsonl: {\"a\":1}\n{\"a\":2}\n")

	// A run without messages replaces as well: the file is what this run has to say.
	mustClose(t, openSink(t, SinkConfig{Path: text0(name)}, testEnv()))
	wantTree(t, dir, "x.jsonl: ")
}

func TestAppendGoesOn(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		bodies              []string
	}{
		{"new/folder/x.jsonl", "", "{\"a\":1}\n", []string{`{"a":1}`}},
		{"x.jsonl", "{\"a\":1}\n", "{\"a\":1}\n{\"a\":2}\n", []string{`{"a":2}`}},
		{"end.jsonl", `{"a":1}`, "{\"a\":1}\n{\"a\":2}\n", []string{`{"a":2}`}},
		{"x.csv", "", "a,b\n1,2\n", []string{`{"a":1,"b":2}`}},
		{"head.csv", "b,a\n", "b,a\n2,1\n", []string{`{"a":1,"b":2}`}},
		{"more.csv", "b,a\n\"x\ny\",1\n", "b,a\n\"x\ny\",1\n2,1\n", []string{`{"a":1,"b":2}`}},
	} {
		dir := t.TempDir()
		name := filepath.Join(dir, c.name)
		if c.before != "" {
			put(t, name, c.before)
		}
		s := openSink(t, SinkConfig{Path: text0(name), Mode: "append"}, testEnv())
		mustWrite(t, s, c.bodies...)
		mustClose(t, s)
		wantTree(t, dir, c.name+": "+c.after)
	}
}

func TestAppendThatCantBe(t *testing.T) {
	dir := t.TempDir()
	array, err := json.New(json.Config{Array: true}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSink(registry(), SinkConfig{Path: text0("x.json"), Mode: "append", Format: penstock.Format{Codec: array}}, testEnv(), osFS{}); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("an array: %v", err)
	}
	wide, err := csv.New(csv.Config{Encoding: "utf-16"}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := csv.New(csv.Config{Columns: []string{"x"}}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		codec   penstock.Codec
		content string
		want    string
	}{{wide, "\xff\xfea\x00\n\x00", "not UTF-8"}, {fixed, "a,b\n1,2\n", "has the columns a, b"}} {
		name := put(t, filepath.Join(dir, "x.csv"), c.content)
		s, err := newSink(registry(), SinkConfig{Path: text0(name), Mode: "append", Format: penstock.Format{Codec: c.codec}}, testEnv(), osFS{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.csv") {
			t.Errorf("%q: %v, want %q", c.content, err, c.want)
		}
		wantTree(t, dir, "x.csv: "+c.content)
	}
}

func TestRotate(t *testing.T) {
	for _, mode := range []string{"replace", "append"} {
		for _, c := range []struct {
			rotate Rotate
			want   []string
		}{
			{Rotate{Records: 2}, []string{"x-000001.csv: a\n1\n2\n", "x-000002.csv: a\n3\n4\n", "x-000003.csv: a\n5\n"}},
			{Rotate{Size: 5}, []string{"x-000001.csv: a\n1\n2\n", "x-000002.csv: a\n3\n4\n", "x-000003.csv: a\n5\n"}},
		} {
			dir := t.TempDir()
			s := openSink(t, SinkConfig{Path: text0(filepath.Join(dir, "x.csv")), Mode: mode, Rotate: c.rotate}, testEnv())
			mustWrite(t, s, `{"a":1}`, `{"a":2}`, `{"a":3}`)
			mustWrite(t, s, `{"a":4}`, `{"a":5}`)
			mustClose(t, s)
			wantTree(t, dir, c.want...)

			// The next run goes on: with another file, or in the last one.
			s = openSink(t, SinkConfig{Path: text0(filepath.Join(dir, "x.csv")), Mode: mode, Rotate: c.rotate}, testEnv())
			mustWrite(t, s, `{"a":6}`)
			mustClose(t, s)
			if mode == "append" {
				c.want[2] += "6\n"
			} else {
				c.want = append(c.want, "x-000004.csv: a\n6\n")
			}
			wantTree(t, dir, c.want...)
		}
	}
}

// movedClock is moved by hand and fires its timers.
type movedClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movedClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.now
		return ch, func() {}
	}
	c.timers[ch] = c.now.Add(d)
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, ch)
	}
}

func (c *movedClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.timers {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.timers, ch)
		}
	}
}

func TestRotateByTimeAlsoWithoutMessages(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	clock := &movedClock{now: time.Unix(1000, 0), timers: map[chan time.Time]time.Time{}}
	env := testEnv()
	env.Clock = clock
	s := openSink(t, SinkConfig{Path: text0(filepath.Join(dir, "x.jsonl")), Rotate: Rotate{Interval: penstock.Duration(time.Minute)}}, env)
	mustWrite(t, s, `1`)
	clock.move(30 * time.Second)
	mustWrite(t, s, `2`)
	done := func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "x-000001.jsonl"))
		return err == nil && string(data) == "1\n2\n"
	}
	if done() {
		t.Error("the file is complete too early")
	}
	for deadline := time.Now().Add(10 * time.Second); !done() && time.Now().Before(deadline); {
		clock.move(time.Second) // until the sink has set its timer, and that has fired
	}
	if !done() {
		t.Errorf("the file is never completed: %q", tree(t, dir))
	}
	mustClose(t, s)
	wantTree(t, dir, "x-000001.jsonl: 1\n2\n")
}

func TestPathsOfMessages(t *testing.T) {
	for _, suffix := range []string{".csv", ".jsonl.gz"} {
		for _, mode := range []string{"replace", "append"} {
			dir := t.TempDir()
			s := openSink(t, SinkConfig{Path: varying(filepath.Join(dir, "{kind}", "{day}"+suffix)), Format: formatOf(t, suffix), Mode: mode, MaxOpen: 3}, testEnv())
			want := map[string][]string{}
			for round := range 5 {
				for day := range 8 { // more than may be open
					body := fmt.Sprintf(`{"day":%d,"kind":"k%d","n":"%d"}`, day, day%2, round)
					mustWrite(t, s, body)
					name := fmt.Sprintf("k%d/%d%s", day%2, day, suffix)
					want[name] = append(want[name], fmt.Sprint(round))
				}
				if round == 2 {
					if err := s.Flush(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
				if len(s.open) > 3 {
					t.Fatalf("%d files are open", len(s.open))
				}
			}
			mustClose(t, s)
			for name, rounds := range want {
				src := openSource(t, SourceConfig{Path: text0(filepath.Join(dir, name)), Format: formatOf(t, suffix)}, nil)
				got, err := readAll(src)
				if err != nil || len(got) != len(rounds) {
					t.Fatalf("%s %s: %q, %v", mode, name, got, err)
				}
				for i := range got {
					if !strings.Contains(got[i], `"n":"`+rounds[i]+`"`) {
						t.Errorf("%s: %s, want n %s", name, got[i], rounds[i])
					}
				}
			}
			if n := len(tree(t, dir)); n != len(want) {
				t.Errorf("%d files, want %d: no part may be left", n, len(want))
			}
		}
	}
}

func formatOf(t testing.TB, suffix string) penstock.Format {
	t.Helper()
	if suffix == ".csv" {
		c, err := csv.New(csv.Config{}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return penstock.Format{Codec: c}
	}
	return penstock.Format{Codec: mustCodec(t)}
}

func TestPathsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	s := openSink(t, SinkConfig{Path: varying(dir + "/{day}"), Format: formatOf(t, ".jsonl")}, testEnv())
	err := s.Write(context.Background(), conform.Batch(`{"day":"a/x"}`, `{"day":"../x"}`, `{"day":"b/../../x"}`, `{"day":"c\u0000"}`, `{"day":"d/"}`, `{}`, `{"day":null}`, `{"day":"file/x"}`, `{"day":"`+strings.Repeat("n", 400)+`"}`, `{"day":"e/x"}`))
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatal(err)
	}
	for i, want := range []string{"", "upwards", "upwards", "zero byte", "no file name", "absent", "null", "file", "name too long", ""} {
		if (each.Errs[i] == nil) != (want == "") || want != "" && !strings.Contains(each.Errs[i].Error(), want) {
			t.Errorf("message %d: %v, want %q", i, each.Errs[i], want)
		}
	}
	mustClose(t, s)
	wantTree(t, dir, "a/x: {\"day\":\"a/x\"}\n", "e/x: {\"day\":\"e/x\"}\n", "file: ")
}

// TestPathsOfMessagesBeginHere: where the whole path is what a message says, it stays below the folder that the program runs in.
func TestPathsOfMessagesBeginHere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	path := varying("{day}")
	path.Source = "${body.day}"
	s := openSink(t, SinkConfig{Path: path, Format: formatOf(t, ".jsonl")}, testEnv())
	outside := filepath.Join(t.TempDir(), "x")
	err := s.Write(context.Background(), conform.Batch(`{"day":"a/x"}`, `{"day":"`+outside+`"}`, `{"day":"//etc/x"}`, `{"day":"../x"}`, `{"day":"a/../../x"}`))
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatal(err)
	}
	for i, want := range []string{"", "begin at the root", "begin at the root", "upwards", "upwards"} {
		if (each.Errs[i] == nil) != (want == "") || want != "" && !strings.Contains(each.Errs[i].Error(), want) {
			t.Errorf("message %d: %v, want %q", i, each.Errs[i], want)
		}
	}
	mustClose(t, s)
	wantTree(t, dir, "a/x: {\"day\":\"a/x\"}\n")
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a message has written outside")
	}
}

func TestTwoSinksOfOneRunDontShareAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.jsonl")
	shared := map[string]any{}
	env := testEnv()
	env.Shared = func(key string, build func() (any, error)) (any, error) {
		if v, ok := shared[key]; ok {
			return v, nil
		}
		v, err := build()
		shared[key] = v
		return v, err
	}
	env.Name = "first"
	one := openSink(t, SinkConfig{Path: text0(name)}, env)
	env.Name = "second"
	two, err := newSink(registry(), SinkConfig{Path: text0(filepath.Dir(name) + "/./x.jsonl")}, env, osFS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Open(context.Background()); penstock.CodeOf(err) != penstock.Conflict || !strings.Contains(err.Error(), "first writes this file already") {
		t.Errorf("%v", err)
	}
	mustClose(t, one)
	if err := two.Open(context.Background()); err != nil {
		t.Errorf("after the first is closed: %v", err)
	}
	mustClose(t, two)
}

func TestSinkAllocations(t *testing.T) {
	s := openSink(t, SinkConfig{Path: text0(filepath.Join(t.TempDir(), "x.jsonl"))}, testEnv())
	bodies := make([]string, 128)
	for i := range bodies {
		bodies[i] = fmt.Sprintf(`{"n":%d,"text":"some text of a message"}`, i)
	}
	b := conform.Batch(bodies...)
	write := func() {
		if err := s.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		write()
	}
	if n := testing.AllocsPerRun(200, write); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
	mustClose(t, s)
}

// TestSinkOfARunThatKeepsState goes on with its file, since what it was given is not given again.
func TestSinkOfARunThatKeepsState(t *testing.T) {
	env := testEnv()
	env.Resumes = true
	fs := newMemFS()
	write := func(c SinkConfig, body string) error {
		s, err := newSink(registry(), c, env, fs)
		if err != nil {
			return err
		}
		ctx := context.Background()
		if err := s.Open(ctx); err != nil {
			return errors.Join(err, s.Close(ctx))
		}
		return errors.Join(s.Write(ctx, conform.Batch(body)), s.Flush(ctx), s.Close(ctx))
	}
	for _, body := range []string{"1", "2"} {
		if err := write(SinkConfig{Path: text0("x.jsonl")}, body); err != nil {
			t.Fatal(err)
		}
	}
	if got := fs.records(t, "x"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("%q", got)
	}
	for _, c := range []SinkConfig{{Mode: "replace"}, {Mode: "replace", Rotate: Rotate{Records: 5}}} {
		c.Path = text0("x.jsonl")
		if err := write(c, "3"); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "mode: append") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if got := fs.records(t, "x"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("after it was refused: %q", got)
	}
	array, err := json.New(json.Config{Array: true}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(SinkConfig{Path: text0("y.json"), Format: penstock.Format{Codec: array}}, "3"); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "keeps state") {
		t.Errorf("an array: %v", err)
	}
	env.Resumes = false
	if err := write(SinkConfig{Path: text0("x.jsonl")}, "3"); err != nil {
		t.Fatal(err)
	}
	if got := fs.records(t, "x"); !slices.Equal(got, []string{"3"}) {
		t.Errorf("a run that keeps no state: %q", got)
	}
}
