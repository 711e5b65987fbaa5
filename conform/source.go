package conform

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
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
	Fill     func(t testing.TB, bodies []string) func(t testing.TB) penstock.Source
	Features SourceFeatures
}

// Source runs the suite.
func Source(t *testing.T, h SourceHarness) {
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
	t.Run("is closed at any time", h.closed)
	t.Run("settles while it reads", h.settles)
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

// resumes stops a source where a batch ends and at the ends of a long stream, as most stops are.
func (h SourceHarness) resumes(t *testing.T) {
	if !h.Features.Resumes {
		t.Skip("the source does not declare Resumes")
	}
	want := numbered(sourceMessages)
	mk := h.Fill(t, want)
	all := h.first(t, mk, len(want))
	for _, k := range []int{1, 2, 256, len(all) / 2, len(all) - 1, len(all)} {
		h.rest(t, mk, all, k)
	}
}

// resumesAnywhere stops after each of a few messages.
func (h SourceHarness) resumesAnywhere(t *testing.T) {
	if !h.Features.Resumes {
		t.Skip("the source does not declare Resumes")
	}
	want := numbered(60)
	mk := h.Fill(t, want)
	all := h.first(t, mk, len(want))
	for k := range len(all) + 1 {
		h.rest(t, mk, all, k)
	}
}

// resumesAgain is stopped many times, each time after a few messages: every instance goes on from what the one before it gave.
func (h SourceHarness) resumesAgain(t *testing.T) {
	if !h.Features.Resumes {
		t.Skip("the source does not declare Resumes")
	}
	want := numbered(100)
	mk := h.Fill(t, want)
	all := h.first(t, mk, len(want))
	kept := map[string]penstock.Position{}
	var got []message
	for round := 1; len(got) < len(all); round++ {
		ctx, s := h.open(t, mk, from(kept)...)
		next := h.read(t, ctx, s, min(round, len(all)-len(got)))
		if len(next) == 0 {
			break
		}
		next = next[:min(round, len(next))] // the others were read and not settled
		for _, m := range next {
			kept[m.pos.Stream] = m.pos
		}
		got = append(got, next...)
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	h.check(t, got, texts(all))
	unique(t, got)
}

// forgets looks at what a source says of its streams: one that messages are in flight of is not over, nor one that is read.
func (h SourceHarness) forgets(t *testing.T) {
	want := numbered(100)
	ctx, s := h.open(t, h.Fill(t, want))
	f, ok := s.(penstock.Forgetter)
	if !ok || !h.Features.Resumes {
		t.Skip("the source is no Forgetter, or does not declare Resumes")
	}
	if over := f.Over(); len(over) > 0 {
		t.Errorf("before anything was read, %q is over", over)
	}
	live := map[string]bool{}
	for _, m := range h.read(t, ctx, s, h.all(len(want))) {
		live[m.pos.Stream] = true
	}
	for _, stream := range f.Over() {
		if live[stream] {
			t.Errorf("%s is over before it was settled", stream)
		}
	}
}

// first reads everything with a source that is told that nothing was read before.
func (h SourceHarness) first(t testing.TB, mk func(testing.TB) penstock.Source, n int) []message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s := mk(t)
	p, ok := s.(penstock.Positioned)
	if !ok {
		t.Fatal("the source declares Resumes and is not Positioned")
	}
	if err := p.Resume(ctx, nil); err != nil {
		t.Fatal("Resume with nothing:", err)
	}
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	all := h.read(t, ctx, s, h.all(n))
	if err := s.Close(ctx); err != nil {
		t.Error("Close:", err)
	}
	if len(all) != n {
		t.Fatalf("%d messages, want %d", len(all), n)
	}
	unique(t, all)
	return all
}

// rest goes on with a new source behind the first k messages of all: the others must come, under the same positions.
func (h SourceHarness) rest(t testing.TB, mk func(testing.TB) penstock.Source, all []message, k int) {
	t.Helper()
	kept := map[string]penstock.Position{}
	for _, m := range all[:k] {
		kept[m.pos.Stream] = m.pos
	}
	stranger := penstock.Position{Stream: "a stream that is gone", Offset: 3, Next: 4, Line: 1, Tag: 7}
	ctx, s := h.open(t, mk, append(from(kept), stranger)...)
	if k == len(all) && !h.Features.Finite {
		return // it would wait
	}
	got := h.read(t, ctx, s, h.all(len(all)-k))
	want := slices.Clone(all[k:])
	for _, list := range [][]message{got, want} {
		if !h.Features.Ordered {
			slices.SortFunc(list, func(a, b message) int {
				return cmp.Or(cmp.Compare(a.pos.Stream, b.pos.Stream), cmp.Compare(a.pos.Offset, b.pos.Offset))
			})
		}
	}
	if len(got) != len(want) {
		t.Errorf("after %d messages %d come, want %d", k, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.body != w.body {
			t.Fatalf("after %d messages, the %dth is %s, want %s", k, i, g.body, w.body)
		}
		if g.pos.Stream != w.pos.Stream || g.pos.Offset != w.pos.Offset || g.pos.Next != w.pos.Next || g.pos.Line != w.pos.Line {
			t.Fatalf("after %d messages, the %dth is at %+v, and was at %+v before", k, i, g.pos, w.pos)
		}
	}
	if err := s.Close(ctx); err != nil {
		t.Error("Close:", err)
	}
}

// from lists positions in an order of no meaning, as an engine does.
func from(kept map[string]penstock.Position) (out []penstock.Position) {
	for _, p := range kept {
		out = append(out, p)
	}
	return out
}

func texts(all []message) []string {
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = m.body
	}
	return out
}

// unique makes sure that no two messages of a stream have the same offset: the engine knows them by it.
func unique(t testing.TB, all []message) {
	t.Helper()
	type place struct {
		stream string
		offset int64
	}
	seen := map[place]bool{}
	for _, m := range all {
		p := place{m.pos.Stream, m.pos.Offset}
		if seen[p] {
			t.Fatalf("two messages at %d of %s", p.offset, p.stream)
		}
		seen[p] = true
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
