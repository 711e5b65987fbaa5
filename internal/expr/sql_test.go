package expr

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// TestStatementPlaces: a value stands where a value can stand, or check says why not.
func TestStatementPlaces(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct{ src, want string }{
		{`SELECT * FROM o WHERE id = ${body.id}`, ""},
		{`SELECT * FROM o WHERE id = ANY(${body.lines})`, ""},
		{`INSERT INTO o VALUES (${body.id}, ${body.?note}, ${body.email}, ${null})`, ""},
		{`SELECT 'it''s' FROM o WHERE id = ${body.id}`, ""},
		{`SELECT "a""b" FROM o WHERE id = ${body.id}`, ""},
		{`SELECT E'it\'s' FROM o WHERE id = ${body.id}`, ""},
		{`SELECT '\' FROM o WHERE id = ${body.id}`, ""},
		{"SELECT 1 -- it's\nWHERE 1 = ${body.count}", ""},
		{`SELECT /* a /* b */ ' */ ${body.id}`, ""},
		{`SELECT $$it's$$, $t$ $$ ' $t$, ${body.id}`, ""},
		{`SELECT a$b, ${body.id}`, ""},
		{`SELECT ${body.id}::text, -${body.count}, arr[${body.count}]`, ""},
		{`SELECT extract(epoch FROM ${body.at})`, ""},
		{`SELECT * FROM o WHERE a IS DISTINCT FROM ${body.id}`, ""},
		{`SELECT * FROM o ORDER BY ${body.id} = id`, ""},
		{`SELECT * FROM o LIMIT ${body.count}`, ""},
		{`SELECT * FROM ${raw(params.drop)} WHERE id = ${body.id}`, "warning"},
		{`SELECT * FROM ${raw("t")}`, "warning"},

		{`SELECT * FROM o WHERE id = '${body.id}'`, "quoted text"},
		{`SELECT * FROM o WHERE id LIKE '%${body.id}%'`, "quoted text"},
		{`SELECT E'\'${body.id}'`, "quoted text"},
		{`SELECT "${body.id}" FROM o`, "quoted name"},
		{"SELECT `${body.id}` FROM o", "quoted name"},
		{`SELECT 1 -- ${body.id}`, "comment"},
		{`SELECT /* ${body.id} */ 1`, "comment"},
		{`SELECT /* /* */ ${body.id} */ 1`, "comment"},
		{`SELECT $q$ ${body.id} $q$`, "dollar-quoted"},
		{`SELECT * FROM ${body.id}`, "behind FROM"},
		{`SELECT * FROM a JOIN ${body.id} ON true`, "behind JOIN"},
		{`INSERT INTO ${body.id} VALUES (1)`, "behind INTO"},
		{`UPDATE ${body.id} SET a = 1`, "behind UPDATE"},
		{`DROP TABLE ${body.id}`, "behind TABLE"},
		{`SELECT a AS ${body.id}`, "behind AS"},
		{`SELECT * FROM o ORDER BY ${body.id}`, "ORDER BY"},
		{`SELECT * FROM o ORDER BY ${body.id} DESC`, "ORDER BY"},
		{`SELECT * FROM s.${body.id}`, "part of a name"},
		{`SELECT ${body.id}.a FROM o`, "part of a name"},
		{`SELECT * FROM o_${body.id}`, "against a word"},
		{`SELECT ${body.id}x`, "against a word"},
		{`SELECT $1, ${body.id}`, "no numbers"},
		{`SELECT 'a, ${body.id}`, "quoted text"},
		{`SELECT 'a`, "ends within"},
		{"SELECT '\x00', ${body.id}", "NUL"},
		{`SELECT * FROM o ORDER BY id ${raw(body.id)}`, "write SQL"},
		{`SELECT * FROM ${raw(vars.rate)}`, "write SQL"},
	} {
		var l diag.List
		compiled := p.Template(c.src, penstock.Pos{File: "f", Line: 1, Col: 1}, orderScope(), SQL, &l)
		var got []string
		for _, d := range l.Sorted() {
			got = append(got, d.String())
		}
		all := strings.Join(got, "\n")
		switch {
		case c.want == "" && (all != "" || compiled == nil):
			t.Errorf("%s: %s", c.src, all)
		case c.want == "warning" && (compiled == nil || !strings.Contains(all, "raw()")):
			t.Errorf("%s: %s, want a warning", c.src, all)
		case c.want != "" && c.want != "warning" && (compiled != nil || !strings.Contains(all, c.want)):
			t.Errorf("%s: %q, want an error with %q", c.src, all, c.want)
		}
	}
}

// TestStatementIsConstant: whatever a message holds, the statement is the same text.
func TestStatementIsConstant(t *testing.T) {
	p := newProfile(t)
	var l diag.List
	c := p.Template(`SELECT * FROM o WHERE id = ${body.id} OR note = ${body.?note}`, penstock.Pos{}, orderScope(), SQL, &l)
	if c == nil {
		t.Fatal(l.Sorted())
	}
	want := "SELECT * FROM o WHERE id = " + Parameter + " OR note = " + Parameter
	for _, id := range []string{"1", "' OR 1=1 --", `\"; DROP TABLE o; --`, "$1", "?", `\u0000`, "${body.id}", "/*", "$$"} {
		v := c.Program.Eval(frame(`{"id": "` + id + `"}`))
		if v.IsError() {
			t.Fatal(v.Err())
		}
		if e := v.List().Elems; e[0].Str() != want || len(e) != 3 || e[2].Kind() != penstock.KindNull {
			t.Errorf("%q: %v", id, v)
		}
	}
	raw := p.Template(`SELECT ${raw(params.drop)}, ${body.id}`, penstock.Pos{}, orderScope(), SQL, &l)
	if raw == nil {
		t.Fatal(l.Sorted())
	}
}

// FuzzStatement: no statement brings the reading of it down, and a value is never a part of the text.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{"SELECT ${body.id}", "'${body.id}", "E'\\'${body.id}", "$a$ ${body.id} $a$", "/* /* */ ${body.id}", "\"${body.id}\"", "a$${${body.id}$$"} {
		f.Add(s)
	}
	p, err := NewProfile(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string) {
		var l diag.List
		c := p.Template(src, penstock.Pos{File: "f", Line: 1, Col: 1}, orderScope(), SQL, &l)
		if c == nil || c.Volatile {
			return
		}
		one, other := c.Program.Eval(frame(`{"id": "1"}`)), c.Program.Eval(frame(`{"id": "'; --"}`))
		if !one.IsError() && !other.IsError() && one.List().Elems[0].Str() != other.List().Elems[0].Str() {
			t.Fatalf("%q gives %v and %v", src, one, other)
		}
	})
}
