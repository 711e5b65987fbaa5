package json_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
)

func harness(c json.Config) conform.CodecHarness {
	h := conform.CodecHarness{
		New: func(t testing.TB, o penstock.CodecOptions) penstock.Codec {
			codec, err := json.New(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return codec
		},
		Streams: map[string][]string{
			"{\"a\":1}\n\n{\"a\":\"}{\"}\r\n[1,{}]":           {`{"a":1}`, `{"a":"}{"}`, `[1,{}]`},
			`{"a":{"b":[1,2]}}{"a":2} "x" 12`:                 {`{"a":{"b":[1,2]}}`, `{"a":2}`, `"x"`, "12"},
			"\ufeff{\n  \"a\": [\n    1\n  ]\n}\n{\"a\":2}\n": {"{\n  \"a\": [\n    1\n  ]\n}", `{"a":2}`},
		},
		Torn:    "{\"a\":1}\n{\"a\":\n{\"a\":3}\n",
		Written: []string{`{"a":1}`, `{"a":{"b":[{},[]]},"c":"}\n{"}`, `[]`, `{"d":1.50,"e":null}`},
		Refused: "{\"a\":\n",
	}
	if c.Array {
		h.Streams = map[string][]string{" [ {\"a\":1},\n[2] , \"x]\" ] ": {`{"a":1}`, `[2]`, `"x]"`}, "[]": nil}
		h.Torn = `[{"a":1},{"a" 2},{"a":3}]`
	} else {
		h.Torn = "{\"a\":1}\n{\"a\" 2}\n{\"a\":3}\n"
	}
	return h
}

func TestConform(t *testing.T) {
	t.Run("stream", func(t *testing.T) { conform.Codec(t, harness(json.Config{})) })
	t.Run("array", func(t *testing.T) { conform.Codec(t, harness(json.Config{Array: true})) })
}

func BenchmarkConform(b *testing.B) { conform.BenchmarkCodec(b, harness(json.Config{})) }
