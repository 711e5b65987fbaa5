package step

import (
	"context"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// leaf appends one field of the body as JSON.
func leaf(name string) func(dst []byte, f *penstock.Frame) ([]byte, error) {
	p := field(name)
	return func(dst []byte, f *penstock.Frame) ([]byte, error) { return p.Eval(f).AppendJSON(dst) }
}

func TestMap(t *testing.T) {
	a, b := leaf("a"), leaf("b")
	tree := mapping(func(dst []byte, f *penstock.Frame) ([]byte, error) {
		out := append(dst, `{"x":`...)
		out, err := a(out, f)
		if err != nil {
			return dst, err
		}
		// A program that takes memory while the mapping writes must not write over it.
		copy(f.Arena.Alloc(64), strings.Repeat("!", 64))
		if out, err = b(append(out, `,"y":`...), f); err != nil {
			return dst, err
		}
		return append(out, '}'), nil
	})
	batch := batch(`{"a":1.0,"b":"two"}`, `{"a":1}`, `{"a":`, `{"b":{},"a":[]}`)
	process(t, &Map{Mapping: tree}, batch)
	// A body that can't be read shows as null; its bytes are still there.
	for i, want := range []string{`{"x":1.0,"y":"two"}`, `{"a":1}`, `null`, `{"x":[],"y":{}}`} {
		if got := body(batch.Msgs[i]); got != want {
			t.Errorf("message %d: %s, want %s", i, got, want)
		}
	}
	wantError(t, batch.Err(1), penstock.Unprocessable, "map: json: the value is absent")
	wantError(t, batch.Err(2), penstock.Invalid, "map: body: invalid JSON at byte 5 (line 1): the document ends where a value is needed")
	if batch.Failed() != 2 {
		t.Errorf("%d failed", batch.Failed())
	}

	_, m := one(t, &Map{Mapping: tree, Into: path(t, "vars.x")}, `{"a":1,"b":2}`)
	if got := m.Vars[0].String(); got != `{"x":1,"y":2}` || body(m) != `{"a":1,"b":2}` {
		t.Errorf("vars.x is %s, the body %s", got, body(m))
	}
	_, m = one(t, &Map{Mapping: tree, Into: path(t, "body.c")}, `{"a":1,"b":2}`)
	if got := body(m); got != `{"a":1,"b":2,"c":{"x":1,"y":2}}` {
		t.Error(got)
	}
	_, m = one(t, &Map{Program: constant(penstock.DecimalValue(must(penstock.ParseDecimal("1.50")))), Into: path(t, "vars.x")}, `{}`)
	if m.Vars[0].Kind() != penstock.KindDecimal {
		t.Errorf("the decimal became a %d", m.Vars[0].Kind())
	}
	_, m = one(t, &Map{Program: field("a")}, `{"a":[1, 2]}`)
	if got := body(m); got != `[1, 2]` {
		t.Error(got)
	}
	batch, _ = one(t, &Map{Program: constant(penstock.ErrorValue(errBoom))}, `{"a":1}`)
	wantError(t, batch.Err(0), penstock.Unprocessable, "map: /: division by zero")
	batch, _ = one(t, &Map{Program: field("a"), Into: path(t, "body.a.b")}, `{"a":1}`)
	wantError(t, batch.Err(0), penstock.Unprocessable, "map: body.a: is a number, not an object")
	batch, _ = one(t, &Map{Mapping: tree, Into: path(t, "key")}, `{"a":1,"b":2}`)
	wantError(t, batch.Err(0), penstock.Unprocessable, "map: key: the key can't be an object (a key is a string, a number or a bool)")
}

func TestSet(t *testing.T) {
	edit := func(p string, program penstock.Program) Edit { return Edit{Target: path(t, p), Program: program} }
	for _, c := range []struct {
		name, src string
		edits     []Edit
		want      string
	}{
		{"values are those before the step", `{"a":1,"b":2}`,
			[]Edit{edit("body.a", field("b")), edit("body.b", field("a"))}, `{"a":2,"b":1}`},
		{"nested and new", `{"a":{"b":1.0,"x":0}}`,
			[]Edit{edit("body.a.b", constant(penstock.True)), edit("body.a.c", field("a")), edit("body.d.e", constant(penstock.Null))},
			`{"a":{"b":true,"x":0,"c":{"b":1.0,"x":0}},"d":{"e":null}}`},
		{"one inside the other", `{"a":1}`,
			[]Edit{edit("body.a", constant(object("b", penstock.IntValue(1)))), edit("body.a.c", constant(penstock.IntValue(2)))},
			`{"a":{"b":1,"c":2}}`},
		{"the last of the same path", `{"a":1}`,
			[]Edit{edit("body.a", constant(penstock.IntValue(2))), edit("body.a", constant(penstock.IntValue(3)))}, `{"a":3}`},
		{"inside, then whole", `{"a":1}`,
			[]Edit{edit("body.b", constant(penstock.IntValue(2))), edit("body", constant(list()))}, `[]`},
		{"whole, then inside", `1`,
			[]Edit{edit("body", constant(object())), edit("body.b", constant(penstock.IntValue(2)))}, `{"b":2}`},
		{"absent takes away", `{"a":1,"b":2}`, []Edit{edit("body.a", field("zzz"))}, `{"b":2}`},
		{"a tree", `{"a":1}`, []Edit{{Target: path(t, "body.b"), Mapping: mapping(leaf("a"))}, {Target: path(t, "body.c[0]"), Mapping: mapping(leaf("a"))}}, `{"a":1,"b":1,"c":[1]}`},
		{"indexes in any order", `{"l":[1]}`, []Edit{edit("body.l[2]", constant(penstock.IntValue(3))), edit("body.l[1]", constant(penstock.IntValue(2)))}, `{"l":[1,2,3]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, m := one(t, must(NewSet(c.edits)), c.src)
			if err := b.Err(0); err != nil {
				t.Fatal(err)
			}
			if got := body(m); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	s := must(NewSet([]Edit{
		edit("vars.x", field("a")), edit("meta.h", field("a")), edit("key", field("a")),
		{Target: path(t, "vars.x.deep"), Mapping: mapping(leaf("a"))}, edit("body.n", constant(penstock.IntValue(1))),
	}))
	b := batch(`{"a":{}}`, `{"a":"k"}`)
	for _, m := range b.Msgs {
		m.Key = "old"
		m.Vars = []penstock.Value{penstock.True}
	}
	process(t, s, b)
	wantError(t, b.Err(0), penstock.Unprocessable, "set: key: the key can't be an object (a key is a string, a number or a bool)")
	wantError(t, b.Err(1), penstock.Unprocessable, "set: vars.x: is a string, not an object")
	for i, m := range b.Msgs {
		if m.Key != "old" || !m.Vars[0].Bool() || !m.Meta.Get("h").IsAbsent() || strings.Contains(body(m), "n") {
			t.Errorf("message %d failed and is not as it came: key %s, vars %s, body %s", i, m.Key, m.Vars[0], body(m))
		}
	}
}

func TestSetErrors(t *testing.T) {
	boom := must(NewSet([]Edit{{Target: path(t, "body.b"), Program: constant(penstock.True)}, {Target: path(t, "body.total"), Program: constant(penstock.ErrorValue(errBoom))}}))
	b, m := one(t, boom, `{"a":1}`)
	wantError(t, b.Err(0), penstock.Unprocessable, "set: body.total: /: division by zero")
	if body(m) != `{"a":1}` {
		t.Error(body(m))
	}
	for _, c := range []struct {
		edit Edit
		want string
	}{
		{Edit{Target: path(t, "body.a")}, "set: body.a: needs exactly one of a program and a mapping"},
		{Edit{Target: path(t, "none"), Program: constant(penstock.Null)}, "set: none: is no place for a value"},
		{Edit{Target: path(t, "body.l[*]"), Program: constant(penstock.Null)}, "set: body.l[*]: has the index -1; a list counts from 0"},
	} {
		_, err := NewSet([]Edit{c.edit})
		wantError(t, err, penstock.Config, c.want)
	}
}

func TestRemove(t *testing.T) {
	for _, c := range []struct{ src, paths, want string }{
		{`{"a":1,"b":2,"c":3}`, "body.b", `{"a":1,"c":3}`},
		{`{ "a" : 1 , "b" : 2 }`, "body.a", `{ "b" : 2 }`},
		{`{ "a" : 1 , "b" : 2 }`, "body.b", `{ "a" : 1  }`},
		{`{ "a" : 1 , "b" : 2 }`, "body.a body.b", `{}`},
		{`{"a":1,"b":2,"c":3,"d":4}`, "body.d body.a body.b", `{"c":3}`},
		{`[1,2,3]`, "body[0] body[1]", `[3]`},
		{`[1,2,3]`, "body[2] body[7]", `[1,2]`},
		{`{"a":1}`, "body.x body.a.b body[0]", `{"a":1}`},
		{`{"a":{"b":1,"c":2}}`, "body.a.b body.a", `{}`},
		{`{"l":[{"a":1,"b":2},{"b":3},4]}`, "body.l[*].b", `{"l":[{"a":1},{},4]}`},
		{`{"l":[1,2]}`, "body.l[*]", `{"l":[]}`},
		{`{"a":1}`, "body", `null`},
	} {
		b, m := one(t, must(NewRemove(paths(t, strings.Fields(c.paths)...))), c.src)
		if got := body(m); got != c.want || b.Failed() > 0 {
			t.Errorf("%s without %s: %s, want %s (%v)", c.src, c.paths, got, c.want, b.Err(0))
		}
	}
	b := batch(`{"a":1}`)
	m := b.Msgs[0]
	old := m.Body
	m.Vars = []penstock.Value{object("a", penstock.True)}
	m.Meta.Set("h", penstock.True)
	m.Key = "k"
	process(t, must(NewRemove(paths(t, "body.zzz", "vars.x.a", "meta.h", "key"))), b)
	if m.Key != "" || m.Vars[0].String() != "{}" || len(m.Meta.Entries()) != 0 || m.Body != old {
		t.Errorf("key %q, vars %s, %d headers, body copied: %t", m.Key, m.Vars[0], len(m.Meta.Entries()), m.Body != old)
	}
	b, _ = one(t, must(NewRemove(paths(t, "body.a"))), `{`)
	wantError(t, b.Err(0), penstock.Invalid, "remove: body: invalid JSON at byte 1 (line 1): the document ends where a key in double quotes is needed")
	_, err := NewRemove(paths(t, "none"))
	wantError(t, err, penstock.Config, "remove: none: is nothing that could be taken away")
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ src, paths, want string }{
		{`{"a":"secret","b":"x"}`, "body.a", `{"a":"***","b":"x"}`},
		{`{"a":"","n":1.5,"t":true,"z":null}`, "body.a body.n body.t body.z", `{"a":"***","n":null,"t":null,"z":null}`},
		{`{"a":{"b":"x","c":[1,"y",{}],"d":[]}}`, "body.a", `{"a":{"b":"***","c":[null,"***",{}],"d":[]}}`},
		{`{"l":[{"name":"A","id":1},{"id":2},"x"]}`, "body.l[*].name", `{"l":[{"name":"***","id":1},{"id":2},"x"]}`},
		{`{"id":"1","m":"x","n":"y"}`, "body.id body[*]", `{"id":"***","m":"***","n":"***"}`},
		{`{"a":{"id":1,"x":"s"},"b":{"x":"s"}}`, "body.a.id body[*].x", `{"a":{"id":null,"x":"s"},"b":{"x":"***"}}`},
		{`{"a":"x"}`, "body.b body.a.c", `{"a":"x"}`},
		{`"x"`, "body", `"***"`},
	} {
		_, m := one(t, must(NewMask(paths(t, strings.Fields(c.paths)...))), c.src)
		if got := body(m); got != c.want {
			t.Errorf("%s with %s masked: %s, want %s", c.src, c.paths, got, c.want)
		}
	}
	b := batch(`{}`)
	m := b.Msgs[0]
	m.Vars = []penstock.Value{object("a", list(penstock.StringValue("x"), penstock.IntValue(1), penstock.DurationValue(1)), "n", node(`{"y":"z"}`))}
	m.Meta.Set("h", penstock.StringValue("x"))
	process(t, must(NewMask(paths(t, "vars.x.a", "vars.x.n", "vars.x.zzz", "meta.h", "meta.none"))), b)
	if got := m.Vars[0].String(); got != `{"a":["***",null,"***"],"n":{"y":"***"}}` || m.Meta.Get("h").Str() != "***" || len(m.Meta.Entries()) != 1 {
		t.Errorf("vars %s, header %s", got, m.Meta.Get("h"))
	}
	record(t, m, []string{"a", "b", "c"}, "x", "∅", "12")
	process(t, must(NewMask(paths(t, "body.a", "body.b", "body.c"))), b)
	if got := body(m); got != `{"a":"***","c":null}` {
		t.Error(got)
	}
	m.Body = new(jsonview.Doc)
	m.Body.Reset(jsonview.Binary, []byte{0xff})
	process(t, must(NewMask(paths(t, "body"))), b)
	if got := body(m); got != `"***"` {
		t.Error(got)
	}
	_, err := NewMask(paths(t, "key"))
	wantError(t, err, penstock.Config, "mask: key: can't be masked: messages are ordered by it; set it to a hash instead")
	_, err = NewMask(paths(t, "none"))
	wantError(t, err, penstock.Config, "mask: none: is nothing that could be masked")
}

func TestRecordEdits(t *testing.T) {
	columns := []string{"a", "b", "c"}
	b := batch("")
	m := b.Msgs[0]
	record(t, m, columns, "x\"", "∅", "012")
	old := m.Body
	process(t, must(NewRemove(paths(t, "body.b", "body.zzz"))), b)
	if m.Body != old {
		t.Error("nothing was removed, but the body copied")
	}
	process(t, must(NewSet([]Edit{
		{Target: path(t, "body.c"), Program: constant(penstock.IntValue(12))},
		{Target: path(t, "body.d"), Program: field("a")}})), b)
	if got := body(m); got != `{"a":"x\"","c":12,"d":"x\""}` {
		t.Error(got)
	}
	m.Body = old
	process(t, must(NewSet([]Edit{{Target: path(t, "body.a.b"), Program: constant(penstock.True)}})), b)
	wantError(t, b.Err(0), penstock.Unprocessable, "set: body.a: is a string, not an object")
	m.Body = b.NewDoc()
	m.Body.Reset(jsonview.Text, []byte("hello"))
	b.ClearErrors()
	process(t, must(NewSet([]Edit{{Target: path(t, "body.a.b"), Program: constant(penstock.True)}})), b)
	wantError(t, b.Err(0), penstock.Unprocessable, "set: body: is a string, not an object (decode the body first)")
}

func TestAllocations(t *testing.T) {
	leaves := [...]func([]byte, *penstock.Frame) ([]byte, error){leaf("a"), leaf("b"), leaf("c"), leaf("d")}
	m := &Map{Mapping: mapping(func(dst []byte, f *penstock.Frame) ([]byte, error) {
		dst = append(dst, '{')
		for i := range leaves {
			dst = append(dst, '"', byte('w'+i), '"', ':')
			dst, _ = leaves[i](dst, f)
			dst = append(dst, ',')
		}
		dst[len(dst)-1] = '}'
		return dst, nil
	})}
	s := must(NewSet([]Edit{
		{Target: path(t, "body.a"), Program: field("b")}, {Target: path(t, "body.new.deep"), Program: field("a")},
		{Target: path(t, "vars.x"), Program: field("c")}, {Target: path(t, "key"), Program: field("c")},
	}))
	r, k := must(NewRemove(paths(t, "body.a"))), must(NewMask(paths(t, "body.a")))
	for name, step := range map[string]penstock.Step{"map": m, "set": s, "remove": r, "mask": k} {
		b := batch()
		src := []byte(`{"a":1.50,"b":"some text","c":"x","d":{"e":[1,2,3]}}`)
		run := func() {
			b.Reset()
			for range 100 {
				b.Append().Body.Reset(jsonview.JSON, src)
			}
			process(t, step, b)
			if b.Failed() > 0 {
				t.Fatal(b.Err(0))
			}
		}
		run()
		// None for a message; a garbage collection (and the race detector) may empty the pool of scratch memory.
		if got := testing.AllocsPerRun(20, run); got > 10 {
			t.Errorf("%s: %v allocations for 100 messages", name, got)
		}
	}
}

func TestConcurrent(t *testing.T) {
	s := must(NewSet([]Edit{{Target: path(t, "body.a"), Program: field("b")}, {Target: path(t, "body.c.d"), Program: field("a")}}))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				b := batch(`{"a":1,"b":2}`, `{"b":2,"x":0,"a":1}`)
				if err := s.Process(context.Background(), b); err != nil || body(b.Msgs[0]) != `{"a":2,"b":2,"c":{"d":1}}` || body(b.Msgs[1]) != `{"b":2,"x":0,"a":2,"c":{"d":1}}` {
					t.Error(body(b.Msgs[0]), body(b.Msgs[1]), err)
					return
				}
			}
		})
	}
	wg.Wait()
}
