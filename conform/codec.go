package conform

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// CodecHarness describes a codec.
type CodecHarness struct {
	// New makes the codec.
	New func(t testing.TB, o penstock.CodecOptions) penstock.Codec
	// Streams are streams, as bytes, and the JSON of the records in each.
	Streams map[string][]string
	// Torn is a stream whose second of three records is broken: it fails, when it is framed or when it is read, and
	// the others do not. Empty if every text is a record.
	Torn string
	// Written are JSON bodies that the codec writes and reads back the same.
	Written []string
	// Refused is a JSON body that can't be written; empty if there is none.
	Refused string
}

// Codec runs the suite.
func Codec(t *testing.T, h CodecHarness) {
	t.Run("reads streams", h.reads)
	t.Run("reads them in any pieces", h.pieces)
	t.Run("loses one bad record only", h.torn)
	t.Run("holds the limit", h.limited)
	t.Run("reads back what it writes", h.roundTrip)
	t.Run("changes nothing when it refuses", h.refuses)
	t.Run("serves many streams at once", h.concurrent)
	t.Run("is cut into ranges", h.split)
	t.Run("decodes and encodes a step's text", h.steps)
}

// frame cuts stream, of which the framer sees chunk more bytes each time (0: all at once), and gives the JSON of each
// record; bad ones give "!" and why.
func frame(t testing.TB, f penstock.Framer, stream []byte, chunk int) []string {
	t.Helper()
	var out []string
	shown := chunk
	if chunk <= 0 {
		shown = len(stream)
	}
	for steps := 0; ; steps++ {
		if steps > 20*len(stream)+1000 {
			t.Fatal("the framer does not move on")
		}
		eof := shown >= len(stream)
		n, record, err := f.Frame(stream[:min(shown, len(stream))], eof)
		switch {
		case n < 0 || n > min(shown, len(stream)):
			t.Fatalf("Frame advances by %d of %d bytes", n, min(shown, len(stream)))
		case err != nil:
			out = append(out, "!"+err.Error())
			if n == 0 {
				return out // the rest can't be read
			}
		case record != nil && n == 0:
			t.Fatal("a record without advance")
		case record != nil:
			out = append(out, bound(f, record))
		case n == 0 && eof:
			return out
		case n == 0:
			shown += chunk
		}
		stream = stream[n:]
		shown -= n
	}
}

// bound gives the JSON of a record. The document is used twice, as those of batches are.
func bound(f penstock.Framer, record []byte) string {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte(`{"old":true}`))
	if d.Parse(jsonview.Limits{}) != nil {
		return "!"
	}
	f.Bind(&d, record)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return "!" + err.Error()
	}
	return string(d.AppendJSON(nil, 0))
}

func (h CodecHarness) reads(t *testing.T) {
	for stream, want := range h.Streams {
		c := h.New(t, penstock.CodecOptions{})
		same(t, frame(t, c.NewFramer("test"), []byte(stream), 0), want, true)
	}
}

func (h CodecHarness) pieces(t *testing.T) {
	for stream, want := range h.Streams {
		c := h.New(t, penstock.CodecOptions{})
		for _, chunk := range []int{1, 2, 3, 5, 8, 13, 64} {
			same(t, frame(t, c.NewFramer("test"), []byte(stream), chunk), want, true)
		}
		// The same through Records, from a reader that gives little at a time.
		r := penstock.Records{Framer: c.NewFramer("test"), Read: trickle{strings.NewReader(stream)}.Read, Stream: "test"}
		var got []string
		for {
			var b penstock.Batch
			err := r.Next(&b)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range b.Msgs {
				got = append(got, Text(t, m.Body))
			}
		}
		same(t, got, want, true)
	}
}

// trickle reads three bytes at a time.
type trickle struct{ r io.Reader }

func (r trickle) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 3)]) }

func (h CodecHarness) torn(t *testing.T) {
	if h.Torn == "" {
		t.Skip("the harness has no broken record")
	}
	for _, chunk := range []int{0, 1, 7} {
		got := frame(t, h.New(t, penstock.CodecOptions{}).NewFramer("test"), []byte(h.Torn), chunk)
		if len(got) != 3 || got[0][0] == '!' || got[1][0] != '!' || got[2][0] == '!' {
			t.Errorf("pieces of %d: %q, want three records of which the second fails", chunk, got)
		}
	}
}

func (h CodecHarness) limited(t *testing.T) {
	for stream := range h.Streams {
		c := h.New(t, penstock.CodecOptions{MaxRecord: 1})
		for _, chunk := range []int{0, 1, 7} {
			for _, text := range frame(t, c.NewFramer("test"), []byte(stream), chunk) {
				if len(text) > 16 && text[0] != '!' {
					t.Errorf("with a limit of one byte there came %s", text)
				}
			}
		}
	}
}

