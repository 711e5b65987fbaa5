package script

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// roomy are limits that no good script meets, however slow the machine is.
var roomy = Limits{Memory: 16 << 20, Time: 30 * time.Second}

func example(t testing.TB) []byte {
	t.Helper()
	code, err := os.ReadFile("../../examples/script/score.wasm")
	must(t, err)
	return code
}

func load(t testing.TB, code []byte, l Limits) *Step {
	t.Helper()
	m, err := Load(code, "run", l)
	must(t, err)
	return &Step{Module: m, Into: step.Target{Root: step.Vars, Slot: 0, Name: "out"}}
}

// process runs the step over bodies, and gives for each what it put into its variable, or the error.
func process(t testing.TB, s *Step, bodies ...string) []string {
	t.Helper()
	b := conform.Batch(bodies...)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	for _, m := range b.Msgs {
		m.Vars = append(m.Vars[:0], penstock.Absent)
	}
	must(t, s.Process(context.Background(), b))
	var out []string
	for i, m := range b.Msgs {
		if err := b.Err(i); err != nil {
			out = append(out, string(penstock.CodeOf(err))+": "+err.Error())
			if !m.Vars[0].IsAbsent() || conform.Text(t, m.Body) != bodies[i] {
				t.Errorf("%s: a message that failed is changed", bodies[i])
			}
			continue
		}
		text, err := m.Vars[0].AppendJSON(nil)
		must(t, err)
		out = append(out, string(text))
	}
	return out
}

func TestExample(t *testing.T) {
	s := load(t, example(t), roomy)
	for body, want := range map[string]string{
		`{"a":"Jürgen Müller","b":"Jurgen Muller"}`: `{"score":1.0,"same":true}`,
		`{"a":"MARTHA","b":"Marhta"}`:               `{"score":0.961,"same":true}`,
		`{"a":"Dixon","b":"Dicksonx"}`:              `{"score":0.813,"same":false}`,
		`{"a":"Acme Ltd.","b":"Zenith"}`:            `{"score":0.54,"same":false}`,
		`{"a":"\u0041nn \ud83d\ude00","b":"ANN"}`:   `{"score":1.0,"same":true}`,
		`{"a":"--","b":"x"}`:                        "unprocessable: script: a name without letters is like no other",
		`{"a":"x"}`:                                 "invalid: script: b is missing",
		`{"a":7,"b":"x"}`:                           "invalid: script: a is no text",
		`[]`:                                        "invalid: script: a is missing",
	} {
		if got := process(t, s, body); got[0] != want {
			t.Errorf("%s: %s, want %s", body, got[0], want)
		}
	}
}

// TestAnswers: what a script gives back, good or bad, and what its refusals become.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, want string
		a          assembly
	}{
		{"an answer", `{"a":[1,2.50,"x"]}`, says(`{"a":[1,2.50,"x"]}`)},
		{"its input", `{"in":"body"}`, running(seq([]byte{0xad}, nil)[:0], function{})}, // replaced below
		{"null", "null", says("null")},
		{"no answer", "internal: script: its answer is no JSON: ", running(answer(0, 0))},
		{"no JSON", "internal: script: its answer is no JSON: ", says("{nonsense}")},
		{"two documents", "internal: script: its answer is no JSON: ", says("1 2")},
		{"outside of memory", "internal: script: its answer, 10 bytes at 65530, lies outside of its memory", running(answer(65530, 10))},
		{"far outside of memory", "internal: script: its answer, 2147483647 bytes at 4294967295, lies outside", running(answer(0xffffffff, 0x7fffffff))},
		{"a refusal", "notFound: script: lines[0]: no such article", refuses(`{"code":"notFound","message":"no such article","path":"lines[0]"}`)},
		{"a refusal by a text", "unprocessable: script: no such article", refuses(`"no such article"`)},
		{"a refusal that is no JSON", "unprocessable: script: no such article", refuses(`no such article`)},
		{"an unknown code", "unprocessable: script: x", refuses(`{"code":"fatal","message":"x"}`)},
		{"a code that is not a script's to give", "unprocessable: script: x", refuses(`{"code":"config","message":"x"}`)},
		{"a transient one", "limited: script: later", refuses(`{"code":"limited","message":"later"}`)},
		{"a silent refusal", "unprocessable: script: it refuses the message, and does not say why", refuses(`{}`)},
		{"an empty refusal", "unprocessable: script: it refuses the message, and does not say why", running(answer(0, 1<<31))},
		{"a refusal that would fake a log", "unprocessable: script: x level=INFO", refuses(`{"message":"x\nlevel=INFO"}`)},
		{"a trap", "internal: script: wasm error: unreachable", running(trap)},
		{"a trap in alloc", "internal: script: wasm error: unreachable", assembly{bare: true}}, // replaced below
		{"division by zero", "internal: script: wasm error: integer divide by zero", running(seq(i32(1), i32(0), []byte{0x6d}, drop, answer(0, 0)))},
		{"reading outside of memory", "internal: script: wasm error: out of bounds memory access", running(seq(i32(1<<20), load8, drop, answer(0, 0)))},
		{"alloc gives nothing", "internal: script: it gives no memory for an input of 13 bytes", assembly{}}, // replaced below
	} {
		t.Run(c.name, func(t *testing.T) {
			switch c.name {
			case "its input":
				// the answer is where alloc has put the input: (i64(at) << 32) | i64(len)
				c.a = running(seq(get(0), []byte{0xad}, i64(32), []byte{0x86}, get(1), []byte{0xad}, []byte{0x84}))
			case "a trap in alloc":
				c.a = withAlloc(trap)
			case "alloc gives nothing":
				c.a = withAlloc(i32(0))
			}
			got := process(t, load(t, c.a.bytes(), roomy), `{"in":"body"}`)
			if !strings.HasPrefix(got[0], c.want) {
				t.Errorf("%s, want %s", got[0], c.want)
			}
		})
	}
	long := strings.Repeat("x", 60_000)
	if got := process(t, load(t, refuses(long).bytes(), roomy), "1")[0]; len(got) > 1100 || !strings.HasSuffix(got, "x…") {
		t.Errorf("a long refusal: %d bytes", len(got))
	}
}

