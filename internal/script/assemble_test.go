package script

import "encoding/binary"

// assembly is a module that a test writes by hand (WebAssembly Core Specification 2.0, chapter 5).
type assembly struct {
	imports []imported // functions of type () -> ()
	tables  []byte     // the section, or nil
	pages   uint64     // of memory, at first
	data    string     // at 1024
	funcs   []function
	bare    bool // export no memory
	unalloc bool // … no alloc of its own
}

type imported struct{ module, name string }

type function struct {
	name   string
	takes  int    // i32s
	gives  string // "", "i32", "i64"
	code   []byte // without end
	hidden bool   // not exported
}

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// sleb writes a signed number.
func sleb(n int64) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func vec(items ...[]byte) []byte {
	out := uleb(uint64(len(items)))
	for _, i := range items {
		out = append(out, i...)
	}
	return out
}

func name(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func section(id byte, body []byte) []byte {
	return append(append([]byte{id}, uleb(uint64(len(body)))...), body...)
}

// Instructions.
func i32(n int64) []byte        { return append([]byte{0x41}, sleb(n)...) }
func i64(n int64) []byte        { return append([]byte{0x42}, sleb(n)...) }
func get(local byte) []byte     { return []byte{0x20, local} }
func callf(index byte) []byte   { return []byte{0x10, index} }
func seq(is ...[]byte) []byte   { return vec(is...)[len(uleb(uint64(len(is)))):] }
func answer(at, n int64) []byte { return i64(at<<32 | n) }

var (
	loopForever = []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x00} // loop br 0 end unreachable
	trap        = []byte{0x00}
	grow        = []byte{0x40, 0x00}
	drop        = []byte{0x1a}
	store8      = []byte{0x3a, 0, 0}
	load8       = []byte{0x2d, 0, 0}
)

func (a assembly) bytes() []byte {
	funcs := a.funcs
	if !a.bare && !a.unalloc {
		funcs = append([]function{{name: "alloc", takes: 1, gives: "i32", code: i32(4096)}}, funcs...)
	}
	var types, imports, indexes, exports, codes [][]byte
	types = append(types, []byte{0x60, 0, 0})
	for _, i := range a.imports {
		imports = append(imports, seq(name(i.module), name(i.name), []byte{0, 0}))
	}
	for i, f := range funcs {
		t := []byte{0x60}
		t = append(t, uleb(uint64(f.takes))...)
		for range f.takes {
			t = append(t, 0x7f)
		}
		switch f.gives {
		case "i32":
			t = append(t, 1, 0x7f)
		case "i64":
			t = append(t, 1, 0x7e)
		default:
			t = append(t, 0)
		}
		types = append(types, t)
		indexes = append(indexes, uleb(uint64(i+1)))
		if !f.hidden {
			exports = append(exports, seq(name(f.name), []byte{0}, uleb(uint64(i+len(a.imports)))))
		}
		body := seq([]byte{0}, f.code, []byte{0x0b})
		codes = append(codes, seq(uleb(uint64(len(body))), body))
	}
	if !a.bare {
		exports = append(exports, seq(name("memory"), []byte{2, 0}))
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, vec(types...))...)
	if len(imports) > 0 {
		out = append(out, section(2, vec(imports...))...)
	}
	out = append(out, section(3, vec(indexes...))...)
	if a.tables != nil {
		out = append(out, section(4, a.tables)...)
	}
	out = append(out, section(5, vec(seq([]byte{0}, uleb(a.pages))))...)
	out = append(out, section(7, vec(exports...))...)
	out = append(out, section(10, vec(codes...))...)
	if a.data != "" {
		out = append(out, section(11, vec(seq([]byte{0}, i32(1024), []byte{0x0b}, name(a.data))))...)
	}
	return out
}

// running is a script whose function run has this code.
func running(code []byte, more ...function) assembly {
	return assembly{pages: 1, funcs: append([]function{{name: "run", takes: 2, gives: "i64", code: code}}, more...)}
}

// says is a script that answers with a text; refuses, one that refuses with it.
func says(text string) assembly {
	a := running(answer(1024, int64(len(text))))
	a.data = text
	return a
}

func refuses(text string) assembly {
	a := running(answer(1024, int64(len(text))|1<<31))
	a.data = text
	return a
}
