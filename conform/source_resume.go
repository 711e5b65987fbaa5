package conform

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"penstock.dev/penstock"
)

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
