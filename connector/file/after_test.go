package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"penstock.dev/penstock"
)

func TestAfterWaitsUntilEverythingIsDone(t *testing.T) {
	for title, c := range map[string]struct {
		after After
		want  []string
	}{
		"move":   {After{Move: text0("done")}, []string{"done/a.jsonl=1\n2", "done/b.jsonl=", "in/c.txt=no"}},
		"delete": {After{Delete: true}, []string{"in/c.txt=no"}},
		"mark":   {After{Mark: ".done"}, []string{"in/a.jsonl.done=1\n2", "in/b.jsonl.done=", "in/c.txt=no"}},
	} {
		for _, keeps := range []bool{true, false} {
			t.Run(fmt.Sprint(title, ", keeping state ", keeps), func(t *testing.T) {
				w := watchFolder(t, "*.jsonl*")
				w.config.Watch = nil
				w.config.Format = penstock.Format{Codec: mustCodec(t)}
				w.config.After = &c.after
				if !c.after.Move.IsZero() {
					c.after.Move = text0(filepath.Join(w.dir, "done"))
				}
				w.put("in/a.jsonl", "1\n2\n")
				w.put("in/b.jsonl", "") // nothing has to be settled
				w.put("in/c.txt", "no")
				w.start(nil, func(e *penstock.Env) { e.Resumes = keeps; e.Ordered, e.Concurrency = false, 4 })
				w.run(false)
				w.settle(1)
				if _, err := os.Stat(filepath.Join(w.dir, "in/a.jsonl")); err != nil {
					t.Fatalf("it is gone before the second record was done: %v", err)
				}
				w.settle(2)
				w.wantTree(c.want...)
				if err := w.s.Close(context.Background()); err != nil {
					t.Error(err)
				}
				if over := w.forget(); !slices.Contains(over, w.read[0].pos.Stream) {
					t.Errorf("over: %q", over)
				}
			})
		}
	}
}

func TestMovedFilesNeverOverwrite(t *testing.T) {
	w := watchFolder(t, "**/*.jsonl.gz")
	w.config.Watch.Stable = 0
	w.config.After = &After{Move: text0(filepath.Join(w.dir, "done"))}
	w.put("done/x.jsonl.gz", "theirs")
	w.put("done/eu/x.jsonl.gz", "theirs, too")
	w.put("done/eu/x-2.jsonl.gz", "and this")
	deliver := func() {
		for _, name := range []string{"in/x.jsonl.gz", "in/eu/x.jsonl.gz"} {
			w.put(name, "")
		}
	}
	deliver()
	w.start(nil, nil)
	w.run(true, deliver, nothing)
	w.wantTree("done/eu/x-2.jsonl.gz=and this", "done/eu/x-3.jsonl.gz=", "done/eu/x-4.jsonl.gz=", "done/eu/x.jsonl.gz=theirs, too",
		"done/x-2.jsonl.gz=", "done/x-3.jsonl.gz=", "done/x.jsonl.gz=theirs")
	for n, want := range map[string]string{"a/x.csv.gz": "a/x-2.csv.gz", "x": "x-2", ".profile": ".profile-2", "a.b/x": "a.b/x-2", "x.tar.zst": "x-2.tar.zst"} {
		if got := numberedName(n, "", 2); got != want {
			t.Errorf("%s is numbered %s, want %s", n, got, want)
		}
	}
	if got := numberedName("x.csv.done", ".done", 3); got != "x-3.csv.done" {
		t.Errorf("with a mark: %s", got)
	}
}

