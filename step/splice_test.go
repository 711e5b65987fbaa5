package step

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// tree is a document as a tree: what the splicer's text is compared with.
type tree struct {
	text string // of a scalar, as it came
	open byte   // { or [ of a container
	keys []string
	kids []*tree
}

func treeOf(d *jsonview.Doc, n jsonview.Node) *tree {
	t := new(tree)
	switch d.Kind(n) {
	case jsonview.Object:
		t.open = '{'
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			t.keys = append(t.keys, d.Str(k, nil))
			t.kids = append(t.kids, treeOf(d, d.Value(k)))
		}
	case jsonview.Array:
		t.open = '['
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			t.kids = append(t.kids, treeOf(d, e))
		}
	default:
		t.text = string(d.AppendJSON(nil, n))
	}
	return t
}

func parseTree(src string) (*tree, error) {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, []byte(src))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return nil, err
	}
	return treeOf(&d, 0), nil
}

// write gives the text, with space in every place that may have some.
func (t *tree) write(space func() string) string {
	if t.open == 0 {
		return t.text
	}
	var b strings.Builder
	b.WriteByte(t.open)
	b.WriteString(space())
	for i, k := range t.kids {
		if i > 0 {
			b.WriteString("," + space())
		}
		if t.open == '{' {
			b.WriteString(string(jsonview.AppendString(nil, t.keys[i])) + space() + ":" + space())
		}
		b.WriteString(k.write(space) + space())
	}
	b.WriteByte(t.open + 2) // } and ] stand two after { and [ in ASCII
	return b.String()
}

func (t *tree) String() string { return t.write(func() string { return "" }) }

// treeEdit is a change at a path, for the naive implementation.
type treeEdit struct {
	path []PathStep
	kind changeKind
	text string
}

var errModel = errors.New("refused")

// apply is the naive implementation of a pass: edits that don't overlap, on a tree.
func apply(t *tree, edits []treeEdit) (*tree, error) {
	if len(edits) == 1 && len(edits[0].path) == 0 {
		switch e := edits[0]; {
		case e.kind == put:
			return must(parseTree(e.text)), nil
		case e.kind == drop || t == nil:
			return nil, nil
		}
		return maskTree(t), nil
	}
	var firsts []PathStep
	groups := map[PathStep][]treeEdit{}
	puts := map[PathStep]bool{}
	for _, e := range edits {
		s := e.path[0]
		if !slices.Contains(firsts, s) {
			firsts = append(firsts, s)
		}
		puts[s] = puts[s] || e.kind == put
		e.path = e.path[1:]
		groups[s] = append(groups[s], e)
	}
	slices.SortStableFunc(firsts, func(a, b PathStep) int {
		switch {
		case a.Name == "" && b.Name == "":
			return a.Index - b.Index
		case a.Name == "":
			return 1
		case b.Name == "":
			return -1
		}
		return 0
	})
	firsts = slices.DeleteFunc(firsts, func(s PathStep) bool { return isEach(s) })
	creating := slices.IndexFunc(firsts, func(s PathStep) bool { return puts[s] })
	if t == nil || t.text == "null" {
		if creating < 0 {
			return t, nil
		}
		t = &tree{open: '{'}
		if firsts[creating].Name == "" {
			t.open = '['
		}
	}
	if t.open == 0 {
		if creating >= 0 {
			return nil, errModel
		}
		return t, nil
	}
	out := &tree{open: t.open, keys: slices.Clone(t.keys), kids: slices.Clone(t.kids)}
	named := map[int]bool{}
	for _, s := range firsts {
		if (s.Name == "") != (t.open == '[') {
			if puts[s] {
				return nil, errModel
			}
			continue
		}
		i := s.Index
		if s.Name != "" {
			i = slices.Index(out.keys, s.Name)
		}
		var kid *tree
		if i >= 0 && i < len(out.kids) {
			kid = out.kids[i]
			named[i] = true
		}
		kid, err := apply(kid, groups[s])
		switch {
		case err != nil:
			return nil, err
		case i >= 0 && i < len(out.kids):
			out.kids[i] = kid // nil: taken out below
		case kid == nil:
		case s.Name == "" && i > len(out.kids):
			return nil, errModel
		default:
			if s.Name != "" {
				out.keys = append(out.keys, s.Name)
			}
			out.kids = append(out.kids, kid)
		}
	}
	if rest := groups[PathStep{Index: Each}]; rest != nil {
		for i := range t.kids {
			if !named[i] {
				kid, err := apply(t.kids[i], rest)
				if err != nil {
					return nil, err
				}
				out.kids[i] = kid
			}
		}
	}
	final := &tree{open: t.open}
	for i, k := range out.kids {
		if k != nil {
			final.kids = append(final.kids, k)
			if t.open == '{' {
				final.keys = append(final.keys, out.keys[i])
			}
		}
	}
	return final, nil
}

