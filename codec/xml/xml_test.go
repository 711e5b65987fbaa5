package xml

import (
	"bytes"
	"encoding/json"
	stdxml "encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

func newCodec(t testing.TB, c Config, typ *types.Type) *codec {
	t.Helper()
	k, err := New(c, penstock.CodecOptions{Type: typ})
	if err != nil {
		t.Fatal(err)
	}
	return k.(*codec)
}

func document(t testing.TB, text string) *jsonview.Doc {
	t.Helper()
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(text))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

func object(fields ...types.Field) *types.Type {
	return &types.Type{Kind: types.Object, Fields: fields}
}

var orderType = object(
	types.Field{Name: "@id", Type: types.IntType},
	types.Field{Name: "customer", Type: object(types.Field{Name: "name", Type: types.StringType}, types.Field{Name: "vip", Type: types.BoolType})},
	types.Field{Name: "line", Type: types.ListOf(object(types.Field{Name: "@sku", Type: types.StringType}, types.Field{Name: "#text", Type: types.IntType})), Required: true},
	types.Field{Name: "total", Type: types.DecimalType},
	types.Field{Name: "placed", Type: &types.Type{Kind: types.Timestamp, Layout: "02.01.2006"}},
	types.Field{Name: "note", Type: &types.Type{Kind: types.Double, Nullable: true}},
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		typ    *types.Type
		text   string
		want   string
	}{
		"text":                 {text: `<a>x</a>`, want: `"x"`},
		"nothing":              {text: `<a/>`, want: `""`},
		"elements":             {text: `<a><b>1</b><c/></a>`, want: `{"b":"1","c":""}`},
		"attributes":           {text: `<a x="1" y='"'><b z=""/></a>`, want: `{"@x":"1","@y":"\"","b":{"@z":""}}`},
		"text beside":          {text: "<a x='1'>t</a>", want: `{"@x":"1","#text":"t"}`},
		"a list":               {text: `<a><b>1</b><c/><b>2</b></a>`, want: `{"b":["1","2"],"c":""}`},
		"a list by option":     {config: Config{Lists: []string{"b"}}, text: `<a><b>1</b></a>`, want: `{"b":["1"]}`},
		"mixed":                {text: "<a>one <b/> two</a>", want: `{"b":"","#text":"one  two"}`},
		"blanks":               {text: "<a>\n  <b> x </b>\n</a>\n", want: `{"b":" x "}`},
		"references":           {text: "<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x1F600;</a>", want: `"<&>\"'A😀"`},
		"CDATA":                {text: "<a>1 <![CDATA[<b>&amp;]]]]><![CDATA[>]]> 2</a>", want: `"1 <b>&amp;]]> 2"`},
		"line ends":            {text: "<a x='1\r\n2\t3'>1\r\n2\r3</a>", want: `{"@x":"1 2 3","#text":"1\n2\n3"}`},
		"comments":             {text: "<?xml version='1.0' encoding='utf-8'?><!-- a --><?p i?><a>x<!-- < & -->y<?z ?></a><!-- b -->", want: `"xy"`},
		"a byte order mark":    {text: "\ufeff<a/>", want: `""`},
		"names":                {text: "<élan à-1.2='x'/>", want: `{"@à-1.2":"x"}`},
		"tags in pieces":       {text: "<a\n x = '1'\n ><b /></a >", want: `{"@x":"1","b":""}`},
		"a > in an attribute":  {text: `<a x=">"><b y='/>'/></a>`, want: `{"@x":">","b":{"@y":"/>"}}`},
		"namespaces":           {text: `<o:a xmlns:o="urn:o" xmlns="urn:d" o:x="1"><b/></o:a>`, want: `{"@x":"1","b":""}`},
		"namespaces by prefix": {config: Config{Namespaces: map[string]string{"p": "urn:o", "": "urn:d"}}, text: `<q:a xmlns:q="urn:o" xmlns="urn:d" q:x="1" y="2"><b xmlns="urn:o"/><b/></q:a>`, want: `{"@p:x":"1","@y":"2","p:b":"","b":""}`},
		"xml:lang":             {text: `<a xml:lang="en">x</a>`, want: `{"@xml:lang":"en","#text":"x"}`},
		"nil":                  {text: `<a xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><b i:nil="true"/><c i:type="d">1</c></a>`, want: `{"b":null,"c":"1"}`},
		"other words":          {config: Config{Attributes: "_", Text: "$"}, text: `<a x="1">t</a>`, want: `{"_x":"1","$":"t"}`},
		"doctype":              {config: Config{Doctype: "skip"}, text: `<!DOCTYPE a [<!ENTITY e "x>"> <!-- ] > --> ]><a>1</a>`, want: `"1"`},
		"types": {typ: orderType, text: `<order id="007"><customer/><line sku="a"> +2.0 </line><total>1234567890123456789.10</total><placed>05.01.2026</placed><note/></order>`,
			want: `{"@id":7,"customer":{},"line":[{"@sku":"a","#text":2}],"total":1234567890123456789.10,"placed":"2026-01-05T00:00:00Z","note":null}`},
		"types that do not fit": {typ: orderType, text: `<order id="x"><customer><vip>maybe</vip></customer><total/><placed>soon</placed><note>.5e3</note></order>`,
			want: `{"@id":"x","customer":{"vip":"maybe"},"placed":"soon","note":0.5e3,"line":[]}`},
		"records": {config: Config{Records: "/orders/*/order"}, text: `<?xml version="1.0"?><orders><head><x>1</x></head><day n="1"> <order>1</order><other><order>no</order></other></day><day><order x="2"/></day></orders>`,
			want: `["1",{"@x":"2"}]`},
		"no records":          {config: Config{Records: "/orders/order"}, text: `<orders/>`, want: `[]`},
		"namespaces around":   {config: Config{Records: "/o:orders/o:order", Namespaces: map[string]string{"o": "urn:o"}}, text: `<orders xmlns="urn:o"><order><x/></order></orders>`, want: `[{"o:x":""}]`},
		"many different ones": {text: `<a>` + strings.Repeat(`<b/>`, 3) + manyElements() + `</a>`, want: `{"b":["","",""],` + manyMembers() + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newCodec(t, c.config, c.typ).Decode([]byte("~"), []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "~"+c.want {
				t.Errorf("read %s\nwant %s", got[1:], c.want)
			}
		})
	}
}

