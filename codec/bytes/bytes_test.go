package bytes_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/bytes"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

func codec(t testing.TB, o penstock.CodecOptions) penstock.Codec {
	t.Helper()
	c, err := bytes.New(bytes.Config{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func harness() conform.CodecHarness {
	return conform.CodecHarness{
		New:     codec,
		Streams: map[string][]string{"\x00\xff\n{": {`"AP8Kew=="`}, "": nil},
		Written: []string{`"AP8Kew=="`},
		Refused: `{"a":1}`,
	}
}

func TestConform(t *testing.T) { conform.Codec(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness()) }

func TestEncode(t *testing.T) {
	c := codec(t, penstock.CodecOptions{})
	var d jsonview.Doc
	d.Reset(jsonview.Binary, []byte("\xff\x00"))
	if got, err := c.Encode([]byte("a"), &d); err != nil || string(got) != "a\xff\x00" {
		t.Errorf("bytes became %q, %v", got, err)
	}
	if got, err := c.Encode([]byte("a"), conform.Doc(`"AP8="`)); err != nil || string(got) != "a\x00\xff" {
		t.Errorf("a text of base64 became %q, %v", got, err)
	}
	for _, text := range []string{`"x y"`, `1`, `null`, `{`} {
		if got, err := c.Encode([]byte("a"), conform.Doc(text)); err == nil || string(got) != "a" {
			t.Errorf("%s became %q", text, got)
		}
	}
}