// withAlloc is a script with an alloc of its own.
func withAlloc(code []byte) assembly {
	a := says("1")
	a.unalloc = true
	a.funcs = append([]function{{name: "alloc", takes: 1, gives: "i32", code: code}}, a.funcs...)
	return a
}

// TestOnlyThatMessageFails: a script that loops, recurses or eats memory fails the messages that make it do so, and no other.
func TestOnlyThatMessageFails(t *testing.T) {
	// It looks at the first byte of its input: 1 is good, 2 loops, 3 eats memory, 4 recurses.
	isByte := func(c byte, then []byte) []byte {
		return seq(get(0), load8, i32(int64(c)), []byte{0x46, 0x04, 0x40}, then, []byte{0x0b}) // i32.eq if … end
	}
	eat := []byte{0x03, 0x40}
	eat = append(eat, seq(i32(16), grow, i32(-1), []byte{0x47, 0x0d, 0})...) // loop: grow by 16 pages; br_if 0 while it is not -1
	eat = append(eat, 0x0b, 0x00)
	a := running(seq(isByte('2', loopForever[:5]), isByte('3', eat), isByte('4', callf(2)), answer(1024, 2)),
		function{name: "deeper", code: callf(2), hidden: true})
	a.data = "42"
	s := load(t, a.bytes(), Limits{Memory: 4 << 20, Time: 200 * time.Millisecond})
	for range 2 {
		got := process(t, s, "1", "2", "1", "3", "1", "4", "1")
		for i, want := range []string{
			"42", "timeout: script: it did not end within 200ms (raise `timeout` if it is meant)",
			"42", "internal: script: wasm error: unreachable (it has 3136 KiB of memory, and may have 4096; raise `memory` if it wants more)",
			"42", "", "42",
		} {
			if want == "" { // the stack overflows, or time is up before
				if !strings.HasPrefix(got[i], "internal: script: stack overflow") && !strings.HasPrefix(got[i], "timeout: ") {
					t.Errorf("message %d: %s", i, got[i])
				}
				continue
			}
			if got[i] != want {
				t.Errorf("message %d: %s, want %s", i, got[i], want)
			}
		}
	}
}

// TestStopped: a run that ends does not wait for a script.
func TestStopped(t *testing.T) {
	s := load(t, running(loopForever).bytes(), roomy)
	s.ready()
	ctx, cancel := context.WithCancel(context.Background())
	go cancel()
	b := conform.Batch("1", "2")
	err := s.Process(ctx, b)
	if err == nil {
		err = b.Err(0)
	}
	if !errors.Is(err, context.Canceled) || penstock.CodeOf(err) != penstock.Cancelled {
		t.Error(err)
	}
}