// TestSameFileAgain delivers the same content under the same name again and again: each time it is read.
func TestSameFileAgain(t *testing.T) {
	for title, after := range map[string]After{"delete": {Delete: true}, "mark": {Mark: ".done"}} {
		t.Run(title, func(t *testing.T) {
			w := watchFolder(t, "*")
			w.config.Path = text0(filepath.Join(w.dir, "in", "*"))
			w.config.Format = penstock.Format{Codec: mustCodec(t)}
			w.config.Watch.Stable = 0
			w.config.After = &after
			info := func() { w.put("in/a.jsonl", "1\n") }
			w.start(nil, nil)
			w.run(true, info, info, info)
			w.want("1s a.jsonl:1 1", "2s a.jsonl:1 1", "3s a.jsonl:1 1")
			streams := map[string]bool{}
			for _, r := range w.read {
				streams[r.pos.Stream] = true
			}
			if len(streams) != 3 || len(w.forget()) != 3 || len(w.kept) != 0 {
				t.Errorf("streams %v, kept %v", streams, w.kept)
			}
		})
	}
}

func TestFileThatGrowsBeforeItIsMovedIsReadOn(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	w.config.After = &After{Move: text0(filepath.Join(w.dir, "done"))}
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(false)
	w.put("in/a.jsonl", "1\n2\n")
	w.settle(1)
	w.wantTree("in/a.jsonl=1\n2")
	w.run(true)
	w.want("0s a.jsonl:1 1", "0s a.jsonl:2 2")
	w.wantTree("done/a.jsonl=1\n2")
	// Where nothing is watched, it stays.
	w = watchFolder(t, "*.jsonl")
	w.config.Watch, w.config.After = nil, &After{Delete: true}
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(false)
	w.put("in/a.jsonl", "1\n2\n")
	w.settle(1)
	w.wantTree("in/a.jsonl=1\n2")
}

func TestMessagesThatDidNotEndWellKeepTheFile(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch, w.config.After = nil, &After{Delete: true}
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(false)
	if err := w.s.Settle(context.Background(), []penstock.Outcome{{Pos: w.read[0].pos, Err: errors.New("lost")}, {Pos: penstock.Position{Stream: "unknown", Next: 9}}}); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.wantTree("in/a.jsonl=1")
}

// brittleDisk counts operations and fails from one of them on, as if the process had ended there; and it may have no
// second names, or a border between folders.
type brittleDisk struct {
	osDisk
	left    int // operations until the end; negative: it never comes
	noLinks bool
	border  string // files can't be linked or renamed into this folder from without
}

var errEnd = errors.New("the process ended here")

func (d *brittleDisk) op() error {
	if d.left == 0 {
		return errEnd
	}
	d.left--
	return nil
}

func (d *brittleDisk) crosses(from, to string) bool {
	return d.border != "" && strings.HasPrefix(to, d.border) && !strings.HasPrefix(from, d.border)
}

func (d *brittleDisk) Link(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	_, err := os.Lstat(to)
	switch {
	case d.crosses(from, to):
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EXDEV}
	case err == nil:
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EEXIST}
	case d.noLinks:
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
	}
	return d.osDisk.Link(from, to)
}

func (d *brittleDisk) Rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	if d.crosses(from, to) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
	}
	return d.osDisk.Rename(from, to)
}

func (d *brittleDisk) Remove(name string) error {
	if err := d.op(); err != nil {
		return err
	}
	return d.osDisk.Remove(name)
}

func (d *brittleDisk) MakeAll(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	return d.osDisk.MakeAll(dir)
}

func (d *brittleDisk) SyncDir(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	return d.osDisk.SyncDir(dir)
}