func maskTree(t *tree) *tree {
	if t.open == 0 {
		if t.text[0] == '"' {
			return &tree{text: maskText}
		}
		return &tree{text: "null"}
	}
	out := &tree{open: t.open, keys: t.keys}
	for _, k := range t.kids {
		out.kids = append(out.kids, maskTree(k))
	}
	return out
}

var names = []string{"a", "b", "c", "é", "\""}

func genTree(depth int) *rapid.Generator[*tree] {
	return rapid.Custom(func(t *rapid.T) *tree {
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if depth == 0 || kind < 2 {
			return &tree{text: rapid.SampledFrom([]string{"null", "true", "1", "-0.50", "1E+2", `"x"`, `"\u0041,}]"`, `""`}).Draw(t, "scalar")}
		}
		out := &tree{open: '['}
		if kind > 2 {
			out.open = '{'
			out.keys = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID[string]).Draw(t, "keys")
			for range out.keys {
				out.kids = append(out.kids, genTree(depth-1).Draw(t, "value"))
			}
			return out
		}
		out.kids = rapid.SliceOfN(genTree(depth-1), 0, 3).Draw(t, "elems")
		return out
	})
}

func genPath(each bool) *rapid.Generator[[]PathStep] {
	first := 0
	if each {
		first = Each
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PathStep {
		if rapid.IntRange(0, 2).Draw(t, "named") > 0 {
			return PathStep{Name: rapid.SampledFrom(names).Draw(t, "name")}
		}
		return PathStep{Index: rapid.IntRange(first, 3).Draw(t, "index")}
	}), 1, 3)
}

// TestSpliceIsNaive holds the splicer to the naive implementation, for random documents, white space and edits.
func TestSpliceIsNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", "", " ", "\n", " \t"})
		doc := genTree(3).Draw(t, "doc")
		src := doc.write(func() string { return space.Draw(t, "space") })
		puts := rapid.Bool().Draw(t, "puts") // Each is for drop and mask
		var edits []treeEdit
		for _, p := range rapid.SliceOfN(genPath(!puts), 1, 4).Draw(t, "paths") {
			if slices.ContainsFunc(edits, func(e treeEdit) bool { return overlap(p, e.path) }) {
				continue
			}
			e := treeEdit{path: p, kind: drop}
			switch {
			case puts && rapid.Bool().Draw(t, "put"):
				e.kind, e.text = put, genTree(1).Draw(t, "value").String()
			case !puts && rapid.Bool().Draw(t, "mask"):
				e.kind = mask
			}
			edits = append(edits, e)
		}
		compareWithModel(t, src, doc, edits)
	})
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func compareWithModel(t fataler, src string, doc *tree, edits []treeEdit) {
	t.Helper()
	var (
		list    [][]PathStep
		changes []change
	)
	for _, e := range edits {
		list = append(list, e.path)
		c := change{kind: e.kind}
		if e.kind == put {
			c.raw = []byte(e.text)
		}
		changes = append(changes, c)
	}
	passes := compilePasses(list)
	if len(passes) != 1 {
		t.Fatalf("%d passes for %v", len(passes), list)
	}
	b := batch(src)
	m := b.Msgs[0]
	var s splicer
	err := s.edit(b, m, &passes[0].root, changes)
	want, wantErr := apply(doc, edits)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%s with %s: error %v, the model's %v", src, show(edits), err, wantErr)
	}
	if err != nil {
		return
	}
	got, err := parseTree(body(m))
	if err != nil {
		t.Fatalf("%s with %s became %s: %v", src, show(edits), body(m), err)
	}
	if got.String() != want.String() {
		t.Fatalf("%s with %s\nbecame %s\nwant   %s", src, show(edits), body(m), want)
	}
	if got.String() == doc.String() && !slices.ContainsFunc(edits, func(e treeEdit) bool { return e.kind != drop }) && string(m.Body.Bytes()) != src {
		t.Fatalf("%s was not changed, but became %s", src, body(m))
	}
}

