package csv

import (
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

func no() *bool { return new(bool) }

// rows reads stream, of which the framer sees chunk more bytes each time it asks (0: all at once), and gives each row as
// JSON, bad ones as ! and what the error says.
func rows(t testing.TB, c penstock.Codec, stream string, chunk int) (out []string, end error) {
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
			return out, err
		case err != nil:
			out = append(out, "!"+err.Error())
		case record != nil:
			f.Bind(&d, record)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				out = append(out, "!"+err.Error())
				break
			}
			text := d.AppendJSON(nil, 0)
			if !jsonview.Valid(text) {
				t.Fatalf("%q became %s", record, text)
			}
			out = append(out, string(text))
		case n == 0 && eof:
			return out, nil
		case n == 0:
			shown += chunk
		}
		data = data[n:]
		shown -= n
	}
}

func codecOf(t testing.TB, c Config, o penstock.CodecOptions) penstock.Codec {
	t.Helper()
	codec, err := New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		in     string
		want   []string // each row; one that begins with ! is an error that contains the rest
	}{
		{"nothing", Config{}, "", nil},
		{"header only", Config{}, "a,b\n", nil},
		{"rows", Config{}, "a,b\n1,x\n2,\n", []string{`{"a":"1","b":"x"}`, `{"a":"2","b":""}`}},
		{"no last line end", Config{}, "a,b\n1,x", []string{`{"a":"1","b":"x"}`}},
		{"windows", Config{}, "a,b\r\n1,x\r\n2,\"y\"\r\n\r\n3,\"z\"\r\n", []string{`{"a":"1","b":"x"}`, `{"a":"2","b":"y"}`, `{"a":"3","b":"z"}`}},
		{"byte order mark", Config{}, "\ufeffa,b\n1,x\n", []string{`{"a":"1","b":"x"}`}},
		{"old macs", Config{LineEnd: "cr"}, "a,b\r1,\"x\ny\"\r2,y\r", []string{`{"a":"1","b":"x\ny"}`, `{"a":"2","b":"y"}`}},
		{"quotes", Config{}, "a,b\n\"x, y\",\"say \"\"hi\"\"\"\n\"\",\"\"\"\"\n", []string{`{"a":"x, y","b":"say \"hi\""}`, `{"a":"","b":"\""}`}},
		{"line ends in quotes", Config{}, "a,b\n\"x\ny\n\",1\n2,\"\r\n\"\n", []string{`{"a":"x\ny\n","b":"1"}`, `{"a":"2","b":"\r\n"}`}},
		{"quoted header", Config{}, "\"a\nb\",\"c\"\"d\"\n1,2\n", []string{`{"a\nb":"1","c\"d":"2"}`}},
		{"unnamed columns", Config{}, "a,,c,\n1,2,3,4\n", []string{`{"a":"1","c2":"2","c":"3","c4":"4"}`}},
		{"no header", Config{Header: no()}, "1,x\n2,y\n", []string{`{"c1":"1","c2":"x"}`, `{"c1":"2","c2":"y"}`}},
		{"named columns", Config{Header: no(), Columns: []string{"a", "b"}}, "1,x\n", []string{`{"a":"1","b":"x"}`}},
		{"renamed columns", Config{Columns: []string{"x", "y"}}, "a,a\n1,2\n", []string{`{"x":"1","y":"2"}`}},
		{"tabs", Config{Separator: "tab", Quote: "none"}, "a\tb\n\"1\tx, \"y\"\n", []string{`{"a":"\"1","b":"x, \"y\""}`}},
		{"wide separator", Config{Separator: "¦"}, "a¦b\n1¦\"x¦\"\n2¦y\n", []string{`{"a":"1","b":"x¦"}`, `{"a":"2","b":"y"}`}},
		{"other quote", Config{Separator: ";", Quote: "'"}, "a;b\n'1;';\"x\"\n", []string{`{"a":"1;","b":"\"x\""}`}},
		{"comments", Config{Comment: "#"}, "# one\na,b\n1,x\n# \"two\n2,#\n", []string{`{"a":"1","b":"x"}`, `{"a":"2","b":"#"}`}},
		{"skipped lines", Config{SkipRows: 2}, "Report \"of\nthe day\na,b\n1,x\n", []string{`{"a":"1","b":"x"}`}},
		{"trim", Config{Trim: true}, "a , b\n 1 ,\t\"x \" \n2, y z \n", []string{`{"a":"1","b":"x "}`, `{"a":"2","b":"y z"}`}},
		{"no trim", Config{}, "a,b\n 1 , x\n", []string{`{"a":" 1 ","b":" x"}`}},
		{"null", Config{Null: `\N`}, "a,b\n\\N,\"\\N\"\n", []string{`{"a":null,"b":"\\N"}`}},
		{"too few and too many", Config{}, "a,b\n1\n1,2\n1,2,3\n", []string{"!has 1 cells, but there are 2 columns", `{"a":"1","b":"2"}`, "!has 3 cells, but there are 2"}},
		{"ragged", Config{Ragged: "allow"}, "a,b\n1\n1,\"2\"\n1,2,3,4\n", []string{`{"a":"1"}`, `{"a":"1","b":"2"}`, `{"a":"1","b":"2","c3":"3","c4":"4"}`}},
		{"stray quotes", Config{}, "a,b\nx\"y,1\n\"x\"y,1\n\"x\" ,1\n3,4\n", []string{"!cell 1: a quote stands within", "!text follows the closing quote", "!text follows", `{"a":"3","b":"4"}`}},
		{"lazy quotes", Config{LazyQuotes: true}, "a,b\nx\"y,1\n\"x\"y\",1\n7\" wide,\"7\"\" wide\"\n", []string{`{"a":"x\"y","b":"1"}`, `{"a":"x\"y","b":"1"}`, `{"a":"7\" wide","b":"7\" wide"}`}},
		{"never closed", Config{}, "a,b\n1,\"x\n2,y\n3,z\n", []string{"!opened and never closed", `{"a":"2","b":"y"}`, `{"a":"3","b":"z"}`}},
		{"never closed, line by line", Config{Multiline: no()}, "a,b\n1,\"x\n2,y\n", []string{"!cell 2: the quote is not closed", `{"a":"2","b":"y"}`}},
		{"not UTF-8", Config{}, "a,b\n1,caf\xe9\n2,y\n", []string{"!not valid UTF-8", `{"a":"2","b":"y"}`}},
		{"zeros", Config{}, "a,b\n1,x\x00y\n", []string{`{"a":"1","b":"x\u0000y"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{0, 1, 2, 3, 7} {
				got, err := rows(t, codecOf(t, c.config, penstock.CodecOptions{}), c.in, chunk)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(got, c.want, matches) {
					t.Errorf("chunk %d:\n got %q\nwant %q", chunk, got, c.want)
				}
			}
		})
	}
}

func matches(got, want string) bool {
	if strings.HasPrefix(want, "!") {
		return strings.HasPrefix(got, "!") && strings.Contains(got, want[1:])
	}
	return got == want
}

func TestHeaderThatCantBeUsed(t *testing.T) {
	for in, want := range map[string]string{
		"a,b,a\n1,2,3\n": "columns 1 and 3 have the same name", "a,\xff\n": "UTF-8", "a,\"b\n1,2\n": "never closed", "\"a\"b,c\n": "header, cell 1",
		strings.Repeat("a", 200) + "\n1\n": "more than 100 bytes", "\"" + strings.Repeat("a\n", 200): "not closed within 100 bytes",
	} {
		for _, chunk := range []int{0, 1, 30} {
			got, err := rows(t, codecOf(t, Config{}, penstock.CodecOptions{MaxRecord: 100}), in, chunk)
			if len(got) > 0 || err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "never closed") {
				t.Errorf("%q in chunks of %d: %q, error %v, want %q", in, chunk, got, err, want)
			}
		}
	}
}

func TestLimit(t *testing.T) {
	in := "a,b\n1,2\n" + strings.Repeat("x", 150) + ",2\n3,4\n\"" + strings.Repeat("y\n", 30) + "5,6\n" + strings.Repeat("7,8\n", 60)
	for _, chunk := range []int{0, 1, 16} {
		got, err := rows(t, codecOf(t, Config{}, penstock.CodecOptions{MaxRecord: 100}), in, chunk)
		if err != nil || len(got) < 64 || !strings.Contains(got[1], "more than 100 bytes") || got[2] != `{"a":"3","b":"4"}` ||
			!strings.Contains(got[3], "quote is opened") || got[len(got)-1] != `{"a":"7","b":"8"}` {
			t.Errorf("chunk %d: %q, %v", chunk, got, err)
		}
	}
}

func order() *types.Type {
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "int", Type: types.IntType}, {Name: "uint", Type: types.UintType}, {Name: "num", Type: types.DoubleType}, {Name: "dec", Type: types.OptionalOf(types.DecimalType)},
		{Name: "bool", Type: types.BoolType}, {Name: "time", Type: &types.Type{Kind: types.Timestamp, Layout: "2006-01-02 15:04:05"}},
		{Name: "day", Type: &types.Type{Kind: types.Timestamp, Layout: "2/1/2006"}}, {Name: "date", Type: &types.Type{Kind: types.Timestamp, Layout: "2006-01-02", Date: true}},
		{Name: "usdate", Type: &types.Type{Kind: types.Timestamp, Layout: "01/02/2006", Date: true}}, {Name: "text", Type: types.StringType},
	}}
}

func TestCoercion(t *testing.T) {
	for _, c := range []struct{ column, cell, want string }{
		{"int", "17850.0", "17850"}, {"int", "12", "12"}, {"int", "-12", "-12"}, {"int", "+12", "12"}, {"int", "007", "7"}, {"int", "-007.00", "-7"}, {"int", "0", "0"}, {"int", "-0", "-0"},
		{"int", " 12 ", "12"}, {"int", "12.", "12"}, {"int", "12.5", `"12.5"`}, {"int", "1e3", `"1e3"`}, {"int", "12a", `"12a"`}, {"int", "-", `"-"`}, {"int", ".", `"."`}, {"int", ".0", `".0"`}, {"int", "", ""},
		{"int", `"12"`, "12"}, {"int", `""`, ""}, {"int", "123456789012345678901", "123456789012345678901"}, {"int", "1,5", `"1,5"`},
		{"uint", "12", "12"}, {"uint", "-12", `"-12"`}, {"uint", "+12.0", "12"},
		{"num", "1.50", "1.50"}, {"num", "+1.5", "1.5"}, {"num", ".5", "0.5"}, {"num", "-.5", "-0.5"}, {"num", "5.", "5"}, {"num", "-05.e2", "-5e2"}, {"num", "1E+3", "1E+3"}, {"num", "00.10", "0.10"}, {"num", "NaN", `"NaN"`}, {"num", "1e", `"1e"`}, {"num", "--1", `"--1"`}, {"num", "-0.0", "-0.0"},
		{"dec", "0001234567890123456789.10", "1234567890123456789.10"},
		{"bool", "true", "true"}, {"bool", "YES", "true"}, {"bool", "0", "false"}, {"bool", "n", "false"}, {"bool", "maybe", `"maybe"`}, {"bool", "falsey", `"falsey"`},
		{"time", "2010-12-01 08:26:00", `"2010-12-01T08:26:00Z"`}, {"time", "2010-12-01 08:26:00.5", `"2010-12-01T08:26:00.5Z"`}, {"time", "2010-02-29 08:26:00", `"2010-02-29 08:26:00"`}, {"time", "2012-02-29 00:00:00", `"2012-02-29T00:00:00Z"`}, {"time", "soon", `"soon"`}, {"time", "2010-13-01 08:26:00", `"2010-13-01 08:26:00"`},
		{"day", "3/12/2010", `"2010-12-03T00:00:00Z"`}, {"day", "", ""},
		{"date", "2010-12-03", `"2010-12-03"`}, {"usdate", "12/03/2010", `"2010-12-03"`}, {"usdate", "soon", `"soon"`},
		{"text", "", ""}, {"text", `""`, `""`}, {"text", " 007 ", `" 007 "`}, {"text", `"a ""b"""`, `"a \"b\""`},
		{"unknown", "007", `"007"`}, {"unknown", "", ""},
	} {
		codec := codecOf(t, Config{}, penstock.CodecOptions{Type: order()})
		cell := c.cell
		if strings.Contains(cell, ",") {
			cell = `"` + cell + `"`
		}
		got, err := rows(t, codec, "x,"+c.column+",y\n1,"+cell+",2\n", 0)
		want := `{"x":"1","` + c.column + `":` + c.want + `,"y":"2"}`
		if c.want == "" {
			want = `{"x":"1","y":"2"}`
		}
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s %q: %q, %v, want %s", c.column, c.cell, got, err, want)
		}
	}
}

func TestDecimalComma(t *testing.T) {
	codec := codecOf(t, Config{Separator: ";", Decimal: ","}, penstock.CodecOptions{Type: order()})
	got, err := rows(t, codec, "num;dec;int;text\n-1,50;,5;12,0;1,5\n1.5;2;3;4\n", 0)
	want := []string{`{"num":-1.50,"dec":0.5,"int":12,"text":"1,5"}`, `{"num":"1.5","dec":2,"int":3,"text":"4"}`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	e := codec.NewEncoder()
	out := e.Begin(nil)
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte(`{"num":-1.50,"time":"2010-12-01T08:26:00Z","day":"2010-12-03T00:00:00Z","text":"1.5"}`))
	if out, err = e.Append(out, &d); err != nil || string(out) != "int;uint;num;dec;bool;time;day;date;usdate;text\n;;-1,50;;;2010-12-01 08:26:00;3/12/2010;;;1.5\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{Separator: ";;"}, {Separator: "\n"}, {Quote: "''"}, {Quote: ","}, {Quote: "«"}, {LineEnd: "lfcr"}, {Encoding: "ebcdic"}, {Comment: "//"}, {Comment: ","}, {Comment: "\""}, {Separator: "\""}, {Comment: "§"},
		{SkipRows: -1}, {Ragged: "maybe"}, {Columns: []string{"a", "a"}}, {Columns: []string{""}}, {Decimal: "'"},
	} {
		if errs := c.Validate(); len(errs) != 1 {
			t.Errorf("%+v: %v", c, errs)
		}
		if _, err := New(c, penstock.CodecOptions{}); penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if errs := (Config{}).Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestEncodings(t *testing.T) {
	const text = "name,price\nCafé “x”,€5\nЖ,𝄞\n"
	utf16 := func(bom, big bool, s string) string {
		e := newOutEncoding("utf-16le")
		if big {
			e = newOutEncoding("utf-16be")
		}
		if bom {
			s = "\ufeff" + s
		}
		out, err := e.append(nil, []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	want := []string{`{"name":"Café “x”","price":"€5"}`, `{"name":"Ж","price":"𝄞"}`}
	for _, c := range []struct {
		name, encoding, in string
		want               []string
	}{
		{"utf-8", "", text, want},
		{"utf-8 with mark", "utf-8", "\ufeff" + text, want},
		{"utf-16le with mark, found out", "", utf16(true, false, text), want},
		{"utf-16be with mark, found out", "auto", utf16(true, true, text), want},
		{"utf-16le, found out", "", utf16(false, false, text), want},
		{"utf-16be, found out", "", utf16(false, true, text), want},
		{"utf-16 with mark", "utf-16", utf16(true, true, text), want},
		{"utf-16 without", "utf-16", utf16(false, false, text), want},
		{"utf-16be", "utf-16be", utf16(false, true, text), want},
		{"half a pair", "utf-16le", utf16(false, false, "name,price\nx,y") + "\x00\xd8" + utf16(false, false, "\nz,1\n"), []string{"!UTF-8", `{"name":"z","price":"1"}`}},
		{"windows-1252", "windows-1252", "name,price\nCaf\xe9 \x93x\x94,\x805\n", want[:1]},
		{"iso-8859-1", "iso-8859-1", "name,price\nCaf\xe9,\xa35\n", []string{`{"name":"Café","price":"£5"}`}},
	} {
		codec := codecOf(t, Config{Encoding: c.encoding}, penstock.CodecOptions{})
		stream := c.in
		if wrap := codec.(penstock.Transcoder).Transcode([]byte(c.in[:4])); wrap != nil {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotestOneByte{strings.NewReader(c.in)}} {
				all, err := io.ReadAll(wrap(r))
				if err != nil {
					t.Fatal(c.name, err)
				}
				stream = string(all)
			}
		}
		got, err := rows(t, codec, stream, 0)
		if err != nil || !slices.EqualFunc(got, c.want, matches) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	wrap := codecOf(t, Config{Encoding: "utf-16le"}, penstock.CodecOptions{}).(penstock.Transcoder).Transcode(nil)
	if _, err := io.ReadAll(wrap(strings.NewReader("a\x00b"))); err == nil {
		t.Error("half a character at the end went unnoticed")
	}
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

func TestWriteEncodings(t *testing.T) {
	for _, name := range []string{"utf-16", "utf-16le", "utf-16be", "windows-1252", "iso-8859-1"} {
		codec := codecOf(t, Config{Encoding: name}, penstock.CodecOptions{})
		e := codec.NewEncoder()
		var d, bad jsonview.Doc
		d.Reset(jsonview.JSON, []byte(`{"a":"é,ü"}`))
		out, err := e.Append(e.Begin(nil), &d)
		if err != nil {
			t.Fatal(name, err)
		}
		back, err := codec.Decode(nil, out)
		if err != nil || string(back) != `[{"a":"é,ü"}]` {
			t.Errorf("%s: %s, %v", name, back, err)
		}
		bad.Reset(jsonview.JSON, []byte(`{"a":"Ж"}`))
		again, err := e.Append(out, &bad)
		if narrow := !strings.HasPrefix(name, "utf"); narrow != (err != nil) || narrow && (len(again) != len(out) || !strings.Contains(err.Error(), "'Ж'")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrite(t *testing.T) {
	docs := []string{`{"a":"x","b":1.50,"c":true}`, `{"b":null,"c":"say \"hi\", you","a":"line\nend"}`, `{"a":[1,{"x":2}],"c":" sp "}`, `{}`}
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"plain", Config{}, "a,b,c\nx,1.50,true\n\"line\nend\",,\"say \"\"hi\"\", you\"\n\"[1,{\"\"x\"\":2}]\",, sp \n,,\n"},
		{"dialect", Config{Separator: ";", Quote: "'", Header: no(), LineEnd: "crlf", Null: "NULL", Trim: true}, "x;1.50;true\r\n'line\nend';NULL;say \"hi\", you\r\n[1,{\"x\":2}];;' sp '\r\n;;\r\n"},
		{"chosen columns", Config{Columns: []string{"c", "z"}}, "c,z\ntrue,\n\"say \"\"hi\"\", you\",\n sp ,\n,\n"},
		{"one column", Config{Columns: []string{"b"}}, "b\n1.50\n\"\"\n\"\"\n\"\"\n"},
	} {
		e := codecOf(t, c.config, penstock.CodecOptions{}).NewEncoder()
		out := e.Begin(nil)
		for _, src := range docs {
			var d jsonview.Doc
			var err error
			d.Reset(jsonview.JSON, []byte(src))
			if out, err = e.Append(out, &d); err != nil {
				t.Fatalf("%s: %s: %v", c.name, src, err)
			}
		}
		if out = e.End(out); string(out) != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, out, c.want)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	for _, c := range []struct {
		config    Config
		docs      []string
		want, out string
	}{
		{Config{}, []string{`[1]`}, "not of an array", ""},
		{Config{}, []string{`"x"`}, "not of a string", ""},
		{Config{}, []string{`{}`}, "columns are not known", ""},
		{Config{}, []string{`{"a":1}`, `{"a":2,"b":3}`}, "body.b: there is no column", "a\n1\n"},
		{Config{Quote: "none"}, []string{`{"a":1}`, `{"a":"x,y"}`}, "without quotes", "a\n1\n"},
		{Config{}, []string{`{"a":1}`, "{"}, "invalid JSON", "a\n1\n"},
		{Config{Quote: "none"}, []string{`{"a":"x,y"}`}, "without quotes", ""},
		{Config{Quote: "none"}, []string{`{"a":"x,y"}`, `{"b":1}`, `{"b":"x,y"}`}, "without quotes", "b\n1\n"},
		{Config{Encoding: "iso-8859-1"}, []string{`{"a":"€"}`, `{"a":1}`, `{"a":"€"}`}, "does not exist", "a\n1\n"},
	} {
		e := codecOf(t, c.config, penstock.CodecOptions{}).NewEncoder()
		out := e.Begin(nil)
		var err error
		for _, src := range c.docs {
			var d jsonview.Doc
			d.Reset(jsonview.JSON, []byte(src))
			out, err = e.Append(out, &d)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || string(out) != c.out {
			t.Errorf("%q: %v, %q", c.docs, err, out)
		}
	}
}

func TestContinue(t *testing.T) {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte(`{"a":1,"b":2}`))
	for _, c := range []struct {
		config    Config
		head      string
		want, err string
	}{
		{Config{}, "b,a\n2,1\n", "2,1\n", ""},
		{Config{}, "b,a\n", "2,1\n", ""},
		{Config{}, "\n", "a,b\n1,2\n", ""},
		{Config{Header: no()}, "x,y\n", "1,2\n", ""},
		{Config{Columns: []string{"a"}}, "a\n1\n", "1\n", ""},
		{Config{Columns: []string{"a"}}, "a,b\n1,2\n", "", "has the columns a, b"},
		{Config{Encoding: "utf-16"}, "a,b\n", "", "can't be gone on with"},
	} {
		e := codecOf(t, c.config, penstock.CodecOptions{}).NewEncoder()
		err := e.(penstock.Continuer).Continue([]byte(c.head))
		if err != nil || c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v", c.head, err)
			}
			continue
		}
		if out, err := e.Append(nil, &d); err != nil || string(out) != c.want {
			t.Errorf("%q: %q, %v", c.head, out, err)
		}
	}
}

func TestWholeDocuments(t *testing.T) {
	codec := codecOf(t, Config{}, penstock.CodecOptions{Type: types.ListOf(order())})
	out, err := codec.Decode([]byte("x"), []byte("int,text\n1,a\n2,\n"))
	if err != nil || string(out) != `x[{"int":1,"text":"a"},{"int":2}]` {
		t.Errorf("%s, %v", out, err)
	}
	if out, err = codec.Decode(nil, []byte("int,text\n1,a\n2\n")); err == nil || !strings.Contains(err.Error(), "line 3") || len(out) > 0 {
		t.Errorf("%s, %v", out, err)
	}
	codec = codecOf(t, Config{}, penstock.CodecOptions{})
	var d jsonview.Doc
	for src, want := range map[string]string{`[{"a":1,"b":2},{"b":3}]`: "a,b\n1,2\n,3\n", `{"a":1}`: "a\n1\n", `[]`: ""} {
		d.Reset(jsonview.JSON, []byte(src))
		if out, err = codec.Encode(nil, &d); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v", src, out, err)
		}
	}
	d.Reset(jsonview.JSON, []byte(`[1]`))
	if _, err = codec.Encode(nil, &d); err == nil {
		t.Error("a list of numbers became rows")
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   int
	}{{Config{}, -1}, {Config{Quote: "none"}, 4}, {Config{Multiline: no()}, 4}} {
		if got := codecOf(t, c.config, penstock.CodecOptions{}).(penstock.Splitter).Split([]byte("a,b\nc")); got != c.want {
			t.Errorf("%+v: %d", c.config, got)
		}
	}
}

const retail = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" +
	"536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n" +
	"536381,82567,\"AIRLINE LOUNGE,METAL SIGN\",2,2010-12-01 09:41:00,2.1,15311.0,United Kingdom\n" +
	"536477,22041,\"RECORD FRAME 7\"\" SINGLE SIZE \",48,2010-12-01 12:27:00,2.1,,United Kingdom\n"

func retailType() *types.Type {
	return &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "InvoiceNo", Type: types.StringType}, {Name: "StockCode", Type: types.StringType}, {Name: "Description", Type: types.StringType},
		{Name: "Quantity", Type: types.IntType}, {Name: "InvoiceDate", Type: &types.Type{Kind: types.Timestamp, Layout: "2006-01-02 15:04:05"}},
		{Name: "UnitPrice", Type: types.DecimalType}, {Name: "CustomerID", Type: types.IntType}, {Name: "Country", Type: types.StringType},
	}}
}

func TestNoAllocations(t *testing.T) {
	codec := codecOf(t, Config{}, penstock.CodecOptions{Type: retailType()})
	f := codec.NewFramer("x")
	data := []byte(retail)
	n, _, err := f.Frame(data, true)
	if err != nil {
		t.Fatal(err)
	}
	var d jsonview.Doc
	e := codec.NewEncoder()
	out := e.Begin(make([]byte, 0, 4096))
	read := func() {
		for rest := data[n:]; len(rest) > 0; {
			n, record, err := f.Frame(rest, true)
			if err != nil || record == nil {
				t.Fatal(n, err)
			}
			f.Bind(&d, record)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	if allocs := testing.AllocsPerRun(100, read); allocs > 0 {
		t.Errorf("%v allocations for three rows", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		if out, err = e.Append(out[:0], &d); err != nil {
			t.Fatal(err)
		}
	}); allocs > 1 { // the time's text
		t.Errorf("%v allocations to write a row", allocs)
	}
	if want := "536477,22041,\"RECORD FRAME 7\"\" SINGLE SIZE \",48,2010-12-01 12:27:00,2.1,,United Kingdom\n"; string(out) != want {
		t.Errorf("%q", out)
	}
}

func BenchmarkRow(b *testing.B) {
	row := "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
	head := retail[:strings.IndexByte(retail, '\n')+1]
	for _, typ := range []*types.Type{nil, retailType()} {
		codec := codecOf(b, Config{}, penstock.CodecOptions{Type: typ})
		f := codec.NewFramer("x")
		if _, _, err := f.Frame([]byte(head), true); err != nil {
			b.Fatal(err)
		}
		data := []byte(strings.Repeat(row, 100))
		name := "strings"
		if typ != nil {
			name = "typed"
		}
		b.Run("frame-"+name, func(b *testing.B) {
			b.SetBytes(int64(len(row)))
			rest := data
			for b.Loop() {
				n, _, _ := f.Frame(rest, true)
				if rest = rest[n:]; len(rest) == 0 {
					rest = data
				}
			}
		})
		b.Run("decode-"+name, func(b *testing.B) {
			b.SetBytes(int64(len(row)))
			var d jsonview.Doc
			for b.Loop() {
				f.Bind(&d, data[:len(row)-1])
				if err := d.Parse(jsonview.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzAgainstStandard(f *testing.F) {
	for _, s := range []string{retail, "a,b\n\"x\ny\",\"\"\"\"\n", "a,\"b\n", "x\"y,\"a\"b\"\n,,\n", " \"a\" ,b\n\n\n", "a\rb,\r\nc\r", "\"\"\n\"\"\"\"\"\"\n"} {
		for _, lazy := range []bool{false, true} {
			f.Add(s, lazy, uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, in string, lazy bool, chunk uint8) {
		if len(in) > 2048 || strings.Contains(in, "\ufeff") {
			return
		}
		codec := codecOf(t, Config{Header: no(), LazyQuotes: lazy, Ragged: "allow", Encoding: "utf-8"}, penstock.CodecOptions{})
		got, err := rows(t, codec, in, 0)
		pieces, pieceErr := rows(t, codec, in, int(chunk)+1)
		if !slices.Equal(got, pieces) || (err == nil) != (pieceErr == nil) {
			t.Fatalf("all at once: %q, %v\nchunks of %d: %q, %v", got, err, int(chunk)+1, pieces, pieceErr)
		}
		// What encoding/csv accepts reads the same. It turns \r\n within quotes into \n, and lets a quote
		// that is never closed go when it is lazy; those are left out.
		r := stdcsv.NewReader(strings.NewReader(in))
		r.FieldsPerRecord, r.LazyQuotes = -1, lazy
		want, stdErr := r.ReadAll()
		if stdErr != nil || err != nil || strings.Contains(in, "\r") {
			return
		}
		if lazy && strings.Contains(strings.Join(got, ""), "never closed") {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%d rows %q, want %q", len(got), got, want)
		}
		for i, row := range got {
			valid := !slices.ContainsFunc(want[i], func(s string) bool { return strings.ToValidUTF8(s, "?") != s })
			if !valid {
				if !strings.HasPrefix(row, "!") {
					t.Fatalf("row %d is not UTF-8 and reads %s", i, row)
				}
				continue
			}
			var exp []byte
			for k, cell := range want[i] {
				exp = append(exp, ',')
				exp = append(jsonview.AppendString(exp, fmt.Sprintf("c%d", k+1)), ':')
				exp = jsonview.AppendString(exp, cell)
			}
			if exp[0] = '{'; row != string(exp)+"}" {
				t.Fatalf("row %d: %s, want %s}", i, row, exp)
			}
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("a", "b,\"c\"\n", "", ";", true)
	f.Add("\ufeff", " x ", "#", "tab", false)
	f.Fuzz(func(t *testing.T, a, b, c, sep string, trim bool) {
		codec, err := New(Config{Separator: sep, Trim: trim, Comment: "#", Null: "NULL"}, penstock.CodecOptions{})
		if err != nil {
			return
		}
		obj := []byte(`{"a":`)
		obj = append(jsonview.AppendString(obj, a), `,"b":`...)
		obj = append(jsonview.AppendString(obj, b), `,"c":`...)
		obj = append(jsonview.AppendString(obj, c), '}')
		var d jsonview.Doc
		d.Reset(jsonview.JSON, obj)
		e := codec.NewEncoder()
		out, err := e.Append(e.Begin(nil), &d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rows(t, codec, string(out), 0)
		if err != nil || len(got) != 1 || got[0] != string(obj) {
			t.Fatalf("%s was written as %q and read as %q, %v", obj, out, got, err)
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"17850.0", "+1", "-.5e3", "007", "1e5", "-00.0", "5."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, ",\"\r\n") || s == "" {
			return
		}
		codec := codecOf(t, Config{Header: no(), Columns: []string{"num", "int", "x"}, Encoding: "utf-8"}, penstock.CodecOptions{Type: order()})
		got, err := rows(t, codec, s+","+s+",x\n", 0) // rows checks that it is valid JSON
		if err != nil || len(got) > 1 {
			t.Fatal(got, err)
		}
	})
}

var errNever = errors.New("never")

func TestTranscoderPassesErrors(t *testing.T) {
	wrap := codecOf(t, Config{Encoding: "windows-1252"}, penstock.CodecOptions{}).(penstock.Transcoder).Transcode(nil)
	out, err := io.ReadAll(wrap(io.MultiReader(strings.NewReader("\xe9"), failing{})))
	if string(out) != "é" || !errors.Is(err, errNever) {
		t.Errorf("%q, %v", out, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errNever }