// TestAsManyRunAsThereAreProcessors: others wait for a place, within their own time, and not within that of the script.
func TestAsManyRunAsThereAreProcessors(t *testing.T) {
	s := load(t, says("42").bytes(), roomy)
	s.ready()
	for range cap(s.machine.running) {
		s.machine.running <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	b := conform.Batch("1")
	if err := s.Process(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := b.Err(0); penstock.CodeOf(err) != penstock.Timeout {
		t.Errorf("without a place: %v", err)
	}
	done := make(chan []string)
	go func() { done <- process(t, s, "1", "2") }()
	<-s.machine.running
	if got := <-done; got[0] != "42" || got[1] != "42" {
		t.Errorf("with a place: %v", got)
	}
	if n := len(s.machine.running); n != cap(s.machine.running)-1 {
		t.Errorf("%d places are taken", n)
	}
}

// TestNothingIsSharedBetweenMessages: memory, globals and tables are those of a new instance for each message, also where the memory is used again.
func TestNothingIsSharedBetweenMessages(t *testing.T) {
	// Each call answers with what stands at 2048 and behind one page, and then writes there.
	read := func(at int64) []byte { return seq(i32(1024), i32(at), load8, i32('1'), []byte{0x6a}) } // 1024, '1' + byte
	code := seq(
		i32(1), grow, drop,
		read(2048), store8,
		i32(1025), i32(70000), load8, i32('1'), []byte{0x6a}, store8,
		i32(2048), i32(5), store8, i32(70000), i32(7), store8,
		answer(1024, 2))
	a := running(code)
	a.data = "xx"
	s := load(t, a.bytes(), roomy)
	for range 3 {
		for i, got := range process(t, s, "1", "2", "3", "4") {
			if got != "11" {
				t.Errorf("message %d sees %s of another one", i, got)
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	s := load(t, example(t), roomy)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				got := process(t, s, `{"a":"Martha","b":"Marhta"}`, `{"a":"x"}`)
				if got[0] != `{"score":0.961,"same":true}` || got[1] != "invalid: script: b is missing" {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLoadRefuses(t *testing.T) {
	good := says("1")
	with := func(change func(*assembly)) []byte {
		a := good
		change(&a)
		return a.bytes()
	}
	for _, c := range []struct {
		name string
		code []byte
		want string
	}{
		{"nothing", nil, "it is no WebAssembly module"},
		{"a text", []byte("(module)"), "it is no WebAssembly module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "or a component; version 1 is wanted"},
		{"half of one", good.bytes()[:60], "a part of it is missing"},
		{"nonsense", append(append([]byte(nil), good.bytes()...), section(10, []byte{1, 2, 3})...), ""},
		{"an import", with(func(a *assembly) { a.imports = []imported{{"env", "abort"}, {"js", "now"}} }), "it imports env.abort, js.now; a script may import wasi_snapshot_preview1 only"},
		{"no memory", with(func(a *assembly) { a.bare = true }), "it exports no memory called `memory`"},
		{"no alloc", with(func(a *assembly) { a.unalloc = true }), "it exports no function `alloc` (i32) -> (i32); it exports run"},
		{"no run", (assembly{pages: 1}).bytes(), "it exports no function `run` (i32, i32) -> (i64); it exports alloc"},
		{"another run", (assembly{pages: 1, funcs: []function{{name: "run", takes: 1, gives: "i32", code: get(0)}}}).bytes(), "its function `run` is (i32) -> (i32), and must be (i32, i32) -> (i64)"},
		{"a program", with(func(a *assembly) { a.funcs = append([]function{{name: "_start"}}, a.funcs...) }), "it is a program (it exports `_start`)"},
		{"much memory", with(func(a *assembly) { a.pages = 17 }), "1088 KiB of memory, and `memory` allows 1024 KiB"},
		{"a large table", with(func(a *assembly) { a.tables = vec(seq([]byte{0x70, 0}, uleb(1<<26))) }), "it has a table of 67108864 elements, more than 100000"},
		{"many tables", with(func(a *assembly) { a.tables = append(uleb(1000), bytes.Repeat([]byte{0x70, 0, 0}, 1000)...) }), "it has 1000 tables"},
		{"half a table", with(func(a *assembly) { a.tables = []byte{1, 0x70} }), "a part of it is missing"},
		{"another initialize", with(func(a *assembly) {
			a.funcs = append([]function{{name: "_initialize", takes: 1}}, a.funcs...)
		}), "its function `_initialize` is (i32) -> (), and must be () -> ()"},
		{"too large", make([]byte, MaxModule+1), "more than 16777216"},
	} {
		if _, err := Load(c.code, "run", Limits{Memory: 1 << 20, Time: time.Second}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := Load(good.bytes(), "score", roomy); err == nil || !strings.Contains(err.Error(), "no function `score`") {
		t.Errorf("a function that is not there: %v", err)
	}
}

// TestTablesAreBounded: a table is no way around the limit of memory.
func TestTablesAreBounded(t *testing.T) {
	// table.grow 0 by a million, of null; the answer is -1 if that fails: then 1024 has "1", else it traps.
	code := seq([]byte{0xd0, 0x70}, i32(1_000_000), []byte{0xfc, 15, 0}, i32(-1), []byte{0x47, 0x04, 0x40, 0x00, 0x0b}, answer(1024, 1))
	for _, table := range [][]byte{{0x70, 0, 1}, append([]byte{0x70, 1, 1}, uleb(1<<30)...)} {
		a := running(code)
		a.data, a.tables = "1", vec(table)
		if got := process(t, load(t, a.bytes(), roomy), "1"); got[0] != "1" {
			t.Errorf("%s", got[0])
		}
	}
	a := says("1")
	a.tables = vec([]byte{0x70, 1, 1, 2}, []byte{0x6f, 0, 3})
	if got := process(t, load(t, a.bytes(), roomy), "1"); got[0] != "1" {
		t.Errorf("two good tables: %s", got[0])
	}
}

// TestInitialize: a module of a language with a runtime is begun by _initialize, and what it prints as it dies is told.
func TestInitialize(t *testing.T) {
	a := running(seq(i32(2048), load8, i32(9), []byte{0x46, 0x04, 0x40}, answer(1024, 1), []byte{0x0f, 0x0b}, trap),
		function{name: "_initialize", code: seq(i32(2048), i32(9), store8)})
	a.data = "1"
	if got := process(t, load(t, a.bytes(), roomy), "1", "2"); got[0] != "1" || got[1] != "1" {
		t.Errorf("%q", got)
	}
	a = running(answer(1024, 1), function{name: "_initialize", code: loopForever})
	if got := process(t, load(t, a.bytes(), Limits{Memory: 1 << 20, Time: 50 * time.Millisecond}), "1"); !strings.HasPrefix(got[0], "timeout: ") {
		t.Errorf("an _initialize that loops: %q", got)
	}
}

func TestTail(t *testing.T) {
	w := &tail{}
	for range 100 {
		_, _ = w.Write([]byte("a line of 20 bytes \n"))
	}
	_, _ = w.Write([]byte("panic: \x1b[31mwhy"))
	if s := w.String(); len(w.b) > tailSize || !strings.HasSuffix(s, "20 bytes panic: [31mwhy") {
		t.Errorf("%d bytes: %s", len(w.b), s)
	}
	_, _ = w.Write(bytes.Repeat([]byte("x"), 5000))
	if s := w.String(); s != strings.Repeat("x", tailSize) {
		t.Errorf("%d bytes", len(s))
	}
}

func TestChanceIsTheSameForAll(t *testing.T) {
	var a, b [100]byte
	x, y := chance(1), chance(1)
	_, _ = x.Read(a[:])
	_, _ = y.Read(b[:50])
	_, _ = y.Read(b[50:])
	if a != b || a == [100]byte{} {
		t.Error("two instances get different numbers")
	}
}

// FuzzLoad: no module, however broken, does more than be refused.
func FuzzLoad(f *testing.F) {
	code, err := os.ReadFile("../../examples/script/score.wasm")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code[:2000])
	a := says("1")
	a.tables = vec([]byte{0x70, 1, 1, 2})
	f.Add(a.bytes())
	f.Add(running(trap).bytes())
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 8 { // else nearly nothing is a module
			code = append([]byte("\x00asm\x01\x00\x00\x00"), code[8:]...)
		}
		m, err := Load(code, "run", Limits{Memory: 1 << 20, Time: 20 * time.Millisecond})
		if err != nil {
			return
		}
		s := &Step{Module: m, Into: step.Target{Root: step.Discard}}
		b := conform.Batch("{}")
		if err := s.Process(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzTables holds bounded modules to the same meaning: what has no table is as it was.
func FuzzTables(f *testing.F) {
	f.Add(says("1").bytes())
	a := says("1")
	a.tables = vec([]byte{0x70, 0, 1}, []byte{0x6f, 1, 0, 9})
	f.Add(a.bytes())
	f.Fuzz(func(t *testing.T, code []byte) {
		out, err := boundTables(code)
		if err != nil {
			return
		}
		again, err := boundTables(out)
		if err != nil || !bytes.Equal(again, out) {
			t.Errorf("bounded twice: %x, %v; want %x", again, err, out)
		}
	})
}

func BenchmarkScript(b *testing.B) {
	for _, c := range []struct {
		name string
		code []byte
		body string
	}{{"nothing", says("1").bytes(), "1"}, {"score", example(b), `{"a":"Jürgen Müller","b":"Juergen Mueller"}`}} {
		b.Run(c.name, func(b *testing.B) {
			s := load(b, c.code, roomy)
			batch := conform.Batch(c.body)
			m := batch.Msgs[0]
			m.Vars = append(m.Vars[:0], penstock.Absent)
			s.ready()
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Process(context.Background(), batch); err != nil || batch.Failed() > 0 {
					b.Fatal(err, batch.Err(0))
				}
			}
		})
	}
}
