package stdin_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/stdin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func format(t testing.TB) penstock.Format {
	t.Helper()
	codec, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Codec: codec}
}

func source(t testing.TB, f penstock.Format, r io.Reader) penstock.Source {
	t.Helper()
	s, err := stdin.New(stdin.Config{Format: f, MaxRecord: 1 << 20}, penstock.Env{Stdin: r})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spec is what the source is registered with.
func spec() penstock.Spec {
	r := penstock.NewRegistry()
	stdin.Register(r)
	d, _ := r.Lookup(penstock.KindOfSource, "stdin")
	return d.Spec
}

func harness() conform.SourceHarness {
	return conform.SourceHarness{
		Fill: func(_ testing.TB, bodies []string) func(testing.TB) penstock.Source {
			return func(t testing.TB) penstock.Source {
				in := strings.Join(bodies, "\n")
				return source(t, format(t), strings.NewReader(in))
			}
		},
		Spec:     spec(),
		Features: conform.SourceFeatures{Finite: true, Ordered: true},
	}
}

func TestConform(t *testing.T) { conform.Source(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkSource(b, harness()) }

// TestPipe holds the source to give each line when it is there, without waiting for the next.
func TestPipe(t *testing.T) {
	r, w := io.Pipe()
	s := source(t, format(t), r)
	ctx := context.Background()
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	var b penstock.Batch
	for _, line := range []string{`{"a":1}`, `[2]`, `"x"`, `{"b":{"c":"}"}}`} {
		go func() { _, _ = io.WriteString(w, line+"\n") }()
		b.Reset()
		if err := s.Read(ctx, &b); err != nil || len(b.Msgs) != 1 || conform.Text(t, b.Msgs[0].Body) != line {
			t.Fatalf("%s: %d messages, %v", line, len(b.Msgs), err)
		}
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	b.Reset()
	if err := s.Read(stopped, &b); !errors.Is(err, context.Canceled) {
		t.Errorf("a silent pipe, cancelled: %v", err)
	}
	if err := w.CloseWithError(errors.New("cut")); err != nil {
		t.Fatal(err)
	}
	if err := s.Read(ctx, &b); err == nil || !strings.Contains(err.Error(), "cut") {
		t.Errorf("a pipe that fails: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestEncodingIsFoundOut(t *testing.T) {
	codec, err := csv.New(csv.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"a\n\xc3\xa9\n", "\xff\xfea\x00\n\x00\xe9\x00\n\x00"} {
		s := source(t, penstock.Format{Name: "csv", Codec: codec}, strings.NewReader(in))
		ctx := context.Background()
		if err := s.Open(ctx); err != nil {
			t.Fatal(err)
		}
		var b penstock.Batch
		if err := s.Read(ctx, &b); err != nil || len(b.Msgs) != 1 || conform.Text(t, b.Msgs[0].Body) != `{"a":"é"}` {
			t.Errorf("%q: %d messages, %v", in, len(b.Msgs), err)
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestLimit(t *testing.T) {
	s := source(t, format(t), strings.NewReader("{\"a\":1}\n\""+strings.Repeat("x", 2<<20)+"\"\n{\"a\":2}\n"))
	ctx := context.Background()
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	var good, bad int
	for {
		var b penstock.Batch
		err := s.Read(ctx, &b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Msgs {
			if err := b.Err(i); err != nil {
				bad++
				if penstock.CodeOf(err) != penstock.TooLarge || !strings.Contains(err.Error(), "line 2, byte 8") {
					t.Error(err)
				}
			} else {
				good++
			}
		}
	}
	if good != 2 || bad != 1 {
		t.Errorf("%d messages and %d bad ones, want 2 and 1", good, bad)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestMissingParts(t *testing.T) {
	if _, err := stdin.New(stdin.Config{}, penstock.Env{Stdin: strings.NewReader("")}); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
	if _, err := stdin.New(stdin.Config{Format: format(t)}, penstock.Env{}); penstock.CodeOf(err) != penstock.Config {
		t.Error(err)
	}
}
