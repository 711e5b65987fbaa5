package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// soon is after how long a consumer is dead in tests.
const soon = penstock.Duration(150 * time.Millisecond)

// crashed drops a source as a process does that dies.
func crashed(s penstock.Source) {
	switch s := s.(type) {
	case *positioned:
		s.halt()
	case *reader:
		s.halt()
	case *queue:
		s.halt()
	}
}

func start(t testing.TB, s penstock.Source) penstock.Source {
	t.Helper()
	if err := s.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPendingComesFirst: what a process that died had comes again first, in order, and under the same positions.
func TestPendingComesFirst(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	f.send(t, stream, drive.Numbered(0, 1000)...)
	config := SourceConfig{Stream: text(stream), Prefetch: 300}
	first := start(t, f.source(t, config))
	before := drive.Read(t, first, 300)
	drive.SettleAll(t, first, before[:100]...)
	drive.SettleAll(t, first, before[150])
	crashed(first)
	second := drive.Opened(t, f.source(t, config))
	all := drive.Read(t, second, 899)
	drive.Compare(t, drive.Bodies(all), append(drive.Numbered(100, 150), drive.Numbered(151, 1000)...))
	if all[0].Pos != before[100].Pos {
		t.Errorf("%+v was at %+v", all[0].Pos, before[100].Pos)
	}
	drive.SettleAll(t, second, all...)
	if n := f.pending(t, stream, "flow-step"); n != 0 {
		t.Errorf("%d are pending", n)
	}
}

// TestDeadIsTakenOver: what a consumer had that is dead comes to another, in front of what is new where that begins, and behind it later.
func TestDeadIsTakenOver(t *testing.T) {
	t.Parallel()
	for what, shared := range map[string]bool{"alone": false, "shared": true} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Redis(t))
			f.env.Resumes = true
			stream := name()
			f.send(t, stream, drive.Numbered(0, 100)...)
			of := func(consumer string) SourceConfig {
				return SourceConfig{Stream: text(stream), Consumer: text(consumer), Shared: shared, ClaimAfter: soon, Prefetch: 10}
			}
			dead := start(t, f.source(t, of("a")))
			drive.SettleAll(t, dead, drive.Read(t, dead, 30)[:5]...)
			crashed(dead)
			drive.Until(t, "it is dead", func() bool {
				m := f.do(t, "XPENDING", stream, "flow-step", "IDLE", "160", "-", "+", "1000")
				all, err := m.ToArray()
				return err == nil && int64(len(all)) == f.pending(t, stream, "flow-step")
			})
			live := drive.Opened(t, f.source(t, of("b")))
			all := drive.Read(t, live, 95)
			drive.Compare(t, drive.Bodies(all), drive.Numbered(5, 100))
			drive.SettleAll(t, live, all...)

			f.send(t, stream, drive.Numbered(100, 103)...) // one comes to somebody who dies now
			lost := f.do(t, "XREADGROUP", "GROUP", "flow-step", "c", "COUNT", "1", "STREAMS", stream, ">")
			had := ""
			if of, err := lost.AsXRead(); err == nil { // else the reader was faster
				had = of[stream][0].FieldValues["body"]
			}
			rest := drive.Read(t, live, 3)
			drive.SettleAll(t, live, rest...)
			for _, g := range rest {
				if strings.Contains(g.Pos.Stream, late) && (g.Body != had || shared) {
					t.Errorf("%s is at %+v", g.Body, g.Pos)
				}
			}
			if n := f.pending(t, stream, "flow-step"); n != 0 {
				t.Errorf("%d are pending", n)
			}
		})
	}
}

// TestWorkedOnIsNotTakenOver: the server is told that entries are worked on, however long that takes.
func TestWorkedOnIsNotTakenOver(t *testing.T) {
	t.Parallel()
	f := on(t, service.Redis(t))
	stream := name()
	f.send(t, stream, drive.Numbered(0, 10)...)
	of := func(consumer string) SourceConfig {
		return SourceConfig{Stream: text(stream), Consumer: text(consumer), Shared: true, ClaimAfter: penstock.Duration(900 * time.Millisecond)}
	}
	slow := drive.Opened(t, f.source(t, of("slow")))
	all := drive.Read(t, slow, 10)
	other := drive.Opened(t, f.source(t, of("other")))
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if err := other.Read(ctx, new(penstock.Batch)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another got some: %v", err)
	}
	drive.SettleAll(t, slow, all...)
}

