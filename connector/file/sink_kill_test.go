package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"penstock.dev/penstock"
)

// killEnv tells a run of the test binary that it is a child: the path, the mode, the records of a file, the first
// number and the number after the last (0: write for ever), separated by newlines.
const killEnv = "PENSTOCK_FILE_SINK_CHILD"

// killRotate is how many records a file of the rotating case holds.
const killRotate = 100

// TestKillChild is what the child does: it writes numbered records and reports after each Flush, through
// descriptor 3, how many are durable. It is killed while it does so.
func TestKillChild(t *testing.T) {
	var mode, path string
	var records int64
	var from, to int
	if _, err := fmt.Sscan(os.Getenv(killEnv), &mode, &records, &from, &to, &path); err != nil {
		t.Skip("the child of TestSinkKilled")
	}
	ctx := context.Background()
	acks := os.NewFile(3, "acks")
	s := newFaultSink(t, dribble{}, path, func(c *SinkConfig, _ *penstock.Env) {
		c.Mode, c.Rotate.Records = mode, records
	})
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(uint64(from), 7))
	for n := from; to == 0 || n < to; {
		for range 1 + random.IntN(3) { // some batches are not acknowledged
			next := n + 1 + random.IntN(20)
			if to > 0 {
				next = min(next, to)
			}
			if err := s.Write(ctx, numberedBatch(n, next)); err != nil {
				t.Fatal(err)
			}
			n = next
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(acks, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(acks, "closed")
}

// dribble writes a few bytes at a time, so that there is much to be torn. A killed process loses nothing that it has handed
// to the operating system: fsync has no part in this.
type dribble struct{ noSync }

type dribbling struct{ file }

func (f dribble) OpenFile(name string, flag int) (file, int64, error) {
	g, size, err := f.noSync.OpenFile(name, flag)
	return dribbling{g}, size, err
}

func (g dribbling) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i += 50 {
		if n, err := g.file.Write(p[i:min(i+50, len(p))]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// killChild runs the child, kills it after some acknowledgements, and gives the last one. closed says that it came to its end.
func killChild(t *testing.T, mode string, records, from, to int, path string, after int) (acknowledged int, closed bool) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	child := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d %s", killEnv, mode, records, from, to, path))
	child.ExtraFiles = []*os.File{w}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	acknowledged = from
	lines := bufio.NewScanner(r)
	for n := 0; ; n++ {
		if n == after {
			_ = child.Process.Kill() // what it wrote before it dies is still read
		}
		if !lines.Scan() {
			break
		}
		if lines.Text() == "closed" {
			closed = true
			continue
		}
		if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !closed && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return acknowledged, closed
}

// TestSinkKilled kills a process that appends, again and again at any moment: what it had acknowledged is in the file after the
// next one has taken it up, no record is torn, and the order is kept.
func TestSinkKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	random := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name    string
		records int
		kills   int
	}{{"o.jsonl", 0, 40}, {"o.csv", 0, 40}, {"o.jsonl.gz", 0, 25}, {"o.jsonl.zst", 0, 25}, {"r.jsonl", killRotate, 30}, {"r.csv.gz", killRotate, 20}} {
		t.Run(fmt.Sprint(c.name, " ", c.records), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.name)
			acknowledged := 0
			for range c.kills {
				acknowledged, _ = killChild(t, "append", c.records, acknowledged, 0, path, random.IntN(12))
			}
			ctx := context.Background()
			s := newFaultSink(t, osFS{}, path, func(k *SinkConfig, _ *penstock.Env) { k.Mode, k.Rotate.Records = "append", int64(c.records) })
			if err := errors.Join(s.Open(ctx), s.Write(ctx, numberedBatch(acknowledged, acknowledged+1)), s.Close(ctx)); err != nil {
				t.Fatal(err)
			}
			var got []int
			if c.records == 0 {
				got = readNumbers(t, s.codec, path)
			} else {
				o := &output{base: path}
				for o.number = 1; ; o.number++ {
					if _, err := os.Stat(o.numbered()); err != nil {
						break
					}
					if len(got)%killRotate != 0 {
						t.Errorf("file %d was begun when the one before had %d records", o.number, len(got)%killRotate)
					}
					got = append(got, readNumbers(t, s.codec, o.numbered())...)
				}
			}
			checkOrder(t, got, acknowledged+1)
			// How often a kill hits a record in the middle is up to the machine; that torn tails are taken up is
			// held by TestTakeUpAnything and the power cuts.
			torn, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"+tornSuffix))
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d records acknowledged in %d runs, a torn tail moved away: %v", acknowledged, c.kills, len(torn) > 0)
			if acknowledged == 0 {
				t.Error("nothing was ever acknowledged: that tries nothing")
			}
		})
	}
}

// TestSinkKilledReplace kills a process that replaces a file: under its name there is nothing, or everything.
func TestSinkKilledReplace(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	random := rand.New(rand.NewPCG(5, 6))
	path := filepath.Join(t.TempDir(), "o.jsonl")
	codec := newFaultSink(t, osFS{}, path, nil).codec
	const total, runs = 1000, 15
	complete := 0
	for range runs {
		acknowledged, closed := killChild(t, "replace", 0, 0, total, path, random.IntN(75))
		if closed {
			complete++
		}
		if _, err := os.Stat(path); err == nil {
			got := readNumbers(t, codec, path)
			if checkOrder(t, got, total); len(got) != total {
				t.Fatalf("the file has %d records", len(got))
			}
		} else if closed || complete > 0 {
			t.Fatal("there is no file")
		}
		if data, err := os.ReadFile(path + partialSuffix); err == nil {
			_, records, _, err := frameAll(codec.NewFramer(path), bytes.NewReader(data))
			if err != nil || records < int64(acknowledged) {
				t.Fatalf("%d records were acknowledged, %d are there: %v", acknowledged, records, err)
			}
		} else if !closed && acknowledged > 0 && acknowledged < total {
			t.Fatal("what was acknowledged is nowhere")
		}
	}
	if complete == 0 || complete == runs {
		t.Errorf("%d of %d runs came to their end: that tries too little", complete, runs)
	}
}
