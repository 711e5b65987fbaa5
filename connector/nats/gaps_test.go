package nats

import (
	"context"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestGaps(t *testing.T) {
	var s seen
	var g gaps
	for _, n := range []uint64{3, 4, 7, 9} {
		s.add(n)
	}
	check := func(want string) {
		t.Helper()
		if g.mark() != want {
			t.Fatalf("%q, want %q", g.mark(), want)
		}
	}
	g.look(3, 10, &s)
	check("5-6,8,10")
	g.look(1, 10, &s) // it has looked
	check("5-6,8,10")
	g.fill(6)
	check("5,8,10")
	g.below(8)
	check("8,10")
	g.look(1, 14, &s)
	check("8,10-14")
	g.fill(12)
	check("8,10-11,13-14")
	again := parseGaps(g.mark())
	for seq := uint64(1); seq < 20; seq++ {
		if again.has(seq) != g.has(seq) || g.has(seq) != (seq == 8 || seq == 10 || seq == 11 || seq == 13 || seq == 14) {
			t.Errorf("%d: %v, and read again %v", seq, g.has(seq), again.has(seq))
		}
	}
	g.only([]uint64{13, 8})
	check("8,13")
	g.only(nil)
	check("")
}

// TestGapsAreBounded: beyond so many, what lies between them counts as undone, and nothing is forgotten.
func TestGapsAreBounded(t *testing.T) {
	var s seen
	for n := uint64(2); n <= 100_000; n += 2 {
		s.add(n)
	}
	var g gaps
	g.look(1, 100_000, &s)
	if len(g.ranges) != manyGaps {
		t.Error(len(g.ranges))
	}
	for n := uint64(1); n < 100_000; n += 2 {
		if !g.has(n) {
			t.Fatal(n)
		}
	}
}

func FuzzGaps(f *testing.F) {
	for _, s := range []string{"", "5", "5-9,11", "9-5", "x", "1,1,1", "18446744073709551615", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, mark string) {
		g := parseGaps(mark)
		if again := parseGaps(g.mark()); again.mark() != g.mark() {
			t.Errorf("%q is read as %q, and that as %q", mark, g.mark(), again.mark())
		}
	})
}

// TestWhatAnotherProcessHad of a consumer, and had not done when it died, is worked on by who goes on, though the position that is kept lies behind it.
func TestWhatAnotherProcessHad(t *testing.T) {
	t.Parallel()
	server := service.NATS(t)
	f := on(t, server)
	c := SourceConfig{Stream: f.stream(t, memory), AckWait: penstock.Duration(300 * time.Millisecond), Prefetch: 1}
	other, own := through(t, server.URL()), through(t, server.URL())
	other.env.Resumes, own.env.Resumes = true, true

	// The other one has the first message and is at it; we have the rest, are done with it, and keep that.
	f.send(t, c.Stream+".a", drive.Numbered(0, 1)...)
	theirs := drive.Opened(t, other.source(t, c))
	held := drive.Read(t, theirs, 1)
	s := drive.Opened(t, own.source(t, c))
	f.send(t, c.Stream+".a", drive.Numbered(1, 40)...)
	var mine []drive.Got
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var b penstock.Batch
	done := func(err error, s penstock.Source) (some []drive.Got) {
		if err != nil {
			t.Fatal(err)
		}
		some = drive.Those(t, &b)
		drive.SettleAll(t, s, some...)
		b.Reset()
		return some
	}
	go func() { // so that we get to read: what it is given, it finishes
		var b penstock.Batch
		for theirs.Read(ctx, &b) == nil {
			drive.SettleAll(t, theirs, drive.Those(t, &b)...)
			b.Reset()
		}
	}()
	for len(mine) == 0 || mine[len(mine)-1].Pos.Mark == "" {
		mine = append(mine, done(s.Read(ctx, &b), s)...)
		f.send(t, c.Stream+".a", drive.Numbered(40, 42)...)
	}
	at := mine[len(mine)-1].Pos
	if at.Offset <= held[0].Pos.Offset {
		t.Fatalf("the position %+v is not behind what the other one has: %+v", at, held[0].Pos)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.drop() // it is killed

	own.env.Resumes = true
	next := own.source(t, c)
	if err := next.(penstock.Positioned).Resume(t.Context(), []penstock.Position{at}); err != nil {
		t.Fatal(err)
	}
	drive.Opened(t, next)
	for {
		for _, g := range done(next.Read(ctx, &b), next) {
			if g.Body != held[0].Body {
				continue
			}
			if g.Pos.Stream == at.Stream {
				t.Errorf("%+v: the engine would take it for done", g.Pos)
			}
			return
		}
	}
}