func show(edits []treeEdit) string {
	var b strings.Builder
	for _, e := range edits {
		fmt.Fprintf(&b, "%s %s %s; ", [...]string{"put", "drop", "mask"}[e.kind], appendPath(nil, e.path), e.text)
	}
	return b.String()
}

// TestSpliceRecord holds the edits of a row to those of the object that it renders as.
func TestSpliceRecord(t *testing.T) {
	columns := []string{"a", "b", "c", "é"}
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.SampledFrom([]string{"x", "", "12", "null", "∅", "\"q\"", "a\nb"})
		var cells []string
		for range columns {
			cells = append(cells, cell.Draw(t, "cell"))
		}
		var list []treeEdit
		var changes []change
		var ps [][]PathStep
		for _, p := range rapid.SliceOfN(genPath(false), 1, 3).Draw(t, "paths") {
			if p[0].Name == "" || slices.ContainsFunc(ps, func(q []PathStep) bool { return q[0] == p[0] }) {
				continue
			}
			e := treeEdit{path: p, kind: rapid.SampledFrom([]changeKind{put, drop, mask}).Draw(t, "kind")}
			c := change{kind: e.kind}
			if e.kind == put {
				e.text = genTree(1).Draw(t, "value").String()
				c.raw = []byte(e.text)
			}
			list, ps, changes = append(list, e), append(ps, p), append(changes, c)
		}
		if len(list) == 0 {
			return
		}
		b := batch("")
		m := b.Msgs[0]
		record(&testing.T{}, m, columns, cells...)
		doc := must(parseTree(body(m)))
		var s splicer
		passes := compilePasses(ps)
		err := s.edit(b, m, &passes[0].root, changes)
		want, wantErr := apply(doc, list)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%s with %s: error %v, the model's %v", doc, show(list), err, wantErr)
		}
		if err == nil && must(parseTree(body(m))).String() != want.String() {
			t.Fatalf("%s with %s\nbecame %s\nwant   %s", doc, show(list), body(m), want)
		}
	})
}

func FuzzSplice(f *testing.F) {
	for _, s := range []struct{ src, path, value string }{
		{`{"a":1,"b":{"c":[1, 2]}}`, "body.b.c[1]", `"x"`},
		{`{"a":1,"b":{"c":[1, 2]}}`, "body.b.c[2].d", `{"y":0.10}`},
		{` [ ] `, "body[0]", `1`},
		{`{ "a" : null }`, "body.a.b", ``},
		{`{"a":1,"b":2}`, "body.a", ``},
		{`[1 , 2 ,3]`, "body[0]", ``},
		{`"x"`, "body.a", `1`},
		{``, `body["\u00e9"]`, `1`},
	} {
		f.Add(s.src, s.path, s.value)
	}
	f.Fuzz(func(t *testing.T, src, p, value string) {
		parsed, err := penstock.ParsePath(p)
		if err != nil || parsed.Root != "body" || len(parsed.Steps) == 0 {
			t.Skip()
		}
		doc, err := parseTree(src)
		if err != nil {
			b := batch(src)
			if err := Assign(b, b.Msgs[0], Target{Steps: parsed.Steps}, penstock.True); err == nil && src != "" {
				t.Fatalf("%q was edited", src)
			}
			return
		}
		e := treeEdit{path: parsed.Steps, kind: drop}
		if value != "" {
			if _, err := parseTree(value); err != nil {
				t.Skip()
			}
			e.kind, e.text = put, value
		}
		compareWithModel(t, src, doc, []treeEdit{e})
	})
}