// write encodes bodies as one stream.
func (h CodecHarness) write(t testing.TB, c penstock.Codec, bodies []string) []byte {
	t.Helper()
	e := c.NewEncoder()
	out := e.Begin(nil)
	for _, body := range bodies {
		var err error
		if out, err = e.Append(out, Doc(body)); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return e.End(out)
}

func (h CodecHarness) roundTrip(t *testing.T) {
	c := h.New(t, penstock.CodecOptions{})
	same(t, frame(t, c.NewFramer("test"), h.write(t, c, h.Written), 0), h.Written, true)
	if got := frame(t, c.NewFramer("test"), h.write(t, c, nil), 0); len(got) > 0 {
		t.Errorf("a stream without records reads as %q", got)
	}
}

func (h CodecHarness) refuses(t *testing.T) {
	if h.Refused == "" {
		t.Skip("the harness has no body that can't be written")
	}
	e := h.New(t, penstock.CodecOptions{}).NewEncoder()
	out := e.Begin([]byte("before"))
	for _, body := range h.Written {
		var err error
		before := append([]byte(nil), out...)
		if out, err = e.Append(out, Doc(h.Refused)); err == nil || !bytes.Equal(out, before) {
			t.Fatalf("%s: error %v, and %q became %q", h.Refused, err, before, out)
		}
		if out, err = e.Append(out, Doc(body)); err != nil {
			t.Fatal(err)
		}
	}
}

func (h CodecHarness) concurrent(t *testing.T) {
	c := h.New(t, penstock.CodecOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 20 {
				for stream, want := range h.Streams {
					data := []byte(stream)
					f := c.NewFramer("test")
					var got []string
					for {
						n, record, err := f.Frame(data, true)
						if err != nil || n == 0 {
							break
						}
						if record != nil {
							got = append(got, bound(f, record))
						}
						data = data[n:]
					}
					if strings.Join(got, "\n") != strings.Join(want, "\n") {
						t.Errorf("%q, want %q", got, want)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
}

// split cuts a stream at every place that the codec names, and reads the parts by themselves.
func (h CodecHarness) split(t *testing.T) {
	c := h.New(t, penstock.CodecOptions{})
	s, ok := c.(penstock.Splitter)
	if !ok {
		t.Skip("the codec is no Splitter")
	}
	data := h.write(t, c, h.Written)
	want := frame(t, c.NewFramer("test"), data, 0)
	head := headOf(t, c, data)
	for at := head; at < len(data); at++ {
		n := s.Split(data[at:])
		if n < 0 {
			continue
		}
		cut := at + n
		got := frame(t, c.NewFramer("test"), data[:cut], 0)
		second := c.NewFramer("test")
		primed := data
		for primed != nil { // up to the first record
			k, record, err := second.Frame(primed, true)
			if err != nil {
				t.Fatal(err)
			}
			if primed = primed[k:]; record != nil || k == 0 {
				primed = nil
			}
		}
		got = append(got, frame(t, second, data[cut:], 0)...)
		same(t, got, want, true)
	}
}

// headOf is where the first record begins.
func headOf(t testing.TB, c penstock.Codec, data []byte) int {
	f := c.NewFramer("test")
	for at := 0; ; {
		n, record, err := f.Frame(data[at:], true)
		if err != nil {
			t.Fatal(err)
		}
		if record != nil || n == 0 {
			return at
		}
		at += n
	}
}

func (h CodecHarness) steps(t *testing.T) {
	c := h.New(t, penstock.CodecOptions{})
	for _, body := range h.Written {
		text, err := c.Encode([]byte("x"), Doc(body))
		if err != nil || text[0] != 'x' {
			t.Fatalf("%s: %q, %v", body, text, err)
		}
		back, err := c.Decode([]byte("y"), text[1:])
		if err != nil || back[0] != 'y' || !jsonview.Valid(back[1:]) {
			t.Fatalf("%s was encoded as %q and decoded as %q, %v", body, text[1:], back, err)
		}
	}
	if h.Refused != "" {
		if out, err := c.Encode([]byte("x"), Doc(h.Refused)); err == nil || string(out) != "x" {
			t.Errorf("%s: %q, %v", h.Refused, out, err)
		}
	}
}

// BenchmarkCodec measures framing, and reading what was framed, of the records that the harness writes.
func BenchmarkCodec(b *testing.B, h CodecHarness) {
	c := h.New(b, penstock.CodecOptions{})
	var bodies []string
	for len(bodies) < 1000 {
		bodies = append(bodies, h.Written...)
	}
	data := h.write(b, c, bodies)
	b.SetBytes(int64(len(data) / len(bodies)))
	var d jsonview.Doc
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		f := c.NewFramer("test")
		for rest := data; n < b.N; n++ {
			k, record, err := f.Frame(rest, true)
			if err != nil {
				b.Fatal(err)
			}
			if k == 0 {
				break
			}
			if rest = rest[k:]; record == nil {
				continue
			}
			f.Bind(&d, record)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