// TestSharedGivesBack: who leaves a group that is shared lets others have at once what it was not done with.
func TestSharedGivesBack(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	f.send(t, stream, drive.Numbered(0, 10)...)
	of := func(consumer string) SourceConfig {
		return SourceConfig{Stream: text(stream), Consumer: text(consumer), Shared: true, ClaimAfter: penstock.Duration(time.Hour)}
	}
	first := start(t, f.source(t, of("a")))
	drive.SettleAll(t, first, drive.Read(t, first, 10)[0])
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, drive.Bodies(drive.Read(t, drive.Opened(t, f.source(t, of("b"))), 9)), drive.Numbered(1, 10))
}

// TestGroupIsGone: somebody deletes the stream, or the group, under a reader. It goes on, with nothing lost and nothing twice.
func TestGroupIsGone(t *testing.T) {
	for _, what := range []string{"stream", "group"} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Redis(t))
			stream := name()
			f.send(t, stream, drive.Numbered(0, 100)...)
			s := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream), Prefetch: 10}))
			all := drive.Read(t, s, 30)
			drive.SettleAll(t, s, all[:20]...)
			if what == "stream" {
				all = append(all, drive.Read(t, s, 70)...)
				drive.SettleAll(t, s, all[20:]...)
				f.do(t, "DEL", stream)
				f.send(t, stream, drive.Numbered(100, 120)...)
			} else {
				f.do(t, "XGROUP", "DESTROY", stream, "flow-step")
				f.send(t, stream, drive.Numbered(100, 120)...)
				all = append(all, drive.Read(t, s, 70)...)
				drive.SettleAll(t, s, all[20:]...)
			}
			rest := drive.Read(t, s, 20)
			drive.SettleAll(t, s, rest...)
			drive.Compare(t, drive.Bodies(append(all, rest...)), drive.Numbered(0, 120))
			drive.Until(t, "all is acknowledged", func() bool { return f.pending(t, stream, "flow-step") == 0 })
		})
	}
}

// TestStart: where a new group begins.
func TestStart(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5 {
		f.do(t, "XADD", stream, fmt.Sprintf("%d-%d", at.Add(time.Duration(i)*time.Second).UnixMilli(), i), "body", fmt.Sprint(i))
	}
	for _, c := range []struct {
		what  string
		start Start
		want  string
	}{
		{"oldest", Start{}, "0 1 2 3 4"},
		{"time", Start{Time: "2026-11-01T00:00:02Z"}, "2 3 4"},
		{"id", Start{ID: fmt.Sprintf("%d-1", at.Add(time.Second).UnixMilli())}, "1 2 3 4"},
		{"behind", Start{ID: fmt.Sprintf("%d-2", at.Add(time.Second).UnixMilli())}, "2 3 4"},
		{"newest", Start{At: "newest"}, "5"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream), Start: c.start, Group: text("g " + c.what)}))
			if c.what == "newest" {
				f.do(t, "XADD", stream, "*", "body", "5")
			}
			all := drive.Read(t, s, len(strings.Fields(c.want)))
			if have := strings.Join(drive.Bodies(all), " "); !strings.HasPrefix(have, c.want) {
				t.Errorf("%s, want %s", have, c.want)
			}
			if c.what == "oldest" {
				pos, want := all[2].Pos, at.Add(2*time.Second).UnixMilli()<<seqBits|2
				if pos.Offset != want || pos.Next != want+1 {
					t.Errorf("%+v", pos)
				}
			}
		})
	}
}

