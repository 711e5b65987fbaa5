package csv_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/conform"
)

func harness(c csv.Config) conform.CodecHarness {
	return conform.CodecHarness{
		New: func(t testing.TB, o penstock.CodecOptions) penstock.Codec {
			codec, err := csv.New(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return codec
		},
		Streams: map[string][]string{
			"\ufeffa,b\r\n1,\"x,\"\"y\"\"\"\r\n\r\n2,": {`{"a":"1","b":"x,\"y\""}`, `{"a":"2","b":""}`},
			"a,b\n": nil,
		},
		Torn:    "a,b\n1,2\n3\n4,5\n",
		Written: []string{`{"a":"1","b":"x"}`, `{"a":"say \"hi\", you","b":""}`, `{"a":"","b":" é "}`},
		Refused: `[1]`,
	}
}

func TestConform(t *testing.T) {
	t.Run("default", func(t *testing.T) { conform.Codec(t, harness(csv.Config{})) })
	t.Run("line by line", func(t *testing.T) { conform.Codec(t, harness(csv.Config{Multiline: new(bool)})) })
	t.Run("lazy", func(t *testing.T) {
		h := harness(csv.Config{LazyQuotes: true})
		conform.Codec(t, h)
	})
}

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness(csv.Config{})) }
