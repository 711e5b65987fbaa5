package lower

import "testing"

func TestPlainly(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"body.id", "body.id"},
		{"  body . id\n", "body.id"},
		{"a +\n  b", "a+b"},
		{"x  in  [ 1, 2 ]", "x in[1,2]"},
		{"x in y", "x in y"},
		{"a // the first\n+ b // the second", "a+b"},
		{`a + "b  // c"`, `a+"b  // c"`},
		{`a + 'it\'s  " it' + b`, `a+'it\'s  " it'+b`},
		{`r"\" + "  x"`, `r"\"+"  x"`},
		{`a || "\"  "`, `a||"\"  "`},
		{"\"\"\"a \"  b\"\"\" +  c", "\"\"\"a \"  b\"\"\"+c"},
		{`"open  `, `"open  `},
		{`"open\`, `"open\`},
		{"", ""},
	} {
		if got := plainly(c.src); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.src, got, c.want)
		}
	}
}

// FuzzPlainly holds that what is plain stays as it is, and that nothing but white space and comments goes.
func FuzzPlainly(f *testing.F) {
	for _, s := range []string{"body.id", "a in b", `r"\" + 'x'`, "a//b\nc", `"""x " y"""`, `b'\x00' + "é"`, "or \"\\\"\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		once := plainly(src)
		if len(once) > len(src) {
			t.Fatalf("%q grew to %q", src, once)
		}
	})
}