func TestOnceEnds(t *testing.T) {
	f := on(t, service.Redis(t))
	f.env.Once = true
	stream, list := name(), name()
	f.send(t, stream, drive.Numbered(0, 3)...)
	f.do(t, append([]string{"LPUSH", list}, drive.Numbered(0, 3)...)...)
	for what, c := range map[string]SourceConfig{"stream": {Stream: text(stream)}, "list": {List: text(list)}, "channel": {Channels: []penstock.Template{text(name())}}} {
		s := drive.Opened(t, f.source(t, c))
		if what != "channel" {
			all := drive.Read(t, s, 3)
			drive.Compare(t, drive.Bodies(all), drive.Numbered(0, 3))
			drive.SettleAll(t, s, all...)
		}
		if err := s.Read(t.Context(), new(penstock.Batch)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestEntries: what of an entry becomes what of a message.
func TestEntries(t *testing.T) {
	f := on(t, service.Redis(t))
	for what, c := range map[string]struct {
		config SourceConfig
		fields string
		body   string
		key    string
		meta   map[string]string
		code   penstock.Code
	}{
		"body":        {SourceConfig{}, `body {"a":1} penstock-key k X-Name v`, `{"a":1}`, "k", map[string]string{"x-name": "v"}, ""},
		"other field": {SourceConfig{Field: "data", KeyField: "id"}, `data [1] id 7 body x`, `[1]`, "7", map[string]string{"body": "x"}, ""},
		"all":         {SourceConfig{Fields: true}, `b 1 a ü`, `{"b":"1","a":"ü"}`, "", nil, ""},
		"none":        {SourceConfig{}, `data 1`, `null`, "", map[string]string{"data": "1"}, penstock.Invalid},
		"no JSON":     {SourceConfig{}, `body {`, `{`, "", nil, ""},
		"bad text":    {SourceConfig{}, "body 1 h \xff", `1`, "", map[string]string{"h": "\uFFFD"}, ""},
		"text":        {SourceConfig{Format: drive.Bytes(t)}, "body \x00\xff", "\x00\xff", "", nil, ""},
	} {
		t.Run(what, func(t *testing.T) {
			stream := name()
			c.config.Stream = text(stream)
			f.do(t, append([]string{"XADD", stream, "*"}, strings.Split(c.fields, " ")...)...)
			g := drive.Read(t, drive.Opened(t, f.source(t, c.config)), 1)[0]
			if g.Body != c.body || g.Key != c.key || penstock.CodeOf(g.Err) != c.code && (g.Err != nil || c.code != "") {
				t.Errorf("%+v", g)
			}
			for k, v := range c.meta {
				if g.Meta[k] != v {
					t.Errorf("meta %v", g.Meta)
				}
			}
		})
	}
}

// TestTrimmedIsAcknowledged: what was trimmed before it was settled is gone, and holds nobody up.
func TestTrimmedIsAcknowledged(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	f.send(t, stream, drive.Numbered(0, 10)...)
	first := start(t, f.source(t, SourceConfig{Stream: text(stream)}))
	drive.Read(t, first, 10)
	crashed(first)
	f.do(t, "XTRIM", stream, "MAXLEN", "3")
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream)}))
	all := drive.Read(t, s, 3)
	drive.Compare(t, drive.Bodies(all), drive.Numbered(7, 10))
	drive.SettleAll(t, s, all...)
	if n := f.pending(t, stream, "flow-step"); n != 0 {
		t.Errorf("%d are pending", n)
	}
}

// TestForeignIDs: ids that are no times don't fit a position; where readers share, none is needed.
func TestForeignIDs(t *testing.T) {
	f := on(t, service.Redis(t))
	stream := name()
	f.do(t, "XADD", stream, "7-99999999", "body", "1")
	err := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream)})).Read(t.Context(), new(penstock.Batch))
	drive.Code(t, err, penstock.Config, "does not fit", "shared: true")
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: text(stream), Shared: true, Group: text("other")}))
	drive.SettleAll(t, s, drive.Read(t, s, 1)...)
	if n := f.pending(t, stream, "other"); n != 0 {
		t.Errorf("%d are pending", n)
	}
}

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		text   string
		before string
		offset int64
		fits   bool
	}{
		{"0-1", "0-0", 1, true},
		{"5-0", "4-18446744073709551615", 5 << seqBits, true},
		{"5", "4-18446744073709551615", 5 << seqBits, true},
		{"1795450000000-1048575", "1795450000000-1048574", 1795450000000<<seqBits | 1048575, true},
		{"1795450000000-1048576", "1795450000000-1048575", 0, false},
		{"8796093022208-0", "8796093022207-18446744073709551615", 0, false},
	} {
		i, err := parseID(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if n, fits := i.offset(); n != c.offset || fits != c.fits || i.before().String() != c.before || fits && idAt(n) != i {
			t.Errorf("%s: %d %v, before %s", c.text, n, fits, i.before())
		}
	}
	for _, bad := range []string{"", "-", "a", "1-", "-1", "1-a", "1-1-1", "18446744073709551616-0"} {
		if _, err := parseID(bad); err == nil {
			t.Errorf("%q is an id", bad)
		}
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"0-0", "1795450000000-7", "5", "18446744073709551615-18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := parseID(s)
		if err != nil {
			return
		}
		if again, err := parseID(i.String()); err != nil || again != i {
			t.Errorf("%q is %v, and that %v, %v", s, i, again, err)
		}
		if n, fits := i.offset(); fits && idAt(n) != i {
			t.Errorf("%v is at %d, which is %v", i, n, idAt(n))
		}
		if i != (id{}) && !i.before().less(i) {
			t.Errorf("%v is not before %v", i.before(), i)
		}
	})
}

