package penstock_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// lines is a framer of lines. A line "bad" can't be framed, after "end" nothing can, and "#…" is stepped over.
type lines struct{}

func (lines) Frame(data []byte, atEOF bool) (int, []byte, error) {
	end := bytes.IndexByte(data, '\n')
	next := end + 1
	if end < 0 {
		if !atEOF || len(data) == 0 {
			return 0, nil, nil
		}
		end, next = len(data), len(data)
	}
	switch line := data[:end]; {
	case string(line) == "bad":
		return next, nil, errors.New("a bad line")
	case string(line) == "end":
		return 0, nil, errors.New("nothing more can be read")
	case bytes.HasPrefix(line, []byte("#")):
		return next, nil, nil
	default:
		return next, line, nil
	}
}

func (lines) Bind(d *jsonview.Doc, record []byte) { d.Reset(jsonview.Text, record) }

// script is a reader whose reads give one element each: text, or an error.
type script []any

func (s *script) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	switch v := (*s)[0].(type) {
	case string:
		n := copy(p, v)
		if n == len(v) {
			*s = (*s)[1:]
		} else {
			(*s)[0] = v[n:]
		}
		return n, nil
	default:
		*s = (*s)[1:]
		return 0, v.(error)
	}
}

// drain reads all batches: each message as "offset-next:line text", errors of the stream as "error: …".
func drain(t *testing.T, r *penstock.Records, most int) (out []string) {
	t.Helper()
	for range most {
		var b penstock.Batch
		err := r.Next(&b)
		if err != nil {
			if len(b.Msgs) > 0 {
				t.Fatal("an error with messages")
			}
			out = append(out, "error: "+err.Error())
			if errors.Is(err, io.EOF) {
				return out
			}
			continue
		}
		for i, m := range b.Msgs {
			text := string(m.Body.Original())
			if err := b.Err(i); err != nil {
				text = fmt.Sprintf("%q!%v", text, err)
			}
			out = append(out, fmt.Sprintf("%d-%d:%d %s", m.Pos.Offset, m.Pos.Next, m.Pos.Line, text))
		}
	}
	return out
}

func TestRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		in   script
		edit func(*penstock.Records)
		want []string
	}{
		{"nothing", script{}, nil, []string{"error: EOF"}},
		{"pieces", script{"a", "b\nc", "\n#x\nd"}, nil, []string{"0-3:1 ab", "3-5:2 c", "8-9:4 d", "error: EOF"}},
		{"a bad one", script{"a\nbad\nb\n"}, nil, []string{"0-2:1 a", `2-6:2 "bad\n"!read: s: line 2, byte 2: a bad line`, "6-8:3 b", "error: EOF"}},
		{"a broken stream", script{"a\nend\nb\n"}, nil, []string{"0-2:1 a", "error: read: s: line 2, byte 2: nothing more can be read", "error: read: s: line 2, byte 2: nothing more can be read"}},
		{"a read that fails", script{"a\nb", errors.New("timeout"), "c\n"}, nil, []string{"0-2:1 a", "error: timeout", "2-5:2 bc", "error: EOF"}},
		{"a read that fails after records", script{"a\nb\n", errors.New("timeout"), "c\n"}, func(r *penstock.Records) { r.Fill = true }, []string{"0-2:1 a", "2-4:2 b", "error: timeout", "4-6:3 c", "error: EOF"}},
		{"in the middle", script{"a\nb\n"}, func(r *penstock.Records) { r.SetPosition(100, 7) }, []string{"100-102:7 a", "102-104:8 b", "error: EOF"}},
		{"an end", script{"a\nb\nc\n"}, func(r *penstock.Records) { r.End = 3 }, []string{"0-2:1 a", "2-4:2 b", "error: EOF"}},
		{"no lines", script{"a\nbad\n"}, func(r *penstock.Records) { r.NoLines, r.Name = true, "name" }, []string{"0-2:0 a", `2-6:0 "bad\n"!read: name: byte 2: a bad line`, "error: EOF"}},
		{"small batches", script{"a\nb\nc\n"}, func(r *penstock.Records) { r.MaxMessages = 1 }, []string{"0-2:1 a", "2-4:2 b", "4-6:3 c", "error: EOF"}},
		{"no progress", script{"", "", "a\n"}, nil, []string{"0-2:1 a", "error: EOF"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := penstock.Records{Framer: lines{}, Read: c.in.Read, Stream: "s"}
			if c.edit != nil {
				c.edit(&r)
			}
			if got := drain(t, &r, 10)[:len(c.want)]; !slices.Equal(got, c.want) {
				t.Errorf("\n got %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestRecordsOfAllSizes reads records from one byte to several blocks of memory.
func TestRecordsOfAllSizes(t *testing.T) {
	var in strings.Builder
	var want []string
	for i := range 400 {
		line := strings.Repeat(string(rune('a'+i%26)), 1+i*i*(i%7)/2)
		want = append(want, line)
		in.WriteString(line + "\n")
	}
	for _, fill := range []bool{false, true} {
		src := strings.NewReader(in.String())
		r := penstock.Records{Framer: lines{}, Read: src.Read, Stream: "s", Fill: fill, MetaName: "file", MetaLine: "line"}
		var batches []*penstock.Batch
		for {
			b := new(penstock.Batch)
			err := r.Next(b)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		n := 0
		for _, b := range batches { // all are alive: none may share memory with another
			for _, m := range b.Msgs {
				if string(m.Body.Bytes()) != want[n] || m.Meta.Get("line").Int() != int64(n+1) || m.Meta.Get("file").Str() != "s" {
					t.Fatalf("fill %v, record %d: %.20q… of %d bytes, want %.20q… of %d", fill, n, m.Body.Bytes(), len(m.Body.Bytes()), want[n], len(want[n]))
				}
				n++
			}
		}
		if n != len(want) || r.Offset() != int64(in.Len()) {
			t.Errorf("fill %v: %d records up to byte %d, want %d up to %d", fill, n, r.Offset(), len(want), in.Len())
		}
	}
}

func TestRecordsHead(t *testing.T) {
	src := strings.NewReader("#head\na\nb\nc\n")
	r := penstock.Records{Framer: lines{}, Read: src.Read, Stream: "s"}
	if err := r.Head(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	r.SetPosition(8, 3)
	if got, want := drain(t, &r, 5), []string{"8-10:3 b", "10-12:4 c", "error: EOF"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRecordsStepOverInLittleMemory: what is skipped, however much, takes no memory of the batch.
func TestRecordsStepOverInLittleMemory(t *testing.T) {
	skipped := strings.Repeat("#"+strings.Repeat("x", 62)+"\n", 1<<16)
	for _, fill := range []bool{false, true} {
		src := strings.NewReader("a\n" + skipped + "b\n" + skipped)
		r := penstock.Records{Framer: lines{}, Read: src.Read, Stream: "s", Fill: fill}
		var got []string
		for {
			var b penstock.Batch
			err := r.Next(&b)
			if n := b.Arena().Bytes(); n > 1<<19 {
				t.Errorf("fill %v: a batch of %d messages took %d bytes", fill, len(b.Msgs), n)
			}
			for _, m := range b.Msgs {
				got = append(got, fmt.Sprintf("%d:%s", m.Pos.Line, m.Body.Bytes()))
			}
			if err != nil {
				break
			}
		}
		if want := []string{"1:a", "65538:b"}; !slices.Equal(got, want) || r.Offset() != int64(4+2*len(skipped)) {
			t.Errorf("fill %v: %q up to byte %d, want %q", fill, got, r.Offset(), want)
		}
	}
}
