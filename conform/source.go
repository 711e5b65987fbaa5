package conform

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// SourceFeatures is what a source declares.
type SourceFeatures struct {
	Finite  bool // Read ends with io.EOF
	Ordered bool // messages come in the order in which they were put in
	// Resumes says that it implements penstock.Positioned, built as for a run that keeps state (Env.Resumes): stopped after any
	// message, it gives exactly the others, under the same positions.
	Resumes   bool
	OwnBodies bool // makes up its bodies: Fill can only say how many there are
}

// SourceHarness describes a source.
type SourceHarness struct {
	// Fill puts messages with these JSON bodies where the source reads them, and returns a function that makes a
	// new source for them, as often as it is called.
	Fill func(t testing.TB, bodies []string) func(t testing.TB) penstock.Source
	// Spec is what the driver is registered with: what it says there is held against what it does.
	Spec     penstock.Spec
	Features SourceFeatures
}

// Source runs the suite.
func Source(t *testing.T, h SourceHarness) {
	t.Run("is what it is registered as", h.registered)
	t.Run("reads everything", h.readsEverything)
	t.Run("reads nothing where there is nothing", h.empty)
	t.Run("leaves what is in the batch", h.appends)
	t.Run("lets batches live", h.batchesLive)
	t.Run("says where messages are", h.positions)
	t.Run("goes on after a position", h.resumes)
	t.Run("goes on after any message", h.resumesAnywhere)
	t.Run("goes on again and again", h.resumesAgain)
	t.Run("keeps streams that are needed", h.forgets)
	t.Run("stops when it is told", h.cancelled)
	t.Run("goes on after it was interrupted", h.interrupted)
	t.Run("is closed at any time", h.closed)
	t.Run("settles while it reads", h.settles)
}

// registered holds the driver to its Spec: the engine keeps the position of what is Positioned, and what check promises of a flow rests
// on what the Spec says.
func (h SourceHarness) registered(t *testing.T) {
	if h.Spec.Name == "" {
		t.Fatal("the harness has no Spec: give it the one that the driver is registered with")
	}
	s := h.Fill(t, numbered(1))(t)
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error("Close:", err)
		}
	}()
	for _, wrong := range mismatches(h.Spec, s, h.Features) {
		t.Error(wrong)
	}
}

// mismatches lists where a source is not what its Spec or its harness says.
func mismatches(spec penstock.Spec, s penstock.Source, features SourceFeatures) (wrong []string) {
	_, positioned := s.(penstock.Positioned)
	switch promised := spec.Replay == penstock.ReplayPosition; {
	case promised && !positioned:
		wrong = append(wrong, "it is registered with Replay: position, and is not Positioned: the engine refuses to run it")
	case positioned && !promised && (spec.Replay != penstock.ReplayAgain || features.Resumes):
		wrong = append(wrong, "it is Positioned, and registered with Replay: "+strconv.Quote(string(spec.Replay))+": check promises less than it gives")
	case features.Resumes && !positioned:
		wrong = append(wrong, "the harness declares Resumes, and it is not Positioned")
	}
	if features.Finite && !spec.Finite {
		wrong = append(wrong, "it ends by itself, and is not registered as Finite")
	}
	switch spec.Settle {
	case penstock.Cumulative, penstock.Each:
	default:
		wrong = append(wrong, "it is registered with Settle: "+strconv.Quote(string(spec.Settle))+", which is neither cumulative nor each")
	}
	return wrong
}

const limit = 30 * time.Second // a source that hangs fails its test

// sourceMessages is how many messages most cases use: more than a batch has.
const sourceMessages = 3000

func (h SourceHarness) open(t testing.TB, mk func(testing.TB) penstock.Source, from ...penstock.Position) (context.Context, penstock.Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	s := mk(t)
	if len(from) > 0 {
		if err := s.(penstock.Positioned).Resume(ctx, from); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(ctx); err != nil {
			t.Error("Close:", err)
		}
		cancel()
	})
	return ctx, s
}

