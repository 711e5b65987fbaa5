package generate_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/connector/generate"
	"penstock.dev/penstock/jsonview"
)

// mapping writes the index and the random number of the message.
type mapping struct{}

func (mapping) Append(dst []byte, f *penstock.Frame) ([]byte, error) {
	index := f.Msg.Meta.Get("index").Int()
	if index == 5 {
		return dst, errors.New("five")
	}
	dst = append(dst, `{"i":`...)
	dst = strconv.AppendInt(dst, index, 10)
	dst = append(dst, `,"r":`...)
	return append(jsonview.AppendFloat(dst, f.Msg.Meta.Get("random").Double()), '}'), nil
}

// clock is moved by whoever waits for it.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.now = c.now.Add(d)
	fired := make(chan time.Time, 1)
	fired <- c.now
	return fired, func() {}
}

func env() penstock.Env {
	return penstock.Env{Clock: &clock{now: time.Unix(0, 0)}, Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}}
}

func source(t testing.TB, c generate.Config, e penstock.Env) penstock.Source {
	t.Helper()
	s, err := generate.New(c, e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spec is what the source is registered with.
func spec() penstock.Spec {
	r := penstock.NewRegistry()
	generate.Register(r)
	d, _ := r.Lookup(penstock.KindOfSource, "generate")
	return d.Spec
}

func harness() conform.SourceHarness {
	return conform.SourceHarness{
		Fill: func(_ testing.TB, bodies []string) func(testing.TB) penstock.Source {
			return func(t testing.TB) penstock.Source {
				return source(t, generate.Config{Count: int64(len(bodies))}, env())
			}
		},
		Spec:     spec(),
		Features: conform.SourceFeatures{Finite: true, Ordered: true, Resumes: true, OwnBodies: true},
	}
}

func TestConform(t *testing.T) { conform.Source(t, harness()) }

func BenchmarkConform(b *testing.B) { conform.BenchmarkSource(b, harness()) }

func TestBodies(t *testing.T) {
	ctx := context.Background()
	s := source(t, generate.Config{Count: 200}, env())
	var b penstock.Batch
	for n := 0; n < 200; n += len(b.Msgs) {
		b.Reset()
		if err := s.Read(ctx, &b); err != nil {
			t.Fatal(err)
		}
		for i, m := range b.Msgs {
			if got, want := conform.Text(t, m.Body), `{"index":`+strconv.Itoa(n+i)+`}`; got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	if err := s.Read(ctx, &b); !errors.Is(err, io.EOF) {
		t.Errorf("after 200: %v", err)
	}
}

func TestMapping(t *testing.T) {
	tree := penstock.DataTree{Tree: penstock.Tree{Kind: penstock.TreeMap}, Mapping: mapping{}}
	read := func(seed int64, from ...penstock.Position) (out []string, failed int) {
		s := source(t, generate.Config{Count: 10, Seed: seed, Body: tree}, env())
		if err := s.(penstock.Positioned).Resume(context.Background(), from); err != nil {
			t.Fatal(err)
		}
		var b penstock.Batch
		if err := s.Read(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Msgs {
			out = append(out, conform.Text(t, m.Body))
		}
		return out, b.Failed()
	}
	one, failed := read(7)
	again, _ := read(7)
	other, _ := read(8)
	rest, _ := read(7, penstock.Position{Stream: "generate", Next: 6})
	if len(one) != 10 || failed != 1 || one[5] != "null" {
		t.Fatalf("%q, %d failed; the sixth alone should fail", one, failed)
	}
	for i := range one {
		if one[i] != again[i] {
			t.Errorf("the same seed gives %s and %s", one[i], again[i])
		}
		if i >= 6 && rest[i-6] != one[i] {
			t.Errorf("after going on: %s, want %s", rest[i-6], one[i])
		}
	}
	if other[0] == one[0] {
		t.Error("another seed gives the same")
	}
	if _, err := generate.New(generate.Config{Body: penstock.DataTree{Tree: penstock.Tree{Kind: penstock.TreeMap}}}, env()); err == nil {
		t.Error("a body that was not compiled was accepted")
	}
}

func TestRate(t *testing.T) {
	e := env()
	c := e.Clock.(*clock)
	s := source(t, generate.Config{Rate: penstock.Rate{Count: 100, Per: time.Second}}, e)
	start := c.now
	var n int64
	var b penstock.Batch
	for n < 1000 {
		b.Reset()
		if err := s.Read(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
		n += int64(len(b.Msgs))
		if due := int64(c.now.Sub(start)/(10*time.Millisecond)) + 1; n > due {
			t.Fatalf("%d messages after %v", n, c.now.Sub(start))
		}
	}
	if took := c.now.Sub(start); took > 10*time.Second {
		t.Errorf("1000 messages at 100/s took %v", took)
	}
	c.now = c.now.Add(time.Hour) // whoever falls behind does not flood: a batch has its size
	b.Reset()
	if err := s.Read(context.Background(), &b); err != nil || len(b.Msgs) > 128 {
		t.Errorf("%d messages at once, %v", len(b.Msgs), err)
	}
}

func TestAllocations(t *testing.T) {
	s := source(t, generate.Config{}, env())
	var b penstock.Batch
	read := func() {
		b.Reset()
		if err := s.Read(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(50, read); n > 1 {
		t.Errorf("%v allocations for a batch", n)
	}
}