// TestCrashWhileAFileIsPutAway ends the process at each operation: the next run must do what is left, and read nothing again.
func TestCrashWhileAFileIsPutAway(t *testing.T) {
	for title, c := range map[string]struct {
		after   After
		noLinks bool
		border  bool
		want    []string
	}{
		"move":                            {after: After{Move: text0("done")}, want: []string{"done/a.jsonl=1\n2"}},
		"move without second names":       {after: After{Move: text0("done")}, noLinks: true, want: []string{"done/a.jsonl=1\n2"}},
		"move to another file system":     {after: After{Move: text0("done")}, border: true, want: []string{"done/a.jsonl=1\n2"}},
		"move to one with neither":        {after: After{Move: text0("done")}, border: true, noLinks: true, want: []string{"done/a.jsonl=1\n2"}},
		"delete":                          {after: After{Delete: true}},
		"mark":                            {after: After{Mark: ".done"}, want: []string{"in/a.jsonl.done=1\n2"}},
		"mark without second names, also": {after: After{Mark: ".done"}, noLinks: true, want: []string{"in/a.jsonl.done=1\n2"}},
	} {
		t.Run(title, func(t *testing.T) {
			for left := 0; ; left++ {
				w := watchFolder(t, "*.jsonl")
				w.config.Watch.Stable = 0
				after := c.after
				if !after.Move.IsZero() {
					after.Move = text0(filepath.Join(w.dir, "done"))
				}
				w.config.After = &after
				w.put("in/a.jsonl", "1\n2\n")
				w.put("in/other", "")
				d := &brittleDisk{left: left, noLinks: c.noLinks}
				if c.border {
					d.border = filepath.Join(w.dir, "done")
				}
				w.start(func(s *source) { s.disk = d }, nil)
				w.run(true)
				ended := d.left == 0
				d.left = -1
				w.start(func(s *source) { s.disk = d }, nil)
				w.run(true, nothing)
				w.want("0s a.jsonl:1 1", "0s a.jsonl:2 2")
				var files []string
				for _, f := range treeOf(t, w.dir) {
					if name := filepath.Base(f); !strings.HasPrefix(name, ".") && f != "in/other=" { // a copy that was not completed is no file
						files = append(files, f)
					}
				}
				if !slices.Equal(files, c.want) {
					t.Errorf("ended after %d operations: %q, want %q", left, files, c.want)
				}
				if over := w.forget(); len(over) != 1 {
					t.Errorf("ended after %d operations: over %q", left, over)
				}
				if !ended {
					return
				}
			}
		})
	}
}

// TestCrashAtEveryPoint ends the process after each record, with all that was settled until then, and after each that was settled:
// what comes then, and what has come, is every record once, and every file is moved, once.
func TestCrashAtEveryPoint(t *testing.T) {
	const files, lines = 4, 5
	for read := range files*lines + 1 {
		for _, settled := range []int{read / 2, read} {
			if settled < 0 || settled > read {
				continue
			}
			w := watchFolder(t, "*.jsonl")
			w.config.Watch.Stable = 0
			w.config.After = &After{Move: text0(filepath.Join(w.dir, "done"))}
			var want, moved []string
			for f := range files {
				content := ""
				for l := range lines {
					content += fmt.Sprintf("%d\n", f*lines+l)
					want = append(want, fmt.Sprintf("%d.jsonl:%d %d", f, l+1, f*lines+l))
				}
				w.put(fmt.Sprintf("in/%d.jsonl", f), content)
				moved = append(moved, fmt.Sprintf("done/%d.jsonl=%s", f, strings.TrimSpace(content)))
			}
			w.start(nil, nil)
			for len(w.read) < read {
				var b penstock.Batch
				if err := w.s.Read(context.Background(), &b); err != nil {
					t.Fatal(err)
				}
				for i := range b.Msgs {
					w.read = append(w.read, recordOf(&b, i))
				}
			}
			w.settle(settled)
			done := textsOf(w.read[:settled])
			w.read, w.events = nil, nil
			w.start(nil, nil)
			w.run(true)
			if got := append(done, textsOf(w.read)...); !slices.Equal(got, want) {
				t.Errorf("%d read, %d settled: %q", read, settled, got)
			}
			w.wantTree(moved...)
			w.forget()
			if len(w.kept) > 0 {
				t.Errorf("%d read, %d settled: kept %v", read, settled, w.kept)
			}
		}
	}
}