// message is what a case remembers of one.
type message struct {
	body string
	pos  penstock.Position
}

// read reads n messages, or to the end if n is negative.
func (h SourceHarness) read(t testing.TB, ctx context.Context, s penstock.Source, n int) (out []message) { //nolint:revive // t comes first here
	t.Helper()
	var b penstock.Batch
	for n < 0 || len(out) < n {
		b.Reset()
		err := s.Read(ctx, &b)
		if errors.Is(err, io.EOF) {
			if len(b.Msgs) > 0 {
				t.Fatal("io.EOF with messages")
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Msgs) == 0 {
			t.Fatal("Read returned no error and no message")
		}
		for i, m := range b.Msgs {
			if err := b.Err(i); err != nil {
				t.Fatal(err)
			}
			out = append(out, message{Text(t, m.Body), m.Pos})
		}
	}
	return out
}

func (h SourceHarness) check(t testing.TB, got []message, want []string) {
	t.Helper()
	if h.Features.OwnBodies {
		if len(got) != len(want) {
			t.Errorf("%d messages, want %d", len(got), len(want))
		}
		return
	}
	same(t, texts(got), want, h.Features.Ordered)
}

// all is how many to read: everything, if the source says when that is.
func (h SourceHarness) all(n int) int {
	if h.Features.Finite {
		return -1
	}
	return n
}

func (h SourceHarness) readsEverything(t *testing.T) {
	want := numbered(sourceMessages)
	ctx, s := h.open(t, h.Fill(t, want))
	h.check(t, h.read(t, ctx, s, h.all(len(want))), want)
	if h.Features.Finite {
		if err := s.Read(ctx, new(penstock.Batch)); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v, want io.EOF again", err)
		}
	}
}

func (h SourceHarness) empty(t *testing.T) {
	if !h.Features.Finite || h.Features.OwnBodies {
		t.Skip("the source does not declare Finite, or makes messages up")
	}
	ctx, s := h.open(t, h.Fill(t, nil))
	h.check(t, h.read(t, ctx, s, -1), nil)
}

func (h SourceHarness) appends(t *testing.T) {
	ctx, s := h.open(t, h.Fill(t, numbered(10)))
	b := Batch(`"first"`)
	if err := s.Read(ctx, b); err != nil {
		t.Fatal(err)
	}
	if len(b.Msgs) < 2 || Text(t, b.Msgs[0].Body) != `"first"` {
		t.Errorf("%d messages after Read into a batch of one, the first %s", len(b.Msgs), Text(t, b.Msgs[0].Body))
	}
}

// batchesLive holds several batches at a time, as an engine does: what one Read gave must not change by the next.
func (h SourceHarness) batchesLive(t *testing.T) {
	want := numbered(sourceMessages)
	ctx, s := h.open(t, h.Fill(t, want))
	var batches []*penstock.Batch
	for n := 0; n < len(want); {
		b := new(penstock.Batch)
		if err := s.Read(ctx, b); err != nil {
			t.Fatal(err)
		}
		n += len(b.Msgs)
		batches = append(batches, b)
	}
	var got []message
	for _, b := range batches {
		for _, m := range b.Msgs {
			got = append(got, message{body: Text(t, m.Body)})
		}
	}
	h.check(t, got, want)
}

func (h SourceHarness) positions(t *testing.T) {
	want := numbered(sourceMessages)
	ctx, s := h.open(t, h.Fill(t, want))
	last := map[string]penstock.Position{}
	for i, m := range h.read(t, ctx, s, h.all(len(want))) {
		before, known := last[m.pos.Stream]
		switch {
		case m.pos.Stream == "":
			t.Fatalf("message %d: a position without a stream", i)
		case m.pos.Next <= m.pos.Offset:
			t.Fatalf("message %d: next %d is not behind offset %d", i, m.pos.Next, m.pos.Offset)
		case known && m.pos.Offset < before.Next:
			t.Fatalf("message %d at %d begins before the end of the one before it, %d", i, m.pos.Offset, before.Next)
		case known && m.pos.Line > 0 && m.pos.Line <= before.Line:
			t.Fatalf("message %d in line %d, the one before it in line %d", i, m.pos.Line, before.Line)
		}
		last[m.pos.Stream] = m.pos
	}
}

