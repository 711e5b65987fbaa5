package conform

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"penstock.dev/penstock"
)

// SinkMedium is one place that a sink writes to.
type SinkMedium struct {
	// Sink makes a sink for it; again for a restart.
	Sink func(t testing.TB) penstock.Sink
	// Written gives the JSON bodies that stand there after Close. Nil if nobody can know.
	Written func(t testing.TB) []string
	// Crash does what a power cut does: what is not durable is gone. The sink in use is not used any more. Nil
	// if it can't be done.
	Crash func(t testing.TB)
	// Break makes every write fail from now on. Nil if it can't be done.
	Break func(t testing.TB)
}

// SinkFeatures is what a sink declares.
type SinkFeatures struct {
	Loses     bool // does not keep what it writes (its Spec says what it loses)
	Continues bool // a new sink on the same medium goes on after what is there
	// Knows says that it is registered, as it is configured here, with RewriteKnown: a message that it is given once more is there once. It
	// must take identities from the Env that it is built with (penstock.Env.AppendIdentity).
	Knows bool
}

// SinkHarness describes a sink.
type SinkHarness struct {
	// New makes an empty medium.
	New      func(t testing.TB) SinkMedium
	Features SinkFeatures
	// Refused is a JSON body that the sink can't write while it can all others; empty if there is none.
	Refused string
	// Crashes is how often a medium that goes on after what is there is crashed; 0 is three times. Where a crash is that of a server which takes many seconds to
	// come back, once shows it.
	Crashes int
}

// Sink runs the suite.
func Sink(t *testing.T, h SinkHarness) {
	t.Run("writes everything in order", h.writesEverything)
	t.Run("takes an empty batch", h.emptyBatch)
	t.Run("keeps nothing of a batch", h.retainsNothing)
	t.Run("names the message that it can't write", h.refuses)
	t.Run("has on disk what it flushed", h.durable)
	t.Run("goes on after a crash", h.continues)
	t.Run("does not go on after a failure", h.breaks)
	t.Run("is closed at any time", h.closed)
	t.Run("is written to by many at once", h.parallel)
	t.Run("knows what it is given once more", h.knows)
	t.Run("knows what another one was given", h.knowsFromOthers)
	t.Run("knows what fails beside others", h.knowsFailures)
}

const sinkMessages = 2000

func (h SinkHarness) open(t testing.TB, m SinkMedium) penstock.Sink {
	t.Helper()
	s := m.Sink(t)
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s penstock.Sink, bodies []string) {
	t.Helper()
	for len(bodies) > 0 {
		n := min(len(bodies), 100)
		if err := s.Write(context.Background(), Batch(bodies[:n]...)); err != nil {
			t.Fatal(err)
		}
		bodies = bodies[n:]
	}
}