func TestMoveToAnotherFileSystem(t *testing.T) {
	away, err := os.MkdirTemp("/dev/shm", "penstock")
	if err != nil {
		t.Skip("there is no second file system:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(away) })
	w := watchFolder(t, "*.jsonl")
	w.config.Watch.Stable = 0
	w.config.After = &After{Move: text0(away)}
	put(t, filepath.Join(away, "a.jsonl"), "theirs\n")
	w.put("in/a.jsonl", "1\n")
	info, err := os.Stat(filepath.Join(w.dir, "in/a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w.start(nil, nil)
	w.run(true)
	w.wantTree()
	if got := treeOf(t, away); !slices.Equal(got, []string{"a-2.jsonl=1", "a.jsonl=theirs"}) {
		t.Errorf("files %q", got)
	}
	// It was copied, and the process ended before it was removed.
	w.forget()
	w.put("in/b.jsonl", "2\n")
	w.run(false)
	copied := put(t, filepath.Join(away, "b.jsonl"), "2\n")
	b, err := os.Stat(filepath.Join(w.dir, "in/b.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(copied, b.ModTime(), b.ModTime()); err != nil {
		t.Fatal(err)
	}
	w.settle(2)
	w.wantTree()
	if got := treeOf(t, away); !slices.Equal(got, []string{"a-2.jsonl=1", "a.jsonl=theirs", "b.jsonl=2"}) {
		t.Errorf("files %q", got)
	}
	if moved, err := os.Stat(filepath.Join(away, "a-2.jsonl")); err != nil || !moved.ModTime().Equal(info.ModTime()) || moved.Mode() != info.Mode() {
		t.Errorf("%v, %v, want %v", moved, err, info)
	}
}

func TestFilesThatCannotBePutAwayAreTold(t *testing.T) {
	w := watchFolder(t, "*.jsonl")
	w.config.Watch, w.config.After = nil, &After{Move: text0(filepath.Join(w.dir, "in", "a.jsonl", "done"))}
	w.put("in/a.jsonl", "1\n")
	w.start(nil, nil)
	w.run(true)
	if err := w.s.Close(context.Background()); err == nil || !strings.Contains(err.Error(), "a.jsonl") {
		t.Errorf("Close: %v", err)
	}
	if over := w.s.Over(); len(over) > 0 {
		t.Errorf("over: %q", over)
	}
}

func TestAfterIsChecked(t *testing.T) {
	for _, a := range []After{{}, {Delete: true, Mark: ".x"}, {Mark: "a/b"}, {Mark: ".partial"}, {Move: text0("x"), Delete: true}} {
		if errs := (SourceConfig{After: &a}).Validate(); len(errs) != 1 {
			t.Errorf("%+v: %v", a, errs)
		}
	}
	if errs := (SourceConfig{Watch: &Watch{Every: -1}}).Validate(); len(errs) != 1 {
		t.Errorf("%v", errs)
	}
	if c := (SourceConfig{}); c.NeedsState() != "" || len(c.Validate()) > 0 {
		t.Error("a plain source needs state")
	}
	if c := (SourceConfig{Watch: &Watch{}}); c.NeedsState() == "" {
		t.Error("a watch needs no state")
	}
	dir := t.TempDir()
	for _, c := range []struct {
		path, move string
		bad        bool
	}{
		{"in/*.csv", "in", true}, {"in/*.csv", "in/done", false}, {"in/**/*.csv", "in/done", true}, {"in/**/*.csv", "done", false},
		{"in/**", "in/a/b", true}, {"in/*/x/**/*.csv", "in/done", false}, {"in/*/x/**/*.csv", "in/a/x/done", true}, {"in/x.csv", "in", true},
		{"in/*/*.csv", "in/done", false},
	} {
		s, err := newSource(registry(), SourceConfig{Path: text0(filepath.Join(dir, c.path)), AllowEmpty: true, Format: penstock.Format{Codec: mustCodec(t)},
			After: &After{Move: text0(filepath.Join(dir, c.move))}}, testEnv())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(context.Background()); (err != nil) != c.bad {
			t.Errorf("%s to %s: %v", c.path, c.move, err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}