// TestListIsRecovered: what a consumer had comes again first where it is started again, and to others where it is not.
func TestListIsRecovered(t *testing.T) {
	t.Parallel()
	for what, again := range map[string]string{"the same": "a", "another": "b"} {
		t.Run(what, func(t *testing.T) {
			f := on(t, service.Redis(t))
			list := name()
			f.do(t, append([]string{"LPUSH", list}, append(drive.Numbered(0, 10), `"x"`, `"x"`, `"x"`)...)...)
			of := func(c string) SourceConfig {
				return SourceConfig{List: text(list), Consumer: text(c), ClaimAfter: penstock.Duration(time.Second), Prefetch: 20}
			}
			first := start(t, f.source(t, of("a")))
			got := drive.Read(t, first, 13)
			drive.SettleAll(t, first, got[0], got[3], got[10])
			crashed(first)
			second := drive.Opened(t, f.source(t, of(again)))
			want := append(drive.Numbered(1, 3), append(drive.Numbered(4, 10), `"x"`, `"x"`)...)
			if again != "a" { // the newer comes while the dead is not known for dead
				f.do(t, "LPUSH", list, "true")
				if b := drive.Bodies(drive.Read(t, second, 1)); b[0] != "true" {
					t.Errorf("%v", b)
				}
			}
			all := drive.Read(t, second, len(want))
			drive.Compare(t, drive.Bodies(all), want)
			drive.SettleAll(t, second, all...)
			for _, c := range []string{"a", "b"} {
				m := f.do(t, "LLEN", "{"+list+"}:processing:"+c)
				if n, err := m.AsInt64(); err != nil || n != 0 && again != "b" {
					t.Errorf("%s has %d, %v", c, n, err)
				}
			}
		})
	}
}

// TestListGivesBack: who stops puts back what it was not done with, to be taken next.
func TestListGivesBack(t *testing.T) {
	for _, side := range []string{"right", takeLeft} {
		f := on(t, service.Redis(t))
		list := name()
		push := map[string]string{"right": "LPUSH", takeLeft: "RPUSH"}[side]
		f.do(t, append([]string{push, list}, drive.Numbered(0, 10)...)...)
		of := func(c string) SourceConfig {
			return SourceConfig{List: text(list), Consumer: text(c), Take: side, Prefetch: 5}
		}
		first := start(t, f.source(t, of("a")))
		drive.SettleAll(t, first, drive.Read(t, first, 5)[:2]...)
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		drive.Compare(t, drive.Bodies(drive.Read(t, drive.Opened(t, f.source(t, of("b"))), 8)), drive.Numbered(2, 10))
	}
}

func TestPatterns(t *testing.T) {
	f := on(t, service.Redis(t))
	n := name()
	s := drive.Opened(t, f.source(t, SourceConfig{Channels: []penstock.Template{text(n + "-a")}, Patterns: []penstock.Template{text(n + ":*")}}))
	f.do(t, "PUBLISH", n+"-a", "1")
	f.do(t, "PUBLISH", n+":b", "2")
	all := drive.Read(t, s, 2)
	if all[0].Meta[metaChannel] != n+"-a" || all[1].Meta[metaChannel] != n+":b" || all[1].Meta[metaPattern] != n+":*" {
		t.Errorf("%+v", all)
	}
}

func TestSourceIsRefused(t *testing.T) {
	at := []penstock.Template{text("c")}
	for what, c := range map[string]struct {
		config SourceConfig
		words  string
	}{
		"nothing":  {SourceConfig{}, "set one of"},
		"two":      {SourceConfig{Stream: text("s"), List: text("l")}, "set one of"},
		"group":    {SourceConfig{List: text("l"), Group: text("g")}, "`group` has no meaning without `stream`"},
		"shared":   {SourceConfig{Channels: at, Shared: true}, "`shared` has no meaning"},
		"take":     {SourceConfig{Stream: text("s"), Take: takeLeft}, "`take` has no meaning without `list`"},
		"consumer": {SourceConfig{Channels: at, Consumer: text("c")}, "`consumer` has no meaning"},
		"starts":   {SourceConfig{Stream: text("s"), Start: Start{At: "newest", ID: "1-1"}}, "set one of `at`, `id` and `time`"},
		"id":       {SourceConfig{Stream: text("s"), Start: Start{ID: "x"}}, "no id of an entry"},
		"time":     {SourceConfig{Stream: text("s"), Start: Start{Time: "yesterday"}}, "is no time"},
		"format":   {SourceConfig{Stream: text("s"), Fields: true, Format: penstock.Format{Name: "csv"}}, "leave `format` out"},
	} {
		t.Run(what, func(t *testing.T) {
			errs := c.config.Validate()
			if len(errs) == 0 || !strings.Contains(errs[0].Error(), c.words) {
				t.Errorf("%v, want %q", errs, c.words)
			}
		})
	}
}
