package badinput_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

// copyFlow copies src to dst.
func copyFlow(mode string) string {
	return flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { filter: body.v > 0 } ]\nto: { file: { path: \"${params.dst}\", mode: " + mode + " } }")
}

// refuseAll dead-letters every message.
var refuseAll = flowOf("from: { file: { path: \"${params.src}\" } }\nsteps: [ { fail: { code: unprocessable, message: refused } } ]")

// TestFullDisk: the run ends by itself with an error that says what to do; what it leaves is whole, and once there is
// room the next run writes everything.
func TestFullDisk(t *testing.T) {
	for _, mode := range []string{"replace", "append"} {
		for _, name := range []string{"out.jsonl", "out.jsonl.gz"} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				disk, resize := smallDisk(t, "64k", false)
				src, dst := filepath.Join(t.TempDir(), "in.jsonl"), filepath.Join(disk, name)
				in := unlike(20_000)
				put(t, src, in)
				o := runWith(t, copyFlow(mode), options{src: src, dst: dst})
				o.failsWith(t, penstock.Unavailable, dst, "no space left on device", "the disk is full: make room, then start again")
				if f := o.flow(); f.Unsettled == 0 {
					t.Errorf("all %d messages are settled, but they can't be on disk", f.Read)
				}
				if _, err := os.Stat(dst); mode == "replace" && err == nil {
					t.Error("a file that is not complete has the name of one that is")
				}
				resize("64m")
				o = runWith(t, copyFlow(mode), options{src: src, dst: dst})
				if o.err != nil {
					t.Fatal(o.err)
				}
				o.accounts(t)
				// What was durable before the disk was full may be there twice with append.
				got := runWith(t, readAndPrint("- filter: body.v > 0"), options{src: dst})
				if len(got.dead) > 0 || !strings.HasSuffix(lined(got.out), in) || mode == "replace" && lined(got.out) != in {
					t.Errorf("%d rows that are whole and %d that are not; there were %d", len(got.out), len(got.dead), len(rows(in)))
				}
			})
		}
	}
}

// TestFullDiskOfDeadLetters: a message that can't even be dead-lettered ends the run and is not settled.
func TestFullDiskOfDeadLetters(t *testing.T) {
	disk, resize := smallDisk(t, "64k", false)
	src := filepath.Join(t.TempDir(), "in.jsonl")
	put(t, src, wide(0, 1000))
	o := runWith(t, refuseAll, options{src: src, dead: disk})
	path := filepath.Join(disk, "bad.dead.jsonl")
	o.failsWith(t, penstock.Unavailable, "dead letter of bad", path, "no space left on device", "another folder")
	before := len(o.dead)
	if f := o.flow(); before == 0 || f.Unsettled != f.Read || f.Dead != int64(before) {
		t.Errorf("%d dead letters; the summary is %d read, %d dead, %d not settled", before, f.Read, f.Dead, f.Unsettled)
	}
	resize("16m")
	o = runWith(t, refuseAll, options{src: src, dead: disk})
	if o.err != nil || len(o.dead) != before+1000 {
		t.Errorf("%d dead letters, %v", len(o.dead), o.err)
	}
}

// TestFullOutput: what can't be printed is dead-lettered, with the reason.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no device here that is always full")
	}
	defer full.Close()
	src := filepath.Join(t.TempDir(), "in.jsonl")
	put(t, src, wide(0, 3))
	o := runWith(t, readAndPrint("- filter: body.v > 0"), options{src: src, stdout: full})
	var dead []want
	for i := range 3 {
		dead = append(dead, want{line: i + 1, offset: 100 * i, code: penstock.Unavailable, step: "to", message: "the output can't be written: write /dev/full: no space left on device"})
	}
	o.holds(t, nil, dead)
}

// TestPlacesThatCantBeWritten: a fixed path is refused before anything is read, one that varies fails its message,
// a dead letter ends the run.
func TestPlacesThatCantBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	put(t, file, "")
	src := filepath.Join(dir, "in.jsonl")
	put(t, src, wide(0, 2))
	for _, c := range []struct {
		name  string
		dir   func(t *testing.T) string
		code  penstock.Code
		parts []string
	}{
		{"read-only", func(t *testing.T) string {
			dir, _ := smallDisk(t, "64k", true)
			return dir
		}, penstock.Forbidden, []string{"read-only file system", "the file system can only be read; write somewhere else"}},
		{"below a file", func(*testing.T) string { return file }, penstock.Config, []string{"not a directory", "a part of the path before the last is a file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := c.dir(t)
			t.Run("output", func(t *testing.T) {
				dst := filepath.Join(place, "out.jsonl")
				o := runWith(t, copyFlow("replace"), options{src: src, dst: dst})
				o.failsWith(t, c.code, append(c.parts, dst, "flow.yaml:7:")...)
				if o.flow().Read != 0 {
					t.Error("something was read")
				}
			})
			t.Run("output that varies", func(t *testing.T) {
				flow := strings.Replace(copyFlow("replace"), "${params.dst}", "${params.dst}/${body.v}.jsonl", 1)
				o := runWith(t, flow, options{src: src, dst: place})
				o.accounts(t)
				for _, l := range o.dead {
					if d := l.Meta.Dead; d.Code != c.code || !strings.Contains(d.Message, c.parts[0]) || !strings.HasPrefix(d.Path, place) || d.Step != "to" {
						t.Errorf("dead letter %+v", d)
					}
				}
				if o.err != nil || len(o.dead) != 2 {
					t.Errorf("%d dead letters, %v", len(o.dead), o.err)
				}
			})
			t.Run("dead letters", func(t *testing.T) {
				o := runWith(t, refuseAll, options{src: src, dead: place})
				o.failsWith(t, penstock.Unavailable, "dead letter of bad", filepath.Join(place, "bad.dead.jsonl"), c.parts[0])
				if f := o.flow(); f.Unsettled != 2 || f.Dead != 0 {
					t.Errorf("%d not settled, %d dead", f.Unsettled, f.Dead)
				}
			})
		})
	}
	t.Run("a device", func(t *testing.T) {
		if _, err := os.Stat("/dev/full"); err != nil {
			t.Skip("there are no devices here")
		}
		o := runWith(t, strings.Replace(copyFlow("append"), "mode:", "format: { json: {} }, mode:", 1), options{src: src, dst: "/dev/full"})
		o.failsWith(t, penstock.Config, "/dev/full", "this is no regular file", "flow.yaml:7:")
	})
	t.Run("a folder", func(t *testing.T) {
		o := runWith(t, strings.Replace(copyFlow("replace"), "mode:", "format: { json: {} }, mode:", 1), options{src: src, dst: dir})
		o.failsWith(t, penstock.Config, dir, "this is a folder")
	})
}

// unlike is n documents that can't be compressed much.
func unlike(n int) string {
	var b strings.Builder
	x := uint64(1)
	for range n {
		b.WriteString(`{"v":1,"x":"`)
		for range 40 {
			x = x*6364136223846793005 + 1442695040888963407
			b.WriteByte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"[x>>58])
		}
		b.WriteString("\"}\n")
	}
	return b.String()
}