func (h SourceHarness) cancelled(t *testing.T) {
	ctx, s := h.open(t, h.Fill(t, numbered(10)))
	if !h.Features.Finite {
		h.read(t, ctx, s, 10)
	}
	stopped, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var b penstock.Batch
		for {
			b.Reset()
			if err := s.Read(stopped, &b); err != nil {
				done <- err
				return
			}
		}
	}()
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
			t.Errorf("Read after its context was cancelled: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("Read does not return when its context is cancelled")
	}
}

// interrupted breaks Read off again and again, as an engine does that pauses a flow, or has another take its place: nothing may be lost, nor
// come twice.
func (h SourceHarness) interrupted(t *testing.T) {
	want := numbered(sourceMessages)
	ctx, s := h.open(t, h.Fill(t, want))
	var got []message
	over := false
	take := func(ctx context.Context) {
		var b penstock.Batch
		err := s.Read(ctx, &b)
		for _, m := range b.Msgs {
			got = append(got, message{Text(t, m.Body), m.Pos})
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			over = true
		case ctx.Err() == nil:
			t.Fatal("Read after one that was interrupted: ", err)
		}
	}
	for i := 0; !over && (h.Features.Finite || len(got) < len(want)); i++ {
		before, cancel := context.WithCancel(ctx)
		if i%2 == 0 {
			cancel()
		} else {
			go cancel()
		}
		take(before)
		cancel()
		if !over && (h.Features.Finite || len(got) < len(want)) {
			take(ctx)
		}
	}
	h.check(t, got, want)
}

func (h SourceHarness) closed(t *testing.T) {
	mk := h.Fill(t, numbered(sourceMessages))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := mk(t).Close(ctx); err != nil {
		t.Error("Close before Open:", err)
	}
	s := mk(t)
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Read(ctx, new(penstock.Batch)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(ctx); err != nil {
			t.Error("Close in the middle:", err)
		}
	}
}

func (h SourceHarness) settles(t *testing.T) {
	want := numbered(sourceMessages)
	ctx, s := h.open(t, h.Fill(t, want))
	outcomes := make(chan []penstock.Outcome, sourceMessages)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for o := range outcomes {
			if err := s.Settle(ctx, o); err != nil {
				t.Error("Settle:", err)
			}
		}
	}()
	for n := 0; n < len(want); {
		var b penstock.Batch
		if err := s.Read(ctx, &b); err != nil {
			t.Error(err)
			break
		}
		n += len(b.Msgs)
		var o []penstock.Outcome
		for i, m := range b.Msgs {
			o = append(o, penstock.Outcome{Pos: m.Pos})
			if i%7 == 0 {
				o[i].Err = errors.New("a message that failed")
			}
		}
		outcomes <- o
	}
	close(outcomes)
	wg.Wait()
}

// BenchmarkSource measures reading, in messages.
func BenchmarkSource(b *testing.B, h SourceHarness) {
	bodies := numbered(100_000)
	mk := h.Fill(b, bodies)
	var batch penstock.Batch
	var s penstock.Source
	ctx := context.Background()
	end := func() {
		if s != nil {
			if err := s.Close(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		if s == nil {
			s = mk(b)
			if err := s.Open(ctx); err != nil {
				b.Fatal(err)
			}
		}
		batch.Reset()
		err := s.Read(ctx, &batch)
		if errors.Is(err, io.EOF) {
			end()
			s = nil
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(batch.Msgs)
	}
	end()
}
