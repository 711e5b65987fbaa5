package flowtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// difference is one place where a document is not what was expected.
type difference struct {
	path        string // "lines[0].total"; "" is the whole document
	want, found string
	pos         penstock.Pos // of what was expected
}

func (d difference) String() string {
	path := d.path
	if path == "" {
		path = "the document"
	}
	return fmt.Sprintf("%s: expected %s, found %s", path, d.want, d.found)
}

// nothing is how messages show what is not there.
const nothing = "nothing"

// differences compares a document with what is expected. Where partial, a map may hold more than is
// expected. Numbers are compared by their exact value.
func differences(want, got *penstock.Tree, partial bool) []difference {
	var out []difference
	compare(want, got, partial, "", &out)
	return out
}

func compare(want, got *penstock.Tree, partial bool, path string, out *[]difference) {
	differ := func() {
		*out = append(*out, difference{path, clip(text(want)), clip(text(got)), want.Pos})
	}
	if want.Kind != got.Kind {
		differ()
		return
	}
	switch want.Kind {
	case penstock.TreeBool:
		if want.Bool != got.Bool {
			differ()
		}
	case penstock.TreeNumber:
		if canonNumber(want.Text) != canonNumber(got.Text) {
			differ()
		}
	case penstock.TreeText:
		if want.Text != got.Text {
			differ()
		}
	case penstock.TreeList:
		compareLists(want, got, partial, path, out)
	case penstock.TreeMap:
		compareMaps(want, got, partial, path, out)
	}
}

func compareLists(want, got *penstock.Tree, partial bool, path string, out *[]difference) {
	for i := range max(len(want.Elems), len(got.Elems)) {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case i >= len(got.Elems):
			*out = append(*out, difference{at, clip(text(&want.Elems[i])), nothing, want.Elems[i].Pos})
		case i >= len(want.Elems):
			*out = append(*out, difference{at, nothing, clip(text(&got.Elems[i])), want.Pos})
		default:
			compare(&want.Elems[i], &got.Elems[i], partial, at, out)
		}
	}
}

func compareMaps(want, got *penstock.Tree, partial bool, path string, out *[]difference) {
	for i, k := range want.Keys {
		if g := field(got, k); g == nil {
			*out = append(*out, difference{below(path, k), clip(text(&want.Elems[i])), nothing, want.Elems[i].Pos})
		} else {
			compare(&want.Elems[i], g, partial, below(path, k), out)
		}
	}
	if partial {
		return
	}
	for i, k := range got.Keys {
		if field(want, k) == nil {
			*out = append(*out, difference{below(path, k), nothing, clip(text(&got.Elems[i])), want.Pos})
		}
	}
}

// below is the path of a key.
func below(path, key string) string {
	plain := key != ""
	for i, c := range key {
		plain = plain && (c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9')
	}
	switch {
	case !plain:
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// clip shortens what a message shows.
func clip(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// subsequence finds each expected document among the found ones, in order; what is left over may come
// between. It returns the number of the found one for each expected one, -1 where there is none.
func subsequence(want, got []*penstock.Tree) []int {
	out := make([]int, len(want))
	next := 0
	for i := range want {
		out[i] = -1
		for j := next; j < len(got); j++ {
			if len(differences(want[i], got[j], true)) == 0 {
				out[i], next = j, j+1
				break
			}
		}
	}
	return out
}

// assign finds for each expected document one of its own among the found ones, whatever their order:
// as many as can be (Kuhn's method for bipartite matching).
func assign(want, got []*penstock.Tree) []int {
	fits := make([][]int, len(want))
	for i := range want {
		for j := range got {
			if len(differences(want[i], got[j], true)) == 0 {
				fits[i] = append(fits[i], j)
			}
		}
	}
	owner := make([]int, len(got))
	for j := range owner {
		owner[j] = -1
	}
	var place func(i int, seen []bool) bool
	place = func(i int, seen []bool) bool {
		for _, j := range fits[i] {
			if seen[j] {
				continue
			}
			seen[j] = true
			if owner[j] < 0 || place(owner[j], seen) {
				owner[j] = i
				return true
			}
		}
		return false
	}
	for i := range want {
		place(i, make([]bool, len(got)))
	}
	out := make([]int, len(want))
	for i := range out {
		out[i] = slices.Index(owner, i)
	}
	return out
}

// nearest is the found document that differs least from an expected one; -1 if there is none.
func nearest(want *penstock.Tree, got []*penstock.Tree, free func(j int) bool, partial bool) (int, []difference) {
	best, least := -1, []difference(nil)
	for j := range got {
		if !free(j) {
			continue
		}
		if d := differences(want, got[j], partial); best < 0 || len(d) < len(least) {
			best, least = j, d
		}
	}
	return best, least
}