func flush(t testing.TB, s penstock.Sink) {
	t.Helper()
	if f, ok := s.(penstock.Flusher); ok {
		if err := f.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func closeSink(t testing.TB, s penstock.Sink) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (h SinkHarness) written(t testing.TB, m SinkMedium, want []string) {
	t.Helper()
	if m.Written == nil {
		if !h.Features.Loses {
			t.Fatal("the harness has no Written, and the sink does not declare Loses")
		}
		return
	}
	same(t, m.Written(t), want, true)
}

func (h SinkHarness) writesEverything(t *testing.T) {
	m := h.New(t)
	s := h.open(t, m)
	want := numbered(sinkMessages)
	write(t, s, want[:1000])
	flush(t, s)
	write(t, s, want[1000:])
	flush(t, s)
	flush(t, s)
	closeSink(t, s)
	h.written(t, m, want)
}

func (h SinkHarness) emptyBatch(t *testing.T) {
	m := h.New(t)
	s := h.open(t, m)
	if err := s.Write(context.Background(), new(penstock.Batch)); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	closeSink(t, s)
	h.written(t, m, nil)
}

func (h SinkHarness) retainsNothing(t *testing.T) {
	m := h.New(t)
	s := h.open(t, m)
	want := numbered(300)
	for i := 0; i < len(want); i += 50 {
		b := Batch(want[i : i+50]...)
		if err := s.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if len(b.Msgs) != 50 || Text(t, b.Msgs[7].Body) != want[i+7] {
			t.Fatal("the sink changed the batch")
		}
		scribble(b)
	}
	closeSink(t, s)
	h.written(t, m, want)
}

func (h SinkHarness) refuses(t *testing.T) {
	if h.Refused == "" {
		t.Skip("the harness knows no body that the sink refuses")
	}
	m := h.New(t)
	s := h.open(t, m)
	err := s.Write(context.Background(), Batch(`{"n":1}`, h.Refused, `{"n":2}`))
	var each *penstock.BatchError
	if !errors.As(err, &each) || len(each.Errs) != 1 || each.Errs[1] == nil {
		t.Fatalf("Write: %v, want a *BatchError that names message 1", err)
	}
	write(t, s, []string{`{"n":3}`})
	flush(t, s)
	closeSink(t, s)
	h.written(t, m, []string{`{"n":1}`, `{"n":2}`, `{"n":3}`})
}

func (h SinkHarness) durable(t *testing.T) {
	m := h.New(t)
	if m.Crash == nil {
		t.Skip("the harness can't make it crash")
	}
	s := h.open(t, m)
	want := numbered(1500)
	write(t, s, want[:700])
	flush(t, s)
	write(t, s, want[700:])
	m.Crash(t)
	got := m.Written(t)
	if len(got) < 700 {
		t.Fatalf("%d messages were flushed, but only %d are there after the crash", 700, len(got))
	}
	same(t, got, want[:len(got)], true)
}

func (h SinkHarness) continues(t *testing.T) {
	m := h.New(t)
	if !h.Features.Continues || m.Crash == nil {
		t.Skip("the sink does not declare Continues, or can't be made to crash")
	}
	crashes := h.Crashes
	if crashes == 0 {
		crashes = 3
	}
	want := numbered(300 * crashes)
	var acknowledged int
	for i := range crashes {
		s := h.open(t, m)
		write(t, s, want[300*i:300*i+200])
		flush(t, s)
		acknowledged += 200
		write(t, s, want[300*i+200:300*i+300])
		m.Crash(t)
	}
	s := h.open(t, m)
	write(t, s, []string{`{"n":"last"}`})
	closeSink(t, s)
	got := map[string]bool{}
	for _, text := range m.Written(t) {
		got[text] = true
	}
	for i, text := range want {
		if i%300 < 200 && !got[text] {
			t.Fatalf("message %d was flushed and is not there", i)
		}
	}
	if !got[`{"n":"last"}`] || len(got) < acknowledged+1 {
		t.Errorf("%d messages, want at least %d", len(got), acknowledged+1)
	}
}

func (h SinkHarness) breaks(t *testing.T) {
	m := h.New(t)
	if m.Break == nil {
		t.Skip("the harness can't make it fail")
	}
	s := h.open(t, m)
	write(t, s, numbered(10))
	flush(t, s)
	m.Break(t)
	// A gathering sink may take messages until it has to write them; then it must say so, and never again say
	// that all is well.
	ctx := context.Background()
	failed := s.Write(ctx, Batch(numbered(10)...))
	f, gathers := s.(penstock.Flusher)
	if failed == nil && gathers {
		failed = f.Flush(ctx)
	}
	if failed == nil {
		t.Fatal("the sink acknowledged what it could not write")
	}
	if err := s.Write(ctx, Batch(`{"n":1}`)); err == nil {
		t.Error("Write after a failure says that all is well")
	}
	if gathers {
		if err := f.Flush(ctx); err == nil {
			t.Error("Flush after a failure says that all is well")
		}
	}
	_ = s.Close(ctx) // must return; what it says is its own
}

func (h SinkHarness) closed(t *testing.T) {
	m := h.New(t)
	if err := m.Sink(t).Close(context.Background()); err != nil {
		t.Error("Close before Open:", err)
	}
	s := h.open(t, m)
	write(t, s, numbered(3))
	closeSink(t, s)
	if err := s.Close(context.Background()); err != nil {
		t.Error("a second Close:", err)
	}
	h.written(t, m, numbered(3))
}

// parallel holds a sink that says so to it: it is written to by several goroutines at once, and loses nothing.
func (h SinkHarness) parallel(t *testing.T) {
	m := h.New(t)
	s := m.Sink(t)
	p, ok := s.(penstock.ParallelSink)
	if !ok {
		t.Skip("the sink is no penstock.ParallelSink")
	}
	p.Each(limit)
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := numbered(400)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for g := range errs {
		wg.Go(func() {
			for part := range slices.Chunk(want[50*g:50*g+50], 10) {
				errs[g] = errors.Join(errs[g], s.Write(context.Background(), Batch(part...)))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	closeSink(t, s)
	if m.Written != nil {
		same(t, m.Written(t), want, false)
	}
}

// BenchmarkSink measures writing bodies of about 300 bytes. Flush comes at the end only: it measures the disk.
func BenchmarkSink(b *testing.B, h SinkHarness) {
	body := `{"id":1234567,"text":"` + string(make300()) + `"}`
	bodies := make([]string, 100)
	for i := range bodies {
		bodies[i] = body
	}
	batch := Batch(bodies...)
	s := h.open(b, h.New(b))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(bodies) {
		if err := s.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	flush(b, s)
	closeSink(b, s)
}

func make300() []byte {
	text := make([]byte, 270)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	return text
}
