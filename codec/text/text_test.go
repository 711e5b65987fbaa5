package text

import (
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func frames(t testing.TB, c penstock.Codec, stream string, chunk int) (out []string) {
	t.Helper()
	f := c.NewFramer("test")
	data, shown := []byte(stream), 0
	if chunk <= 0 {
		shown = len(data)
	}
	var d jsonview.Doc
	for steps := 0; ; steps++ {
		if steps > 10*len(stream)+100 {
			t.Fatalf("the framer does not move on in %q", stream)
		}
		eof := shown >= len(data)
		n, record, err := f.Frame(data[:min(shown, len(data))], eof)
		switch {
		case err != nil && n == 0:
			t.Fatal(err)
		case err != nil:
			out = append(out, "!"+string(penstock.CodeOf(err)))
		case record != nil:
			f.Bind(&d, record)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				out = append(out, "!"+string(penstock.CodeOf(err)))
				break
			}
			out = append(out, d.Str(0, nil))
		case n == 0 && eof:
			return out
		case n == 0:
			shown += chunk
		}
		data = data[n:]
		shown -= n
	}
}

func codecOf(t testing.TB, c Config, limit int) penstock.Codec {
	t.Helper()
	codec, err := New(c, penstock.CodecOptions{MaxRecord: limit})
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func TestFrame(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		in     string
		want   []string
	}{
		{"nothing", Config{}, "", nil},
		{"lines", Config{}, "a\nb c\r\n\n\nd", []string{"a", "b c", "d"}},
		{"byte order mark", Config{}, "\ufeffa\n", []string{"a"}},
		{"kept ends", Config{KeepEnds: true}, "a\r\n\nb", []string{"a\r\n", "\n", "b"}},
		{"delimiter", Config{Delimiter: "--"}, "a\nb--c---d--", []string{"a\nb", "c", "-d"}},
		{"kept delimiters", Config{Delimiter: ";", KeepEnds: true}, "a;;b", []string{"a;", ";", "b"}},
		{"whole", Config{Whole: true}, "a\nb\r\n", []string{"a\nb\r\n"}},
		{"not UTF-8", Config{}, "a\n\xff\nb\n", []string{"a", "!invalid", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{0, 1, 2, 5} {
				if got := frames(t, codecOf(t, c.config, 0), c.in, chunk); !slices.Equal(got, c.want) {
					t.Errorf("chunk %d: %q, want %q", chunk, got, c.want)
				}
			}
		})
	}
}

func TestLimit(t *testing.T) {
	in := "a--" + strings.Repeat("x.", 50) + "--b--"
	for _, chunk := range []int{0, 1, 7, 20} {
		if got := frames(t, codecOf(t, Config{Delimiter: "--"}, 10), in, chunk); len(got) < 3 || got[0] != "a" || got[1] != "!tooLarge" || got[len(got)-1] != "b" {
			t.Errorf("chunk %d: %q", chunk, got)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   int
	}{{Config{}, 2}, {Config{Delimiter: ";"}, 4}, {Config{Delimiter: "--"}, -1}, {Config{Whole: true}, -1}, {Config{Delimiter: "x"}, -1}} {
		if got := codecOf(t, c.config, 0).(penstock.Splitter).Split([]byte("a\nb;--c")); got != c.want {
			t.Errorf("%+v: %d, want %d", c.config, got, c.want)
		}
	}
}

func TestEncode(t *testing.T) {
	docs := []struct {
		format jsonview.Format
		src    string
	}{{jsonview.Text, "one"}, {jsonview.JSON, `"t\"wo"`}, {jsonview.JSON, `{"a": 1}`}, {jsonview.Binary, "\xff"}, {jsonview.Text, "end\n"}}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, "one\nt\"wo\n{\"a\": 1}\n\xff\nend\n\n"},
		{Config{KeepEnds: true}, "one\nt\"wo\n{\"a\": 1}\n\xff\nend\n"},
		{Config{Delimiter: "|"}, "one|t\"wo|{\"a\": 1}|\xff|end\n|"},
		{Config{Whole: true}, "onet\"wo{\"a\": 1}\xffend\n"},
	} {
		e := codecOf(t, c.config, 0).NewEncoder()
		out := e.Begin(nil)
		for _, in := range docs {
			var d jsonview.Doc
			var err error
			d.Reset(in.format, []byte(in.src))
			if out, err = e.Append(out, &d); err != nil {
				t.Fatal(err)
			}
		}
		if out = e.End(out); string(out) != c.want {
			t.Errorf("%+v: %q, want %q", c.config, out, c.want)
		}
	}
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte("{"))
	if out, err := codecOf(t, Config{}, 0).NewEncoder().Append([]byte("x"), &d); err == nil || string(out) != "x" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestDecode(t *testing.T) {
	c := codecOf(t, Config{}, 0)
	if out, err := c.Decode(nil, []byte("a\n\"b")); err != nil || string(out) != `"a\n\"b"` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := c.Decode(nil, []byte("\xff")); penstock.CodeOf(err) != penstock.Invalid {
		t.Error(err)
	}
	if errs := (Config{Whole: true, Delimiter: ";"}).Validate(); len(errs) != 1 {
		t.Error(errs)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add("a\nb\r\n\nc", "", false, uint8(1))
	f.Add("a--b---c", "--", true, uint8(2))
	f.Fuzz(func(t *testing.T, in, delimiter string, keep bool, chunk uint8) {
		if len(in) > 1000 {
			return
		}
		c := codecOf(t, Config{Delimiter: delimiter, KeepEnds: keep}, 0)
		want := frames(t, c, in, 0)
		if got := frames(t, c, in, int(chunk)+1); !slices.Equal(got, want) {
			t.Fatalf("chunks of %d: %q\nall at once: %q", int(chunk)+1, got, want)
		}
		if keep && strings.ToValidUTF8(in, "") == in && strings.Join(want, "") != strings.TrimPrefix(in, "\ufeff") {
			t.Fatalf("%q became %q", in, want)
		}
	})
}
