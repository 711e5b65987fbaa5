package text_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/conform"
)

func harness(c text.Config) conform.CodecHarness {
	return conform.CodecHarness{
		New: func(t testing.TB, o penstock.CodecOptions) penstock.Codec {
			codec, err := text.New(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return codec
		},
		Streams: map[string][]string{"one\ntwo \"2\"\r\n\nthree": {`"one"`, `"two \"2\""`, `"three"`}},
		Torn:    "one\n\xff\nthree\n",
		Written: []string{`"one"`, `" two "`, `"é\t"`},
		Refused: `{"a":`,
	}
}

func TestConform(t *testing.T) {
	t.Run("lines", func(t *testing.T) { conform.Codec(t, harness(text.Config{})) })
	t.Run("delimiter", func(t *testing.T) {
		h := harness(text.Config{Delimiter: "--"})
		h.Streams = map[string][]string{"one\n----two-": {`"one\n"`, `"two-"`}}
		h.Torn = "one--\xff--three"
		conform.Codec(t, h)
	})
}

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness(text.Config{})) }
