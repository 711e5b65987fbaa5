package flowtest

import (
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
)

// treeOf is a document as the data tree that Tests hold. d must be parsed.
func treeOf(d *jsonview.Doc, n jsonview.Node) penstock.Tree {
	switch d.Kind(n) {
	case jsonview.True, jsonview.False:
		return penstock.Tree{Kind: penstock.TreeBool, Bool: d.Kind(n) == jsonview.True}
	case jsonview.Number:
		return penstock.Tree{Kind: penstock.TreeNumber, Text: string(d.Raw(n))}
	case jsonview.String:
		return penstock.Tree{Kind: penstock.TreeText, Text: strings.Clone(d.Str(n, nil))}
	case jsonview.Array:
		t := penstock.Tree{Kind: penstock.TreeList}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			t.Elems = append(t.Elems, treeOf(d, e))
		}
		return t
	case jsonview.Object:
		t := penstock.Tree{Kind: penstock.TreeMap}
		for k := d.First(n); k != jsonview.None; k = d.Next(d.Value(k)) {
			t.Keys = append(t.Keys, string(d.Key(k, nil)))
			t.Elems = append(t.Elems, treeOf(d, d.Value(k)))
		}
		return t
	}
	return penstock.Tree{Kind: penstock.TreeNull}
}

// parse reads one JSON document.
func parse(src []byte) (penstock.Tree, error) {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, src)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.Tree{}, err
	}
	return treeOf(&d, 0), nil
}

// text is a tree as JSON text.
func text(t *penstock.Tree) string { return string(resource.AppendTree(nil, t)) }

// canon is a text that two trees share just when they are equal: keys sorted, numbers by value.
func canon(t *penstock.Tree) string { return string(appendCanon(nil, t)) }

func appendCanon(dst []byte, t *penstock.Tree) []byte {
	switch t.Kind {
	case penstock.TreeNumber:
		return append(dst, canonNumber(t.Text)...)
	case penstock.TreeList:
		dst = append(dst, '[')
		for i := range t.Elems {
			dst = append(appendCanon(dst, &t.Elems[i]), ',')
		}
		return append(dst, ']')
	case penstock.TreeMap:
		order := make([]int, len(t.Keys))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return strings.Compare(t.Keys[a], t.Keys[b]) })
		dst = append(dst, '{')
		for _, i := range order {
			dst = append(jsonview.AppendString(dst, t.Keys[i]), ':')
			dst = append(appendCanon(dst, &t.Elems[i]), ',')
		}
		return append(dst, '}')
	}
	return resource.AppendTree(dst, t)
}

// canonNumber gives equal numbers one text, exactly: 2.50, 25e-1 and 2.5 are all 25e-1.
func canonNumber(s string) string {
	s, negative := strings.CutPrefix(s, "-")
	exp := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+"))
		if err != nil {
			return s // an exponent beyond all sense: by its text
		}
		exp, s = n, s[:i]
	}
	whole, frac, _ := strings.Cut(s, ".")
	exp -= len(frac)
	digits := strings.TrimLeft(whole+frac, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	exp += len(digits) - len(short)
	if negative {
		short = "-" + short
	}
	return short + "e" + strconv.Itoa(exp)
}

// field finds the value of a key.
func field(t *penstock.Tree, key string) *penstock.Tree {
	if i := slices.Index(t.Keys, key); i >= 0 && t.Kind == penstock.TreeMap {
		return &t.Elems[i]
	}
	return nil
}