func manyElements() string {
	var s strings.Builder
	for range 2 {
		for i := range 40 {
			s.WriteString("<n" + string(rune('A'+i%26)) + string(rune('a'+i/26)) + "/>")
		}
	}
	return s.String()
}

func manyMembers() string {
	var s []string
	for i := range 40 {
		s = append(s, `"n`+string(rune('A'+i%26))+string(rune('a'+i/26))+`":["",""]`)
	}
	return strings.Join(s, ",")
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:                      "there is no element",
		`x`:                     "line 1, column 1: text stands outside",
		`<a>`:                   "the element that begins here has no end",
		"<a>\n <b></c>\n</a>":   "/a/b, line 2, column 5: </c> stands where <b> is to be closed",
		`<a/><b/>`:              "a second root element",
		`</a>`:                  "closes nothing",
		`<a x=1/>`:              "has no quotes",
		`<a x/>`:                "has no value",
		`<a x='1' x="2"/>`:      "there twice",
		`<a x='1'y='2'/>`:       "a blank is missing",
		`<a x='<'/>`:            "line 1, column 7: `<` in the value",
		`<a b<c/>`:              "`<` within a tag",
		`<1/>`:                  "begins no tag",
		`<a>&b;</a>`:            "the entity &b; is not known",
		`<a>&</a>`:              "begins no reference",
		`<a>&#0;</a>`:           "no character that can stand in XML",
		`<a>&#xD800;</a>`:       "no character that can stand in XML",
		`<a>&#99999999999;</a>`: "is no character",
		"<a>\n\x01</a>":         "/a, line 2, column 1: the character U+0001 can't stand in XML",
		"<a>\ufffe</a>":         "U+FFFE",
		"<a>\xff</a>":           "no UTF-8",
		`<a>]]></a>`:            "]]&gt;",
		`<a><!-- -- --></a>`:    "`--` stands in a comment",
		`<a><!DOCTYPE b></a>`:   "within an element",
		`<!DOCTYPE a><a/>`:      "a document type declaration is refused",
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`: "a document type declaration is refused",
		`<a:b/>`:                       "the prefix of a:b is not declared",
		`<a b:c="1"/>`:                 "the prefix of b:c is not declared",
		`<a xmlns:b=""/>`:              "declared as nothing",
		`<a xmlns:b="1" xmlns:b="2"/>`: "there twice",
		`<a:b:c xmlns:a="1"/>`:         "no name with a prefix",
		`<a xmlns:p="u" xmlns:q="u" p:x="" q:x=""/>`:             "there twice",
		`<?xml version="1.0" encoding="ISO-8859-1"?><a/>`:        "only UTF-8 is read",
		"\xff\xfe<\x00a\x00/\x00>\x00":                           "UTF-16",
		` <?xml version="1.0"?><a/>`:                             "only stand at the beginning",
		`<a><?xml version="1.0"?></a>`:                           "only stand at the beginning",
		strings.Repeat("<a>", 600) + strings.Repeat("</a>", 600): "nested more than 512 deep",
		`<a>` + strings.Repeat("<b", 1) + `</a>`:                 "`<` within a tag",
		"<a\x00/>":                                               "a blank is missing",
	} {
		if _, err := newCodec(t, Config{}, nil).Decode(nil, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v\nwant %s", text, err, want)
		}
	}
	for want, c := range map[string]struct {
		config Config
		text   string
	}{
		"the root is <b>, and <a> is expected":  {Config{Root: "a"}, `<b/>`},
		"the root is <b>, and <os> is expected": {Config{Records: "/os/o"}, `<b/>`},
		"text stands between elements":          {Config{Mixed: "refuse"}, `<a><x>1<b/></x></a>`},
		"the entity &e; is not known":           {Config{Doctype: "skip"}, `<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`},
	} {
		if _, err := newCodec(t, c.config, nil).Decode(nil, []byte(c.text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", c.text, err, want)
		}
	}
}

func TestWrite(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		config     Config
		text, want string
	}{
		"an object": {Config{Root: "a"}, `{"@id":5,"b":"<&>","c":[1,true,null],"d":{"e":{}},"f":null,"#text":"x"}`,
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a id=\"5\">x<b>&lt;&amp;&gt;</b><c>1</c><c>true</c><d><e/></d></a>\n"},
		"text":       {Config{Root: "a", Declaration: &no}, `"x\r\n"`, "<a>x&#13;\n</a>\n"},
		"attributes": {Config{Root: "a", Declaration: &no}, `{"@x":"\"\n\t'","@y":null}`, "<a x=\"&quot;&#10;&#9;'\"/>\n"},
		"null":       {Config{Root: "a", Declaration: &no, Nulls: "nil"}, `{"b":null}`, `<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><b xsi:nil="true"/></a>` + "\n"},
		"empty":      {Config{Root: "a", Declaration: &no, Nulls: "empty"}, `{"b":null,"c":""}`, "<a><b/><c/></a>\n"},
		"indented":   {Config{Root: "a", Declaration: &no, Indent: 2}, `{"b":{"c":1,"d":[1,2]},"e":{"#text":"x","f":{"g":1}}}`, "<a>\n  <b>\n    <c>1</c>\n    <d>1</d>\n    <d>2</d>\n  </b>\n  <e>x<f><g>1</g></f></e>\n</a>\n"},
		"namespaces": {Config{Root: "o:a", Declaration: &no, Namespaces: map[string]string{"o": "urn:o", "": "urn:d"}}, `{"@o:x":1,"b":{"o:c":2}}`, `<o:a xmlns="urn:d" xmlns:o="urn:o" o:x="1"><b><o:c>2</o:c></b></o:a>` + "\n"},
		"records":    {Config{Records: "/o/p/q", Indent: 1}, `[1,{"x":2}]`, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<o>\n <p>\n  <q>1</q>\n  <q>\n   <x>2</x>\n  </q>\n </p>\n</o>\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newCodec(t, c.config, nil).Encode([]byte("~"), document(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "~"+c.want {
				t.Errorf("wrote %s\nwant  %s", got[1:], c.want)
			}
			var v struct {
				XMLName stdxml.Name
			}
			if err := stdxml.Unmarshal(got[1:], &v); err != nil {
				t.Error(err)
			}
		})
	}
	for want, c := range map[string]struct {
		config Config
		text   string
	}{
		"without the name of the root":             {Config{}, `{}`},
		"body: a list stands where one element":    {Config{Root: "a"}, `[]`},
		"body.b[1]: a list stands where":           {Config{Root: "a"}, `{"b":[1,[2]]}`},
		"body.b c: is no name of XML":              {Config{Root: "a"}, `{"b c":1}`},
		"body.@b c: is no name of XML":             {Config{Root: "a"}, `{"@b c":1}`},
		"body.x:y: is no name of XML":              {Config{Root: "a"}, `{"x:y":1}`},
		"body.b: the character U+0000 can't stand": {Config{Root: "a"}, `{"b":"\u0000"}`},
		"body.@b: text is wanted here":             {Config{Root: "a"}, `{"@b":{}}`},
		"`*` in `records`":                         {Config{Records: "/*/a"}, `{}`},
		"has one of it":                            {Config{Records: "/a"}, `[1,2]`},
	} {
		dst, err := newCodec(t, c.config, nil).Encode([]byte("kept"), document(t, c.text))
		if err == nil || !strings.Contains(err.Error(), want) || string(dst) != "kept" {
			t.Errorf("%s: %q, %v, want %s", c.text, dst, err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"does not begin at the root":  {Records: "orders/order"},
		`"" is no name of an element`: {Records: "/orders/"},
		"leave one of them out":       {Records: "/a/b", Root: "a"},
		"is not in `namespaces`":      {Root: "p:a"},
		`"1a" is no name`:             {Lists: []string{"1a"}},
		"begin with":                  {Text: "@", Attributes: "@"},
		"no prefix that can be":       {Namespaces: map[string]string{"xml": "urn:x"}},
		"stands for nothing":          {Namespaces: map[string]string{"a": ""}},
		"has two prefixes":            {Namespaces: map[string]string{"a": "u", "b": "u"}},
	} {
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
}

func harness(c Config) conform.CodecHarness {
	return conform.CodecHarness{
		New: func(t testing.TB, o penstock.CodecOptions) penstock.Codec {
			k, err := New(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return k
		},
		Streams: map[string][]string{
			"<?xml version=\"1.0\"?>\n<os>\n <o a='>'><b>1</b></o> <!-- <o/> -->\n<x><o/></x><o/><![CDATA[<o>]]><o><o>2</o></o></os>\n": {`{"@a":">","b":"1"}`, `""`, `{"o":"2"}`},
			"<os/>": nil,
		},
		Torn:    "<os><o>1</o><o>&x;</o><o>3</o></os>",
		Written: []string{`{"@a":"1","b":["2","3"]}`, `"x"`, `{"c":{"d":"` + strings.Repeat("y", 500) + `"}}`},
		Refused: `{"a b":1}`,
	}
}

func TestConform(t *testing.T) { conform.Codec(t, harness(Config{Records: "/os/o"})) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness(Config{Records: "/os/o"})) }

// FuzzDecode holds what is taken for XML to another reader, and to what is written of it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"<a x='1'><b>1</b>t<b/></a>", "<?xml version='1.0'?><!-- --><a xmlns:b='c'><b:d b:e='&lt;'/></a>", "<a><![CDATA[x]]>&#65;</a>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "<é/>"} {
		f.Add([]byte(s))
	}
	plain := newCodec(f, Config{Doctype: "skip", Root: "a"}, orderType)
	f.Fuzz(func(t *testing.T, raw []byte) {
		any := &codec{plain.dialect}
		d := *plain.dialect
		d.root = ""
		any.dialect = &d
		text, err := any.Decode(nil, raw)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("no JSON: %q", text)
		}
		doc := new(jsonview.Doc)
		doc.Reset(jsonview.JSON, text)
		if err := doc.Parse(jsonview.Limits{}); err != nil {
			return // an element that is called as an attribute is
		}
		dec := stdxml.NewDecoder(bytes.NewReader(raw))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				if bytes.Contains(raw, []byte("<!")) || bytes.Contains(raw, []byte("<?")) || strings.Contains(err.Error(), "invalid XML name") { // which that reads as it likes; its names are those of the fourth edition
					break
				}
				t.Fatalf("%q is no XML to another: %v", raw, err)
			}
		}
		again, err := plain.Encode(nil, doc)
		if err != nil {
			return // a name that has a prefix which only stands in the text
		}
		if _, err := any.Decode(nil, again); err != nil {
			t.Fatalf("%q was written as %q: %v", text, again, err)
		}
	})
}

// FuzzFrame cuts streams anywhere.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("<os><o>1</o><!-- --><x/><o a='>'/></os>"), uint8(3))
	k := newCodec(f, Config{Records: "/os/o", Doctype: "skip"}, nil)
	f.Fuzz(func(t *testing.T, raw []byte, chunk uint8) {
		whole, wholeErr := frames(t, k, raw, len(raw)+1)
		pieces, err := frames(t, k, raw, int(chunk)+1)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") || (wholeErr == nil) != (err == nil) {
			t.Fatalf("%q: %q %v, in pieces %q %v", raw, whole, wholeErr, pieces, err)
		}
	})
}

func frames(t *testing.T, k *codec, raw []byte, chunk int) (out []string, bad error) {
	f := k.NewFramer("x")
	shown, most := min(chunk, len(raw)), 10*len(raw)+100
	for steps := 0; ; steps++ {
		if steps > most {
			t.Fatalf("%q: the framer does not move on", raw)
		}
		eof := shown == len(raw)
		n, rec, err := f.Frame(raw[:shown], eof)
		if rec != nil {
			out = append(out, string(rec))
		}
		if err != nil && n == 0 {
			return out, err
		}
		if n == 0 {
			if eof {
				return out, nil
			}
			shown = min(shown+chunk, len(raw))
			continue
		}
		raw, shown = raw[n:], min(max(shown-n, chunk), len(raw)-n)
	}
}

func TestAllocations(t *testing.T) {
	k := newCodec(t, Config{Root: "order"}, orderType)
	raw := []byte(`<order id="7"><customer><name>Ada</name><vip>true</vip></customer><line sku="a">2</line><line sku="b">3</line><total>12.50</total></order>`)
	text := make([]byte, 0, 4096)
	var rec []byte
	f := k.newFramer()
	if _, rec, _ = f.Frame(raw, true); rec == nil {
		t.Fatal("no record")
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.record(text, rec, nil, 1); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("reading: %v allocations", n)
	}
	d := document(t, `{"@id":7,"customer":{"name":"Ada","vip":true},"line":[{"@sku":"a","#text":2}],"total":12.50}`)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.Encode(text, d); err != nil {
			t.Fatal(err)
		}
	}); n > 20 {
		t.Errorf("writing: %v allocations", n)
	}
}

func BenchmarkRead(b *testing.B) {
	k := newCodec(b, Config{Root: "order"}, orderType)
	raw := []byte(`<order id="7"><customer><name>Ada</name><vip>true</vip></customer><line sku="a">2</line><line sku="b">3</line><total>12.50</total></order>`)
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		var text []byte
		var err error
		for b.Loop() {
			if text, err = k.Decode(text[:0], raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tokens of the standard library", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			d := stdxml.NewDecoder(bytes.NewReader(raw))
			for {
				if _, err := d.Token(); err != nil {
					break
				}
			}
		}
	})
}
