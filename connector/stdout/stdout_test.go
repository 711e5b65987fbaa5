package stdout_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/stdout"
)

// output is a standard output that can break.
type output struct {
	bytes.Buffer
	broken bool
}

func (o *output) Write(p []byte) (int, error) {
	if o.broken {
		return 0, errors.New("broken pipe")
	}
	return o.Buffer.Write(p)
}

func newSink(t testing.TB, codec penstock.Codec, out *output) penstock.Sink {
	t.Helper()
	s, err := stdout.New(stdout.Config{Format: penstock.Format{Codec: codec}}, penstock.Env{Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func harness() conform.SinkHarness {
	return conform.SinkHarness{
		New: func(t testing.TB) conform.SinkMedium {
			out := new(output)
			codec, err := json.New(json.Config{}, penstock.CodecOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return conform.SinkMedium{
				Sink: func(t testing.TB) penstock.Sink { return newSink(t, codec, out) },
				Written: func(testing.TB) []string {
					if out.Len() == 0 {
						return nil
					}
					return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
				},
				Break: func(testing.TB) { out.broken = true },
			}
		},
		Features: conform.SinkFeatures{Loses: true},
		Refused:  "{\n",
	}
}

func TestConform(t *testing.T) { conform.Sink(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkSink(b, harness()) }

func TestFormats(t *testing.T) {
	rows, err := csv.New(csv.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.New(json.Config{Array: true}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		codec penstock.Codec
		want  string
	}{{rows, "a\n1\n2\n"}, {list, "[\n{\"a\":1},\n{\"a\":2}\n]\n"}} {
		out := new(output)
		s := newSink(t, c.codec, out)
		ctx := t.Context()
		if err := errors.Join(s.Open(ctx), s.Write(ctx, conform.Batch(`{"a":1}`)), s.Write(ctx, conform.Batch(`{"a":2}`)), s.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%q, want %q", out.String(), c.want)
		}
	}
}

func TestMissingParts(t *testing.T) {
	if _, err := stdout.New(stdout.Config{}, penstock.Env{Stdout: new(output)}); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
	codec, _ := json.New(json.Config{}, penstock.CodecOptions{})
	if _, err := stdout.New(stdout.Config{Format: penstock.Format{Codec: codec}}, penstock.Env{}); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
}
