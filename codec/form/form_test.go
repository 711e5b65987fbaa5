package form_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/form"
	"penstock.dev/penstock/conform"
)

func codec(t testing.TB, o penstock.CodecOptions) penstock.Codec {
	t.Helper()
	c, err := form.New(form.Config{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func harness() conform.CodecHarness {
	return conform.CodecHarness{
		New: codec,
		Streams: map[string][]string{
			"a=1&b=x+y&c=%C3%A4%26\n\r\na=2&a=&a=3\r\nd\n": {`{"a":"1","b":"x y","c":"ä&"}`, `{"a":["2","","3"]}`, `{"d":""}`},
			"a=1": {`{"a":"1"}`},
		},
		Torn:    "a=1\nb=%zz\nc=3\n",
		Written: []string{`{"a":"1"}`, `{"a b":"x&y=z","ä":["1","2 3"]}`},
		Refused: `{"a":{}}`,
	}
}

func TestConform(t *testing.T) { conform.Codec(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness()) }

func TestDecode(t *testing.T) {
	c := codec(t, penstock.CodecOptions{})
	for in, want := range map[string]string{
		"": `{}`, "&&": `{}`, "=": `{"":""}`, "a=b=c": `{"a":"b=c"}`, "a=1&b=2&a=3": `{"a":["1","3"],"b":"2"}`, "a=%": "!", "a=%4": "!", "%ff=1": "!", "a=%00": `{"a":"\u0000"}`,
		strings.Repeat("a&", 10_001): "!",
	} {
		got, err := c.Decode(nil, []byte(in))
		if want == "!" {
			if err == nil || len(got) > 0 {
				t.Errorf("%.40q became %s", in, got)
			}
		} else if err != nil || string(got) != want {
			t.Errorf("%q became %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestEncode(t *testing.T) {
	c := codec(t, penstock.CodecOptions{})
	for in, want := range map[string]string{
		`{"a":1.50,"b":true,"c":null,"d":[1,null,"x y"]}`: "a=1.50&b=true&d=1&d=x+y", `{}`: "", `[]`: "!", `{"a":[[1]]}`: "!", `{`: "!", `{"a":"\r\n~"}`: "a=%0D%0A%7E",
	} {
		got, err := c.Encode(nil, conform.Doc(in))
		if (err != nil) != (want == "!") || err == nil && string(got) != want {
			t.Errorf("%s became %s, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzDecode holds that what is read is written back to something that reads the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a=%C3%A4&a=+", "%zz", "=&=", "a"} {
		f.Add(s)
	}
	c := codec(f, penstock.CodecOptions{})
	f.Fuzz(func(t *testing.T, in string) {
		first, err := c.Decode(nil, []byte(in))
		if err != nil {
			return
		}
		form, err := c.Encode(nil, conform.Doc(string(first)))
		if err != nil {
			t.Fatalf("%q became %s, which can't be written: %v", in, first, err)
		}
		if again, err := c.Decode(nil, form); err != nil || string(again) != string(first) {
			t.Errorf("%q became %s, then %s, then %s, %v", in, first, form, again, err)
		}
	})
}
